"""The keys in custom key stores: how they are made and how they end, where that is not one transaction.

A key in a token is written down first, as Creating, then made in the token under the id that was written down, and then
enabled. At its end the key goes first, and with it whoever could ask for it; its row in `custom_key` stays until the
token has surely destroyed its object. So no token holds a key that no row names, wherever a crash comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import CallerError, KeyStoreError, ValidationFailed
from keywheel.keys import ciphertext, identifiers, rows, specs, states
from keywheel.keys.custom import rows as custom
from keywheel.keys.custom.states import CLOUDHSM, EXTERNAL, require_state
from keywheel.keys.errors import Conflict, KeyInvalidState, XksKeyAlreadyInUse
from keywheel.keys.keyring import Draft, Key, Keys
from keywheel.keys.materials import update_key
from keywheel.keys.stores.base import KeyStore
from keywheel.keys.stores.xks import XksKeyStore
from keywheel.keys.stores.xks_failures import ProxyFailed

_MAKING = timedelta(hours=1)  # after which nobody is still making a key


class CustomKeys:
    """The keys in custom key stores."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def create(
        self,
        database: Database,
        scope: Scope,
        store_id: str,
        *,
        now: datetime,
        origin: str = CLOUDHSM,
        external_id: str | None = None,
        key_id: str | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        policy: str | None = None,
    ) -> Key:
        """A new symmetric encryption key in a key store. `external_id`: the external key that it is on.

        `key_id` is its id, where that was written down before: after a crash it may be made again, and is one key.

        Raises:
            CustomKeyStoreNotFound, CustomKeyStoreInvalidState: there is none, or it is not connected.
            ValidationFailed: it is of another type than the origin.
            XksKeyNotFound, XksKeyInvalidConfiguration, XksKeyAlreadyInUse: there is no such external key for us.
            KeyUnavailable: the token does not answer. The key is made by the next attempt, or given up in an hour.
            Conflict: it was given up, and its material is not destroyed yet.
        """
        with database.read() as tx:
            self._require(tx, scope, store_id, origin, lock=False)
            backend = self._keys.custom.backend(tx, store_id)
        draft = _draft(key_id or identifiers.new_key_id(), store_id, backend, external_id)

        def write_down(tx: Tx) -> Key:
            key = _found(tx, scope, draft.key_id)
            if key is not None:
                return key
            self._require(tx, scope, store_id, origin)
            _claim(tx, draft.key_id, store_id, external_id)
            return self._keys.create(tx, scope, description=description, now=now, draft=draft, tags=tags, policy=policy)

        key = database.write(write_down)
        if key.state != states.CREATING:
            return key
        backend.create(ciphertext.head(key.key_id, 1))
        made = database.write(lambda tx: self._made(tx, key))
        if made is None:
            raise KeyInvalidState(f"{key.arn} was not made in time.")
        return made

    def _require(self, tx: Tx, scope: Scope, store_id: str, origin: str, *, lock: bool = True) -> None:
        store = self._keys.custom.find(tx, scope, store_id, lock=lock)
        if store.type != origin:
            raise ValidationFailed(f"Keys of origin {origin} cannot be made in a key store of type {store.type}.")
        require_state(store, "CreateKey")

    @staticmethod
    def _made(tx: Tx, key: Key) -> Key | None:
        """The key, enabled. None when it was given up meanwhile: then its material is destroyed by the next sweep."""
        now = _found(tx, key.scope, key.key_id)
        if now is None:
            if custom.external_id.first(tx, key_id=key.key_id) is None:
                custom.insert_key.run(tx, key_id=key.key_id, store_id=key.store_id, external_id=None)
            return None
        return update_key(tx, now, state=states.ENABLED) if now.state == states.CREATING else now

    @staticmethod
    def external_id(tx: Tx, key_id: str) -> str | None:
        """The external key that a key is on."""
        row = custom.external_id.first(tx, key_id=key_id)
        return None if row is None else row[0]

    def sweep(self, database: Database, now: datetime, *, most: int = 100) -> int:
        """Give up the keys that nobody finished, and destroy the material of those that are gone; how many these were.

        That of a key store that is not connected, or does not answer, stays until it does.
        """
        begun_before = to_epoch(now - _MAKING)
        database.write(lambda tx: self._give_up(tx, begun_before))
        with database.point() as tx:
            gone = custom.gone.all(tx, most=most)
        return sum(self._destroyed(database, key_id, store_id) for key_id, store_id in gone)

    @staticmethod
    def _give_up(tx: Tx, begun_before: float) -> None:
        for account, region, key_id in custom.unfinished.all(tx, begun_before=begun_before):
            rows.delete_backing_keys.run(tx, key_id=key_id)
            rows.delete_key.run(tx, account=account, region=region, key_id=key_id)

    def _destroyed(self, database: Database, key_id: str, store_id: str) -> bool:
        try:
            with database.read() as tx:
                if custom.external_id.first(tx, key_id=key_id) is None:
                    return False  # somebody else was quicker
                backend = self._keys.custom.backend(tx, store_id)
            if not isinstance(backend, XksKeyStore):  # whose external key is its owner's
                _destroy(backend, key_id)
        except (CallerError, KeyStoreError):
            return False
        database.write(lambda tx: custom.delete_key.run(tx, key_id=key_id))
        return True


def _found(tx: Tx, scope: Scope, key_id: str) -> Key | None:
    row = rows.lock_key.first(tx, account=scope.account, region=scope.region, key_id=key_id)
    return None if row is None else rows.as_key(row)


def _draft(key_id: str, store_id: str, backend: KeyStore, external_id: str | None) -> Draft:
    """A key in a token, which is still to be made there under this handle; or one on an external key that is there."""
    label = ciphertext.head(key_id, 1)
    if not isinstance(backend, XksKeyStore):
        return Draft(key_id, specs.SYMMETRIC, specs.ENCRYPT, CLOUDHSM, label, None, states.CREATING, store_id)
    if external_id is None:
        raise ValidationFailed("XksKeyId is required for keys in an external key store.")
    try:
        backend.require_key(external_id, "CreateKey")
    except ProxyFailed as error:
        raise error.failure.of_key(error.message) from None
    handle = backend.handle(external_id, label)
    return Draft(key_id, specs.SYMMETRIC, specs.ENCRYPT, EXTERNAL, handle, None, states.ENABLED, store_id)


def _claim(tx: Tx, key_id: str, store_id: str, external_id: str | None) -> None:
    if custom.external_id.first(tx, key_id=key_id) is not None:
        raise Conflict(f"The former key {key_id} is not destroyed yet.")
    if custom.key_of_external.first(tx, store_id=store_id, external_id=external_id) is not None:
        raise XksKeyAlreadyInUse(f"Another key of this key store is on the external key {external_id}.")
    custom.insert_key.run(tx, key_id=key_id, store_id=store_id, external_id=external_id)


def _destroy(backend: Any, key_id: str) -> None:
    label = ciphertext.head(key_id, 1)
    backend.destroy(label, label)
