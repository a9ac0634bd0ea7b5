"""Keys over the wire: making, identifiers, states, deletion, tags and policies."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.server import Server, fresh_region, refusal, until
from tests.support.keywheel_server import ACCOUNT, REGION

NOBODYS = "00000000-0000-4000-8000-000000000000"
USED_BY = {"KeyAgreementAlgorithms": "KEY_AGREEMENT", "EncryptionAlgorithms": "ENCRYPT_DECRYPT",
           "SigningAlgorithms": "SIGN_VERIFY", "MacAlgorithms": "GENERATE_VERIFY_MAC",
           "EncapsulationAlgorithms": "ENCAPSULATE_DECAPSULATE"}  # fmt: skip
RSA_SIGNING = [f"RSASSA_{kind}_SHA_{bits}" for kind in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)]
# Spec and usage, and what such a key does: as the table of aws-contract C3 says.
MADE = [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", ["SYMMETRIC_DEFAULT"]),
    ("RSA_2048", "ENCRYPT_DECRYPT", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]),
    ("RSA_2048", "SIGN_VERIFY", RSA_SIGNING),
    ("RSA_3072", "SIGN_VERIFY", RSA_SIGNING),
    ("RSA_4096", "SIGN_VERIFY", RSA_SIGNING),
    ("ECC_NIST_P256", "SIGN_VERIFY", ["ECDSA_SHA_256"]),
    ("ECC_NIST_P256", "KEY_AGREEMENT", ["ECDH"]),
    ("ECC_NIST_P384", "SIGN_VERIFY", ["ECDSA_SHA_384"]),
    ("ECC_NIST_P384", "KEY_AGREEMENT", ["ECDH"]),
    ("ECC_NIST_P521", "SIGN_VERIFY", ["ECDSA_SHA_512"]),
    ("ECC_NIST_P521", "KEY_AGREEMENT", ["ECDH"]),
    ("ECC_SECG_P256K1", "SIGN_VERIFY", ["ECDSA_SHA_256"]),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", ["ED25519_SHA_512"]),
    ("HMAC_224", "GENERATE_VERIFY_MAC", ["HMAC_SHA_224"]),
    ("HMAC_256", "GENERATE_VERIFY_MAC", ["HMAC_SHA_256"]),
    ("HMAC_384", "GENERATE_VERIFY_MAC", ["HMAC_SHA_384"]),
    ("HMAC_512", "GENERATE_VERIFY_MAC", ["HMAC_SHA_512"]),
    ("ML_DSA_44", "SIGN_VERIFY", ["ML_DSA_SHAKE_256"]),
    ("ML_DSA_65", "SIGN_VERIFY", ["ML_DSA_SHAKE_256"]),
    ("ML_DSA_87", "SIGN_VERIFY", ["ML_DSA_SHAKE_256"]),
    ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", ["ML_KEM"]),
    ("ML_KEM_1024", "ENCAPSULATE_DECAPSULATE", ["ML_KEM"]),
]


def arn(key_id: str, region: str = REGION) -> str:
    """The ARN of a key of the account."""
    return f"arn:aws:kms:{region}:{ACCOUNT}:key/{key_id}"


def new(kms: Any, **members: Any) -> dict[str, Any]:
    """A new key's metadata."""
    made: dict[str, Any] = kms.create_key(**members)["KeyMetadata"]
    return made


@pytest.fixture
def key(kms: Any) -> dict[str, Any]:
    """A symmetric encryption key of this test's own."""
    return new(kms)


# --- making -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["sqlite"], indirect=True, scope="session")
@pytest.mark.parametrize(
    ("spec", "usage", "algorithms"), MADE, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_key_of_each_spec_says_what_it_does(kms: Any, spec: str, usage: str, algorithms: list[str]) -> None:
    """It lists the algorithms of its usage, and those of no other."""
    made = new(kms, KeySpec=spec, KeyUsage=usage)
    assert (made["KeySpec"], made["KeyUsage"]) == (spec, usage)
    assert made.get("CustomerMasterKeySpec") == (
        None if spec.startswith(("ML_", "ECC_NIST_ED")) else spec
    )  # it knows no new ones
    assert {member: sorted(made[member]) for member in USED_BY if member in made} == {
        next(member for member, of in USED_BY.items() if of == usage): sorted(algorithms)
    }
    assert ("CurrentKeyMaterialId" in made) is (spec == "SYMMETRIC_DEFAULT")


def test_a_key_is_symmetric_and_enabled_unless_it_is_said_otherwise(kms: Any) -> None:
    """CreateKey and DescribeKey say the same."""
    made = new(kms, Description="for a test")
    date, material = made.pop("CreationDate"), made.pop("CurrentKeyMaterialId")
    assert made == {
        "AWSAccountId": ACCOUNT,
        "KeyId": str(uuid.UUID(made["KeyId"])),
        "Arn": arn(made["KeyId"]),
        "Enabled": True,
        "Description": "for a test",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled",
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": False,
    }
    assert re.fullmatch("[0-9a-f]{64}", material)
    assert abs((dt.datetime.now(dt.UTC) - date).total_seconds()) < 60
    described = kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]
    assert described == {**made, "CreationDate": date, "CurrentKeyMaterialId": material}


