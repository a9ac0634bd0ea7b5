"""Who runs a rotation: one worker at a time, until its lease is over; and whoever lost it writes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import Fenced, ResourceNotFound
from keywheel.rotation import machine, rows
from keywheel.rotation.claims import Claims
from keywheel.rotation.machine import Outcome, Step
from keywheel.rotation.rows import Entry
from keywheel.rotation.slots import Limits
from keywheel.rotation.worker import Engine, Pace, _Hold
from keywheel.secrets.labels import CURRENT, PENDING
from tests.support.account import SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget

LEASE = timedelta(seconds=30)


class Death(BaseException):
    """The process ends here."""


def dies_at(verb: str) -> Callable[[str], None]:
    def meanwhile(called: str) -> None:
        if called == verb:
            raise Death

    return meanwhile


def die(account: Account, target: MemoryTarget, verb: str = "set_password") -> str:
    """A rotation whose worker dies as it calls `verb`; its version."""
    version = account.rotate("app", SINGLE_USER)
    target.meanwhile = dies_at(verb)
    with pytest.raises(Death):
        account.engine.tick()
    target.meanwhile = lambda _: None
    return version


def engine_like(account: Account, name: str, pace: Pace) -> Engine:
    """An engine on the machine's own clock."""
    rooms = account.rooms
    return Engine(rooms.database, rooms.secrets, rooms.rotations, rooms.runners, SystemClock(), name=name, pace=pace)


def claimed(account: Account, name: str = "app") -> Entry:
    """The secret's rotation, claimed by nobody who is known."""
    row, now = account.entry(name), to_epoch(account.clock.now())
    entry = account.rooms.database.write(
        lambda tx: rows.claim(tx, row.secret_id, place=row.place, worker="w", now=now, until=9e9)
    )
    assert entry is not None
    return entry


# --- one at a time -------------------------------------------------------------------------------------------------


def test_two_engines_never_run_one_secret_at_once(account: Account, target: MemoryTarget) -> None:
    """While the first is at the target, the second finds nothing to do, at whatever step that is."""
    others, found = account.house.engine("engine-2"), []
    target.meanwhile = lambda verb: found.append((verb, others.tick()))
    account.rotated("app", SINGLE_USER)
    assert found == [("set_password", 0), ("accepts", 0), ("accepts", 0)]


def test_two_engines_share_what_is_due(account: Account, target: MemoryTarget) -> None:
    """Each rotation is claimed once, whoever comes first."""
    names = [f"app-{n}" for n in range(12)]
    for name in names:
        account.create(name, target.new_user(name, "first"))
        account.rotate(name, SINGLE_USER)
    engines = [account.house.engine(f"engine-{n}") for n in (1, 2)]
    counts: list[int] = []

    def work(engine: Engine) -> None:
        while claimed := engine.tick():
            counts.append(claimed)

    threads = [threading.Thread(target=work, args=[engine]) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == len(names)
    assert [account.events(name) for name in names] == [["RotationStarted", "RotationSucceeded"]] * len(names)


def test_the_oldest_is_claimed_first(account: Account, target: MemoryTarget) -> None:
    """An engine takes no more than it has hands."""
    account.create("late", target.new_user("late", "first"))
    account.rotate("app", SINGLE_USER)
    account.clock.advance(timedelta(seconds=1))
    account.rotate("late", SINGLE_USER)
    claims = Claims(account.rooms.database, Limits(), name="w")
    (due,) = claims.look(to_epoch(account.clock.now()), 1, ())
    assert due.secret_id == account.entry("app").secret_id


# --- a lease that ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["set_password", "accepts"])
def test_a_lease_that_is_over_is_taken_over(account: Account, target: MemoryTarget, verb: str) -> None:
    """Not before; and the step is run again with the same value."""
    version = die(account, target, verb)
    written = account.text("app", version=version)
    others = account.house.engine("engine-2")
    account.clock.advance(LEASE - timedelta(seconds=1))
    assert others.tick() == 0
    account.clock.advance(timedelta(seconds=1))
    assert others.tick() == 1
    assert account.labels("app")[CURRENT] == version
    assert account.text("app") == written
    assert target.accepts(account.credential("app"))


def test_a_value_that_was_not_written_down_was_never_seen(account: Account, target: MemoryTarget) -> None:
    """A crash before the value is durable draws another one."""
    version = account.rotate("app", SINGLE_USER)
    target.PASSWORD_LENGTH = 1  # type: ignore[misc] # nothing can be drawn: create fails before it has a value
    account.engine.tick()
    assert version not in account.versions("app")
    target.PASSWORD_LENGTH = 20  # type: ignore[misc] # as above
    account.sleep("app")
    assert account.labels("app")[CURRENT] == version


def test_an_engine_that_starts_again_goes_on_at_once(account: Account, target: MemoryTarget) -> None:
    """Under its own name it takes back what it held; another engine's is left alone."""
    version = die(account, target)
    stranger = account.house.engine("engine-2")
    stranger._reclaim()
    assert stranger.tick() == 0
    again = account.house.engine("engine-1")
    again._reclaim()
    assert again.tick() == 1
    assert account.labels("app")[CURRENT] == version


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_dead_worker_sent_may_land_later_and_is_mended(
    account: Account, target: MemoryTarget, restarted: bool
) -> None:
    """On a target that cannot tell old from new: its credential is looked at once more, a lease afterwards."""
    die(account, target)
    late = account.credential("app", PENDING).password.reveal()
    others = account.house.engine("engine-1" if restarted else "engine-2")
    if restarted:
        others._reclaim()
    else:
        account.clock.advance(LEASE)
    others.tick()
    account.rotate("app")
    others.tick()
    target.passwords["app"] = late
    assert not target.accepts(account.credential("app"))
    account.clock.advance(LEASE)
    others.tick()
    assert target.accepts(account.credential("app"))
    assert account.events("app")[-1] == "CredentialRepaired"


def test_starting_again_wakes_nothing_that_rests(account: Account) -> None:
    """What this engine had finished keeps its timer."""
    account.rotated("app", SINGLE_USER, days=10)
    due = account.rotation("app").wake_at
    account.house.engine("engine-1")._reclaim()
    assert account.rotation("app").wake_at == due


# --- a worker that lost its lease ----------------------------------------------------------------------------------


def test_a_worker_that_was_overtaken_writes_nothing(account: Account, target: MemoryTarget) -> None:
    """Frozen at the target, overtaken, thawed: the rotation of the other one stands, and is told once."""
    others = account.house.engine("engine-2")

    def freeze(verb: str) -> None:
        if verb == "set_password":
            target.meanwhile = lambda _: None
            account.clock.advance(LEASE)
            assert others.tick() == 1

    target.meanwhile = freeze
    version = account.rotated("app", SINGLE_USER)
    assert account.labels("app")[CURRENT] == version
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]
    assert [note.event for note in account.journal("app")].count("OldCredentialRetired") == 1
    assert target.accepts(account.credential("app"))


