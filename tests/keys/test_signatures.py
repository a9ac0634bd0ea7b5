"""Sign, verify, MACs, shared secrets, encapsulation. OpenSSL's own program is the other party where it can be."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keywheel.errors import UnsupportedOperation, ValidationFailed
from keywheel.keys import algorithms
from keywheel.keys.errors import InvalidCiphertext, InvalidKeyUsage, KeyDisabled, KeyInvalidMac, KeyInvalidSignature
from keywheel.keys.specs import SPECS
from tests.keys.ring import Ring

MESSAGE = b"a message"
SIGNING = [
    (name, algorithm)
    for name, spec in SPECS.items()
    if spec.served and name not in ("RSA_3072", "RSA_4096")
    for algorithm in spec.algorithms("SIGN_VERIFY")
]
HASHED = [(spec, algorithm) for spec, algorithm in SIGNING if not spec.startswith("ML_") and "25519" not in spec]
AGREEING = ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"]


def digest(algorithm: str) -> str:
    return f"sha{algorithm[-3:]}"


def openssl(*arguments: str | Path) -> bool:
    """Whether the program is content."""
    return subprocess.run(["openssl", *arguments], capture_output=True).returncode == 0


# --- signatures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_a_signature_verifies_and_no_other_one(quick: Ring, spec: str, algorithm: str) -> None:
    """Another message, another key, a bit of the signature or its length: each is refused, without a word."""
    key, other = quick.make(spec, "SIGN_VERIFY"), quick.make(spec, "SIGN_VERIFY")
    signature = quick.sign(key, MESSAGE, algorithm)
    quick.verify(key, MESSAGE, signature, algorithm)
    flipped = signature[:-1] + bytes([signature[-1] ^ 1])
    for where, message, given in (
        (key, b"another message", signature),
        (key, MESSAGE, flipped),
        (key, MESSAGE, signature[:-1]),
        (key, MESSAGE, b""),
        (other, MESSAGE, signature),
    ):
        with pytest.raises(KeyInvalidSignature) as caught:
            quick.verify(where, message, given, algorithm)
        assert caught.value.message == ""


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
def test_openssl_verifies_a_signature(quick: Ring, spec: str, algorithm: str, tmp_path: Path) -> None:
    """With the public key; a salt of PSS is as long as the digest, and the mask has the same hash."""
    key = quick.make(spec, "SIGN_VERIFY")
    public, message, signature = tmp_path / "public.der", tmp_path / "message", tmp_path / "signature"
    public.write_bytes(quick.public(key))
    message.write_bytes(MESSAGE)
    signature.write_bytes(quick.sign(key, MESSAGE, algorithm))
    options: list[str | Path] = ["-keyform", "DER", "-verify", public, "-signature", signature]
    if "PSS" in algorithm:
        options += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    assert openssl("dgst", f"-{digest(algorithm)}", *options, message)
    message.write_bytes(b"another message")
    assert not openssl("dgst", f"-{digest(algorithm)}", *options, message)


def test_openssl_verifies_a_signature_of_ed25519(quick: Ring, tmp_path: Path) -> None:
    """Of the message itself."""
    key = quick.make("ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
    public, message, signature = tmp_path / "public.der", tmp_path / "message", tmp_path / "signature"
    public.write_bytes(quick.public(key))
    message.write_bytes(MESSAGE)
    signature.write_bytes(quick.sign(key, MESSAGE, "ED25519_SHA_512"))
    command: list[str | Path] = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-keyform",
        "DER",
        "-inkey",
        public,
        "-rawin",
        "-in",
        message,
    ]
    assert openssl(*command, "-sigfile", signature)
    message.write_bytes(b"another message")
    assert not openssl(*command, "-sigfile", signature)


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
def test_a_message_and_its_digest_are_signed_alike(quick: Ring, spec: str, algorithm: str) -> None:
    """What one made verifies as the other."""
    key, hashed = quick.make(spec, "SIGN_VERIFY"), hashlib.new(digest(algorithm), MESSAGE).digest()
    quick.verify(key, hashed, quick.sign(key, MESSAGE, algorithm), algorithm, "DIGEST")
    quick.verify(key, MESSAGE, quick.sign(key, hashed, algorithm, "DIGEST"), algorithm)


@pytest.mark.parametrize(("spec", "algorithm"), HASHED)
def test_a_digest_of_another_length_is_refused(quick: Ring, spec: str, algorithm: str) -> None:
    """When it is to be signed, and when it is to be verified."""
    key = quick.make(spec, "SIGN_VERIFY")
    for call in (
        lambda: quick.sign(key, b"x" * 31, algorithm, "DIGEST"),
        lambda: quick.verify(key, b"x" * 31, b"x", algorithm, "DIGEST"),
    ):
        with pytest.raises(ValidationFailed) as caught:
            call()
        assert caught.value.message == f"Digest is invalid length for algorithm {algorithm}."


@pytest.mark.parametrize(
    ("spec", "algorithm", "message_type"),
    [
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "DIGEST"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "EXTERNAL_MU"),
        ("ML_DSA_44", "ML_DSA_SHAKE_256", "DIGEST"),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "EXTERNAL_MU"),
    ],
)
def test_a_message_type_that_the_algorithm_has_not_is_refused(
    quick: Ring, spec: str, algorithm: str, message_type: str
) -> None:
    """Instead of being signed as something else."""
    key = quick.make(spec, "SIGN_VERIFY")
    with pytest.raises(ValidationFailed, match=f"MessageType {message_type} is not valid for algorithm {algorithm}"):
        quick.sign(key, b"x" * 64, algorithm, message_type)


@pytest.mark.parametrize("size", ["44", "65", "87"])
def test_ml_dsa_signs_a_message_representative(quick: Ring, size: str) -> None:
    """FIPS 204: mu is SHAKE256 of the public key's hash, two zero bytes for an empty context, and the message."""
    key = quick.make(f"ML_DSA_{size}", "SIGN_VERIFY")
    raw = load_der_public_key(quick.public(key)).public_bytes_raw()  # type: ignore[union-attr] # it is one of ML-DSA
    mu = hashlib.shake_256(hashlib.shake_256(raw).digest(64) + b"\0\0" + MESSAGE).digest(64)
    quick.verify(key, MESSAGE, quick.sign(key, mu, "ML_DSA_SHAKE_256", "EXTERNAL_MU"), "ML_DSA_SHAKE_256")
    quick.verify(key, mu, quick.sign(key, MESSAGE, "ML_DSA_SHAKE_256"), "ML_DSA_SHAKE_256", "EXTERNAL_MU")
    with pytest.raises(KeyInvalidSignature):
        quick.verify(key, b"x" * 64, quick.sign(key, MESSAGE, "ML_DSA_SHAKE_256"), "ML_DSA_SHAKE_256", "EXTERNAL_MU")


