"""Keys of an external key store: encrypted here first, and then by a key that stays with its owner, behind a proxy.

The protocol is AWS's "External Key Store Proxy API", version 1: JSON over HTTPS, signed by SigV4 as `kms-xks-proxy`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import struct
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx2

from keywheel.arn import Scope
from keywheel.errors import DecryptionFailure
from keywheel.keys import ciphertext as blobs
from keywheel.keys.errors import CustomKeyStoreInvalidState
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.keys.stores.xks_failures import AWAY, FAILURES, LATE, NO_TLS, OFF, UNFIT, UNREADABLE, Failure, ProxyFailed
from keywheel.sensitive import Sensitive

_MOST = 65_536  # bytes of an answer; the longest that makes sense has about 6,000
_TRIES = 2
_TAG, _METADATA, _VECTORS = 16, 20, (12, 16)
_HEAD = struct.Struct(">BB")
_LENGTH = struct.Struct(">B")


# --- the proxy


class Credential(NamedTuple):
    """The proxy's own credential, by which calls to it are signed."""

    access_key_id: str
    secret: Sensitive[str]


Headers = list[tuple[bytes, bytes]]
SignProxyCall = Callable[[Credential, str, str, Headers, bytes], Headers]
"""Credential, Region, path, headers and body of a call → the headers that sign it."""


class Sealed(NamedTuple):
    """What a proxy makes of a plaintext."""

    metadata: bytes
    vector: bytes
    tag: bytes
    ciphertext: bytes


class XksProxy:
    """A client of one proxy. A call that was not answered is tried once more: nothing that is asked has an effect.

    Args:
        endpoint: `https://host`; the host's certificate is checked.
        path: ends with `/kms/xks/v1`.
        sign: signs a call.
        region: that it is signed for.
        address: `host:port` to connect to, where that is not the endpoint's port 443.
        ca: a PEM file with the authority of the proxy's certificate, where that is none of the system's.
        wait: seconds for an answer.
    """

    def __init__(
        self,
        endpoint: str,
        path: str,
        credential: Credential,
        sign: SignProxyCall,
        *,
        region: str,
        address: str | None,
        ca: str | None,
        wait: float,
    ) -> None:
        self._host = endpoint.removeprefix("https://")
        self._url = f"https://{address or self._host}"
        self._path = path
        self._credential = credential
        self._sign = sign
        self._region = region
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx2.Client(
            verify=context, timeout=httpx2.Timeout(wait), trust_env=False, follow_redirects=False
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def check(self, operation: str) -> None:
        """Nothing, when the proxy is well and knows us.

        Raises:
            ProxyFailed: it is not.
        """
        answer = self._call("/health", {"kmsOperation": operation, "kmsRequestId": str(uuid.uuid4())}, {})
        if not isinstance(answer.get("ekmFleetDetails"), list) or not answer["ekmFleetDetails"]:
            raise ProxyFailed(UNREADABLE)

    def require_key(self, external_id: str, caller: str, operation: str) -> None:
        """Nothing, when there is an external key that encrypts and decrypts.

        Raises:
            ProxyFailed: there is none, or the proxy does not say.
        """
        answer = self._call(f"/keys/{external_id}/metadata", _told(caller, operation), {})
        usage = answer.get("keyUsage")
        if not isinstance(usage, list) or not isinstance(answer.get("keyStatus"), str):
            raise ProxyFailed(UNREADABLE)
        if answer.get("keySpec") != "AES_256" or not {"ENCRYPT", "DECRYPT"} <= set(map(str, usage)):
            raise ProxyFailed(UNFIT)
        if answer["keyStatus"] != "ENABLED":
            raise ProxyFailed(OFF)

    def encrypt(self, external_id: str, plaintext: bytes, context: bytes, told: dict[str, str]) -> Sealed:
        """`plaintext` under the external key, with `context` authenticated.

        Raises:
            ProxyFailed: it was not done, or what came back is not whole.
        """
        answer = self._call(
            f"/keys/{external_id}/encrypt",
            told,
            {
                "plaintext": _text(plaintext),
                "additionalAuthenticatedData": _text(context),
                "encryptionAlgorithm": "AES_GCM",
                "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
            },
        )
        sealed = Sealed(
            _bytes(answer.get("ciphertextMetadata", "")),
            _bytes(answer.get("initializationVector")),
            _bytes(answer.get("authenticationTag")),
            _bytes(answer.get("ciphertext")),
        )
        digest = hashlib.sha256(context + sealed.metadata + sealed.vector + sealed.ciphertext + sealed.tag).digest()
        whole = (
            len(sealed.metadata) <= _METADATA
            and len(sealed.vector) in _VECTORS
            and len(sealed.tag) == _TAG
            and len(sealed.ciphertext) == len(plaintext)
            and _bytes(answer.get("ciphertextDataIntegrityValue")) == digest
        )
        if not whole:
            raise ProxyFailed(UNREADABLE)
        return sealed

    def decrypt(self, external_id: str, sealed: Sealed, context: bytes, told: dict[str, str]) -> bytes:
        """The plaintext again.

        Raises:
            ProxyFailed: it was not done.
        """
        members = {
            "ciphertext": _text(sealed.ciphertext),
            "initializationVector": _text(sealed.vector),
            "authenticationTag": _text(sealed.tag),
            "additionalAuthenticatedData": _text(context),
            "encryptionAlgorithm": "AES_GCM",
        }
        if sealed.metadata:
            members["ciphertextMetadata"] = _text(sealed.metadata)
        return _bytes(self._call(f"/keys/{external_id}/decrypt", told, members).get("plaintext"))

    def _call(self, path: str, told: dict[str, str], members: dict[str, str]) -> dict[str, Any]:
        path = self._path + path
        body = json.dumps({"requestMetadata": told, **members}).encode()
        headers: Headers = [(b"host", self._host.encode()), (b"content-type", b"application/json")]
        headers += self._sign(self._credential, self._region, path, headers, body)
        for last in (False, True)[-_TRIES:]:
            try:
                status, text = self._sent(path, headers, body)
                break
            except httpx2.TransportError as error:
                failure = _transport(error)
                if last or failure is NO_TLS:
                    raise ProxyFailed(failure) from None
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):  # neither JSON nor UTF-8; too deep
            answer = None
        if not isinstance(answer, dict):
            raise ProxyFailed(UNREADABLE)
        if status != 200:
            raise ProxyFailed(FAILURES.get(str(answer.get("errorName")), UNREADABLE))
        return answer

    def _sent(self, path: str, headers: Headers, body: bytes) -> tuple[int, bytes]:
        known = {"sni_hostname": self._host}
        with self._client.stream("POST", self._url + path, content=body, headers=headers, extensions=known) as response:
            text = b""
            for part in response.iter_raw():
                text += part
                if len(text) > _MOST:
                    break
            return response.status_code, text


