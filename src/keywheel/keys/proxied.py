"""What an external key store proxy does with keys of this house: encrypt and decrypt in the parts of its protocol.

The ciphertext's metadata names the backing key, so a key may rotate and nothing of that is seen outside. Nothing that
is encrypted here opens as a ciphertext of AWS KMS, nor the other way round: what is authenticated begins differently.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure
from keywheel.keys import ciphertext
from keywheel.keys.ciphers import require_usage
from keywheel.keys.materials import Materials
from keywheel.keys.rows import Key
from keywheel.keys.specs import ENCRYPT, SYMMETRIC

_METADATA = struct.Struct(">BI")  # a format, and the generation of the backing key
_FORMAT = 1
_VECTOR, _TAG = 12, 16
_PURPOSE = b"xks-proxy"
_LONG, _SHORT = struct.Struct(">H"), struct.Struct(">B")


class Parts(NamedTuple):
    """A ciphertext as the protocol carries it."""

    metadata: bytes
    vector: bytes
    ciphertext: bytes
    tag: bytes


class ProxiedKeys:
    """Keys of this house, as those of an external key manager."""

    def __init__(self, materials: Materials) -> None:
        self._materials = materials

    @staticmethod
    def fits(key: Key) -> bool:
        """Whether it is a key that the protocol knows: one for symmetric encryption."""
        return key.spec == SYMMETRIC and key.usage == ENCRYPT

    def encrypt(self, tx: Tx, key: Key, plaintext: bytes, context: bytes) -> Parts:
        """`plaintext` under the key's current material.

        Raises:
            KeyDisabled, KeyInvalidState, InvalidKeyUsage: the key is not for that, or not now.
        """
        require_usage(key, "Encrypt", ENCRYPT)
        handle, label = self._materials.current(tx, key)
        metadata = _METADATA.pack(_FORMAT, key.generation)
        store = self._materials.store_for(tx, key.store_id)
        made = store.encrypt(handle, label, plaintext, _bound(label, metadata, context))
        return Parts(metadata, made[:_VECTOR], made[_VECTOR:-_TAG], made[-_TAG:])

    def decrypt(self, tx: Tx, key: Key, parts: Parts, context: bytes) -> bytes:
        """The plaintext again.

        Raises:
            KeyDisabled, KeyInvalidState, InvalidKeyUsage: the key is not for that, or not now.
            DecryptionFailure: another key or context, or spoiled.
        """
        require_usage(key, "Decrypt", ENCRYPT)
        if len(parts.metadata) != _METADATA.size or (len(parts.vector), len(parts.tag)) != (_VECTOR, _TAG):
            raise DecryptionFailure("The ciphertext is not one of this proxy.")
        form, generation = _METADATA.unpack(parts.metadata)
        if form != _FORMAT or not 1 <= generation <= key.generation:
            raise DecryptionFailure("The ciphertext is not one of this proxy.")
        label = ciphertext.head(key.key_id, generation)
        store = self._materials.store_for(tx, key.store_id)
        sealed = parts.vector + parts.ciphertext + parts.tag
        return store.decrypt(self._materials.handle(tx, label), label, sealed, _bound(label, parts.metadata, context))


def _bound(label: bytes, metadata: bytes, context: bytes) -> bytes:
    return _PURPOSE + label + _LONG.pack(len(context)) + context + _SHORT.pack(len(metadata)) + metadata
