"""Keys: create, resolve, data keys.

Every secret's value is sealed under a data key of its own version; the data key is wrapped by a backing key of a key;
the backing key is wrapped by the root key. Whoever holds the database without the root key holds no value.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import datetime

from keywheel.arn import Arn, Scope
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, InvalidParameter, KeyStoreError, ResourceNotFound
from keywheel.keys import ciphertext, rows
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.sensitive import Sensitive

DEFAULT_ALIAS = "alias/aws/secretsmanager"
_CHECK = "root-key-check"
_BACKING_KEYS = 4096  # backing keys are immutable, so a cache of their handles never goes stale; this bounds it


@dataclass(frozen=True, slots=True)
class Key:
    """A key that can be used: its scope and its id."""

    scope: Scope
    key_id: str

    @property
    def arn(self) -> str:
        """The key's ARN."""
        return self.scope.arn("kms", f"key/{self.key_id}")


class Keys:
    """The keys of every account and Region of this installation."""

    def __init__(self, root: Sensitive[bytes]) -> None:
        self._store = SoftwareKeyStore(root)
        self._handles: dict[bytes, bytes] = {}  # by the head of the blobs that each made

    # --- the root key itself

    def bind(self, tx: Tx) -> bool:
        """Tie a new database to the root key; False when it is tied to this one already.

        Raises:
            KeyStoreError: the database belongs to another root key.
        """
        row = rows.installation.first(tx, name=_CHECK)
        if row is None:
            rows.insert_installation.run(tx, name=_CHECK, value=self._store.wrap(os.urandom(32), _CHECK.encode()))
            return True
        self._store.unwrap(row[0], _CHECK.encode())
        return False

    @staticmethod
    def is_bound(tx: Tx) -> bool:
        """Whether the database is tied to a root key, whichever that is."""
        return rows.installation.first(tx, name=_CHECK) is not None

    def check(self, tx: Tx) -> None:
        """Nothing, when the root key opens this database.

        Raises:
            KeyStoreError: it does not, or the database was never initialised.
        """
        row = rows.installation.first(tx, name=_CHECK)
        if row is None:
            raise KeyStoreError("This database is not initialised.", hint="Run `keywheel init` first.")
        self._store.unwrap(row[0], _CHECK.encode())

    def wrap(self, material: bytes, label: str) -> bytes:
        """A small secret of the server's own, under the root key."""
        return self._store.wrap(material, label.encode())

    def unwrap(self, wrapped: bytes, label: str) -> Sensitive[bytes]:
        """What `wrap` was given.

        Raises:
            KeyStoreError: another root key, or another label.
        """
        return Sensitive(self._store.unwrap(wrapped, label.encode()))

    # --- keys

    def create(self, tx: Tx, scope: Scope, *, description: str, now: datetime, manager: str = "CUSTOMER") -> Key:
        """A new symmetric encryption key with its first backing key."""
        key = Key(scope, str(uuid.uuid4()))
        created = to_epoch(now)
        rows.insert_key.run(
            tx,
            account=scope.account,
            region=scope.region,
            key_id=key.key_id,
            manager=manager,
            description=description,
            created=created,
        )
        handle = self._store.create(ciphertext.head(key.key_id, 1))
        rows.insert_backing_key.run(tx, key_id=key.key_id, generation=1, sealed=handle, created=created)
        return key

    def default(self, tx: Tx, scope: Scope, *, now: datetime) -> Key:
        """The key behind `alias/aws/secretsmanager`, made on first use."""
        row = self._alias(tx, scope, DEFAULT_ALIAS)
        if row is not None:
            return Key(scope, row)
        key = self.create(tx, scope, description="Default key that protects my secrets", now=now, manager="AWS")
        self.name(tx, key, DEFAULT_ALIAS)
        return key

    def name(self, tx: Tx, key: Key, alias: str) -> None:
        """Give `key` the alias."""
        rows.insert_alias.run(tx, account=key.scope.account, region=key.scope.region, name=alias, key_id=key.key_id)

    def resolve(self, tx: Tx, scope: Scope, key_id: str) -> Key:
        """The key that a `KmsKeyId` names: a key id, a key ARN, an alias or an alias ARN of this scope.

        Raises:
            InvalidParameter: it is none of these forms.
            ResourceNotFound: there is no such key.
        """
        arn = Arn.parse(key_id)
        if arn is None:
            resource = key_id if key_id.startswith("alias/") else f"key/{key_id}"
        elif arn.service != "kms" or Scope(arn.account, arn.region) != scope:
            raise InvalidParameter("KmsKeyId must name a key of this account and Region.")
        else:
            resource = arn.resource
        kind, _, name = resource.partition("/")
        if kind not in ("alias", "key") or not name:
            raise InvalidParameter("KmsKeyId must be a key id, a key ARN, an alias or an alias ARN.")
        found = self._alias(tx, scope, resource) if kind == "alias" else self._key(tx, scope, name)
        if found is None:
            raise ResourceNotFound(f"Key '{key_id}' does not exist", hint="`keywheel keys list` shows the keys.")
        return Key(scope, found)

    def list(self, tx: Tx, scope: Scope) -> list[tuple[str, str, str, float]]:
        """Each key of the scope: id, manager, description, created."""
        found = rows.keys.all(tx, account=scope.account, region=scope.region)
        return [(row[0], row[1], row[2], row[3]) for row in found]

    @staticmethod
    def _key(tx: Tx, scope: Scope, key_id: str) -> str | None:
        row = rows.key.first(tx, account=scope.account, region=scope.region, key_id=key_id)
        return None if row is None else str(row[0])

    @staticmethod
    def _alias(tx: Tx, scope: Scope, name: str) -> str | None:
        row = rows.alias.first(tx, account=scope.account, region=scope.region, name=name)
        return None if row is None else str(row[0])

    # --- data keys

    def generate_data_key(self, tx: Tx, key: Key, context: bytes) -> tuple[Sensitive[bytes], bytes]:
        """A new 256-bit data key: in plain, and as a blob that `decrypt` opens under the same context."""
        row = rows.current_backing_key.first(tx, key_id=key.key_id)
        if row is None:
            raise KeyStoreError(f"Key {key.key_id} has no backing key.")
        generation, handle = row
        head = ciphertext.head(key.key_id, generation)
        material = os.urandom(32)
        body = self._store.encrypt(handle, head, material, head + context)
        return Sensitive(material), head + body

    def decrypt(self, tx: Tx, blob: bytes, context: bytes) -> Sensitive[bytes]:
        """Open a blob of ours; `context` as `ciphertext.context_bytes` makes it.

        Raises:
            DecryptionFailure: it was made under another key or another context, or is spoiled.
        """
        head, body = ciphertext.split(blob)
        return Sensitive(self._store.decrypt(self._handle(tx, head), head, body, head + context))

    def _handle(self, tx: Tx, head: bytes) -> bytes:
        found = self._handles.get(head)
        if found is None:
            key_id, generation = ciphertext.backing_key(head)
            row = rows.backing_key.first(tx, key_id=key_id, generation=generation)
            if row is None:
                raise DecryptionFailure("The key that protects this value does not exist any more.")
            if len(self._handles) >= _BACKING_KEYS:
                self._handles.clear()
            found = self._handles[head] = bytes(row[0])
        return found
