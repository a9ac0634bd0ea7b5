"""Where the key stores are that the operator has told of: tokens by their cluster ids, proxies by their endpoints.

Nothing else is ever opened or called, whatever a caller of the API names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from keywheel.clock import Clock, SystemClock
from keywheel.errors import KeyStoreError
from keywheel.keys.errors import ClusterNotFound, XksProxyUnreachable
from keywheel.keys.stores.xks import Credential, SignProxyCall, XksProxy
from keywheel.sensitive import Sensitive

if TYPE_CHECKING:
    from keywheel.keys.stores.pkcs11 import TokenKeyStore
    from keywheel.keys.stores.token import Module


class TokenPlace(NamedTuple):
    """A token: the vendor's PKCS #11 library, and the token's label."""

    module: str
    token: str


class ProxyPlace(NamedTuple):
    """An external key store's proxy: `host:port` where that is not what its endpoint says, and who signs for it."""

    address: str | None = None
    ca: str | None = None
    timeout: float = 0.25


@dataclass
class Backends:
    """What the operator has told of."""

    tokens: Mapping[str, TokenPlace] = field(default_factory=dict)
    proxies: Mapping[str, ProxyPlace] = field(default_factory=dict)
    sign: SignProxyCall | None = None
    clock: Clock = field(default_factory=SystemClock)
    _modules: dict[str, Module] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def require_token(self, cluster: str) -> TokenPlace:
        """Where the token of a cluster id is.

        Raises:
            ClusterNotFound: nobody has told.
        """
        place = self.tokens.get(cluster)
        if place is None:
            raise ClusterNotFound(f"No token is configured as {cluster}.")
        return place

    def token(self, cluster: str, pin: Callable[[], Sensitive[str]]) -> TokenKeyStore:
        """The key store on a token. It is not opened yet.

        Raises:
            ClusterNotFound: it is not configured.
            KeyStoreError: python-pkcs11 is not installed.
        """
        place = self.require_token(cluster)
        try:
            from keywheel.keys.stores.pkcs11 import TokenKeyStore
            from keywheel.keys.stores.token import Module, Token
        except ImportError:
            raise KeyStoreError("python-pkcs11 is not installed.", hint="Install keywheel[hsm].") from None
        with self._lock:  # a library is there once in a process
            module = self._modules.get(place.module)
            if module is None:
                module = self._modules[place.module] = Module(place.module, self.clock)
        return TokenKeyStore(Token(module, place.token, pin))

    def proxy(self, endpoint: str, path: str, credential: Credential, region: str) -> XksProxy:
        """A client of an external key store's proxy.

        Raises:
            XksProxyUnreachable: it is not configured.
        """
        place = self.proxies.get(endpoint)
        if place is None or self.sign is None:
            raise XksProxyUnreachable(f"The proxy {endpoint} is not configured at this server.")
        return XksProxy(
            endpoint,
            path,
            credential,
            self.sign,
            region=region,
            address=place.address,
            ca=place.ca,
            wait=place.timeout,
        )