def _transport(error: httpx2.TransportError) -> Failure:
    if isinstance(error, httpx2.TimeoutException):
        return LATE
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return NO_TLS
        cause = cause.__cause__ or cause.__context__
    return AWAY


def _told(caller: str, operation: str) -> dict[str, str]:
    return {"awsPrincipalArn": caller, "kmsOperation": operation, "kmsRequestId": str(uuid.uuid4())}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(value: object) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError:
        pass
    raise ProxyFailed(UNREADABLE)


# --- the key store


class XksKeyStore:
    """Keys of an external key store. A handle is the external key's id, and a backing key of our own.

    Whoever has the external key alone reads nothing, and neither does whoever has ours.
    """

    def __init__(self, inner: SoftwareKeyStore, proxy: XksProxy, scope: Scope) -> None:
        self._inner = inner
        self._proxy = proxy
        self._scope = scope

    def close(self) -> None:
        """Let go of the connections."""
        self._proxy.close()

    def check(self) -> None:
        """Nothing, when the proxy is well and knows us.

        Raises:
            ProxyFailed: it is not.
        """
        self._proxy.check("ConnectCustomKeyStore")

    def require_key(self, external_id: str, operation: str) -> None:
        """Nothing, when there is an external key that encrypts and decrypts.

        Raises:
            ProxyFailed: there is none, or the proxy does not say.
        """
        self._proxy.require_key(external_id, self._caller, operation)

    @property
    def _caller(self) -> str:
        return f"arn:aws:iam::{self._scope.account}:root"

    def handle(self, external_id: str, label: bytes) -> bytes:
        """The handle of a new key on an external key. Nothing is asked of the proxy."""
        name = external_id.encode()
        return _LENGTH.pack(len(name)) + name + self._inner.create(label)

    def create(self, label: bytes) -> bytes:
        """Raises: CustomKeyStoreInvalidState: an external key is made by its owner."""
        raise CustomKeyStoreInvalidState("Keys of an external key store are made in its key manager.")

    def encrypt(self, handle: bytes, label: bytes, plaintext: bytes, context: bytes) -> bytes:
        """`plaintext` under our backing key and then under the external key."""
        external_id, own = self._split(handle)
        inner = self._inner.encrypt(own, label, plaintext, context)
        sealed = self._proxy.encrypt(external_id, inner, _bound(context), self._told(label, "Encrypt"))
        head = _HEAD.pack(len(sealed.metadata), len(sealed.vector))
        return head + sealed.metadata + sealed.vector + sealed.tag + sealed.ciphertext

    def decrypt(self, handle: bytes, label: bytes, ciphertext: bytes, context: bytes) -> bytes:
        """The plaintext again."""
        external_id, own = self._split(handle)
        sealed = _unframed(ciphertext)
        inner = self._proxy.decrypt(external_id, sealed, _bound(context), self._told(label, "Decrypt"))
        return self._inner.decrypt(own, label, inner, context)

    def _told(self, label: bytes, operation: str) -> dict[str, str]:
        key_id, _ = blobs.backing_key(label)
        return {**_told(self._caller, operation), "kmsKeyArn": self._scope.arn("kms", f"key/{key_id}")}

    @staticmethod
    def _split(handle: bytes) -> tuple[str, bytes]:
        end = 1 + handle[0]
        return handle[1:end].decode(), handle[end:]


def _bound(context: bytes) -> bytes:
    """What the proxy authenticates: of a length that it takes, and telling nothing of the context."""
    return hashlib.sha256(context).digest()


def _unframed(ciphertext: bytes) -> Sealed:
    if len(ciphertext) >= _HEAD.size:
        metadata, vector = _HEAD.unpack_from(ciphertext)
        start = _HEAD.size + metadata
        tag = start + vector
        if metadata <= _METADATA and vector in _VECTORS and len(ciphertext) >= tag + _TAG:
            return Sealed(
                ciphertext[_HEAD.size : start],
                ciphertext[start:tag],
                ciphertext[tag : tag + _TAG],
                ciphertext[tag + _TAG :],
            )
    raise DecryptionFailure("The ciphertext is not one of an external key store.")
