"""What comes off the wire and what goes on it, the refusals in AWS's words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from botocore.model import StringShape
from botocore.parsers import JSONParser
from hypothesis import given, settings
from hypothesis import strategies as st

from keywheel import errors
from keywheel.api import wire
from keywheel.api.secretsmanager import shapes
from keywheel.keys import errors as kms_errors


def body(**members: Any) -> bytes:
    """A request's body."""
    return json.dumps(members).encode()


def refusal(raw: bytes, shape: type[msgspec.Struct]) -> errors.CallerError:
    """What `decode` raises for a body that it must refuse."""
    with pytest.raises(errors.CallerError) as refused:
        wire.decode(raw, shape)
    return refused.value


# --- bodies that are accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", shapes.ListSecretsRequest()),
        (b"{}", shapes.ListSecretsRequest()),
        (b' {"MaxResults": 5} ', shapes.ListSecretsRequest(max_results=5)),
        (body(IncludePlannedDeletion=False), shapes.ListSecretsRequest(include_planned_deletion=False)),
        (body(MaxResults=None, Filters=None), shapes.ListSecretsRequest()),
        (body(Filters=[]), shapes.ListSecretsRequest(filters=[])),
        (body(maxresults=5, Unknown={"deep": [1]}), shapes.ListSecretsRequest()),
        (b'{"MaxResults": 5, "MaxResults": 6}', shapes.ListSecretsRequest(max_results=6)),
    ],
    ids=["nothing", "empty", "spaces", "false", "null", "empty list", "unknown members", "twice"],
)
def test_a_body_becomes_a_request(raw: bytes, expected: shapes.ListSecretsRequest) -> None:
    """Nothing counts as `{}`, null is absent, unknown members are ignored, and of two equal names the last one wins."""
    assert expected == wire.decode(raw, shapes.ListSecretsRequest)


def test_a_blob_arrives_as_its_bytes() -> None:
    """The base64 of the wire ends here."""
    request = wire.decode(body(SecretId="db", SecretBinary="AP8="), shapes.PutSecretValueRequest)
    assert request.secret_binary == b"\x00\xff"


@pytest.mark.parametrize(
    ("shape", "members", "named"),
    [
        (shapes.DescribeSecretRequest, {"SecretId": "\0"}, "SecretId"),
        (shapes.UntagResourceRequest, {"SecretId": "db", "TagKeys": ["k", "k\0"]}, "TagKeys"),
        (shapes.TagResourceRequest, {"SecretId": "db", "Tags": [{"Key": "k", "Value": "\0"}]}, "Value"),
        (shapes.RotateSecretRequest, {"SecretId": "db", "ClientRequestToken": "\0" * 32}, "ClientRequestToken"),
        (shapes.PutSecretValueRequest, {"SecretId": "db\0", "SecretString": "\0"}, "SecretId"),
    ],
)
def test_a_nul_character_in_a_text_that_is_stored_or_looked_up_is_refused(
    shape: type[msgspec.Struct], members: dict[str, Any], named: str
) -> None:
    """The member is named, wherever it stands."""
    error = refusal(body(**members), shape)
    assert isinstance(error, errors.InvalidParameter)
    assert error.message == f"{named} can't hold a NUL character."


@pytest.mark.parametrize(
    ("shape", "members"),
    [
        (shapes.PutSecretValueRequest, {"SecretId": "db", "SecretString": "\0"}),
        (shapes.CreateSecretRequest, {"Name": "db\0"}),
        (shapes.DescribeSecretRequest, {"SecretId": "db", "Unknown": "\0"}),
        (shapes.DescribeSecretRequest, {"SecretId": r"db\u0000"}),
    ],
    ids=["a secret value", "a name, which the ledger refuses in AWS's words", "an unknown member", "no NUL at all"],
)
def test_a_nul_character_elsewhere_is_let_through(shape: type[msgspec.Struct], members: dict[str, Any]) -> None:
    """It does no harm there."""
    wire.decode(body(**members), shape)


# --- bodies that break a constraint ------------------------------------------------------------------------------

NULL = "Member must not be null"
TOO_SHORT = "Member must have length greater than or equal to 1"
BREACHES = [
    (shapes.CreateSecretRequest, {}, {"Value null at 'name'": [NULL]}),
    (shapes.CreateSecretRequest, {"Name": None}, {"Value null at 'name'": [NULL]}),
    (shapes.CreateSecretRequest, {"Name": ""}, {"Value '' at 'name'": [TOO_SHORT]}),
    (shapes.CreateSecretRequest, {"Name": "db", "Tags": [None]}, {"Value null at 'tags.1.member'": [NULL]}),
    (
        shapes.CreateSecretRequest,
        {"Name": "db", "Tags": [{"Key": "team"}, {"Key": "", "Value": "é"}]},
        {"Value '' at 'tags.2.member.key'": [TOO_SHORT]},
    ),
    (
        shapes.RotateSecretRequest,
        {"SecretId": "db", "RotationRules": {"AutomaticallyAfterDays": 1001}},
        {
            "Value '1001' at 'rotationRules.automaticallyAfterDays'": [
                "Member must have value less than or equal to 1000"
            ]
        },
    ),
    (
        shapes.ListSecretsRequest,
        {"SortOrder": "up", "MaxResults": 0},
        {
            "Value '0' at 'maxResults'": ["Member must have value greater than or equal to 1"],
            "Value 'up' at 'sortOrder'": ["Member must satisfy enum value set: [asc, desc]"],
        },
    ),
    (
        shapes.DeleteResourcePolicyRequest,
        {"SecretId": "db", "PolicyName": ""},
        {"Value '' at 'policyName'": [TOO_SHORT, r"Member must satisfy regular expression pattern: [0-9A-Za-z\-\_]+"]},
    ),
    (shapes.BatchGetSecretValueRequest, {"SecretIdList": []}, {"Value '[]' at 'secretIdList'": [TOO_SHORT]}),
    (
        shapes.BatchGetSecretValueRequest,
        {"SecretIdList": ["", "db", ""]},
        {
            "Value '[, db, ]' at 'secretIdList'": [
                f"Member must satisfy constraint: [Member must have length less than or equal to 2048, {TOO_SHORT}]"
            ]
        },
    ),
    (
        shapes.UntagResourceRequest,
        {"SecretId": "db", "TagKeys": ["a", None]},
        {"Value null at 'tagKeys.2.member'": [NULL]},
    ),
    (
        shapes.ListSecretsRequest,
        {"Filters": [{"Key": "all"}] * 11},
        {"Value at 'filters'": ["Member must have length less than or equal to 10"]},
    ),
]


@pytest.mark.parametrize(("shape", "members", "failures"), BREACHES)
def test_a_breach_is_told_in_the_words_of_aws(
    shape: type[msgspec.Struct], members: dict[str, Any], failures: dict[str, list[str]]
) -> None:
    """Each failure says the value, the member's place and the constraint; several are joined by semicolons."""
    told = [f"{member} failed to satisfy constraint: {words}" for member in failures for words in failures[member]]
    refused = refusal(body(**members), shape)
    assert refused.code == "ValidationException"
    assert told == refused.message.partition(" detected: ")[2].split("; ")


def test_the_failures_are_counted() -> None:
    """One is an error, two are errors."""
    one, two = (refusal(raw, shapes.TagResourceRequest).message for raw in (body(Tags=[]), body()))
    assert one == f"1 validation error detected: Value null at 'secretId' failed to satisfy constraint: {NULL}"
    assert two.startswith("2 validation errors detected: Value null at 'secretId' failed")


