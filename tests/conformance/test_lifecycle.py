"""Names, ARNs, deletion and restoration (aws-contract A2, A4, A12)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keywheel.access.access_keys import Role
from tests.conformance.server import Server, fresh, refusal, token

NOT_FOUND = ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
MARKED = (
    "InvalidRequestException",
    "You can't perform this operation on the secret because it was marked for deletion.",
)
BAD_NAME = (
    "ValidationException",
    "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
)


def members(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what boto3 adds."""
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


# --- A2: what CreateSecret and DescribeSecret answer ---------------------------------------------------------------


def test_a_created_secret_answers_with_its_arn_name_and_version(api: Any, name: str) -> None:
    """The ARN is the name's in this account and Region, a hyphen and six alphanumerics; the token is the version."""
    version = token()
    answer = members(api.create_secret(Name=name, SecretString="v", ClientRequestToken=version))
    assert re.fullmatch(rf"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-[A-Za-z0-9]{{6}}", answer["ARN"])
    assert {"ARN": answer["ARN"], "Name": name, "VersionId": version} == answer


def test_a_secret_without_a_value_has_no_version(api: Any, name: str) -> None:
    """CreateSecret then answers no VersionId, and DescribeSecret shows no VersionIdsToStages."""
    assert set(members(api.create_secret(Name=name))) == {"ARN", "Name"}
    assert "VersionIdsToStages" not in api.describe_secret(SecretId=name)


def test_describe_shows_only_what_a_new_secret_has(api: Any, name: str) -> None:
    """Members that say "not" are left out: no rotation, no key, no description, no tags, no date of an access."""
    version = token()
    created = api.create_secret(Name=name, SecretString="v", ClientRequestToken=version)
    described = members(api.describe_secret(SecretId=name))
    now = datetime.now(UTC)
    for member in ("CreatedDate", "LastChangedDate"):
        assert now - timedelta(minutes=1) < described.pop(member) <= now + timedelta(seconds=1)
    assert {"ARN": created["ARN"], "Name": name, "VersionIdsToStages": {version: ["AWSCURRENT"]}} == described


def test_describe_shows_what_create_was_given(api: Any, name: str) -> None:
    """Description, type and tags come back as they were given."""
    tags = [{"Key": "team", "Value": "pay"}, {"Key": "empty", "Value": ""}]
    api.create_secret(Name=name, Description="of the till", Type="TillSecret", Tags=tags)
    described = api.describe_secret(SecretId=name)
    assert ("of the till", "TillSecret", tags) == (described["Description"], described["Type"], described["Tags"])


def test_update_secret_of_metadata_makes_no_version(api: Any, name: str) -> None:
    """Only a value makes a version, so the answer has no VersionId; LastChangedDate moves."""
    version = token()
    api.create_secret(Name=name, SecretString="v", ClientRequestToken=version)
    before = api.describe_secret(SecretId=name)
    assert set(members(api.update_secret(SecretId=name, Description="new"))) == {"ARN", "Name"}
    after = api.describe_secret(SecretId=name)
    assert ("new", before["VersionIdsToStages"]) == (after["Description"], after["VersionIdsToStages"])
    assert before["LastChangedDate"] < after["LastChangedDate"]


def test_timestamps_are_json_numbers(server: Server, api: Any, name: str) -> None:
    """Instants cross the wire as seconds since the epoch."""
    api.create_secret(Name=name, SecretString="v")
    described = server.post("DescribeSecret", {"SecretId": name}).json
    assert {type(described[member]) for member in ("CreatedDate", "LastChangedDate")} <= {int, float}
    assert abs(described["CreatedDate"] - datetime.now(UTC).timestamp()) < 60
    assert type(server.post("GetSecretValue", {"SecretId": name}).json["CreatedDate"]) in (int, float)
    assert type(server.post("DeleteSecret", {"SecretId": name}).json["DeletionDate"]) in (int, float)


# --- A3: names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", list("/_+=.@-!"))
def test_a_name_may_hold_each_of_the_listed_characters(api: Any, name: str, character: str) -> None:
    """Letters, digits and -/_+=.@! are valid; the secret is found by its name."""
    odd = f"{name}{character}x"
    api.create_secret(Name=odd)
    assert odd == api.describe_secret(SecretId=odd)["Name"]


@pytest.mark.parametrize("character", [" ", "#", "%", ":", "é", "*", "\\", "\n", "\x00", "\N{GRINNING FACE}"])
def test_a_name_with_another_character_is_refused(api: Any, name: str, character: str) -> None:
    """The refusal is a ValidationException with AWS's text."""
    assert refusal(api.create_secret, Name=f"{name}{character}x") == BAD_NAME


