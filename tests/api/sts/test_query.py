"""What query.py promises: forms are read as the model has them, and answers are XML that no value can break out of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.api.sts import query
from keywheel.errors import (
    AccessDenied,
    CallerError,
    ExpiredToken,
    InvalidSignature,
    UnrecognizedClient,
    ValidationFailed,
)

ROLE = "arn:aws:iam::123456789012:role/turner"
GOOD = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE, "RoleSessionName": "now"}


def decoded(**changes: Any) -> query.AssumeRoleRequest:
    """A request of AssumeRole, with changes."""
    fields = {name: value for name, value in (GOOD | changes).items() if value is not None}
    found: query.AssumeRoleRequest = query.decode(urlencode(fields).encode(), query.AssumeRoleRequest)
    return found


def test_a_form_is_read() -> None:
    """Texts, and numbers that are written as texts."""
    read = decoded(DurationSeconds="900", ExternalId="a:b/c", Policy='{"Version": "…"}')
    assert read == query.AssumeRoleRequest(ROLE, "now", '{"Version": "…"}', 900, "a:b/c")


@pytest.mark.parametrize(
    "changes",
    [
        {"RoleArn": None},
        {"RoleArn": "short"},
        {"RoleSessionName": None},
        {"RoleSessionName": "a"},
        {"RoleSessionName": "a b"},
        {"RoleSessionName": "a" * 65},
        {"RoleSessionName": "abc\n"},
        {"DurationSeconds": "899"},
        {"DurationSeconds": "43201"},
        {"DurationSeconds": "an hour"},
        {"ExternalId": "x y"},
        {"PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
        {"Tags.member.1.Key": "a"},
        {"SourceIdentity": "ann"},
        {"SerialNumber": "1", "TokenCode": "2"},
    ],
)
def test_what_breaks_the_model_or_is_not_built_is_refused(changes: dict[str, str | None]) -> None:
    """A member that would narrow a session is not passed over."""
    with pytest.raises(ValidationFailed):
        decoded(**changes)


@pytest.mark.parametrize("body", [b"a=1&a=2", "a=é".encode(), b"a=%FF", b"&".join([b"a%d=1" % n for n in range(300)])])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    """A field that stands twice, too."""
    with pytest.raises(ValidationFailed):
        query.form(body)


@given(st.binary(max_size=200))
def test_any_body_is_a_form_or_refused(body: bytes) -> None:
    """Never anything else."""
    try:
        query.decode(body, query.AssumeRoleRequest)
    except ValidationFailed:
        return


def text(node: ET.Element, *path: str) -> str | None:
    """The text of an element."""
    return node.findtext("/".join(f"{{{query.NAMESPACE}}}{name}" for name in path))


def test_an_answer_is_xml() -> None:
    """With the names of the model, and the id of the request."""
    at = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    answer = query.AssumeRoleResponse(query.Credentials("A", "s<&>", "t", at), query.AssumedRoleUser("AROA:x", ROLE))
    root = ET.fromstring(query.encode("AssumeRole", answer, "1-2"))
    assert root.tag == f"{{{query.NAMESPACE}}}AssumeRoleResponse"
    assert text(root, "AssumeRoleResult", "Credentials", "SecretAccessKey") == "s<&>"
    assert text(root, "AssumeRoleResult", "Credentials", "Expiration") == "2026-11-21T08:30:00Z"
    assert text(root, "AssumeRoleResult", "AssumedRoleUser", "AssumedRoleId") == "AROA:x"
    assert text(root, "ResponseMetadata", "RequestId") == "1-2"


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (AccessDenied("no"), "AccessDenied", 403),
        (ValidationFailed("no"), "ValidationError", 400),
        (UnrecognizedClient("no"), "InvalidClientTokenId", 403),
        (InvalidSignature("no"), "SignatureDoesNotMatch", 403),
        (ExpiredToken("no"), "ExpiredTokenException", 400),
    ],
)
def test_an_error_has_the_code_of_the_query_protocol(error: CallerError, code: str, status: int) -> None:
    """And says whose fault it is."""
    found = query.refused(error, "1-2")
    root = ET.fromstring(found[1])
    assert (found[0], found[2]) == (status, code)
    assert [text(root, "Error", name) for name in ("Type", "Code", "Message")] == ["Sender", code, "no"]


def test_an_error_of_our_own_says_nothing_of_itself() -> None:
    """It may quote what it should not."""
    status, body, code = query.refused(RuntimeError("a secret"), "1-2")
    assert (status, code) == (500, "InternalFailure")
    assert b"a secret" not in body
    assert text(ET.fromstring(body), "Error", "Type") == "Receiver"


@given(st.text())
def test_no_message_breaks_out_of_the_xml(message: str) -> None:
    """It may quote what was sent."""
    told = "".join(c if c.isprintable() else "?" for c in message)
    root = ET.fromstring(query.refused(AccessDenied(message), "1")[1])
    assert (text(root, "Error", "Message") or "") == told
