"""Keys and signatures that standards print: imported, used, and the same to the last byte."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from keywheel.keys import algorithms
from tests.conformance.server import refusal
from tests.known_answers.bench import Bench

SIGN = "SIGN_VERIFY"
# RFC 8032, section 7.1, tests 2 and 3: seed, public key, message, signature. (KMS signs no empty message.)
ED25519 = {
    "TEST 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
}
# RFC 6979, A.2.5: the private number, both coordinates of its point, and the signature of "sample" with SHA-256.
NUMBER = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
POINT = (
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
R = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
S = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


@pytest.mark.parametrize("name", ED25519)
def test_ed25519_signs_as_rfc_8032_prints(bench: Bench, name: str) -> None:
    """One message has one signature."""
    seed, public, message, signature = (bytes.fromhex(text) for text in ED25519[name])
    key_id = bench.imported("ECC_NIST_EDWARDS25519", SIGN, bytes.fromhex("302e020100300506032b657004220420") + seed)
    assert bench.public(key_id)[-32:] == public
    this = {"KeyId": key_id, "SigningAlgorithm": "ED25519_SHA_512", "Message": message}
    assert bench.kms.sign(**this)["Signature"] == signature
    assert bench.kms.verify(Signature=signature, **this)["SignatureValid"] is True


def test_ecdsa_takes_the_signature_of_rfc_6979(bench: Bench) -> None:
    """In DER; not as two numbers, and not with the numbers exchanged."""
    private = algorithms.private_der(ec.derive_private_key(NUMBER, ec.SECP256R1()))
    key_id = bench.imported("ECC_NIST_P256", SIGN, private)
    assert bench.public(key_id)[-64:].hex() == POINT
    this = {"KeyId": key_id, "SigningAlgorithm": "ECDSA_SHA_256", "Message": b"sample"}
    assert bench.kms.verify(Signature=encode_dss_signature(R, S), **this)["SignatureValid"] is True
    for wrong in (encode_dss_signature(S, R), R.to_bytes(32) + S.to_bytes(32)):
        assert refusal(bench.kms.verify, Signature=wrong, **this) == ("KMSInvalidSignatureException", "")
