"""Key specs: the registry against the documentation of AWS KMS, and against its service model."""

from __future__ import annotations

import botocore.session
import pytest

from keywheel.errors import UnsupportedOperation, ValidationFailed
from keywheel.keys import specs
from keywheel.keys.errors import InvalidKeyUsage
from keywheel.keys.specs import SPECS

MODEL = botocore.session.get_session().get_service_model("kms")
PSS = ["RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512"]
PKCS = ["RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512"]
OAEP = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
DOCUMENTED: dict[tuple[str, str], list[str]] = {
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): ["SYMMETRIC_DEFAULT"],
    **{(f"RSA_{bits}", "ENCRYPT_DECRYPT"): OAEP for bits in (2048, 3072, 4096)},
    **{(f"RSA_{bits}", "SIGN_VERIFY"): PSS + PKCS for bits in (2048, 3072, 4096)},
    ("ECC_NIST_P256", "SIGN_VERIFY"): ["ECDSA_SHA_256"],
    ("ECC_NIST_P384", "SIGN_VERIFY"): ["ECDSA_SHA_384"],
    ("ECC_NIST_P521", "SIGN_VERIFY"): ["ECDSA_SHA_512"],
    **{(f"ECC_NIST_P{bits}", "KEY_AGREEMENT"): ["ECDH"] for bits in (256, 384, 521)},
    ("ECC_SECG_P256K1", "SIGN_VERIFY"): ["ECDSA_SHA_256"],
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"): ["ED25519_SHA_512"],
    **{(f"ML_DSA_{size}", "SIGN_VERIFY"): ["ML_DSA_SHAKE_256"] for size in (44, 65, 87)},
    **{(f"ML_KEM_{size}", "ENCAPSULATE_DECAPSULATE"): ["ML_KEM"] for size in (512, 768, 1024)},
    **{(f"HMAC_{bits}", "GENERATE_VERIFY_MAC"): [f"HMAC_SHA_{bits}"] for bits in (224, 256, 384, 512)},
    ("SM2", "ENCRYPT_DECRYPT"): ["SM2PKE"],
    ("SM2", "SIGN_VERIFY"): ["SM2DSA"],
    ("SM2", "KEY_AGREEMENT"): ["ECDH"],
}
NOT_SERVED = {"ML_KEM_512", "SM2"}
USAGES: list[str] = MODEL.shape_for("KeyUsageType").enum


def test_the_registry_has_every_spec_of_the_model() -> None:
    """And no other one."""
    assert set(SPECS) == set(MODEL.shape_for("KeySpec").enum)


def test_the_registry_says_what_is_documented() -> None:
    """Each spec with its usages, each usage with its algorithms."""
    said = {(name, usage): list(spec.algorithms(usage)) for name, spec in SPECS.items() for usage in spec.usages}
    assert said == DOCUMENTED


@pytest.mark.parametrize(
    ("shape", "member"),
    [
        ("EncryptionAlgorithmSpec", "EncryptionAlgorithms"),
        ("SigningAlgorithmSpec", "SigningAlgorithms"),
        ("MacAlgorithmSpec", "MacAlgorithms"),
        ("KeyAgreementAlgorithmSpec", "KeyAgreementAlgorithms"),
    ],
)
def test_every_algorithm_of_the_model_is_known(shape: str, member: str) -> None:
    """By some spec, or as one that is not served; and its member of the metadata exists."""
    usage = next(usage for usage, name in specs.ALGORITHM_MEMBER.items() if name == member)
    known = {algorithm for spec in SPECS.values() for algorithm in spec.algorithms(usage)}
    if member == "SigningAlgorithms":
        known |= {algorithm for spec in SPECS.values() for algorithm in spec.unserved}
    assert known == set(MODEL.shape_for(shape).enum)
    assert member in MODEL.shape_for("KeyMetadata").members


@pytest.mark.parametrize("usage", [None, *USAGES])
@pytest.mark.parametrize("spec", [None, *SPECS])
def test_what_is_chosen_for_a_new_key(spec: str | None, usage: str | None) -> None:
    """A symmetric encryption key when nothing is said; a usage must fit, and be given for all other keys."""
    name = spec or "SYMMETRIC_DEFAULT"
    if usage is None and name != "SYMMETRIC_DEFAULT":
        with pytest.raises(ValidationFailed) as refused:
            specs.choose(spec, usage)
        assert refused.value.message == (
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
        )
    elif usage is not None and (name, usage) not in DOCUMENTED:
        with pytest.raises(ValidationFailed) as refused:
            specs.choose(spec, usage)
        assert refused.value.message == f"KeyUsage {usage} is not compatible with KeySpec {name}"
    elif name in NOT_SERVED:
        with pytest.raises(UnsupportedOperation, match=name):
            specs.choose(spec, usage)
    else:
        assert specs.choose(spec, usage) == (name, usage or "ENCRYPT_DECRYPT")


def test_a_spec_that_there_is_not_is_refused() -> None:
    """By its name."""
    with pytest.raises(ValidationFailed, match="RSA_1024"):
        specs.choose("RSA_1024", "SIGN_VERIFY")


@pytest.mark.parametrize(
    ("spec", "algorithm", "most"),
    [
        ("SYMMETRIC_DEFAULT", "SYMMETRIC_DEFAULT", 4096),
        ("RSA_2048", "RSAES_OAEP_SHA_1", 214),
        ("RSA_3072", "RSAES_OAEP_SHA_1", 342),
        ("RSA_4096", "RSAES_OAEP_SHA_1", 470),
        ("RSA_2048", "RSAES_OAEP_SHA_256", 190),
        ("RSA_3072", "RSAES_OAEP_SHA_256", 318),
        ("RSA_4096", "RSAES_OAEP_SHA_256", 446),
    ],
)
def test_so_much_is_encrypted(spec: str, algorithm: str, most: int) -> None:
    """And not a byte more."""
    specs.require_plaintext(spec, algorithm, most)
    with pytest.raises(ValidationFailed) as caught:
        specs.require_plaintext(spec, algorithm, most + 1)
    assert caught.value.message == (
        f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {most} bytes."
    )


def test_an_algorithm_of_another_spec_is_refused() -> None:
    """An algorithm that AWS KMS would have for it is said to be missing here."""
    SPECS["HMAC_256"].require("HMAC_SHA_256", "GENERATE_VERIFY_MAC")
    with pytest.raises(InvalidKeyUsage) as caught:
        SPECS["HMAC_256"].require("HMAC_SHA_512", "GENERATE_VERIFY_MAC")
    assert caught.value.message == "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256."
    with pytest.raises(InvalidKeyUsage):
        SPECS["RSA_2048"].require("RSAES_OAEP_SHA_1", "SIGN_VERIFY")
    with pytest.raises(UnsupportedOperation, match="ED25519_PH_SHA_512"):
        SPECS["ECC_NIST_EDWARDS25519"].require("ED25519_PH_SHA_512", "SIGN_VERIFY")
