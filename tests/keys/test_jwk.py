"""Public keys as JSON Web Keys, verified from their numbers."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from keywheel.db.statement import Tx
from keywheel.errors import UnsupportedOperation
from keywheel.keys import algorithms, jwk
from keywheel.keys.keyring import Key
from keywheel.server import House
from tests.keys.test_trial import made
from tests.support import jwks

SIGNING = ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"]


@pytest.mark.parametrize("spec", [*SIGNING, "ML_DSA_44", "ML_DSA_65", "ML_DSA_87"])
def test_a_signature_verifies_by_the_jwk_alone(house: House, spec: str) -> None:
    """Its `kid` is the key's id."""
    key = made(house, house.keys.draft(spec, "SIGN_VERIFY"))
    with house.rooms.database.read() as tx:
        document = jwk.of(key, house.keys.signatures.public_key(tx, key))
        signature = house.keys.signatures.sign(tx, key, b"message", _first(key))
    assert (document["kid"], document["use"]) == (key.key_id, "sig")
    jwks.verify(document, signature, b"message")


def _first(key: Key) -> str:
    return key.algorithms[0]


def test_a_coordinate_has_all_its_octets(house: House) -> None:
    """Also where it begins with zeros: 1 of 256 does, and RFC 7518 wants them."""
    key = made(house, house.keys.draft("ECC_NIST_P521", "SIGN_VERIFY"))
    small = next(
        public
        for public in (ec.derive_private_key(n, ec.SECP521R1()).public_key() for n in range(1, 2000))
        if public.public_numbers().x < 1 << 512
    )
    document = jwk.of(key, algorithms.public_der(small))
    assert [len(jwks.octets(document[name])) for name in ("x", "y")] == [66, 66]


@pytest.mark.parametrize(
    ("spec", "usage", "expected"),
    [
        ("RSA_2048", "ENCRYPT_DECRYPT", {"kty": "RSA", "use": "enc"}),
        ("ECC_NIST_P256", "KEY_AGREEMENT", {"kty": "EC", "use": "enc"}),
        ("ECC_NIST_P256", "SIGN_VERIFY", {"kty": "EC", "use": "sig", "alg": "ES256"}),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", {"kty": "OKP", "use": "sig", "alg": "EdDSA"}),
    ],
)
def test_what_a_key_is_for_is_said(house: House, spec: str, usage: str, expected: dict[str, str]) -> None:
    """And its algorithm, where it has but one."""
    key = made(house, house.keys.draft(spec, usage))

    def told(tx: Tx) -> dict[str, str]:
        return jwk.of(key, house.keys.signatures.public_key(tx, key))

    with house.rooms.database.read() as tx:
        document = told(tx)
    assert {name: document.get(name) for name in ("kty", "use", "alg") if name in document} == expected


def test_a_key_without_a_jwk_says_so(house: House) -> None:
    """ML-KEM has none yet, a secret key never."""
    key = made(house, house.keys.draft("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"))
    assert not jwk.is_publishable(key)
    assert not jwk.is_publishable(made(house, house.keys.draft("HMAC_256", "GENERATE_VERIFY_MAC")))
    with house.rooms.database.read() as tx, pytest.raises(UnsupportedOperation):
        jwk.of(key, house.keys.signatures.public_key(tx, key))