@pytest.mark.parametrize(
    ("members", "code", "text"),
    [
        (
            {"KeySpec": "RSA_2048"},
            "ValidationException",
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
        ),
        (
            {"KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT"},
            "ValidationException",
            "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048",
        ),
        (
            {"KeyUsage": "SIGN_VERIFY"},
            "ValidationException",
            "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT",
        ),
        (
            {"CustomerMasterKeySpec": "HMAC_256", "KeyUsage": "ENCRYPT_DECRYPT"},
            "ValidationException",
            "KeyUsage ENCRYPT_DECRYPT is not compatible with KeySpec HMAC_256",
        ),
        (
            {"KeySpec": "HMAC_256", "CustomerMasterKeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
            "ValidationException",
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
            "CustomerMasterKeySpec is deprecated.",
        ),
        ({"Tags": [{"TagKey": "k", "TagValue": v} for v in "12"]}, "TagException", "Duplicate tag keys"),
        (
            {"Tags": [{"TagKey": "AWS:k", "TagValue": ""}]},
            "TagException",
            "Tags beginning with aws: are reserved",
        ),
        (
            {"Tags": [{"TagKey": f"k{n}", "TagValue": ""} for n in range(51)]},
            "TagException",
            "Too many tags",
        ),
        (
            {"Tags": [{"TagKey": "k", "TagValue": "v" * 257}]},
            "ValidationException",
            f"1 validation error detected: Value '{'v' * 257}' at 'tags.1.member.tagValue' failed to satisfy "
            "constraint: Member must have length less than or equal to 256",
        ),
        (
            {"Policy": "{"},
            "MalformedPolicyDocumentException",
            "The policy is not in the valid JSON format.",
        ),
    ],
    ids=[
        "no usage",
        "bad pair",
        "symmetric signs",
        "old name",
        "both names",
        "twice",
        "reserved",
        "51",
        "long",
        "policy",
    ],
)
def test_what_cannot_be_a_key_is_refused(kms: Any, members: dict[str, Any], code: str, text: str) -> None:
    """In AWS's words; and no key is made."""
    assert refusal(kms.create_key, **members) == (code, text)


@pytest.mark.parametrize(
    "members",
    [
        {"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "ML_KEM_512", "KeyUsage": "ENCAPSULATE_DECAPSULATE"},
    ],
    ids=lambda members: next(iter(members.values())),
)
def test_what_is_not_built_says_so(kms: Any, members: dict[str, Any]) -> None:
    """Instead of making another key."""
    assert refusal(kms.create_key, **members)[0] == "UnsupportedOperationException"


# --- identifiers ------------------------------------------------------------------------------------------------------


def test_a_key_has_four_names_for_its_users_and_two_for_its_managers(kms: Any, key: dict[str, Any]) -> None:
    """Aliases are for use, DescribeKey and GetPublicKey; what changes a key wants its id or ARN."""
    alias = f"alias/{uuid.uuid4()}"
    kms.create_alias(AliasName=alias, TargetKeyId=key["Arn"])
    by_alias = [alias, f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"]
    for name in (key["KeyId"], key["Arn"], *by_alias):
        assert kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"] == key["Arn"]
        assert kms.encrypt(KeyId=name, Plaintext=b"x")["KeyId"] == key["Arn"]
    for name in (key["KeyId"], key["Arn"]):
        kms.update_key_description(KeyId=name, Description=name)
    for name in by_alias:
        assert refusal(kms.update_key_description, KeyId=name, Description="") == (
            "NotFoundException",
            f"Invalid keyId '{name}'",
        )


@pytest.mark.parametrize(
    ("key_id", "text"),
    [
        ("fantasy", "Invalid keyId 'fantasy'"),
        ("fantasy/key", "Invalid keyId 'fantasy/key'"),
        (NOBODYS.upper().replace("0", "A"), f"Invalid keyId '{NOBODYS.upper().replace('0', 'A')}'"),
        (NOBODYS, f"Key '{arn(NOBODYS)}' does not exist"),
        (arn(NOBODYS), f"Key '{arn(NOBODYS)}' does not exist"),
        ("mrk-" + "0" * 32, f"Key '{arn('mrk-' + '0' * 32)}' does not exist"),
        (arn(NOBODYS, "eu-west-9"), "Invalid arn eu-west-9"),
        ("alias/nobodys", f"Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/nobodys is not found."),
    ],
)
def test_what_names_no_key_is_not_found(kms: Any, key_id: str, text: str) -> None:
    """Each kind of nothing has its text."""
    assert refusal(kms.describe_key, KeyId=key_id) == ("NotFoundException", text)
    assert refusal(kms.encrypt, KeyId=key_id, Plaintext=b"x") == ("NotFoundException", text)


@pytest.mark.parametrize("key_id", ["arn:aws:kms", f"arn:aws:s3:{REGION}:{ACCOUNT}:key/{NOBODYS}"])
def test_another_arn_is_invalid(kms: Any, key_id: str) -> None:
    """It is not of KMS, or not of an ARN's form."""
    assert refusal(kms.describe_key, KeyId=key_id)[0] == "InvalidArnException"


def test_a_key_of_another_account_is_not_given(server: Server, kms: Any, key: dict[str, Any]) -> None:
    """Not by its ARN either, as long as no policy allows it. Nobody is told whether there is such a key."""
    other = "210987654321"
    pair = server.access_key(_administrator(), account=other)
    theirs = server.client(service="kms", pair=pair)
    code, text = refusal(theirs.encrypt, KeyId=key["Arn"], Plaintext=b"x")
    assert code == "AccessDeniedException"
    assert "is not authorized to perform: kms:Encrypt on this resource" in text
    assert refusal(theirs.describe_key, KeyId=key["Arn"])[0] == "AccessDeniedException"
    assert refusal(theirs.schedule_key_deletion, KeyId=key["Arn"])[0] == "AccessDeniedException"
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    assert refusal(theirs.decrypt, CiphertextBlob=blob)[0] in ("AccessDeniedException", "InvalidCiphertextException")
    assert theirs.list_keys()["Keys"] == []
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


def _administrator() -> Any:
    from keywheel.access.access_keys import Role

    return Role.ADMINISTRATOR


# --- states -----------------------------------------------------------------------------------------------------------

Calls = dict[str, Callable[[Any, str], Any]]
USES: Calls = {
    "Encrypt": lambda kms, key: kms.encrypt(KeyId=key, Plaintext=b"x"),
    "GenerateDataKey": lambda kms, key: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
    "GenerateDataKeyWithoutPlaintext": lambda kms, key: kms.generate_data_key_without_plaintext(
        KeyId=key, NumberOfBytes=8
    ),
    "GenerateDataKeyPair": lambda kms, key: kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256"),
    "GenerateDataKeyPairWithoutPlaintext": lambda kms, key: kms.generate_data_key_pair_without_plaintext(
        KeyId=key, KeyPairSpec="ECC_NIST_P256"
    ),
}
CHANGES: Calls = {
    "EnableKey": lambda kms, key: kms.enable_key(KeyId=key),
    "DisableKey": lambda kms, key: kms.disable_key(KeyId=key),
    "TagResource": lambda kms, key: kms.tag_resource(KeyId=key, Tags=[{"TagKey": "k", "TagValue": "v"}]),
    "UntagResource": lambda kms, key: kms.untag_resource(KeyId=key, TagKeys=["k"]),
    "UpdateKeyDescription": lambda kms, key: kms.update_key_description(KeyId=key, Description="d"),
    "CreateAlias": lambda kms, key: kms.create_alias(AliasName=f"alias/{uuid.uuid4()}", TargetKeyId=key),
    "ScheduleKeyDeletion": lambda kms, key: kms.schedule_key_deletion(KeyId=key),
}
ROTATIONS: Calls = {
    "EnableKeyRotation": lambda kms, key: kms.enable_key_rotation(KeyId=key),
    "DisableKeyRotation": lambda kms, key: kms.disable_key_rotation(KeyId=key),
    "RotateKeyOnDemand": lambda kms, key: kms.rotate_key_on_demand(KeyId=key),
}
READS: Calls = {
    "DescribeKey": lambda kms, key: kms.describe_key(KeyId=key),
    "GetKeyPolicy": lambda kms, key: kms.get_key_policy(KeyId=key),
    "ListKeyPolicies": lambda kms, key: kms.list_key_policies(KeyId=key),
    "ListAliases": lambda kms, key: kms.list_aliases(KeyId=key),
    "ListResourceTags": lambda kms, key: kms.list_resource_tags(KeyId=key),
    "GetKeyLastUsage": lambda kms, key: kms.get_key_last_usage(KeyId=key),
}


def outcome(call: Callable[[Any, str], Any], kms: Any, key_id: str) -> tuple[str, str]:
    """The code and the text of the error; empty where there is none."""
    try:
        call(kms, key_id)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    return "", ""


@pytest.mark.parametrize("operation", [*USES, *ROTATIONS])
def test_a_disabled_key_is_not_used(kms: Any, key: dict[str, Any], operation: str) -> None:
    """DisabledException names it; enabled again, it does."""
    call = {**USES, **ROTATIONS}[operation]
    kms.disable_key(KeyId=key["KeyId"])
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Enabled"] is False
    assert outcome(call, kms, key["KeyId"]) == ("DisabledException", f"{key['Arn']} is disabled.")
    kms.enable_key(KeyId=key["KeyId"])
    assert outcome(call, kms, key["KeyId"]) == ("", "")


@pytest.mark.parametrize("operation", [*USES, *ROTATIONS, *CHANGES])
def test_a_key_on_its_way_out_is_neither_used_nor_changed(kms: Any, key: dict[str, Any], operation: str) -> None:
    """KMSInvalidStateException names it."""
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    refused = ("KMSInvalidStateException", f"{key['Arn']} is pending deletion.")
    assert outcome({**USES, **ROTATIONS, **CHANGES}[operation], kms, key["KeyId"]) == refused


def test_what_reads_is_answered_in_every_state(kms: Any) -> None:
    """Disabled, pending deletion, pending import."""
    disabled, leaving = new(kms)["KeyId"], new(kms)["KeyId"]
    kms.disable_key(KeyId=disabled)
    kms.schedule_key_deletion(KeyId=leaving)
    for key_id in (disabled, leaving, new(kms, Origin="EXTERNAL")["KeyId"]):
        assert {operation: outcome(call, kms, key_id) for operation, call in READS.items()} == dict.fromkeys(
            READS, ("", "")
        )


def test_a_key_without_material_waits_for_it(kms: Any) -> None:
    """It is not enabled, and its uses say why."""
    made = new(kms, Origin="EXTERNAL")
    assert (made["KeyState"], made["Enabled"], made["Origin"]) == ("PendingImport", False, "EXTERNAL")
    assert "ExpirationModel" not in made
    for operation in USES:
        refused = ("KMSInvalidStateException", f"{made['Arn']} is pending import.")
        assert outcome(USES[operation], kms, made["KeyId"]) == refused
    for change in (kms.enable_key, kms.disable_key):
        assert refusal(change, KeyId=made["KeyId"])[1] == f"{made['Arn']} is pending import."
    for operation in ("EnableKeyRotation", "DisableKeyRotation"):
        refused = (
            "UnsupportedOperationException",
            f"{made['Arn']} origin is EXTERNAL which is not valid for this operation.",
        )
        assert outcome(ROTATIONS[operation], kms, made["KeyId"]) == refused


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_deletion_waits_and_can_be_called_off(kms: Any, key: dict[str, Any]) -> None:
    """The key is there until the window ends; kept after all, it is disabled."""
    answer = kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=10)
    assert (answer["KeyId"], answer["KeyState"], answer["PendingWindowInDays"]) == (key["Arn"], "PendingDeletion", 10)
    in_ten_days = dt.datetime.now(dt.UTC) + dt.timedelta(days=10)
    assert abs((answer["DeletionDate"] - in_ten_days).total_seconds()) < 60
    described = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert described["DeletionDate"] == answer["DeletionDate"]
    assert "PendingDeletionWindowInDays" not in described
    assert kms.cancel_key_deletion(KeyId=key["Arn"])["KeyId"] == key["Arn"]
    described = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert (described["KeyState"], "DeletionDate" in described) == ("Disabled", False)
    assert refusal(kms.cancel_key_deletion, KeyId=key["KeyId"]) == (
        "KMSInvalidStateException",
        f"{key['Arn']} is not pending deletion.",
    )


def test_a_window_has_7_to_30_days(kms: Any, key: dict[str, Any]) -> None:
    """30 when nothing is said. The model allows 1 to 365, the service does not."""
    for days, bound in ((6, "greater than or equal to 7"), (31, "less than or equal to 30"), (365, "less"), (1, "7")):
        code, text = refusal(kms.schedule_key_deletion, KeyId=key["KeyId"], PendingWindowInDays=days)
        assert (code, bound in text) == ("ValidationException", True)
    code, text = refusal(kms.schedule_key_deletion, KeyId=key["KeyId"], PendingWindowInDays=366)
    assert (code, "less than or equal to 365" in text) == ("ValidationException", True)
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"
    assert kms.schedule_key_deletion(KeyId=key["KeyId"])["PendingWindowInDays"] == 30


# --- listing ----------------------------------------------------------------------------------------------------------


def test_keys_are_listed_by_pages(server: Server) -> None:
    """Those of the account and Region, each once. A marker belongs to its query."""
    kms = server.client(service="kms", region=fresh_region())
    made = {new(kms)["KeyId"] for _ in range(5)}
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["Keys"]) for page in pages] == [2, 2, 1]
    assert [page["Truncated"] for page in pages] == [True, True, False]
    assert {entry["KeyId"] for page in pages for entry in page["Keys"]} == made
    assert all(entry["KeyArn"].endswith(f":key/{entry['KeyId']}") for page in pages for entry in page["Keys"])
    marker = pages[0]["NextMarker"]
    for wrong in ("x", marker[:-4], marker + "=", " "):
        assert refusal(kms.list_keys, Marker=wrong)[0] == "InvalidMarkerException"
    assert refusal(kms.list_aliases, Marker=marker)[0] == "InvalidMarkerException"
    assert refusal(kms.list_keys, Marker=marker, ResourceOwners=["SELF"])[0] == "InvalidMarkerException"
    assert kms.list_keys(ResourceOwners=["OTHER_ACCOUNTS_VIA_RAM"])["Keys"] == []
    assert len(kms.list_keys(ResourceOwners=["OTHER_ACCOUNTS_VIA_RAM", "SELF"])["Keys"]) == 5
    for limit in (0, 1001):
        assert refusal(kms.list_keys, Limit=limit)[0] == "ValidationException"


