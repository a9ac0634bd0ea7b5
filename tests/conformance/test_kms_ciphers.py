"""Encryption and data keys over the wire."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from tests.conformance.server import Server, refusal
from tests.conformance.test_kms_keys import NOBODYS, arn, new

WRONG_KEY = (
    "IncorrectKeyException",
    "The key ID in the request does not identify a CMK that can perform this operation.",
)
SPOILED = ("InvalidCiphertextException", "")
WOULD_HAVE = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
CONTEXT = {"purpose": "test", "Größe": "", "a": "b"}


@pytest.fixture
def key(kms: Any) -> dict[str, Any]:
    """A symmetric encryption key of this test's own."""
    return new(kms)


@pytest.fixture(scope="session")
def rsa_key(server: Server) -> dict[str, Any]:
    """An RSA key for encryption, which takes a while to make."""
    return new(server.client(service="kms"), KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")


# --- encrypt, decrypt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 4096])
@pytest.mark.parametrize("context", [{}, CONTEXT], ids=["no context", "context"])
def test_what_was_encrypted_is_decrypted(kms: Any, key: dict[str, Any], size: int, context: dict[str, str]) -> None:
    """With the key's id or without; the answers name the key and its material."""
    plaintext = bytes(range(256)) * 16
    sealed = kms.encrypt(KeyId=key["KeyId"], Plaintext=plaintext[:size], EncryptionContext=context)
    assert (sealed["KeyId"], sealed["EncryptionAlgorithm"]) == (key["Arn"], "SYMMETRIC_DEFAULT")
    assert plaintext[: min(size, 16)] not in sealed["CiphertextBlob"] or size == 1
    for named in ({}, {"KeyId": key["Arn"]}, {"EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}):
        opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=context, **named)
        assert opened["Plaintext"] == plaintext[:size]
        assert (opened["KeyId"], opened["EncryptionAlgorithm"]) == (key["Arn"], "SYMMETRIC_DEFAULT")
        assert opened["KeyMaterialId"] == key["CurrentKeyMaterialId"]


def test_the_order_of_a_context_does_not_matter_and_all_else_does(kms: Any, key: dict[str, Any]) -> None:
    """Another case, another value, a pair less or more: it does not open, and it is not said why."""
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    turned = dict(reversed(CONTEXT.items()))
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=turned)["Plaintext"] == b"x"
    for context in (
        {},
        {**CONTEXT, "a": "B"},
        {**CONTEXT, "more": ""},
        {name: value for name, value in CONTEXT.items() if name != "a"},
        {name.upper(): value for name, value in CONTEXT.items()},
        {"purpose": "test", "Größea": "b", "": ""},
    ):
        assert refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=context) == SPOILED


def test_a_spoiled_ciphertext_is_invalid(kms: Any, key: dict[str, Any]) -> None:
    """Whichever byte it is; and what was never one."""
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"plain")["CiphertextBlob"]
    spoiled = [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in range(0, len(blob), 3)]
    for wrong in (*spoiled, blob[:-1], blob + b"\0", b"x", bytes(6144), blob * 2):
        assert refusal(kms.decrypt, CiphertextBlob=wrong) == SPOILED
        assert refusal(kms.decrypt, CiphertextBlob=wrong, KeyId=key["KeyId"]) == SPOILED


