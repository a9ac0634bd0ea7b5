"""Grants: kept, counted, found, copied, and gone with their key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keywheel.db.database import open_database
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied, LimitExceeded
from keywheel.keys.errors import InvalidGrantId, InvalidGrantToken, KeyNotFound
from keywheel.keys.grant_rows import KeyGrant
from keywheel.keys.grants import MOST, Grants, terms
from keywheel.keys.keyring import Key
from tests.keys.ring import HERE, Ring
from tests.keys.test_histories import schema

ANN, BOB = "arn:aws:iam::111111111111:user/ann", "arn:aws:iam::111111111111:user/bob"


class Undone(Exception):
    """A transaction that does not come to pass."""


def give(ring: Ring, key: Key, grantee: str = ANN, *operations: str, **more: Any) -> KeyGrant:
    name = more.pop("name", None)
    said = terms(grantee, operations or ("Decrypt",), **more)
    return ring.change(
        key, lambda tx, found: ring.keys.grants.create(tx, found, said, issuer="1" * 12, now=ring.now, name=name)
    )


def take(ring: Ring, grant: KeyGrant) -> Key:
    return ring.change(ring.find(grant.key_id), lambda tx, key: Grants.delete(tx, key, grant.grant_id))


def held(ring: Ring, key: Key, *names: str, remembered: bool = True) -> set[str]:
    found = ring.use(key, lambda tx, key: ring.keys.grants.held(tx, key, names or (ANN,), remembered=remembered))
    return {grant.grant_id for grant in found}


def token(ring: Ring, grant: KeyGrant) -> str:
    return ring.write(lambda tx: ring.keys.grants.token(tx, grant))


def copy(ring: Ring, source: Key, key: Key) -> Key:
    def work(tx: Tx) -> Key:
        one, other = (ring.keys.find(tx, HERE, each.key_id, now=ring.now, lock=True) for each in (source, key))
        return ring.keys.grants.copy(tx, one, other, ring.now)

    return ring.write(work)


def rights(ring: Ring, key: Key) -> list[tuple[Any, ...]]:
    """What the grants on a key say, without their ids."""
    found = ring.use(key, lambda tx, key: ring.keys.grants.page(tx, key, most=1000))
    return sorted((grant.name or "", grant.terms, grant.issuer) for grant in found)


# --- counted ----------------------------------------------------------------------------------------------------------


def test_a_key_counts_its_grants_and_their_changes(ring: Ring) -> None:
    """Where there are none, nobody looks for them."""
    key = ring.make()
    assert (key.grants, key.grant_serial) == (0, 0)
    first, second = give(ring, key), give(ring, key)
    assert ring.find(key)[-2:] == (2, 2)
    take(ring, first)
    assert take(ring, second)[-2:] == (0, 4)
    assert ring.find(key)[-2:] == (0, 4)
    bare = key._replace(grants=0)
    assert ring.keys.grants.held(None, bare, (ANN,), remembered=True) == ()  # type: ignore[arg-type] # nothing is read


def test_what_is_remembered_follows_every_change(ring: Ring) -> None:
    """Also one by another process."""
    key = ring.make()
    assert held(ring, key) == set()
    first = give(ring, key)
    elsewhere = Ring.__new__(Ring)
    elsewhere.__dict__.update(ring.__dict__)
    elsewhere.restart()
    for each in (ring, elsewhere):
        assert held(each, key) == {first.grant_id}
        assert held(each, key, BOB) == set()
    second = give(elsewhere, key)
    assert held(ring, key) == {first.grant_id, second.grant_id}
    take(elsewhere, first)
    assert held(ring, key) == held(ring, key, remembered=False) == {second.grant_id}


def test_a_key_that_is_made_anew_has_nothing_of_the_former_one(ring: Ring) -> None:
    """With its id, as a replica has it again in a Region; what is remembered is of the former one."""
    key = ring.make(policy="former")
    give(ring, key)
    assert len(held(ring, key)) == 1
    assert ring.use(key, ring.keys.lifecycle.remembered_policy) == "former"
    ring.schedule(key, 7)
    ring.wait(days=7)
    ring.write(lambda tx: ring.keys.lifecycle.purge_due(tx, ring.now))
    draft = ring.keys.draft(key_id=key.key_id)
    ring.write(lambda tx: ring.keys.create(tx, HERE, description="", now=ring.now, draft=draft, policy="new"))
    other = give(ring, key, BOB)
    assert (held(ring, key), held(ring, key, BOB)) == (set(), {other.grant_id})
    assert ring.use(key, ring.keys.lifecycle.remembered_policy) == "new"


Expected = dict[str, tuple[str, str | None]]  # by id: to whom, and what it is a copy of
DEEDS = st.lists(
    st.tuples(st.sampled_from(["give", "take", "copy", "undo"]), st.integers(0, 1), st.sampled_from([ANN, BOB])),
    max_size=20,
)


@settings(deadline=None, max_examples=40)
@given(DEEDS)
def test_any_history_leaves_what_was_given_and_not_taken(deeds: list[tuple[str, int, str]]) -> None:
    """What is remembered, what is read and what was counted say the same."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "keywheel.db"
        path.write_bytes(schema())
        with closing(open_database(f"sqlite:///{path}")) as database:
            ring = Ring(database)
            keys = [ring.make(), ring.make()]
            expected: list[Expected] = [{}, {}]
            for deed, place, who in deeds:
                do(ring, keys, expected, deed, place, who)
                for key, there in zip(keys, expected, strict=True):
                    assert ring.find(key).grants == len(there)
                    for user in (ANN, BOB):
                        mine = {grant_id for grant_id, (grantee, _) in there.items() if grantee == user}
                        assert held(ring, key, user) == held(ring, key, user, remembered=False) == mine


