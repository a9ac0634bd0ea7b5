"""Multi-Region keys on the wire (aws-contract C15): replicas, the primary, rights, and secrets under them."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance import answers
from tests.conformance.server import Server, fresh_region, refusal
from tests.conformance.test_access import user
from tests.conformance.test_kms_rotation import KEEPS, MATERIAL, wrapped_by_openssl
from tests.support.keywheel_server import ACCOUNT, REGION

DENIED = "AccessDeniedException"


@pytest.fixture
def there(server: Server, region: str) -> Any:
    """A client of KMS in another Region."""
    return _client(server, region)


@pytest.fixture
def key(kms: Any) -> str:
    """A multi-Region key of this test's own; its id."""
    made: str = kms.create_key(MultiRegion=True, Description="here")["KeyMetadata"]["KeyId"]
    return made


def _client(server: Server, region: str, **options: Any) -> Any:
    client = server.client(region, service="kms", **options)
    client.meta.events.register("after-call.kms", answers.check, unique_id="answers")
    return client


def arn(key: str, region: str = REGION) -> str:
    """The key's ARN in a Region."""
    return f"arn:aws:kms:{region}:{ACCOUNT}:key/{key}"


def described(client: Any, key: str) -> dict[str, Any]:
    """KeyMetadata."""
    metadata: dict[str, Any] = client.describe_key(KeyId=key)["KeyMetadata"]
    return metadata


def regions_of(client: Any, key: str) -> tuple[str, str, list[str]]:
    """What the key is; the ARNs of the primary and of the replicas."""
    told = described(client, key)["MultiRegionConfiguration"]
    for each in (told["PrimaryKey"], *told["ReplicaKeys"]):
        assert each["Arn"].split(":")[3] == each["Region"]
    return told["MultiRegionKeyType"], told["PrimaryKey"]["Arn"], [each["Arn"] for each in told["ReplicaKeys"]]


# --- replicas ---------------------------------------------------------------------------------------------------------


def test_a_multi_region_key_says_so(kms: Any, key: str) -> None:
    """By its id and in its metadata; a key of one Region has neither."""
    assert re.fullmatch("mrk-[0-9a-f]{32}", key)
    assert described(kms, key)["MultiRegion"] is True
    assert regions_of(kms, key) == ("PRIMARY", arn(key), [])
    other = kms.create_key(MultiRegion=False)["KeyMetadata"]
    assert (other["MultiRegion"], "MultiRegionConfiguration" in other) == (False, False)
    listed = [each for page in kms.get_paginator("list_keys").paginate() for each in page["Keys"]]
    assert [each["KeyArn"] for each in listed if each["KeyId"] == key] == [arn(key)]


