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
from dataclasses import dataclass

from keywheel.errors import DecryptionFailure

_FORMAT = 1
_HEAD = struct.Struct(">B16sI")


@dataclass(frozen=True, slots=True)
class Blob:
    """A parsed ciphertext blob."""

    head: bytes
    key_id: str
    generation: int
    body: bytes


def head(key_id: str, generation: int) -> bytes:
    """The first 21 bytes of a blob made with this backing key."""
    return _HEAD.pack(_FORMAT, uuid.UUID(key_id).bytes, generation)


def parse(blob: bytes) -> Blob:
    """The parts of `blob`.

    Raises:
        DecryptionFailure: it is not one of ours.
    """
    if len(blob) <= _HEAD.size or blob[0] != _FORMAT:
        raise DecryptionFailure("The ciphertext is not in a format that keywheel knows.")
    _, key, generation = _HEAD.unpack_from(blob)
    return Blob(blob[: _HEAD.size], str(uuid.UUID(bytes=key)), generation, blob[_HEAD.size :])


def context_bytes(context: Mapping[str, str]) -> bytes:
    """An encryption context as bytes: the same for the same pairs in any order, different for different pairs."""
    parts = []
    for key in sorted(context):
        for text in (key, context[key]):
            encoded = text.encode()
            parts += [len(encoded).to_bytes(4, "big"), encoded]
    return b"".join(parts)
