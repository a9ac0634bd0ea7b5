"""Backing keys wrapped by the root key and used in this process's memory."""

from __future__ import annotations

import hashlib
import hmac
import os
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDH
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from keywheel.errors import DecryptionFailure
from keywheel.keys import algorithms
from keywheel.keys.algorithms import EXTERNAL_MU, MACS, OAEP, SCHEMES
from keywheel.keys.envelope import NONCE
from keywheel.keys.errors import IncorrectKeyMaterial
from keywheel.keys.root.ring import RootRing
from keywheel.keys.specs import OAEP_1, OAEP_256, SPECS
from keywheel.keys.stores.base import Pair, Received, Wrapping
from keywheel.sensitive import Sensitive

_CACHED = 1024  # keys kept ready, of each of two kinds, the least recently used dropped first
_NOT_OURS = "The ciphertext does not belong to this key and encryption context."
# How the ephemeral AES key of a wrapping algorithm of two steps is encrypted.
_TWO_STEPS = {"RSA_AES_KEY_WRAP_SHA_1": OAEP_1, "RSA_AES_KEY_WRAP_SHA_256": OAEP_256}
FINGERPRINT = b"fingerprint "


class SoftwareKeyStore:
    """Every handle is a backing key, encrypted under the root key and bound to its label."""

    def __init__(self, root: Sensitive[bytes] | RootRing) -> None:
        self.ring = root if isinstance(root, RootRing) else RootRing([root])
        self._cipher = lru_cache(_CACHED)(self._load_cipher)
        self._private = lru_cache(_CACHED)(self._load_private)  # to load an RSA key costs as much as to sign

    def wrap(self, material: bytes, label: bytes) -> bytes:
        """`material` under the root key."""
        return self.ring.wrap(material, label)

    def unwrap(self, handle: bytes, label: bytes) -> bytes:
        """What `wrap` was given.

        Raises:
            KeyStoreError: no root key of ours wrapped it.
        """
        return self.ring.unwrap(handle, label)

    def _load_cipher(self, handle: bytes, label: bytes) -> AESGCM:
        return AESGCM(self.unwrap(handle, label))

    def _load_private(self, handle: bytes, label: bytes) -> Any:
        # Authenticated by the root key, so it is the key that was checked when it was made or imported.
        return serialization.load_der_private_key(self.unwrap(handle, label), None, unsafe_skip_rsa_key_validation=True)

    # --- symmetric encryption

    def create(self, label: bytes) -> bytes:
        """A new backing key, wrapped."""
        return self.wrap(os.urandom(32), label)

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
            raise DecryptionFailure(_NOT_OURS) from None

    # --- key pairs

    def create_pair(self, spec: str, label: bytes) -> Pair:
        """A new key pair, its private half wrapped as PKCS #8."""
        private = algorithms.generate(spec)
        return Pair(self.wrap(algorithms.private_der(private), label), algorithms.public_der(private.public_key()))

    def sign(self, handle: bytes, label: bytes, message: bytes, algorithm: str, message_type: str) -> bytes:
        """The signature of `message`."""
        algorithms.require_message(algorithm, message_type, len(message))
        private = self._private(handle, label)
        if message_type == EXTERNAL_MU:
            return bytes(private.sign_mu(message))
        return bytes(private.sign(message, *SCHEMES[algorithm].arguments(message_type)))

    def open(self, handle: bytes, label: bytes, ciphertext: bytes, algorithm: str) -> bytes:
        """The plaintext that was encrypted to the public half."""
        try:
            return bytes(self._private(handle, label).decrypt(ciphertext, OAEP[algorithm]))
        except ValueError:
            raise DecryptionFailure(_NOT_OURS) from None

    def agree(self, handle: bytes, label: bytes, public: bytes) -> bytes:
        """The x coordinate of the shared point."""
        private = self._private(handle, label)
        return bytes(private.exchange(ECDH(), algorithms.peer(public, private.curve)))

    def decapsulate(self, handle: bytes, label: bytes, ciphertext: bytes) -> bytes:
        """The secret that was encapsulated to the public half."""
        try:
            return bytes(self._private(handle, label).decapsulate(ciphertext))
        except ValueError:
            raise DecryptionFailure(_NOT_OURS) from None

    # --- MACs

    def create_mac_key(self, length: int, label: bytes) -> bytes:
        """A new key for MACs, wrapped."""
        return self.wrap(os.urandom(length), label)

    def mac(self, handle: bytes, label: bytes, message: bytes, algorithm: str) -> bytes:
        """The MAC of `message`."""
        return hmac.digest(self.unwrap(handle, label), message, MACS[algorithm])

    # --- imported material

    def receive(self, spec: str, encrypted: bytes, wrapping: Wrapping, label: bytes) -> Received:
        """Decrypt material, check that it is some of `spec`, and wrap it."""
        material = self._unwrapped(encrypted, wrapping)
        found = SPECS[spec]
        if found.kind != "asymmetric":
            if len(material) != found.size:
                raise IncorrectKeyMaterial(f"The key material must be {found.size} bytes long.")
            return Received(self.wrap(material, label), None)
        try:
            private = serialization.load_der_private_key(material, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted with a password
            private = None
        if private is None or not algorithms.fits(spec, private):
            raise IncorrectKeyMaterial(f"The key material must be a private key of {spec} as PKCS #8 in DER.")
        # Written anew: one key has one form, by which it is known when it comes again.
        return Received(self.wrap(algorithms.private_der(private), label), algorithms.public_der(private.public_key()))

    def _unwrapped(self, encrypted: bytes, wrapping: Wrapping) -> bytes:
        private = self._private(wrapping.handle, wrapping.label)
        try:
            if wrapping.algorithm in OAEP:
                return bytes(private.decrypt(encrypted, OAEP[wrapping.algorithm]))
            size = private.key_size // 8
            ephemeral = private.decrypt(encrypted[:size], OAEP[_TWO_STEPS[wrapping.algorithm]])
            return aes_key_unwrap_with_padding(ephemeral, encrypted[size:])
        except (ValueError, InvalidUnwrap):
            raise DecryptionFailure(_NOT_OURS) from None

    def rebind(self, handle: bytes, label: bytes, new_label: bytes) -> bytes:
        """The same material, wrapped for another label."""
        return self.wrap(self.unwrap(handle, label), new_label)

    def fingerprint(self, handle: bytes, label: bytes, owner: bytes) -> bytes:
        """The material's digest, wrapped: in clear, it would let a guess be checked."""
        return self.wrap(self._digest(handle, label), FINGERPRINT + owner)

    def recognises(self, handle: bytes, label: bytes, fingerprint: bytes, owner: bytes) -> bool:
        """Whether the digest is the same."""
        known = self.unwrap(fingerprint, FINGERPRINT + owner)
        return hmac.compare_digest(known, self._digest(handle, label))

    def _digest(self, handle: bytes, label: bytes) -> bytes:
        return hashlib.sha256(self.unwrap(handle, label)).digest()