def do(ring: Ring, keys: list[Key], expected: list[Expected], deed: str, place: int, who: str) -> None:
    """A deed, and what is expected of it."""
    key, there = keys[place], expected[place]
    if deed == "give":
        there[give(ring, key, who).grant_id] = (who, None)
    elif deed == "take" and there:
        gone = min(there)
        ring.change(key, lambda tx, found: Grants.delete(tx, found, gone))
        del there[gone]
    elif deed == "copy":
        copy(ring, *keys)
        listed = ring.use(keys[1], lambda tx, found: ring.keys.grants.page(tx, found, most=1000))
        copies = {grant.grant_id: (grant.grantee, grant.copy_of) for grant in listed if grant.copy_of is not None}
        assert sorted((of or "", to) for to, of in copies.values()) == sorted(
            (g, to) for g, (to, _) in expected[0].items()
        )
        expected[1] = {grant_id: told for grant_id, told in expected[1].items() if told[1] is None} | copies
    elif deed == "undo":
        with pytest.raises(Undone):
            ring.change(key, lambda tx, found: undone(ring, tx, found, who))


def undone(ring: Ring, tx: Tx, key: Key, who: str) -> None:
    ring.keys.grants.create(tx, key, terms(who, ["Decrypt"]), issuer="1" * 12, now=ring.now)
    raise Undone


def test_what_is_undone_was_never_there(ring: Ring) -> None:
    """Whoever looked meanwhile, in that very transaction, remembers nothing of it."""
    key = ring.make()
    kept = give(ring, key)

    def work(tx: Tx, found: Key) -> None:
        ring.keys.grants.create(tx, found, terms(BOB, ["Decrypt"]), issuer="1" * 12, now=ring.now)
        again = ring.keys.find(tx, HERE, key.key_id, now=ring.now)
        assert len(ring.keys.grants.held(tx, again, (BOB,), remembered=False)) == 1
        raise Undone

    with pytest.raises(Undone):
        ring.change(key, work)
    assert held(ring, key, BOB) == set()
    take(ring, kept)
    other = give(ring, key, BOB)
    assert held(ring, key, ANN, BOB) == {other.grant_id}


def test_of_many_who_ask_by_one_name_all_get_the_same_grant(ring: Ring) -> None:
    """However they come."""
    key = ring.make()
    with ThreadPoolExecutor(4) as pool:
        made = {grant.grant_id for grant in pool.map(lambda _: give(ring, key, name="n"), range(8))}
    assert len(made) == 1
    assert ring.find(key).grants == 1


def test_a_key_has_fifty_thousand_grants_at_most(quick: Ring) -> None:
    """Asking for one that it has already is no more."""
    key = quick.make()
    first = give(quick, key, name="n")
    quick.write(lambda tx: tx.execute(f"UPDATE kms_key SET grants = {MOST} WHERE key_id = '{key.key_id}'", ()))
    with pytest.raises(LimitExceeded, match="50000 grants"):
        give(quick, key)
    assert give(quick, key, name="n") == first


def test_a_key_of_the_house_is_granted_to_nobody(quick: Ring) -> None:
    """Its account can use it, and not change it."""
    key = quick.write(lambda tx: quick.keys.default(tx, HERE, now=quick.now))
    with pytest.raises(AccessDenied, match="AWS managed key"):
        give(quick, key)


def test_a_grant_that_is_not_there_is_not_found(quick: Ring) -> None:
    """Nor is that of another key; what has no form of an id is none."""
    key, other = quick.make(), quick.make()
    grant = give(quick, key)
    with pytest.raises(KeyNotFound, match="does not exist"):
        take(quick, grant._replace(key_id=other.key_id))
    with pytest.raises(InvalidGrantId):
        take(quick, grant._replace(grant_id="x"))
    assert quick.find(key).grants == 1