def test_a_signature_outlives_a_restart(ring: Ring) -> None:
    """The key pair is in the store, the private half under the root key."""
    key = ring.make("ECC_NIST_P256", "SIGN_VERIFY")
    signature = ring.sign(key, MESSAGE, "ECDSA_SHA_256")
    public = ring.public(key)
    ring.restart()
    assert ring.public(key) == public
    ring.verify(key, MESSAGE, signature, "ECDSA_SHA_256")
    ring.verify(key, MESSAGE, ring.sign(key, MESSAGE, "ECDSA_SHA_256"), "ECDSA_SHA_256")


def test_no_column_holds_a_private_key(ring: Ring) -> None:
    """PKCS #8 has a prefix by which it would be seen."""
    ring.make("ECC_NIST_P256", "SIGN_VERIFY")
    with ring.database.read() as tx:
        sealed, public = tx.execute("SELECT sealed, public FROM backing_key", ()).fetchone()
    prefix = algorithms.private_der(ec.generate_private_key(ec.SECP256R1()))[:20]
    assert prefix not in bytes(sealed)
    assert prefix not in bytes(public)
    load_der_public_key(bytes(public))


# --- MACs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", ["224", "256", "384", "512"])
def test_a_mac_verifies_and_no_other_one(quick: Ring, bits: str) -> None:
    """Another message, another key, a bit of the MAC or a part of it: each is refused, without a word."""
    key, other = (quick.make(f"HMAC_{bits}", "GENERATE_VERIFY_MAC") for _ in range(2))
    algorithm = f"HMAC_SHA_{bits}"
    mac = quick.mac(key, MESSAGE, algorithm)
    assert len(mac) == int(bits) // 8
    signatures = quick.keys.signatures
    quick.use(key, lambda tx, found: signatures.verify_mac(tx, found, MESSAGE, mac, algorithm))
    for where, message, given in (
        (key, b"another message", mac),
        (key, MESSAGE, mac[:-1]),
        (key, MESSAGE, mac[:-1] + bytes([mac[-1] ^ 1])),
        (key, MESSAGE, b""),
        (other, MESSAGE, mac),
    ):
        with pytest.raises(KeyInvalidMac) as caught:
            quick.use(
                where,
                lambda tx, found, message=message, given=given: signatures.verify_mac(  # type: ignore[misc]
                    tx, found, message, given, algorithm
                ),
            )
        assert caught.value.message == ""


# --- shared secrets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", AGREEING)
def test_two_keys_agree_on_a_secret(quick: Ring, spec: str) -> None:
    """Each by the public half of the other, and so does whoever has only a library."""
    one, other = (quick.make(spec, "KEY_AGREEMENT") for _ in range(2))

    def derive(key: object, public: bytes) -> bytes:
        return quick.use(
            key,  # type: ignore[arg-type] # a key
            lambda tx, found: quick.keys.signatures.derive(tx, found, public).reveal(),
        )

    secret = derive(one, quick.public(other))
    assert secret == derive(other, quick.public(one))
    stranger = ec.generate_private_key(algorithms.CURVES[spec])
    theirs = algorithms.public_der(stranger.public_key())
    ours = load_der_public_key(quick.public(one))
    assert isinstance(ours, ec.EllipticCurvePublicKey)
    assert derive(one, theirs) == stranger.exchange(ec.ECDH(), ours)
    assert derive(one, theirs) != secret


