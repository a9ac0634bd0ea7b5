"""Algorithms by their names in KMS: hashes, paddings, curves. And what needs only a public key: verify, encrypt."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from keywheel.errors import ValidationFailed
from keywheel.keys.errors import KeyInvalidSignature
from keywheel.keys.specs import OAEP_1, OAEP_256
from keywheel.sensitive import Sensitive

RAW, DIGEST, EXTERNAL_MU = "RAW", "DIGEST", "EXTERNAL_MU"
_MU = 64  # bytes of an ML-DSA message representative (FIPS 204)

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "1": hashes.SHA1(),  # noqa: S303 - only for OAEP, where it is not asked to resist collisions
    "224": hashes.SHA224(),
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
CURVES: dict[str, ec.EllipticCurve] = {
    "ECC_NIST_P256": ec.SECP256R1(),
    "ECC_NIST_P384": ec.SECP384R1(),
    "ECC_NIST_P521": ec.SECP521R1(),
    "ECC_SECG_P256K1": ec.SECP256K1(),
}
_PUBLIC_TYPES: dict[str, type[Any]] = {
    "ECC_NIST_EDWARDS25519": ed25519.Ed25519PublicKey,
    "ML_DSA_44": mldsa.MLDSA44PublicKey,
    "ML_DSA_65": mldsa.MLDSA65PublicKey,
    "ML_DSA_87": mldsa.MLDSA87PublicKey,
    "ML_KEM_768": mlkem.MLKEM768PublicKey,
    "ML_KEM_1024": mlkem.MLKEM1024PublicKey,
}


class Scheme(NamedTuple):
    """How an algorithm signs. Without a hash it takes the message as it is."""

    hash: hashes.HashAlgorithm | None
    padding: padding.AsymmetricPadding | None = None
    elliptic: bool = False
    takes_mu: bool = False

    def arguments(self, message_type: str) -> tuple[Any, ...]:
        """What the library's `sign` and `verify` are given beside the message."""
        if self.hash is None:
            return ()
        hashed = Prehashed(self.hash) if message_type == DIGEST else self.hash
        return (ec.ECDSA(hashed),) if self.elliptic else (self.padding, hashed)


def _schemes() -> dict[str, Scheme]:
    schemes = {
        "ED25519_SHA_512": Scheme(None),
        "ML_DSA_SHAKE_256": Scheme(None, takes_mu=True),
    }
    for bits in ("256", "384", "512"):
        digest = _HASHES[bits]
        schemes[f"ECDSA_SHA_{bits}"] = Scheme(digest, elliptic=True)
        schemes[f"RSASSA_PKCS1_V1_5_SHA_{bits}"] = Scheme(digest, padding.PKCS1v15())
        # Salt as long as the digest, and the same hash in the mask.
        pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
        schemes[f"RSASSA_PSS_SHA_{bits}"] = Scheme(digest, pss)
    return schemes


SCHEMES = _schemes()
MACS = {f"HMAC_SHA_{bits}": f"sha{bits}" for bits in ("224", "256", "384", "512")}


def _oaep(digest: hashes.HashAlgorithm) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)


OAEP = {OAEP_1: _oaep(_HASHES["1"]), OAEP_256: _oaep(_HASHES["256"])}


def require_message(algorithm: str, message_type: str, length: int) -> None:
    """Nothing, when `algorithm` signs a message of this type and length.

    Raises:
        ValidationFailed: it takes no such type, or the digest has another length.
    """
    if message_type == RAW:
        return
    scheme = SCHEMES[algorithm]
    if message_type == DIGEST and scheme.hash is not None:
        wanted = scheme.hash.digest_size
    elif message_type == EXTERNAL_MU and scheme.takes_mu:
        wanted = _MU
    else:
        raise ValidationFailed(f"MessageType {message_type} is not valid for algorithm {algorithm}.")
    if length != wanted:
        raise ValidationFailed(f"Digest is invalid length for algorithm {algorithm}.")


def private_der(private: Any) -> bytes:
    """A private key as PKCS #8."""
    return bytes(
        private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def public_der(public: Any) -> bytes:
    """A public key as SubjectPublicKeyInfo."""
    return bytes(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


@lru_cache(1024)
def load_public(public: bytes) -> Any:
    """The public key of a SubjectPublicKeyInfo that this house wrote."""
    return serialization.load_der_public_key(public)


def peer(public: bytes, curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    """Somebody else's public key on `curve`.

    Raises:
        ValidationFailed: it is none.
    """
    try:
        key = serialization.load_der_public_key(public)
    except (ValueError, UnsupportedAlgorithm):
        raise ValidationFailed("The public key is not a DER-encoded SubjectPublicKeyInfo.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve.name:
        raise ValidationFailed("The public key is not on the elliptic curve of the KMS key.")
    return key


def generate(spec: str) -> Any:
    """A new private key of a key spec."""
    if spec in CURVES:
        return ec.generate_private_key(CURVES[spec])
    if spec.startswith("RSA_"):
        return rsa.generate_private_key(65537, int(spec.removeprefix("RSA_")))
    return _PRIVATE_TYPES[spec].generate()


_PRIVATE_TYPES: dict[str, type[Any]] = {
    "ECC_NIST_EDWARDS25519": ed25519.Ed25519PrivateKey,
    "ML_DSA_44": mldsa.MLDSA44PrivateKey,
    "ML_DSA_65": mldsa.MLDSA65PrivateKey,
    "ML_DSA_87": mldsa.MLDSA87PrivateKey,
    "ML_KEM_768": mlkem.MLKEM768PrivateKey,
    "ML_KEM_1024": mlkem.MLKEM1024PrivateKey,
}


def fits(spec: str, private: Any) -> bool:
    """Whether a private key is one of a key spec."""
    if spec in CURVES:
        return isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name == CURVES[spec].name
    if spec.startswith("RSA_"):
        return isinstance(private, rsa.RSAPrivateKey) and private.key_size == int(spec.removeprefix("RSA_"))
    return isinstance(private, _PRIVATE_TYPES[spec])


def verify(public: bytes, message: bytes, signature: bytes, algorithm: str, message_type: str) -> None:
    """Nothing, when it is the signature of `message`.

    Raises:
        KeyInvalidSignature: it is not.
        ValidationFailed: as by `require_message`.
    """
    require_message(algorithm, message_type, len(message))
    key, scheme = load_public(public), SCHEMES[algorithm]
    try:
        if message_type == EXTERNAL_MU:
            key.verify_mu(signature, message)
        else:
            key.verify(signature, message, *scheme.arguments(message_type))
    except (InvalidSignature, ValueError):  # ValueError: of a length that no signature has
        raise KeyInvalidSignature from None


def encrypt_to(public: bytes, plaintext: bytes, algorithm: str) -> bytes:
    """`plaintext`, for the owner of `public`. It must not be too long."""
    return bytes(load_public(public).encrypt(plaintext, OAEP[algorithm]))


def encapsulate_to(public: bytes) -> tuple[Sensitive[bytes], bytes]:
    """A new secret, and the ciphertext from which the owner of `public` gets it."""
    secret, ciphertext = load_public(public).encapsulate()
    return Sensitive(bytes(secret)), bytes(ciphertext)
