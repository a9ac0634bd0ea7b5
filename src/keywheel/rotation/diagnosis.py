"""Why a secret is stuck, and what is safe to do next: every credential that was kept is tried, and a table decides.

Nothing is changed here. No value leaves this file: a finding says whose credential it is and what the target answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from keywheel.errors import KeywheelError, SecretMalformed, TargetError, TargetUnavailable
from keywheel.rotation.machine import Rotation
from keywheel.rotation.steps import CURRENT, PENDING, PREVIOUS, KeepingStore
from keywheel.rotator import Credential, Logins, Strategy

WORKS, REFUSED = "works", "refused"
_MOST = 8  # versions that are tried


class Action(StrEnum):
    """What to do next."""

    NOTHING = "nothing"
    WAIT = "wait"
    REPAIR = "repair"
    BY_HAND = "by-hand"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the target said of a kept credential: `works`, `refused`, or the code of why it is not known."""

    version: str
    labels: tuple[str, ...]
    username: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that the advice depends on."""

    rotation: Rotation
    findings: tuple[Finding, ...]
    superuser: str | None
    """What the target said of the superuser; None where the secret names none."""
    can_log_in: bool
    """Whether the rotator is one of ours, so that credentials can be tried at all."""

    def answer(self, label: str) -> str | None:
        """What the target said of the credential under a label."""
        return next((finding.answer for finding in self.findings if label in finding.labels), None)

    @property
    def somebody_gets_in(self) -> bool:
        """Whether the current user's own password, or a superuser, opens the target."""
        current = next((finding.username for finding in self.findings if CURRENT in finding.labels), None)
        own = any(finding.answer == WORKS and finding.username == current for finding in self.findings)
        return own or self.superuser == WORKS


@dataclass(frozen=True, slots=True)
class Advice:
    """The next safe action, and why."""

    action: Action
    reason: str


def _stopped(found: Diagnosis) -> bool:
    rotation = found.rotation
    return rotation.failed or rotation.stuck or (rotation.in_progress and rotation.failure is not None)


_BY_HAND = (
    "Nobody who is known gets in. Set the user's password on the target to the value under AWSCURRENT, or put a value "
    "that works with `keywheel secrets put`, or name a superuser's secret in `masterarn`; then repair."
)
_TABLE: tuple[tuple[Callable[[Diagnosis], bool], Action, str], ...] = (
    (
        lambda found: not found.can_log_in,
        Action.NOTHING,
        "Its rotation function is not built in, so nothing can be tried from here: read the function's own log.",
    ),
    (
        lambda found: found.rotation.in_progress and not _stopped(found),
        Action.WAIT,
        "A rotation is under way.",
    ),
    (
        lambda found: found.answer(CURRENT) not in (WORKS, REFUSED) or found.superuser not in (WORKS, REFUSED, None),
        Action.WAIT,
        "The target could not be asked: check that it is up and reachable from the server. It is asked again.",
    ),
    (
        lambda found: _stopped(found) and found.somebody_gets_in,
        Action.REPAIR,
        "A rotation stopped half-way, and a credential that is known gets in: it can go on now.",
    ),
    (
        lambda found: found.answer(CURRENT) == WORKS,
        Action.NOTHING,
        "AWSCURRENT works, and nothing is under way.",
    ),
    (
        lambda found: found.somebody_gets_in,
        Action.REPAIR,
        "AWSCURRENT is refused, and a credential that is known gets in: it can set AWSCURRENT's value again.",
    ),
    (
        lambda _: True,
        Action.BY_HAND,
        _BY_HAND,
    ),
)


def advise(found: Diagnosis) -> Advice:
    """The next safe action."""
    return next(Advice(action, reason) for applies, action, reason in _TABLE if applies(found))


def examine(
    rotation: Rotation, strategy: Strategy | None, store: KeepingStore, secret_id: str, logins: Logins
) -> Diagnosis:
    """Try what was kept, the labelled versions first, within the budget of refused logins."""
    labels = store.labels(secret_id)
    named = [labels[label] for label in (CURRENT, PENDING, PREVIOUS) if label in labels]
    ids = list(dict.fromkeys([*named, *store.kept(secret_id)]))[:_MOST]
    findings: list[Finding] = []
    asked: list[tuple[Credential, str]] = []
    for version in ids:
        try:
            credential = store.get(secret_id, version)
        except SecretMalformed as error:
            findings.append(Finding(version, _labels(labels, version), None, error.code))
            continue
        if credential is None:
            continue
        answer = next((said for other, said in asked if other == credential), None)
        if answer is None:
            answer = _ask(strategy, credential, logins)
            asked.append((credential, answer))
        findings.append(Finding(version, _labels(labels, version), credential.username, answer))
    superuser = _superuser(strategy, store, secret_id, labels, logins)
    return Diagnosis(rotation, tuple(findings), superuser, can_log_in=strategy is not None)


def _labels(labels: Mapping[str, str], version: str) -> tuple[str, ...]:
    return tuple(sorted(label for label, named in labels.items() if named == version))


def _ask(strategy: Strategy | None, credential: Credential, logins: Logins) -> str:
    if strategy is None:
        return "NotAsked"
    try:
        logins.ask()
        if strategy.target.accepts(credential):
            return WORKS
    except TargetError as error:
        return error.code
    logins.was_refused()
    return REFUSED


def _superuser(
    strategy: Strategy | None, store: KeepingStore, secret_id: str, labels: Mapping[str, str], logins: Logins
) -> str | None:
    try:
        current = store.get(secret_id, labels[CURRENT]) if CURRENT in labels else None
        if current is None or "masterarn" not in current.fields:
            return None
        master = current.text("masterarn")
        version = store.labels(master).get(CURRENT)
        superuser = None if version is None else store.get(master, version)
        return REFUSED if superuser is None else _ask(strategy, superuser, logins)
    except TargetUnavailable as error:
        return error.code
    except KeywheelError:
        return REFUSED  # it cannot be read, so it helps nobody