@pytest.mark.parametrize(
    ("members", "at"),
    [
        ({"SecretString": "S3cr3t" * 11_000}, "secretString"),
        ({"SecretBinary": "S3cr3tS3" * 11_000}, "secretBinary"),
        ({"RotationToken": "S3cr3t"}, "rotationToken"),
    ],
)
def test_a_sensitive_value_is_not_quoted(members: dict[str, Any], at: str) -> None:
    """The refusal names the member and leaves the value out."""
    refused = refusal(body(SecretId="db", **members), shapes.PutSecretValueRequest)
    assert f": Value at '{at}' failed to satisfy constraint: " in refused.message
    assert "S3cr3t" not in refused.message


def test_a_refusal_carries_no_other_error() -> None:
    """Msgspec's own error may quote the body, so it is neither cause nor context of ours."""
    for raw in (b'{"SecretId":"db","SecretString":"\xff"}', body(SecretId="")):
        refused = refusal(raw, shapes.PutSecretValueRequest)
        assert (refused.__cause__, refused.__context__) == (None, None)


def test_a_small_body_cannot_ask_for_a_huge_answer() -> None:
    """No more than a hundred errors are told."""
    refused = refusal(body(SecretId="db", Tags=[{"Key": ""}] * 10_000), shapes.TagResourceRequest)
    assert refused.message.startswith("100 validation errors detected: ")
    assert len(refused.message) < 20_000


# --- bodies that cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "members", "message"),
    [
        (shapes.CreateSecretRequest, {"Name": 5}, "NUMBER_VALUE can not be converted to a String"),
        (shapes.CreateSecretRequest, {"Name": 5.5}, "NUMBER_VALUE can not be converted to a String"),
        (shapes.CreateSecretRequest, {"Name": True}, "TRUE_VALUE can not be converted to a String"),
        (shapes.CreateSecretRequest, {"Name": ["db"]}, "Start of list found where not expected"),
        (shapes.CreateSecretRequest, {"Name": {}}, "Start of structure or map found where not expected."),
        (shapes.CreateSecretRequest, {"Name": "db", "Tags": "team"}, "Expected list or null"),
        (shapes.CreateSecretRequest, {"Name": "db", "Tags": ["team"]}, "Expected null"),
        (shapes.CreateSecretRequest, {"Name": "db", "Tags": {}}, "Start of structure or map found where not expected."),
        (shapes.CreateSecretRequest, {"Name": "db", "SecretBinary": 5}, "NUMBER_VALUE can not be converted to a Blob"),
        (shapes.CreateSecretRequest, {"Name": "db", "SecretBinary": "AA-_"}, "Invalid base64 value"),
        (shapes.CreateSecretRequest, {"Name": "", "Description": 5}, "NUMBER_VALUE can not be converted to a String"),
        (shapes.ListSecretsRequest, {"MaxResults": "5"}, "STRING_VALUE can not be converted to an Integer"),
        (shapes.ListSecretsRequest, {"MaxResults": 5.5}, "NUMBER_VALUE can not be converted to an Integer"),
        (shapes.ListSecretsRequest, {"MaxResults": True}, "TRUE_VALUE can not be converted to an Integer"),
        (shapes.ListSecretsRequest, {"SortBy": False}, "FALSE_VALUE can not be converted to a String"),
        (shapes.ListSecretsRequest, {"IncludePlannedDeletion": 1}, "NUMBER_VALUE can not be converted to a Boolean"),
        (
            shapes.UntagResourceRequest,
            {"SecretId": "db", "TagKeys": [5]},
            "NUMBER_VALUE can not be converted to a String",
        ),
        (
            shapes.DeleteSecretRequest,
            {"SecretId": "db", "RecoveryWindowInDays": 2**63},
            "NUMBER_VALUE can not be converted to an Integer",
        ),
    ],
)
def test_a_wrong_json_type_is_told_in_the_words_of_aws(
    shape: type[msgspec.Struct], members: dict[str, Any], message: str
) -> None:
    """A member of another JSON type is SerializationException, also beside a broken constraint."""
    refused = refusal(body(**members), shape)
    assert (refused.code, refused.message) == ("SerializationException", message)


