"""Who may speak to the server: header and presigned signatures, and read-only keys (aws-contract 0.2, 0.7, 0.10)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from keywheel.access.access_keys import Role
from keywheel.access.sigv4 import SKEW
from tests.conformance.server import TARGET, Answer, Pair, Server, clock_shifted_by, refusal
from tests.conformance.test_model_coverage import MODEL, OPERATIONS, UNSUPPORTED, valid

MISMATCH = "The request signature we calculated does not match the signature you provided."
READING = ("Describe", "Get", "List", "BatchGet", "Validate")


def altered(request: AWSRequest, **headers: str | None) -> AWSRequest:
    """The request with headers changed, added or taken away after it was signed."""
    for name, value in headers.items():
        del request.headers[name.replace("_", "-")]
        if value is not None:
            request.headers[name.replace("_", "-")] = value
    return request


def with_body(request: AWSRequest, body: bytes) -> AWSRequest:
    request.data = body
    return request


def authorization(request: AWSRequest, pattern: str, replacement: str) -> AWSRequest:
    """The request with its Authorization header rewritten."""
    return altered(request, Authorization=re.sub(pattern, replacement, request.headers["Authorization"]))


def signed(server: Server, **options: Any) -> AWSRequest:
    return server.signed("ListSecrets", {"MaxResults": 1}, **options)


# --- signed headers --------------------------------------------------------------------------------------------------


def test_a_signed_request_is_served(server: Server) -> None:
    """By botocore's own signer."""
    assert server.send(signed(server)).status == 200


