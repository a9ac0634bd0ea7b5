"""RotateSecret and CancelRotateSecret on the wire (aws-contract A7, A8.9), without a target that answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from keywheel.testing.network import closed_port
from tests.conformance.server import Server, fresh, refusal, stages, token, until
from tests.support.servers import PostgresServer

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:{}"
SINGLE = FUNCTION.format("keywheel-postgres-single-user")
MULTI = FUNCTION.format("keywheel-postgres-alternating-users")
CURRENT, PENDING = "AWSCURRENT", "AWSPENDING"

NO_FUNCTION = ("InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.")
CANNOT_INVOKE = (
    "AccessDeniedException",
    "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the "
    "principal secretsmanager.amazonaws.com.",
)
IN_PROGRESS = (
    "InvalidRequestException",
    "A previous rotation isn't complete. That rotation will be reattempted.",
)
ROTATION_MEMBERS = {"RotationEnabled", "RotationLambdaARN", "RotationRules", "NextRotationDate", "LastRotatedDate"}


def nowhere() -> str:
    """The secret of a user on a server that is down."""
    fields = {"engine": "postgres", "host": "127.0.0.1", "port": closed_port(), "username": "u", "password": "p"}
    return json.dumps(fields | {"ssl": False})


@pytest.fixture
def secret(api: Any) -> str:
    """A secret whose target is down, so that its rotation stays under way."""
    name = fresh("rotated")
    api.create_secret(Name=name, SecretString=nowhere())
    return name


@pytest.fixture
def broken(api: Any) -> str:
    """A secret from whose value no credential can be made, so that its pending version stays empty."""
    name = fresh("broken")
    api.create_secret(Name=name, SecretString="no JSON")
    return name


def rotation_members(api: Any, name: str) -> dict[str, Any]:
    """What DescribeSecret tells of rotation."""
    described = api.describe_secret(SecretId=name)
    return {member: described[member] for member in ROTATION_MEMBERS & described.keys()}


def start(api: Any, name: str, **members: Any) -> str:
    """RotateSecret; the pending version."""
    version = token()
    answer = api.rotate_secret(SecretId=name, ClientRequestToken=version, **members)
    assert version == answer["VersionId"]
    return version


# --- configuring ---------------------------------------------------------------------------------------------------


def test_without_a_function_nothing_is_rotated(api: Any, secret: str) -> None:
    """The first call must name one."""
    assert refusal(api.rotate_secret, SecretId=secret) == NO_FUNCTION
    assert refusal(api.rotate_secret, SecretId=secret, RotateImmediately=False) == NO_FUNCTION
    assert rotation_members(api, secret) == {}


@pytest.mark.parametrize(
    "function",
    [
        FUNCTION.format("nobody-made-this"),
        FUNCTION.format("keywheel-postgres-single-user").replace("us-east-1", "eu-west-1"),
        FUNCTION.format("keywheel-postgres-single-user").replace("123456789012", "999999999999"),
        FUNCTION.format("keywheel-postgres"),
        FUNCTION.format("KEYWHEEL-POSTGRES-SINGLE-USER"),
        "keywheel-postgres-single-user",
        "arn:aws:s3:::keywheel-postgres-single-user",
        "x",
    ],
)
def test_a_function_that_cannot_be_invoked_leaves_rotation_unconfigured(api: Any, secret: str, function: str) -> None:
    """AccessDeniedException with AWS's text, and DescribeSecret tells nothing of rotation."""
    for members in ({}, {"RotateImmediately": False}, {"RotationRules": {"AutomaticallyAfterDays": 5}}):
        assert refusal(api.rotate_secret, SecretId=secret, RotationLambdaARN=function, **members) == CANNOT_INVOKE
    assert rotation_members(api, secret) == {}
    assert [{CURRENT}] == list(stages(api, secret).values())


@pytest.mark.parametrize(
    "built_in",
    [
        "keywheel-postgres-single-user",
        "keywheel-postgres-alternating-users",
        "SecretsManagerRDSPostgreSQLRotationSingleUser",
        "SecretsManagerRDSPostgreSQLRotationMultiUser",
    ],
)
def test_built_in_functions_go_by_keywheels_names_and_by_aws_names(api: Any, name: str, built_in: str) -> None:
    """DescribeSecret shows the ARN as it was given."""
    api.create_secret(Name=name)
    api.rotate_secret(SecretId=name, RotationLambdaARN=FUNCTION.format(built_in), RotateImmediately=False)
    expected = {"RotationEnabled": True, "RotationLambdaARN": FUNCTION.format(built_in)}
    assert expected == rotation_members(api, name)


