"""What may be done with a custom key store in which state of its connection: a table, as the KMS API documents it.

No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keywheel.keys.custom.rows import CustomKeyStore
from keywheel.keys.errors import CustomKeyStoreInvalidState
from keywheel.keys.stores.xks import Credential
from keywheel.sensitive import Sensitive

CLOUDHSM, EXTERNAL = "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"  # types of key stores, and origins of the keys in them
CONNECTED, CONNECTING, FAILED = "CONNECTED", "CONNECTING", "FAILED"
DISCONNECTED, DISCONNECTING = "DISCONNECTED", "DISCONNECTING"
STATES = (CONNECTED, CONNECTING, FAILED, DISCONNECTED, DISCONNECTING)
MOST = 10  # of an account and Region

_WHILE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ConnectCustomKeyStore": frozenset({CONNECTED, CONNECTING, DISCONNECTED}),
        "DisconnectCustomKeyStore": frozenset({CONNECTED, CONNECTING, FAILED}),
        "DeleteCustomKeyStore": frozenset({DISCONNECTED}),
        "UpdateCustomKeyStore": frozenset({DISCONNECTED}),
        "CreateKey": frozenset({CONNECTED}),
        "GenerateRandom": frozenset({CONNECTED}),
    }
)
_ALSO_CONNECTED = frozenset({"name", "path", "credential"})  # what may change of a connected external key store


def require_state(store: CustomKeyStore, operation: str, changed: frozenset[str] = frozenset()) -> None:
    """Nothing, when the state of the connection allows `operation`; `changed`: what an update changes.

    Raises:
        CustomKeyStoreInvalidState: it does not.
    """
    if store.state in _WHILE[operation]:
        return
    kept = (operation, store.type, store.state) == ("UpdateCustomKeyStore", EXTERNAL, CONNECTED)
    if kept and changed <= _ALSO_CONNECTED:
        return
    raise CustomKeyStoreInvalidState(
        f"The custom key store {store.store_id} is {store.state}, in which {operation} is not allowed."
    )


@dataclass(frozen=True, slots=True)
class Definition:
    """What a key store is made of, or what an update changes: None is left as it is."""

    name: str | None = None
    cluster: str | None = None
    password: Sensitive[str] | None = None
    trust_anchor: str | None = None
    endpoint: str | None = None
    path: str | None = None
    credential: Credential | None = None

    @property
    def given(self) -> frozenset[str]:
        """The names of what is given."""
        return frozenset(each for each in self.__slots__ if getattr(self, each) is not None)
