"""Every error on the wire: its status, its code, the member of its text, and its request id (contract 0.6-0.9, A19)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from keywheel.access.access_keys import Role
from keywheel.api.secretsmanager.shapes import MODELED_ERRORS
from tests.conformance.server import Answer, Server, token

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
GONE, EMPTY = "gone", "empty"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:{}"
SINGLE = FUNCTION.format("keywheel-postgres-single-user")


@dataclass(frozen=True)
class Place:
    """A Region with the secrets that the table speaks of."""

    server: Server
    region: str
    version: str
    arn: str

    def post(self, operation: str, members: Any) -> Answer:
        return self.server.post(operation, members, region=self.region)


@pytest.fixture(scope="module")
def place(server: Server) -> Place:
    """`full` has the value `v`, `empty` has none, `gone` is marked for deletion."""
    region = f"errors-{server.url.rpartition(':')[2]}"
    api = server.client(region)
    version = token()
    arn = api.create_secret(Name="full", SecretString="v", ClientRequestToken=version)["ARN"]
    api.put_secret_value(SecretId="full", SecretString="w", VersionStages=["mine"])
    api.create_secret(Name=EMPTY)
    api.create_secret(Name=GONE, SecretString="v")
    api.delete_secret(SecretId=GONE)
    return Place(server, region, version, arn)


def error_of(place: Place, operation: str, members: Any) -> tuple[str, str]:
    """The error of a request; whatever is the same for all of them is checked here."""
    answer = place.post(operation, members)
    assert answer.status == 400
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    document = answer.json
    member = "Message" if document["__type"] in MODELED_ERRORS else "message"
    assert {"__type", member} == set(document)
    assert document["__type"] == answer.headers["x-amzn-errortype"]
    return document["__type"], document[member]


T = token()
MARKED = "You can't perform this operation on the secret because it was marked for deletion."


@pytest.mark.parametrize(
    ("operation", "members", "code", "text"),
    [
        ("DescribeSecret", {"SecretId": "nothing"}, "ResourceNotFoundException",
         "Secrets Manager can't find the specified secret."),
        ("GetSecretValue", {"SecretId": EMPTY}, "ResourceNotFoundException",
         "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"),
        ("GetSecretValue", {"SecretId": "full", "VersionStage": "x"}, "ResourceNotFoundException",
         "Secrets Manager can't find the specified secret value for staging label: x"),
        ("GetSecretValue", {"SecretId": "full", "VersionId": T}, "ResourceNotFoundException",
         f"Secrets Manager can't find the specified secret value for VersionId: {T}"),
        ("GetSecretValue", {"SecretId": GONE}, "InvalidRequestException", MARKED),
        ("TagResource", {"SecretId": GONE, "Tags": []}, "InvalidRequestException", MARKED),
        ("CreateSecret", {"Name": GONE, "ClientRequestToken": T}, "InvalidRequestException",
         "You can't create this secret because a secret with this name is already scheduled for deletion."),
        ("RotateSecret", {"SecretId": "full", "ClientRequestToken": T}, "InvalidRequestException",
         "No Lambda rotation function ARN is associated with this secret."),
        ("GetSecretValue", {"SecretId": "full", "VersionId": "$version", "VersionStage": "mine"},
         "InvalidRequestException",
         "You provided a VersionStage that is not associated to the provided VersionId."),
        ("CreateSecret", {"Name": "full", "ClientRequestToken": T}, "ResourceExistsException",
         "The operation failed because the secret full already exists."),
        ("PutSecretValue", {"SecretId": "full", "ClientRequestToken": "$version", "SecretString": "x"},
         "ResourceExistsException",
         "You can't use ClientRequestToken $version because that value is already in use for a version of secret "
         "$arn."),
        ("RotateSecret", {"SecretId": "full", "ClientRequestToken": T, "RotationLambdaARN": FUNCTION.format("x")},
         "AccessDeniedException",
         "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access "
         "to the principal secretsmanager.amazonaws.com."),
        ("CreateSecret", {"Name": "a b", "ClientRequestToken": T}, "ValidationException",
         "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"),
        ("UpdateSecretVersionStage", {"SecretId": "full", "VersionStage": "AWSCURRENT"}, "InvalidParameterException",
         "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "
         "$version, so you must explicitly reference that version in RemoveFromVersionId."),
        ("ListSecrets", {"NextToken": "x"}, "InvalidNextTokenException", None),
        ("PutResourcePolicy", {"SecretId": "full", "ResourcePolicy": "x"}, "MalformedPolicyDocumentException", None),
        ("PutResourcePolicy", {"SecretId": "full", "BlockPublicPolicy": True, "ResourcePolicy":
         '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "secretsmanager:*", "Resource": "*"}}'},
         "PublicPolicyException", None),
        ("CreateSecret", {"Name": "x", "ClientRequestToken": T, "KmsKeyId": "alias/none"}, "EncryptionFailure", None),
        ("AssociateCrossAccountReplica", {"SecretId": "full", "CrossAccountReplicaARN": "x" * 20},
         "UnsupportedOperationException", None),
        ("NoSuchOperation", {}, "UnknownOperationException", None),
        ("describesecret", {"SecretId": "full"}, "UnknownOperationException", None),
    ],
)  # fmt: skip
def test_an_error_has_its_code_and_text(
    place: Place, operation: str, members: dict[str, Any], code: str, text: str | None
) -> None:
    """HTTP 400, `__type`, `Message` where the model has the code and else `message`, and a request id."""
    filled = {key: place.version if value == "$version" else value for key, value in members.items()}
    expected = None if text is None else text.replace("$version", place.version).replace("$arn", place.arn)
    found = error_of(place, operation, filled)
    assert code == found[0]
    assert found[1] == expected if expected is not None else found[1]


@pytest.mark.parametrize(
    ("operation", "members", "text"),
    [
        ("DescribeSecret", {}, "1 validation error detected: Value null at 'secretId' failed to satisfy constraint: "
         "Member must not be null"),
        ("DescribeSecret", {"SecretId": None}, "1 validation error detected: Value null at 'secretId' failed to "
         "satisfy constraint: Member must not be null"),
        ("DescribeSecret", {"SecretId": ""}, "1 validation error detected: Value '' at 'secretId' failed to satisfy "
         "constraint: Member must have length greater than or equal to 1"),
        ("ListSecrets", {"MaxResults": 0}, "1 validation error detected: Value '0' at 'maxResults' failed to satisfy "
         "constraint: Member must have value greater than or equal to 1"),
        ("ListSecrets", {"MaxResults": 101}, "1 validation error detected: Value '101' at 'maxResults' failed to "
         "satisfy constraint: Member must have value less than or equal to 100"),
        ("ListSecrets", {"SortOrder": "up"}, "1 validation error detected: Value 'up' at 'sortOrder' failed to satisfy "
         "constraint: Member must satisfy enum value set: [asc, desc]"),
        ("ListSecrets", {"MaxResults": 0, "SortOrder": "up"}, "2 validation errors detected: Value '0' at 'maxResults' "
         "failed to satisfy constraint: Member must have value greater than or equal to 1; Value 'up' at 'sortOrder' "
         "failed to satisfy constraint: Member must satisfy enum value set: [asc, desc]"),
        ("TagResource", {"SecretId": "x", "Tags": [{"Key": "k", "Value": "v" * 257}]}, "1 validation error detected: "
         f"Value '{'v' * 257}' at 'tags.1.member.value' failed to satisfy constraint: Member must have length less "
         "than or equal to 256"),
        ("PutSecretValue", {"SecretId": "x", "SecretString": ""}, "1 validation error detected: Value at "
         "'secretString' failed to satisfy constraint: Member must have length greater than or equal to 1"),
        ("PutSecretValue", {"SecretId": "x", "SecretString": "s" * 65537}, "1 validation error detected: Value at "
         "'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_broken_constraint_is_worded_as_at_aws(
    place: Place, operation: str, members: dict[str, Any], text: str
) -> None:
    """ValidationException with the member in lower camel case; a sensitive value is never quoted."""
    assert ("ValidationException", text) == error_of(place, operation, members)


def test_every_answer_has_a_request_id_of_its_own(place: Place) -> None:
    """Good or bad."""
    answers = [
        place.post("ListSecrets", {}),
        place.post("ListSecrets", {}),
        place.post("ListSecrets", {"MaxResults": 0}),
    ]
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert len({uuid.UUID(answer.headers["x-amzn-requestid"]) for answer in answers}) == 3


def test_unknown_members_are_ignored(place: Place) -> None:
    """As AWS's front end does."""
    answer = place.post("DescribeSecret", {"SecretId": "full", "Shiny": {"new": [1]}, "secretId": 5})
    assert (answer.status, answer.json["Name"]) == (200, "full")


@pytest.mark.parametrize("operation", ["TagResource", "UntagResource"])
def test_an_operation_without_an_answer_has_an_empty_one(place: Place, operation: str) -> None:
    """HTTP 200."""
    answer = place.post(operation, {"SecretId": "full", "Tags": [], "TagKeys": []})
    assert (answer.status, answer.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("sign", "code"),
    [
        (lambda server: {"prefix": "TrentService."}, "UnknownOperationException"),
        (lambda server: {"prefix": ""}, "UnknownOperationException"),
        (lambda server: {"pair": server.access_key(Role.READ_ONLY)}, "UnknownOperationException"),
    ],
    ids=["another service", "no service", "a read-only key"],
)
def test_an_unknown_target_is_an_unknown_operation(
    place: Place, sign: Callable[[Server], dict[str, Any]], code: str
) -> None:
    """Once the request is known to be signed."""
    answer = place.server.post("Nothing", {}, region=place.region, **sign(place.server))
    assert (400, code) == (answer.status, answer.error[0])
