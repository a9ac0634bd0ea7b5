"""Replication between Regions on the wire (aws-contract A13, and A12 where a secret has replicas)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.server import Server, fresh_region, refusal, stages
from tests.conformance.test_lifecycle import NOT_FOUND

ON_REPLICA = (
    "InvalidParameterException",
    "Operation not permitted on a replica secret. Call must be made in primary secret's region.",
)
DEFAULT = "alias/aws/secretsmanager"
POLICY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, '
    '"Action": "secretsmanager:GetSecretValue", "Resource": "*"}]}'
)


@pytest.fixture
def there(server: Server, region: str) -> Any:
    """A client in the Region of the replica."""
    return server.client(region)


def statuses(answer: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and key of each replica of an answer, by Region."""
    return {entry["Region"]: (entry["Status"], entry["KmsKeyId"]) for entry in answer["ReplicationStatus"]}


def test_a_replica_has_the_primarys_name_suffix_value_tags_and_policy(
    api: Any, there: Any, name: str, region: str
) -> None:
    """Its ARN differs in the Region only; both show the primary's Region, and the primary its replicas."""
    created = api.create_secret(
        Name=name, SecretString="v", Tags=[{"Key": "k", "Value": "v"}], AddReplicaRegions=[{"Region": region}]
    )
    assert {region: ("InSync", DEFAULT)} == statuses(created)
    api.put_resource_policy(SecretId=name, ResourcePolicy=POLICY)
    primary, replica = api.describe_secret(SecretId=name), there.describe_secret(SecretId=name)
    assert created["ARN"].replace("us-east-1", region) == replica["ARN"]
    assert (primary["PrimaryRegion"], replica["PrimaryRegion"]) == ("us-east-1", "us-east-1")
    assert {region: ("InSync", DEFAULT)} == statuses(primary)
    assert "ReplicationStatus" not in replica
    for member in ("Tags", "VersionIdsToStages"):
        assert primary[member] == replica[member]
    assert there.get_resource_policy(SecretId=name)["ResourcePolicy"] == POLICY
    value = there.get_secret_value(SecretId=replica["ARN"])
    assert ("v", created["VersionId"]) == (value["SecretString"], value["VersionId"])


def test_changes_at_the_primary_are_seen_at_the_replica(api: Any, there: Any, name: str, region: str) -> None:
    """Values, labels, metadata and tags follow."""
    api.create_secret(Name=name, SecretString="v")
    api.replicate_secret_to_regions(SecretId=name, AddReplicaRegions=[{"Region": region}])
    api.put_secret_value(SecretId=name, SecretString="w", VersionStages=["AWSCURRENT", "mine"])
    api.update_secret(SecretId=name, Description="d")
    api.tag_resource(SecretId=name, Tags=[{"Key": "k", "Value": "v"}])
    assert there.get_secret_value(SecretId=name, VersionStage="mine")["SecretString"] == "w"
    assert stages(api, name) == stages(there, name)
    replica = there.describe_secret(SecretId=name)
    assert (replica["Description"], replica["Tags"]) == ("d", [{"Key": "k", "Value": "v"}])


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("put_secret_value", {"SecretString": "w"}),
        ("update_secret", {"Description": "d"}),
        ("update_secret", {"SecretString": "w"}),
        ("update_secret_version_stage", {"VersionStage": "mine"}),
        ("tag_resource", {"Tags": [{"Key": "k", "Value": "v"}]}),
        ("untag_resource", {"TagKeys": ["k"]}),
        ("put_resource_policy", {"ResourcePolicy": POLICY}),
        ("delete_resource_policy", {}),
        ("delete_secret", {}),
        ("delete_secret", {"ForceDeleteWithoutRecovery": True}),
        ("replicate_secret_to_regions", {"AddReplicaRegions": [{"Region": "eu-west-3"}]}),
        ("remove_regions_from_replication", {"RemoveReplicaRegions": ["us-east-1"]}),
    ],
)
def test_a_replica_is_not_written_to(
    api: Any, there: Any, name: str, region: str, operation: str, members: dict[str, Any]
) -> None:
    """AWS's text sends the caller to the primary's Region; it can be read."""
    api.create_secret(Name=name, SecretString="v", AddReplicaRegions=[{"Region": region}])
    assert refusal(getattr(there, operation), SecretId=name, **members) == ON_REPLICA
    assert there.get_secret_value(SecretId=name)["SecretString"] == "v"