def test_a_ciphertext_opens_under_its_own_key_only(kms: Any, key: dict[str, Any], rsa_key: dict[str, Any]) -> None:
    """Another symmetric key, an RSA key and an HMAC key are all the wrong one."""
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    mac = new(kms, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    for other in (new(kms), rsa_key, mac):
        assert refusal(kms.decrypt, CiphertextBlob=blob, KeyId=other["KeyId"]) == WRONG_KEY


def test_a_plaintext_has_1_to_4096_bytes_and_is_not_told(server: Server, key: dict[str, Any]) -> None:
    """What is refused does not quote it."""
    for size, bound in ((0, "greater than or equal to 1"), (4097, "less than or equal to 4096")):
        members = {"KeyId": key["KeyId"], "Plaintext": "eHh4" * (size // 3 + 1) if size else ""}
        answer = server.post("Encrypt", members, prefix="TrentService.", service="kms")
        assert answer.error == (
            "ValidationException",
            "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: "
            f"Member must have length {bound}",
        )
    answer = server.post("Decrypt", {"CiphertextBlob": "eHh4" * 2049}, prefix="TrentService.", service="kms")
    assert answer.error == (
        "ValidationException",
        "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=6147 cap=6147]' at 'ciphertextBlob' "
        "failed to satisfy constraint: Member must have length less than or equal to 6144",
    )


# --- RSA --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "most"), [("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)])
def test_rsa_encrypts_a_little(kms: Any, rsa_key: dict[str, Any], algorithm: str, most: int) -> None:
    """The ciphertext names no key, so that whoever decrypts has to."""
    named = {"KeyId": rsa_key["KeyId"], "EncryptionAlgorithm": algorithm}
    sealed = kms.encrypt(Plaintext=b"x" * most, **named)
    assert (sealed["KeyId"], sealed["EncryptionAlgorithm"]) == (rsa_key["Arn"], algorithm)
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], **named)
    assert (opened["Plaintext"], opened["KeyId"]) == (b"x" * most, rsa_key["Arn"])
    assert "KeyMaterialId" not in opened
    assert refusal(kms.encrypt, Plaintext=b"x" * (most + 1), **named) == (
        "ValidationException",
        f"Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {most} bytes.",
    )
    assert refusal(kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"][::-1], **named) == SPOILED
    assert refusal(kms.decrypt, CiphertextBlob=b"short", **named) == SPOILED
    refused = refusal(kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"], EncryptionAlgorithm=algorithm)
    assert refused[0] == "ValidationException"
    assert refusal(kms.decrypt, CiphertextBlob=sealed["CiphertextBlob"]) == SPOILED
    assert refusal(kms.encrypt, Plaintext=b"x", EncryptionContext={"a": "b"}, **named)[0] == "ValidationException"


def test_the_algorithm_must_be_the_keys(kms: Any, key: dict[str, Any], rsa_key: dict[str, Any]) -> None:
    """Symmetric keys and RSA keys have nothing in common."""
    assert refusal(kms.encrypt, KeyId=rsa_key["KeyId"], Plaintext=b"x") == (
        "InvalidKeyUsageException",
        "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.",
    )
    refused = refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    assert refused == (
        "InvalidKeyUsageException",
        "Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec SYMMETRIC_DEFAULT.",
    )


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("encrypt", {"Plaintext": b"x"}),
        ("generate_data_key", {"KeySpec": "AES_256"}),
        ("generate_data_key_without_plaintext", {"KeySpec": "AES_128"}),
        ("generate_data_key_pair", {"KeyPairSpec": "ECC_NIST_P256"}),
        ("generate_data_key_pair_without_plaintext", {"KeyPairSpec": "ECC_NIST_P256"}),
    ],
)
def test_a_key_that_signs_does_not_encrypt(kms: Any, operation: str, members: dict[str, Any]) -> None:
    """The text names its usage and the operation."""
    made = new(kms, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    name = "".join(part.title() for part in operation.split("_"))
    assert refusal(getattr(kms, operation), KeyId=made["KeyId"], **members) == (
        "InvalidKeyUsageException",
        f"{made['Arn']} key usage is SIGN_VERIFY which is not valid for {name}.",
    )


# --- re-encrypt -------------------------------------------------------------------------------------------------------


def test_a_ciphertext_moves_under_another_key_context_and_algorithm(
    kms: Any, key: dict[str, Any], rsa_key: dict[str, Any]
) -> None:
    """From one symmetric key to another, to RSA, and back."""
    other, oaep = new(kms), "RSAES_OAEP_SHA_256"
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext={"new": "one"},
    )  # fmt: skip
    blob = moved.pop("CiphertextBlob")
    moved.pop("ResponseMetadata")
    assert moved == {
        "SourceKeyId": key["Arn"],
        "KeyId": other["Arn"],
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "SourceKeyMaterialId": key["CurrentKeyMaterialId"],
        "DestinationKeyMaterialId": other["CurrentKeyMaterialId"],
    }
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"new": "one"})["Plaintext"] == b"x"
    moved = kms.re_encrypt(
        CiphertextBlob=blob, SourceKeyId=other["KeyId"], SourceEncryptionContext={"new": "one"},
        DestinationKeyId=rsa_key["KeyId"], DestinationEncryptionAlgorithm=oaep,
    )  # fmt: skip
    assert (moved["DestinationEncryptionAlgorithm"], "DestinationKeyMaterialId" in moved) == (oaep, False)
    back = kms.re_encrypt(
        CiphertextBlob=moved["CiphertextBlob"], SourceKeyId=rsa_key["KeyId"], SourceEncryptionAlgorithm=oaep,
        DestinationKeyId=key["KeyId"],
    )  # fmt: skip
    assert kms.decrypt(CiphertextBlob=back["CiphertextBlob"], KeyId=key["KeyId"])["Plaintext"] == b"x"


