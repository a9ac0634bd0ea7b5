"""What reencryption.py promises: no value is lost or changed, whoever interferes; and what depends on what is known."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import update

from keywheel.db.database import Database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import version as v
from keywheel.errors import DecryptionFailure
from keywheel.keys.keyring import Key
from keywheel.secrets import reencryption, rows, wrapped
from keywheel.secrets.reencryption import Wanted
from tests.keys.ring import HERE, THEIRS, THERE, Ring
from tests.secrets.moving import Interrupted, Meddled, Place, nothing


@pytest.fixture
def place(database: Database) -> Place:
    """On each kind of store."""
    return Place(database)


def filled(place: Place, secrets: int = 6, versions: int = 4) -> tuple[Key, Key]:
    """Secrets with and without labels on their versions, under an own key and the default key; both have rotated."""
    key = place.ring.make()
    for number in range(secrets):
        name = f"s{number}"
        place.create(name, key if number % 2 else None, "value 0")
        for version in range(1, versions):
            place.put(name, f"value {version}", *(["custom"] if version == 1 else []))
    return place.renew(key), place.renew(place.default())


# --- what is moved ---------------------------------------------------------------------------------------------------


def test_every_version_moves_under_current_material(place: Place) -> None:
    """With labels and without; each value is what it was, and a second run finds nothing to do."""
    own, default = filled(place)
    before = place.values()
    done = place.move()
    assert (done.examined, done.moved, done.current, done.left) == (24, 24, 0, [])
    assert place.values() == before
    assert None not in before.values()
    assert place.heads() == {(own.key_id, 2), (default.key_id, 2)}
    again = place.move()
    assert (again.examined, again.moved, again.current) == (24, 0, 24)


def test_versions_under_the_key_of_before_follow_their_secret(place: Place) -> None:
    """UpdateSecret moves the labelled ones alone; afterwards nothing depends on the former key."""
    former, present = place.ring.make(), place.ring.make()
    place.create("s", former, "one")
    place.put("s", "two")
    place.put("s", "three")
    place.put("s", "four")
    place.use_key("s", present)
    assert (place.counts(former), place.counts(present)) == ({1: 2}, {1: 2})
    before = place.values()
    assert place.move(Wanted(former.key_id)).moved == 2
    assert (place.counts(former), place.counts(present)) == ({}, {1: 4})
    assert place.values() == before
    assert {row[3] for row in place.rows()} == {present.arn}


def test_a_secret_that_went_back_to_the_default_key(place: Place) -> None:
    """Its versions say so, as new ones do; the default key is made when it is needed for the first time."""
    key = place.ring.make()
    place.create("s", key)
    place.do("s", lambda tx, secret: place.secrets.set(tx, secret, place.ring.now, kms_key_id=None))
    assert place.move(dry_run=True).moved == 1
    assert place.move().moved == 1
    assert [row[3] for row in place.rows()] == [None]
    assert place.heads() == {(place.default().key_id, 1)}


def test_an_alias_that_moved_takes_its_secrets_along(place: Place) -> None:
    """The key that a secret uses is the one that its alias names now."""
    former, present = place.ring.make(), place.ring.make()
    place.ring.write(lambda tx: place.ring.keys.aliases.create(tx, "alias/billing", former, place.ring.now))
    place.create("s", "alias/billing")
    place.ring.write(lambda tx: place.ring.keys.aliases.update(tx, HERE, "alias/billing", present, place.ring.now))
    assert place.move(Wanted(former.key_id)).moved == 1
    assert place.heads() == {(present.key_id, 1)}


def test_secrets_that_will_be_deleted_are_moved(place: Place) -> None:
    """They can still be restored."""
    key = place.ring.make()
    token = place.create("s", key)
    place.renew(key)
    place.delete("s")
    assert place.move().moved == 1
    place.do("s", lambda tx, secret: place.secrets.restore(tx, secret, place.ring.now))
    assert [value for (_, version), value in place.values().items() if version == token] == ["first"]
    assert place.counts(key) == {2: 1}


def test_replicas_are_moved(place: Place) -> None:
    """Under the keys of their own Regions."""
    place.create("s")
    far = place.ring.make(scope=THERE)
    place.replicate("s", THERE.region, far)
    before = place.values()
    place.renew(far)
    assert place.move(Wanted(far.key_id)).moved == 1
    assert place.values() == before
    assert len(before) == 2
    assert place.counts(far) == {2: 1}


def test_nothing_else_is_touched(place: Place) -> None:
    """Neither other accounts, nor versions without a value, nor any date."""
    key = place.ring.make()
    theirs = place.ring.make(scope=THEIRS)
    place.create("s", key)
    place.create("empty", key, None)
    place.do("empty", lambda tx, secret: place.secrets.reserve(tx, secret, "1" * 32, place.ring.now))
    place.create("t", theirs, scope=THEIRS)
    with place.database.read() as tx:
        before = place.secrets.find(tx, HERE, "s")
    place.renew(key)
    place.renew(theirs)
    place.ring.wait(days=1)
    done = place.move()
    assert (done.examined, done.moved) == (1, 1)
    assert place.counts(theirs) == {1: 1}
    with place.database.read() as tx:
        assert place.secrets.find(tx, HERE, "s") == before


def test_one_generation_alone(place: Place) -> None:
    """What is under another one stays for now."""
    key = place.ring.make()
    place.create("old", key)
    place.renew(key)
    place.create("newer", key)
    place.renew(key)
    assert place.counts(key) == {1: 1, 2: 1}
    assert place.move(Wanted(key.key_id, 1)).moved == 1
    assert place.counts(key) == {2: 1, 3: 1}
    assert place.move(Wanted(place.ring.make().key_id)).moved == 0


def test_pages_meet_every_version_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are cut."""
    monkeypatch.setattr(reencryption, "_LOOKED_AT", 5)
    monkeypatch.setattr(reencryption, "_TOGETHER", 2)
    filled(place)
    before = place.values()
    done = place.move()
    assert (done.examined, done.moved, done.current) == (24, 24, 0)
    assert place.values() == before


