"""The line that plaintext key material never crosses."""

from __future__ import annotations

from typing import Protocol


class KeyStore(Protocol):
    """Makes backing keys and uses them. `handle` is what the store gives out for one: a wrapped key, or a name."""

    def create(self, label: bytes) -> bytes:
        """A new 256-bit backing key; its handle, bound to `label`."""
        ...

    def encrypt(self, handle: bytes, label: bytes, plaintext: bytes, context: bytes) -> bytes:
        """`plaintext` under the backing key, with `context` authenticated."""
        ...

    def decrypt(self, handle: bytes, label: bytes, ciphertext: bytes, context: bytes) -> bytes:
        """The plaintext again.

        Raises:
            DecryptionFailure: another key, another context, or spoiled.
        """
        ...