UNKNOWN = Pair("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MISSING, INCOMPLETE = "MissingAuthenticationTokenException", "IncompleteSignatureException"
INVALID, UNRECOGNIZED = "InvalidSignatureException", "UnrecognizedClientException"
Forge = Callable[[Server], AWSRequest]


@pytest.mark.parametrize(
    ("forge", "code", "text"),
    [
        (lambda s: altered(signed(s), Authorization=None), MISSING, "Missing Authentication Token"),
        (lambda s: altered(signed(s), Authorization=None, X_Amz_Date=None), MISSING, "Missing Authentication Token"),
        (lambda s: altered(signed(s), Authorization="Bearer x"), INCOMPLETE, "requires 'Credential' parameter"),
        (lambda s: altered(signed(s), Authorization="Basic dXNlcjpwYXNz"), INCOMPLETE, "requires"),
        (lambda s: altered(signed(s), Authorization="AWS4-HMAC-SHA256"), INCOMPLETE, "requires 'Credential' parameter"),
        (lambda s: altered(signed(s), X_Amz_Date=None), INCOMPLETE, "existence of a 'X-Amz-Date'"),
        (lambda s: altered(signed(s), X_Amz_Date="yesterday"), INCOMPLETE, "ISO-8601"),
        (lambda s: authorization(signed(s), "Signature=.*", "Signature="), INCOMPLETE, "requires 'Signature'"),
        (lambda s: authorization(signed(s), "SignedHeaders=[^,]*, ", ""), INCOMPLETE, "requires 'SignedHeaders'"),
        (lambda s: authorization(signed(s), "/aws4_request", ""), INCOMPLETE, "exactly 5 elements"),
        (lambda s: authorization(signed(s), "AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "), INVALID, "algorithm"),
        (lambda s: with_body(signed(s), b'{"MaxResults":2}'), INVALID, MISMATCH),
        (lambda s: with_body(signed(s), b""), INVALID, MISMATCH),
        (lambda s: altered(signed(s), X_Amz_Target=TARGET + "GetRandomPassword"), INVALID, MISMATCH),
        (lambda s: altered(signed(s), Content_Type="application/json"), INVALID, MISMATCH),
        (lambda s: altered(signed(s), Host="example.com"), INVALID, MISMATCH),
        (lambda s: altered(signed(s), X_Amz_Extra="1"), INVALID, "which were not signed"),
        (lambda s: altered(signed(s), X_Amz_Security_Token="token"), INVALID, "which were not signed"),
        (lambda s: authorization(signed(s), "Signature=.*", "Signature=" + "0" * 64), INVALID, MISMATCH),
        (lambda s: authorization(signed(s), "Signature=.*", "Signature=é"), INVALID, MISMATCH),
        (lambda s: authorization(signed(s), "us-east-1", "eu-west-1"), INVALID, MISMATCH),
        (lambda s: authorization(signed(s), r"/\d{8}/", "/20200101/"), INVALID, "Date in Credential scope"),
        (lambda s: authorization(signed(s), "SignedHeaders=[^,]*", "SignedHeaders=x-amz-date"), INVALID, "Host"),
        (lambda s: signed(s, service="kms"), INVALID, "correct service: 'secretsmanager'"),
        (lambda s: signed(s, pair=Pair(s.admin.access_key_id, "x" * 40)), INVALID, MISMATCH),
        (lambda s: signed(s, pair=UNKNOWN), UNRECOGNIZED, "The security token included in the request is invalid."),
        (lambda s: signed(s, headers={"X-Amz-Security-Token": "t"}), UNRECOGNIZED, "security token"),
        (lambda s: signed(s, shift=SKEW * -1.2), INVALID, "Signature expired: "),
        (lambda s: signed(s, shift=SKEW * 1.2), INVALID, "Signature not yet current: "),
        (lambda s: signed(s, shift=timedelta(days=-400)), INVALID, "Signature expired: "),
    ],
    ids=[
        "unsigned", "unsigned and undated", "another scheme", "basic", "only the algorithm", "no date", "no such date",
        "no signature", "no signed headers", "no terminator", "another algorithm", "another body", "no body",
        "another operation", "another content type", "another host", "an added header", "an added token",
        "a made-up signature", "a signature beyond ASCII", "another Region", "another day", "the host left out",
        "another service", "a wrong secret", "an unknown key", "a session token", "a replay", "from the future",
        "a replay after a year",
    ],
)  # fmt: skip
def test_a_request_that_nobody_signed_is_refused(server: Server, forge: Forge, code: str, text: str) -> None:
    """HTTP 400 with AWS's code; nothing is told of the secret, and the server serves on."""
    answer = server.send(forge(server))
    assert (400, code) == (answer.status, answer.error[0])
    assert text in answer.error[1]
    assert server.admin.secret not in answer.body.decode()
    assert server.send(signed(server)).status == 200


@pytest.mark.parametrize("part", [-0.9, 0.9])
def test_a_clock_may_be_wrong_by_almost_five_minutes(server: Server, part: float) -> None:
    """In both directions."""
    assert server.send(signed(server, shift=SKEW * part)).status == 200


def test_a_header_that_carries_no_meaning_may_be_added_on_the_way(server: Server) -> None:
    """As proxies do."""
    assert server.send(altered(signed(server), X_Forwarded_For="10.0.0.1", User_Agent="x")).status == 200


def test_a_refused_request_changes_nothing(server: Server, name: str) -> None:
    """A signature is checked before anything is done."""
    request = server.signed("CreateSecret", {"Name": name, "ClientRequestToken": "x" * 32})
    assert server.send(authorization(request, "Signature=.*", "Signature=" + "0" * 64)).status == 400
    assert server.post("DescribeSecret", {"SecretId": name}).error[0] == "ResourceNotFoundException"


# --- presigned -------------------------------------------------------------------------------------------------------


def presigned(
    server: Server, *, expires: int = 60, shift: timedelta = timedelta(0), pair: Pair | None = None, path: str = "/"
) -> AWSRequest:
    """A request of ListSecrets, signed by botocore in its query."""
    headers = {"X-Amz-Target": TARGET + "ListSecrets", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", server.url + path, headers=headers, data=b"{}")
    pair = pair or server.admin
    with clock_shifted_by(shift):
        credentials = Credentials(pair.access_key_id, pair.secret)
        SigV4QueryAuth(credentials, "secretsmanager", "us-east-1", expires=expires).add_auth(request)
    return request


def with_query(request: AWSRequest, pattern: str, replacement: str) -> AWSRequest:
    request.url = re.sub(pattern, replacement, request.url)
    return request


def test_a_presigned_request_is_served_until_it_expires(server: Server) -> None:
    """The header form's five minutes do not count for it."""
    assert server.send(presigned(server)).status == 200
    assert server.send(presigned(server, expires=3600, shift=timedelta(minutes=-50))).status == 200


@pytest.mark.parametrize(
    ("forge", "code", "text"),
    [
        (lambda s: presigned(s, expires=60, shift=timedelta(seconds=-70)), INVALID, "Signature expired: "),
        (lambda s: presigned(s, shift=SKEW * 1.2), INVALID, "Signature not yet current: "),
        (lambda s: presigned(s, expires=0), INVALID, "X-Amz-Expires"),
        (lambda s: presigned(s, expires=604_801), INVALID, "X-Amz-Expires"),
        (lambda s: with_query(presigned(s), "X-Amz-Expires=60", "X-Amz-Expires=600"), INVALID, MISMATCH),
        (lambda s: with_query(presigned(s), "X-Amz-Expires=60", "X-Amz-Expires=soon"), INCOMPLETE, "a number"),
        (lambda s: with_query(presigned(s), "&X-Amz-Signature=.*", ""), INCOMPLETE, "X-Amz-Signature"),
        (lambda s: with_query(presigned(s), "&X-Amz-Date=[^&]*", ""), INCOMPLETE, "X-Amz-Date"),
        (lambda s: with_body(presigned(s), b'{"MaxResults":1}'), INVALID, MISMATCH),
        (lambda s: altered(presigned(s), X_Amz_Target=TARGET + "GetRandomPassword"), INVALID, MISMATCH),
        (lambda s: presigned(s, pair=UNKNOWN), UNRECOGNIZED, "security token"),
        (lambda s: presigned(s, pair=Pair("A\x00B", "x" * 40)), INCOMPLETE, "exactly 5 elements"),
        (lambda s: presigned(s, pair=Pair("é\U0001f600", "x" * 40)), UNRECOGNIZED, "security token"),
        (lambda s: altered(presigned(s), Authorization=signed(s).headers["Authorization"]), INCOMPLETE, "not by both"),
    ],
    ids=[
        "expired", "from the future", "no life", "more than a week", "a longer life", "a life that is no number",
        "no signature", "no date", "another body", "another operation", "an unknown key", "a key with a NUL",
        "a key beyond ASCII", "both ways at once",
    ],
)  # fmt: skip
def test_a_presigned_request_that_nobody_signed_is_refused(server: Server, forge: Forge, code: str, text: str) -> None:
    """With AWS's code."""
    answer = server.send(forge(server))
    assert (400, code) == (answer.status, answer.error[0])
    assert text in answer.error[1]


@pytest.mark.parametrize("region", ["x\x00y", "é", "a b", "US-EAST-1", "..", "x" * 64])
def test_a_region_that_is_none_is_refused_or_empty(server: Server, region: str) -> None:
    """Whatever a signer writes into the scope of its signature, nothing breaks."""
    headers = {"X-Amz-Target": TARGET + "ListSecrets", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", server.url + "/", headers=headers, data=b"{}")
    credentials = Credentials(server.admin.access_key_id, server.admin.secret)
    SigV4QueryAuth(credentials, "secretsmanager", region, expires=60).add_auth(request)
    answer = server.send(request)
    assert answer.status == 400 or answer.json == {"SecretList": []}
    assert quote(region) in request.url


# --- read-only keys --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(server: Server) -> Pair:
    """A read-only key."""
    return server.access_key(Role.READ_ONLY, user="reader")


def as_reader(server: Server, reader: Pair, operation: str, members: Any) -> Answer:
    return server.post(operation, members, pair=reader)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if not name.startswith(READING)])
def test_a_read_only_key_may_change_nothing(server: Server, reader: Pair, operation: str) -> None:
    """AccessDeniedException with AWS's text: the caller, the action, and the secret as it was named."""
    members = valid(MODEL.operation_model(operation).input_shape)
    answer = as_reader(server, reader, operation, members)
    expected = (
        f"User: arn:aws:iam::123456789012:user/reader is not authorized to perform: secretsmanager:{operation} on "
        f"resource: arn:aws:secretsmanager:us-east-1:123456789012:secret:{members.get('SecretId', members.get('Name'))}"
        f" because no identity-based policy allows the secretsmanager:{operation} action"
    )
    assert (answer.status, answer.error[0]) == (400, "AccessDeniedException")
    assert expected == answer.error[1]
    assert {"__type", "message"} == set(answer.json)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name.startswith(READING)])
