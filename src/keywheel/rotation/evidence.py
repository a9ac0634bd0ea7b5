"""The evidence of one rotation: who, why, when, each step, what was verified and what was proved dead. Pure.

    journal ──▶ statement ──▶ signed ──▶ + the ledger's proofs ──▶ the verdicts of controls.py

Everything is read from the journal's notes, which are in the statement too, each with its identifier in the audit
ledger. What the journal does not know is said to be unknown. There is no value in it: versions are named by their ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from keywheel.rotation.machine import Rotation, Step
from keywheel.rotation.particulars import (
    ACCEPTED,
    ANOTHER_VALUE,
    FUNCTION,
    REFUSED,
    SCHEDULE,
    UNTIL_ITS_TURN,
    iso,
    iso_of,
)
from keywheel.rotation.rows import Note

FORMAT = "keywheel-evidence-1"
HEAD = b"keywheel evidence 1\n"
STARTED, SUCCEEDED = "RotationStarted", "RotationSucceeded"
RETIRED, DELAYED, LEFT = "OldCredentialRetired", "RetirementDelayed", "RetirementLeftToRotation"
MOST = 2_000  # notes of a rotation; those after are left out, and that is said

VERIFIED, NOT_VERIFIED, LEFT_TO_FUNCTION = "verified", "not verified", "left to the rotation function"
DEAD, GRACE, TURN, REPLACED = "dead", "in grace", "until its next turn", "replaced"
OVERDUE, UNKNOWN, IN_USE, NONE = "overdue", "unknown", "in use", "none"
RECORDED, AS_OF_NOW = "recorded when the rotation began", "as of now; the journal does not tell what it was"

_CAUSES = {
    SCHEDULE: "its rotation rules",
    "RotateSecret": "RotateSecret was called",
    ANOTHER_VALUE: "the target's password policy refused the value of the rotation before",
}
# What an event means for the rotation as a whole; each later one replaces what was said before.
_OUTCOMES = {
    STARTED: "under way",
    "StepDone": "under way",
    "StepRetried": "under way",
    "RotationFailed": "failed",
    "RollbackStarted": "rolling back",
    "RollbackRetried": "rolling back",
    "RolledBack": "rolled back",
    "RotationCancelled": "cancelled",
    "RotationAbandoned": "abandoned",
    SUCCEEDED: "succeeded",
}
# What an event means for the step that it ends.
_ENDS = {
    "StepDone": "done",
    SUCCEEDED: "done",
    "RolledBack": "done",
    RETIRED: "done",
    "StepRetried": "tried again",
    "RollbackStarted": "refused",
    "RollbackRetried": "tried again",
    "RotationFailed": "refused",
    DELAYED: "tried again",
    LEFT: "left to the next rotation",
}
_RETIREMENTS = (RETIRED, DELAYED, LEFT)


@dataclass(frozen=True, slots=True)
class Told:
    """A note of the journal with its identifier in the audit ledger."""

    event_id: str
    note: Note
    detail: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, event_id: str, note: Note) -> Told:
        """A note as it is stored."""
        return cls(event_id, note, {} if note.detail is None else json.loads(note.detail))


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a rotation. `told`: the secret's notes from its beginning on, the oldest first."""

    arn: str
    name: str
    token: str
    told: Sequence[Told]
    state: Rotation
    labels: Mapping[str, str]
    policy_now: Mapping[str, object]
    created: Mapping[str, float]
    """When the versions that are there were written."""


def statement(record: Record, now: datetime) -> dict[str, Any]:
    """What the server states of a rotation."""
    own = _own(record)
    start = next((one for one in own if one.note.event == STARTED), None)
    end = next((one for one in own if one.note.event == SUCCEEDED), None)
    found = {
        "secret": {"arn": record.arn, "name": record.name},
        "rotation": _rotation(record, own, end),
        "asked": _asked(start),
        "rotator": _rotator(own, start),
        "steps": _steps(own),
        "new_credential": _new(record, own),
        "old_credential": _old(record, own, end),
        "policy": _policy(record, own, start, end),
        "events": [_event(one) for one in own],
        "made": iso(now),
    }
    return {**found, "complete": len(record.told) < MOST}


def canonical(stated: Mapping[str, Any]) -> bytes:
    """What is signed: the statement as one line of JSON, its members in order, behind a line that says what it is."""
    return HEAD + json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()


# --- which notes belong to it ----------------------------------------------------------------------------------------


