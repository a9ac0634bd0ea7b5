"""The key that signs the audit ledger: Ed25519, one for an installation, its private half under the root key."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keywheel.db.statement import Tx
from keywheel.keys import rows
from keywheel.keys.keyring import Keys

_NAME = "audit-signing-key"


class SigningKey:
    """Signs. The private key does not leave this object."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`, 64 bytes."""
        return self._private.sign(message)

    def public_pem(self) -> str:
        """The public key, for whoever verifies."""
        public = self._private.public_key()
        encoded = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return encoded.decode()

    def __repr__(self) -> str:
        return "SigningKey(…)"


def signing_key(tx: Tx, keys: Keys) -> SigningKey:
    """The installation's key, made on first use. In a transaction that may write.

    Raises:
        KeyStoreError: the root key does not open it.
    """
    row = rows.installation.first(tx, name=_NAME)
    if row is not None:
        return SigningKey(Ed25519PrivateKey.from_private_bytes(keys.unwrap(row[0], _NAME).reveal()))
    private = Ed25519PrivateKey.generate()
    rows.insert_installation.run(tx, name=_NAME, value=keys.wrap(tx, private.private_bytes_raw(), _NAME))
    return SigningKey(private)