def test_a_name_has_up_to_512_characters(api: Any, name: str) -> None:
    """The 513th is refused."""
    longest = name.ljust(512, "x")
    assert longest == api.create_secret(Name=longest)["Name"]
    assert longest == api.describe_secret(SecretId=longest)["Name"]
    code, message = refusal(api.create_secret, Name=longest + "x")
    assert code == "ValidationException"
    assert message.endswith("at 'name' failed to satisfy constraint: Member must have length less than or equal to 512")


def test_a_name_is_taken_once(api: Any, name: str) -> None:
    """A second secret of the name is refused with AWS's text."""
    api.create_secret(Name=name)
    taken = ("ResourceExistsException", f"The operation failed because the secret {name} already exists.")
    assert taken == refusal(api.create_secret, Name=name)
    assert taken == refusal(api.create_secret, Name=name, SecretString="v")


def test_names_are_found_in_their_own_case(api: Any, name: str) -> None:
    """Look-ups by name are case-sensitive."""
    api.create_secret(Name=f"{name}/Db")
    assert refusal(api.describe_secret, SecretId=f"{name}/db") == NOT_FOUND


# --- A4: what a SecretId may be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "found"), [("", True), ("-a1b2", True), ("-a1b2c3-", True), ("-a1b2c3", False), ("-a1b2c3d", True)]
)
def test_a_partial_arn_is_found_unless_the_name_looks_like_a_whole_one(api: Any, suffix: str, found: bool) -> None:
    """A name that ends in a hyphen and six characters makes its partial ARN look complete, so that finds nothing."""
    name = fresh("partial") + suffix
    arn = api.create_secret(Name=name, SecretString="v")["ARN"]
    partial = arn[:-7]
    for secret_id in (name, arn):
        assert arn == api.get_secret_value(SecretId=secret_id)["ARN"]
    if found:
        assert arn == api.get_secret_value(SecretId=partial)["ARN"]
        assert arn == api.describe_secret(SecretId=partial)["ARN"]
    else:
        assert refusal(api.get_secret_value, SecretId=partial) == NOT_FOUND
        assert refusal(api.describe_secret, SecretId=partial) == NOT_FOUND


def test_a_whole_arn_with_other_characters_at_its_end_finds_nothing(api: Any, name: str) -> None:
    """The six characters belong to the identity."""
    arn = api.create_secret(Name=name)["ARN"]
    other = arn[:-6] + ("AAAAAA" if not arn.endswith("AAAAAA") else "BBBBBB")
    assert refusal(api.describe_secret, SecretId=other) == NOT_FOUND


def test_a_name_made_again_gets_another_arn(api: Any, name: str) -> None:
    """The six characters are kept for life, and a new life has new ones."""
    first = api.create_secret(Name=name)["ARN"]
    api.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    second = api.create_secret(Name=name)["ARN"]
    assert first != second
    assert refusal(api.describe_secret, SecretId=first) == NOT_FOUND


@pytest.mark.parametrize(
    "secret_id",
    [
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:nowhere-aaaaaa",
        "arn:aws:secretsmanager:us-east-1:123456789012:something:x",
        "arn:aws:s3:::bucket",
        "arn:aws:secretsmanager:us-east-1",
        "arn::::::",
        "arn:",
        ":",
        "%",
        "a b",
        "é",
        "x" * 2048,
    ],
)
def test_a_secret_id_that_names_nothing_is_not_found(api: Any, secret_id: str) -> None:
    """Whatever it looks like: ResourceNotFoundException."""
    assert refusal(api.describe_secret, SecretId=secret_id) == NOT_FOUND
    assert refusal(api.get_secret_value, SecretId=secret_id) == NOT_FOUND
    assert refusal(api.put_secret_value, SecretId=secret_id, SecretString="v") == NOT_FOUND


def test_accounts_and_regions_are_partitions(server: Server, api: Any, name: str, region: str) -> None:
    """The same name may stand in each, and none is seen from another, not even by its ARN: nor whether it is there."""
    there = server.client(region)
    other = server.client("us-east-1", server.access_key(Role.ADMINISTRATOR, account="999999999999"))
    arns = [client.create_secret(Name=name, SecretString="v")["ARN"] for client in (api, there, other)]
    places = [arn.split(":")[3:5] for arn in arns]
    assert [["us-east-1", "123456789012"], [region, "123456789012"], ["us-east-1", "999999999999"]] == places
    for client, own in zip((api, there, other), arns, strict=True):
        assert own == client.describe_secret(SecretId=name)["ARN"]
        for arn in set(arns) - {own}:
            (where, who), (home, account) = arn.split(":")[3:5], own.split(":")[3:5]
            expected = "AccessDeniedException" if where == home and who != account else NOT_FOUND[0]
            for secret_id in (arn, arn[:-7], arn.replace("secret:", "secret:no-")):
                for ask in (client.get_secret_value, client.delete_secret, client.describe_secret):
                    assert refusal(ask, SecretId=secret_id)[0] == expected
    assert [name] == [entry["Name"] for entry in there.list_secrets()["SecretList"]]


