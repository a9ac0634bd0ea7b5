"""Signatures, MACs and shared secrets over the wire; judged by openssl and by Python's own hmac."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, mlkem, x25519

from tests.conformance.server import Server, refusal
from tests.conformance.test_kms_keys import new

# Making RSA keys takes time, and no store can make a difference to a signature.
pytestmark = pytest.mark.parametrize("server", ["sqlite"], indirect=True, scope="session")

MESSAGE = b"The quick brown fox jumps over the lazy dog. " * 20
WOULD_HAVE = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
BAD_SIGNATURE = ("KMSInvalidSignatureException", "")
BAD_MAC = ("KMSInvalidMacException", "")
RSA = [f"RSASSA_{kind}_SHA_{bits}" for kind in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)]
SIGNING = [
    *(("RSA_2048", algorithm) for algorithm in RSA),
    ("RSA_4096", "RSASSA_PSS_SHA_512"),
    ("ECC_NIST_P256", "ECDSA_SHA_256"),
    ("ECC_NIST_P384", "ECDSA_SHA_384"),
    ("ECC_NIST_P521", "ECDSA_SHA_512"),
    ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
]


class Bench:
    """Keys that are made once, and openssl beside them."""

    def __init__(self, kms: Any, directory: Path) -> None:
        self.kms = kms
        self._directory = directory
        self._keys: dict[tuple[str, str], dict[str, Any]] = {}

    def key(self, spec: str, usage: str = "SIGN_VERIFY") -> dict[str, Any]:
        """The key of this spec and usage."""
        if (spec, usage) not in self._keys:
            self._keys[spec, usage] = new(self.kms, KeySpec=spec, KeyUsage=usage)
        return self._keys[spec, usage]

    def public(self, key: dict[str, Any]) -> bytes:
        """Its public half."""
        public: bytes = self.kms.get_public_key(KeyId=key["KeyId"])["PublicKey"]
        return public

    def openssl_verifies(self, key: dict[str, Any], message: bytes, signature: bytes, *options: str) -> bool:
        """Whether `openssl dgst` takes the signature, given nothing but the public key."""
        files = {name: self._directory / name for name in ("public", "message", "signature")}
        contents = {"public": self.public(key), "message": message, "signature": signature}
        for name, file in files.items():
            file.write_bytes(contents[name])
        named = ["-verify", str(files["public"]), "-keyform", "DER", "-signature", str(files["signature"])]
        done = subprocess.run(
            ["openssl", "dgst", *options, *named, str(files["message"])], capture_output=True, text=True, timeout=60
        )
        assert done.stdout in ("Verified OK\n", "Verification failure\n"), done.stderr
        return done.returncode == 0


@pytest.fixture(scope="session")
def bench(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Keys, and a place for openssl."""
    return Bench(server.client(service="kms"), tmp_path_factory.mktemp("openssl"))


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_openssl_takes_every_signature(bench: Bench, spec: str, algorithm: str) -> None:
    """Of a message and of its digest: both verify as either. A changed message does not."""
    kms, key = bench.kms, bench.key(spec)
    digest = f"sha{algorithm[-3:]}"
    hashed = hashlib.new(digest, MESSAGE).digest()
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if "PSS" in algorithm else []
    this = {"KeyId": key["KeyId"], "SigningAlgorithm": algorithm}
    raw, of_digest = ("RAW", MESSAGE), ("DIGEST", hashed)
    for message_type, message in (raw, of_digest):
        signed = kms.sign(Message=message, MessageType=message_type, **this)
        assert (signed["KeyId"], signed["SigningAlgorithm"]) == (key["Arn"], algorithm)
        assert bench.openssl_verifies(key, MESSAGE, signed["Signature"], f"-{digest}", *pss)
        assert not bench.openssl_verifies(key, MESSAGE + b".", signed["Signature"], f"-{digest}", *pss)
        for verified_type, verified in (raw, of_digest):
            answer = kms.verify(Message=verified, MessageType=verified_type, Signature=signed["Signature"], **this)
            assert (answer["SignatureValid"], answer["KeyId"]) == (True, key["Arn"])


