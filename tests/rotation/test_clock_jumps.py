"""Engines under clocks that jump, and after long pauses: nothing early, nothing lost, no stampede."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from keywheel.clock import from_epoch, to_epoch
from keywheel.db.statement import Tx
from keywheel.db.tables import rotation as r
from keywheel.rotation import timekeeper
from keywheel.rotation.machine import Step
from keywheel.rotation.timekeeper import Known
from keywheel.secrets.labels import PENDING, PREVIOUS
from tests.support.account import SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget

YEAR = timedelta(days=365)
MANY = 100_000
_ROTATION = [column.name for column in r.c if column.name not in ("secret_id", "due", "wake_at")]
_SECRET = "account, region, tags, created, changed"


def known(account: Account) -> Known:
    with account.rooms.database.read() as tx:
        return timekeeper.read(tx)


def jump(account: Account, duration: timedelta) -> None:
    account.clock.set(account.clock.now() + duration)


def restart(account: Account) -> None:
    account.engine = account.house.engine("engine-1")


def sweep(account: Account) -> None:
    """What an engine does each minute."""
    account.engine._sweep()


def minutes(account: Account, count: int) -> None:
    """An engine that looks each minute."""
    for _ in range(count):
        account.clock.advance(timedelta(minutes=1))
        sweep(account)
        while account.engine.tick():
            pass


def successes(account: Account, name: str = "app") -> list[datetime]:
    return [from_epoch(note.at) for note in account.journal(name) if note.event == "RotationSucceeded"]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_year_ahead_and_back_changes_nothing(account: Account, restarted: bool) -> None:
    """Nothing is rotated, retired or purged meanwhile; then everything comes when it was due."""
    account.rotated("app", SINGLE_USER, days=30, duration="2h")
    account.create("gone", "a value")
    account.delete("gone", days=7)
    minutes(account, 2)
    due = account.rotation("app").due
    jump(account, YEAR)
    if restarted:
        restart(account)
    minutes(account, 10)
    assert len(successes(account)) == 1
    assert account.labels("gone") != {}, "it was purged by a wrong clock"
    assert known(account).doubted is not None
    jump(account, -YEAR)
    if restarted:
        restart(account)
    minutes(account, 2)
    assert known(account).doubted is None
    assert account.rotation("app").due == due
    account.restore("gone")
    account.pass_time(days=32)
    assert [each.date() for each in successes(account)[1:]] == [from_epoch(due or 0.0).date()]


def test_what_was_rotated_by_a_clock_a_year_ahead_is_planned_anew(account: Account, target: MemoryTarget) -> None:
    """The wrong time was accepted overnight; when it is put right, nothing waits for a year."""
    account.rotated("app", SINGLE_USER, days=30, duration="2h")
    account.create("rate", target.new_user("rate", "first"))
    account.rotated("rate", SINGLE_USER, expression="rate(10 days)")
    minutes(account, 1)
    right = account.clock.now()
    jump(account, YEAR)
    minutes(account, 20)
    account.pass_time(days=11)
    assert len(successes(account)) == len(successes(account, "rate")) == 2
    jump(account, -YEAR)
    minutes(account, 20)
    for name, period in {"app": 30, "rate": 10}.items():
        before = len(successes(account, name))
        due = from_epoch(account.rotation(name).due or 0.0)
        assert due > right, name
        account.pass_time(days=period + 2)
        assert len(successes(account, name)) == before + 1, name
        assert right + timedelta(days=1) < successes(account, name)[-1] < account.clock.now(), name


def test_a_clock_a_year_behind_rotates_nothing_early_when_it_is_right_again(account: Account) -> None:
    """It was accepted, since nobody came; but nothing was dated by it."""
    account.rotated("app", SINGLE_USER, days=30, duration="2h")
    minutes(account, 1)
    due = account.rotation("app").due
    jump(account, -YEAR)
    minutes(account, 30)
    assert known(account).doubted is None
    assert account.rotation("app").due == due
    jump(account, YEAR)
    minutes(account, 30)
    assert len(successes(account)) == 1
    account.pass_time(days=31)
    assert [each.date() for each in successes(account)[1:]] == [from_epoch(due or 0.0).date()]


def test_a_person_says_that_a_clock_is_right(account: Account) -> None:
    """It was wrong from the beginning: what it planned for next year is planned for now, at once."""
    jump(account, YEAR)
    account.rotated("app", SINGLE_USER, days=30, duration="2h")
    minutes(account, 1)
    jump(account, -YEAR)
    minutes(account, 1)
    assert known(account).doubted is not None
    now = to_epoch(account.clock.now())
    account.rooms.database.write(
        lambda tx: timekeeper.write(tx, Known(timekeeper.read(tx).seen, word=now, doubted=-1.0))
    )
    minutes(account, 1)
    assert (known(account).doubted, known(account).word) == (None, None)
    assert account.rotation("app").due == pytest.approx(now + 30 * 86_400.0, abs=86_400.0)
    minutes(account, 1)
    account.pass_time(days=32)
    assert len(successes(account)) == 2


@pytest.mark.parametrize("offset", [YEAR, -YEAR])
def test_a_rotation_under_way_ends_whatever_the_clock_does(
    account: Account, target: MemoryTarget, offset: timedelta
) -> None:
    """Its worker died, or it waits to try again: it goes on at once, or when the jump is accepted."""
    target.down = True
    version = account.rotated("app", SINGLE_USER)
    assert account.labels("app")[PENDING] == version
    minutes(account, 1)
    target.down = False
    jump(account, offset)
    minutes(account, 30)
    assert account.labels("app")["AWSCURRENT"] == version
    assert account.rotation("app").step is Step.IDLE


def test_a_grace_period_is_not_ended_by_a_jump(account: Account) -> None:
    """The old credential of a wrong clock's rotation is retired when its grace is over by the right one."""
    account.tag("app", "keywheel:grace-period", "2d")
    account.rotated("app", SINGLE_USER)
    minutes(account, 1)
    before = account.rotation("app")
    jump(account, YEAR)
    minutes(account, 10)
    assert account.rotation("app") == before
    assert PREVIOUS in account.labels("app")
    minutes(account, 10)  # accepted
    account.rotated("app")
    jump(account, -YEAR)
    minutes(account, 20)
    retire_at = account.rotation("app").retire_at
    assert retire_at is None or retire_at <= to_epoch(account.clock.now()) + 2 * 86_400.0