# --- A12: delete and restore ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "days"), [({}, 30), ({"RecoveryWindowInDays": 7}, 7), ({"RecoveryWindowInDays": 30}, 30)]
)
def test_deletion_is_dated_by_its_window(api: Any, name: str, window: dict[str, int], days: int) -> None:
    """DeletionDate is now plus the window, 30 days by default; DescribeSecret shows it as DeletedDate."""
    api.create_secret(Name=name, SecretString="v")
    answer = api.delete_secret(SecretId=name, **window)
    assert {"ARN", "Name", "DeletionDate"} == set(members(answer))
    expected = datetime.now(UTC) + timedelta(days=days)
    assert abs(answer["DeletionDate"] - expected) < timedelta(minutes=1)
    assert answer["DeletionDate"] == api.describe_secret(SecretId=name)["DeletedDate"]


@pytest.mark.parametrize("days", [-1, 0, 6, 31, 2**31, -(2**63)])
def test_a_window_of_other_than_7_to_30_days_is_refused(api: Any, name: str, days: int) -> None:
    """With AWS's text; the secret stays."""
    api.create_secret(Name=name)
    refused = ("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
    assert refused == refusal(api.delete_secret, SecretId=name, RecoveryWindowInDays=days)
    assert "DeletedDate" not in api.describe_secret(SecretId=name)


def test_a_window_and_no_recovery_exclude_each_other(api: Any, name: str) -> None:
    """With AWS's text."""
    api.create_secret(Name=name)
    refused = (
        "InvalidParameterException",
        "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
    )
    both = {"ForceDeleteWithoutRecovery": True, "RecoveryWindowInDays": 7}
    assert refused == refusal(api.delete_secret, SecretId=name, **both)


REFUSED_WHILE_MARKED: dict[str, dict[str, Any]] = {
    "cancel_rotate_secret": {},
    "delete_resource_policy": {},
    "delete_secret": {},
    "get_resource_policy": {},
    "get_secret_value": {},
    "put_resource_policy": {
        "ResourcePolicy": '{"Statement": {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, '
        '"Action": "secretsmanager:GetSecretValue", "Resource": "*"}}'
    },
    "put_secret_value": {"SecretString": "w"},
    "replicate_secret_to_regions": {"AddReplicaRegions": [{"Region": "eu-west-1"}]},
    "rotate_secret": {
        "RotationLambdaARN": "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
    },
    "tag_resource": {"Tags": [{"Key": "k", "Value": "v"}]},
    "untag_resource": {"TagKeys": ["k"]},
    "update_secret": {"Description": "d"},
    "update_secret_version_stage": {"VersionStage": "mine"},
}


@pytest.mark.parametrize("operation", REFUSED_WHILE_MARKED)
def test_a_secret_marked_for_deletion_refuses_the_operation(api: Any, name: str, operation: str) -> None:
    """With AWS's text."""
    api.create_secret(Name=name, SecretString="v")
    api.delete_secret(SecretId=name)
    assert refusal(getattr(api, operation), SecretId=name, **REFUSED_WHILE_MARKED[operation]) == MARKED


def test_the_name_of_a_secret_marked_for_deletion_stays_taken(api: Any, name: str) -> None:
    """With a text of its own."""
    api.create_secret(Name=name)
    api.delete_secret(SecretId=name)
    refused = (
        "InvalidRequestException",
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
    )
    assert refused == refusal(api.create_secret, Name=name)


def test_a_marked_secret_is_listed_only_when_asked_for(server: Server, region: str) -> None:
    """IncludePlannedDeletion shows it, with its DeletedDate."""
    api = server.client(region)
    api.create_secret(Name="stays")
    api.create_secret(Name="goes")
    api.delete_secret(SecretId="goes")
    assert [entry["Name"] for entry in api.list_secrets()["SecretList"]] == ["stays"]
    listed = api.list_secrets(IncludePlannedDeletion=True)["SecretList"]
    assert {entry["Name"]: "DeletedDate" in entry for entry in listed} == {"stays": False, "goes": True}


def test_a_restored_secret_is_as_before(api: Any, name: str) -> None:
    """Its value, its ARN and its labels are there again, and no DeletedDate."""
    created = api.create_secret(Name=name, SecretString="v")
    api.delete_secret(SecretId=name)
    assert {"ARN": created["ARN"], "Name": name} == members(api.restore_secret(SecretId=name))
    assert "DeletedDate" not in api.describe_secret(SecretId=name)
    value = api.get_secret_value(SecretId=name)
    assert ("v", created["VersionId"], ["AWSCURRENT"]) == (
        value["SecretString"],
        value["VersionId"],
        value["VersionStages"],
    )


def test_restoring_a_live_secret_changes_nothing(api: Any, name: str) -> None:
    """It succeeds."""
    created = api.create_secret(Name=name, SecretString="v")
    before = members(api.describe_secret(SecretId=name))
    assert {"ARN": created["ARN"], "Name": name} == members(api.restore_secret(SecretId=name))
    assert before == members(api.describe_secret(SecretId=name))


def test_restoring_what_is_not_there_is_not_found(api: Any, name: str) -> None:
    """A purge is for good."""
    api.create_secret(Name=name)
    api.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    assert refusal(api.restore_secret, SecretId=name) == NOT_FOUND


def test_a_forced_deletion_is_immediate_and_final(api: Any, name: str) -> None:
    """Nothing finds the secret any more, and its name is free at once."""
    created = api.create_secret(Name=name, SecretString="v")
    answer = members(api.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True))
    assert (created["ARN"], name) == (answer["ARN"], answer["Name"])
    assert abs(answer["DeletionDate"] - datetime.now(UTC)) < timedelta(minutes=1)
    for secret_id in (name, created["ARN"]):
        assert refusal(api.describe_secret, SecretId=secret_id) == NOT_FOUND
    api.create_secret(Name=name, SecretString="w")
    assert api.get_secret_value(SecretId=name)["SecretString"] == "w"


