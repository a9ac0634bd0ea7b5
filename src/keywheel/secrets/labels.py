"""How staging labels move. Every rule about them is in this file, and it does no I/O.

`Labels` maps a staging label to the one version it is attached to; a version may hold many labels, and one without
any is deprecated. Each function takes labels and gives new ones.

1. The first value of a secret becomes AWSCURRENT, whatever labels were asked for.
2. Where AWSCURRENT moves from A to B, AWSPREVIOUS moves to A. B keeps its other labels; A keeps its custom ones.
3. AWSPENDING evaporates from the version that loses AWSCURRENT.
4. A label named for a new version is taken from whichever version held it.
5. A new AWSCURRENT value while a different version is AWSPENDING abandons that rotation: AWSPENDING is removed.
6. AWSCURRENT can move, and can never be removed.
7. At most 20 labels over all versions of a secret.

Sources: the API references of PutSecretValue, UpdateSecretVersionStage and RotateSecret; where these are silent,
behaviour recorded on AWS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from keywheel.errors import InvalidParameter, LimitExceeded

CURRENT = "AWSCURRENT"
PENDING = "AWSPENDING"
PREVIOUS = "AWSPREVIOUS"
LIMIT = 20

Labels = Mapping[str, str]


def of(labels: Labels, version: str) -> list[str]:
    """The labels that `version` holds, sorted."""
    return sorted(label for label, holder in labels.items() if holder == version)


def put(labels: Labels, version: str, stages: Iterable[str]) -> Labels:
    """Labels after a new value `version` was put under `stages` (rules 1, 2, 4, 5, 7).

    Raises:
        LimitExceeded: too many labels.
    """
    wanted = set(stages)
    if CURRENT not in labels:
        wanted.add(CURRENT)
    after = dict(labels)
    if CURRENT in wanted and labels.get(PENDING) != version:
        after.pop(PENDING, None)
    after.update(dict.fromkeys(wanted - {CURRENT}, version))
    return _limited(_make_current(after, version) if CURRENT in wanted else after)


def move(labels: Labels, label: str, *, to: str | None, remove_from: str | None) -> Labels:
    """Labels after UpdateSecretVersionStage (rules 2, 3, 6, 7).

    Raises:
        InvalidParameter: `remove_from` is not the version that holds the label, or AWSCURRENT would be homeless.
        LimitExceeded: too many labels.
    """
    holder = labels.get(label)
    if remove_from is None and holder is not None and holder != to:
        raise InvalidParameter(
            f"The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to "
            f"version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
        )
    if remove_from is not None and remove_from != holder:
        raise InvalidParameter(
            f"Staging label {label} isn't attached to version {remove_from}, which RemoveFromVersionId references."
        )
    if to is None:
        return _remove(labels, label)
    after = _make_current(labels, to) if label == CURRENT else {**labels, label: to}
    return _limited(after)


def promote(labels: Labels, version: str) -> Labels:
    """Labels after a rotation finished with `version`: it is AWSCURRENT and no longer AWSPENDING."""
    return drop_pending(_make_current(labels, version), version)


def drop_pending(labels: Labels, version: str) -> Labels:
    """Labels without AWSPENDING, where `version` holds it."""
    return {label: holder for label, holder in labels.items() if (label, holder) != (PENDING, version)}


def reserve(labels: Labels, version: str) -> Labels:
    """Labels after a rotation began with the empty version `version` (rules 4, 7).

    Raises:
        LimitExceeded: too many labels.
    """
    return _limited({**labels, PENDING: version})


def obstacle(labels: Labels) -> str | None:
    """Why no rotation can begin, as a sentence for a person; None where one can."""
    if in_progress(labels) is not None:
        return f"{PENDING} is attached to a version without {CURRENT}; remove it with UpdateSecretVersionStage."
    if PENDING not in labels and len(labels) >= LIMIT:
        return f"The secret has {LIMIT} staging labels, and a rotation needs one more; remove one."
    return None


def in_progress(labels: Labels) -> str | None:
    """The version of a rotation that is not complete: it holds AWSPENDING without AWSCURRENT.

    RotateSecret reference: AWSPENDING on a version apart from AWSCURRENT means that a rotation is in progress.
    """
    pending = labels.get(PENDING)
    return None if pending == labels.get(CURRENT) else pending


def _make_current(labels: Labels, version: str) -> dict[str, str]:
    old = labels.get(CURRENT)
    after = dict(labels)
    if old == version:
        return after
    after[CURRENT] = version
    if old is not None:
        after[PREVIOUS] = old
        if after.get(PENDING) == old:
            del after[PENDING]
    return after


def _remove(labels: Labels, label: str) -> Labels:
    if label == CURRENT:
        raise InvalidParameter(
            f"You can only move staging label {CURRENT} to a different secret version. It can't be completely removed."
        )
    if label not in labels:
        raise InvalidParameter(f"Staging label {label} isn't attached to any version of the secret.")
    return {name: holder for name, holder in labels.items() if name != label}


def _limited(labels: Mapping[str, str]) -> Labels:
    if len(labels) > LIMIT:
        raise LimitExceeded(f"A secret can have at most {LIMIT} staging labels across all its versions.")
    return labels