def test_a_slow_page_is_broken_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a transaction, and goes on there."""
    monkeypatch.setattr(reencryption, "_SECONDS", -1.0)
    monkeypatch.setattr(reencryption, "_TOGETHER", 3)
    filled(place)
    page = place.room.page(place.database, HERE.account, Wanted(), place.ring.now)
    assert (page.examined, page.moved) == (3, 3)
    assert page.after is not None
    done = place.move()
    assert (done.examined, done.moved, done.current) == (24, 21, 3)


def test_a_dry_run_does_all_but_write(place: Place) -> None:
    """It says what would be done."""
    filled(place)
    before = place.rows()
    assert place.move(dry_run=True).moved == 24
    assert place.rows() == before


# --- what is left ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [Ring.disable, Ring.schedule])
def test_what_a_key_keeps_back_is_left(place: Place, leave: Callable[[Ring, Key], Key]) -> None:
    """With the reason; the others are moved, and when the key can be used again, so is the rest."""
    locked, present, other = (place.ring.make() for _ in range(3))
    place.create("from", locked)
    place.put("from", "two")
    place.put("from", "three")
    place.use_key("from", present)
    place.create("under", locked)
    place.create("free", other)
    place.renew(other)
    before, stored = place.values(), place.rows()
    leave(place.ring, locked)
    done = place.move()
    assert (done.moved, len(done.left)) == (1, 2)
    for left in done.left:
        assert locked.key_id in left.reason
    assert [row[3] for row in place.rows() if row not in stored] == [other.arn]
    if leave is Ring.schedule:
        place.ring.cancel(locked)
    place.ring.enable(locked)
    assert (place.move().moved, place.counts(locked)) == (1, {1: 1})
    assert place.values() == before


def test_a_key_that_is_gone_is_told(place: Place) -> None:
    """A secret that names nothing that exists."""
    place.create("s", place.ring.make())
    place.do("s", lambda tx, secret: place.secrets.set(tx, secret, place.ring.now, kms_key_id="alias/none"))
    (left,) = place.move().left
    assert (left.code, "alias/none" in left.reason) == ("EncryptionFailure", True)


@pytest.mark.parametrize("spoiled", ["data_key", "sealed"])
def test_what_does_not_open_is_not_overwritten(place: Place, spoiled: str) -> None:
    """It is told, and left to be repaired from a backup; the others are moved."""
    key = place.ring.make()
    place.create("good", key)
    token = place.create("bad", key)
    place.renew(key)
    column = v.c[spoiled]
    with place.database.read() as tx:
        secret = place.secrets.find(tx, HERE, "bad")
        row = rows.version.first(tx, secret_id=secret.id, version_id=token)
    assert row is not None
    bad = bytearray(getattr(rows.Version._make(row), spoiled))
    bad[-1] ^= 1
    place.ring.write(
        lambda tx: Statement(update(v).where(v.c.secret_id == secret.id).values({column: bytes(bad)})).run(tx)
    )
    before = [row for row in place.rows() if row[1] == token]
    done = place.move()
    assert (done.moved, [(left.arn, left.version_id, left.code) for left in done.left]) == (
        1,
        [(secret.arn, token, "DecryptionFailure")],
    )
    assert [row for row in place.rows() if row[1] == token] == before


def test_a_wrapping_that_does_not_open_again_is_not_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key store that loses what it is given does no harm."""
    key = place.ring.make()
    place.create("s", key)
    place.renew(key)
    before = place.rows()
    store = place.ring.keys._materials.store
    encrypt = type(store).encrypt

    def spoilt(self: object, handle: bytes, label: bytes, plaintext: bytes, context: bytes) -> bytes:
        found = bytearray(encrypt(store, handle, label, plaintext, context))
        found[-1] ^= 1
        return bytes(found)

    monkeypatch.setattr(type(store), "encrypt", spoilt)
    done = place.move()
    assert (done.moved, [left.code for left in done.left]) == (0, [DecryptionFailure.code])
    assert place.rows() == before


