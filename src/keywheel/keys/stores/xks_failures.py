"""How an external key store's proxy may fail, and what that means to whom: one table. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from keywheel.errors import CallerError
from keywheel.keys.errors import (
    CustomKeyStoreInvalidState,
    KeyInvalidState,
    XksKeyInvalidConfiguration,
    XksKeyNotFound,
    XksProxyIncorrectCredential,
    XksProxyInvalidConfiguration,
    XksProxyInvalidResponse,
    XksProxyUnreachable,
)


class Failure(NamedTuple):
    """A way in which a proxy fails.

    In words; as the error of whoever makes or changes a key store, and of whoever makes a key in it; and as the
    ConnectionErrorCode of a key store that does not connect.
    """

    text: str
    of_store: type[CallerError]
    of_key: type[CallerError]
    code: str


_BROKEN = "XKS_PROXY_INVALID_RESPONSE"
UNREADABLE = Failure(
    "The answer of the external key store proxy cannot be read.",
    XksProxyInvalidResponse,
    CustomKeyStoreInvalidState,
    _BROKEN,
)
LATE = Failure(
    "The external key store proxy did not answer in time.",
    XksProxyUnreachable,
    CustomKeyStoreInvalidState,
    "XKS_PROXY_TIMED_OUT",
)
AWAY = Failure(
    "The external key store proxy cannot be reached.",
    XksProxyUnreachable,
    CustomKeyStoreInvalidState,
    "XKS_PROXY_NOT_REACHABLE",
)
NO_TLS = Failure(
    "No TLS connection to the external key store proxy can be made: its certificate is not trusted.",
    XksProxyUnreachable,
    CustomKeyStoreInvalidState,
    "XKS_PROXY_INVALID_TLS_CONFIGURATION",
)
OFF = Failure(
    "The external key is not enabled in its key manager.", XksProxyInvalidResponse, XksKeyInvalidConfiguration, _BROKEN
)
UNFIT = Failure(
    "The external key is no AES-256 key that both encrypts and decrypts.",
    XksProxyInvalidResponse,
    XksKeyInvalidConfiguration,
    _BROKEN,
)
SPOILED = Failure(
    "The external key store proxy says that the ciphertext or the encryption context is corrupted.",
    XksProxyInvalidResponse,
    CustomKeyStoreInvalidState,
    _BROKEN,
)
# By the proxy's errorName.
FAILURES: Mapping[str, Failure] = MappingProxyType(
    {
        "ValidationException": UNREADABLE,
        "InvalidStateException": OFF,
        "InvalidCiphertextException": SPOILED,
        "InvalidKeyUsageException": UNFIT,
        "AuthenticationFailedException": Failure(
            "The external key store proxy does not accept the credential.",
            XksProxyIncorrectCredential,
            CustomKeyStoreInvalidState,
            "INVALID_CREDENTIALS",
        ),
        "AccessDeniedException": Failure(
            "The external key store proxy denies the operation.",
            XksProxyInvalidResponse,
            KeyInvalidState,
            "XKS_PROXY_ACCESS_DENIED",
        ),
        "KeyNotFoundException": Failure(
            "The external key does not exist in its key manager.", XksProxyInvalidResponse, XksKeyNotFound, _BROKEN
        ),
        "InvalidUriPathException": Failure(
            "The external key store proxy knows no such URI path.",
            XksProxyInvalidConfiguration,
            CustomKeyStoreInvalidState,
            "XKS_PROXY_INVALID_CONFIGURATION",
        ),
        "DependencyTimeoutException": LATE,
        "ThrottlingException": Failure(
            "The external key store proxy has too much to do.",
            XksProxyUnreachable,
            CustomKeyStoreInvalidState,
            "XKS_PROXY_TIMED_OUT",
        ),
        "InternalException": Failure(
            "The external key store proxy cannot reach its key manager.",
            XksProxyInvalidResponse,
            CustomKeyStoreInvalidState,
            _BROKEN,
        ),
    }
)


class ProxyFailed(KeyInvalidState):
    """A call of the proxy failed: to whoever uses a key, that is a state of the key."""

    default_hint = "Look at the external key store proxy; requests succeed again by themselves when it is well."

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure
