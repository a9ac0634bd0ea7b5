"""Encrypt, decrypt, re-encrypt, data keys."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keywheel.errors import CallerError, UnsupportedOperation, ValidationFailed
from keywheel.keys import ciphertext
from keywheel.keys.ciphers import Destination, Source
from keywheel.keys.errors import IncorrectKey, InvalidCiphertext, InvalidKeyUsage, KeyDisabled, KeyInvalidState
from keywheel.keys.keyring import Key
from tests.keys.ring import HERE, THERE, Ring

CONTEXT = {"Department": "10103.0", "Purpose": "Test"}
OAEP = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
OTHER_KEY = "The key ID in the request does not identify a CMK that can perform this operation."


# --- symmetric encryption ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4096])
def test_what_was_encrypted_is_decrypted(ring: Ring, size: int) -> None:
    """The ciphertext names its key and its key material; after a restart, too."""
    key = ring.make()
    blob = ring.encrypt(key, b"x" * size, CONTEXT)
    for _ in range(2):
        assert ring.decrypt(blob, CONTEXT) == b"x" * size
        opened = ring.open(key, blob, CONTEXT)
        assert (opened.plaintext.reveal(), opened.material_id) == (b"x" * size, key.material_id)
        ring.restart()


def test_the_same_plaintext_never_has_the_same_ciphertext(quick: Ring) -> None:
    """Under the same key and context."""
    key = quick.make()
    assert quick.encrypt(key, b"x") != quick.encrypt(key, b"x")


@pytest.mark.parametrize(
    "context",
    [{}, {"Department": "10103.0"}, {**CONTEXT, "Purpose": "test"}, {**CONTEXT, "More": ""}, {"department": "10103.0"}],
)
def test_another_context_does_not_open(quick: Ring, context: dict[str, str]) -> None:
    """It must be exactly the same; and it is not said what is wrong."""
    blob = quick.encrypt(quick.make(), b"x", CONTEXT)
    with pytest.raises(InvalidCiphertext) as caught:
        quick.decrypt(blob, context)
    assert caught.value.message == ""


def test_the_order_of_a_context_does_not_matter(quick: Ring) -> None:
    """The same pairs are the same context."""
    blob = quick.encrypt(quick.make(), b"x", CONTEXT)
    assert quick.decrypt(blob, dict(reversed(CONTEXT.items()))) == b"x"


def test_the_ciphertext_of_another_key_is_said_to_be_that(ring: Ring) -> None:
    """Whatever kind of key is named instead."""
    key = ring.make()
    blob = ring.encrypt(key, b"x")
    others = [ring.make(), ring.make("HMAC_256", "GENERATE_VERIFY_MAC"), ring.make("ECC_NIST_P256", "SIGN_VERIFY")]
    for other in others:
        with pytest.raises(IncorrectKey) as caught:
            ring.open(other, blob)
        assert caught.value.message == OTHER_KEY


def test_a_ciphertext_of_another_region_is_not_known_here(quick: Ring) -> None:
    """Its key does not exist here."""
    key = quick.make(scope=THERE)
    with quick.database.read() as tx:
        blob = quick.keys.ciphers.generate_data_key(tx, key, {}, 32).blob
        assert quick.keys.of_ciphertext(tx, THERE, blob, now=quick.now) == key
        with pytest.raises(InvalidCiphertext):
            quick.keys.of_ciphertext(tx, HERE, blob, now=quick.now)


def test_the_blob_of_an_older_keywheel_opens(ring: Ring) -> None:
    """That of a secret's data key: the format and the label of the backing key have not changed."""
    key = ring.make()
    with ring.database.read() as tx:
        plain, blob = ring.keys.generate_data_key(tx, key, ciphertext.context_bytes(CONTEXT))
    assert blob[0] == 1
    assert ring.decrypt(blob, CONTEXT) == plain.reveal()


@pytest.fixture
def encrypted(quick: Ring) -> tuple[Key, bytes]:
    """A key and a ciphertext of it."""
    key = quick.make()
    return key, quick.encrypt(key, b"a secret", CONTEXT)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_fuzzed_ciphertext_is_an_invalid_ciphertext(
    quick: Ring, encrypted: tuple[Key, bytes], data: st.DataObject
) -> None:
    """Never a crash, and never another plaintext, with and without the key's name."""
    key, blob = encrypted
    spoiled = data.draw(
        st.binary(max_size=200)
        | st.builds(lambda head, rest: head + rest, st.just(blob[:21]), st.binary(max_size=80))
        | st.integers(0, len(blob) - 1).flatmap(
            lambda place: st.integers(1, 255).map(
                lambda bits: blob[:place] + bytes([blob[place] ^ bits]) + blob[place + 1 :]
            )
        )
        | st.integers(0, len(blob) - 1).map(lambda length: blob[:length])
        | st.binary(min_size=1, max_size=9).map(lambda more: blob + more)
    )
    for call in (lambda: quick.decrypt(spoiled, CONTEXT), lambda: quick.open(key, spoiled, CONTEXT)):
        with pytest.raises(InvalidCiphertext) as caught:
            call()
        assert caught.value.message == ""