def old_version(told: Sequence[Told], token: str) -> str | None:
    """The version that a rotation replaced; None as long as it has not, or when there was none."""
    ends = [one for one in told if one.note.event == SUCCEEDED and one.note.token == token]
    return ends[0].detail.get("OldVersion") if ends else None


def _own(record: Record) -> list[Told]:
    """The notes of the rotation until it succeeded, and those of the retirement of the version that it replaced."""
    old = old_version(record.told, record.token)
    own, ended, retiring = [], False, False
    for one in record.told:
        note = one.note
        if note.event in _RETIREMENTS:  # told under the version of whichever rotation is under way by then
            belongs = retiring and one.detail.get("Retired") == old
        else:  # what rests is told under the version that waits to be retired
            belongs = not ended and note.token == record.token
        if belongs:
            own.append(one)
        if note.event == SUCCEEDED:  # a version may be current, and old, again
            ended = ended or belongs
            retiring = belongs or (retiring and one.detail.get("OldVersion") != old)
    return own


def _later(record: Record, end: Told) -> Told | None:
    """The rotation that succeeded next."""
    later = [one for one in record.told if one.note.event == SUCCEEDED and one.note.at >= end.note.at]
    return next((one for one in later if one.note.token != record.token), None)


# --- the parts -------------------------------------------------------------------------------------------------------


def _rotation(record: Record, own: Sequence[Told], end: Told | None) -> dict[str, Any]:
    told = [_OUTCOMES[one.note.event] for one in own if one.note.event in _OUTCOMES]
    failures = [one.note for one in own if one.note.code is not None and one.note.event not in _RETIREMENTS]
    outcome = told[-1] if told and end is None else "succeeded" if end else "unknown"
    last = failures[-1] if failures and outcome != "succeeded" else None
    return {
        "version": record.token,
        "outcome": outcome,
        "began": iso_of(own[0].note.at) if own else None,
        "finished": None if end is None else iso_of(end.note.at),
        "labels_now": _labels(record, record.token),
        "epochs": sorted({one.note.fence for one in own if one.note.fence}),
        "engines": sorted({one.detail["Engine"] for one in own if "Engine" in one.detail}),
        "code": None if last is None else last.code,
        "reason": None if last is None else last.reason,
    }


def _asked(start: Told | None) -> dict[str, Any]:
    detail = {} if start is None else start.detail
    cause = detail.get("Cause")
    by = detail.get("AskedBy") or ("the schedule" if cause == SCHEDULE else None)
    return {
        "by": by or ("the engine" if cause == ANOTHER_VALUE else None),
        "access_key_id": detail.get("AccessKeyId"),
        "cause": cause,
        "why": _CAUSES.get(cause or ""),
        "instead_of": detail.get("InsteadOf"),
        "at": None if start is None else iso_of(start.note.at),
    }


def _rotator(own: Sequence[Told], start: Told | None) -> dict[str, Any]:
    policy = {} if start is None else start.detail.get("Policy", {})
    return {
        "function": policy.get("Function"),
        "strategy": _last(own, "Strategy"),
        "target": _last(own, "Target"),
        "place": _last(own, "Place"),
    }


def _steps(own: Sequence[Told]) -> list[dict[str, Any]]:
    """A row a step, in the order in which they were first run; a step that was tried often is one row."""
    rows: dict[str, dict[str, Any]] = {}
    for one in own:
        note = one.note
        if note.event not in _ENDS:
            continue
        row = rows.setdefault(note.step, {"step": note.step, "began": one.detail.get("Began"), "attempts": 0})
        row |= {
            "ended": iso_of(note.at),
            "outcome": _ENDS[note.event],
            "attempts": row["attempts"] + 1,
            "epoch": note.fence,
            "engine": one.detail.get("Engine"),
            "code": note.code,
            "reason": note.reason,
        }
    return list(rows.values())


def _new(record: Record, own: Sequence[Told]) -> dict[str, Any]:
    tests = [one for one in own if one.note.step == Step.TEST.value and one.note.event == "StepDone"]
    test = tests[-1] if tests else None
    state, how = NOT_VERIFIED, None
    if test is not None and test.detail.get("Login") == ACCEPTED:
        state, how = VERIFIED, "the target accepted a fresh login with it"
    elif test is not None and test.detail.get("Strategy") == FUNCTION:
        state, how = LEFT_TO_FUNCTION, "testSecret of the rotation function ended without an error"
    current = record.labels.get("AWSCURRENT") == record.token
    return {
        "version": record.token,
        "state": state,
        "how": how,
        "at": None if test is None or how is None else iso_of(test.note.at),
        "where": None if test is None else test.detail.get("Place"),
        "engine": None if test is None else test.detail.get("Engine"),
        "last_seen_to_work": iso_of(record.state.verified) if current else None,
        "labels_now": _labels(record, record.token),
    }


