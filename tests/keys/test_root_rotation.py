"""The root key rotates: everything is under the new one, nothing is lost, and nobody writes under the old one again."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import LargeBinary

from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.db.tables import metadata
from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.keys.keyring import Keys
from keywheel.keys.root import rotation as root_rotation
from keywheel.keys.root import rows
from keywheel.keys.root.places import PLACES, UNKNOWN
from keywheel.keys.root.ring import RootRing, root_key_id
from keywheel.keys.root.watch import RootWatch
from keywheel.sensitive import Sensitive
from tests.keys.rooted import EVERYWHERE, HERE, Rooted, new_root


@pytest.fixture
def old() -> Sensitive[bytes]:
    """The root key at first."""
    return new_root()


@pytest.fixture
def new() -> Sensitive[bytes]:
    """The next one."""
    return new_root()


@pytest.fixture
def rooted(database: Database, old: Sensitive[bytes]) -> Rooted:
    """One of everything, on each kind of store."""
    return Rooted(database, old)


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are several."""
    monkeypatch.setattr(root_rotation, "_PAGE", 2)


def rotate(rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]) -> None:
    """The whole of it."""
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    assert rotation.change_over()
    assert sum(rotation.rewrap()) > 8
    rotation.end()


# --- from beginning to end -----------------------------------------------------------------------------------------


def test_afterwards_the_new_root_key_alone_opens_everything(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """And the old one nothing."""
    rotate(rooted, old, new)
    rooted.proved_by(new)
    with pytest.raises(KeyStoreError, match="does not open this database") as caught, rooted.database.read() as tx:
        Keys(old).check(tx)
    assert root_key_id(new) in caught.value.hint()
    counts = sum(rooted.rotation(RootRing([old])).count().values(), Counter())
    assert set(counts) == {UNKNOWN}


def test_between_any_two_transactions_everything_is_readable(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """By whoever knows both, in whichever order."""
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    rooted.proved_by(old)
    assert rotation.change_over()
    for ring in ([old, new], [new, old]):
        rooted.proved_by(RootRing(ring))
    for _ in rotation.rewrap():
        rooted.proved_by(RootRing([old, new]))
    rotation.end()


def test_what_was_begun_is_gone_on_with(rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]) -> None:
    """Every step again, by somebody who knows nothing of the first time; what is done is left alone."""
    first = rooted.rotation(RootRing([old, new]))
    begun = first.begin(root_key_id(new))
    assert first.change_over()
    next(pages := first.rewrap())
    pages.close()  # type: ignore[attr-defined] # a generator
    again = rooted.rotation(RootRing([new, old]))
    assert again.begin(root_key_id(new)).since == begun.since
    assert again.change_over()
    assert sum(again.rewrap()) > 0
    assert again.end() == again.end()
    assert sum(again.rewrap()) == 0
    rooted.proved_by(new)


def test_it_rotates_again(rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]) -> None:
    """As often as one likes."""
    rotate(rooted, old, new)
    third = new_root()
    rotate(rooted, new, third)
    state = rooted.rotation(RootRing([third])).state()
    assert state is not None
    assert (state.former, state.current, state.phase) == (root_key_id(new), root_key_id(third), "done")
    rooted.proved_by(third)


def test_a_rotation_is_not_ended_while_something_is_under_the_old_root_key(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """It looks before it says so."""
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    rotation.change_over()
    with pytest.raises(KeyStoreError, match=f"under {root_key_id(old)}"):
        rotation.end()
    state = rotation.state()
    assert state is not None
    assert state.ended is None


def test_two_rotations_do_not_cross(rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]) -> None:
    """The second is told of the first; that one may be given up as long as nothing is wrapped."""
    other = new_root()
    ring = RootRing([old, new, other])
    rotation = rooted.rotation(ring)
    rotation.begin(root_key_id(new))
    with pytest.raises(ConfigurationError, match=f"rotation to root key {root_key_id(new)} is under way"):
        rotation.begin(root_key_id(other))
    rotation.cancel()
    rotation.begin(root_key_id(other))
    assert rotation.change_over()
    with pytest.raises(ConfigurationError, match="no rotation of the root key that could be given up"):
        rotation.cancel()
    rotate(rooted, old, other)
    rooted.proved_by(other)


# --- nobody writes under the old one again -------------------------------------------------------------------------


