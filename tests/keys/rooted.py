"""A database with one of everything that is under the root key, and the proof that all of it can be read."""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keywheel.access import sealed as access
from keywheel.access.access_keys import AccessKeys, Role
from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.keys import ciphertext, rows
from keywheel.keys.custom import rows as custom_rows
from keywheel.keys.custom.stores import sealed_label
from keywheel.keys.imports import KEEPS, Import
from keywheel.keys.keyring import Key, Keys
from keywheel.keys.root.places import PLACES
from keywheel.keys.root.ring import RootRing
from keywheel.keys.root.rotation import RootRotation, require_known
from keywheel.keys.signing import signing_key
from keywheel.keys.specs import OAEP_256
from keywheel.sensitive import Sensitive

HERE = Scope("1" * 12, "eu-west-1")
EVERYWHERE = (*PLACES, *access.PLACES)
_STORE, _PASSWORD = "cks-0123456789abcdef0", b"the proxy's secret"  # the names of a test
_ACCESS_KEY, _SECRET = "AKIA0123456789ABCDEF", Sensitive("0123456789012345678901234567890123456789")
_MATERIAL, _TEXT = b"m" * 32, b"a text"


class Rooted:
    """Everything. It knows nothing but what a client of the server knows."""

    def __init__(self, database: Database, root: Sensitive[bytes] | RootRing) -> None:
        self.database = database
        keys = Keys(root)
        self._now = database.clock().now()
        database.write(keys.bind)
        self.audit_key = database.write(lambda tx: signing_key(tx, keys)).public_pem()
        specs = (None, "RSA_2048", "HMAC_256", "ECC_NIST_P256")
        usages = (None, "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "SIGN_VERIFY")
        self.symmetric, self._rsa, self._mac_key, _ = (
            self._make(keys, spec, usage) for spec, usage in zip(specs, usages, strict=True)
        )
        self.blobs = [self._encrypt(keys)]
        database.write(
            lambda tx: keys.rotation.on_demand(tx, self._find(keys, tx, self.symmetric, lock=True), self._now)
        )
        self.blobs.append(self._encrypt(keys))
        with database.read() as tx:
            self._mac = keys.signatures.generate_mac(tx, self._find(keys, tx, self._mac_key), _TEXT, "HMAC_SHA_256")
        self.imported = self._import(keys)
        self._external = database.write(lambda tx: self._key_store(keys, tx))
        database.write(
            lambda tx: AccessKeys(keys).create(
                tx,
                account=HERE.account,
                name="admin",
                role=Role.ADMINISTRATOR,
                now=self._now,
                access_key_id=_ACCESS_KEY,
                secret=_SECRET,
            )
        )

    def _make(self, keys: Keys, spec: str | None, usage: str | None, origin: str = "AWS_KMS") -> Key:
        draft = keys.draft(spec, usage, origin)
        return self.database.write(lambda tx: keys.create(tx, HERE, description="", now=self._now, draft=draft))

    def _find(self, keys: Keys, tx: Tx, key: Key, *, lock: bool = False) -> Key:
        return keys.find(tx, HERE, key.key_id, now=self._now, lock=lock)

    def _encrypt(self, keys: Keys) -> bytes:
        with self.database.read() as tx:
            return keys.ciphers.encrypt(tx, self._find(keys, tx, self.symmetric), Sensitive(_TEXT), {})

    def _import(self, keys: Keys) -> Key:
        key = self._make(keys, None, None, "EXTERNAL")
        self.send(keys, key)
        return key

    def send(self, keys: Keys, key: Key) -> None:
        """Import the material; where it is known already, it must be the same."""
        with self.database.read() as tx:
            found = self._find(keys, tx, key)
        parameters = keys.imports.parameters(found, OAEP_256, "RSA_2048", self._now)
        public = load_der_public_key(parameters.public)
        oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
        given = Import(parameters.token, public.encrypt(_MATERIAL, oaep), KEEPS)  # type: ignore[union-attr]
        self.database.write(
            lambda tx: keys.imports.import_material(tx, self._find(keys, tx, key, lock=True), given, self._now)
        )

    def _key_store(self, keys: Keys, tx: Tx) -> Key:
        """Rows of an external key store and of a key in it, as `CustomKeys.create` writes them."""
        software = keys.custom.software
        store: dict[str, Any] = {name: "" for name in custom_rows.CustomKeyStore._fields if name != "proxy_json"}
        store |= {"store_id": _STORE, "type": "EXTERNAL_KEY_STORE", "proxy": "{}", "cluster": None, "serial": 1}
        store |= {"sealed": software.wrap(_PASSWORD, sealed_label(_STORE)), "created": to_epoch(self._now)}
        store |= {"account": HERE.account, "region": HERE.region, "name": "store", "state": "CONNECTED"}
        custom_rows.insert_store.run(tx, **store)
        draft = keys.draft()
        label = ciphertext.head(draft.key_id, 1)
        handle = b"\x03abc" + software.wrap(b"k" * 32, label)
        made = keys.create(tx, HERE, description="", now=self._now, draft=draft)
        rows.material_update("sealed").run(tx, row_key=made.key_id, row_generation=1, sealed=handle)
        return made

    # --- the proof

    def rotation(self, ring: RootRing) -> RootRotation:
        """The rotation of its root key."""
        return RootRotation(self.database, ring, EVERYWHERE)

    def proved_by(self, root: Sensitive[bytes] | RootRing) -> Keys:
        """Keys that have just been made from `root`, when everything can be read by them, and is what it was."""
        keys = Keys(root)
        with self.database.read() as tx:
            keys.check(tx)
            require_known(keys.ring, tx, EVERYWHERE)
            for blob in self.blobs:
                found = keys.of_ciphertext(tx, HERE, blob, now=self._now)
                assert keys.ciphers.decrypt(tx, found, blob, {}).plaintext == Sensitive(_TEXT)
            rsa = self._find(keys, tx, self._rsa)
            signature = keys.signatures.sign(tx, rsa, _TEXT, "RSASSA_PSS_SHA_256")
            keys.signatures.verify(tx, rsa, _TEXT, signature, "RSASSA_PSS_SHA_256")
            keys.signatures.verify_mac(tx, self._find(keys, tx, self._mac_key), _TEXT, self._mac, "HMAC_SHA_256")
            known = AccessKeys(keys).known(tx, _ACCESS_KEY)
            assert known is not None
            assert known.secret == _SECRET
            (sealed,) = [each.sealed for each in map(custom_rows.as_store, custom_rows.store.all(tx, store_id=_STORE))]
            assert keys.custom.software.unwrap(sealed, sealed_label(_STORE)) == _PASSWORD
            row = rows.backing_key.first(tx, key_id=self._external.key_id, generation=1)
            assert row is not None
            assert bytes(row[0])[:4] == b"\x03abc"
            own = keys.custom.software.unwrap(bytes(row[0])[4:], ciphertext.head(self._external.key_id, 1))
            assert own == b"k" * 32
        assert self.database.write(lambda tx: signing_key(tx, keys)).public_pem() == self.audit_key
        self.send(keys, self.imported)  # by the fingerprint, it is the same material
        return keys


def new_root() -> Sensitive[bytes]:
    """A root key."""
    return Sensitive(os.urandom(32))