def test_what_cannot_be_opened_is_not_moved(kms: Any, key: dict[str, Any]) -> None:
    """Another context, another key, a key that is off."""
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    other = new(kms)
    to = {"CiphertextBlob": blob, "DestinationKeyId": other["KeyId"]}
    right = {**to, "SourceEncryptionContext": CONTEXT}
    assert refusal(kms.re_encrypt, **to) == SPOILED
    assert refusal(kms.re_encrypt, **right, SourceKeyId=other["KeyId"]) == WRONG_KEY
    assert refusal(kms.re_encrypt, **{**right, "DestinationKeyId": NOBODYS}) == (
        "NotFoundException",
        f"Key '{arn(NOBODYS)}' does not exist",
    )
    kms.disable_key(KeyId=other["KeyId"])
    assert refusal(kms.re_encrypt, **right) == ("DisabledException", f"{other['Arn']} is disabled.")
    kms.enable_key(KeyId=other["KeyId"])
    kms.disable_key(KeyId=key["KeyId"])
    assert refusal(kms.re_encrypt, **right) == ("DisabledException", f"{key['Arn']} is disabled.")


# --- data keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "length"),
    [
        ({"KeySpec": "AES_256"}, 32),
        ({"KeySpec": "AES_128"}, 16),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 1024}, 1024),
    ],
    ids=str,
)
def test_a_data_key_is_as_long_as_it_was_asked_for(
    kms: Any, key: dict[str, Any], asked: dict[str, Any], length: int
) -> None:
    """Its ciphertext opens to it, under the same context."""
    made = kms.generate_data_key(KeyId=key["KeyId"], EncryptionContext=CONTEXT, **asked)
    assert len(made["Plaintext"]) == length
    assert (made["KeyId"], made["KeyMaterialId"]) == (key["Arn"], key["CurrentKeyMaterialId"])
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["Plaintext"]
    hidden = kms.generate_data_key_without_plaintext(KeyId=key["KeyId"], EncryptionContext=CONTEXT, **asked)
    assert "Plaintext" not in hidden
    opened = kms.decrypt(CiphertextBlob=hidden["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert len(opened["Plaintext"]) == length
    assert refusal(kms.decrypt, CiphertextBlob=hidden["CiphertextBlob"]) == SPOILED


@pytest.mark.parametrize("asked", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}], ids=["neither", "both"])
def test_a_data_key_is_asked_for_in_one_way(kms: Any, key: dict[str, Any], asked: dict[str, Any]) -> None:
    """By its spec or by its length."""
    for call in (kms.generate_data_key, kms.generate_data_key_without_plaintext):
        refused = refusal(call, KeyId=key["KeyId"], **asked)
        assert refused == ("ValidationException", "Please specify either number of bytes or key spec.")


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("ECC_NIST_P256", ec.EllipticCurvePrivateKey),
        ("ECC_NIST_P384", ec.EllipticCurvePrivateKey),
        ("ECC_NIST_P521", ec.EllipticCurvePrivateKey),
        ("ECC_SECG_P256K1", ec.EllipticCurvePrivateKey),
        ("ECC_NIST_EDWARDS25519", ed25519.Ed25519PrivateKey),
        ("RSA_2048", rsa.RSAPrivateKey),
    ],
)
def test_a_data_key_pair_fits(kms: Any, key: dict[str, Any], spec: str, kind: type[Any]) -> None:
    """The private half is PKCS #8, the public one SubjectPublicKeyInfo, and they belong together."""
    made = kms.generate_data_key_pair(KeyId=key["KeyId"], KeyPairSpec=spec, EncryptionContext=CONTEXT)
    private: Any = load_der_private_key(made["PrivateKeyPlaintext"], None)
    assert isinstance(private, kind)
    assert private.public_key() == load_der_public_key(made["PublicKey"])
    assert (made["KeyId"], made["KeyPairSpec"]) == (key["Arn"], spec)
    assert made["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    opened = kms.decrypt(CiphertextBlob=made["PrivateKeyCiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["PrivateKeyPlaintext"]
    hidden = kms.generate_data_key_pair_without_plaintext(KeyId=key["KeyId"], KeyPairSpec=spec)
    assert "PrivateKeyPlaintext" not in hidden
    opened = kms.decrypt(CiphertextBlob=hidden["PrivateKeyCiphertextBlob"])
    private = load_der_private_key(opened["Plaintext"], None)
    assert private.public_key() == load_der_public_key(hidden["PublicKey"])


def test_a_data_key_pair_that_is_not_built_says_so(kms: Any, key: dict[str, Any]) -> None:
    """SM2 is for China, and answered."""
    refused = refusal(kms.generate_data_key_pair, KeyId=key["KeyId"], KeyPairSpec="SM2")
    assert refused[0] == "UnsupportedOperationException"


# --- random -----------------------------------------------------------------------------------------------------------


def test_random_bytes_are_as_many_as_were_asked_for(kms: Any) -> None:
    """1 to 1024, and each time others."""
    for size in (1, 32, 1024):
        assert len(kms.generate_random(NumberOfBytes=size)["Plaintext"]) == size
    drawn = {kms.generate_random(NumberOfBytes=32)["Plaintext"] for _ in range(5)}
    assert len(drawn) == 5
    assert refusal(kms.generate_random) == ("ValidationException", "NumberOfBytes is required.")
    for size in (0, 1025):
        assert refusal(kms.generate_random, NumberOfBytes=size)[0] == "ValidationException"
    refused = refusal(kms.generate_random, NumberOfBytes=1, CustomKeyStoreId="cks-1")
    assert refused[0] == "CustomKeyStoreNotFoundException"


# --- dry runs, enclaves -----------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_have_been(kms: Any, key: dict[str, Any]) -> None:
    """That it would have worked, or why not."""
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    this: dict[str, Any] = {"KeyId": key["KeyId"], "DryRun": True}
    calls: dict[str, dict[str, Any]] = {
        "encrypt": {**this, "Plaintext": b"x"},
        "decrypt": {**this, "CiphertextBlob": blob},
        "re_encrypt": {"CiphertextBlob": blob, "DestinationKeyId": key["KeyId"], "DryRun": True},
        "generate_data_key": {**this, "KeySpec": "AES_256"},
        "generate_data_key_without_plaintext": {**this, "KeySpec": "AES_256"},
        "generate_data_key_pair": {**this, "KeyPairSpec": "ECC_NIST_P256"},
        "generate_data_key_pair_without_plaintext": {**this, "KeyPairSpec": "ECC_NIST_P256"},
    }
    for operation, members in calls.items():
        assert refusal(getattr(kms, operation), **members) == WOULD_HAVE
        # boto3 takes False for what it is.
        getattr(kms, operation)(**{**members, "DryRun": False})
    assert refusal(kms.decrypt, CiphertextBlob=b"x", DryRun=True) == SPOILED
    kms.disable_key(KeyId=key["KeyId"])
    for operation, members in calls.items():
        refused = refusal(getattr(kms, operation), **members)
        assert refused == ("DisabledException", f"{key['Arn']} is disabled.")


def test_a_dry_run_may_ignore_the_ciphertext(kms: Any, key: dict[str, Any]) -> None:
    """Then the key must be named, and only the right to it is asked for. Without a dry run nothing is ignored."""
    ignoring: dict[str, Any] = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    both = {"SourceKeyId": key["KeyId"], "DestinationKeyId": key["KeyId"]}
    assert refusal(kms.decrypt, KeyId=key["KeyId"], **ignoring) == WOULD_HAVE
    assert refusal(kms.re_encrypt, **both, **ignoring) == WOULD_HAVE
    assert refusal(kms.decrypt, **ignoring)[0] == "ValidationException"
    assert refusal(kms.re_encrypt, DestinationKeyId=key["KeyId"], **ignoring)[0] == "ValidationException"
    missing = (
        "ValidationException",
        "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: "
        "Member must not be null",
    )
    assert refusal(kms.decrypt, KeyId=key["KeyId"]) == missing
    assert refusal(kms.decrypt, KeyId=key["KeyId"], DryRun=True) == missing
    assert refusal(kms.re_encrypt, **both, DryRunModifiers=["IGNORE_CIPHERTEXT"]) == missing


def test_there_are_no_enclaves(kms: Any, key: dict[str, Any]) -> None:
    """A plaintext that was to be sealed is not sent in plain instead."""
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"x"}
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    for call, members in (
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.generate_data_key, {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
        (kms.generate_data_key_pair, {"KeyId": key["KeyId"], "KeyPairSpec": "ECC_NIST_P256"}),
        (kms.generate_random, {"NumberOfBytes": 8}),
    ):
        assert refusal(call, Recipient=recipient, **members)[0] == "UnsupportedOperationException"


# --- what is written about it -----------------------------------------------------------------------------------------


def test_no_plaintext_and_no_ciphertext_is_written_down(server: Server, kms: Any) -> None:
    """The audit ledger says who did what with which key, and under which context; the log nothing at all."""
    canary, purpose = uuid.uuid4().hex.encode(), uuid.uuid4().hex
    key = new(kms, Description=canary.decode())
    context = {"purpose": purpose}
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=canary, EncryptionContext=context)["CiphertextBlob"]
    kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)
    assert refusal(kms.decrypt, CiphertextBlob=blob) == SPOILED
    lines = [
        line
        for file in (server.data / "audit").glob("*/*.jsonl")
        for line in file.read_text(encoding="utf-8").splitlines()
        if purpose in line or key["KeyId"] in line
    ]
    entries = [json.loads(line) for line in lines]
    assert [(entry["eventName"], entry["readOnly"]) for entry in entries] == [
        ("CreateKey", False),
        ("Encrypt", True),
        ("Decrypt", True),
    ]
    resources = [{"ARN": key["Arn"], "accountId": key["AWSAccountId"], "type": "AWS::KMS::Key"}]
    for entry in entries:
        assert (entry["eventSource"], entry["resources"]) == ("kms.amazonaws.com", resources)
    assert entries[1]["requestParameters"] == {"keyId": key["KeyId"], "encryptionContext": context}
    assert canary.decode() not in "".join(lines)
    assert canary.hex() not in "".join(lines)
    assert canary.decode() not in server.process.log.read_text(encoding="utf-8")