def test_omitted_members_keep_what_was_configured(api: Any, secret: str) -> None:
    """A later call may name another function, or other rules, or neither."""
    api.rotate_secret(
        SecretId=secret,
        RotationLambdaARN=SINGLE,
        RotationRules={"AutomaticallyAfterDays": 5, "Duration": "2h"},
        RotateImmediately=False,
    )
    until(lambda: stages(api, secret) if len(stages(api, secret)) == 1 else None)
    api.rotate_secret(SecretId=secret, RotationLambdaARN=MULTI, RotateImmediately=False)
    found = rotation_members(api, secret)
    assert (
        found["RotationLambdaARN"],
        found["RotationRules"],
    ) == (MULTI, {"AutomaticallyAfterDays": 5, "Duration": "2h"})
    until(lambda: stages(api, secret) if len(stages(api, secret)) == 1 else None)
    api.rotate_secret(SecretId=secret, RotationRules={"AutomaticallyAfterDays": 9}, RotateImmediately=False)
    found = rotation_members(api, secret)
    assert (found["RotationLambdaARN"], found["RotationRules"]) == (MULTI, {"AutomaticallyAfterDays": 9})


def test_days_and_an_expression_exclude_each_other(api: Any, secret: str) -> None:
    """With AWS's text."""
    both = {"AutomaticallyAfterDays": 5, "ScheduleExpression": "rate(5 days)"}
    expected = (
        "InvalidParameterException",
        "You cannot specify both rotation frequency and schedule expression together.",
    )
    assert expected == refusal(api.rotate_secret, SecretId=secret, RotationLambdaARN=SINGLE, RotationRules=both)
    assert rotation_members(api, secret) == {}


@pytest.mark.parametrize("days", [-1, 0, 1001, 2**40])
def test_days_are_1_to_1000(api: Any, secret: str, days: int) -> None:
    """Others are refused before anything is configured."""
    rules = {"AutomaticallyAfterDays": days}
    code, _ = refusal(api.rotate_secret, SecretId=secret, RotationLambdaARN=SINGLE, RotationRules=rules)
    assert code in ("InvalidParameterException", "ValidationException")
    assert rotation_members(api, secret) == {}


def test_external_secrets_are_a_clear_unsupported_operation(api: Any, secret: str) -> None:
    """Metadata without a function asks for a managed external secret, which is not built."""
    external = {"ExternalSecretRotationMetadata": [{"Key": "k", "Value": "v"}]}
    assert refusal(api.rotate_secret, SecretId=secret, **external)[0] == "UnsupportedOperationException"


# --- a rotation under way --------------------------------------------------------------------------------------------


def test_a_started_rotation_shows_its_pending_version_without_a_value(api: Any, broken: str) -> None:
    """RotateSecret answers at once with the token as the version that will become current."""
    version = token()
    answer = api.rotate_secret(SecretId=broken, ClientRequestToken=version, RotationLambdaARN=SINGLE)
    described = api.describe_secret(SecretId=broken)
    assert (described["ARN"], broken, version) == (answer["ARN"], answer["Name"], answer["VersionId"])
    assert {PENDING} == stages(api, broken)[version]
    for which in ({"VersionId": version}, {"VersionStage": PENDING}):
        assert refusal(api.get_secret_value, SecretId=broken, **which)[0] == "ResourceNotFoundException"
    listed = api.list_secret_version_ids(SecretId=broken, IncludeDeprecated=True)["Versions"]
    assert [entry["VersionStages"] for entry in listed] == [[CURRENT]]
    assert api.get_secret_value(SecretId=broken)["SecretString"] == "no JSON"
    assert "LastRotatedDate" not in described


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"RotateImmediately": False},
        {"RotationLambdaARN": MULTI},
        {"RotationRules": {"AutomaticallyAfterDays": 3}, "RotateImmediately": False},
    ],
    ids=["rotate", "test", "another function", "only the schedule"],
)
def test_a_rotation_under_way_refuses_another(api: Any, secret: str, members: dict[str, Any]) -> None:
    """With AWS's text, and what is configured stays."""
    version = start(api, secret, RotationLambdaARN=SINGLE)
    before = rotation_members(api, secret)
    assert refusal(api.rotate_secret, SecretId=secret, **members) == IN_PROGRESS
    assert before == rotation_members(api, secret)
    assert {PENDING} == stages(api, secret)[version]


