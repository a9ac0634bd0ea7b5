"""Custom key stores and the keys in them, on both kinds of store, with a live token of SoftHSM2."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import KeyUnavailable, LimitExceeded, ValidationFailed
from keywheel.keys import ciphertext, rows
from keywheel.keys.custom import stores as custom
from keywheel.keys.custom.keys import CustomKeys
from keywheel.keys.custom.rows import CustomKeyStore
from keywheel.keys.custom.states import CLOUDHSM, EXTERNAL, STATES, Definition, require_state
from keywheel.keys.errors import (
    ClusterInUse,
    Conflict,
    CustomKeyStoreHasKeys,
    CustomKeyStoreInvalidState,
    CustomKeyStoreNameInUse,
    CustomKeyStoreNotFound,
    KeyInvalidState,
    KeyNotFound,
)
from keywheel.keys.identifiers import new_key_id
from keywheel.keys.keyring import Key, Keys
from keywheel.keys.stores.backends import Backends, TokenPlace
from keywheel.keys.stores.pkcs11 import TokenKeyStore
from keywheel.sensitive import Sensitive
from keywheel.testing import ManualClock
from tests.support.tokens import LABEL, LIBRARY, SoftToken

HERE, ELSEWHERE = Scope("123456789012", "us-east-1"), Scope("123456789012", "eu-west-1")
CLUSTER = "cluster-2222keywheel"
ROOT = Sensitive(os.urandom(32))


# --- the table of states


def in_state(state: str, kind: str = CLOUDHSM) -> CustomKeyStore:
    """A key store in a state."""
    return CustomKeyStore("cks-1", HERE.account, HERE.region, "n", kind, None, None, "{}", b"", state, None, 1, 0.0)


# By AWS's words: Connect not in DISCONNECTING or FAILED, Disconnect not in DISCONNECTING or DISCONNECTED, the rest in
# one state only.
ALLOWED = {
    "ConnectCustomKeyStore": {"CONNECTED", "CONNECTING", "DISCONNECTED"},
    "DisconnectCustomKeyStore": {"CONNECTED", "CONNECTING", "FAILED"},
    "DeleteCustomKeyStore": {"DISCONNECTED"},
    "UpdateCustomKeyStore": {"DISCONNECTED"},
    "CreateKey": {"CONNECTED"},
    "GenerateRandom": {"CONNECTED"},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("operation", ALLOWED)
def test_every_cell_of_the_table(operation: str, state: str) -> None:
    """State of the connection × operation."""
    if state in ALLOWED[operation]:
        require_state(in_state(state), operation)
    else:
        with pytest.raises(CustomKeyStoreInvalidState, match=f"is {state}, in which {operation} is not allowed"):
            require_state(in_state(state), operation)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", [CLOUDHSM, EXTERNAL])
@pytest.mark.parametrize("change", ["name", "path", "credential", "endpoint", "cluster", "password"])
def test_what_may_change_of_a_connected_key_store(change: str, kind: str, state: str) -> None:
    """Of an external one, what does not move it; of a token, nothing."""
    kept = kind == EXTERNAL and state == "CONNECTED" and change in ("name", "path", "credential")
    if kept or state == "DISCONNECTED":
        require_state(in_state(state, kind), "UpdateCustomKeyStore", frozenset({change}))
    else:
        with pytest.raises(CustomKeyStoreInvalidState):
            require_state(in_state(state, kind), "UpdateCustomKeyStore", frozenset({change}))


# --- the rooms


class Bench:
    """The keys room of one process, on a store and a token."""

    def __init__(self, database: Database, token: SoftToken, clock: ManualClock) -> None:
        self.database = database
        self.token = token
        self.clock = clock
        self.keys = self.process()

    def process(self) -> Keys:
        """The room as another process has it."""
        clusters = (CLUSTER, *(f"cluster-3333keywheel{n}" for n in range(9)))
        return Keys(ROOT, Backends({each: TokenPlace(LIBRARY, LABEL) for each in clusters}, clock=self.clock))

    def restart(self) -> None:
        """What a new process begins with."""
        self.keys.custom.close()
        self.keys = self.process()

    def store(self, name: str = "hsm", cluster: str = CLUSTER, pin: Sensitive[str] | None = None) -> CustomKeyStore:
        new = Definition(name=name, cluster=cluster, password=pin or self.token.pin)
        return self.database.write(lambda tx: self.keys.custom.create(tx, HERE, CLOUDHSM, new, self.clock.now()))

    def connected(self) -> str:
        store_id = self.store().store_id
        self.keys.custom.connect(self.database, HERE, store_id)
        assert self.find(store_id).state == "CONNECTED"
        return store_id

    def find(self, store_id: str) -> CustomKeyStore:
        with self.database.point() as tx:
            return self.keys.custom.find(tx, HERE, store_id)

    def key(self, store_id: str, key_id: str | None = None) -> Key:
        return CustomKeys(self.keys).create(self.database, HERE, store_id, now=self.clock.now(), key_id=key_id)

    def state_of(self, key: Key) -> str:
        with self.database.read() as tx:
            return self.keys.find(tx, HERE, key.key_id, now=self.clock.now()).state

    def change(self, store_id: str, work: Callable[[Tx, CustomKeyStore], Any]) -> None:
        self.database.write(lambda tx: work(tx, self.keys.custom.find(tx, HERE, store_id, lock=True)))

    def sweep(self) -> int:
        return CustomKeys(self.keys).sweep(self.database, self.clock.now())

    def objects(self) -> list[bytes]:
        """The ids of what the token holds."""
        self.restart()
        library = pkcs11.lib(LIBRARY)
        if library.initialized:
            library.finalize()
        library.initialize()
        with library.get_token(token_label=LABEL).open(user_pin=self.token.pin.reveal()) as session:
            found = [each[Attribute.ID] for each in session.get_objects()]
        library.finalize()
        return found


@pytest.fixture
def bench(database: Database, soft_token: SoftToken, clock: ManualClock) -> Iterator[Bench]:
    bench = Bench(database, soft_token, clock)
    yield bench
    bench.keys.custom.close()
    library = pkcs11.lib(LIBRARY)
    library.finalize()


def test_key_stores_are_told_apart(bench: Bench) -> None:
    """By names in their account and Region, and by tokens everywhere."""
    first = bench.store()
    with pytest.raises(CustomKeyStoreNameInUse):
        bench.store(cluster="cluster-3333keywheel0")
    with pytest.raises(ClusterInUse):
        bench.store("another")
    with bench.database.read() as tx:
        for missing in ("cks-0", first.store_id.upper()):
            with pytest.raises(CustomKeyStoreNotFound):
                bench.keys.custom.find(tx, HERE, missing)
        with pytest.raises(CustomKeyStoreNotFound):
            bench.keys.custom.find(tx, ELSEWHERE, first.store_id)
        with pytest.raises(CustomKeyStoreNotFound):
            bench.keys.custom.named(tx, ELSEWHERE, "hsm")
        assert bench.keys.custom.named(tx, HERE, "hsm") == first


def test_an_account_has_ten_key_stores_and_no_more(bench: Bench) -> None:
    """In each Region. They are listed by their names."""
    names = ["hsm", *(f"store-{n}" for n in range(9))]
    bench.store()
    for n in range(9):
        bench.store(f"store-{n}", f"cluster-3333keywheel{n}")
    with pytest.raises(LimitExceeded):
        bench.store("eleventh", "cluster-4444keywheel")
    with bench.database.read() as tx:
        first = bench.keys.custom.page(tx, HERE, most=4)
        rest = bench.keys.custom.page(tx, HERE, after=first[-1].name, most=100)
    assert [each.name for each in first + rest] == sorted(names)


def test_the_pin_is_sealed_and_bound_to_its_key_store(bench: Bench) -> None:
    """Not in clear, and not good in another row."""
    store = bench.store()
    assert bench.token.pin.reveal().encode() not in store.sealed
    other = bench.store("another", "cluster-3333keywheel0", Sensitive("another PIN"))
    swapped = store._replace(sealed=other.sealed, state="CONNECTED")
    assert bench.keys.custom._error_of(swapped) == "INTERNAL_ERROR"


def test_a_key_store_in_use_cannot_be_forgotten(bench: Bench) -> None:
    """Not before the material of its last key is destroyed."""
    store_id = bench.connected()
    key = bench.key(store_id)
    bench.change(store_id, bench.keys.custom.disconnect)
    with pytest.raises(CustomKeyStoreHasKeys):
        bench.change(store_id, bench.keys.custom.delete)
    bench.database.write(lambda tx: bench.keys.lifecycle.schedule_deletion(tx, key, 7, bench.clock.now()))
    bench.clock.advance(timedelta(days=8))
    assert bench.database.write(lambda tx: bench.keys.lifecycle.purge_due(tx, bench.clock.now()))
    assert bench.sweep() == 0  # nothing can be destroyed there now
    with pytest.raises(CustomKeyStoreHasKeys):
        bench.change(store_id, bench.keys.custom.delete)
    bench.keys.custom.connect(bench.database, HERE, store_id)
    assert bench.sweep() == 1
    assert bench.objects() == []
    bench.change(store_id, bench.keys.custom.disconnect)
    bench.change(store_id, bench.keys.custom.delete)
    with pytest.raises(CustomKeyStoreNotFound):
        bench.find(store_id)


def test_a_key_that_is_gone_is_destroyed_in_the_token_sooner_or_later(bench: Bench) -> None:
    """Although the token is away just then; and once."""
    store_id = bench.connected()
    key, kept = bench.key(store_id), bench.key(store_id)
    bench.database.write(lambda tx: bench.keys.lifecycle.schedule_deletion(tx, key, 7, bench.clock.now()))
    assert bench.state_of(key) == "PendingDeletion"
    bench.clock.advance(timedelta(days=8))
    bench.token.take_away()
    bench.database.write(lambda tx: bench.keys.lifecycle.purge_due(tx, bench.clock.now()))
    with pytest.raises(KeyNotFound):
        bench.state_of(key)
    assert bench.sweep() == 0
    bench.token.put_back()
    bench.clock.advance(timedelta(seconds=1))
    assert bench.sweep() == 1
    assert bench.sweep() == 0
    assert bench.objects() == [ciphertext.head(kept.key_id, 1)]


def test_a_key_that_is_disconnected_is_unavailable_in_every_process(bench: Bench) -> None:
    """At once, also where it was used a moment ago; a disabled one, too, and one on its way out stays that."""
    store_id = bench.connected()
    key, disabled, leaving = bench.key(store_id), bench.key(store_id), bench.key(store_id)
    bench.database.write(lambda tx: bench.keys.lifecycle.disable(tx, disabled))
    bench.database.write(lambda tx: bench.keys.lifecycle.schedule_deletion(tx, leaving, 7, bench.clock.now()))
    other = bench.process()
    with bench.database.read() as tx:
        blob = bench.keys.ciphers.encrypt(tx, key, Sensitive(b"plain"))
    bench.keys.custom.close()
    with bench.database.read() as tx:
        assert other.ciphers.decrypt(tx, key, blob).plaintext.reveal() == b"plain"
    bench.change(store_id, bench.keys.custom.disconnect)
    with bench.database.read() as tx:
        states = [other.find(tx, HERE, each.key_id, now=bench.clock.now()).state for each in (key, disabled, leaving)]
        assert states == ["Unavailable", "Unavailable", "PendingDeletion"]
        with pytest.raises(KeyInvalidState):
            other.ciphers.decrypt(tx, key, blob)
    other.custom.close()


def test_a_second_process_does_not_connect_what_is_connected(bench: Bench) -> None:
    """And one that is disconnected while it connects stays disconnected."""
    store_id = bench.connected()
    before = bench.find(store_id)
    bench.keys.custom.connect(bench.database, HERE, store_id)
    assert bench.find(store_id) == before
    bench.change(store_id, bench.keys.custom.disconnect)

    class Slow(custom.CustomKeyStores):
        def _error_of(self, store: CustomKeyStore) -> str | None:
            bench.change(store_id, bench.keys.custom.disconnect)  # somebody else, meanwhile
            return super()._error_of(store)

    Slow(bench.keys.custom.software, bench.keys.custom.backends).connect(bench.database, HERE, store_id)
    assert bench.find(store_id).state == "DISCONNECTED"


# --- crashes while a key is made


class Crash(Exception):
    """The process ends here."""


def test_a_crash_before_the_token_made_the_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that nobody can use; the next attempt by the same id makes it."""
    store_id, key_id = bench.connected(), new_key_id()

    def crash(self: TokenKeyStore, label: bytes) -> bytes:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(TokenKeyStore, "create", crash)
        with pytest.raises(Crash):
            bench.key(store_id, key_id)
    with bench.database.read() as tx:
        half = bench.keys.find(tx, HERE, key_id, now=bench.clock.now())
        assert half.state == "Creating"
        with pytest.raises(KeyInvalidState, match="is creating"):
            bench.keys.ciphers.encrypt(tx, half, Sensitive(b"x"))
    bench.restart()
    assert bench.key(store_id, key_id).state == "Enabled"
    assert bench.state_of(half) == "Enabled"
    assert bench.objects() == [ciphertext.head(key_id, 1)]