@pytest.mark.parametrize(
    "raw",
    [
        b"x",
        b" ",
        b'{"SecretId":"db"',
        b'{"SecretId":"db"} {}',
        b"null",
        b"[]",
        b'"db"',
        b"5",
        b"\xef\xbb\xbf{}",
        b'{"SecretId":"\xff"}',
        b'{"SecretId":"\xed\xa0\x80"}',
        rb'{"SecretId":"\ud800"}',
        rb'{"SecretId":"\udc00\ud800"}',
        b'{"SecretId":"\x00"}',
        b'{"SecretId":NaN}',
        b'{"SecretId":"db","Unknown":Infinity}',
        b'{"SecretId":"db","RecoveryWindowInDays":1e999}',
        b'{"SecretId":"db","RecoveryWindowInDays":' + b"9" * 5000 + b"}",
        b'{"SecretId":5,"SecretId":"db"}',
        b'{"SecretId":"db","Unknown":' + b"[" * 200_000,
        b'{"SecretId":"db","Unknown":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"SecretId":' * 100_000,
        b"[" * 200_000,
    ],
    ids=lambda raw: repr(raw)[:40],
)
def test_a_body_that_cannot_be_read_is_a_serialization_error(raw: bytes) -> None:
    """No JSON, no object, no UTF-8, no number that fits, too deep, or twice and once wrong: one clean answer."""
    assert refusal(raw, shapes.DeleteSecretRequest).code == "SerializationException"


# --- any bodies --------------------------------------------------------------------------------------------------

REQUESTS = [request for request, _ in shapes.OPERATIONS.values()]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=70)
    | st.sampled_from(["", "2h", "eu-west-1", "c2VjcmV0", "asc", "all", "a" * 2049])
)
WIRE_NAMES = sorted({name for request in REQUESTS for name in request.__struct_encode_fields__} | {"Key", "Values"})
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WIRE_NAMES) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[type[msgspec.Struct], dict[str, Any]]:
    """A request's shape, and an object with some of its members, each with any value."""
    shape = draw(st.sampled_from(REQUESTS))
    return shape, draw(st.dictionaries(st.sampled_from(shape.__struct_encode_fields__), VALUES, max_size=6))


def answered(raw: bytes, shape: type[msgspec.Struct]) -> msgspec.Struct | errors.CallerError:
    """The request, or the refusal; any other error fails the test."""
    try:
        return wire.decode(raw, shape)
    except (errors.ValidationFailed, errors.SerializationFailed) as refused:
        wire.error_body(refused)
        return refused


@settings(deadline=None)
@given(documents())
def test_the_words_agree_with_the_check(drawn: tuple[type[msgspec.Struct], dict[str, Any]]) -> None:
    """Whatever msgspec refuses, the second reading finds a reason for, and never quotes a sensitive value."""
    shape, document = drawn
    answer = answered(json.dumps(document).encode(), shape)
    if isinstance(answer, errors.CallerError):
        assert answer.message
        assert "at 'secretString'" not in answer.message.replace("Value at 'secretString'", "")


@settings(deadline=None)
@given(documents(), st.data())
def test_a_spoiled_body_is_answered(drawn: tuple[type[msgspec.Struct], dict[str, Any]], data: st.DataObject) -> None:
    """A valid or invalid request with bytes put in anywhere is decoded or refused, and nothing else happens."""
    raw = json.dumps(drawn[1], ensure_ascii=data.draw(st.booleans())).encode()
    at = data.draw(st.integers(0, len(raw)))
    cut = data.draw(st.integers(0, 3))
    answered(raw[:at] + data.draw(st.binary(max_size=6)) + raw[at + cut :], drawn[0])


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(REQUESTS))
def test_any_bytes_are_answered(raw: bytes, shape: type[msgspec.Struct]) -> None:
    """Bytes from nowhere are decoded or refused, and nothing else happens."""
    answered(raw, shape)