# --- tags, description, use -------------------------------------------------------------------------------------------


def test_tags_come_and_go(kms: Any, key: dict[str, Any]) -> None:
    """They are listed by pages, in the order of their names; a value can be changed and be empty."""
    tags = {f"k{number}": str(number) for number in range(5)}
    kms.tag_resource(KeyId=key["Arn"], Tags=[{"TagKey": k, "TagValue": v} for k, v in tags.items()])
    kms.tag_resource(KeyId=key["KeyId"], Tags=[{"TagKey": "k0", "TagValue": ""}])
    kms.untag_resource(KeyId=key["KeyId"], TagKeys=["k4", "never there"])
    pages = list(kms.get_paginator("list_resource_tags").paginate(KeyId=key["KeyId"], PaginationConfig={"PageSize": 3}))
    found = [(tag["TagKey"], tag["TagValue"]) for page in pages for tag in page["Tags"]]
    assert found == [("k0", ""), ("k1", "1"), ("k2", "2"), ("k3", "3")]
    other = new(kms)["KeyId"]
    assert refusal(kms.list_resource_tags, KeyId=other, Marker=pages[0]["NextMarker"])[0] == "InvalidMarkerException"


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        (["a", "a"], "Duplicate tag keys"),
        (["aWs:x"], "Tags beginning with aws: are reserved"),
        ([f"n{number}" for number in range(50)], "Too many tags"),
    ],
)
def test_bad_tags_are_refused_whole(kms: Any, key: dict[str, Any], tags: list[str], text: str) -> None:
    """None of them is added."""
    kms.tag_resource(KeyId=key["KeyId"], Tags=[{"TagKey": "there", "TagValue": ""}])
    given = [{"TagKey": tag, "TagValue": ""} for tag in tags]
    assert refusal(kms.tag_resource, KeyId=key["KeyId"], Tags=given) == ("TagException", text)
    assert kms.list_resource_tags(KeyId=key["KeyId"])["Tags"] == [{"TagKey": "there", "TagValue": ""}]


