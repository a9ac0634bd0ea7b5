"""A key of a custom key store is followed by another one in the same token: live, with SoftHSM2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import pkcs11
import pytest

from keywheel.db.database import Database
from keywheel.keys import states
from keywheel.keys.custom.keys import CustomKeys
from keywheel.keys.custom.states import CLOUDHSM, Definition
from keywheel.keys.keyring import Keys
from keywheel.keys.stores.backends import Backends, TokenPlace
from keywheel.rotation.keys.driver import KeyDriver
from keywheel.rotation.keys.machine import Step
from keywheel.rotation.keys.rules import Rules
from keywheel.sensitive import Sensitive
from keywheel.testing import Crash, Fuse, ManualClock
from tests.rotation.keys.conftest import DAY, SCOPE, KeyAccount
from tests.support.tokens import LABEL, LIBRARY, SoftToken

CLUSTER = "cluster-2222keywheel"


@pytest.fixture
def held(database: Database, soft_token: SoftToken, clock: ManualClock) -> Iterator[KeyAccount]:
    """An account whose keys are in a token that is connected."""
    keys = Keys(Sensitive(os.urandom(32)), Backends({CLUSTER: TokenPlace(LIBRARY, LABEL)}, clock=clock))
    account = KeyAccount(database, keys, clock)
    new = Definition(name="hsm", cluster=CLUSTER, password=soft_token.pin)
    store = database.write(lambda tx: keys.custom.create(tx, SCOPE, CLOUDHSM, new, clock.now()))
    keys.custom.connect(database, SCOPE, store.store_id)
    key = CustomKeys(keys).create(database, SCOPE, store.store_id, now=clock.now(), description="in the token")
    now = clock.now()
    account.write(lambda tx, made: keys.aliases.create(tx, "alias/token", made, now), key.key_id)
    yield account
    keys.custom.close()
    pkcs11.lib(LIBRARY).finalize()


def encrypts(account: KeyAccount) -> bytes:
    """A ciphertext by the alias."""
    key = account.key("alias/token")
    with account.database.read() as tx:
        return account.keys.ciphers.encrypt(tx, key, Sensitive(b"plain"), {})


def decrypts(account: KeyAccount, key_id: str, blob: bytes) -> bytes:
    key = account.key(key_id)
    with account.database.read() as tx:
        return account.keys.ciphers.decrypt(tx, key, blob, {}).plaintext.reveal()


def test_a_key_in_a_token_is_rotated_behind_its_alias(held: KeyAccount) -> None:
    """Into the same token; what the former one encrypted decrypts as long as it is enabled."""
    before, blob = held.key("alias/token"), encrypts(held)
    held.schedule("alias/token", Rules(expression="rate(30 days)", grace=45 * DAY))
    held.pass_days(31)
    after = held.key("alias/token")
    assert after.key_id != before.key_id
    assert (after.origin, after.store_id, after.description) == (CLOUDHSM, before.store_id, "in the token")
    assert decrypts(held, before.key_id, blob) == b"plain"
    assert decrypts(held, after.key_id, encrypts(held)) == b"plain"
    held.pass_days(45)
    assert held.key(before.key_id).state == states.DISABLED


def test_a_token_that_is_away_is_waited_for(held: KeyAccount, soft_token: SoftToken) -> None:
    """The rotation goes on with the key whose id was written down."""
    before = held.key("alias/token")
    now = held.clock.now()
    held.database.write(lambda tx: held.rotations.start(tx, SCOPE, "alias/token", now))
    soft_token.take_away()
    held.keys.custom.close()
    held.run()
    entry = held.entry("alias/token")
    assert entry.rotation.step in (Step.CREATE, Step.DISCARD, Step.REST)
    assert held.key("alias/token").key_id == before.key_id
    soft_token.put_back()
    held.pass_days(1, step=0.01)
    assert held.key("alias/token").key_id == entry.rotation.new_key != before.key_id


def test_a_crash_at_any_effect_leaves_no_second_key_in_the_token(held: KeyAccount) -> None:
    """The former key is scheduled for deletion at last; every other one was current."""
    fuse = Fuse()
    number = 0
    while True:
        driver = KeyDriver(fuse.around("store", held.database), held.keys, held.clock)
        now, before = held.clock.now(), held.key("alias/token")
        held.database.write(lambda tx, now=now: held.rotations.start(tx, SCOPE, "alias/token", now))  # type: ignore[misc] # a default binds it
        try:
            with fuse.blow_at(number):
                while driver.turn():
                    pass
        except Crash:
            held.clock.advance(timedelta(minutes=5))
            held.run()
        else:
            break
        assert held.key("alias/token").key_id != before.key_id
        assert held.events("alias/token").count("KeyRotationSucceeded") == number + 1
        assert len(held.all()) == number + 2
        assert all(key.state == states.ENABLED for key in held.all())
        number += 1
    assert number > 15
