"""Keys: create, find, and the data keys of the other rooms.

Every secret's value is sealed under a data key of its own version; the data key is wrapped by a backing key of a key;
the backing key is wrapped by the root key. Whoever holds the database without the root key holds no value.

What callers of AWS KMS do is beside this: `ciphers`, `signatures`, `aliases`, `rotation`, `imports`, `lifecycle`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from keywheel.arn import Arn, Scope
from keywheel.clock import to_epoch
from keywheel.db.statement import Row, Tx
from keywheel.errors import DecryptionFailure, InvalidParameter, KeyStoreError, ResourceNotFound, UnsupportedOperation
from keywheel.keys import ciphertext, identifiers, rows, specs, states
from keywheel.keys.aliases import Aliases
from keywheel.keys.ciphers import Ciphers
from keywheel.keys.custom.stores import CustomKeyStores
from keywheel.keys.errors import InvalidCiphertext, InvalidKeyUsage, KeyInvalidState, KeyNotFound
from keywheel.keys.grants import Grants
from keywheel.keys.imports import Imports
from keywheel.keys.lifecycle import Lifecycle, require_tags
from keywheel.keys.materials import Materials, insert_key
from keywheel.keys.proxied import ProxiedKeys
from keywheel.keys.regions.replicas import Regions
from keywheel.keys.root.ring import RootRing
from keywheel.keys.root.tie import Root
from keywheel.keys.rotation import DEFAULT_PERIOD, KeyRotation
from keywheel.keys.rows import Key
from keywheel.keys.signatures import Signatures
from keywheel.keys.stores.backends import Backends
from keywheel.sensitive import Sensitive

__all__ = ["DEFAULT_ALIAS", "Draft", "Key", "Keys"]

DEFAULT_ALIAS = "alias/aws/secretsmanager"
_MANAGED = 4096  # ids of AWS managed keys that are remembered
_DAY = 86_400.0
_CANNOT_OPEN = "Secrets Manager can't decrypt the protected secret text using the provided KMS key"


@dataclass(frozen=True, slots=True)
class Draft:
    """A key that is not in the store yet. Its material is made outside of a transaction: for RSA that takes a while."""

    key_id: str
    spec: str
    usage: str
    origin: str
    handle: bytes | None  # None: the material will be imported
    public: bytes | None
    state: str | None = None  # None: as the handle says
    store_id: str | None = None


class Keys(Root):
    """The keys of every account and Region of this installation."""

    def __init__(self, root: Sensitive[bytes] | RootRing, backends: Backends | None = None) -> None:
        super().__init__(root)
        self.custom = CustomKeyStores(self._store, backends or Backends())
        self._materials = Materials(self._store, self.custom)
        self._managed: set[str] = set()  # keys whose state nobody can change
        self.ciphers = Ciphers(self._materials)
        self.signatures = Signatures(self._materials)
        self.proxied = ProxiedKeys(self._materials)
        self.aliases = Aliases()
        self.grants = Grants(self)
        self.rotation = KeyRotation(self._materials)
        self.imports = Imports(self._materials)
        self.lifecycle = Lifecycle(self._materials, self.rotation)
        self.regions = Regions()

    # --- making

    def draft(
        self,
        spec: str | None = None,
        usage: str | None = None,
        origin: str = states.AWS_KMS,
        *,
        key_id: str | None = None,
        multi_region: bool = False,
    ) -> Draft:
        """The material of a new key: a symmetric encryption key when nothing is said. Slow for RSA; writes nothing.

        `key_id` is the id of the key where it was written down before; else it is a new one, `multi_region` or not.

        Raises:
            ValidationFailed: spec and usage do not go together.
            UnsupportedOperation: there are no such keys here.
        """
        spec, usage = specs.choose(spec, usage)
        key_id = key_id or identifiers.new_key_id(multi_region=multi_region)
        if origin == states.EXTERNAL:
            return Draft(key_id, spec, usage, origin, None, None)
        if origin != states.AWS_KMS:
            raise UnsupportedOperation(f"Keys of origin {origin} are not supported by this server.")
        handle, public = self._materials.make(spec, ciphertext.head(key_id, 1))
        return Draft(key_id, spec, usage, origin, handle, public)

    def create(
        self,
        tx: Tx,
        scope: Scope,
        *,
        description: str,
        now: datetime,
        draft: Draft | None = None,
        tags: Mapping[str, str] | None = None,
        policy: str | None = None,
        manager: str = "CUSTOMER",
    ) -> Key:
        """A new key with its first backing key: that of `draft`, or else a symmetric one.

        Raises:
            TagRefused: the tags are refused.
        """
        draft = draft or self.draft()
        require_tags(tags or ())
        created = to_epoch(now)
        managed = manager == "AWS"  # and so rotated every year
        key = Key(
            account=scope.account,
            region=scope.region,
            key_id=draft.key_id,
            manager=manager,
            description=description,
            created=created,
            spec=draft.spec,
            usage=draft.usage,
            origin=draft.origin,
            state=draft.state or (states.PENDING_IMPORT if draft.handle is None else states.ENABLED),
            generation=0 if draft.handle is None else 1,
            tags_json=json.dumps(dict(tags or {})),
            rotation_period=DEFAULT_PERIOD if managed else None,
            next_rotation=created + DEFAULT_PERIOD * _DAY if managed else None,
            store_id=draft.store_id,
            multi_region=states.PRIMARY if identifiers.is_multi_region(draft.key_id) else None,
        )
        insert_key(tx, key, policy)
        if draft.handle is not None:
            self._materials.insert(tx, key.key_id, 1, draft.handle, now, public=draft.public)
        return key

    def default(self, tx: Tx, scope: Scope, *, now: datetime) -> Key:
        """The key behind `alias/aws/secretsmanager`, made on first use."""
        row = self._by_alias(tx, scope, DEFAULT_ALIAS)
        if row is not None:
            return rows.as_key(row)
        key = self.create(tx, scope, description="Default key that protects my secrets", now=now, manager="AWS")
        self.name(tx, key, DEFAULT_ALIAS)
        return key

    @staticmethod
    def name(tx: Tx, key: Key, alias: str) -> None:
        """Give `key` the alias, which may be a reserved one."""
        rows.insert_alias.run(
            tx,
            account=key.account,
            region=key.region,
            name=alias,
            key_id=key.key_id,
            created=key.created,
            updated=key.created,
        )

    # --- finding

    def find(
        self, tx: Tx, scope: Scope, key_id: str, *, now: datetime, aliases: bool = False, lock: bool = False
    ) -> Key:
        """The key that a KeyId of AWS KMS names; with `lock`, no other transaction changes it meanwhile.

        Raises:
            KeyNotFound: there is none, or the identifier is none, or names an alias where `aliases` allows none.
            InvalidArn: it is the ARN of something else.
        """
        ref = identifiers.parse(key_id, scope, aliases=aliases)
        if ref.alias is not None:
            row = self._by_alias(tx, ref.scope, ref.alias)
            if row is None:
                raise KeyNotFound(f"Alias {rows.alias_arn(ref.scope, ref.alias)} is not found.")
        else:
            statement = rows.lock_key if lock else rows.key
            row = statement.first(tx, account=ref.scope.account, region=ref.scope.region, key_id=ref.key_id)
            if row is None:
                raise KeyNotFound(f"Key '{ref.scope.arn('kms', f'key/{ref.key_id}')}' does not exist")
        return self._as_of(tx, rows.as_key(row), now)

    def of_ciphertext(self, tx: Tx, scope: Scope, blob: bytes, *, now: datetime) -> Key:
        """The key of the scope's Region that a symmetric ciphertext names.

        Raises:
            InvalidCiphertext: it names none.
        """
        try:
            head, _ = ciphertext.split(blob)
        except DecryptionFailure:
            raise InvalidCiphertext from None
        row = rows.key_by_region.first(tx, key_id=ciphertext.backing_key(head)[0], region=scope.region)
        if row is None:
            raise InvalidCiphertext
        return self._as_of(tx, rows.as_key(row), now)

    def _as_of(self, tx: Tx, key: Key, now: datetime) -> Key:
        """The key at `now`: without material that has expired, or is in a key store that is not connected."""
        if key.state not in (states.ENABLED, states.DISABLED):
            return key
        if key.expires is not None and key.expires <= to_epoch(now):
            return key._replace(state=states.PENDING_IMPORT)
        if key.store_id is not None and not self.custom.is_connected(tx, key.store_id):
            return key._replace(state=states.UNAVAILABLE)
        return key

    def resolve(self, tx: Tx, scope: Scope, key_id: str) -> Key:
        """The key that a secret's KmsKeyId names: a key id, a key ARN, an alias or an alias ARN of this scope.

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
        if kind == "alias":
            row = self._by_alias(tx, scope, resource)
        else:
            row = rows.key.first(tx, account=scope.account, region=scope.region, key_id=name)
        if row is None:
            raise ResourceNotFound(f"Key '{key_id}' does not exist", hint="`keywheel keys list` shows the keys.")
        return rows.as_key(row)

    @staticmethod
    def page(tx: Tx, scope: Scope, *, after: str | None = None, most: int) -> list[Key]:
        """At most `most` keys of the scope behind the key id `after`."""
        found = rows.keys_after.all(tx, account=scope.account, region=scope.region, after=after or "", most=most)
        return [rows.as_key(row) for row in found]

    @staticmethod
    def list(tx: Tx, scope: Scope) -> list[tuple[str, str, str, float]]:
        """Each key of the scope: id, manager, description, created."""
        found = rows.keys.all(tx, account=scope.account, region=scope.region)
        return [(row[0], row[1], row[2], row[3]) for row in found]

    @staticmethod
    def _by_alias(tx: Tx, scope: Scope, name: str) -> Row | None:
        return rows.key_by_alias.first(tx, account=scope.account, region=scope.region, name=name)

    # --- data keys of the other rooms

    def generate_data_key(self, tx: Tx, key: Key, context: bytes) -> tuple[Sensitive[bytes], bytes]:
        """A new 256-bit data key: in plain, and as a blob that `decrypt` opens under the same context.

        Raises:
            KeyDisabled, KeyInvalidState: the key cannot be used in its state.
            InvalidKeyUsage: it is no symmetric encryption key.
        """
        if key.spec != specs.SYMMETRIC:
            raise InvalidKeyUsage(f"Cannot generate a data key with an {key.kind} KMS key")
        states.check("GenerateDataKey", key.state, key.origin, key.arn)
        try:
            handle, head = self._materials.current(tx, key)
        except DecryptionFailure:
            raise KeyStoreError(f"Key {key.key_id} has no backing key.") from None
        material = os.urandom(32)
        store = self._materials.store_for(tx, key.store_id)
        return Sensitive(material), head + store.encrypt(handle, head, material, head + context)

    def decrypt(self, tx: Tx, blob: bytes, context: bytes, *, region: str | None = None) -> Sensitive[bytes]:
        """Open a blob of ours; `context` as `ciphertext.context_bytes` makes it. `region` is where its key is used.

        Raises:
            DecryptionFailure: it was made under another key or another context, or is spoiled, or its key cannot be
                used in its state.
        """
        head, body = ciphertext.split(blob)
        key_id = ciphertext.backing_key(head)[0]
        store_id = None if key_id in self._managed else self._usable(tx, key_id, region)
        handle = self._materials.handle(tx, head)
        try:
            store = self._materials.store_for(tx, store_id)
            return Sensitive(store.decrypt(handle, head, body, head + context))
        except KeyInvalidState as error:
            raise DecryptionFailure(f"{_CANNOT_OPEN}: {error.message}") from None

    def _usable(self, tx: Tx, key_id: str, region: str | None) -> str | None:
        """The custom key store of a key that can be used in its state."""
        found = rows.key_states.all(tx, key_id=key_id)
        here = [row for row in found if region in (None, row[0])]
        if not here:
            raise DecryptionFailure("The key that protects this value does not exist any more.")
        _, state, manager, store_id = here[0]
        if manager == "AWS":
            if len(self._managed) >= _MANAGED:
                self._managed.clear()
            self._managed.add(key_id)
        elif states.refusal("Decrypt", state, states.AWS_KMS) is not None:
            raise DecryptionFailure(f"{_CANNOT_OPEN}: key {key_id} is in state {state}.")
        return None if store_id is None else str(store_id)