@pytest.mark.parametrize("form", ["{}", "arn:aws:secretsmanager:us-east-1:123456789012:secret:{}-a1B2c3"])
def test_forcing_the_deletion_of_nothing_succeeds(api: Any, name: str, form: str) -> None:
    """It answers an ARN, the name and a date, as for a secret that is there; without force it is not found."""
    secret_id = form.format(name)
    answer = members(api.delete_secret(SecretId=secret_id, ForceDeleteWithoutRecovery=True))
    assert {"ARN", "Name", "DeletionDate"} == set(answer)
    assert name == answer["Name"]
    assert name in answer["ARN"]
    assert refusal(api.delete_secret, SecretId=secret_id) == NOT_FOUND


def test_a_marked_secret_can_be_deleted_by_force(api: Any, name: str) -> None:
    """The recovery window is then over."""
    api.create_secret(Name=name)
    api.delete_secret(SecretId=name)
    api.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    assert refusal(api.describe_secret, SecretId=name) == NOT_FOUND


# --- tags ----------------------------------------------------------------------------------------------------------


def test_tags_are_added_changed_and_removed(api: Any, name: str) -> None:
    """A tag with a known key gets the new value; removing one that is not there is no error."""
    api.create_secret(Name=name, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    api.tag_resource(SecretId=name, Tags=[{"Key": "b", "Value": "3"}, {"Key": "c", "Value": "4"}])
    api.untag_resource(SecretId=name, TagKeys=["a", "never"])
    tags = {tag["Key"]: tag["Value"] for tag in api.describe_secret(SecretId=name)["Tags"]}
    assert tags == {"b": "3", "c": "4"}
    api.untag_resource(SecretId=name, TagKeys=["b", "c"])
    assert "Tags" not in api.describe_secret(SecretId=name)


@pytest.mark.parametrize("key", ["aws:mine", "AWS:mine", "Aws:secretsmanager:x"])
def test_the_prefix_aws_is_reserved(api: Any, name: str, key: str) -> None:
    """In any case, at creation and later; nothing is stored."""
    reserved = [{"Key": "ok", "Value": "1"}, {"Key": key, "Value": "1"}]
    assert refusal(api.create_secret, Name=name, Tags=reserved)[0] == "InvalidParameterException"
    assert refusal(api.describe_secret, SecretId=name) == NOT_FOUND
    api.create_secret(Name=name)
    assert refusal(api.tag_resource, SecretId=name, Tags=reserved)[0] == "InvalidParameterException"
    assert "Tags" not in api.describe_secret(SecretId=name)


def test_a_secret_has_up_to_50_tags(api: Any, name: str) -> None:
    """The 51st is refused, at creation and later."""
    tags = [{"Key": f"k{number}", "Value": "v"} for number in range(50)]
    one_more = {"Key": "one more", "Value": "v"}
    assert refusal(api.create_secret, Name=name, Tags=[*tags, one_more])[0] == "InvalidParameterException"
    api.create_secret(Name=name, Tags=tags)
    assert refusal(api.tag_resource, SecretId=name, Tags=[one_more])[0] == "InvalidParameterException"
    assert len(api.describe_secret(SecretId=name)["Tags"]) == 50