def test_a_replica_is_told_with_its_policy_and_tags(kms: Any, there: Any, key: str, region: str) -> None:
    """The answer is what DescribeKey, GetKeyPolicy and ListResourceTags say in its Region."""
    tags = [{"TagKey": "a", "TagValue": "b"}]
    answer = kms.replicate_key(KeyId=key, ReplicaRegion=region, Description="there", Tags=tags)
    made = answer["ReplicaKeyMetadata"]
    assert made == described(there, key)
    assert (made["Arn"], made["Description"], made["KeyState"]) == (arn(key, region), "there", "Enabled")
    assert answer["ReplicaPolicy"] == there.get_key_policy(KeyId=key)["Policy"]
    assert json.loads(answer["ReplicaPolicy"])["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert answer["ReplicaTags"] == there.list_resource_tags(KeyId=key)["Tags"] == tags
    assert regions_of(kms, key) == ("PRIMARY", arn(key), [arn(key, region)])
    assert regions_of(there, key) == ("REPLICA", arn(key), [arn(key, region)])
    mine = described(kms, key)
    shared = ("KeyId", "KeySpec", "KeyUsage", "Origin", "CurrentKeyMaterialId", "MultiRegion")
    assert [made[member] for member in shared] == [mine[member] for member in shared]
    assert (mine["Description"], kms.list_resource_tags(KeyId=key)["Tags"]) == ("here", [])


def test_what_cannot_be_replicated_is_refused(kms: Any, there: Any, key: str, region: str) -> None:
    """With AWS's codes; and no key is made."""
    single = kms.create_key()["KeyMetadata"]["Arn"]
    not_primary = ("UnsupportedOperationException", f"{single} is not a multi-region primary key.")
    assert refusal(kms.replicate_key, KeyId=single, ReplicaRegion=region) == not_primary
    assert refusal(kms.replicate_key, KeyId=key, ReplicaRegion="x")[0] == "ValidationException"
    assert refusal(kms.replicate_key, KeyId=key, ReplicaRegion=REGION)[0] == "AlreadyExistsException"
    bad: list[tuple[dict[str, Any], str]] = [
        ({"Policy": "{"}, "MalformedPolicyDocumentException"),
        ({"Policy": '{"Version": "2012-10-17", "Statement": []}'}, "MalformedPolicyDocumentException"),
        ({"Tags": [{"TagKey": "aws:a", "TagValue": "b"}]}, "TagException"),
    ]
    for members, code in bad:
        assert refusal(kms.replicate_key, KeyId=key, ReplicaRegion=region, **members)[0] == code
    assert refusal(there.describe_key, KeyId=key) == (
        "NotFoundException",
        f"Key '{arn(key, region)}' does not exist",
    )
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    assert refusal(kms.replicate_key, KeyId=key, ReplicaRegion=region)[0] == "AlreadyExistsException"
    assert refusal(there.replicate_key, KeyId=key, ReplicaRegion=fresh_region()) == (
        "UnsupportedOperationException",
        f"{arn(key, region)} is not a multi-region primary key.",
    )
    assert refusal(there.replicate_key, KeyId=arn(key), ReplicaRegion=fresh_region())[0] == "NotFoundException"


# --- use --------------------------------------------------------------------------------------------------------------


def test_what_one_region_encrypts_the_other_decrypts(kms: Any, there: Any, key: str, region: str) -> None:
    """With or without a KeyId, which is the Region's own; the answer names that Region's key."""
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    context = {"EncryptionContext": {"a": "1"}}
    for source, target, where in ((kms, there, region), (there, kms, REGION)):
        blob = source.encrypt(KeyId=key, Plaintext=b"over", **context)["CiphertextBlob"]
        for named in ({}, {"KeyId": key}, {"KeyId": arn(key, where)}):
            answer = target.decrypt(CiphertextBlob=blob, **context, **named)
            assert (answer["Plaintext"], answer["KeyId"]) == (b"over", arn(key, where))
        assert refusal(target.decrypt, CiphertextBlob=blob)[0] == "InvalidCiphertextException"
        other = target.create_key()["KeyMetadata"]["KeyId"]
        assert refusal(target.decrypt, CiphertextBlob=blob, KeyId=other, **context)[0] == "IncorrectKeyException"
        moved = target.re_encrypt(
            CiphertextBlob=blob, SourceEncryptionContext=context["EncryptionContext"], DestinationKeyId=other
        )
        assert (moved["SourceKeyId"], target.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"]) == (
            arn(key, where),
            b"over",
        )


def test_other_kinds_of_keys_are_the_same_everywhere(kms: Any, there: Any, region: str) -> None:
    """HMAC codes, signatures, public keys and RSA ciphertexts."""

    def made(spec: str, usage: str) -> str:
        new: str = kms.create_key(MultiRegion=True, KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
        kms.replicate_key(KeyId=new, ReplicaRegion=region)
        return new

    code = {"KeyId": made("HMAC_256", "GENERATE_VERIFY_MAC"), "Message": b"m", "MacAlgorithm": "HMAC_SHA_256"}
    there.verify_mac(Mac=kms.generate_mac(**code)["Mac"], **code)
    signing = {"KeyId": made("ECC_NIST_P256", "SIGN_VERIFY"), "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
    kms.verify(Signature=there.sign(**signing)["Signature"], **signing)
    public = [client.get_public_key(KeyId=signing["KeyId"])["PublicKey"] for client in (kms, there)]
    assert public[0] == public[1]
    rsa = {"KeyId": made("RSA_2048", "ENCRYPT_DECRYPT"), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    blob = kms.encrypt(Plaintext=b"x", **rsa)["CiphertextBlob"]
    assert there.decrypt(CiphertextBlob=blob, **rsa)["Plaintext"] == b"x"


# --- rotation ---------------------------------------------------------------------------------------------------------


def test_a_rotation_at_the_primary_is_one_of_all(kms: Any, there: Any, key: str, region: str) -> None:
    """The replica decrypts the old and the new, tells of the rotation, and rotates nothing itself."""
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    old = kms.encrypt(KeyId=key, Plaintext=b"old")["CiphertextBlob"]
    kms.rotate_key_on_demand(KeyId=key)
    new = kms.encrypt(KeyId=key, Plaintext=b"new")["CiphertextBlob"]
    opened = [there.decrypt(CiphertextBlob=blob) for blob in (old, new)]
    assert [answer["Plaintext"] for answer in opened] == [b"old", b"new"]
    assert opened[0]["KeyMaterialId"] != opened[1]["KeyMaterialId"]
    assert described(there, key)["CurrentKeyMaterialId"] == opened[1]["KeyMaterialId"]
    assert there.generate_data_key(KeyId=key, KeySpec="AES_256")["KeyMaterialId"] == opened[1]["KeyMaterialId"]
    listed = [client.list_key_rotations(KeyId=key)["Rotations"] for client in (kms, there)]
    assert listed[0] == listed[1]
    assert [each["RotationType"] for each in listed[0]] == ["ON_DEMAND"]

    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=100)
    status = [client.get_key_rotation_status(KeyId=key) for client in (kms, there)]
    for each in status:
        each.pop("ResponseMetadata")
    assert status[0] == status[1]
    assert (status[0]["KeyRotationEnabled"], status[0]["RotationPeriodInDays"]) == (True, 100)
    refused = ("UnsupportedOperationException", f"{arn(key, region)} is not a multi-region primary key.")
    for change in (there.enable_key_rotation, there.disable_key_rotation, there.rotate_key_on_demand):
        assert refusal(change, KeyId=key) == refused


# --- the primary ------------------------------------------------------------------------------------------------------


def test_the_primary_changes_its_region(kms: Any, there: Any, key: str, region: str) -> None:
    """Both go on to work, under their ARNs; the rotation is set in the new Region."""
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    kms.enable_key_rotation(KeyId=key)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms.update_primary_region(KeyId=key, PrimaryRegion=region)
    assert regions_of(kms, key) == ("REPLICA", arn(key, region), [arn(key)])
    assert regions_of(there, key) == ("PRIMARY", arn(key, region), [arn(key)])
    for client in (kms, there):
        assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
        assert client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True
        assert described(client, key)["KeyState"] == "Enabled"
    there.rotate_key_on_demand(KeyId=key)
    assert refusal(kms.rotate_key_on_demand, KeyId=key)[0] == "UnsupportedOperationException"
    assert refusal(kms.update_primary_region, KeyId=key, PrimaryRegion=region) == (
        "UnsupportedOperationException",
        f"{arn(key)} is not a multi-region primary key.",
    )
    there.update_primary_region(KeyId=key, PrimaryRegion=REGION)
    assert regions_of(kms, key)[0] == "PRIMARY"


def test_the_primary_moves_to_no_region_without_a_replica(kms: Any, there: Any, key: str, region: str) -> None:
    """Nor to itself, nor to a replica that cannot be used."""
    assert refusal(kms.update_primary_region, KeyId=key, PrimaryRegion=region) == (
        "NotFoundException",
        f"Key '{arn(key, region)}' does not exist",
    )
    assert refusal(kms.update_primary_region, KeyId=key, PrimaryRegion=REGION)[0] == "UnsupportedOperationException"
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    there.disable_key(KeyId=key)
    refused = ("DisabledException", f"{arn(key, region)} is disabled.")
    assert refusal(kms.update_primary_region, KeyId=key, PrimaryRegion=region) == refused
    assert regions_of(there, key)[0] == "REPLICA"


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_primary_with_replicas_waits_for_their_end(kms: Any, there: Any, key: str, region: str) -> None:
    """Without a date, until then; and it may be kept."""
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    answer = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=9)
    assert (answer["KeyState"], answer["PendingWindowInDays"]) == ("PendingReplicaDeletion", 9)
    assert "DeletionDate" not in answer
    leaving = described(kms, key)
    assert (leaving["KeyState"], leaving["PendingDeletionWindowInDays"]) == ("PendingReplicaDeletion", 9)
    assert "DeletionDate" not in leaving
    refused = ("KMSInvalidStateException", f"{arn(key)} is pending replica deletion.")
    assert refusal(kms.encrypt, KeyId=key, Plaintext=b"x") == refused
    assert refusal(kms.replicate_key, KeyId=key, ReplicaRegion=fresh_region()) == refused
    assert there.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"

    gone = there.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert (gone["KeyState"], "DeletionDate" in gone) == ("PendingDeletion", True)
    assert refusal(kms.replicate_key, KeyId=key, ReplicaRegion=region)[0] == "KMSInvalidStateException"
    for client in (there, kms):
        assert client.cancel_key_deletion(KeyId=key)["KeyId"] == described(client, key)["Arn"]
        assert described(client, key)["KeyState"] == "Disabled"
        assert "PendingDeletionWindowInDays" not in described(client, key)
        client.enable_key(KeyId=key)
        assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


# --- imported material ------------------------------------------------------------------------------------------------


def test_each_region_is_given_the_same_material(kms: Any, there: Any, region: str, tmp_path: Path) -> None:
    """The replica waits for it, and takes no other."""
    key = kms.create_key(MultiRegion=True, Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    assert refusal(kms.replicate_key, KeyId=key, ReplicaRegion=region) == (
        "KMSInvalidStateException",
        f"{arn(key)} is pending import.",
    )

    def give(client: Any, material: bytes) -> Any:
        asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
        parameters = client.get_parameters_for_import(KeyId=key, **asked)
        wrapped = wrapped_by_openssl(tmp_path, parameters["PublicKey"], material)
        return {"ImportToken": parameters["ImportToken"], "EncryptedKeyMaterial": wrapped, "ExpirationModel": KEEPS}

    kms.import_key_material(KeyId=key, **give(kms, MATERIAL))
    made = kms.replicate_key(KeyId=key, ReplicaRegion=region)["ReplicaKeyMetadata"]
    assert (made["KeyState"], made["Enabled"], made["Origin"]) == ("PendingImport", False, "EXTERNAL")
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    other = give(there, MATERIAL[::-1])
    assert refusal(there.import_key_material, KeyId=key, **other)[0] == "IncorrectKeyMaterialException"
    there.import_key_material(KeyId=key, **give(there, MATERIAL))
    assert there.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    kms.delete_imported_key_material(KeyId=key)
    assert (described(kms, key)["KeyState"], described(there, key)["KeyState"]) == ("PendingImport", "Enabled")
    assert there.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


# --- who may ----------------------------------------------------------------------------------------------------------


ANYTHING = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}


def when(action: str, *, resource: str = "*", **equals: str) -> dict[str, Any]:
    """A statement that allows an action where these condition keys of KMS have these values."""
    condition = {"StringEquals": {name.replace("_", ":"): value for name, value in equals.items()}}
    return {"Effect": "Allow", "Action": f"kms:{action}", "Resource": resource, "Condition": condition}


def both(server: Server, region: str, *statements: dict[str, Any]) -> tuple[Any, Any]:
    """The clients of a user with these rights, here and in the other Region."""
    pair = user(server, *statements).pair
    return tuple(_client(server, where, pair=pair) for where in (REGION, region))


def test_replicating_needs_rights_in_both_regions(server: Server, kms: Any, there: Any, region: str, key: str) -> None:
    """ReplicateKey on the primary, for that Region; CreateKey in that Region; TagResource for tags."""
    replicate = when("ReplicateKey", resource=arn(key), kms_ReplicaRegion=region, kms_MultiRegionKeyType="PRIMARY")
    create = when("CreateKey", aws_RequestedRegion=region, kms_MultiRegionKeyType="REPLICA", kms_MultiRegion="true")
    tag = when("TagResource", resource=arn(key, region), aws_RequestedRegion=region)
    tags = [{"TagKey": "a", "TagValue": "b"}]
    for statements, action, resource in (
        ((create,), "ReplicateKey", arn(key)),
        ((replicate,), "CreateKey", "*"),
        ((replicate, create), "TagResource", arn(key, region)),
    ):
        here, _ = both(server, region, *statements)
        code, text = refusal(here.replicate_key, KeyId=key, ReplicaRegion=region, Tags=tags)
        assert (code, f"is not authorized to perform: kms:{action} on resource: {resource} " in text) == (DENIED, True)
    here, elsewhere = both(server, region, replicate, create, tag)
    assert refusal(here.replicate_key, KeyId=key, ReplicaRegion=fresh_region())[0] == DENIED
    assert refusal(here.create_key, MultiRegion=True)[0] == DENIED
    assert refusal(elsewhere.create_key, MultiRegion=True)[0] == DENIED
    here.replicate_key(KeyId=key, ReplicaRegion=region, Tags=tags)
    assert described(there, key)["KeyState"] == "Enabled"


def test_who_may_make_keys_of_one_region_makes_no_others(server: Server, region: str) -> None:
    """kms:MultiRegion tells them apart, also where a key is used."""
    single = {"Condition": {"Bool": {"kms:MultiRegion": "false"}}}
    here, _ = both(server, region, {**ANYTHING, **single})
    assert refusal(here.create_key, MultiRegion=True)[0] == DENIED
    own = here.create_key()["KeyMetadata"]["KeyId"]
    here.encrypt(KeyId=own, Plaintext=b"x")


def test_a_key_policy_is_its_regions_own(server: Server, kms: Any, region: str, key: str) -> None:
    """What it allows in one Region it does not allow in the other."""
    somebody = user(server)
    policy = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    use = {"Effect": "Allow", "Principal": {"AWS": somebody.arn}, "Action": ["kms:Encrypt", "kms:Decrypt"]}
    policy["Statement"].append({**use, "Resource": "*"})
    kms.replicate_key(KeyId=key, ReplicaRegion=region, Policy=json.dumps(policy))
    here, there = (_client(server, where, pair=somebody.pair) for where in (REGION, region))
    blob = there.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert there.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert refusal(here.decrypt, CiphertextBlob=blob)[0] == DENIED


def test_the_primary_is_moved_by_who_may_at_both_keys(
    server: Server, kms: Any, there: Any, region: str, key: str
) -> None:
    """At the primary and at the replica, and to that Region."""
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    at_primary = when("UpdatePrimaryRegion", resource=arn(key), kms_PrimaryRegion=region)
    at_replica = when("UpdatePrimaryRegion", resource=arn(key, region), aws_RequestedRegion=region)
    for statements, resource in (((at_replica,), arn(key)), ((at_primary,), arn(key, region))):
        here, _ = both(server, region, *statements)
        code, text = refusal(here.update_primary_region, KeyId=key, PrimaryRegion=region)
        assert (code, f"kms:UpdatePrimaryRegion on resource: {resource} " in text) == (DENIED, True)
    here, _ = both(server, region, at_primary, at_replica)
    here.update_primary_region(KeyId=key, PrimaryRegion=region)
    assert regions_of(there, key)[0] == "PRIMARY"


def test_a_multi_region_key_is_changed_by_its_own_account(server: Server, kms: Any, region: str, key: str) -> None:
    """Whatever its policy says of another one."""
    other = "2" * 12
    policy = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    foreign = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{other}:root"}, "Action": "kms:*"}
    policy["Statement"].append({**foreign, "Resource": "*"})
    kms.put_key_policy(KeyId=key, Policy=json.dumps(policy))
    them = _client(server, REGION, pair=user(server, ANYTHING, account=other).pair)
    them.encrypt(KeyId=arn(key), Plaintext=b"x")
    assert refusal(them.replicate_key, KeyId=arn(key), ReplicaRegion=region)[0] == DENIED
    assert refusal(them.update_primary_region, KeyId=arn(key), PrimaryRegion=region)[0] == DENIED


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_and_its_replica_are_sealed_under_one_multi_region_key(
    server: Server, api: Any, kms: Any, there: Any, region: str, key: str, name: str
) -> None:
    """Each in its Region, through a rotation of the key, a change of its primary, and a lost Region's key."""
    kms.replicate_key(KeyId=key, ReplicaRegion=region)
    replicas = [{"Region": region, "KmsKeyId": arn(key, region)}]
    made = api.create_secret(Name=name, SecretString="one", KmsKeyId=key, AddReplicaRegions=replicas)
    assert [each["Status"] for each in made["ReplicationStatus"]] == ["InSync"]
    copy = server.client(region)

    def values() -> list[str]:
        return [client.get_secret_value(SecretId=name)["SecretString"] for client in (api, copy)]

    assert values() == ["one", "one"]
    kms.rotate_key_on_demand(KeyId=key)
    assert values() == ["one", "one"]
    api.put_secret_value(SecretId=name, SecretString="two")
    kms.update_primary_region(KeyId=key, PrimaryRegion=region)
    there.rotate_key_on_demand(KeyId=key)
    assert values() == ["two", "two"]
    kms.disable_key(KeyId=key)
    assert copy.get_secret_value(SecretId=name)["SecretString"] == "two"
    assert refusal(api.get_secret_value, SecretId=name)[0] == "DecryptionFailure"


def test_one_of_many_makes_the_replica(server: Server, there: Any, kms: Any, region: str, key: str) -> None:
    """Asked for at once it is made once, of the material that is current while it is rotated."""
    clients = [server.client(service="kms") for _ in range(6)]

    def ask(client: Any) -> str:
        try:
            client.replicate_key(KeyId=key, ReplicaRegion=region)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "made"

    with ThreadPoolExecutor(len(clients) + 1) as pool:
        asked = [pool.submit(ask, client) for client in clients]
        rotated = pool.submit(server.client(service="kms").rotate_key_on_demand, KeyId=key)
        assert sorted(each.result() for each in asked) == ["AlreadyExistsException"] * 5 + ["made"]
        rotated.result()
    assert described(there, key)["CurrentKeyMaterialId"] == described(kms, key)["CurrentKeyMaterialId"]
    assert len(there.list_key_rotations(KeyId=key)["Rotations"]) == 1