@pytest.mark.parametrize("deed", ["commit", "finish", "rest", "end_rehearsal", "begin_due"])
def test_a_stale_fence_commits_nothing(account: Account, deed: str) -> None:
    """Every write of a worker compares the fence inside its transaction."""
    account.rotate("app", SINGLE_USER)
    database, rotations, now = account.rooms.database, account.rooms.rotations, account.clock.now()
    entry = claimed(account)
    account.put("app", "by hand")
    before = account.entry("app"), account.labels("app"), account.journal("app"), account.versions("app")
    following = machine.advance(entry.rotation, Outcome.DONE, now=to_epoch(now), jitter=0.0)
    deeds: dict[str, Callable[[object], object]] = {
        "commit": lambda tx: rotations.commit(tx, entry, following, [unreachable], now, place="p"),  # type: ignore[arg-type]
        "finish": lambda tx: rotations.finish(tx, entry, [unreachable], now, grace=None, retires=True),  # type: ignore[arg-type]
        "rest": lambda tx: rotations.rest(tx, entry, following, now),  # type: ignore[arg-type]
        "end_rehearsal": lambda tx: rotations.end_rehearsal(tx, entry, following, now),  # type: ignore[arg-type]
        "begin_due": lambda tx: rotations.begin_due(tx, entry, now),  # type: ignore[arg-type]
    }
    with pytest.raises(Fenced):
        database.write(deeds[deed])
    assert (account.entry("app"), account.labels("app"), account.journal("app"), account.versions("app")) == before


def unreachable(*_: object) -> None:
    raise AssertionError("an effect was carried out under a stale fence")


def test_a_lease_that_ended_unnoticed_is_still_good(account: Account, target: MemoryTarget) -> None:
    """Nobody took over, so the work of a worker that was slow may be written down."""

    def slow(verb: str) -> None:
        account.clock.advance(LEASE * 2)

    target.meanwhile = slow
    version = account.rotated("app", SINGLE_USER)
    assert account.labels("app")[CURRENT] == version


# --- the heartbeat -------------------------------------------------------------------------------------------------


def test_a_heartbeat_renews_what_is_under_way(account: Account, target: MemoryTarget) -> None:
    """A step that takes longer than the lease is not taken over, as long as its engine lives."""
    others, found = account.house.engine("engine-2"), []

    def slow(verb: str) -> None:
        for _ in range(4):
            account.clock.advance(LEASE / 3)
            account.engine._renew()
            found.append(others.tick())

    target.meanwhile = slow
    version = account.rotated("app", SINGLE_USER)
    assert set(found) == {0}
    assert account.labels("app")[CURRENT] == version


