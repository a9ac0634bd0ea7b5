"""Secrets under a key of their own: what happens to them with the key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, EncryptionFailure
from keywheel.keys.keyring import Key
from keywheel.secrets.ledger import Draft, Secrets
from keywheel.secrets.values import Value
from tests.keys.ring import Ring

HERE = Scope("1" * 12, "eu-west-1")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Place:
    """A secret under a key, beside one under the default key."""

    def __init__(self, database: Database) -> None:
        self.ring = Ring(database)
        self.secrets = Secrets(self.ring.keys)
        self.key = self.ring.make()
        self.create("own", self.key)
        self.create("default", None)

    def create(self, name: str, key: Key | None) -> None:
        draft = Draft(name, kms_key_id=None if key is None else key.arn)
        value = Value.of_text(f"value of {name}")

        def work(tx: Tx) -> None:
            self.secrets.create(tx, HERE, draft, NOW, token=str(uuid4()), value=value)

        self.ring.write(work)

    def put(self, name: str, text: str) -> None:
        def work(tx: Tx) -> None:
            secret = self.secrets.find(tx, HERE, name, lock=True)
            self.secrets.put(tx, secret, str(uuid4()), Value.of_text(text), (), NOW)

        self.ring.write(work)

    def read(self, name: str, label: str | None = None) -> str:
        with self.ring.database.read() as tx:
            found = self.secrets.vault.read(tx, HERE, name, version_id=None, label=label, now=NOW)
            return found.value.text().reveal()


@pytest.fixture
def place(database: Database) -> Place:
    """On each kind of store."""
    return Place(database)


@pytest.mark.parametrize("leave", [Ring.disable, Ring.schedule])
def test_a_secret_follows_its_key(place: Place, leave: Callable[[Ring, Key], Key]) -> None:
    """Neither read nor written while the key cannot be used, though it was used a moment before; then as before."""
    assert place.read("own") == "value of own"
    leave(place.ring, place.key)
    with pytest.raises(DecryptionFailure, match="can't decrypt the protected secret text"):
        place.read("own")
    with pytest.raises(EncryptionFailure, match=f"can't encrypt the protected .* {place.key.arn} is"):
        place.put("own", "new")
    assert place.read("default") == "value of default"
    place.put("default", "new")
    if leave is Ring.schedule:
        place.ring.cancel(place.key)
    place.ring.enable(place.key)
    assert place.read("own") == "value of own"
    place.put("own", "new")
    assert (place.read("own"), place.read("own", "AWSPREVIOUS")) == ("new", "value of own")


def test_a_secret_ends_with_its_key(place: Place) -> None:
    """Once the key is destroyed, nobody opens it."""
    place.read("own")
    place.ring.schedule(place.key, 7)
    place.ring.wait(days=7)
    place.ring.write(lambda tx: place.ring.keys.lifecycle.purge_due(tx, place.ring.now))
    with pytest.raises(DecryptionFailure, match="does not exist any more"):
        place.read("own")
    with pytest.raises(EncryptionFailure, match="does not exist"):
        place.put("own", "new")


def test_a_secret_outlives_the_rotations_of_its_key(place: Place) -> None:
    """Older versions open by the older material; new ones are sealed with the new one."""
    for number in range(3):
        place.ring.wait(days=1)
        place.ring.rotate(place.key)
        place.put("own", f"value {number}")
        assert place.read("own") == f"value {number}"
        assert place.read("own", "AWSPREVIOUS") == (f"value {number - 1}" if number else "value of own")
    with place.ring.database.read() as tx:
        found = tx.execute("SELECT data_key FROM version WHERE key_arn IS NOT NULL", ()).fetchall()
    assert sorted(int.from_bytes(bytes(row[0])[17:21], "big") for row in found) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("spec", "usage", "kind"),
    [("RSA_2048", "ENCRYPT_DECRYPT", "asymmetric"), ("HMAC_256", "GENERATE_VERIFY_MAC", "hmac")],
)
def test_a_key_of_another_kind_protects_no_secret(place: Place, spec: str, usage: str, kind: str) -> None:
    """And no secret is made with it."""
    key = place.ring.make(spec, usage)
    with pytest.raises(EncryptionFailure, match=f"Cannot generate a data key with an {kind} KMS key"):
        place.create("other", key)


def test_a_key_that_waits_for_its_material_protects_no_secret(place: Place) -> None:
    """As long as it waits."""
    with pytest.raises(EncryptionFailure, match="is pending import"):
        place.create("other", place.ring.make(origin="EXTERNAL"))
