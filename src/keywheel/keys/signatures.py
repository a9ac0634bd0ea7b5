"""Sign, verify, MACs, shared secrets, encapsulation: what callers of AWS KMS do with keys that do not encrypt.

What needs only the public half is done with the public half.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure
from keywheel.keys import algorithms, states
from keywheel.keys.algorithms import RAW
from keywheel.keys.ciphers import require_usage
from keywheel.keys.errors import InvalidCiphertext, KeyInvalidMac
from keywheel.keys.materials import Materials
from keywheel.keys.rows import Key
from keywheel.keys.specs import AGREE, ENCAPSULATE, MAC, SIGN, SPECS
from keywheel.sensitive import Sensitive


class Encapsulated(NamedTuple):
    """A new secret, and the ciphertext that takes it to the key's owner."""

    secret: Sensitive[bytes]
    ciphertext: bytes


class Signatures:
    """Signatures, MACs and shared secrets with the keys of every account and Region.

    Every method raises KeyDisabled, KeyInvalidState or InvalidKeyUsage where the key is not for that, or not now.
    """

    def __init__(self, materials: Materials) -> None:
        self._materials = materials
        self._store = materials.store

    @staticmethod
    def _require(key: Key, operation: str, usage: str, algorithm: str) -> None:
        require_usage(key, operation, usage)
        SPECS[key.spec].require(algorithm, usage)

    def sign(self, tx: Tx, key: Key, message: bytes, algorithm: str, message_type: str = RAW) -> bytes:
        """The signature of a message, or of its digest where `message_type` says so.

        Raises:
            ValidationFailed: the digest is none of this algorithm.
        """
        self._require(key, "Sign", SIGN, algorithm)
        handle, label = self._materials.current(tx, key)
        return self._store.sign(handle, label, message, algorithm, message_type)

    def verify(
        self, tx: Tx, key: Key, message: bytes, signature: bytes, algorithm: str, message_type: str = RAW
    ) -> None:
        """Nothing, when it is the key's signature of `message`.

        Raises:
            KeyInvalidSignature: it is not.
            ValidationFailed: the digest is none of this algorithm.
        """
        self._require(key, "Verify", SIGN, algorithm)
        algorithms.verify(self._materials.public(tx, key), message, signature, algorithm, message_type)

    def generate_mac(self, tx: Tx, key: Key, message: bytes, algorithm: str) -> bytes:
        """The MAC of a message."""
        return self._mac(tx, key, "GenerateMac", message, algorithm)

    def verify_mac(self, tx: Tx, key: Key, message: bytes, mac: bytes, algorithm: str) -> None:
        """Nothing, when it is the key's MAC of `message`.

        Raises:
            KeyInvalidMac: it is not.
        """
        if not hmac.compare_digest(self._mac(tx, key, "VerifyMac", message, algorithm), mac):
            raise KeyInvalidMac

    def _mac(self, tx: Tx, key: Key, operation: str, message: bytes, algorithm: str) -> bytes:
        self._require(key, operation, MAC, algorithm)
        handle, label = self._materials.current(tx, key)
        return self._store.mac(handle, label, message, algorithm)

    def derive(self, tx: Tx, key: Key, public: bytes, algorithm: str = "ECDH") -> Sensitive[bytes]:
        """The secret shared with the owner of `public`: the x coordinate of the shared point.

        Raises:
            ValidationFailed: it is not a public key of the same curve.
        """
        self._require(key, "DeriveSharedSecret", AGREE, algorithm)
        handle, label = self._materials.current(tx, key)
        return Sensitive(self._store.agree(handle, label, public))

    def encapsulate(self, tx: Tx, key: Key, algorithm: str = "ML_KEM") -> Encapsulated:
        """A new secret for the key's owner."""
        self._require(key, "Encapsulate", ENCAPSULATE, algorithm)
        return Encapsulated(*algorithms.encapsulate_to(self._materials.public(tx, key)))

    def decapsulate(self, tx: Tx, key: Key, ciphertext: bytes, algorithm: str = "ML_KEM") -> Sensitive[bytes]:
        """The secret again; of a spoiled ciphertext, another one.

        Raises:
            InvalidCiphertext: its length is wrong.
        """
        self._require(key, "Decapsulate", ENCAPSULATE, algorithm)
        handle, label = self._materials.current(tx, key)
        try:
            return Sensitive(self._store.decapsulate(handle, label, ciphertext))
        except DecryptionFailure:
            raise InvalidCiphertext from None

    def public_key(self, tx: Tx, key: Key) -> bytes:
        """The public key as a SubjectPublicKeyInfo in DER.

        Raises:
            UnsupportedOperation: the key is no key pair.
        """
        states.check("GetPublicKey", key.state, key.origin, key.arn)
        return self._materials.public(tx, key)