# --- RSA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", OAEP)
def test_rsa_decrypts_what_it_encrypted(quick: Ring, algorithm: str) -> None:
    """By the same algorithm; there is no key material to name."""
    key = quick.make("RSA_2048", "ENCRYPT_DECRYPT")
    blob = quick.encrypt(key, b"x" * 190, algorithm=algorithm)
    assert len(blob) == 256
    opened = quick.open(key, blob, algorithm=algorithm)
    assert (opened.plaintext.reveal(), opened.material_id) == (b"x" * 190, None)
    other = next(name for name in OAEP if name != algorithm)
    for spoiled, by in ((blob, other), (blob[:-1], algorithm), (b"", algorithm), (b"x" * 256, algorithm)):
        with pytest.raises(InvalidCiphertext):
            quick.open(key, spoiled, algorithm=by)


@pytest.mark.parametrize("algorithm", OAEP)
def test_rsa_decrypts_what_openssl_encrypted(quick: Ring, algorithm: str, tmp_path: Path) -> None:
    """With the public key, by the same hash for the mask and an empty label."""
    key = quick.make("RSA_2048", "ENCRYPT_DECRYPT")
    (tmp_path / "public.der").write_bytes(quick.public(key))
    digest = f"sha{algorithm.removeprefix('RSAES_OAEP_SHA_')}"
    command: list[str | Path] = [
        "openssl",
        "pkeyutl",
        "-encrypt",
        "-pubin",
        "-keyform",
        "DER",
        "-inkey",
        tmp_path / "public.der",
    ]
    options = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}"]
    for option in options:
        command += ["-pkeyopt", option]
    blob = subprocess.run(command, input=b"a secret", capture_output=True, check=True).stdout
    assert quick.open(key, blob, algorithm=algorithm).plaintext.reveal() == b"a secret"


def test_rsa_takes_no_context(quick: Ring) -> None:
    """There is nothing that would authenticate it."""
    key = quick.make("RSA_2048", "ENCRYPT_DECRYPT")
    with pytest.raises(ValidationFailed, match="encryption context"):
        quick.encrypt(key, b"x", CONTEXT, algorithm=OAEP[0])


# --- what is refused -----------------------------------------------------------------------------------------------


def test_too_much_is_refused(quick: Ring) -> None:
    """In the words of AWS KMS."""
    key = quick.make("RSA_2048", "ENCRYPT_DECRYPT")
    with pytest.raises(ValidationFailed) as caught:
        quick.encrypt(key, b"x" * 191, algorithm="RSAES_OAEP_SHA_256")
    assert caught.value.message == (
        "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes."
    )
    with pytest.raises(ValidationFailed):
        quick.encrypt(quick.make(), b"x" * 4097)


def test_a_key_for_something_else_is_refused(quick: Ring) -> None:
    """By its usage, and by the algorithm."""
    signing = quick.make("RSA_2048", "SIGN_VERIFY")
    with pytest.raises(InvalidKeyUsage) as caught:
        quick.encrypt(signing, b"x", algorithm=OAEP[0])
    assert caught.value.message == f"{signing.arn} key usage is SIGN_VERIFY which is not valid for Encrypt."
    with pytest.raises(InvalidKeyUsage, match="not valid for Decrypt"):
        quick.open(signing, b"x", algorithm=OAEP[0])
    with pytest.raises(InvalidKeyUsage, match="Algorithm RSAES_OAEP_SHA_1 is incompatible with key spec SYMMETRIC"):
        quick.encrypt(quick.make(), b"x", algorithm=OAEP[0])


@pytest.mark.parametrize(
    ("leave", "error", "text"),
    [
        (Ring.disable, KeyDisabled, "{} is disabled."),
        (Ring.schedule, KeyInvalidState, "{} is pending deletion."),
    ],
)
def test_a_key_that_left_its_state_does_nothing(
    ring: Ring, leave: Callable[[Ring, Key], Key], error: type[CallerError], text: str
) -> None:
    """From the next request on."""
    key, other = ring.make(), ring.make()
    blob, others = ring.encrypt(key, b"x"), ring.encrypt(other, b"x")
    leave(ring, key)
    left, ciphers, text = ring.find(key), ring.keys.ciphers, text.format(key.arn)
    with ring.database.read() as tx:
        for call in (
            lambda: ciphers.generate_data_key(tx, left, {}, 32),
            lambda: ciphers.generate_data_key_pair(tx, left, {}, "ECC_NIST_P256"),
            lambda: ciphers.re_encrypt(tx, Source(left, blob), Destination(other)),
            lambda: ciphers.re_encrypt(tx, Source(other, others), Destination(left)),
        ):
            with pytest.raises(error) as caught:
                call()
            assert caught.value.message == text
    for request in (lambda: ring.encrypt(key, b"x"), lambda: ring.open(key, blob), lambda: ring.decrypt(blob)):
        with pytest.raises(error) as caught:
            request()
        assert caught.value.message == text


