"""The whole service model: every operation, every member of a request, and every member of an answer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from tests.conformance.server import Server, fresh, fresh_region, until
from tests.support.servers import PostgresServer

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "compatibility.md"
MODEL = (
    boto3.Session(region_name="us-east-1")
    .client("secretsmanager", aws_access_key_id="x", aws_secret_access_key="x")
    .meta.service_model
)
OPERATIONS: list[str] = sorted(MODEL.operation_names)
UNSUPPORTED = {"AssociateCrossAccountReplica", "DisassociateCrossAccountReplica"}
# What an answer never holds: replicas in other accounts, and secrets that an AWS service owns.
NEVER_ANSWERED = {
    "CreateSecret.ReplicationStatus.LastAccessedDate",
    "DescribeSecret.CrossAccountPrimary",
    "DescribeSecret.CrossAccountReplicas",
    "DescribeSecret.OwningService",
    "ListSecrets.SecretList.OwningService",
    "ListResourcePolicies.NextToken",  # there is one policy at the most
}


# --- requests --------------------------------------------------------------------------------------------------------


def request_members(shape: Shape, inside: str = "") -> Iterator[tuple[str, Any]]:
    """Each member of a request with a document in which that member, and nothing else, has the wrong JSON type."""
    if not isinstance(shape, StructureShape):
        return
    for member, kind in shape.members.items():
        wrong: Any = [] if kind.type_name == "structure" else {}
        yield f"{inside}{member}", {member: wrong}
        within = kind.member if isinstance(kind, ListShape) else kind
        for path, document in request_members(within, f"{inside}{member}."):
            yield path, {member: [document] if isinstance(kind, ListShape) else document}


MEMBERS = [
    pytest.param(operation, document, id=f"{operation}.{path}")
    for operation in OPERATIONS
    for path, document in request_members(MODEL.operation_model(operation).input_shape)
]


@pytest.mark.parametrize(("operation", "document"), MEMBERS)
def test_every_member_of_a_request_is_known(server: Server, operation: str, document: Any) -> None:
    """A member of the wrong type is refused, so it is read: members that nobody knows are ignored."""
    answer = server.post(operation, document)
    assert (answer.status, answer.error[0]) == (400, "SerializationException")


def valid(shape: Shape) -> Any:
    """The least that a shape takes."""
    if isinstance(shape, StructureShape):
        return {member: valid(shape.members[member]) for member in shape.required_members}
    if isinstance(shape, ListShape):
        return [valid(shape.member)] * shape.metadata.get("min", 0)
    if shape.name == "RegionType":
        return "eu-west-1"
    return {"string": "x" * shape.metadata.get("min", 1), "boolean": False}[shape.type_name]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_served_or_says_that_it_is_not(server: Server, operation: str) -> None:
    """An operation that is not built answers UnsupportedOperationException, and the guide lists it."""
    members = valid(MODEL.operation_model(operation).input_shape)
    answer = server.post(operation, members)
    code = "" if answer.status == 200 else answer.error[0]
    assert code != "UnknownOperationException"
    assert (code == "UnsupportedOperationException") is (operation in UNSUPPORTED)
    assert operation not in UNSUPPORTED or f"`{operation}`" in GUIDE.read_text(encoding="utf-8")


def test_the_guide_lists_what_the_model_knows() -> None:
    """In its table of what is not supported stand every such operation, and nothing but operations and members."""
    table = GUIDE.read_text(encoding="utf-8").partition("UnsupportedOperationException")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", table))
    known = {member for operation in OPERATIONS for member in MODEL.operation_model(operation).input_shape.members}
    assert UNSUPPORTED <= named <= known | set(OPERATIONS)


# --- answers ---------------------------------------------------------------------------------------------------------


class Recorder:
    """Sends requests, checks each answer against the model's output shape, and keeps the members it has seen."""

    def __init__(self, server: Server, region: str) -> None:
        self._server = server
        self.region = region
        self.seen: set[str] = set()

    def __call__(self, operation: str, _region: str | None = None, **members: Any) -> Any:
        kinds = MODEL.operation_model(operation).input_shape.members
        if "ClientRequestToken" in kinds:
            members.setdefault("ClientRequestToken", fresh("token")[:64])
        answer = self._server.post(operation, members, region=_region or self.region)
        assert answer.status == 200, answer.body
        shape = MODEL.operation_model(operation).output_shape
        if shape is None:
            assert answer.json == {}
        else:
            self._check(shape, answer.json, operation)
        return answer.json

    def _check(self, shape: Shape, value: Any, path: str) -> None:
        assert value is not None, path
        if isinstance(shape, StructureShape):
            assert type(value) is dict, path
            assert set(value) <= set(shape.members), path
            assert set(value) >= set(shape.required_members), path
            for member, inner in value.items():
                self.seen.add(f"{path}.{member}")
                self._check(shape.members[member], inner, f"{path}.{member}")
        elif isinstance(shape, ListShape):
            assert type(value) is list, path
            for item in value:
                self._check(shape.member, item, path)
        elif isinstance(shape, MapShape):
            for key, item in value.items():
                self._check(shape.key, key, path)
                self._check(shape.value, item, path)
        else:
            assert type(value) in JSON_TYPES[shape.type_name], path
            if shape.type_name == "blob":
                base64.b64decode(value, validate=True)
            if "enum" in shape.metadata:
                assert value in shape.metadata["enum"], path


JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "blob": (str,), "boolean": (bool,), "integer": (int,), "long": (int,), "timestamp": (int, float),
}  # fmt: skip


def answer_members(shape: Shape | None, path: str) -> Iterator[str]:
    """Each member that an answer may have."""
    if isinstance(shape, ListShape):
        yield from answer_members(shape.member, path)
    elif isinstance(shape, StructureShape):
        for member, kind in shape.members.items():
            yield f"{path}.{member}"
            yield from answer_members(kind, f"{path}.{member}")


def test_every_answer_is_of_its_shape_and_every_member_is_used(server: Server, postgres: PostgresServer) -> None:
    """In a life of a few secrets each answer holds what the model knows, nothing else, and together they hold all."""
    call = Recorder(server, fresh_region())
    elsewhere = fresh_region()
    _rotated_and_replicated(call, elsewhere, postgres)
    _values(call)
    _policies(call)
    _endings(call, elsewhere)
    everything = {
        member
        for operation in OPERATIONS
        if operation not in UNSUPPORTED
        for member in answer_members(MODEL.operation_model(operation).output_shape, operation)
    }
    never = {member for member in everything if any((member + ".").startswith(f"{left}.") for left in NEVER_ANSWERED)}
    assert set() == never & call.seen
    assert set() == everything - never - call.seen


def _rotated_and_replicated(call: Recorder, elsewhere: str, postgres: PostgresServer) -> None:
    """A secret `db` with all that a secret can have."""
    call("CreateSecret", elsewhere, Name="taken")
    call("CreateSecret", Name="taken", AddReplicaRegions=[{"Region": elsewhere}, {"Region": fresh_region()}])
    value = postgres.new_user().to_json().reveal()
    tags = [{"Key": "k", "Value": "v"}]
    call("CreateSecret", Name="db", Description="d", Type="t", SecretString=value, Tags=tags)
    call("UpdateSecret", SecretId="db", KmsKeyId=call._server.kms_key(region=call.region))
    function = f"arn:aws:lambda:{call.region}:123456789012:function:keywheel-postgres-single-user"
    external = [{"Key": "k", "Value": "v"}]
    role = "arn:aws:iam::123456789012:role/rotates"
    call(
        "RotateSecret",
        SecretId="db",
        RotationLambdaARN=function,
        RotationRules={"ScheduleExpression": "rate(10 days)", "Duration": "3h"},
        ExternalSecretRotationMetadata=external,
        ExternalSecretRotationRoleArn=role,
    )
    until(lambda: call("DescribeSecret", SecretId="db").get("LastRotatedDate"))
    call("ReplicateSecretToRegions", SecretId="db", AddReplicaRegions=[{"Region": elsewhere}])
    call("ReplicateSecretToRegions", SecretId="taken", AddReplicaRegions=[{"Region": elsewhere}])
    another = fresh_region()
    for region in (call.region, elsewhere):
        call("GetSecretValue", region, SecretId="db")
        until(lambda: call("DescribeSecret", region, SecretId="db").get("LastAccessedDate"))  # noqa: B023 - at once
    call("ReplicateSecretToRegions", SecretId="db", AddReplicaRegions=[{"Region": another}])
    call("RemoveRegionsFromReplication", SecretId="db", RemoveReplicaRegions=[another])
    described = call("DescribeSecret", SecretId="db")
    assert (external, role) == (
        described["ExternalSecretRotationMetadata"],
        described["ExternalSecretRotationRoleArn"],
    )
    call("DescribeSecret", SecretId="taken")
    call("ListSecrets", MaxResults=1)