def test_a_pending_label_put_by_hand_counts_as_a_rotation_under_way(api: Any, secret: str) -> None:
    """Any version that has AWSPENDING without AWSCURRENT does."""
    api.put_secret_value(SecretId=secret, SecretString="x", VersionStages=[PENDING])
    assert refusal(api.rotate_secret, SecretId=secret, RotationLambdaARN=SINGLE) == IN_PROGRESS
    assert rotation_members(api, secret) == {}


def test_pending_together_with_current_is_no_rotation_under_way(api: Any, secret: str) -> None:
    """As a function leaves it that does not clean up."""
    api.put_secret_value(SecretId=secret, SecretString=nowhere(), VersionStages=[CURRENT, PENDING])
    version = start(api, secret, RotationLambdaARN=SINGLE)
    assert {PENDING} == stages(api, secret)[version]


def test_the_same_token_starts_nothing_twice(api: Any, secret: str) -> None:
    """A call whose answer was lost may be sent again."""
    version = start(api, secret, RotationLambdaARN=SINGLE)
    again = api.rotate_secret(SecretId=secret, ClientRequestToken=version, RotationLambdaARN=SINGLE)
    assert version == again["VersionId"]
    assert len(stages(api, secret)) == 2


def test_the_empty_pending_version_takes_its_value_by_its_token(api: Any, broken: str) -> None:
    """That is how a rotation function writes it; another value with the same token is refused from then on."""
    version = start(api, broken, RotationLambdaARN=SINGLE)
    put = {"SecretId": broken, "ClientRequestToken": version, "VersionStages": [PENDING]}
    assert api.put_secret_value(SecretString="new", **put)["VersionStages"] == [PENDING]
    assert api.get_secret_value(SecretId=broken, VersionStage=PENDING)["SecretString"] == "new"
    assert api.get_secret_value(SecretId=broken)["SecretString"] == "no JSON"
    assert refusal(api.put_secret_value, SecretString="other", **put)[0] == "ResourceExistsException"


def test_current_does_not_move_to_a_version_without_a_value(api: Any, broken: str) -> None:
    """The secret would have nothing to read then."""
    version = start(api, broken, RotationLambdaARN=SINGLE)
    current = api.get_secret_value(SecretId=broken)["VersionId"]
    move = {"VersionStage": CURRENT, "MoveToVersionId": version, "RemoveFromVersionId": current}
    assert refusal(api.update_secret_version_stage, SecretId=broken, **move)[0] == "InvalidRequestException"
    assert stages(api, broken) == {current: {CURRENT}, version: {PENDING}}


def test_a_rotation_token_is_accepted_and_never_answered(api: Any, broken: str) -> None:
    """PutSecretValue takes one, as a function with an assumed role sends it."""
    answer = api.put_secret_value(SecretId=broken, SecretString="w", RotationToken=token())
    assert "RotationToken" not in answer


def test_a_value_put_by_hand_abandons_the_rotation(server: Server, api: Any, secret: str) -> None:
    """AWSPENDING goes, the journal says so, and the next rotation may start at once."""
    abandoned = start(api, secret, RotationLambdaARN=SINGLE)
    api.put_secret_value(SecretId=secret, SecretString=nowhere())
    assert abandoned not in stages(api, secret)
    journal = server.post("ListRotationEvents", {"SecretId": secret}, prefix="keywheel.").json["Events"]
    assert ("RotationAbandoned", abandoned) in [(event["Event"], event["VersionId"]) for event in journal]
    assert start(api, secret) in stages(api, secret)


def test_taking_pending_away_ends_a_rotation(api: Any, secret: str) -> None:
    """UpdateSecretVersionStage with RemoveFromVersionId only is how AWS's documents unblock one."""
    version = start(api, secret, RotationLambdaARN=SINGLE)
    api.update_secret_version_stage(SecretId=secret, VersionStage=PENDING, RemoveFromVersionId=version)
    assert [{CURRENT}] == list(stages(api, secret).values())
    assert start(api, secret) in stages(api, secret)


# --- a test instead of a rotation ------------------------------------------------------------------------------------