def test_a_heartbeat_wakes_nothing_that_came_to_rest_meanwhile(account: Account, target: MemoryTarget) -> None:
    """A failed rotation waits for its window, though the heartbeat still had it on its list."""
    account.rotated("app", SINGLE_USER, days=10)
    target.passwords["app"] = "changed by somebody"
    account.rotated("app")
    entry = account.entry("app")
    assert entry.rotation.failed
    account.engine._holds[entry.secret_id, entry.fence] = _Hold(entry.place, 0.0)
    account.engine._renew()
    assert account.entry("app") == entry


def test_a_heartbeat_does_not_renew_what_somebody_took_away(account: Account, target: MemoryTarget) -> None:
    """A cancelled rotation is not held any longer than the lease that was running."""
    account.rotate("app", SINGLE_USER)
    waits: list[float | None] = []

    def cancelled(verb: str) -> None:
        account.cancel("app")
        waits.append(account.rotation("app").wake_at)
        account.clock.advance(LEASE / 3)
        account.engine._renew()
        waits.append(account.rotation("app").wake_at)

    target.meanwhile = cancelled
    account.engine.tick()
    assert len(set(waits)) == 1


# --- the running engine --------------------------------------------------------------------------------------------


@pytest.fixture
def running(account: Account) -> Account:
    """An account whose engine runs in a thread of its own, on the machine's clock."""
    account.clock.set(SystemClock().now())
    return account


def is_gone(account: Account, name: str) -> bool:
    try:
        account.describe(name)
    except ResourceNotFound:
        return True
    return False


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_a_running_engine_rotates_and_stops_when_told(running: Account) -> None:
    """It finds what is due by itself, ends without leaving a lease behind, and purges what is due to go."""
    running.create("gone", "a value")
    running.clock.advance(timedelta(days=-31))
    running.delete("gone")
    running.clock.set(SystemClock().now())
    engine = engine_like(running, "engine-1", Pace(poll=0.02))
    thread = threading.Thread(target=engine.run)
    thread.start()
    version = running.rotate("app", SINGLE_USER)
    until(lambda: running.rotation("app").step is Step.IDLE)
    until(lambda: is_gone(running, "gone"))
    engine.stop()
    thread.join(20.0)
    assert not thread.is_alive()
    assert running.labels("app")[CURRENT] == version
    assert running.entry("app").holder is None


def test_an_engine_that_is_stopped_leaves_the_rest_to_others_at_once(running: Account, target: MemoryTarget) -> None:
    """The step under way ends and is written down; the next one belongs to whoever comes, without waiting."""
    engine = engine_like(running, "engine-1", Pace(poll=0.02))
    target.meanwhile = lambda _: engine.stop()
    version = running.rotate("app", SINGLE_USER)
    engine.run()
    entry = running.entry("app")
    assert (entry.rotation.step, entry.holder, entry.rotation.token) == (Step.TEST, None, version)
    target.meanwhile = lambda _: None
    assert engine_like(running, "engine-2", Pace()).tick() == 1
    assert running.labels("app")[CURRENT] == version


@pytest.mark.parametrize("stops", [False, True])
def test_a_running_engine_holds_a_slow_step_by_its_heartbeat(
    running: Account, target: MemoryTarget, stops: bool
) -> None:
    """A step of several leases is run once, also when its engine was told to stop meanwhile."""
    running.rooms.rotations._lease = 0.3
    engine = engine_like(running, "engine-1", Pace(lease=0.3, poll=0.02))
    others = engine_like(running, "engine-2", Pace(lease=0.3, poll=0.02))

    def slow(verb: str) -> None:
        if verb == "set_password":
            others_thread.start()
            if stops:
                engine.stop()
            time.sleep(1.0)

    target.meanwhile = slow
    running.rotate("app", SINGLE_USER)
    threads = [threading.Thread(target=one.run) for one in (engine, others)]
    others_thread = threads[1]
    threads[0].start()
    until(lambda: running.rotation("app").step is Step.IDLE)
    for one in (engine, others):
        one.stop()
    for thread in threads:
        thread.join(20.0)
    assert target.calls.count("set_password app") == 1


def test_an_engine_outlives_a_store_that_is_away_for_a_moment(
    running: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so and goes on."""
    engine = engine_like(running, "engine-1", Pace(poll=0.02))
    take, failures = engine._take, iter([1])

    def fails_once(most: int) -> tuple[list[Entry], float]:
        if next(failures, None):
            raise OSError("the store is away")
        return take(most)

    monkeypatch.setattr(engine, "_take", fails_once)
    thread = threading.Thread(target=engine.run)
    thread.start()
    version = running.rotate("app", SINGLE_USER)
    until(lambda: running.labels("app")[CURRENT] == version)
    engine.stop()
    thread.join(20.0)
