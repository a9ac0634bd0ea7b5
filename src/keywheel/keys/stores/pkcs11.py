"""Backing keys that are made in a PKCS #11 token, are used in it, and never leave it.

A backing key is the token's object whose CKA_ID is the label; the handle is that id. So it is known before the object
is made, and making it twice makes one object: whoever crashed in between just asks again.

Importing this needs python-pkcs11, the extra `hsm`.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import KDF, MGF, Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, exceptions
from pkcs11.util.ec import decode_ec_public_key, encode_named_curve_parameters

from keywheel.errors import DecryptionFailure, KeyStoreError, UnsupportedOperation
from keywheel.keys import algorithms
from keywheel.keys.algorithms import CURVES, MACS, RAW, SCHEMES
from keywheel.keys.envelope import NONCE
from keywheel.keys.specs import OAEP_1, OAEP_256
from keywheel.keys.stores.base import Pair
from keywheel.keys.stores.token import Token

_TAG = 16
_NOT_OURS = "The ciphertext does not belong to this key and encryption context."
_SECRET, _PRIVATE, _PUBLIC = "SECRET_KEY", "PRIVATE_KEY", "PUBLIC_KEY"
_KEPT = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
}
_CRYPT = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
_SIGN = MechanismFlag.SIGN | MechanismFlag.VERIFY
_OAEP = {OAEP_1: (Mechanism.SHA_1, MGF.SHA1, None), OAEP_256: (Mechanism.SHA256, MGF.SHA256, None)}
# What stands before a digest in a signature of RSASSA-PKCS1-v1_5 (RFC 8017, 9.2).
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
# Tokens say so of a ciphertext that does not open. Of the last two it is not certain that they mean the ciphertext.
_SPOILED = (
    exceptions.EncryptedDataInvalid,
    exceptions.EncryptedDataLenRange,
    exceptions.DataInvalid,
    exceptions.DataLenRange,
    exceptions.GeneralError,
    exceptions.FunctionFailed,
)


class TokenKeyStore:
    """A token as a key store."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def check(self) -> None:
        """Nothing, when the token is there and takes the PIN.

        Raises:
            KeyUnavailable: it is not.
            BadPin: it does not.
        """
        self._token.run(lambda _: self._token.here(), fresh=True)

    def close(self) -> None:
        """Log out."""
        self._token.close()

    def random(self, length: int) -> bytes:
        """So many bytes from the token's random generator."""
        return self._token.run(lambda session: bytes(session.generate_random(length * 8)))

    def destroy(self, handle: bytes, label: bytes) -> None:
        """Destroy a backing key; nothing, when it is gone already.

        Raises:
            KeyUnavailable: the token is away, so that nothing is known.
        """
        self._token.destroy(_id(handle, label))

    # --- symmetric encryption

    def create(self, label: bytes) -> bytes:
        """A new AES key in the token; the one that is there, if it was made before."""
        return self._secret(label, KeyType.AES, 256, _CRYPT)

    def _secret(self, label: bytes, kind: KeyType, bits: int, able: MechanismFlag) -> bytes:
        def work(session: Any) -> bytes:
            key = self._token.find(session, label, _SECRET)
            if key is None:
                name = _name(label)
                key = session.generate_key(
                    kind, bits, id=label, label=name, store=True, capabilities=able, template=_KEPT
                )
            self._token.require_kept(key)
            return label

        return self._token.run(work)

    def encrypt(self, handle: bytes, label: bytes, plaintext: bytes, context: bytes) -> bytes:
        """`plaintext` under the AES key, by AES-GCM."""
        identifier = _id(handle, label)
        return self._token.run(lambda s: _sealed(self._token.key(s, identifier, _SECRET), plaintext, context))

    def decrypt(self, handle: bytes, label: bytes, ciphertext: bytes, context: bytes) -> bytes:
        """The plaintext again."""
        identifier = _id(handle, label)

        def work(session: Any) -> bytes:
            key = self._token.key(session, identifier, _SECRET)
            parameters = GCMParams(ciphertext[:NONCE], context, _TAG * 8)
            try:
                return bytes(key.decrypt(ciphertext[NONCE:], mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
            except _SPOILED:
                _sealed(key, b"", b"")  # if the token still encrypts, it is well, and the ciphertext is not
                raise DecryptionFailure(_NOT_OURS) from None

        if len(ciphertext) < NONCE + _TAG:
            raise DecryptionFailure(_NOT_OURS)
        return self._token.run(work)

    # --- key pairs

    def create_pair(self, spec: str, label: bytes) -> Pair:
        """A new key pair in the token; the one that is there, if it was made before.

        Raises:
            UnsupportedOperation: tokens make no pairs of this spec.
        """

        def work(session: Any) -> Pair:
            private = self._token.find(session, label, _PRIVATE)
            public = self._token.find(session, label, _PUBLIC)
            if private is None or public is None:
                public, private = _new_pair(session, spec, label)
            self._token.require_kept(private)
            return Pair(label, _public_der(spec, public))

        if spec not in CURVES and not spec.startswith("RSA_"):
            raise UnsupportedOperation(f"Keys of spec {spec} are not made in tokens.")
        return self._token.run(work)

    def sign(self, handle: bytes, label: bytes, message: bytes, algorithm: str, message_type: str) -> bytes:
        """The signature of `message`, which is hashed here and signed in the token."""
        algorithms.require_message(algorithm, message_type, len(message))
        scheme, identifier = SCHEMES[algorithm], _id(handle, label)
        if scheme.hash is None:
            raise UnsupportedOperation(f"Tokens do not sign by {algorithm}.")
        name = scheme.hash.name
        digest = hashlib.new(name, message).digest() if message_type == RAW else message
        return self._token.run(lambda s: _signed(self._token.key(s, identifier, _PRIVATE), digest, name, algorithm))

    def open(self, handle: bytes, label: bytes, ciphertext: bytes, algorithm: str) -> bytes:
        """The plaintext that was encrypted to the public half."""
        identifier = _id(handle, label)

        def work(session: Any) -> bytes:
            key = self._token.key(session, identifier, _PRIVATE)
            parameters = _OAEP[algorithm]
            try:
                return bytes(key.decrypt(ciphertext, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters))
            except _SPOILED:
                _signed(key, bytes(32), "sha256", "RSASSA_PKCS1_V1_5_SHA_256")  # as in `decrypt`
                raise DecryptionFailure(_NOT_OURS) from None

        return self._token.run(work)

    def agree(self, handle: bytes, label: bytes, public: bytes) -> bytes:
        """The x coordinate of the shared point: a secret of the caller's, which the token gives out."""
        identifier = _id(handle, label)

        def work(session: Any) -> bytes:
            key = self._token.key(session, identifier, _PRIVATE)
            curve = next(each for each in CURVES.values() if _parameters(each) == key[Attribute.EC_PARAMS])
            algorithms.peer(public, curve)
            point = decode_ec_public_key(public, encode_ec_point=False)[Attribute.EC_POINT]
            shared = key.derive_key(
                KeyType.GENERIC_SECRET,
                (curve.key_size + 7) // 8 * 8,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                store=False,
                capabilities=MechanismFlag(0),
                template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
            )
            try:
                return bytes(shared[Attribute.VALUE])
            finally:
                shared.destroy()

        return self._token.run(work)

    # --- MACs

    def create_mac_key(self, length: int, label: bytes) -> bytes:
        """A new key for MACs in the token; the one that is there, if it was made before."""
        return self._secret(label, KeyType.GENERIC_SECRET, length * 8, _SIGN)

    def mac(self, handle: bytes, label: bytes, message: bytes, algorithm: str) -> bytes:
        """The MAC of `message`."""
        identifier, mechanism = _id(handle, label), Mechanism[f"{MACS[algorithm].upper()}_HMAC"]
        return self._token.run(
            lambda s: bytes(self._token.key(s, identifier, _SECRET).sign(message, mechanism=mechanism))
        )


# --- what a token is asked


def _id(handle: bytes, label: bytes) -> bytes:
    if handle != label:
        raise KeyStoreError("The handle belongs to another key.")
    return label


def _name(label: bytes) -> str:
    return f"keywheel {label.hex()}"


def _sealed(key: Any, plaintext: bytes, context: bytes) -> bytes:
    nonce = os.urandom(NONCE)
    parameters = GCMParams(nonce, context, _TAG * 8)
    return nonce + bytes(key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))


def _new_pair(session: Any, spec: str, label: bytes) -> tuple[Any, Any]:
    common = {"id": label, "label": _name(label), "store": True, "private_template": _KEPT}
    if spec in CURVES:
        parameters = {Attribute.EC_PARAMS: _parameters(CURVES[spec])}
        domain = session.create_domain_parameters(KeyType.EC, parameters, local=True)
        public, private = domain.generate_keypair(capabilities=_SIGN | MechanismFlag.DERIVE, **common)
    else:
        bits = int(spec.removeprefix("RSA_"))
        public, private = session.generate_keypair(KeyType.RSA, bits, capabilities=_SIGN | _CRYPT, **common)
    return public, private


def _parameters(curve: ec.EllipticCurve) -> bytes:
    return bytes(encode_named_curve_parameters(curve.name))


def _public_der(spec: str, public: Any) -> bytes:
    if spec in CURVES:
        point = bytes(public[Attribute.EC_POINT])
        size = 2 * ((CURVES[spec].key_size + 7) // 8) + 1  # behind the head of an OCTET STRING
        return algorithms.public_der(ec.EllipticCurvePublicKey.from_encoded_point(CURVES[spec], point[-size:]))
    exponent, modulus = public[Attribute.PUBLIC_EXPONENT], public[Attribute.MODULUS]
    numbers = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
    return algorithms.public_der(numbers.public_key())


def _signed(key: Any, digest: bytes, name: str, algorithm: str) -> bytes:
    """The signature of a digest by an algorithm of KMS."""
    if algorithm.startswith("RSASSA_PSS"):
        parameters = (Mechanism[name.upper()], MGF[name.upper()], len(digest))
        return bytes(key.sign(digest, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=parameters))
    if algorithm.startswith("RSASSA_PKCS1"):
        return bytes(key.sign(_DIGEST_INFO[name] + digest, mechanism=Mechanism.RSA_PKCS))
    raw = bytes(key.sign(digest, mechanism=Mechanism.ECDSA))
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
