"""A rotation behind an alias, as a table. Pure: the instant is passed in, and nothing here has an effect.

    rest ─▶ create ─▶ copy ─▶ test ─▶ announce ─▶ move ─▶ rest
               │        │       │         │         │
               └────────┴───────┴────┬────┴─────────┘  refused
                                     ▼
                                  discard ─▶ rest, and anew after a pause

* Without a lead, test is followed by move.
* The new key's id is written down before the key is made, so that after a crash exactly this key is found or made.
* Nothing is known (the key store is away): the same step again after a backoff, with the same key.
* Refused: the new key is discarded, and a rotation is begun anew with another one after a pause; for ever where there
  is a schedule. The alias names the former key until the very transaction in which it names the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

MOST_FAILURES = 5  # of a rotation that was asked for, where there is no schedule
_BACKOFF_FIRST, _BACKOFF_MOST = 2.0, 300.0
_PAUSE_FIRST, _PAUSE_MOST = 60.0, 86_400.0


class Step(StrEnum):
    """What is to be done next."""

    REST = "rest"
    CREATE = "create"
    COPY = "copy"
    TEST = "test"
    ANNOUNCE = "announce"
    MOVE = "move"
    DISCARD = "discard"


class Outcome(StrEnum):
    """What came of a step."""

    DONE = "done"
    AWAY = "away"
    REFUSED = "refused"


_NEXT: Mapping[Step, Step] = MappingProxyType(
    {
        Step.CREATE: Step.COPY,
        Step.COPY: Step.TEST,
        Step.TEST: Step.ANNOUNCE,
        Step.ANNOUNCE: Step.MOVE,
        Step.MOVE: Step.REST,
        Step.DISCARD: Step.REST,
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last attempt did not succeed."""

    step: Step
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """The state of an alias's rotation. Instants are seconds since the epoch."""

    step: Step = Step.REST
    run: str | None = None
    """Which rotation is under way, or was the last."""
    old_key: str | None = None
    new_key: str | None = None
    attempt: int = 0
    """How often the present step came to nothing."""
    failures: int = 0
    """How many rotations failed since the last that succeeded."""
    failure: Failure | None = None
    urgent: bool = False
    """Whether it was asked for without a lead."""
    due: float | None = None
    rotated: float | None = None
    wake_at: float | None = None

    @property
    def in_progress(self) -> bool:
        """Whether one is under way."""
        return self.step is not Step.REST


def is_due(rotation: Rotation, now: float) -> bool:
    """Whether a rotation begins now: by the schedule, or because the last one failed."""
    if rotation.in_progress or rotation.wake_at is None or rotation.wake_at > now:
        return False
    return rotation.failure is not None or (rotation.due is not None and rotation.due <= now)


def begin(rotation: Rotation, now: float, *, run: str, old_key: str, new_key: str, urgent: bool = False) -> Rotation:
    """A rotation from `old_key` to `new_key`, which is still to be made."""
    return replace(
        rotation,
        step=Step.CREATE,
        run=run,
        old_key=old_key,
        new_key=new_key,
        attempt=0,
        urgent=urgent,
        wake_at=now,
    )


def plan(rotation: Rotation, due: float | None) -> Rotation:
    """At rest until `due`."""
    return replace(rotation, due=due, wake_at=due if rotation.failure is None else rotation.wake_at)


def refuse(rotation: Rotation, failure: Failure, now: float) -> Rotation:
    """A rotation that could not even begin."""
    return _failed(replace(rotation, failure=failure), now)


def advance(
    rotation: Rotation, outcome: Outcome, now: float, *, failure: Failure | None = None, lead: float = 0.0
) -> Rotation:
    """The state after a step; `lead` in seconds. After the move, whoever calls plans what comes next."""
    if outcome is Outcome.AWAY:
        attempt = rotation.attempt + 1
        wait = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2.0 ** min(attempt - 1, 10))
        return replace(rotation, attempt=attempt, failure=failure, wake_at=now + wait)
    if outcome is Outcome.REFUSED and rotation.step is not Step.DISCARD:
        return replace(rotation, step=Step.DISCARD, attempt=0, failure=failure, wake_at=now)
    if rotation.step is Step.DISCARD:
        return _failed(replace(rotation, step=Step.REST, attempt=0), now)
    if rotation.step is Step.MOVE:
        return replace(
            rotation, step=Step.REST, attempt=0, failures=0, failure=None, urgent=False, rotated=now, wake_at=None
        )
    following = _NEXT[rotation.step]
    if following is Step.ANNOUNCE and (rotation.urgent or lead <= 0.0):
        following = Step.MOVE
    wake_at = now + lead if following is Step.ANNOUNCE else now
    return replace(rotation, step=following, attempt=0, failure=None, wake_at=wake_at)


def _failed(rotation: Rotation, now: float) -> Rotation:
    failures = rotation.failures + 1
    again: float | None = now + min(_PAUSE_MOST, _PAUSE_FIRST * 4.0 ** min(failures - 1, 10))
    if rotation.due is None and failures >= MOST_FAILURES:
        again = None
    return replace(rotation, step=Step.REST, attempt=0, failures=failures, urgent=False, wake_at=again)
