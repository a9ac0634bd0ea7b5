"""The blob that a key's encryption makes. It says by itself which key and which backing key open it.

    byte 0       format: 1, or 2 where the key is a multi-Region key
    bytes 1-16   the key's id: a UUID, or the 32 hexadecimal digits behind `mrk-`
    bytes 17-20  the generation of its backing key, big endian
    the rest     what the key store made: nonce, ciphertext, tag

The head is authenticated together with the encryption context, so a blob cannot be re-labelled.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Mapping
from functools import lru_cache

from keywheel.errors import DecryptionFailure

_UUID, _MULTI_REGION = 1, 2
_PREFIX = "mrk-"
_HEAD = struct.Struct(">B16sI")
_LENGTH = struct.Struct(">I").pack


@lru_cache(4096)
def head(key_id: str, generation: int) -> bytes:
    """The first 21 bytes of a blob made with this backing key, which are also its label in the key store."""
    if key_id.startswith(_PREFIX):
        return _HEAD.pack(_MULTI_REGION, bytes.fromhex(key_id.removeprefix(_PREFIX)), generation)
    return _HEAD.pack(_UUID, uuid.UUID(key_id).bytes, generation)


def split(blob: bytes) -> tuple[bytes, bytes]:
    """The head of `blob`, and the rest.

    Raises:
        DecryptionFailure: it is not one of ours.
    """
    if len(blob) <= _HEAD.size or blob[0] not in (_UUID, _MULTI_REGION):
        raise DecryptionFailure("The ciphertext is not in a format that keywheel knows.")
    return blob[: _HEAD.size], blob[_HEAD.size :]


@lru_cache(4096)
def backing_key(head: bytes) -> tuple[str, int]:
    """The key id and the generation that a head names."""
    form, key, generation = _HEAD.unpack(head)
    return (f"{_PREFIX}{key.hex()}" if form == _MULTI_REGION else str(uuid.UUID(bytes=key))), generation


@lru_cache(4096)
def material_id(key_id: str, generation: int) -> str:
    """The id of a key's material: 64 hexadecimal digits, the same in every Region of a multi-Region key."""
    return hashlib.sha256(b"keywheel key material" + head(key_id, generation)).hexdigest()


def context_bytes(context: Mapping[str, str]) -> bytes:
    """An encryption context as bytes: the same for the same pairs in any order, different for different pairs."""
    parts: list[bytes] = []
    for key in sorted(context):
        value = context[key].encode()
        parts += (_framed(key), _LENGTH(len(value)), value)
    return b"".join(parts)


@lru_cache(1024)
def _framed(key: str) -> bytes:
    name = key.encode()
    return _LENGTH(len(name)) + name
