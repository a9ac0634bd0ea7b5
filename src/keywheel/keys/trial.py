"""Whether a key does what it is for: a real operation of its usage, there and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from keywheel.db.statement import Tx
from keywheel.errors import BrokenInvariant
from keywheel.keys import algorithms
from keywheel.keys.algorithms import RAW
from keywheel.keys.rows import Key
from keywheel.keys.specs import AGREE, ENCAPSULATE, ENCRYPT, MAC, SIGN, SYMMETRIC
from keywheel.sensitive import Sensitive

if TYPE_CHECKING:
    from keywheel.keys.keyring import Keys

ACTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        SIGN: ("Sign", "Verify", "GetPublicKey"),
        ENCRYPT: ("Encrypt", "Decrypt"),
        MAC: ("GenerateMac", "VerifyMac"),
        AGREE: ("DeriveSharedSecret", "GetPublicKey"),
        ENCAPSULATE: ("Encapsulate", "Decapsulate"),
    }
)
"""What the trial of a key of each usage does with it."""


def prove(keys: Keys, tx: Tx, key: Key) -> None:
    """Nothing, when the key does everything that it is for.

    Raises:
        CallerError: it refuses to.
        KeyStoreError: its key store is away.
        BrokenInvariant: it does not.
    """
    for algorithm in key.algorithms:
        if not _TRIALS[key.usage](keys, tx, key, algorithm):
            raise BrokenInvariant(f"{key.arn} failed its test with {algorithm}.")


def _signs(keys: Keys, tx: Tx, key: Key, algorithm: str) -> bool:
    message = os.urandom(32)
    signature = keys.signatures.sign(tx, key, message, algorithm)
    keys.signatures.verify(tx, key, message, signature, algorithm)
    # As somebody does who has nothing but the public key.
    algorithms.verify(keys.signatures.public_key(tx, key), message, signature, algorithm, RAW)
    return True


def _encrypts(keys: Keys, tx: Tx, key: Key, algorithm: str) -> bool:
    message = Sensitive(os.urandom(32))
    context = {"trial": key.key_id} if algorithm == SYMMETRIC else {}
    blob = keys.ciphers.encrypt(tx, key, message, context, algorithm)
    return keys.ciphers.decrypt(tx, key, blob, context, algorithm).plaintext == message


def _authenticates(keys: Keys, tx: Tx, key: Key, algorithm: str) -> bool:
    message = os.urandom(32)
    keys.signatures.verify_mac(tx, key, message, keys.signatures.generate_mac(tx, key, message, algorithm), algorithm)
    return True


def _agrees(keys: Keys, tx: Tx, key: Key, algorithm: str) -> bool:
    ours: ec.EllipticCurvePublicKey = algorithms.load_public(keys.signatures.public_key(tx, key))
    peer = ec.generate_private_key(ours.curve)
    shared = keys.signatures.derive(tx, key, algorithms.public_der(peer.public_key()), algorithm)
    return shared == Sensitive(peer.exchange(ec.ECDH(), ours))


def _encapsulates(keys: Keys, tx: Tx, key: Key, algorithm: str) -> bool:
    sent = keys.signatures.encapsulate(tx, key, algorithm)
    return keys.signatures.decapsulate(tx, key, sent.ciphertext, algorithm) == sent.secret


_TRIALS: Mapping[str, Callable[[Keys, Tx, Key, str], bool]] = MappingProxyType(
    {SIGN: _signs, ENCRYPT: _encrypts, MAC: _authenticates, AGREE: _agrees, ENCAPSULATE: _encapsulates}
)