def test_not_rotating_immediately_tests_a_copy_and_takes_it_away(server: Server, api: Any, secret: str) -> None:
    """The call succeeds though the test fails later; the version it used is gone then, and AWSCURRENT is as before."""
    before = stages(api, secret)
    version = start(api, secret, RotationLambdaARN=SINGLE, RotateImmediately=False)
    until(lambda: server.rotation(secret).get("State") == "test failed" or None)
    assert before == stages(api, secret)
    assert refusal(api.get_secret_value, SecretId=secret, VersionId=version)[0] == "ResourceNotFoundException"
    found = rotation_members(api, secret)
    assert found == {"RotationEnabled": True, "RotationLambdaARN": SINGLE}
    events = server.post("ListRotationEvents", {"SecretId": secret}, prefix="keywheel.").json["Events"]
    assert [event["Event"] for event in events] == ["TestRotationFailed", "TestRotationStarted"]


def test_a_test_that_succeeds_changes_nothing(server: Server, api: Any, name: str, postgres: PostgresServer) -> None:
    """It logs in with the current value, and says so in the journal; the password stays."""
    value = postgres.new_user().to_json().reveal()
    version = api.create_secret(Name=name, SecretString=value)["VersionId"]
    start(api, name, RotationLambdaARN=SINGLE, RotateImmediately=False)
    until(lambda: server.rotation(name).get("State") == "ok" or None)
    assert {version: {CURRENT}} == stages(api, name)
    assert value == api.get_secret_value(SecretId=name)["SecretString"]
    events = server.post("ListRotationEvents", {"SecretId": name}, prefix="keywheel.").json["Events"]
    assert [event["Event"] for event in events] == ["TestRotationSucceeded", "TestRotationStarted"]
    assert "LastRotatedDate" not in rotation_members(api, name)


# --- cancelling ------------------------------------------------------------------------------------------------------


def test_cancelling_turns_rotation_off_and_keeps_its_configuration(api: Any, name: str) -> None:
    """RotationEnabled becomes false; function and rules are still shown, and no next date."""
    arn = api.create_secret(Name=name)["ARN"]
    rules = {"AutomaticallyAfterDays": 7}
    api.rotate_secret(SecretId=name, RotationLambdaARN=SINGLE, RotationRules=rules, RotateImmediately=False)
    assert "NextRotationDate" in rotation_members(api, name)
    answer = api.cancel_rotate_secret(SecretId=name)
    assert (arn, name) == (answer["ARN"], answer["Name"])
    expected = {"RotationEnabled": False, "RotationLambdaARN": SINGLE, "RotationRules": rules}
    assert expected == rotation_members(api, name)


def test_cancelling_stops_a_rotation_and_leaves_its_labels(server: Server, api: Any, secret: str) -> None:
    """The answer names its version; AWSPENDING stays and blocks the next rotation until somebody removes it."""
    version = start(api, secret, RotationLambdaARN=SINGLE)
    assert version == api.cancel_rotate_secret(SecretId=secret)["VersionId"]
    assert {PENDING} == stages(api, secret)[version]
    assert server.rotation(secret)["State"] == "off"
    assert refusal(api.rotate_secret, SecretId=secret) == IN_PROGRESS
    api.update_secret_version_stage(SecretId=secret, VersionStage=PENDING, RemoveFromVersionId=version)
    start(api, secret)
    assert rotation_members(api, secret)["RotationEnabled"] is True


def test_cancelling_what_was_never_configured_is_refused(api: Any, secret: str) -> None:
    """As a request that the secret's state does not allow."""
    assert refusal(api.cancel_rotate_secret, SecretId=secret)[0] == "InvalidRequestException"
    assert rotation_members(api, secret) == {}


# --- replicas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["rotate_secret", "cancel_rotate_secret"])
def test_a_replica_is_rotated_at_its_primary_only(
    server: Server, api: Any, name: str, region: str, operation: str
) -> None:
    """Whatever function is named, AWS's text sends the caller to the primary's Region."""
    api.create_secret(Name=name, SecretString=nowhere(), AddReplicaRegions=[{"Region": region}])
    there = server.client(region)
    expected = (
        "InvalidParameterException",
        "Operation not permitted on a replica secret. Call must be made in primary secret's region.",
    )
    call: Callable[..., Any] = getattr(there, operation)
    functions = [{}] if operation == "cancel_rotate_secret" else [{}, {"RotationLambdaARN": SINGLE}]
    for members in functions:
        assert expected == refusal(call, SecretId=name, **members)
    api.rotate_secret(SecretId=name, RotationLambdaARN=SINGLE, RotateImmediately=False)
    assert expected == refusal(call, SecretId=name)
