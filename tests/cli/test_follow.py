"""How a rotation is followed by the journal. The journals here are written by hand, newest event first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from keywheel.cli.client import Client, ServerAway, ServerRefused
from keywheel.cli.follow import FAILED, REFUSED, ROTATED, TIMED_OUT, Followed, follow, judge, under_way
from keywheel.testing import ManualClock

Event = dict[str, Any]
OURS = Followed("s", "arn", version_id="ours", since=10.0)
JOINED = Followed("s", "arn", since=10.0, joined=True)


def event(name: str, at: float = 11.0, version: str = "ours", **more: str) -> Event:
    """An entry of a journal."""
    return {"Event": name, "At": at, "VersionId": version, "Step": "set", **more}


FAILURE = event("RotationFailed", Code="TargetRefused", Reason="no")


@pytest.mark.parametrize(
    ("followed", "journal", "outcome"),
    [
        (OURS, [], None),
        (OURS, [event("RotationStarted")], None),
        (OURS, [event("StepRetried", Code="TargetUnavailable")], None),
        (OURS, [event("OldCredentialRetired"), event("RotationSucceeded")], ROTATED),
        (OURS, [event("RotationStarted", version="next"), event("RotationSucceeded")], ROTATED),
        (OURS, [event("RotationSucceeded", version="before")], None),
        (OURS, [FAILURE], FAILED),
        (OURS, [event("RotationCancelled")], "cancelled"),
        (OURS, [event("RotationAbandoned")], "abandoned"),
        (JOINED, [event("RotationFailed", at=10.0)], None),
        (JOINED, [event("RotationFailed", at=12.0), event("RotationFailed", at=10.0)], FAILED),
        (JOINED, [event("RotationSucceeded", version="another")], ROTATED),
    ],
)
def test_how_a_rotation_ended_is_in_the_journal(followed: Followed, journal: list[Event], outcome: str | None) -> None:
    """Our own by its version; one that was joined by what came after."""
    assert outcome == judge(followed, journal).outcome


def test_why_it_is_not_done_yet_is_known() -> None:
    """The newest event's step, code and reason."""
    seen = judge(OURS, [event("StepRetried", Code="TargetUnavailable", Reason="away"), event("StepDone")])
    assert (seen.step, seen.code, seen.reason) == ("set", "TargetUnavailable", "away")


def test_a_success_after_a_retry_tells_of_no_failure() -> None:
    """What went wrong on the way is over."""
    seen = judge(OURS, [event("RotationSucceeded"), event("StepRetried", Code="TargetUnavailable", Reason="away")])
    assert (seen.outcome, seen.code, seen.reason) == (ROTATED, None, None)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], False),
        (["RotationStarted"], True),
        (["StepRetried", "StepDone", "RotationStarted"], True),
        (["RotationFailed", "RotationStarted"], True),
        (["RotationSucceeded"], False),
        (["RetirementDelayed", "RotationSucceeded"], False),
        (["OldCredentialRetired", "RotationStarted"], True),
        (["RotationCancelled"], False),
        (["TestRotationStarted"], False),
    ],
)
def test_whether_a_rotation_is_under_way(names: list[str], expected: bool) -> None:
    """A failed one is not complete; retiring an old credential is no rotation, nor is a test."""
    assert expected == under_way([event(name) for name in names])


class Script:
    """A server that answers as it is told, one answer after the other, the last one for ever."""

    def __init__(self, *answers: list[Event] | Exception) -> None:
        self.answers = list(answers)

    def call(self, operation: str, **members: str) -> dict[str, Any]:
        """The next answer."""
        assert (operation, members) == ("keywheel.ListRotationEvents", {"SecretId": "arn"})
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"Events": answer}


def followed_to_the_end(script: Script) -> tuple[Followed, list[Sequence[Followed]]]:
    """Follow OURS for 60 seconds of a clock that sleeping moves."""
    clock, told = ManualClock(), list[Sequence[Followed]]()
    client = cast("Client", script)

    def sleep(seconds: float) -> None:
        clock.advance(timedelta(seconds=seconds))

    ended = follow(client, [OURS], clock=clock, sleep=sleep, timeout=60.0, tell=told.append)
    return ended[0], told


def test_it_is_asked_until_it_ends() -> None:
    """Each look is told of, the last one with the outcome."""
    ended, told = followed_to_the_end(Script([], [event("StepDone")], [event("RotationSucceeded")]))
    assert ended.outcome == ROTATED
    assert [one.outcome for (one,) in told] == [None, None, ROTATED]


def test_a_server_that_is_away_for_a_while_is_asked_again() -> None:
    """A restart of the server does not end the watch."""
    ended, told = followed_to_the_end(Script(ServerAway("away"), [event("RotationSucceeded")]))
    assert told[0][0].code == "ServerAway"
    assert (ended.outcome, ended.code, ended.reason) == (ROTATED, None, None)


def test_a_server_that_stays_away_is_the_reason() -> None:
    """The time is up, and nobody knows more."""
    ended, _ = followed_to_the_end(Script(ServerAway("away")))
    assert (ended.outcome, ended.code, ended.reason) == (TIMED_OUT, "ServerAway", "away")


def test_a_rotation_that_nobody_takes_up_points_at_the_engine() -> None:
    """Started, and then nothing: the engine is asked for."""
    ended, _ = followed_to_the_end(Script([event("RotationStarted", Step="create")]))
    assert (ended.outcome, ended.seconds) == (TIMED_OUT, 60.0)
    assert "engine" in (ended.reason or "")


def test_a_secret_that_is_deleted_meanwhile_ends_its_watch() -> None:
    """What the server says then is the outcome."""
    ended, _ = followed_to_the_end(Script([], ServerRefused("ResourceNotFoundException", "gone")))
    assert (ended.outcome, ended.code) == (REFUSED, "ResourceNotFoundException")