# --- who interferes --------------------------------------------------------------------------------------------------


def test_whoever_changes_a_secret_meanwhile_wins(place: Place) -> None:
    """A new value, another key, a deletion and a new secret, each between what is read and what is written."""
    own, default = filled(place)
    third = place.ring.make()
    place.create("gone", own)
    place.renew(own)
    expected = place.values()

    def at_once() -> None:
        place.use_key("s1", third)
        place.use_key("s5", own)  # sealed anew under the same key
        place.put("s2", "while it was moved")

    deeds: list[Callable[[], object]] = [
        at_once,
        lambda: place.do("gone", lambda tx, secret: place.secrets.purge(tx, secret, place.ring.now)),
        lambda: place.use_key("s3", third),
    ]

    def meddle(number: int) -> None:
        if deeds:
            deeds.pop(0)()

    done = place.move(database=Meddled(place.database, before=meddle, after=nothing))
    while deeds:
        deeds.pop(0)()
    place.move()
    after = place.values()
    assert done.left == []
    assert place.heads() <= {(own.key_id, 3), (default.key_id, 2), (third.key_id, 1)}
    assert place.counts(third) == {1: 8}
    for version, value in after.items():
        assert value == expected.get(version, "while it was moved")
    assert len(after) == len(expected) + 1 - 1


def test_a_secret_that_never_comes_to_rest_is_left(place: Place) -> None:
    """It is told; another run will find it."""
    keys = [place.ring.make() for _ in range(2)]
    place.create("s", keys[0])
    place.renew(keys[0])

    def meddle(number: int) -> None:
        named = keys[number % 2].arn
        place.do("s", lambda tx, secret: place.secrets.set(tx, secret, place.ring.now, kms_key_id=named))

    done = place.move(database=Meddled(place.database, before=meddle, after=nothing))
    assert (done.moved, [left.code for left in done.left]) == (0, ["ConflictException"])


def test_a_secret_that_is_locked_holds_nobody_up(postgresql_url: str) -> None:
    """On PostgreSQL, the others of its page are moved before it, and nobody waits for them meanwhile."""
    from contextlib import closing

    from keywheel.db.database import open_database

    with closing(open_database(postgresql_url)) as database:
        place = Place(database)
        key = place.ring.make()
        place.create("locked", key)
        for number in range(5):
            place.create(f"s{number}", key)
        place.renew(key)
        locked, leave = threading.Event(), threading.Event()

        def hold(tx: Tx) -> None:
            place.secrets.find(tx, HERE, "locked", lock=True)
            locked.set()
            assert leave.wait(30)

        seen: list[dict[int, int]] = []

        def before(number: int) -> None:
            if number == 2:
                seen.append(place.counts(key))
                threading.Timer(0.3, leave.set).start()

        holder = threading.Thread(target=database.write, args=(hold,))
        holder.start()
        assert locked.wait(30)
        done = place.move(database=Meddled(database, before=before, after=nothing))
        holder.join()
        assert seen == [{1: 1, 2: 5}]
        assert (done.moved, place.counts(key)) == (6, {2: 6})


def test_it_may_end_anywhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each transaction; nothing is lost, and the next run does the rest."""
    monkeypatch.setattr(reencryption, "_TOGETHER", 3)
    own, _ = filled(place)
    before = place.values()

    def end(number: int) -> None:
        raise Interrupted

    for when in (1, 2, 3):
        for moment in ("before", "after"):
            place.renew(own)

            def at(number: int, when: int = when) -> None:
                if number == when:
                    raise Interrupted

            given = {"before": nothing, "after": nothing} | {moment: at}
            with pytest.raises(Interrupted):
                place.move(database=Meddled(place.database, **given))
            place.ring.restart()
            assert place.values() == before
    assert place.move().left == []
    assert place.values() == before
    assert set(place.counts(own)) == {place.ring.find(own).generation}


# --- what is counted -------------------------------------------------------------------------------------------------


def test_counts_are_read_from_the_index(place: Place) -> None:
    """So they are quick, and cannot be outdated."""
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}
    with place.database.read() as tx:
        if tx.dialect == "postgresql":
            tx.execute("SET LOCAL enable_seqscan = off", {})
        asked: list[str] = []

        class Asking:
            dialect = tx.dialect

            def execute(self, sql: str, parameters: object) -> object:
                asked.append(sql)
                return tx.execute(explain[tx.dialect] + sql, parameters)  # type: ignore[arg-type]

        plan = wrapped._dependants.all(Asking(), first=b"\1", last=b"\2")  # type: ignore[arg-type]
    assert len(asked) == 1
    assert "ix_version_backing_key" in str(plan)
