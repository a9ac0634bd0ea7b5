"""The blob that a key's encryption makes. It says by itself which key and which backing key open it.

    byte 0       format, 1
    bytes 1-16   the key's id (a UUID)
    bytes 17-20  the generation of its backing key, big endian
    the rest     what the key store made: nonce, ciphertext, tag

The head is authenticated together with the encryption context, so a blob cannot be re-labelled.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from functools import lru_cache

from keywheel.errors import DecryptionFailure

_FORMAT = 1
_HEAD = struct.Struct(">B16sI")
_LENGTH = struct.Struct(">I").pack


@lru_cache(1024)
def head(key_id: str, generation: int) -> bytes:
    """The first 21 bytes of a blob made with this backing key."""
    return _HEAD.pack(_FORMAT, uuid.UUID(key_id).bytes, generation)


def split(blob: bytes) -> tuple[bytes, bytes]:
    """The head of `blob`, and the rest.

    Raises:
        DecryptionFailure: it is not one of ours.
    """
    if len(blob) <= _HEAD.size or blob[0] != _FORMAT:
        raise DecryptionFailure("The ciphertext is not in a format that keywheel knows.")
    return blob[: _HEAD.size], blob[_HEAD.size :]


def backing_key(head: bytes) -> tuple[str, int]:
    """The key id and the generation that a head names."""
    _, key, generation = _HEAD.unpack(head)
    return str(uuid.UUID(bytes=key)), generation


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
