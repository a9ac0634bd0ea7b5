"""keywheel's own operations on keys, by signed requests: what is not a request is refused, and nothing is a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from keywheel.access.access_keys import Role
from tests.conformance.server import Answer, Server, fresh_region

PREFIX = "keywheel."
OF_AN_ALIAS = [
    *("ScheduleAliasRotation", "UnscheduleAliasRotation", "StartAliasRotation"),
    *("DescribeAliasRotation", "ListAliasRotationEvents", "GetKeySet"),
]
MANY = 2**63
REFUSALS = ("ValidationException", "NotAuthorizedException", "SerializationException", "InvalidParameterException")


def post(server: Server, operation: str, members: Mapping[str, Any] | bytes, **options: Any) -> Answer:
    return server.post(operation, members, prefix=PREFIX, **options)


@pytest.mark.parametrize("operation", OF_AN_ALIAS)
@pytest.mark.parametrize(
    "name",
    ["", "alias/", "k", "alias/\0", "alias/ä", "alias/a b", "alias/aws/s3", "alias/" + "x" * 300, "alias/../x", 7],
)
def test_what_is_no_alias_is_refused(server: Server, operation: str, name: object) -> None:
    """With an error of the caller's."""
    answer = post(server, operation, {"AliasName": name})
    assert answer.status == 400
    assert answer.error[0] in REFUSALS


@pytest.mark.parametrize(
    "members",
    [
        {"ScheduleExpression": "rate(1 day)\0"},
        {"ScheduleExpression": "cron(" + "1," * 3000 + "1 0 1 * ? *)"},
        {"ScheduleExpression": f"rate({MANY} days)"},
        {"ScheduleExpression": "rate(99999 days)", "WindowSeconds": MANY - 1},
        {"GraceSeconds": MANY - 1},
        {"GraceSeconds": -1},
        {"LeadSeconds": MANY - 1},
        {"GraceSeconds": 0, "DeleteAfterSeconds": MANY - 1},
        {"DeletionWindowInDays": 2**31},
        {"GraceSeconds": "1d"},
        {"Restricted": "yes"},
    ],
)
def test_what_are_no_rules_is_refused(server: Server, members: dict[str, Any]) -> None:
    """Before it reaches the store."""
    region = fresh_region()
    server.kms_key(region=region, alias="alias/k")
    answer = post(server, "ScheduleAliasRotation", {"AliasName": "alias/k", **members}, region=region)
    assert answer.status == 400, answer
    assert post(server, "DescribeAliasRotation", {"AliasName": "alias/k"}, region=region).status == 400


@pytest.mark.parametrize(
    "members",
    [
        {"Days": 0},
        {"Days": MANY - 1},
        {"TagKey": "team"},
        {"TagKey": "", "TagValue": "x"},
        {"TagKey": "a\0", "TagValue": "x", "Standing": True},
        {"Days": "30"},
    ],
)
def test_what_is_no_bound_is_refused(server: Server, members: dict[str, Any]) -> None:
    """With an error of the caller's."""
    assert post(server, "EnforceKeyRotation", members).status == 400


def test_a_reader_looks_and_changes_nothing(server: Server) -> None:
    """Each operation is an action on the alias."""
    region, reader = fresh_region(), server.access_key(Role.READ_ONLY)
    server.kms_key(region=region, alias="alias/k")
    alias = {"AliasName": "alias/k"}
    assert post(server, "ScheduleAliasRotation", {**alias, "ScheduleExpression": "rate(9 days)"}, region=region).json
    for operation in ("ScheduleAliasRotation", "UnscheduleAliasRotation", "StartAliasRotation"):
        answer = post(server, operation, alias, region=region, pair=reader)
        assert answer.error[0] == "AccessDeniedException"
        assert f"keywheel:{operation} on resource: arn:aws:kms:{region}:" in answer.error[1]
    assert post(server, "EnforceKeyRotation", {}, region=region, pair=reader).status == 400
    found = post(server, "DescribeAliasRotation", alias, region=region, pair=reader)
    assert found.json["ScheduleExpression"] == "rate(9 days)"
    assert post(server, "ListAliasRotations", {}, region=region, pair=reader).json["AliasRotations"]
    assert post(server, "ListAliasRotations", {"NextToken": "\0"}, region=region).status == 400


def test_a_deleted_alias_takes_its_schedule_with_it(server: Server) -> None:
    """Another one of that name is another matter."""
    region = fresh_region()
    key_id = server.kms_key(region=region, alias="alias/k")
    alias = {"AliasName": "alias/k"}
    post(server, "ScheduleAliasRotation", {**alias, "ScheduleExpression": "rate(9 days)"}, region=region)
    kms = {"prefix": "TrentService.", "service": "kms", "region": region}
    assert server.post("DeleteAlias", alias, **kms).status == 200
    assert server.post("CreateAlias", {**alias, "TargetKeyId": key_id.rpartition("/")[2]}, **kms).status == 200
    found = post(server, "DescribeAliasRotation", alias, region=region).json
    assert "NextRotation" not in found
    assert "ScheduleExpression" not in found