def _old(record: Record, own: Sequence[Told], end: Told | None) -> dict[str, Any]:
    version = None if end is None else end.detail.get("OldVersion")
    state, how, at, due = _fate(record, own, end)
    created = record.created.get(version or "")
    lifetime = None if created is None or end is None else int(end.note.at - created)
    return {
        "version": version,
        "state": state,
        "how": how,
        "at": at,
        "due": due,
        "created": iso_of(created),
        "lifetime_seconds": lifetime,
        "labels_now": [] if version is None else _labels(record, version),
    }


def _fate(record: Record, own: Sequence[Told], end: Told | None) -> tuple[str, str | None, str | None, str | None]:
    """What became of the old credential, how that is known, since when, and when it is due."""
    if end is None:
        return IN_USE, "the rotation has not replaced it", None, None
    version, grace = end.detail.get("OldVersion"), end.detail.get("Grace")
    if version is None:
        return NONE, "there was none before", None, None
    retired = [one for one in own if one.note.event in _RETIREMENTS]
    if retired:
        fate = _after_retirement(record, retired[-1])
        if fate is not None:
            return fate
    later = _later(record, end)
    strategies = {one.detail.get("Strategy") for one in (end, later) if one is not None}
    if later is not None and len(strategies) == 1 and not strategies & {FUNCTION, None}:
        how = f"rotation {later.note.token}, which followed, sets another password; no login with the old was tried"
        return REPLACED, how, iso_of(later.note.at), None
    if grace == FUNCTION:
        return UNKNOWN, "a rotation function looks after it", None, None
    if grace == UNTIL_ITS_TURN and later is not None:
        return UNKNOWN, f"rotation {later.note.token}, which followed, was another rotator's", None, None
    if grace == UNTIL_ITS_TURN:
        return TURN, "the idle user keeps it; the next rotation replaces it", None, iso_of(record.state.due)
    due = end.detail.get("RetireAt")
    return (GRACE if due is not None else UNKNOWN), None, None, due


def _after_retirement(record: Record, last: Told) -> tuple[str, str | None, str | None, str | None] | None:
    note, at = last.note, iso_of(last.note.at)
    again = iso_of(record.state.retire_at) if record.state.retiring == last.detail.get("Retired") else None
    if note.event == RETIRED:
        if last.detail.get("Login") == REFUSED:
            return DEAD, "the target refused a login with it", at, None
        return UNKNOWN, "it was not tried: its value is the current one again, or is gone", at, None
    if note.event == DELAYED:
        return OVERDUE, f"its retirement did not succeed ({note.code}): {note.reason}", at, again
    return None  # left to the next rotation


def _policy(record: Record, own: Sequence[Told], start: Told | None, end: Told | None) -> dict[str, Any]:
    then = None if start is None else start.detail.get("Policy")
    rules: Mapping[str, Any] = then or record.policy_now
    create = next((one for one in own if "PasswordLength" in one.detail), None)
    password = None
    if create is not None:
        password = {
            "length": create.detail["PasswordLength"],
            "excluded_characters": create.detail["ExcludedCharacters"],
        }
    return {
        "in_force": RECORDED if then else AS_OF_NOW,
        "days": rules.get("AutomaticallyAfterDays"),
        "expression": rules.get("ScheduleExpression"),
        "duration": rules.get("Duration"),
        "configured": rules.get("Configured"),
        "ends_sessions": rules.get("EndSessions"),
        "grace": None if end is None else end.detail.get("Grace"),
        "password": password,
    }


def _event(one: Told) -> dict[str, Any]:
    note = one.note
    return {
        "event_id": one.event_id,
        "event": note.event,
        "at": iso_of(note.at),
        "version": note.token,
        "step": note.step,
        "attempt": note.attempt,
        "epoch": note.fence,
        "code": note.code,
        "reason": note.reason,
        "detail": dict(one.detail),
    }


def _labels(record: Record, version: str) -> list[str]:
    return sorted(label for label, named in record.labels.items() if named == version)


def _last(own: Sequence[Told], member: str) -> Any:
    return next((one.detail[member] for one in reversed(own) if member in one.detail), None)
