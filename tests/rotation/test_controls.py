"""The verdicts: each says no more than the statement and the proofs do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from keywheel.rotation import controls
from keywheel.rotation.controls import MET, NOT_SHOWN, NOT_YET, Seen
from keywheel.rotation.evidence import AS_OF_NOW, RECORDED

DAY = 86_400
ALL = Seen(frozenset("ab"), frozenset("ab"))
GOOD: dict[str, Any] = {
    "rotation": {"outcome": "succeeded"},
    "asked": {"by": "the schedule", "cause": "schedule"},
    "steps": [{"began": "x", "outcome": "done"}],
    "new_credential": {"state": "verified"},
    "old_credential": {"state": "dead", "lifetime_seconds": 30 * DAY},
    "policy": {"in_force": RECORDED, "days": 30, "expression": None, "password": {"length": 32}},
    "events": [{"event_id": "a"}, {"event_id": "b"}],
    "complete": True,
}


def verdicts(seen: Seen = ALL, **changes: Any) -> dict[str, str]:
    """The verdicts on GOOD, with members of its parts changed: `policy__days=90`."""
    stated = deepcopy(GOOD)
    for place, value in changes.items():
        part, _, name = place.partition("__")
        if name:
            stated[part][name] = value
        else:
            stated[part] = value
    return {one["control"]: one["verdict"] for one in controls.judged(stated, seen)}


def test_a_good_rotation_meets_every_control() -> None:
    """Each control stands in the table once."""
    assert verdicts() == {control.id: MET for control in controls.CONTROLS}
    assert len(verdicts()) == len(controls.CONTROLS)


CHANGED = {"8.3.9", "8.6.3", "CC6.1", "A.5.17", "IA-5 f"}


@pytest.mark.parametrize(
    ("changes", "verdict", "which"),
    [
        ({"rotation__outcome": "failed"}, NOT_SHOWN, CHANGED),
        ({"rotation__outcome": "rolled back"}, NOT_SHOWN, CHANGED),
        ({"rotation__outcome": "under way"}, NOT_YET, CHANGED),
        ({"new_credential__state": "left to the rotation function"}, NOT_SHOWN, CHANGED),
        ({"new_credential__state": "not verified"}, NOT_SHOWN, CHANGED),
        ({"old_credential__state": "in grace"}, NOT_YET, {"CC6.1", "A.5.17"}),
        ({"old_credential__state": "overdue"}, NOT_YET, {"CC6.1", "A.5.17"}),
        ({"old_credential__state": "until its next turn"}, NOT_YET, {"CC6.1", "A.5.17"}),
        ({"old_credential__state": "replaced"}, NOT_SHOWN, {"CC6.1", "A.5.17"}),
        ({"old_credential__state": "unknown"}, NOT_SHOWN, {"CC6.1", "A.5.17"}),
        ({"old_credential__lifetime_seconds": 31 * DAY}, MET, set()),
        ({"old_credential__lifetime_seconds": 31 * DAY + 1}, NOT_SHOWN, {"8.6.3", "IA-5 f"}),
        ({"old_credential__lifetime_seconds": 90 * DAY + 1, "policy__days": 365}, NOT_SHOWN, {"8.3.9"}),
        ({"old_credential__lifetime_seconds": None}, NOT_SHOWN, {"8.3.9", "8.6.3", "IA-5 f"}),
        ({"policy__in_force": AS_OF_NOW}, NOT_SHOWN, {"8.6.3", "IA-5 f"}),
        ({"policy__days": None}, NOT_SHOWN, {"8.6.3", "IA-5 f"}),
        ({"policy__days": None, "policy__expression": "rate(30 days)"}, MET, set()),
        ({"policy__days": None, "policy__expression": "rate(30 days)", "asked__cause": "RotateSecret"}, NOT_SHOWN,
         {"8.6.3", "IA-5 f"}),
        ({"policy__password": {"length": 14}}, NOT_SHOWN, {"8.6.3"}),
        ({"policy__password": None}, NOT_SHOWN, {"8.6.3", "IA-5(1)(h)"}),
        ({"asked__by": None}, NOT_SHOWN, {"10.2.2", "AU-3"}),
        ({"steps": [{"began": None, "outcome": "done"}]}, NOT_SHOWN, {"10.2.2", "AU-3"}),
        ({"complete": False}, NOT_SHOWN, {"10.2.2", "AU-3"}),
    ],
)  # fmt: skip
def test_what_is_missing_is_not_claimed(changes: dict[str, Any], verdict: str, which: set[str]) -> None:
    """And what does not depend on it still is."""
    found = verdicts(**changes)
    if "complete" in changes:
        which = which | {control for control in found if found[control] == NOT_YET}
        found = {control: NOT_SHOWN if one == NOT_YET else one for control, one in found.items()}
    assert {control for control, one in found.items() if one == verdict and verdict != MET} == which
    assert {control for control, one in found.items() if one == MET} == found.keys() - which


@pytest.mark.parametrize(
    ("seen", "logged", "proved"),
    [
        (Seen(), NOT_SHOWN, NOT_SHOWN),
        (Seen(frozenset("a"), frozenset()), NOT_YET, NOT_SHOWN),
        (Seen(frozenset("ab"), frozenset("a")), MET, NOT_YET),
        (Seen(frozenset("xyz"), frozenset("xyz")), NOT_SHOWN, NOT_SHOWN),
        (Seen(frozenset("abc"), frozenset("abc")), MET, MET),
    ],
)
def test_what_the_ledger_shows(seen: Seen, logged: str, proved: str) -> None:
    """Every event counts, and entries of other things do not."""
    found = verdicts(seen)
    assert {found[control] for control in ("10.2.1.5", "AU-12")} == {logged}
    assert {found[control] for control in ("A.8.15", "AU-10")} == {proved}