def test_a_crash_after_the_token_made_the_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt finds it: one object, however often."""
    store_id, key_id = bench.connected(), new_key_id()

    def crash(tx: Tx, key: Key) -> Key:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(CustomKeys, "_made", staticmethod(crash))
        for _ in range(3):
            with pytest.raises(Crash):
                bench.key(store_id, key_id)
            bench.restart()
    assert bench.key(store_id, key_id).state == "Enabled"
    assert bench.key(store_id, key_id).state == "Enabled"  # the same once more
    assert bench.objects() == [ciphertext.head(key_id, 1)]


def test_a_key_that_nobody_finishes_is_given_up_and_leaves_no_orphan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row goes after an hour, its object with the next sweep, and then the id may be used again."""
    store_id, key_id = bench.connected(), new_key_id()

    def crash(tx: Tx, key: Key) -> Key:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(CustomKeys, "_made", staticmethod(crash))
        with pytest.raises(Crash):
            bench.key(store_id, key_id)
    bench.clock.advance(timedelta(minutes=59))
    assert bench.sweep() == 0
    bench.clock.advance(timedelta(minutes=2))
    bench.token.take_away()
    assert bench.sweep() == 0
    bench.token.put_back()
    bench.clock.advance(timedelta(seconds=1))
    with pytest.raises(Conflict):  # what is left of the first one comes first
        bench.key(store_id, key_id)
    assert bench.sweep() == 1
    assert bench.objects() == []
    assert bench.key(store_id, key_id).state == "Enabled"


