"""Seal and open a value with a data key: AES-256-GCM, the encryption context authenticated beside it.

byte 0      format, 1
bytes 1-12  nonce
the rest    ciphertext and tag
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keywheel.errors import DecryptionFailure
from keywheel.sensitive import Sensitive

_FORMAT = b"\x01"
NONCE = 12


def seal(value: bytes, data_key: Sensitive[bytes], context: bytes) -> bytes:
    """`value` under a data key that is used for it alone."""
    nonce = os.urandom(NONCE)
    return _FORMAT + nonce + AESGCM(data_key.reveal()).encrypt(nonce, value, context)


def unseal(sealed: bytes, data_key: Sensitive[bytes], context: bytes) -> bytes:
    """The value again.

    Raises:
        DecryptionFailure: another key, another context, or spoiled.
    """
    if sealed[:1] != _FORMAT:
        raise DecryptionFailure("The stored value is not in a format that keywheel knows.")
    try:
        return AESGCM(data_key.reveal()).decrypt(sealed[1 : 1 + NONCE], sealed[1 + NONCE :], context)
    except (InvalidTag, ValueError):  # ValueError: too short for a nonce
        raise DecryptionFailure("The stored value cannot be opened with its data key.") from None