def test_grants_go_with_their_key(ring: Ring) -> None:
    """Those of others stay."""
    key, other = ring.make(), ring.make()
    give(ring, key, retiring=BOB)
    kept = give(ring, other, retiring=BOB)
    ring.schedule(key, 7)
    ring.wait(days=7)
    assert len(ring.write(lambda tx: ring.keys.lifecycle.purge_due(tx, ring.now))) == 1
    with ring.database.read() as tx:
        found = ring.keys.grants.retirable(tx, HERE.region, BOB, most=10)
        assert tx.execute("SELECT count(*) FROM key_grant", ()).fetchone()[0] == 1
    assert [grant.grant_id for grant in found] == [kept.grant_id]


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_names_its_grant_for_every_process(ring: Ring) -> None:
    """Each is another one, and none is in the database."""
    grant = give(ring, ring.make())
    tokens = {token(ring, grant) for _ in range(3)}
    ring.restart()
    tokens.add(token(ring, grant))
    assert len(tokens) == 4
    with ring.database.read() as tx:
        for remembered in (False, True):
            names = {ring.keys.grants.named(tx, each, remembered=remembered) for each in tokens}
            assert names == {(HERE, grant.key_id, grant.grant_id)}


def test_a_token_of_another_house_is_none(ring: Ring) -> None:
    """Where no token was ever made, and where some were; nor is one of which a character was changed."""
    grant = give(ring, ring.make())
    theirs = token(ring, grant)
    ring.write(lambda tx: tx.execute("DELETE FROM installation WHERE name = 'grant-token-key'", ()))
    ring.restart()
    with ring.database.read() as tx, pytest.raises(InvalidGrantToken):
        ring.keys.grants.named(tx, theirs)
    mine = token(ring, grant)
    with ring.database.read() as tx:
        for place in range(0, len(mine), 7):
            spoiled = mine[:place] + ("A" if mine[place] != "A" else "B") + mine[place + 1 :]
            for wrong in (theirs, spoiled, mine[:place], ""):
                with pytest.raises(InvalidGrantToken):
                    ring.keys.grants.named(tx, wrong)


def test_a_secret_that_was_not_committed_is_forgotten(ring: Ring) -> None:
    """The next token is good."""
    grant = give(ring, ring.make())

    def work(tx: Tx) -> None:
        ring.keys.grants.named(tx, ring.keys.grants.token(tx, grant))
        raise Undone

    with pytest.raises(Undone):
        ring.write(work)
    good = token(ring, grant)
    for _ in range(2):
        with ring.database.read() as tx:
            assert ring.keys.grants.named(tx, good).grant_id == grant.grant_id
        ring.restart()


# --- copied -----------------------------------------------------------------------------------------------------------


def test_a_copy_says_the_same_and_is_made_once(ring: Ring) -> None:
    """With an id of its own; the new key's own grants stay."""
    source, key = ring.make(), ring.make()
    give(ring, source, ANN, "Decrypt", "Encrypt", name="n", retiring=BOB, subset={"a": "1"})
    give(ring, source, BOB, equals={"b": "2"})
    give(ring, source, BOB, equals={"b": "2"})
    own = give(ring, key, ANN, "Encrypt", name="own")
    for _ in range(3):
        assert copy(ring, source, key).grants == 4
    assert rights(ring, key) == sorted([*rights(ring, source), ("own", own.terms, own.issuer)])
    assert ring.find(source).grants == 3
    assert not held(ring, key, ANN, BOB) & held(ring, source, ANN, BOB)


def test_a_copy_follows_what_it_is_a_copy_of(ring: Ring) -> None:
    """A grant that was ended meanwhile ends there as well, and one that was given is given."""
    source, key = ring.make(), ring.make()
    ended = give(ring, source, ANN)
    copy(ring, source, key)
    take(ring, ended)
    give(ring, source, BOB)
    assert copy(ring, source, key).grants == 1
    assert rights(ring, key) == rights(ring, source)
    assert (held(ring, key, ANN), len(held(ring, key, BOB))) == (set(), 1)


def test_a_copy_of_a_copy_is_one(ring: Ring) -> None:
    """From key to key."""
    first, second, third = ring.make(), ring.make(), ring.make()
    give(ring, first, ANN, name="n")
    copy(ring, first, second)
    copy(ring, second, third)
    copy(ring, second, third)
    assert rights(ring, third) == rights(ring, first)


def test_where_there_are_no_grants_nothing_is_written(ring: Ring) -> None:
    """The key is as it was."""
    source, key = ring.make(), ring.make()
    assert copy(ring, source, key) == key == ring.find(key)
