"""Backing keys wrapped by the root key and used in this process's memory."""

from __future__ import annotations

import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keywheel.errors import DecryptionFailure, KeyStoreError
from keywheel.keys.envelope import NONCE
from keywheel.sensitive import Sensitive

_CACHED = 1024  # unwrapped backing keys kept ready, the least recently used dropped first


class SoftwareKeyStore:
    """Every handle is a backing key, encrypted under the root key and bound to its label."""

    def __init__(self, root: Sensitive[bytes]) -> None:
        self._root = AESGCM(root.reveal())
        self._cipher = lru_cache(_CACHED)(self._unwrap)

    def create(self, label: bytes) -> bytes:
        """A new backing key, wrapped."""
        return self.wrap(os.urandom(32), label)

    def wrap(self, material: bytes, label: bytes) -> bytes:
        """`material` under the root key."""
        nonce = os.urandom(NONCE)
        return nonce + self._root.encrypt(nonce, material, label)

    def unwrap(self, handle: bytes, label: bytes) -> bytes:
        """What `wrap` was given.

        Raises:
            KeyStoreError: this root key did not wrap it.
        """
        try:
            return self._root.decrypt(handle[:NONCE], handle[NONCE:], label)
        except (InvalidTag, ValueError):  # ValueError: too short for a nonce
            raise KeyStoreError("The root key does not open this database.") from None

    def _unwrap(self, handle: bytes, label: bytes) -> AESGCM:
        return AESGCM(self.unwrap(handle, label))

    def encrypt(self, handle: bytes, label: bytes, plaintext: bytes, context: bytes) -> bytes:
        """`plaintext` under the backing key of `handle`."""
        nonce = os.urandom(NONCE)
        return nonce + self._cipher(handle, label).encrypt(nonce, plaintext, context)

    def decrypt(self, handle: bytes, label: bytes, ciphertext: bytes, context: bytes) -> bytes:
        """The plaintext again."""
        cipher = self._cipher(handle, label)
        try:
            return cipher.decrypt(ciphertext[:NONCE], ciphertext[NONCE:], context)
        except (InvalidTag, ValueError):  # as above
            raise DecryptionFailure("The ciphertext does not belong to this key and encryption context.") from None
