"""Custom key stores: whose keys are in a token, or behind the proxy of an external key manager.

A key store's row says where it is and whether it is connected. Every process opens it for itself when a key in it is
first used, and again after the row changed. A key store that is connected and does not answer stays connected: its
keys are unavailable until it answers again.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import CallerError, KeyStoreError, LimitExceeded, UnsupportedOperation
from keywheel.keys.custom import rows
from keywheel.keys.custom.rows import CustomKeyStore
from keywheel.keys.custom.states import (
    CLOUDHSM,
    CONNECTED,
    CONNECTING,
    DISCONNECTED,
    FAILED,
    MOST,
    Definition,
    require_state,
)
from keywheel.keys.errors import (
    ClusterInUse,
    Conflict,
    CustomKeyStoreHasKeys,
    CustomKeyStoreNameInUse,
    CustomKeyStoreNotFound,
    KeyInvalidState,
    XksProxyUriInUse,
)
from keywheel.keys.stores.backends import Backends
from keywheel.keys.stores.base import KeyStore
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.keys.stores.xks import Credential, XksKeyStore, XksProxy
from keywheel.keys.stores.xks_failures import ProxyFailed
from keywheel.sensitive import Sensitive


class _Opened(NamedTuple):
    serial: int
    store: Any  # a KeyStore with `close`


# --- the key stores


@dataclass
class CustomKeyStores:
    """The custom key stores of every account and Region."""

    software: SoftwareKeyStore
    backends: Backends
    _opened: dict[str, _Opened] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock)

    @property
    def in_use(self) -> bool:
        """Whether this process has used a key in one: then the use of a key may take a while."""
        return bool(self._opened)

    # --- finding

    @staticmethod
    def find(tx: Tx, scope: Scope, store_id: str, *, lock: bool = False) -> CustomKeyStore:
        """The key store of this id.

        Raises:
            CustomKeyStoreNotFound: there is none in the scope.
        """
        row = (rows.lock_store if lock else rows.store).first(tx, store_id=store_id)
        if row is None or rows.as_store(row).scope != scope:
            raise CustomKeyStoreNotFound(f"The custom key store {store_id} does not exist.")
        return rows.as_store(row)

    @staticmethod
    def named(tx: Tx, scope: Scope, name: str) -> CustomKeyStore:
        """The key store of this name.

        Raises:
            CustomKeyStoreNotFound: there is none in the scope.
        """
        row = rows.store_by_name.first(tx, account=scope.account, region=scope.region, name=name)
        if row is None:
            raise CustomKeyStoreNotFound(f"The custom key store {name} does not exist.")
        return rows.as_store(row)

    @staticmethod
    def page(tx: Tx, scope: Scope, *, after: str | None = None, most: int) -> list[CustomKeyStore]:
        """At most `most` key stores of the scope behind the name `after`."""
        found = rows.stores_after.all(tx, account=scope.account, region=scope.region, after=after or "", most=most)
        return [rows.as_store(row) for row in found]

    @staticmethod
    def is_connected(tx: Tx, store_id: str) -> bool:
        """Whether keys in it can be used."""
        row = rows.state.first(tx, store_id=store_id)
        return row is not None and row[0] == CONNECTED

    # --- making and changing

    def create(self, tx: Tx, scope: Scope, kind: str, new: Definition, now: datetime) -> CustomKeyStore:
        """A new key store, disconnected. `new` has what its type needs; a proxy has been tried by `probe`.

        Raises:
            CustomKeyStoreNameInUse, ClusterInUse, XksProxyUriInUse: another key store has that.
            ClusterNotFound: no token is configured as this cluster.
            LimitExceeded: there are too many.
        """
        store = CustomKeyStore(
            store_id=f"cks-{secrets.token_hex(9)[:17]}",
            account=scope.account,
            region=scope.region,
            name="",
            type=kind,
            cluster=None,
            trust_anchor=new.trust_anchor,
            proxy_json="{}",
            sealed=b"",
            state=DISCONNECTED,
            error=None,
            serial=1,
            created=to_epoch(now),
        )
        if len(rows.stores.all(tx, account=scope.account, region=scope.region)) >= MOST:
            raise LimitExceeded(f"There are {MOST} custom key stores in this account and Region already.")
        columns = {**store._asdict(), **self._changes(tx, store, new)}
        columns["proxy"] = columns.pop("proxy_json")
        rows.insert_store.run(tx, **columns)
        return self.find(tx, scope, store.store_id)

    def update(self, tx: Tx, store: CustomKeyStore, changed: Definition) -> None:
        """Change a key store that was locked. A new proxy has been tried by `probe`.

        Raises:
            CustomKeyStoreInvalidState: not in this state.
            CustomKeyStoreNameInUse, ClusterInUse, ClusterNotFound, XksProxyUriInUse: as by `create`.
        """
        require_state(store, "UpdateCustomKeyStore", changed.given)
        columns = self._changes(tx, store, changed)
        if "proxy_json" in columns:
            columns["proxy"] = columns.pop("proxy_json")
        if columns:
            self._set(tx, store, **columns)

    def _changes(self, tx: Tx, store: CustomKeyStore, new: Definition) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        if new.name is not None and new.name != store.name:
            if rows.store_by_name.first(tx, account=store.account, region=store.region, name=new.name) is not None:
                raise CustomKeyStoreNameInUse(f"Another custom key store has the name {new.name}.")
            columns["name"] = new.name
        if new.cluster is not None and new.cluster != store.cluster:
            self.backends.require_token(new.cluster)
            if rows.store_of_cluster.first(tx, cluster=new.cluster) is not None:
                raise ClusterInUse(f"Another custom key store is on {new.cluster}.")
            columns["cluster"] = new.cluster
        proxy = self.proxy_of(store, new)
        if proxy != store.proxy:
            self._require_own(tx, store, proxy)
            columns["proxy_json"] = json.dumps(proxy)
        secret = new.password if new.credential is None else new.credential.secret
        if secret is not None:
            self.software.ring.hold(tx)
            columns["sealed"] = self.software.wrap(secret.reveal().encode(), _label(store))
        return columns

    @staticmethod
    def proxy_of(store: CustomKeyStore, new: Definition) -> dict[str, str]:
        """Where the proxy will be."""
        given = {
            "endpoint": new.endpoint,
            "path": new.path,
            "access_key_id": None if new.credential is None else new.credential.access_key_id,
        }
        return {**store.proxy, **{name: value for name, value in given.items() if value is not None}}

    @staticmethod
    def _require_own(tx: Tx, store: CustomKeyStore, proxy: dict[str, str]) -> None:
        place = (proxy.get("endpoint"), proxy.get("path"))
        for row in rows.stores.all(tx, account=store.account, region=store.region):
            other = rows.as_store(row)
            if other.store_id != store.store_id and (other.proxy.get("endpoint"), other.proxy.get("path")) == place:
                raise XksProxyUriInUse("Another custom key store has this proxy.")

    @staticmethod
    def delete(tx: Tx, store: CustomKeyStore) -> None:
        """Forget a key store that was locked. What is in it stays there.

        Raises:
            CustomKeyStoreInvalidState: it is not disconnected.
            CustomKeyStoreHasKeys: there are keys in it, or still on their way out.
        """
        require_state(store, "DeleteCustomKeyStore")
        if rows.key_in.first(tx, store_id=store.store_id) is not None:
            raise CustomKeyStoreHasKeys(f"There are keys in the custom key store {store.store_id}.")
        rows.delete_store.run(tx, store_id=store.store_id)

    @staticmethod
    def _set(tx: Tx, store: CustomKeyStore, **columns: Any) -> None:
        changed = rows.store_update(*sorted(columns)).run(tx, row_id=store.store_id, row_serial=store.serial, **columns)
        if not changed:
            raise Conflict(f"The custom key store {store.store_id} was changed meanwhile.")

    # --- connecting

    def connect(self, database: Database, scope: Scope, store_id: str) -> None:
        """Try to open a key store. It is CONNECTED then, or FAILED with a reason.

        Raises:
            CustomKeyStoreNotFound, CustomKeyStoreInvalidState: there is none, or it cannot be connected now.
        """

        def begin(tx: Tx) -> CustomKeyStore:
            store = self.find(tx, scope, store_id, lock=True)
            require_state(store, "ConnectCustomKeyStore")
            if store.state != CONNECTED:
                self._set(tx, store, state=CONNECTING, error=None)
            return self.find(tx, scope, store_id)

        store = database.write(begin)
        if store.state == CONNECTED:
            return
        error = self._error_of(store)
        state = CONNECTED if error is None else FAILED
        with suppress(Conflict):  # it was disconnected meanwhile, and stays so
            database.write(lambda tx: self._set(tx, store, state=state, error=error))

    def disconnect(self, tx: Tx, store: CustomKeyStore) -> None:
        """Use a key store that was locked no more. Its keys are unavailable from now on.

        Raises:
            CustomKeyStoreInvalidState: it is not connected.
        """
        require_state(store, "DisconnectCustomKeyStore")
        self._set(tx, store, state=DISCONNECTED, error=None)

    def _error_of(self, store: CustomKeyStore) -> str | None:
        """Why the key store cannot be opened, as a ConnectionErrorCode; None when it can."""
        try:
            opened = self._open(store)
        except ProxyFailed as error:
            return error.failure.code
        except CallerError:  # the operator has taken its place out of the configuration
            return "CLUSTER_NOT_FOUND" if store.type == CLOUDHSM else "XKS_PROXY_NOT_REACHABLE"
        except KeyStoreError:
            return "INTERNAL_ERROR"
        try:
            opened.check()
        except ProxyFailed as error:
            return error.failure.code
        except KeyStoreError as error:
            return getattr(error, "connection_code", "INTERNAL_ERROR")
        except UnsupportedOperation:
            return "INTERNAL_ERROR"
        return None

    def probe(self, store: CustomKeyStore | None, scope: Scope, new: Definition, operation: str) -> None:
        """Nothing, when the proxy that an external key store is to have is well and knows the credential.

        Raises:
            XksProxyUnreachable, XksProxyIncorrectCredential, XksProxyInvalidResponse, XksProxyInvalidConfiguration:
                it is not.
        """
        known = {} if store is None else store.proxy
        endpoint, path = new.endpoint or known.get("endpoint", ""), new.path or known.get("path", "")
        credential = new.credential
        if credential is None:
            if store is None:
                raise AssertionError("a key store without a credential")
            credential = Credential(known["access_key_id"], self._secret(store))
        proxy = self.backends.proxy(endpoint, path, credential, scope.region)
        try:
            proxy.check(operation)
        except ProxyFailed as error:
            raise error.failure.of_store(error.failure.text) from None
        finally:
            proxy.close()

    # --- using

    def backend(self, tx: Tx, store_id: str) -> KeyStore:
        """The key store of keys, opened in this process.

        Raises:
            KeyInvalidState: it is not connected.
            KeyStoreError: it cannot be opened here.
        """
        row = rows.store.first(tx, store_id=store_id)
        if row is None or rows.as_store(row).state != CONNECTED:
            raise KeyInvalidState("The custom key store of this key is not connected.")
        found: KeyStore = self._open(rows.as_store(row))
        return found

    def random(self, tx: Tx, store_id: str, length: int) -> Sensitive[bytes]:
        """So many random bytes from a token.

        Raises:
            KeyInvalidState, KeyStoreError: as by `backend`.
        """
        backend: Any = self.backend(tx, store_id)
        return Sensitive(backend.random(length))

    def _open(self, store: CustomKeyStore) -> Any:
        with self._lock:
            opened = self._opened.get(store.store_id)
            if opened is None or opened.serial != store.serial:
                if opened is not None:
                    opened.store.close()
                opened = self._opened[store.store_id] = _Opened(store.serial, self._made(store))
            return opened.store

    def _made(self, store: CustomKeyStore) -> Any:
        if store.type == CLOUDHSM:
            return self.backends.token(store.cluster or "", lambda: self._secret(store))
        return XksKeyStore(self.software, self.proxy(store), store.scope)

    def proxy(self, store: CustomKeyStore) -> XksProxy:
        """A client of its proxy."""
        where = store.proxy
        credential = Credential(where["access_key_id"], self._secret(store))
        return self.backends.proxy(where["endpoint"], where["path"], credential, store.region)

    def _secret(self, store: CustomKeyStore) -> Sensitive[str]:
        return Sensitive(self.software.unwrap(store.sealed, _label(store)).decode())

    def close(self) -> None:
        """Let go of every key store."""
        with self._lock:
            for opened in self._opened.values():
                opened.store.close()
            self._opened.clear()


def _label(store: CustomKeyStore) -> bytes:
    return sealed_label(store.store_id)


def sealed_label(store_id: str) -> bytes:
    """What a key store's credential is bound to."""
    return f"custom-key-store {store_id}".encode()