# --- re-encrypt ----------------------------------------------------------------------------------------------------


def test_a_ciphertext_moves_to_another_key_and_context(ring: Ring) -> None:
    """And both key materials are named."""
    one, other = ring.make(), ring.make()
    blob = ring.encrypt(one, b"x", CONTEXT)
    with ring.database.read() as tx:
        moved = ring.keys.ciphers.re_encrypt(tx, Source(one, blob, CONTEXT), Destination(other, {"a": "b"}))
    assert ring.open(other, moved.blob, {"a": "b"}).plaintext.reveal() == b"x"
    assert (moved.source_material_id, moved.destination_material_id) == (one.material_id, other.material_id)


def test_a_ciphertext_moves_between_algorithms(quick: Ring) -> None:
    """From a symmetric key to RSA and back; what RSA cannot hold is refused."""
    symmetric, rsa = quick.make(), quick.make("RSA_2048", "ENCRYPT_DECRYPT")
    short, long = quick.encrypt(symmetric, b"x"), quick.encrypt(symmetric, b"x" * 191)
    ciphers, to_rsa = quick.keys.ciphers, Destination(rsa, algorithm=OAEP[1])
    with quick.database.read() as tx:
        there = ciphers.re_encrypt(tx, Source(symmetric, short), to_rsa)
        back = ciphers.re_encrypt(tx, Source(rsa, there.blob, algorithm=OAEP[1]), Destination(symmetric))
        with pytest.raises(ValidationFailed, match="cannot encrypt data larger than 190 bytes"):
            ciphers.re_encrypt(tx, Source(symmetric, long), to_rsa)
    assert (there.source_material_id, there.destination_material_id) == (symmetric.material_id, None)
    assert quick.decrypt(back.blob) == b"x"


# --- data keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 16, 32, 1024])
def test_a_data_key_is_given_in_plain_and_encrypted(ring: Ring, length: int) -> None:
    """The blob opens like any other one."""
    key = ring.make()
    with ring.database.read() as tx:
        made = ring.keys.ciphers.generate_data_key(tx, key, CONTEXT, length)
    assert len(made.plaintext.reveal()) == length
    assert (ring.decrypt(made.blob, CONTEXT), made.material_id) == (made.plaintext.reveal(), key.material_id)


@pytest.mark.parametrize(
    "spec",
    [
        "RSA_2048",
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "ECC_NIST_EDWARDS25519",
        "ML_KEM_768",
        "ML_KEM_1024",
    ],
)
def test_openssl_reads_a_data_key_pair(quick: Ring, spec: str, tmp_path: Path) -> None:
    """The private half as PKCS #8, the public half as SubjectPublicKeyInfo, and they belong together."""
    key = quick.make()
    with quick.database.read() as tx:
        pair = quick.keys.ciphers.generate_data_key_pair(tx, key, CONTEXT, spec)
    assert quick.decrypt(pair.blob, CONTEXT) == pair.private.reveal()
    assert pair.material_id == key.material_id
    if spec.startswith("ML_"):
        return  # the openssl of many systems knows none
    (tmp_path / "private.der").write_bytes(pair.private.reveal())
    command: list[str | Path] = [
        "openssl",
        "pkey",
        "-inform",
        "DER",
        "-in",
        tmp_path / "private.der",
        "-pubout",
        "-outform",
        "DER",
    ]
    assert subprocess.run(command, capture_output=True, check=True).stdout == pair.public


@pytest.mark.parametrize("spec", ["SM2", "ML_KEM_512"])
def test_a_data_key_pair_that_cannot_be_made_is_refused(quick: Ring, spec: str) -> None:
    """By its name."""
    key = quick.make()
    with quick.database.read() as tx, pytest.raises(UnsupportedOperation, match=spec):
        quick.keys.ciphers.generate_data_key_pair(tx, key, {}, spec)


def test_only_a_symmetric_key_makes_data_keys(quick: Ring) -> None:
    """RSA encrypts, and does not make any."""

    def make(key: Key) -> None:
        with quick.database.read() as tx:
            quick.keys.ciphers.generate_data_key(tx, key, {}, 32)

    with pytest.raises(InvalidKeyUsage, match="key spec is RSA_2048 which is not valid for GenerateDataKey"):
        make(quick.make("RSA_2048", "ENCRYPT_DECRYPT"))
    with pytest.raises(InvalidKeyUsage, match="key usage is GENERATE_VERIFY_MAC which is not valid for GenerateData"):
        make(quick.make("HMAC_256", "GENERATE_VERIFY_MAC"))


def test_random_bytes_are_as_many_as_asked_for(quick: Ring) -> None:
    """And other ones each time."""
    one, other = quick.keys.ciphers.random(32), quick.keys.ciphers.random(32)
    assert (len(one.reveal()), one == other) == (32, False)
