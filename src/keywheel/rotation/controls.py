"""Which controls of which frameworks the evidence of a rotation answers, and how. Pure: a table.

A verdict is about one rotation of one secret, and is computed from what is in its evidence: `met`, `not yet` (it will
be seen later), or `not shown` (ask elsewhere). No verdict says that an organization complies. What a control asks for
is told in our own words and only as far as a rotation can answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keywheel.rotation.evidence import DEAD, GRACE, NONE, OVERDUE, RECORDED, TURN, VERIFIED

MET, NOT_YET, NOT_SHOWN = "met", "not yet", "not shown"
PCI, SOC2 = "PCI DSS v4.0.1", "SOC 2 (TSC 2017)"
ISO, NIST = "ISO/IEC 27001:2022", "NIST SP 800-53 r5"
_QUARTER = 90 * 86_400
_DAY = 86_400
_WINDOW = 1  # days: a rotation is due at some instant of the day on which the rules fall
_LONG_ENOUGH = 15  # characters

Part = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """Which events are in the audit ledgers that were at hand, and which of them are proved to be there."""

    recorded: frozenset[str] = frozenset()
    proved: frozenset[str] = frozenset()


NO_LEDGER = Seen()
Judge = Callable[[Part, Seen], str]


@dataclass(frozen=True, slots=True)
class Control:
    """A control, what of it a rotation can answer, where in the evidence that stands, and how it is judged."""

    framework: str
    id: str
    asks: str
    answered_by: tuple[str, ...]
    judge: Judge


def judged(stated: Part, seen: Seen) -> list[dict[str, Any]]:
    """Every control with its verdict."""
    return [
        {
            "framework": control.framework,
            "control": control.id,
            "asks": control.asks,
            "answered_by": list(control.answered_by),
            "verdict": control.judge(stated, seen),
        }
        for control in CONTROLS
    ]


# --- how it is judged ------------------------------------------------------------------------------------------------


def _changed(stated: Part, _: Seen) -> str:
    """The credential was changed, and the new one was seen to work."""
    if stated["rotation"]["outcome"] == "under way":
        return NOT_YET
    done = stated["rotation"]["outcome"] == "succeeded" and stated["new_credential"]["state"] == VERIFIED
    return MET if done else NOT_SHOWN


def _every_quarter(stated: Part, seen: Seen) -> str:
    """It was at most 90 days old."""
    return _and(_changed(stated, seen), _at_most(stated, _QUARTER))


def _by_the_rules(stated: Part, seen: Seen) -> str:
    """It was changed as often as the rotation rules say, which were recorded."""
    policy, days = stated["policy"], stated["policy"]["days"]
    if policy["in_force"] != RECORDED:
        return NOT_SHOWN
    if days is not None:
        return _and(_changed(stated, seen), _at_most(stated, (days + _WINDOW) * _DAY))
    on_time = policy["expression"] is not None and stated["asked"]["cause"] == "schedule"
    return _and(_changed(stated, seen), MET if on_time else NOT_SHOWN)


def _by_the_rules_and_long(stated: Part, seen: Seen) -> str:
    """And by a long random value."""
    password = stated["policy"]["password"]
    is_long = password is not None and password["length"] >= _LONG_ENOUGH
    return _and(_by_the_rules(stated, seen), MET if is_long else NOT_SHOWN)


def _composed(stated: Part, _: Seen) -> str:
    return MET if stated["policy"]["password"] is not None else NOT_SHOWN


def _ended(stated: Part, _: Seen) -> str:
    """The old credential was proved dead."""
    state = stated["old_credential"]["state"]
    if state in (DEAD, NONE):
        return MET
    return NOT_YET if state in (GRACE, TURN, OVERDUE) or stated["rotation"]["outcome"] == "under way" else NOT_SHOWN


def _changed_and_ended(stated: Part, seen: Seen) -> str:
    return _and(_changed(stated, seen), _ended(stated, seen))


def _told(stated: Part, _: Seen) -> str:
    """Who, what, when, where from, on what, how it ended: for the rotation and each of its steps."""
    asked, steps = stated["asked"], stated["steps"]
    told = asked["by"] and asked["cause"] and steps and all(step["began"] and step["outcome"] for step in steps)
    return MET if told and stated["complete"] else NOT_SHOWN


def _logged(stated: Part, seen: Seen) -> str:
    """Every event is in the audit ledger."""
    return _of(stated, seen.recorded)


def _proved(stated: Part, seen: Seen) -> str:
    """Every event is in the ledger, under a signature."""
    return _of(stated, seen.proved)


def _of(stated: Part, found: frozenset[str]) -> str:
    wanted = {event["event_id"] for event in stated["events"]}
    if wanted and found >= wanted and stated["complete"]:
        return MET
    return NOT_YET if found & wanted else NOT_SHOWN


def _at_most(stated: Part, seconds: int) -> str:
    """The old credential was not older than that when it was replaced."""
    lived = stated["old_credential"]["lifetime_seconds"]
    return MET if lived is not None and lived <= seconds else NOT_SHOWN


def _and(*verdicts: str) -> str:
    return next((verdict for verdict in (NOT_SHOWN, NOT_YET) if verdict in verdicts), MET)


# --- the table -------------------------------------------------------------------------------------------------------

_NEW = ("rotation.outcome", "rotation.finished", "new_credential")
_OLD = ("old_credential",)
_WHO = ("asked", "steps", "rotation.engines", "events")
CONTROLS = (
    Control(
        PCI, "8.3.9", "Where a password is the only factor of an account, it is changed at least every 90 days.",
        (*_NEW, "old_credential.lifetime_seconds"), _every_quarter,
    ),
    Control(
        PCI, "8.6.3", "Passwords of application and system accounts are changed as often as a risk analysis says, and "
        "are complex enough for that. The analysis itself is the organization's.",
        (*_NEW, "policy", "asked.cause", "old_credential.lifetime_seconds"), _by_the_rules_and_long,
    ),
    Control(
        PCI, "10.2.1.5", "Audit logs hold every change of an authentication credential.",
        ("events", "ledger.entries"), _logged,
    ),
    Control(
        PCI, "10.2.2", "Each record tells who, what kind of event, when, whether it succeeded, from where, on what.",
        _WHO, _told,
    ),
    Control(
        SOC2, "CC6.1", "Logical access is restricted: credentials of systems are managed, and replaced ones give no "
        "access any more.",
        (*_NEW, *_OLD), _changed_and_ended,
    ),
    Control(
        ISO, "A.5.17", "Authentication information is managed by a process: allotted, changed, and ended.",
        (*_NEW, *_OLD, "policy", "asked"), _changed_and_ended,
    ),
    Control(
        ISO, "A.8.15", "Activities and faults are logged, and the logs are protected.",
        ("events", "ledger.proofs"), _proved,
    ),
    Control(
        NIST, "IA-5 f", "Authenticators are refreshed after a time that the organization sets, or when something "
        "happened.",
        (*_NEW, "policy", "asked.cause"), _by_the_rules,
    ),
    Control(
        NIST, "IA-5(1)(h)", "Password-based authenticators follow composition rules that the organization sets.",
        ("policy.password",), _composed,
    ),
    Control(
        NIST, "AU-3", "Audit records tell what happened, when, where, from which source, how it ended, and to whom it "
        "is due.",
        _WHO, _told,
    ),
    Control(
        NIST, "AU-10", "It cannot be denied later what was done: evidence that holds against its keeper.",
        ("ledger.proofs", "signature"), _proved,
    ),
    Control(
        NIST, "AU-12", "The system generates audit records for the events that are to be logged.",
        ("events", "ledger.entries"), _logged,
    ),
)  # fmt: skip
