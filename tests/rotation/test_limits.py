"""How many rotations are at one target at once, over all engines; and a backlog at one keeps nobody else waiting."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import bindparam, insert, select

from keywheel.db.database import Database, open_database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import secret as s
from keywheel.db.tables import slot
from keywheel.rotation import rows, slots
from keywheel.rotation.claims import Claim, Claims, Due, choose
from keywheel.rotation.machine import Rotation, Step
from keywheel.rotation.slots import Limits

NOW = 1_000_000.0
LIMITS = Limits(target=4, account=1_000)
_secret = Statement(
    insert(s)
    .values({name: bindparam(name) for name in ("account", "region", "name", "arn", "tags", "created", "changed")})
    .returning(s.c.id)
)
_slots = Statement(select(slot.c.place, slot.c.n, slot.c.holder, slot.c.until))


def fill(database: Database, due: dict[str, int], *, account: str = "1", wake_at: float = NOW) -> None:
    """So many due rotations at each place, a little later each."""

    def work(tx: Tx) -> None:
        number = 0
        for place, count in due.items():
            for _ in range(count):
                number += 1
                name = f"{account}/{place}/{number}"
                row = _secret.first(
                    tx, account=account, region="r", name=name, arn=name, tags="{}", created=0.0, changed=0.0
                )
                assert row is not None
                rotation = Rotation(step=Step.SET, token="t", wake_at=wake_at + number * 1e-6)
                rows.add(tx, row[0], rotation, place)

    database.write(work)


def claim(claims: Claims, now: float, most: int = 8, *, lease: float = 30.0) -> list[Claim]:
    """What an engine claims."""
    return claims.take(claims.look(now, most, ()), [], now=now, until=now + lease)


def rest(database: Database, one: Claim, *, worker: str) -> None:
    """The rotation is done with, and so are its slots."""

    def work(tx: Tx) -> None:
        row = rows.get(tx, one.entry.secret_id, lock=True)
        if row is not None and row.fence == one.entry.fence:
            rows.save(tx, replace(row, rotation=Rotation(), holder=None))
        for each in one.slots:
            slots.give_back(tx, each, worker=worker, now=NOW)

    database.write(work)


# --- the choice ----------------------------------------------------------------------------------------------------


def test_the_oldest_come_first_where_there_are_slots() -> None:
    """A full place and a full account are passed over; an unknown place needs the account's slot only."""
    where = [("a", "1"), ("a", "1"), ("b", "1"), ("b", "2"), ("", "2"), ("c", "2")]
    due = [Due(n, place, account) for n, (place, account) in enumerate(where)]
    held = {"a": 3, slots.of_account("2"): 63}
    assert [one.secret_id for one in choose(due, held, Limits(), 8)] == [0, 2, 3]
    assert [one.secret_id for one in choose(due, held, Limits(), 2)] == [0, 2]


# --- slots ---------------------------------------------------------------------------------------------------------


def test_a_target_has_no_more_than_its_slots(database: Database) -> None:
    """Over all engines; what is given back is taken by whoever comes."""
    fill(database, {"a": 20, "b": 2})
    first, second = (Claims(database, LIMITS, name=name) for name in ("one", "two"))
    mine = claim(first, NOW + 1)
    assert Counter(one.entry.place for one in mine) == {"a": 4, "b": 2}
    assert claim(second, NOW + 1) == []
    given = list(mine[0].slots)
    (again,) = first.take(first.look(NOW + 1, 8, given), given, now=NOW + 1, until=NOW + 31)
    assert again.entry.place == "a"
    assert claim(second, NOW + 1) == []


def test_an_account_has_no_more_than_its_slots(database: Database) -> None:
    """Another account's rotations go on."""
    fill(database, {f"p{n}": 1 for n in range(6)})
    fill(database, {f"q{n}": 1 for n in range(2)}, account="2")
    claims = Claims(database, Limits(target=4, account=3), name="one")
    assert Counter(one.entry.place[0] for one in claim(claims, NOW + 1)) == {"p": 3, "q": 2}


def test_the_slots_of_the_dead_are_free_when_their_lease_is_over(database: Database) -> None:
    """Nothing leaks; and what they give back or renew after that is not theirs."""
    fill(database, {"a": 5})
    dead, heir = (Claims(database, LIMITS, name=name) for name in ("dead", "heir"))
    lost = claim(dead, NOW + 1)
    assert claim(heir, NOW + 30) == []
    taken = claim(heir, NOW + 31)
    assert len(taken) == 4
    slot_of_the_dead = lost[0].slots[0]
    assert not database.write(lambda tx: slots.renew(tx, slot_of_the_dead, worker="dead", until=9e9))
    database.write(lambda tx: slots.give_back(tx, slot_of_the_dead, worker="dead", now=NOW + 32))
    with database.point() as tx:
        assert slots.live(tx, NOW + 32)["a"] == 4


