"""Backing keys: their rows, and the handles of those that were used lately.

A backing key never changes, so what is kept of it here cannot go stale; whether it may be used is the key's state,
which is read each time. Imported material may go away and come back, but only as the same bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, UnsupportedOperation
from keywheel.keys import ciphertext, rows, specs
from keywheel.keys.custom.stores import CustomKeyStores
from keywheel.keys.regions import material as regional
from keywheel.keys.rows import Key, Material
from keywheel.keys.stores.base import KeyStore, Pair
from keywheel.keys.stores.software import SoftwareKeyStore

_KEPT = 4096


class Materials:
    """The backing keys of every key."""

    def __init__(self, store: SoftwareKeyStore, custom: CustomKeyStores) -> None:
        self.store = store
        self._custom = custom
        self._kept: dict[bytes, Pair] = {}  # by label

    def store_for(self, tx: Tx, store_id: str | None) -> KeyStore:
        """The key store of a symmetric encryption key: our own, or the custom one of this id.

        Raises:
            KeyInvalidState: that is not connected.
        """
        return self.store if store_id is None else self._custom.backend(tx, store_id)

    def make(self, spec: str, label: bytes) -> tuple[bytes, bytes | None]:
        """New material for a key of `spec`: its handle, and the public half of a key pair. Slow for RSA."""
        found = specs.SPECS[spec]
        if found.kind == "symmetric":
            return self.store.create(label), None
        if found.kind == "hmac":
            return self.store.create_mac_key(found.size, label), None
        return self.store.create_pair(spec, label)

    def handle(self, tx: Tx, label: bytes) -> bytes:
        """The handle of a backing key by its label, which is the head of its ciphertexts.

        Raises:
            DecryptionFailure: there is none (any more).
        """
        return self._pair(tx, label).handle

    def current(self, tx: Tx, key: Key) -> tuple[bytes, bytes]:
        """Handle and label of the backing key in use."""
        label = ciphertext.head(key.key_id, key.generation)
        return self._pair(tx, label).handle, label

    def public(self, tx: Tx, key: Key) -> bytes:
        """The public key of a key pair, in DER.

        Raises:
            UnsupportedOperation: it is no key pair.
        """
        if key.kind != "asymmetric":
            raise UnsupportedOperation(f"{key.arn} is not an asymmetric key.")
        return self._pair(tx, ciphertext.head(key.key_id, key.generation)).public

    def _pair(self, tx: Tx, label: bytes) -> Pair:
        found = self._kept.get(label)
        if found is None:
            key_id, generation = ciphertext.backing_key(label)
            row = rows.backing_key.first(tx, key_id=key_id, generation=generation)
            if row is None or not row[0]:
                raise DecryptionFailure("The key that protects this value does not exist any more.")
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            found = self._kept[label] = Pair(bytes(row[0]), bytes(row[1] or b""))
        return found

    def forget(self, key_id: str, generation: int) -> None:
        """Keep nothing of a backing key that was destroyed."""
        self._kept.pop(ciphertext.head(key_id, generation), None)

    @staticmethod
    def of(tx: Tx, key: Key) -> list[Material]:
        """Every backing key of a key, the oldest first, as the key's Region has it."""
        found = [rows.as_material(row) for row in rows.materials.all(tx, key_id=key.key_id)]
        return regional.of(tx, key, found) if regional.is_kept_by_region(key) else found

    def insert(self, tx: Tx, key_id: str, generation: int, sealed: bytes, now: datetime, **columns: Any) -> None:
        """The row of a new backing key. What was wrapped before the root key was rotated is wrapped anew."""
        ring, label = self.store.ring, ciphertext.head(key_id, generation)
        ring.hold(tx)
        prefix = (
            1 + sealed[0] if sealed and ring.opened(sealed, label) is None else 0
        )  # a handle of an external key store
        renewed = ring.renewed(sealed[prefix:], label)
        sealed = sealed if renewed is None else sealed[:prefix] + renewed
        given = dict.fromkeys(("public", "rotated", "rotation", "fingerprint", "description", "expires"))
        rows.insert_backing_key.run(
            tx, key_id=key_id, generation=generation, sealed=sealed, created=to_epoch(now), **{**given, **columns}
        )


def insert_key(tx: Tx, key: Key, policy: str | None) -> None:
    """The row of a new key."""
    columns = key._asdict()
    columns["tags"] = columns.pop("tags_json")
    rows.insert_key.run(tx, policy=policy, **columns)


def update_key(tx: Tx, key: Key, **columns: Any) -> Key:
    """Change columns of a key; the key as it is afterwards."""
    rows.key_update(*sorted(columns)).run(
        tx, row_account=key.account, row_region=key.region, row_key=key.key_id, **columns
    )
    if "tags" in columns:
        columns["tags_json"] = columns.pop("tags")
    return key._replace(**columns)
