"""Rotations that nobody asks for: in their windows, at their instants, and never outside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keywheel.clock import from_epoch, to_epoch
from keywheel.secrets.labels import PENDING
from tests.support.account import ALTERNATING_USERS, SINGLE_USER, Account, token
from tests.support.memory_target import MemoryTarget

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday


def successes(account: Account, name: str = "app") -> list[datetime]:
    return [from_epoch(note.at) for note in account.journal(name) if note.event == "RotationSucceeded"]


def next_date(account: Account, name: str = "app") -> datetime | None:
    seconds = account.describe(name).next_rotation_date
    return None if seconds is None else from_epoch(seconds)


@pytest.mark.parametrize(
    ("days", "expression", "duration", "expected"),
    [
        (10, None, None, [(1, 0, 0), (11, 0, 24), (21, 0, 24), (31, 0, 24)]),
        (10, None, "2h", [(1, 0, 0), (11, 0, 2), (21, 0, 2), (31, 0, 2)]),
        (None, "rate(10 days)", None, [(1, 0, 0), (11, 0, 24), (21, 0, 24), (31, 0, 24)]),
        (None, "rate(240 hours)", "3h", [(1, 0, 0), (2, 0, 3), (12, 0, 3), (22, 0, 3)]),
        (None, "cron(0 8 1,15 * ? *)", None, [(1, 0, 0), (1, 8, 24), (15, 8, 24)]),
        (None, "cron(0 20 ? * SUN *)", "4h", [(1, 0, 0), (4, 20, 24), (11, 20, 24), (18, 20, 24), (25, 20, 24)]),
    ],
)
def test_a_secret_is_rotated_in_each_of_its_windows(
    account: Account,
    days: int | None,
    expression: str | None,
    duration: str | None,
    expected: list[tuple[int, int, int]],
) -> None:
    """Once in each, at an instant inside it, after the rotation that configured it."""
    account.rotate("app", SINGLE_USER, days=days, expression=expression, duration=duration)
    account.pass_time(days=31)
    happened = successes(account)
    assert [moment.day for moment in happened] == [day for day, _, _ in expected]
    for moment, (_, opens, closes) in zip(happened[1:], expected[1:], strict=True):
        assert opens <= moment.hour < closes


def test_the_next_date_is_the_last_second_of_the_next_window(account: Account) -> None:
    """It moves with each success, and the due instant lies before it."""
    account.rotated("app", SINGLE_USER, expression="cron(0 8 * * ? *)", duration="2h")
    for day in (1, 2, 3):
        expected = BEGINNING.replace(day=day, hour=9, minute=59, second=59)
        due = from_epoch(account.rotation("app").due or 0.0)
        assert next_date(account) == expected
        assert BEGINNING.replace(day=day, hour=8) <= due <= expected
        account.pass_time(days=1)


def test_the_next_date_is_absent_without_a_schedule(account: Account) -> None:
    """Rotation on request has no date, and wakes nobody."""
    account.rotated("app", SINGLE_USER)
    assert next_date(account) is None
    assert account.rotation("app").wake_at is None
    account.pass_time(days=400)
    assert len(successes(account)) == 1


def test_a_new_schedule_replaces_the_old_one(account: Account) -> None:
    """From its configuration on."""
    account.rotated("app", SINGLE_USER, days=2)
    account.rotated("app", days=20, immediately=False)
    account.pass_time(days=19)
    assert len(successes(account)) == 1
    account.pass_time(days=3)
    assert len(successes(account)) == 2


def test_a_value_put_by_hand_counts_as_a_rotation(account: Account, target: MemoryTarget) -> None:
    """Days are counted from it: nothing happens on the day that the schedule had meant before."""
    account.rotated("app", SINGLE_USER, days=10)
    account.pass_time(days=7)
    account.put("app", target.new_user("app", "by hand"))
    assert next_date(account) == datetime(2026, 1, 18, 23, 59, 59, tzinfo=UTC)
    account.pass_time(days=9)
    assert len(successes(account)) == 1
    account.pass_time(days=2)
    assert len(successes(account)) == 2


@pytest.mark.parametrize("deed", ["pending", "label", "tag"])
def test_what_does_not_change_the_current_value_does_not_count(account: Account, deed: str) -> None:
    """A value under another label, a label that moves, a tag: the date stays."""
    account.rotated("app", SINGLE_USER, days=10)
    account.pass_time(days=3)
    before = next_date(account), account.rotation("app").due
    if deed == "pending":
        account.put("app", "a value", "custom")
    elif deed == "label":
        account.move("app", "custom", to=account.labels("app")["AWSPREVIOUS"])
    else:
        account.tag("app", "colour", "green")
    assert (next_date(account), account.rotation("app").due) == before


def test_a_window_that_was_missed_is_not_made_up_for_outside_one(account: Account) -> None:
    """The engine was off: what was due waits for the next window, and the journal says so."""
    account.rotated("app", SINGLE_USER, expression="cron(0 8 ? * SUN *)", duration="2h")
    account.wait_until(datetime(2026, 1, 5, tzinfo=UTC))  # the Monday after
    account.engine.tick()
    assert account.events("app")[-1] == "RotationPostponed"
    assert next_date(account) == datetime(2026, 1, 11, 9, 59, 59, tzinfo=UTC)
    account.pass_time(days=7)
    assert [moment.day for moment in successes(account)] == [1, 11]


def test_a_window_that_is_still_open_is_used(account: Account) -> None:
    """The engine was off at the instant that was due, and is back before the window closes."""
    account.rotated("app", SINGLE_USER, expression="cron(0 8 ? * SUN *)", duration="2h")
    account.wait_until(datetime(2026, 1, 4, 9, 59, 58, tzinfo=UTC))
    account.engine.tick()
    assert successes(account)[-1] == account.clock.now()


def test_an_overdue_secret_is_rotated_on_the_next_day_there_is(account: Account) -> None:
    """By age, every day after the day that was missed is a window."""
    account.rotated("app", SINGLE_USER, days=10)
    account.wait_until(datetime(2026, 1, 20, 12, tzinfo=UTC))
    account.engine.tick()
    account.pass_time(days=1, hours=12)
    assert successes(account)[-1].day in (20, 21)
    assert len(successes(account)) == 2


def test_a_rotation_by_request_uses_up_the_window_it_falls_in(account: Account) -> None:
    """A secret is not rotated twice in one window."""
    account.rotated("app", SINGLE_USER, expression="cron(0 0 * * ? *)")
    account.wait_until(BEGINNING.replace(day=2))
    account.rotated("app")
    account.pass_time(hours=23, minutes=59)
    assert [moment.day for moment in successes(account)] == [1, 2]


def test_a_label_that_somebody_left_postpones_the_rotation(account: Account, target: MemoryTarget) -> None:
    """AWSPENDING of somebody else blocks each window, and is never touched; then the next window is used."""
    account.rotated("app", SINGLE_USER, days=1)
    version = account.put("app", "a value", PENDING)
    account.pass_time(days=3)
    assert set(account.events("app")[2:]) == {"RotationPostponed"}
    assert account.labels("app")[PENDING] == version
    account.move("app", PENDING, away_from=version)
    account.pass_time(days=2)
    assert account.events("app")[-1] == "RotationSucceeded"


@pytest.mark.parametrize(("labels", "reason"), [(18, "20 staging labels"), (0, "AWSPENDING is attached")])
def test_what_postpones_a_rotation_is_visible(account: Account, labels: int, reason: str) -> None:
    """A schedule that comes to nothing, because a person has to act, says so; until it comes to something."""
    account.rotated("app", SINGLE_USER, days=1)
    version = account.put("app", "a value", *(f"label-{n}" for n in range(labels)), *([] if labels else [PENDING]))
    account.pass_time(days=2)
    note = account.journal("app")[-1]
    failure = account.rotation("app").failure
    assert (note.event, reason in (note.reason or "")) == ("RotationPostponed", True)
    assert failure is not None
    assert reason in failure.reason
    account.move("app", "label-1" if labels else PENDING, away_from=version)
    account.pass_time(days=2)
    assert account.events("app")[-1] == "RotationSucceeded"
    assert account.rotation("app").failure is None


def test_two_secrets_with_one_schedule_do_not_start_together(account: Account) -> None:
    """Each has its own instant in the window, the same on every replica."""
    account.rotated("app", SINGLE_USER, days=10)
    account.rotated("pair", ALTERNATING_USERS, days=10)
    assert account.rotation("app").due != account.rotation("pair").due


def test_a_clock_that_is_set_back_rotates_nothing_twice(account: Account) -> None:
    """What was due stays due at its instant, and once."""
    account.rotated("app", SINGLE_USER, days=1)
    account.pass_time(days=2)
    happened = len(successes(account))
    account.clock.set(account.clock.now() - timedelta(hours=30))
    account.pass_time(hours=29)
    assert len(successes(account)) == happened


def test_a_rotation_by_request_does_not_wait_for_the_window(account: Account) -> None:
    """RotateSecret rotates now, and the schedule counts from it."""
    account.rotated("app", SINGLE_USER, expression="cron(0 8 ? * SUN *)")
    account.pass_time(days=1)
    version = token()
    account.rotate("app", version=version)
    account.engine.tick()
    assert to_epoch(account.clock.now()) == account.describe("app").last_rotated_date
    assert next_date(account) == datetime(2026, 1, 4, 23, 59, 59, tzinfo=UTC)
