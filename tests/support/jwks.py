"""Verify a signature with nothing but a JSON Web Key, as somebody else's library does."""

from __future__ import annotations

import base64
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

_CURVES = {
    "P-256": (ec.SECP256R1(), hashes.SHA256()),
    "P-384": (ec.SECP384R1(), hashes.SHA384()),
    "P-521": (ec.SECP521R1(), hashes.SHA512()),
    "secp256k1": (ec.SECP256K1(), hashes.SHA256()),
}
_LATTICES: dict[str, type[Any]] = {
    "ML-DSA-44": mldsa.MLDSA44PublicKey,
    "ML-DSA-65": mldsa.MLDSA65PublicKey,
    "ML-DSA-87": mldsa.MLDSA87PublicKey,
}


def verify(jwk: dict[str, Any], signature: bytes, message: bytes) -> None:
    """Raises: InvalidSignature. RSA: PSS with SHA-256, the salt as long as the hash."""
    match jwk["kty"]:
        case "RSA":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key().verify(
                signature, message, pss, hashes.SHA256()
            )
        case "EC":
            curve, digest = _CURVES[jwk["crv"]]
            key = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve).public_key()
            key.verify(signature, message, ec.ECDSA(digest))
        case "OKP":
            ed25519.Ed25519PublicKey.from_public_bytes(octets(jwk["x"])).verify(signature, message)
        case "AKP":
            _LATTICES[jwk["alg"]].from_public_bytes(octets(jwk["pub"])).verify(signature, message)
        case other:
            raise AssertionError(f"no verifier knows {other}")


def octets(text: str) -> bytes:
    """The octets of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(octets(text))