def test_a_description_is_changed(kms: Any, key: dict[str, Any]) -> None:
    """It may be empty, and has up to 8192 characters."""
    for text in ("x" * 8192, ""):
        kms.update_key_description(KeyId=key["KeyId"], Description=text)
        assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Description"] == text
    refused = refusal(kms.update_key_description, KeyId=key["KeyId"], Description="x" * 8193)
    assert refused[0] == "ValidationException"


def test_the_last_use_of_a_key_is_known(kms: Any, key: dict[str, Any]) -> None:
    """Nothing, before it was used; a dry run and a refusal are no use."""
    kms_error = refusal(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x", DryRun=True)
    assert kms_error[0] == "DryRunOperationException"
    answer = kms.get_key_last_usage(KeyId=key["KeyId"])
    assert (answer["KeyId"], answer["KeyLastUsage"]) == (key["KeyId"], {})
    assert answer["KeyCreationDate"] == answer["TrackingStartDate"] == key["CreationDate"]
    kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    used = until(lambda: kms.get_key_last_usage(KeyId=key["KeyId"])["KeyLastUsage"])
    assert used["Operation"] == "Encrypt"
    assert used["Timestamp"] >= key["CreationDate"]


# --- policies ---------------------------------------------------------------------------------------------------------


def test_a_key_has_the_default_policy_until_it_is_given_another(kms: Any, key: dict[str, Any]) -> None:
    """That of the account, whose root may do everything; any other is given back as it was put."""
    answer = kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")
    assert (answer["PolicyName"], json.loads(answer["Policy"])) == (
        "default",
        {
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [
                {
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                    "Action": "kms:*",
                    "Resource": "*",
                }
            ],
        },
    )
    text = json.dumps({"Version": "2012-10-17", "Statement": json.loads(answer["Policy"])["Statement"] * 2})
    kms.put_key_policy(KeyId=key["KeyId"], PolicyName="default", Policy=text)
    assert kms.get_key_policy(KeyId=key["KeyId"])["Policy"] == text
    made = new(kms, Policy=text)
    assert kms.get_key_policy(KeyId=made["KeyId"])["Policy"] == text
    assert kms.list_key_policies(KeyId=key["KeyId"])["PolicyNames"] == ["default"]


def test_a_policy_that_shuts_its_author_out_is_refused(kms: Any, key: dict[str, Any]) -> None:
    """Unless the check is bypassed."""
    statement = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:Encrypt"}
    text = json.dumps({"Version": "2012-10-17", "Statement": {**statement, "Resource": "*"}})
    refused = (
        "MalformedPolicyDocumentException",
        "The new key policy will not allow you to update the key policy in the future.",
    )
    assert refusal(kms.put_key_policy, KeyId=key["KeyId"], Policy=text) == refused
    assert refusal(kms.create_key, Policy=text) == refused
    kms.put_key_policy(KeyId=key["KeyId"], Policy=text, BypassPolicyLockoutSafetyCheck=True)
    kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    for call in (kms.get_key_policy, kms.describe_key, kms.disable_key):
        assert refusal(call, KeyId=key["KeyId"])[0] == "AccessDeniedException"


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '"x"', '{"Statement": []}', '{"Statement": [{"Effect": "allow"}]}', '{"Statement": [1]}']
)
def test_what_is_no_policy_is_refused(kms: Any, key: dict[str, Any], text: str) -> None:
    """And the old one stays."""
    before = kms.get_key_policy(KeyId=key["KeyId"])["Policy"]
    refused = refusal(kms.put_key_policy, KeyId=key["KeyId"], Policy=text)
    assert refused[0] == "MalformedPolicyDocumentException"
    assert kms.get_key_policy(KeyId=key["KeyId"])["Policy"] == before


def test_a_policy_is_called_default_and_has_up_to_32_kilobytes(kms: Any, key: dict[str, Any]) -> None:
    """Other names are not found; more is beyond the quota."""
    text = kms.get_key_policy(KeyId=key["KeyId"])["Policy"]
    for call in (kms.get_key_policy, lambda **members: kms.put_key_policy(Policy=text, **members)):
        assert refusal(call, KeyId=key["KeyId"], PolicyName="other") == ("NotFoundException", "No such policy exists")
    padded = text + " " * (32 * 1024 - len(text))
    kms.put_key_policy(KeyId=key["KeyId"], Policy=padded)
    assert refusal(kms.put_key_policy, KeyId=key["KeyId"], Policy=padded + " ")[0] == "LimitExceededException"
