"""A public key as a JSON Web Key. Pure.

Sources: RFC 7517 and 7518 (RSA, EC), RFC 8037 (Ed25519), RFC 8812 (secp256k1), draft-ietf-cose-dilithium (ML-DSA).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keywheel.errors import UnsupportedOperation
from keywheel.keys.rows import Key
from keywheel.keys.specs import SIGN

_CURVES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "secp256r1": ("P-256", "ES256"),
        "secp384r1": ("P-384", "ES384"),
        "secp521r1": ("P-521", "ES512"),
        "secp256k1": ("secp256k1", "ES256K"),
    }
)


def is_publishable(key: Key) -> bool:
    """Whether there is a JWK of the key."""
    return key.kind == "asymmetric" and not key.spec.startswith(("ML_KEM", "SM2"))


def of(key: Key, public: bytes) -> dict[str, str]:
    """The JWK of the key `public` (DER), whose `kid` is the key's id.

    Raises:
        UnsupportedOperation: there is none for such keys.
    """
    common = {"kid": key.key_id, "use": "sig" if key.usage == SIGN else "enc"}
    if key.spec.startswith("ML_DSA_"):
        raw: bytes = load_der_public_key(public).public_bytes_raw()  # type: ignore[union-attr] # an ML-DSA key has it
        return {"kty": "AKP", **common, "alg": key.spec.replace("_", "-"), "pub": _text(raw)}
    loaded = load_der_public_key(public)
    match loaded:
        case rsa.RSAPublicKey():
            # No `alg`: an RSA key does several.
            numbers = loaded.public_numbers()
            return {"kty": "RSA", **common, "n": _number(numbers.n), "e": _number(numbers.e)}
        case ec.EllipticCurvePublicKey():
            curve, algorithm = _CURVES[loaded.curve.name]
            point = loaded.public_numbers()
            size = (loaded.curve.key_size + 7) // 8
            signing = {"alg": algorithm} if key.usage == SIGN else {}
            return {
                "kty": "EC",
                **common,
                **signing,
                "crv": curve,
                "x": _number(point.x, size),
                "y": _number(point.y, size),
            }
        case ed25519.Ed25519PublicKey():
            return {"kty": "OKP", **common, "alg": "EdDSA", "crv": "Ed25519", "x": _text(loaded.public_bytes_raw())}
    raise UnsupportedOperation(f"There is no JSON Web Key of a key of spec {key.spec}.")


def _number(number: int, size: int = 0) -> str:
    """Big-endian; an RSA number in as few bytes as it takes, a coordinate in as many as its field has."""
    return _text(number.to_bytes(size or (number.bit_length() + 7) // 8))


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