@pytest.mark.parametrize(("spec", "algorithm"), [*SIGNING[::5], ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512")])
def test_a_bad_signature_is_an_error_without_a_text(bench: Bench, spec: str, algorithm: str) -> None:
    """Another message, a changed, a cut and an empty one, another key; never SignatureValid=false."""
    kms = bench.kms
    this = {"KeyId": bench.key(spec)["KeyId"], "SigningAlgorithm": algorithm}
    signature = kms.sign(Message=MESSAGE, **this)["Signature"]
    for wrong in (signature[:-1] + bytes([signature[-1] ^ 1]), signature[:-1], b"x", signature + b"x"):
        assert refusal(kms.verify, Message=MESSAGE, Signature=wrong, **this) == BAD_SIGNATURE
    assert refusal(kms.verify, Message=b"x", Signature=signature, **this) == BAD_SIGNATURE
    if not spec.startswith("RSA"):
        other = {**this, "KeyId": new(kms, KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyId"]}
        assert refusal(kms.verify, Message=MESSAGE, Signature=signature, **other) == BAD_SIGNATURE


def test_ed25519_signs_messages_as_they_are(bench: Bench) -> None:
    """What openssl's own verification takes; and of a digest it says that it cannot."""
    kms, key = bench.kms, bench.key("ECC_NIST_EDWARDS25519")
    this = {"KeyId": key["KeyId"], "SigningAlgorithm": "ED25519_SHA_512"}
    signature = kms.sign(Message=MESSAGE, **this)["Signature"]
    public: Any = serialization.load_der_public_key(bench.public(key))
    public.verify(signature, MESSAGE)
    assert kms.verify(Message=MESSAGE, Signature=signature, **this)["SignatureValid"] is True
    hashed = {"Message": hashlib.sha512(MESSAGE).digest(), "MessageType": "DIGEST"}
    assert refusal(kms.sign, **hashed, **this)[0] == "ValidationException"
    unserved = refusal(kms.sign, KeyId=key["KeyId"], SigningAlgorithm="ED25519_PH_SHA_512", **hashed)
    assert unserved[0] == "UnsupportedOperationException"


@pytest.mark.parametrize("spec", ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"])
def test_ml_dsa_signs_messages(bench: Bench, spec: str) -> None:
    """Another library call with the public key alone takes it."""
    kms, key = bench.kms, bench.key(spec)
    this = {"KeyId": key["KeyId"], "SigningAlgorithm": "ML_DSA_SHAKE_256"}
    signature = kms.sign(Message=MESSAGE, **this)["Signature"]
    public = serialization.load_der_public_key(bench.public(key))
    assert isinstance(public, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
    public.verify(signature, MESSAGE)
    assert kms.verify(Message=MESSAGE, Signature=signature, **this)["SignatureValid"] is True
    assert refusal(kms.verify, Message=MESSAGE + b".", Signature=signature, **this) == BAD_SIGNATURE


@pytest.mark.parametrize("algorithm", ["RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384"])
def test_a_digest_has_its_algorithms_length(bench: Bench, algorithm: str) -> None:
    """And no other: neither when it signs nor when it verifies."""
    this = {"KeyId": bench.key("RSA_2048")["KeyId"], "SigningAlgorithm": algorithm, "MessageType": "DIGEST"}
    refused = ("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
    for digest in (hashlib.sha1(MESSAGE).digest(), hashlib.sha512(MESSAGE).digest(), MESSAGE):
        assert refusal(bench.kms.sign, Message=digest, **this) == refused
        assert refusal(bench.kms.verify, Message=digest, Signature=b"x", **this) == refused


def test_a_key_signs_with_its_own_algorithms_only(bench: Bench) -> None:
    """Another curve's, another kind's; a key that encrypts or agrees does not sign."""
    kms, key = bench.kms, bench.key("ECC_NIST_P256")
    for algorithm in ("ECDSA_SHA_384", "RSASSA_PSS_SHA_256"):
        for call, more in ((kms.sign, {}), (kms.verify, {"Signature": b"x"})):
            refused = refusal(call, KeyId=key["KeyId"], Message=b"x", SigningAlgorithm=algorithm, **more)
            assert refused == (
                "InvalidKeyUsageException",
                f"Algorithm {algorithm} is incompatible with key spec ECC_NIST_P256.",
            )
    agrees = bench.key("ECC_NIST_P256", "KEY_AGREEMENT")
    assert refusal(kms.sign, KeyId=agrees["KeyId"], Message=b"x", SigningAlgorithm="ECDSA_SHA_256") == (
        "InvalidKeyUsageException",
        f"{agrees['Arn']} key usage is KEY_AGREEMENT which is not valid for Sign.",
    )
    symmetric = new(kms)
    assert refusal(kms.sign, KeyId=symmetric["KeyId"], Message=b"x", SigningAlgorithm="ECDSA_SHA_256") == (
        "InvalidKeyUsageException",
        f"{symmetric['Arn']} key usage is ENCRYPT_DECRYPT which is not valid for Sign.",
    )


def test_a_message_has_up_to_4096_bytes(bench: Bench) -> None:
    """Longer ones are hashed first. What is refused is not quoted."""
    this = {"KeyId": bench.key("ECC_NIST_P256")["KeyId"], "SigningAlgorithm": "ECDSA_SHA_256"}
    bench.kms.sign(Message=bytes(4096), **this)
    assert refusal(bench.kms.sign, Message=bytes(4097), **this) == (
        "ValidationException",
        "1 validation error detected: Value at 'message' failed to satisfy constraint: "
        "Member must have length less than or equal to 4096",
    )


def test_a_dry_run_signs_nothing(bench: Bench) -> None:
    """Nor verifies, nor makes a MAC or a secret; a disabled key says why not."""
    kms = bench.kms
    sign = new(kms, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    mac = new(kms, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    signing = {"KeyId": sign["KeyId"], "Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}
    macs = {"KeyId": mac["KeyId"], "Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}
    signature, code = kms.sign(**signing)["Signature"], kms.generate_mac(**macs)["Mac"]
    calls = [
        (sign, kms.sign, signing),
        (sign, kms.verify, {**signing, "Signature": signature}),
        (mac, kms.generate_mac, macs),
        (mac, kms.verify_mac, {**macs, "Mac": code}),
    ]
    for _, call, members in calls:
        assert refusal(call, DryRun=True, **members) == WOULD_HAVE
    assert refusal(kms.verify, DryRun=True, **{**signing, "Signature": b"x"}) == BAD_SIGNATURE
    for key in (sign, mac):
        kms.disable_key(KeyId=key["KeyId"])
    for key, call, members in calls:
        assert refusal(call, DryRun=True, **members) == ("DisabledException", f"{key['Arn']} is disabled.")
        assert refusal(call, **members) == ("DisabledException", f"{key['Arn']} is disabled.")
    refused = refusal(kms.get_public_key, KeyId=sign["KeyId"])
    assert refused == ("DisabledException", f"{sign['Arn']} is disabled.")


# --- public keys ------------------------------------------------------------------------------------------------------


def test_a_public_key_says_what_it_is_good_for(bench: Bench) -> None:
    """Its spec, its usage and its algorithms."""
    key = bench.key("ECC_NIST_P384")
    answer = bench.kms.get_public_key(KeyId=key["Arn"])
    public = serialization.load_der_public_key(answer.pop("PublicKey"))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp384r1"
    answer.pop("ResponseMetadata")
    assert answer == {
        "KeyId": key["Arn"],
        "CustomerMasterKeySpec": "ECC_NIST_P384",
        "KeySpec": "ECC_NIST_P384",
        "KeyUsage": "SIGN_VERIFY",
        "SigningAlgorithms": ["ECDSA_SHA_384"],
    }


def test_only_a_key_pair_has_a_public_key(bench: Bench) -> None:
    """Symmetric and HMAC keys have none."""
    for key in (new(bench.kms), bench.key("HMAC_256", "GENERATE_VERIFY_MAC")):
        assert refusal(bench.kms.get_public_key, KeyId=key["KeyId"])[0] == "UnsupportedOperationException"


# --- MACs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_a_mac_verifies_and_a_changed_one_does_not(bench: Bench, bits: int) -> None:
    """It is as long as its hash; another message, another key and a spoiled MAC are errors without a text."""
    kms, key = bench.kms, bench.key(f"HMAC_{bits}", "GENERATE_VERIFY_MAC")
    this = {"KeyId": key["KeyId"], "MacAlgorithm": f"HMAC_SHA_{bits}"}
    made = kms.generate_mac(Message=MESSAGE, **this)
    assert (made["KeyId"], made["MacAlgorithm"]) == (key["Arn"], f"HMAC_SHA_{bits}")
    mac = made["Mac"]
    assert len(mac) == bits // 8
    assert kms.generate_mac(Message=MESSAGE, **this)["Mac"] == mac
    answer = kms.verify_mac(Message=MESSAGE, Mac=mac, **this)
    assert (answer["MacValid"], answer["KeyId"], answer["MacAlgorithm"]) == (True, key["Arn"], f"HMAC_SHA_{bits}")
    other = new(kms, KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC")
    for wrong in ({"Message": MESSAGE + b"."}, {"Mac": mac[:-1]}, {"Mac": mac[::-1]}, {"KeyId": other["KeyId"]}):
        assert refusal(kms.verify_mac, **{"Message": MESSAGE, "Mac": mac, **this, **wrong}) == BAD_MAC


def test_a_mac_is_that_of_the_imported_key(bench: Bench, tmp_path: Path) -> None:
    """Python's hmac comes to the same, when it knows the key."""
    from tests.conformance.test_kms_rotation import wrapped_by_openssl

    key = new(bench.kms, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC", Origin="EXTERNAL")
    material = bytes(range(32))
    parameters = bench.kms.get_parameters_for_import(
        KeyId=key["KeyId"], WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )
    bench.kms.import_key_material(
        KeyId=key["KeyId"],
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=wrapped_by_openssl(tmp_path, parameters["PublicKey"], material),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
    mac = bench.kms.generate_mac(KeyId=key["KeyId"], Message=MESSAGE, MacAlgorithm="HMAC_SHA_256")["Mac"]
    assert hmac.digest(material, MESSAGE, "sha256") == mac


def test_a_mac_key_makes_macs_of_its_size_only(bench: Bench) -> None:
    """And encrypts nothing."""
    kms, key = bench.kms, bench.key("HMAC_256", "GENERATE_VERIFY_MAC")
    for call, more in ((kms.generate_mac, {}), (kms.verify_mac, {"Mac": b"x"})):
        assert refusal(call, KeyId=key["KeyId"], Message=b"x", MacAlgorithm="HMAC_SHA_512", **more) == (
            "InvalidKeyUsageException",
            "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256.",
        )
    assert refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x") == (
        "InvalidKeyUsageException",
        f"{key['Arn']} key usage is GENERATE_VERIFY_MAC which is not valid for Encrypt.",
    )


# --- shared secrets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
def test_two_keys_agree_on_a_secret(bench: Bench, spec: str) -> None:
    """Each from its own private and the other's public half; a peer outside comes to the same."""
    kms = bench.kms
    ours, theirs = (new(kms, KeySpec=spec, KeyUsage="KEY_AGREEMENT") for _ in range(2))
    secrets = {
        kms.derive_shared_secret(
            KeyId=key["KeyId"], KeyAgreementAlgorithm="ECDH", PublicKey=bench.public(peer)
        )["SharedSecret"]
        for key, peer in ((ours, theirs), (theirs, ours))
    }  # fmt: skip
    assert len(secrets) == 1
    public = serialization.load_der_public_key(bench.public(ours))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    outside = ec.generate_private_key(public.curve)
    encoded = outside.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    answer = kms.derive_shared_secret(KeyId=ours["KeyId"], KeyAgreementAlgorithm="ECDH", PublicKey=encoded)
    assert outside.exchange(ec.ECDH(), public) == answer["SharedSecret"]
    assert (answer["KeyId"], answer["KeyAgreementAlgorithm"]) == (ours["Arn"], "ECDH")
    assert answer["KeyOrigin"] == "AWS_KMS"


def test_a_peer_must_have_a_point_on_the_same_curve(bench: Bench) -> None:
    """Another curve, another kind of key, no key at all."""
    kms, key = bench.kms, bench.key("ECC_NIST_P256", "KEY_AGREEMENT")
    foreign = x25519.X25519PrivateKey.generate().public_key()
    encoded = foreign.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    point = bytearray(bench.public(bench.key("ECC_NIST_P256")))
    point[-1] ^= 1  # a point that is not on the curve
    for public in (bench.public(bench.key("ECC_NIST_P384")), encoded, bytes(point), b"x"):
        refused = refusal(kms.derive_shared_secret, KeyId=key["KeyId"], KeyAgreementAlgorithm="ECDH", PublicKey=public)
        assert refused[0] == "ValidationException"
    signs = bench.key("ECC_NIST_P256")
    own = bench.public(signs)
    assert refusal(
        kms.derive_shared_secret, KeyId=signs["KeyId"], KeyAgreementAlgorithm="ECDH", PublicKey=own
    ) == (
        "InvalidKeyUsageException",
        f"{signs['Arn']} key usage is SIGN_VERIFY which is not valid for DeriveSharedSecret.",
    )  # fmt: skip


@pytest.mark.parametrize("spec", ["ML_KEM_768", "ML_KEM_1024"])
def test_a_secret_is_encapsulated_for_its_key(bench: Bench, spec: str) -> None:
    """By us, or by anyone with the public half; a spoiled ciphertext gives another secret, a short one nothing."""
    kms, key = bench.kms, bench.key(spec, "ENCAPSULATE_DECAPSULATE")
    this = {"KeyId": key["KeyId"], "EncapsulationAlgorithm": "ML_KEM"}
    made = kms.encapsulate(**this)
    blob = made["SharedSecretCiphertextBlob"]
    assert (len(made["SharedSecret"]), made["KeyId"]) == (32, key["Arn"])
    opened = kms.decapsulate(SharedSecretCiphertextBlob=blob, **this)
    assert (opened["SharedSecret"], opened["KeyId"]) == (made["SharedSecret"], key["Arn"])
    public = serialization.load_der_public_key(bench.public(key))
    assert isinstance(public, mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey)
    secret, theirs = public.encapsulate()
    assert kms.decapsulate(SharedSecretCiphertextBlob=theirs, **this)["SharedSecret"] == secret
    spoiled = bytes([blob[0] ^ 1]) + blob[1:]
    assert kms.decapsulate(SharedSecretCiphertextBlob=spoiled, **this)["SharedSecret"] != made["SharedSecret"]
    assert refusal(kms.decapsulate, SharedSecretCiphertextBlob=blob[:-1], **this) == ("InvalidCiphertextException", "")