def test_removed_slots_are_made_again(database: Database) -> None:
    """An engine that had thought them there finds out, and claims at its next look."""
    fill(database, {"a": 1})
    claims = Claims(database, LIMITS, name="one")
    claims._make({"a", slots.of_account("1")}, NOW)
    database.write(lambda tx: slots.forget(tx, NOW + 90_000))
    assert claim(claims, NOW + 1) == []
    assert len(claim(claims, NOW + 1)) == 1


def test_an_engine_that_cannot_reach_a_target_leaves_it_to_others(database: Database) -> None:
    """One of its rotations at a time goes there, until one gets through; elsewhere it works as ever."""
    fill(database, {"a": 20, "b": 20})
    cut_off, healthy = (Claims(database, LIMITS, name=name) for name in ("cut off", "healthy"))
    cut_off.tell("a", reached=False)
    mine = claim(cut_off, NOW + 1)
    assert Counter(one.entry.place for one in mine) == {"a": 1, "b": 4}
    assert cut_off.look(NOW + 1, 8, (), busy_at={"a", "b"}) == []
    assert Counter(one.entry.place for one in claim(healthy, NOW + 1)) == {"a": 3}
    cut_off.tell("a", reached=True)
    given = [slot for one in mine for slot in one.slots]
    assert Counter(one.place for one in cut_off.look(NOW + 1, 8, given)) == {"a": 1, "b": 4}


# --- fairness ------------------------------------------------------------------------------------------------------


def test_a_backlog_at_one_target_keeps_nobody_waiting(database: Database) -> None:
    """20,000 wait for four slots ahead of 200 others at 50 targets: those are all claimed within 25 looks."""
    fill(database, {"full": 20_000})
    fill(database, {f"p{n:02}": 4 for n in range(50)}, account="2", wake_at=NOW + 0.5)
    engines = [Claims(database, LIMITS, name=f"engine-{n}") for n in range(3)]
    claimed: Counter[str] = Counter()
    begun = time.monotonic()
    for _ in range(9):
        for claims in engines:
            claimed.update(one.entry.place for one in claim(claims, NOW + 1))
    assert claimed.pop("full") == 4
    assert set(claimed.values()) == {4}
    assert len(claimed) == 50
    assert time.monotonic() - begun < 20.0
    with database.point() as tx:  # nothing was written but what was claimed
        held = [row for row in _slots.all(tx) if row[3] > NOW + 1]
    assert len(held) == 2 * 204


# --- many engines, some of them frozen -----------------------------------------------------------------------------


@pytest.mark.parametrize("lease", [0.5])
def test_limits_hold_over_engines_that_freeze(database_url: str, lease: float) -> None:
    """Three engines, three targets: never more than four at a target, one on a secret, and no fence twice."""
    with closing(open_database(database_url)) as database:
        fill(database, dict.fromkeys("abc", 60), wake_at=0.0)
    lock, present, worst = threading.Lock(), Counter[str](), Counter[str]()
    seen: list[tuple[int, int]] = []
    end = time.monotonic() + 6.0

    def engine(number: int) -> None:
        name = f"engine-{number}"
        with closing(open_database(database_url)) as own:
            clock = own.clock()
            claims = Claims(own, LIMITS, name=name)
            turn = 0
            while time.monotonic() < end:
                turn += 1
                before, now = clock.monotonic(), clock.now().timestamp()
                found = claims.take(claims.look(now, 8, ()), [], now=now, until=now + lease)
                here = [one for one in found if clock.monotonic() < before + lease / 2]
                with lock:
                    seen.extend((one.entry.secret_id, one.entry.fence) for one in found)
                    for one in here:
                        present.update([one.entry.place, f"secret {one.entry.secret_id}"])
                    for key, count in present.items():
                        worst[key] = max(worst[key], count)
                time.sleep(0.01)
                with lock:  # it leaves before the lease is over, frozen or not
                    for one in here:
                        present.subtract([one.entry.place, f"secret {one.entry.secret_id}"])
                if turn % 10 == number:
                    time.sleep(lease * 1.5)
                for one in found:
                    rest(own, one, worker=name)

    threads = [threading.Thread(target=engine, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) >= 60
    assert max(worst[place] for place in "abc") == 4
    assert max(count for key, count in worst.items() if key.startswith("secret")) == 1