def test_a_read_only_key_may_read(server: Server, reader: Pair, operation: str) -> None:
    """Values included."""
    members = valid(MODEL.operation_model(operation).input_shape)
    answer = as_reader(server, reader, operation, members)
    assert answer.status == 200 or answer.error[0] != "AccessDeniedException"


def test_a_read_only_key_reads_what_an_administrator_wrote(server: Server, api: Any, reader: Pair, name: str) -> None:
    """And its refused write leaves no trace."""
    api.create_secret(Name=name, SecretString="v")
    client = server.client("us-east-1", reader)
    assert client.get_secret_value(SecretId=name)["SecretString"] == "v"
    assert refusal(client.put_secret_value, SecretId=name, SecretString="w")[0] == "AccessDeniedException"
    assert refusal(client.delete_secret, SecretId=name)[0] == "AccessDeniedException"
    assert client.get_secret_value(SecretId=name)["SecretString"] == "v"
    assert not UNSUPPORTED & {operation for operation in OPERATIONS if operation.startswith(READING)}


def test_a_whole_arn_is_named_in_the_refusal_as_it_was_sent(server: Server, api: Any, reader: Pair, name: str) -> None:
    """The resource is the ARN itself."""
    arn = api.create_secret(Name=name)["ARN"]
    answer = as_reader(server, reader, "DeleteSecret", {"SecretId": arn})
    assert f"on resource: {arn} because" in answer.error[1]
