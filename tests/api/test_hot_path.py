"""What keeps the way of a request short: what runs on the event loop, what is noted once, what is looked up once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keywheel.access.access_keys import Role
from keywheel.access.door import Caller
from keywheel.api import key_sets
from keywheel.api.kms import shapes as s
from keywheel.api.kms.ciphers import encrypt
from keywheel.api.kms.keys import create_key
from keywheel.api.operations import TABLE
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.keys.errors import KeyDisabled
from keywheel.rotation.keys.rules import Rules
from keywheel.server import House
from keywheel.testing import ManualClock

SCOPE = Scope("123456789012", "us-east-1")
CALLER = Caller("arn:aws:iam::123456789012:user/ann", SCOPE, Role.ADMINISTRATOR, "AKIAEXAMPLE")
PATH = "/jwks/123456789012/us-east-1/alias/jwt"


@pytest.mark.parametrize(
    ("operation", "members", "quick"),
    [
        ("Encrypt", {"KeyId": "k"}, True),
        ("Decrypt", {"CiphertextBlob": "AAAA"}, True),
        ("Decrypt", {"EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, True),
        ("Decrypt", {"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}, False),
        ("Sign", {"SigningAlgorithm": "ECDSA_SHA_256"}, True),
        ("Sign", {"SigningAlgorithm": "ED25519_SHA_512"}, True),
        ("Sign", {"SigningAlgorithm": "ECDSA_SHA_384"}, False),
        ("Sign", {"SigningAlgorithm": "RSASSA_PSS_SHA_256"}, False),
        ("Sign", {"SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_512"}, False),
        ("Sign", {"SigningAlgorithm": "ML_DSA_SHAKE_256"}, False),
        ("Verify", {"SigningAlgorithm": "RSASSA_PSS_SHA_256"}, True),
        ("Verify", {"SigningAlgorithm": "ECDSA_SHA_512"}, False),
        ("CreateKey", {}, False),
    ],
)
def test_what_takes_long_is_not_done_on_the_event_loop(operation: str, members: dict[str, str], quick: bool) -> None:
    """An RSA key's private half, and the larger curves."""
    assert TABLE[f"TrentService.{operation}".encode()].is_quick(json.dumps(members).encode()) is quick


def hold(house: House, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[Tx], object]]:
    """What is to be written later, from now on; it is not written."""
    held: list[Callable[[Tx], object]] = []
    monkeypatch.setattr(house.rooms.database, "later", held.append)
    return held


def test_the_use_of_a_key_is_noted_once_however_many_use_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the note is on its way to a store that is slow; and again when it went lost."""
    made = create_key(house.rooms, CALLER, s.CreateKeyRequest())
    assert made.key_metadata is not None
    key_id, held = made.key_metadata.key_id, hold(house, monkeypatch)
    request = s.EncryptRequest(key_id=key_id, plaintext=b"x")
    for _ in range(5):
        encrypt(house.rooms, CALLER, request)
    (note,) = held
    house.rooms.database.write(note)
    for _ in range(5):
        encrypt(house.rooms, CALLER, request)
    assert len(held) == 1  # it is known now, for an hour
    with house.rooms.database.point() as tx:
        key = house.keys.find(tx, SCOPE, key_id, now=house.rooms.clock.now())
    assert key.last_operation == "Encrypt"
    assert not house.keys.lifecycle.noting


def test_a_disabled_key_is_noted_as_missed_once(
    house: House, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever keeps asking for it does not fill the store's queue."""
    made = create_key(house.rooms, CALLER, s.CreateKeyRequest())
    assert made.key_metadata is not None
    key_id = made.key_metadata.key_id

    def disable(tx: Tx) -> None:
        key = house.keys.find(tx, SCOPE, key_id, now=clock.now(), lock=True)
        house.keys.lifecycle.disable(tx, key)

    house.rooms.database.write(disable)
    held = hold(house, monkeypatch)
    for _ in range(5):
        with pytest.raises(KeyDisabled):
            encrypt(house.rooms, CALLER, s.EncryptRequest(key_id=key_id, plaintext=b"x"))
    assert len(held) == 1
    clock.advance(timedelta(seconds=61))  # it is taken to be lost
    with pytest.raises(KeyDisabled):
        encrypt(house.rooms, CALLER, s.EncryptRequest(key_id=key_id, plaintext=b"x"))
    assert len(held) == 2


class Fetched:
    """Fetches the key set of `PATH` from an application in this process, and counts how often it is looked up."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = house.app()
        self.looked_up = 0
        look_up = key_sets.look_up

        def counted(*given: Any) -> Any:
            self.looked_up += 1
            return look_up(*given)

        monkeypatch.setattr(key_sets, "look_up", counted)

    async def get(self, path: str = PATH) -> tuple[int, list[str]]:
        """The status, and the ids of the keys."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("there is no body")

        await self.app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
        return sent[0]["status"], [key["kid"] for key in json.loads(sent[1]["body"])["keys"]]

    async def many(self) -> set[tuple[int, int]]:
        """Twenty at once: the statuses, each with the number of keys."""
        return {(status, len(keys)) for status, keys in await asyncio.gather(*(self.get() for _ in range(20)))}


def publish(house: House, *, published: bool) -> str:
    """A key behind the alias; its id."""
    key = create_key(house.rooms, CALLER, s.CreateKeyRequest(key_spec="ECC_NIST_P256", key_usage="SIGN_VERIFY"))
    assert key.key_metadata is not None
    key_id, now = key.key_metadata.key_id, house.rooms.clock.now()

    def work(tx: Tx) -> None:
        found = house.keys.find(tx, SCOPE, key_id, now=now, lock=True)
        house.keys.aliases.create(tx, "alias/jwt", found, now)
        house.rooms.key_rotations.schedule(tx, SCOPE, "alias/jwt", Rules(published=published), now)

    house.rooms.database.write(work)
    return key_id


def test_a_key_set_is_looked_up_once_for_all_who_fetch_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as it is kept; then a key that was disabled is gone."""
    key_id, fetched = publish(house, published=True), Fetched(house, monkeypatch)
    assert asyncio.run(fetched.many()) == {(200, 1)}
    assert fetched.looked_up == 1

    def disable(tx: Tx) -> None:
        key = house.keys.find(tx, SCOPE, key_id, now=house.rooms.clock.now(), lock=True)
        house.keys.lifecycle.disable(tx, key)

    house.rooms.database.write(disable)
    monkeypatch.setattr(key_sets, "KEPT_SECONDS", 0.0)
    assert asyncio.run(fetched.get()) == (200, [])


def test_what_is_not_published_is_not_remembered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be published the next moment. What is no path is not looked for."""
    fetched = Fetched(house, monkeypatch)

    async def then_published() -> tuple[int, list[str]]:
        assert await fetched.get() == (404, [])
        await asyncio.to_thread(publish, house, published=True)
        return await fetched.get()

    assert asyncio.run(then_published())[0] == 200
    assert fetched.looked_up == 2
    assert asyncio.run(fetched.get("/jwks/../x")) == (404, [])
    assert fetched.looked_up == 2
