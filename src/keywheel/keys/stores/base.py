"""The line that plaintext key material never crosses.

`handle` is what a store gives out for a backing key: wrapped material, or a name. It is bound to `label`. What not
every store can do is a protocol of its own, never a flag.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Pair(NamedTuple):
    """A key pair: the handle of its private half, and its public half as a SubjectPublicKeyInfo in DER."""

    handle: bytes
    public: bytes


class Received(NamedTuple):
    """Imported material: its handle, and the public half where it is a key pair."""

    handle: bytes
    public: bytes | None


class Wrapping(NamedTuple):
    """How imported material was encrypted: with which wrapping key, under which label, by which algorithm."""

    handle: bytes
    label: bytes
    algorithm: str


class KeyStore(Protocol):
    """Makes symmetric backing keys and uses them."""

    def create(self, label: bytes) -> bytes:
        """A new 256-bit backing key; its handle."""
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


class PairStore(Protocol):
    """Makes key pairs. What needs only the public half is done outside the store."""

    def create_pair(self, spec: str, label: bytes) -> Pair:
        """A new key pair of a key spec."""
        ...


class SigningKeyStore(PairStore, Protocol):
    """Signs."""

    def sign(self, handle: bytes, label: bytes, message: bytes, algorithm: str, message_type: str) -> bytes:
        """The signature of a message, or of its digest where `message_type` says so.

        Raises:
            ValidationFailed: the digest is none of this algorithm, or the algorithm takes none.
        """
        ...


class DecryptingKeyStore(PairStore, Protocol):
    """Decrypts what was encrypted to a public key."""

    def open(self, handle: bytes, label: bytes, ciphertext: bytes, algorithm: str) -> bytes:
        """The plaintext.

        Raises:
            DecryptionFailure: it was encrypted to another key, or is spoiled.
        """
        ...


class AgreementKeyStore(PairStore, Protocol):
    """Agrees on a secret with whoever has the other private key."""

    def agree(self, handle: bytes, label: bytes, public: bytes) -> bytes:
        """The secret shared with the owner of `public`, a SubjectPublicKeyInfo in DER.

        Raises:
            ValidationFailed: it is not a public key of the same curve.
        """
        ...


class EncapsulationKeyStore(PairStore, Protocol):
    """Opens a secret that was encapsulated to a public key."""

    def decapsulate(self, handle: bytes, label: bytes, ciphertext: bytes) -> bytes:
        """The secret. A spoiled ciphertext of the right length gives another one (FIPS 203).

        Raises:
            DecryptionFailure: the length is wrong.
        """
        ...


class MacKeyStore(Protocol):
    """Makes MACs."""

    def create_mac_key(self, length: int, label: bytes) -> bytes:
        """A new key of `length` bytes; its handle."""
        ...

    def mac(self, handle: bytes, label: bytes, message: bytes, algorithm: str) -> bytes:
        """The MAC of a message."""
        ...


class ImportingKeyStore(PairStore, Protocol):
    """Takes material that was made elsewhere, encrypted to a key pair of this store."""

    def receive(self, spec: str, encrypted: bytes, wrapping: Wrapping, label: bytes) -> Received:
        """Decrypt material for a key of `spec`, and bind it to `label`.

        Raises:
            DecryptionFailure: it is not encrypted to that key by that algorithm.
            IncorrectKeyMaterial: it is no material of that spec.
        """
        ...

    def rebind(self, handle: bytes, label: bytes, new_label: bytes) -> bytes:
        """A handle of the same material, bound to `new_label`."""
        ...

    def fingerprint(self, handle: bytes, label: bytes, owner: bytes) -> bytes:
        """What `recognises` tells the same material by, when it comes again to the same owner."""
        ...

    def recognises(self, handle: bytes, label: bytes, fingerprint: bytes, owner: bytes) -> bool:
        """Whether `fingerprint` was made of the same material."""
        ...
