"""`keywheel status`."""

from __future__ import annotations

import pytest

from keywheel.cli.status import standing
from tests.cli.conftest import Place
from tests.support.servers import free_port

NOW = 1_700_000_000.0
FIELDS = {
    "name", "arn", "state", "enabled", "function", "step", "version_id", "last_result", "last_rotated", "next_rotation",
    "stuck", "attempt", "code", "reason", "next_try",
}  # fmt: skip


def entry(**changes: object) -> dict[str, object]:
    """An entry of ListRotations of a secret that was rotated an hour ago and is due tomorrow."""
    usual = {"Name": "s", "Arn": "arn", "Enabled": True, "State": "ok"}
    return {**usual, "LastRotated": NOW - 3_600, "NextRotation": NOW + 86_400, **changes}


@pytest.mark.parametrize(
    ("changes", "state", "result", "stuck"),
    [
        ({}, "ok", "succeeded", False),
        ({"LastRotated": None}, "ok", "none yet", False),
        ({"State": "rotating", "Step": "set"}, "rotating", "succeeded", False),
        ({"State": "failed", "Code": "TargetRefused", "Reason": "no"}, "failed", "TargetRefused", True),
        ({"State": "retrying", "Code": "TargetUnavailable"}, "retrying", "TargetUnavailable", True),
        ({"NextRotation": NOW - 299}, "ok", "succeeded", False),
        ({"NextRotation": NOW - 301}, "overdue", "succeeded", True),
        ({"NextRotation": NOW - 301, "State": "rotating"}, "rotating", "succeeded", False),
        ({"NextRotation": None, "State": "off", "Enabled": False}, "off", "succeeded", False),
    ],
)
def test_what_is_stuck(changes: dict[str, object], state: str, result: str, stuck: bool) -> None:
    """What has a reason not to go on, and what nobody has begun although its window is over."""
    found = standing(entry(**changes), NOW)
    assert (found.state, found.last_result, found.stuck) == (state, result, stuck)


def test_what_is_overdue_points_at_the_engine() -> None:
    """It has a code and a reason like everything that is stuck."""
    found = standing(entry(NextRotation=NOW - 86_400), NOW)
    assert found.code == "Overdue"
    assert "keywheel doctor" in (found.reason or "")


def test_every_rotation_is_shown_with_what_is_stuck_and_why(place: Place) -> None:
    """State, next rotation and last result of each; code, reason and next try of what is stuck. The exit code is 0."""
    place.user("good")
    place.user("bad", port=free_port())
    place.run("rotate", "good")
    place.run("rotate", "bad", "--timeout", "1", code=1)
    shown = place.text("status")
    assert "2 rotations, 1 stuck." in shown
    assert [line.split()[:2] for line in shown.splitlines()[1:3]] == [["bad", "retrying"], ["good", "ok"]]
    assert "bad: retrying at set" in shown
    assert "  TargetUnavailable: PostgreSQL at 127.0.0.1" in shown
    assert "  Next try: " in shown


def test_a_program_gets_the_same_in_fields_that_stay(place: Place) -> None:
    """One document; instants are text in UTC; what is not known is null."""
    place.user("good")
    document = place.json("status")
    (found,) = document["rotations"]
    assert (document["total"], document["stuck"]) == (1, 0)
    assert set(found) == FIELDS
    assert (found["name"], found["state"], found["stuck"], found["code"]) == ("good", "ok", False, None)
    assert found["next_rotation"].endswith("Z")


def test_only_what_is_stuck_can_be_asked_for(place: Place) -> None:
    """The counts are of all."""
    place.user("good")
    place.user("bad", password="not-the-password")
    document = place.json("status", "--stuck")
    assert ([one["name"] for one in document["rotations"]], document["total"], document["stuck"]) == (["bad"], 2, 1)
    assert "good" not in place.text("status", "--stuck")


def test_a_secret_that_is_marked_for_deletion_is_not_rotated(place: Place) -> None:
    """So it is not told of, until it is restored."""
    place.user("gone")
    place.client.delete_secret(SecretId="gone")
    assert place.json("status")["rotations"] == []
    place.client.restore_secret(SecretId="gone")
    assert [one["name"] for one in place.json("status")["rotations"]] == ["gone"]


def test_without_rotations_there_is_no_table(place: Place) -> None:
    """Only the count."""
    assert place.text("status") == "0 rotations, 0 stuck.\n"
