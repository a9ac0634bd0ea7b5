"""What the journal keeps beside an event, so that a rotation can be proved to somebody later. Pure.

Who asked and why, under which policy; by which engine, where and since when a step ran; and what the target answered
to a login. Names, numbers and instants: no value, no tag and no text of a driver's. The audit ledger tells it too, as
members of an entry's `additionalEventData`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keywheel.clock import from_epoch, to_epoch
from keywheel.rotation.machine import Rotation, Step
from keywheel.rotation.rules import ends_sessions
from keywheel.rotator import Logins, Strategy
from keywheel.secrets.rows import Secret

SCHEDULE, ASKED, ANOTHER_VALUE = "schedule", "RotateSecret", "AnotherValue"
ACCEPTED, REFUSED = "accepted", "refused"
FUNCTION = "rotation-function"  # what stands for a strategy where a rotation function does the work
UNTIL_ITS_TURN = "until-its-next-turn"

Particulars = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked for something, as the access key tells."""

    arn: str
    access_key_id: str


def iso(instant: datetime) -> str:
    """An instant to the millisecond: `2026-01-31T08:15:00.250Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_of(seconds: float | None) -> str | None:
    """The same of seconds since the epoch."""
    return None if seconds is None else iso(from_epoch(seconds))


def of_start(secret: Secret, cause: str, by: Asker | None = None, *, instead_of: str | None = None) -> Particulars:
    """Why a rotation begins, who asked for it, and the policy that is in force then."""
    return _known(
        {
            "Cause": cause,
            "InsteadOf": instead_of,
            **of_asker(by),
            "Policy": policy_of(secret),
        }
    )


def of_asker(by: Asker | None) -> Particulars:
    """Who asked."""
    return {} if by is None else {"AskedBy": by.arn, "AccessKeyId": by.access_key_id}


def policy_of(secret: Secret) -> dict[str, object]:
    """The rotation rules of a secret, and its rotator."""
    return _known(
        {
            "Function": secret.rotation_function,
            "AutomaticallyAfterDays": secret.rotation_days,
            "ScheduleExpression": secret.rotation_expression,
            "Duration": secret.rotation_duration,
            "Configured": iso_of(secret.rotation_configured),
            "EndSessions": ends_sessions(secret),
        }
    )


def of_step(
    rotation: Rotation,
    strategy: Strategy | None,
    *,
    began: datetime,
    engine: str,
    place: str,
    done: bool,
    logins: Logins,
) -> Particulars:
    """How a step was run, and what the target said of the credential that the step is about."""
    step = rotation.step
    facts: dict[str, object | None] = {
        "Began": iso(began),
        "Engine": engine,
        "Place": place or None,
        "Strategy": FUNCTION if strategy is None else strategy.NAME,
        "Retired": rotation.retiring if step is Step.RETIRE else None,
    }
    if strategy is not None:
        facts |= {"Target": type(strategy.target).__name__, "Login": _login(step, logins) if done else None}
    if strategy is not None and done and step is Step.CREATE:
        target = strategy.target
        facts |= {"PasswordLength": target.PASSWORD_LENGTH, "ExcludedCharacters": target.EXCLUDE_CHARACTERS}
    return _known(facts)


def _login(step: Step, logins: Logins) -> str | None:
    """What a login in a step that is done has shown; None where the step had no reason to log in."""
    if step is Step.TEST and logins.asked:
        return ACCEPTED
    return REFUSED if step is Step.RETIRE and logins.refused else None


def of_finish(old: str | None, grace: timedelta | None, now: datetime, *, retires: bool) -> Particulars:
    """Which credential is old from now on, and until when it may live. `retires`: whether that is the engine's part."""
    if old is None:
        return {}
    if not retires:
        return {"OldVersion": old, "Grace": FUNCTION}
    if grace is None:
        return {"OldVersion": old, "Grace": UNTIL_ITS_TURN}
    return {"OldVersion": old, "Grace": int(grace.total_seconds()), "RetireAt": iso_of(to_epoch(now + grace))}


def _known(members: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}
