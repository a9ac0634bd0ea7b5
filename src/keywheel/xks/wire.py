"""The protocol's requests, answers and errors: AWS's "External Key Store Proxy API", version 1. No I/O."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from keywheel.errors import CallerError, DecryptionFailure, KeywheelError
from keywheel.keys.errors import InvalidKeyUsage, KeyDisabled, KeyInvalidState, KeyNotFound
from keywheel.keys.proxied import Parts

_Text = Annotated[str, Meta(min_length=1, max_length=2048)]
_Blob = Annotated[bytes, Meta(max_length=8192)]
PLAINTEXT = 4300
S = TypeVar("S", bound=Struct)


class Refused(Exception):
    """A call that ends with an error of the protocol."""

    def __init__(self, status: int, name: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.name = name
        self.text = text


class Told(Struct, frozen=True, rename="camel"):
    """requestMetadata of a health check: what AWS KMS tells of the call that it answers."""

    kms_operation: _Text
    kms_request_id: _Text


class ToldOfKey(Struct, frozen=True, kw_only=True, rename="camel"):
    """requestMetadata of a call that is about a key."""

    aws_principal_arn: _Text
    kms_operation: _Text
    kms_request_id: _Text
    kms_key_arn: str | None = None


class Health(Struct, frozen=True, rename="camel"):
    """A request of GetHealthStatus."""

    request_metadata: Told


class Metadata(Struct, frozen=True, rename="camel"):
    """A request of GetKeyMetadata."""

    request_metadata: ToldOfKey


class Encrypt(Struct, frozen=True, kw_only=True, rename="camel"):
    """A request of Encrypt."""

    request_metadata: ToldOfKey
    plaintext: Annotated[bytes, Meta(max_length=PLAINTEXT)]
    encryption_algorithm: Literal["AES_GCM"]
    additional_authenticated_data: _Blob = b""
    ciphertext_data_integrity_value_algorithm: Literal["SHA_256"] | None = None


class Decrypt(Struct, frozen=True, kw_only=True, rename="camel"):
    """A request of Decrypt."""

    request_metadata: ToldOfKey
    ciphertext: Annotated[bytes, Meta(max_length=PLAINTEXT)]
    initialization_vector: Annotated[bytes, Meta(max_length=16)]
    authentication_tag: Annotated[bytes, Meta(max_length=16)]
    encryption_algorithm: Literal["AES_GCM"]
    additional_authenticated_data: _Blob = b""
    ciphertext_metadata: Annotated[bytes, Meta(max_length=20)] = b""


Call = Health | Metadata | Encrypt | Decrypt


class Encrypted(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An answer of Encrypt."""

    ciphertext: bytes
    initialization_vector: bytes
    authentication_tag: bytes
    ciphertext_metadata: bytes
    ciphertext_data_integrity_value: bytes | None = None


class Decrypted(Struct, frozen=True):
    """An answer of Decrypt."""

    plaintext: bytes

    def __repr__(self) -> str:
        return "Decrypted(…)"


class KeyMetadata(Struct, frozen=True, rename="camel"):
    """An answer of GetKeyMetadata."""

    key_status: Literal["ENABLED", "DISABLED"]
    key_spec: str = "AES_256"
    key_usage: tuple[str, ...] = ("ENCRYPT", "DECRYPT")


class Manager(Struct, frozen=True, rename="camel"):
    """An external key manager."""

    id: str
    model: str
    health_status: str = "ACTIVE"


class HealthStatus(Struct, frozen=True, rename="camel"):
    """An answer of GetHealthStatus."""

    xks_proxy_fleet_size: int
    xks_proxy_vendor: str
    xks_proxy_model: str
    ekm_vendor: str
    ekm_fleet_details: tuple[Manager, ...]


class _Error(Struct, frozen=True, rename="camel"):
    error_name: str
    error_message: str


# What goes wrong with a key, by the error that says it. The first that fits counts.
_ERRORS: tuple[tuple[type[KeywheelError], int, str], ...] = (
    (KeyNotFound, 404, "KeyNotFoundException"),
    (KeyDisabled, 400, "InvalidStateException"),
    (KeyInvalidState, 400, "InvalidStateException"),
    (InvalidKeyUsage, 400, "InvalidKeyUsageException"),
    (DecryptionFailure, 400, "InvalidCiphertextException"),
    (CallerError, 400, "ValidationException"),
)


def refusal(error: Exception) -> Refused:
    """The protocol's error for anything that went wrong."""
    if isinstance(error, Refused):
        return error
    for kind, status, name in _ERRORS:
        if isinstance(error, kind):
            return Refused(status, name, error.message)
    return Refused(500, "InternalException", "The key manager cannot do that now.")


def decode(body: bytes, shape: type[S]) -> S:
    """The request in a body.

    Raises:
        Refused: it is none.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # its text quotes the body
    raise Refused(400, "ValidationException", "The request lacks a member, or has one that is not valid.")


def encode(answer: Struct) -> bytes:
    """The body of an answer."""
    return msgspec.json.encode(answer)


def error_body(error: Refused) -> bytes:
    """The body of an error."""
    return encode(_Error(error.name, error.text))


def encrypted(parts: Parts, request: Encrypt) -> Encrypted:
    """The answer of Encrypt, with the digest of its parts where that was asked for."""
    digest = None
    if request.ciphertext_data_integrity_value_algorithm is not None:
        whole = request.additional_authenticated_data + parts.metadata + parts.vector + parts.ciphertext + parts.tag
        digest = hashlib.sha256(whole).digest()
    return Encrypted(parts.ciphertext, parts.vector, parts.tag, parts.metadata, digest)