def test_a_peer_that_is_none_is_refused(quick: Ring) -> None:
    """Another curve, another kind of key, a point that is not on the curve, and no key at all."""
    key = quick.make("ECC_NIST_P256", "KEY_AGREEMENT")
    public = quick.public(key)
    elsewhere = public[:-1] + bytes([public[-1] ^ 1])
    larger = quick.public(quick.make("ECC_NIST_P384", "KEY_AGREEMENT"))
    for peer in (larger, quick.public(quick.make("RSA_2048", "SIGN_VERIFY")), elsewhere, b"", b"x", public[:-1]):
        with pytest.raises(ValidationFailed, match="public key is not"):
            quick.use(key, lambda tx, found, peer=peer: quick.keys.signatures.derive(tx, found, peer))  # type: ignore[misc]


@pytest.mark.parametrize(("spec", "length"), [("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)])
def test_a_secret_is_encapsulated(quick: Ring, spec: str, length: int) -> None:
    """32 bytes; a spoiled ciphertext gives other ones, one of another length is refused."""
    key, signatures = quick.make(spec, "ENCAPSULATE_DECAPSULATE"), quick.keys.signatures
    made = quick.use(key, signatures.encapsulate)
    assert (len(made.secret.reveal()), len(made.ciphertext)) == (32, length)

    def opened(ciphertext: bytes) -> bytes:
        return quick.use(key, lambda tx, found: signatures.decapsulate(tx, found, ciphertext).reveal())

    assert opened(made.ciphertext) == made.secret.reveal()
    spoiled = bytes([made.ciphertext[0] ^ 1]) + made.ciphertext[1:]
    assert len(opened(spoiled)) == 32
    assert opened(spoiled) != made.secret.reveal()
    for wrong in (b"", made.ciphertext[:-1], made.ciphertext + b"x"):
        with pytest.raises(InvalidCiphertext):
            opened(wrong)


# --- what is refused -----------------------------------------------------------------------------------------------


def test_a_key_for_something_else_is_refused(quick: Ring) -> None:
    """By its usage, and by the algorithm."""
    mac, agreeing = quick.make("HMAC_256", "GENERATE_VERIFY_MAC"), quick.make("ECC_NIST_P256", "KEY_AGREEMENT")
    with pytest.raises(InvalidKeyUsage) as caught:
        quick.sign(agreeing, MESSAGE, "ECDSA_SHA_256")
    assert caught.value.message == f"{agreeing.arn} key usage is KEY_AGREEMENT which is not valid for Sign."
    with pytest.raises(InvalidKeyUsage) as caught:
        quick.mac(mac, MESSAGE, "HMAC_SHA_512")
    assert caught.value.message == "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256."
    with pytest.raises(InvalidKeyUsage, match="not valid for GenerateMac"):
        quick.mac(quick.make(), MESSAGE, "HMAC_SHA_256")
    with pytest.raises(InvalidKeyUsage, match="not valid for Verify"):
        quick.verify(mac, MESSAGE, b"x", "ECDSA_SHA_256")
    with pytest.raises(UnsupportedOperation, match="ED25519_PH_SHA_512"):
        quick.sign(quick.make("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"), b"x" * 64, "ED25519_PH_SHA_512", "DIGEST")


def test_a_disabled_key_does_nothing(quick: Ring) -> None:
    """Nor is its public half told."""
    pair, mac = quick.make("ECC_NIST_P256", "SIGN_VERIFY"), quick.make("HMAC_256", "GENERATE_VERIFY_MAC")
    signature = quick.sign(pair, MESSAGE, "ECDSA_SHA_256")
    for key in (pair, mac):
        quick.disable(key)
    for call in (
        lambda: quick.sign(pair, MESSAGE, "ECDSA_SHA_256"),
        lambda: quick.verify(pair, MESSAGE, signature, "ECDSA_SHA_256"),
        lambda: quick.public(pair),
        lambda: quick.mac(mac, MESSAGE, "HMAC_SHA_256"),
    ):
        with pytest.raises(KeyDisabled):
            call()


@pytest.mark.parametrize(("spec", "usage"), [(None, None), ("HMAC_256", "GENERATE_VERIFY_MAC")])
def test_only_a_key_pair_has_a_public_half(quick: Ring, spec: str | None, usage: str | None) -> None:
    """Another key is refused."""
    with pytest.raises(UnsupportedOperation, match="not an asymmetric key"):
        quick.public(quick.make(spec, usage))