def test_a_process_that_sleeps_while_it_makes_a_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the key was made by another one, or given up meanwhile: it harms no key, and leaves no object."""
    store_id, made, given_up = bench.connected(), new_key_id(), new_key_id()
    create = TokenKeyStore.create

    def finish(key_id: str) -> None:
        CustomKeys(bench.keys).create(bench.database, HERE, store_id, now=bench.clock.now(), key_id=key_id)

    def give_up(key_id: str) -> None:
        bench.clock.advance(timedelta(hours=2))
        bench.sweep()

    for key_id, meanwhile in ((made, finish), (given_up, give_up)):

        def sleepy(self: TokenKeyStore, label: bytes, key_id: str = key_id, meanwhile: Any = meanwhile) -> bytes:
            monkeypatch.setattr(TokenKeyStore, "create", create)
            meanwhile(key_id)
            return create(self, label)

        monkeypatch.setattr(TokenKeyStore, "create", sleepy)
        if key_id == made:
            assert bench.key(store_id, key_id).state == "Enabled"
        else:
            with pytest.raises(KeyInvalidState, match="was not made in time"):
                bench.key(store_id, key_id)
    assert bench.sweep() == 1
    assert bench.objects() == [ciphertext.head(made, 1)]


def test_a_token_that_is_away_while_a_key_is_made(bench: Bench) -> None:
    """KeyUnavailable; the same id makes the key when it is back."""
    store_id, key_id = bench.connected(), new_key_id()
    bench.token.take_away()
    with pytest.raises(KeyUnavailable):
        bench.key(store_id, key_id)
    bench.token.put_back()
    bench.clock.advance(timedelta(seconds=1))
    assert bench.key(store_id, key_id).state == "Enabled"


def test_a_key_of_another_type_is_refused(bench: Bench) -> None:
    """And nothing is left of it."""
    store_id = bench.connected()
    with pytest.raises(ValidationFailed):
        CustomKeys(bench.keys).create(
            bench.database, HERE, store_id, now=bench.clock.now(), origin=EXTERNAL, external_id="x"
        )
    with bench.database.read() as tx:
        assert rows.keys.all(tx, account=HERE.account, region=HERE.region) == []
    assert bench.objects() == []