def test_material_that_was_wrapped_before_is_wrapped_anew_when_it_is_written(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """By a process that made a key, slept through the whole rotation, and goes on."""
    sleeper = Keys(RootRing([old], lambda: [new]))
    draft = sleeper.draft()
    rotate(rooted, old, new)
    now = rooted.database.clock().now()
    key = rooted.database.write(lambda tx: sleeper.create(tx, HERE, description="", now=now, draft=draft))
    with rooted.database.read() as tx:
        blob = sleeper.ciphers.encrypt(tx, key, Sensitive(b"text"), {})
        assert Keys(new).ciphers.decrypt(tx, key, blob, {}).plaintext == Sensitive(b"text")


def test_a_process_that_does_not_know_the_new_root_key_writes_nothing(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """Better no key than one that nobody can use."""
    sleeper = Keys(old)
    with rooted.database.read() as tx:
        sleeper.check(tx)
    rotate(rooted, old, new)
    now = rooted.database.clock().now()
    with pytest.raises(KeyStoreError, match="does not open this database"):
        rooted.database.write(lambda tx: sleeper.create(tx, HERE, description="", now=now))


def test_the_change_waits_for_who_writes_under_the_old_root_key(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """A transaction that has wrapped something is committed first, or does not happen."""
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    keys, inside, go = Keys(old), threading.Event(), threading.Event()
    now = rooted.database.clock().now()

    def slow(tx: Tx) -> None:
        keys.create(tx, HERE, description="slow", now=now)
        inside.set()
        assert go.wait(20)

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(rooted.database.write, slow)
        assert inside.wait(20)
        changing = pool.submit(rotation.change_over)
        assert wait([changing], timeout=1).not_done == {changing}
        go.set()
        writing.result(20)
        assert changing.result(20)
    assert sum(rotation.rewrap()) > 0
    rotation.end()  # which looks at the slow one, too
    rooted.proved_by(new)


def test_what_another_changes_meanwhile_stays_as_it_left_it(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """Here imported material is destroyed between the reading of its row and the writing."""
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    rotation.change_over()
    keys, ring = Keys(RootRing([old, new])), rotation.ring
    place, now = PLACES[0], rooted.database.clock().now()
    with rooted.database.read() as tx:
        keys.check(tx)
        ring.follow(tx, bytes(rows.value.first(tx, row_name="root-key-check")[0]))  # type: ignore[index]
        stale = [row for row in place.page(tx, None, 100) if row[0] == rooted.imported.key_id]

    def destroy(tx: Tx) -> None:
        found = keys.find(tx, HERE, rooted.imported.key_id, now=now, lock=True)
        keys.imports.delete_material(tx, found)

    rooted.database.write(destroy)
    (row,) = stale
    value = place.renewed(ring, row)
    assert value is not None
    assert not rooted.database.write(lambda tx: place.change(tx, row, value))
    sum(rotation.rewrap())
    rotation.end()


# --- who runs ------------------------------------------------------------------------------------------------------


def test_the_database_waits_until_every_process_has_taken_the_new_one_up(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """A process that looks finds it by itself; then it goes on."""
    given: list[Sensitive[bytes]] = []
    blind, looking = Keys(old), Keys(RootRing([old], lambda: given))
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    with RootWatch(rooted.database, looking, "api-1"):
        with RootWatch(rooted.database, blind, "engine"):
            assert not rotation.change_over()
            given.append(new)
            _until(lambda: len(rotation.lagging(root_key_id(new))) == 1)
            assert rotation.lagging(root_key_id(new))[0].startswith("engine on ")
            assert not rotation.change_over()
        assert rotation.change_over()
    assert rotation.processes() == []


def test_a_process_that_starts_after_the_change_must_know_the_new_one(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """It says so, and does not serve."""
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    assert rotation.change_over()
    with pytest.raises(KeyStoreError, match="does not open this database"), RootWatch(rooted.database, Keys(old), "x"):
        pass
    assert rotation.processes() == []


def test_a_process_that_was_killed_is_waited_for_a_minute(
    rooted: Rooted, old: Sensitive[bytes], new: Sensitive[bytes]
) -> None:
    """Its row stays behind, and grows old."""
    now = rooted.database.clock().now().timestamp()
    rotation = rooted.rotation(RootRing([old, new]))
    rotation.begin(root_key_id(new))
    given = {"id": "1", "name": "dead", "root_keys": root_key_id(old)}
    rooted.database.write(lambda tx: rows.add_process.run(tx, **given, seen=now))
    assert not rotation.change_over()
    aged = {"row_id": "1", "root_keys": root_key_id(old), "seen": now - 61}
    rooted.database.write(lambda tx: rows.see_process.run(tx, **aged))
    assert rotation.change_over()


def _until(done: object) -> None:
    pause = threading.Event()
    for _ in range(200):
        if done():  # type: ignore[operator]
            return
        pause.wait(0.1)
    raise AssertionError("it did not happen")


# --- the places ----------------------------------------------------------------------------------------------------


def _not_under_the_root_key() -> Iterator[tuple[str, str]]:
    yield from (("version", "data_key"), ("version", "sealed"))  # under a backing key
    yield ("backing_key", "public")
    yield ("access_session", "token")  # a digest


def test_every_column_that_can_be_under_the_root_key_is_looked_at() -> None:
    """A new column of bytes is a place, or is named above with the reason why it is none."""
    columns = {
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    places = {(place.table.name, place.column) for place in EVERYWHERE}
    assert columns == places | set(_not_under_the_root_key())


def test_every_row_of_the_installation_that_is_under_the_root_key_is_looked_at(
    rooted: Rooted, old: Sensitive[bytes]
) -> None:
    """Found by trying each with its name, which is its label."""
    ring, place = RootRing([old]), PLACES[-1]
    with rooted.database.read() as tx:
        found = tx.execute("SELECT name, value FROM installation", {}).fetchall()
        known = {row[0] for row in place.page(tx, None, 100)}
    assert {row[0] for row in found if ring.opened(bytes(row[1]), row[0].encode())} == known