# --- what goes out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (None, {}),
        (shapes.CreateSecretResponse(), {}),
        (shapes.CreateSecretResponse(arn="arn", replication_status=[]), {"ARN": "arn", "ReplicationStatus": []}),
        (shapes.DescribeSecretResponse(rotation_enabled=False), {"RotationEnabled": False}),
        (shapes.DescribeSecretResponse(description="", created_date=0.0), {"Description": "", "CreatedDate": 0.0}),
        (shapes.GetSecretValueResponse(secret_binary=b"\x00\xff"), {"SecretBinary": "AP8="}),
        (
            shapes.DescribeSecretResponse(version_ids_to_stages={"v1": ["AWSCURRENT"]}),
            {"VersionIdsToStages": {"v1": ["AWSCURRENT"]}},
        ),
        (
            shapes.DescribeSecretResponse(rotation_rules=shapes.RotationRulesType(automatically_after_days=30)),
            {"RotationRules": {"AutomaticallyAfterDays": 30}},
        ),
    ],
)
def test_a_response_becomes_a_body(response: msgspec.Struct | None, expected: dict[str, Any]) -> None:
    """What is None is left out; what is false, zero or empty is said."""
    assert expected == json.loads(wire.encode(response))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ResourceNotFound("no such"), {"__type": "ResourceNotFoundException", "Message": "no such"}),
        (errors.EncryptionFailure("no key"), {"__type": "EncryptionFailure", "Message": "no key"}),
        (errors.KeyStoreError("locked"), {"__type": "InternalServiceError", "Message": "locked"}),
        (errors.AccessDenied("not you"), {"__type": "AccessDeniedException", "message": "not you"}),
        (errors.ValidationFailed("bad"), {"__type": "ValidationException", "message": "bad"}),
        (errors.SerializationFailed(), {"__type": "SerializationException", "message": ""}),
        (errors.UnknownOperation("what"), {"__type": "UnknownOperationException", "message": "what"}),
        (errors.InvalidSignature("no"), {"__type": "InvalidSignatureException", "message": "no"}),
        *(
            (ours, {"__type": "InternalServiceError", "Message": "An error occurred on the server side."})
            for ours in (errors.BrokenInvariant("S3cr3t"), errors.TargetRefused("S3cr3t"), ValueError("S3cr3t"))
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_becomes_a_body(error: Exception, expected: dict[str, str]) -> None:
    """Modelled codes spell `Message`, the others `message`; an error of our own says nothing of itself."""
    assert expected == json.loads(wire.error_body(error))
    assert expected["__type"] == wire.error_code(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (kms_errors.KeyNotFound("no such"), {"__type": "NotFoundException", "message": "no such"}),
        (errors.LimitExceeded("too many"), {"__type": "LimitExceededException", "message": "too many"}),
        (kms_errors.InvalidCiphertext(), {"__type": "InvalidCiphertextException", "message": ""}),
        (errors.AccessDenied("not you"), {"__type": "AccessDeniedException", "message": "not you"}),
        (errors.KeyStoreError("locked"), {"__type": "KMSInternalException", "message": "locked"}),
        (ValueError("S3cr3t"), {"__type": "KMSInternalException", "message": "An error occurred on the server side."}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kms_spells_an_error_in_its_own_way(error: Exception, expected: dict[str, str]) -> None:
    """Also one that both services know; and it has another name for an error of ours."""
    assert expected == json.loads(wire.error_body(error, wire.KMS))
    assert expected["__type"] == wire.error_code(error, wire.KMS)


@pytest.mark.parametrize("error", [errors.ResourceNotFound("no such"), errors.AccessDenied("not you")])
def test_botocore_reads_both_spellings_of_an_error(error: errors.CallerError) -> None:
    """The code and the text arrive at a client of AWS."""
    response = {"status_code": 400, "headers": {}, "body": wire.error_body(error)}
    parsed = JSONParser().parse(response, StringShape("Any", {"type": "string"}))
    assert (parsed["Error"]["Code"], parsed["Error"]["Message"]) == (error.code, error.message)