def _values(call: Recorder) -> None:
    call("CreateSecret", Name="binary", SecretBinary="AP8=")
    call("PutSecretValue", SecretId="binary", SecretBinary="AP8=", VersionStages=["mine"])
    call("UpdateSecret", SecretId="binary", SecretBinary="AP8=")
    call("UpdateSecretVersionStage", SecretId="binary", VersionStage="mine", RemoveFromVersionId=_holder(call, "mine"))
    call("GetSecretValue", SecretId="binary")
    call("GetSecretValue", SecretId="db")
    call("BatchGetSecretValue", SecretIdList=["binary", "db", "missing"])
    call("BatchGetSecretValue", Filters=[{"Key": "all", "Values": ["binary", "db"]}], MaxResults=1)
    call("ListSecretVersionIds", SecretId="binary", MaxResults=1, IncludeDeprecated=True)
    call("ListSecretVersionIds", SecretId="db")
    call("GetRandomPassword", PasswordLength=20, IncludeSpace=True)
    call("TagResource", SecretId="binary", Tags=[{"Key": "k", "Value": "v"}])
    call("UntagResource", SecretId="binary", TagKeys=["k"])


def _holder(call: Recorder, label: str) -> str:
    stages: dict[str, list[str]] = call("DescribeSecret", SecretId="binary")["VersionIdsToStages"]
    return next(version for version, labels in stages.items() if label in labels)


def _policies(call: Recorder) -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    call("ValidateResourcePolicy", SecretId="db", ResourcePolicy=policy)
    call("PutResourcePolicy", SecretId="db", ResourcePolicy=policy, BlockPublicPolicy=False)
    call("GetResourcePolicy", SecretId="db")
    call("ListResourcePolicies", SecretId="db", MaxResults=1)
    call("DeleteResourcePolicy", SecretId="db")


def _endings(call: Recorder, elsewhere: str) -> None:
    # A cancelled rotation is named in the answer.
    call("CreateSecret", Name="stuck", SecretString="no JSON")
    function = f"arn:aws:lambda:{call.region}:123456789012:function:keywheel-postgres-single-user"
    call("RotateSecret", SecretId="stuck", RotationLambdaARN=function)
    call("CancelRotateSecret", SecretId="stuck")
    call("ReplicateSecretToRegions", SecretId="binary", AddReplicaRegions=[{"Region": elsewhere}])
    call("ReplicateSecretToRegions", SecretId="binary", AddReplicaRegions=[{"Region": fresh_region()}])
    call("StopReplicationToReplica", elsewhere, SecretId="binary")
    states = call("DescribeSecret", SecretId="taken")["ReplicationStatus"]
    spare = next(state["Region"] for state in states if state["Region"] != elsewhere)
    call("RemoveRegionsFromReplication", SecretId="taken", RemoveReplicaRegions=[spare])
    call("RemoveRegionsFromReplication", SecretId="taken", RemoveReplicaRegions=[elsewhere])
    call("DeleteSecret", SecretId="taken", RecoveryWindowInDays=7)
    call("DescribeSecret", SecretId="taken")
    call("ListSecrets", IncludePlannedDeletion=True)
    call("RestoreSecret", SecretId="taken")