def test_a_primary_with_replicas_is_not_deleted(server: Server, api: Any, name: str, region: str) -> None:
    """The text names the Regions; without replicas it can be deleted."""
    other = fresh_region()
    api.create_secret(Name=name, AddReplicaRegions=[{"Region": region}, {"Region": other}])
    both = ", ".join(sorted((region, other)))
    for members in ({}, {"ForceDeleteWithoutRecovery": True}):
        code, message = refusal(api.delete_secret, SecretId=name, **members)
        assert code == "InvalidParameterException"
        assert f"You can't delete secret {name} that still has replica regions [{both}]" in message
    answer = api.remove_regions_from_replication(SecretId=name, RemoveReplicaRegions=[region])
    assert {other: ("InSync", DEFAULT)} == statuses(answer)
    api.remove_regions_from_replication(SecretId=name, RemoveReplicaRegions=[other])
    assert refusal(server.client(region).describe_secret, SecretId=name) == NOT_FOUND
    api.delete_secret(SecretId=name)


def test_a_name_that_is_taken_there_fails_and_says_so(api: Any, there: Any, name: str, region: str) -> None:
    """The primary is made all the same; ForceOverwriteReplicaSecret replaces what is there."""
    there.create_secret(Name=name, SecretString="theirs")
    created = api.create_secret(Name=name, SecretString="ours", AddReplicaRegions=[{"Region": region}])
    (status,) = created["ReplicationStatus"]
    assert (
        status["Status"],
        status["StatusMessage"],
    ) == ("Failed", "Secret with this name already exists in this region")
    assert there.get_secret_value(SecretId=name)["SecretString"] == "theirs"
    answer = api.replicate_secret_to_regions(
        SecretId=name, AddReplicaRegions=[{"Region": region}], ForceOverwriteReplicaSecret=True
    )
    assert {region: ("InSync", DEFAULT)} == statuses(answer)
    assert there.get_secret_value(SecretId=name)["SecretString"] == "ours"


def test_a_promoted_replica_stands_alone_with_its_arn(api: Any, there: Any, name: str, region: str) -> None:
    """It is written to from then on, and follows the old primary no more."""
    api.create_secret(Name=name, SecretString="v", AddReplicaRegions=[{"Region": region}])
    arn = there.describe_secret(SecretId=name)["ARN"]
    assert arn == there.stop_replication_to_replica(SecretId=name)["ARN"]
    there.put_secret_value(SecretId=arn, SecretString="w")
    assert "PrimaryRegion" not in there.describe_secret(SecretId=name)
    assert "ReplicationStatus" not in api.describe_secret(SecretId=name)
    assert api.get_secret_value(SecretId=name)["SecretString"] == "v"
    assert refusal(api.stop_replication_to_replica, SecretId=name)[0] == "InvalidParameterException"


def test_a_replica_has_a_key_of_its_own_region(server: Server, api: Any, there: Any, name: str, region: str) -> None:
    """The status names it, and so does the replica; a key of another Region fails."""
    key = server.kms_key(region=region)
    api.create_secret(Name=name, SecretString="v")
    named = [{"Region": region, "KmsKeyId": key}]
    answer = api.replicate_secret_to_regions(SecretId=name, AddReplicaRegions=named)
    assert {region: ("InSync", key)} == statuses(answer)
    assert key == there.describe_secret(SecretId=name)["KmsKeyId"]
    assert there.get_secret_value(SecretId=name)["SecretString"] == "v"
    elsewhere = fresh_region()
    answer = api.replicate_secret_to_regions(SecretId=name, AddReplicaRegions=[{"Region": elsewhere, "KmsKeyId": key}])
    assert statuses(answer)[elsewhere][0] == "Failed"


@pytest.mark.parametrize("wanted", [["us-east-1"], ["eu-north-1", "eu-north-1"]], ids=["its own", "twice"])
def test_a_region_that_makes_no_sense_is_refused(api: Any, name: str, wanted: list[str]) -> None:
    """The primary's own Region, or one that is named twice."""
    api.create_secret(Name=name)
    regions = [{"Region": region} for region in wanted]
    assert (
        refusal(api.replicate_secret_to_regions, SecretId=name, AddReplicaRegions=regions)[0]
        == "InvalidParameterException"
    )
    assert "ReplicationStatus" not in api.describe_secret(SecretId=name)
    assert (
        refusal(api.remove_regions_from_replication, SecretId=name, RemoveReplicaRegions=wanted)[0]
        == "InvalidParameterException"
    )


def test_cross_account_replicas_are_a_clear_unsupported_operation(api: Any, name: str) -> None:
    """Every way to ask for one."""
    arn = api.create_secret(Name=name)["ARN"]
    calls = [
        (api.create_secret, {"Name": f"{name}/x", "CrossAccountPrimaryARN": arn}),
        (api.associate_cross_account_replica, {"SecretId": name, "CrossAccountReplicaARN": arn}),
        (api.disassociate_cross_account_replica, {"SecretId": name, "CrossAccountReplicaARN": arn}),
    ]
    assert {"UnsupportedOperationException"} == {refusal(call, **members)[0] for call, members in calls}