def test_a_machine_that_slept_for_a_month_spreads_what_is_overdue(account: Account, target: MemoryTarget) -> None:
    """Its clock is right: nothing is held, and nothing is skipped."""
    names = [f"user-{number}" for number in range(120)]
    for name in names:
        account.create(name, target.new_user(name, "first"))
        account.rotate(name, SINGLE_USER, days=10, immediately=False)
    while account.engine.tick():
        pass
    minutes(account, 1)
    account.clock.advance(timedelta(days=30))
    account.engine.tick()
    wakes = sorted(account.rotation(name).wake_at or 0.0 for name in names)
    now = to_epoch(account.clock.now())
    assert sum(wake > now + 60.0 for wake in wakes) > len(wakes) * 3 // 4
    assert wakes[-1] <= now + 2 * 86_400.0
    account.pass_time(days=2)
    assert all(account.events(name)[-1] in ("RotationSucceeded", "RotationFailed") for name in names)


def test_a_hundred_thousand_overdue_are_spread_and_none_is_lost(account: Account) -> None:
    """By one statement."""
    account.rotated("app", SINGLE_USER, days=10)
    minutes(account, 1)
    due = to_epoch(account.clock.now()) - 60.0
    database = account.rooms.database
    database.write(lambda tx: fill(tx, due))
    account.clock.advance(timedelta(hours=3))
    now = to_epoch(account.clock.now())
    assert account.engine._timekeeper.trusts()
    with database.read() as tx:
        ((early, last, count),) = rows(
            tx, f"SELECT count(*) FILTER (WHERE wake_at <= {now + 9.0}), max(wake_at), count(due) FROM rotation"
        )
    assert count == MANY + 1
    assert 0 < early <= MANY // 50
    assert now + 800.0 < last <= due + 11 * 86_400.0


def fill(tx: Tx, due: float) -> None:
    """Secrets like `app`, all of them due."""
    rows(
        tx,
        f"INSERT INTO secret (name, arn, {_SECRET}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        f"WHERE i < {MANY}) SELECT 'many-' || i, 'arn-' || i, {_SECRET} FROM n CROSS JOIN secret WHERE name = 'app'",
    )
    columns, copied = ", ".join(_ROTATION), ", ".join(f"r.{name}" for name in _ROTATION)
    rows(
        tx,
        f"INSERT INTO rotation (secret_id, due, wake_at, {columns}) SELECT s.id, {due}, {due}, {copied} "
        "FROM secret s, rotation r WHERE substr(s.name, 1, 5) = 'many-'",
    )


def rows(tx: Tx, sql: str) -> list[tuple[float, ...]]:
    """What a statement without parameters gives."""
    cursor = tx.execute(sql, {} if tx.dialect == "sqlite" else ())
    return cursor.fetchall() if sql.startswith("SELECT") else []
