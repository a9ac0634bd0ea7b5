"""AWS's SigV4 test suite: every case is signed as published, in the header and in the query, and accepted."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from keywheel.access import sigv4
from keywheel.access.sigv4 import Claim, Request, SigningKeys
from keywheel.errors import InvalidSignature
from keywheel.sensitive import Sensitive

NOW, LIFE = datetime(2015, 8, 30, 12, 36, tzinfo=UTC), 3600
SECRET = Sensitive("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")  # the suite's
SIGNER: dict[str, Any] = {
    "access_key_id": "AKIDEXAMPLE", "secret": SECRET, "region": "us-east-1", "service": "service", "now": NOW
}  # fmt: skip
TOKEN = b"x-amz-security-token"
CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("sigv4.json").read_text(encoding="utf-8"))["cases"]
# The suite has one case where the session token is added when all is signed. Here it must be signed.
SIGNED = [case for case in CASES if not case.get("omit")]
UNSIGNED_TOKEN = [case for case in CASES if case.get("omit")]
every_case = pytest.mark.parametrize("case", SIGNED, ids=lambda case: case["name"])


def bare(case: dict[str, Any]) -> Request:
    """The request of a case as it stands before it is signed."""
    path, _, query = case["target"].partition("?")
    headers = [(name.lower().encode(), value.encode()) for name, value in case["headers"]]
    return Request(case["method"], path, query, headers, case.get("body", "").encode())


def more(request: Request, *headers: tuple[bytes, bytes]) -> Request:
    """The same with more headers."""
    return request._replace(headers=[*request.headers, *headers])


def signed(case: dict[str, Any]) -> Request:
    """The request of a case, signed in its headers."""
    request = bare(case)
    if case.get("sign_body"):
        request = more(request, (b"x-amz-content-sha256", hashlib.sha256(request.body).hexdigest().encode()))
    if "token" in case and not case.get("omit"):
        request = more(request, (TOKEN, case["token"].encode()))
    return more(request, *sigv4.sign(request, **SIGNER))


def presigned(case: dict[str, Any]) -> Request:
    """The request of a case, signed in its query."""
    request = bare(case)
    if "token" in case and not case.get("omit"):
        parts = [str(request.query), "X-Amz-Security-Token=" + quote(case["token"], "")]
        request = request._replace(query="&".join(filter(None, parts)))
    return request._replace(query=sigv4.presign(request, LIFE, **SIGNER))


def accepted(request: Request, *, token: bool) -> Claim:
    """What a signed request says of itself, when it is accepted."""
    claim = sigv4.claim(request)
    services = frozenset({"service"})
    belongs = True if token else None
    sigv4.verify(request, claim, SECRET, keys=SigningKeys(), now=NOW, services=services, token_belongs=belongs)
    return claim


def test_the_whole_suite_is_here() -> None:
    """But for the cases whose path is not normalized, as only S3 does not."""
    assert len(CASES) == 31
    assert [case["name"] for case in UNSIGNED_TOKEN] == ["post-sts-header-after"]


@every_case
def test_a_header_is_signed_as_published(case: dict[str, Any]) -> None:
    """The same signature, and what has it is accepted."""
    claim = accepted(signed(case), token="token" in case)
    assert claim.signature == case["by_header"]
    assert claim.signer.signed_headers[-1] in (b"x-amz-date", TOKEN)


@every_case
def test_a_query_is_signed_as_published(case: dict[str, Any]) -> None:
    """The same signature, and what has it is accepted."""
    claim = accepted(presigned(case), token="token" in case)
    assert (claim.signature, claim.expires) == (case["by_query"], LIFE)


@every_case
def test_no_other_signature_is_accepted(case: dict[str, Any]) -> None:
    """The header's is not the query's."""
    assert case["by_header"] != case["by_query"]
    query = str(presigned(case).query).replace(case["by_query"], case["by_header"])
    with pytest.raises(InvalidSignature):
        accepted(presigned(case)._replace(query=query), token="token" in case)


@pytest.mark.parametrize("case", UNSIGNED_TOKEN, ids=lambda case: case["name"])
def test_a_session_token_must_be_signed(case: dict[str, Any]) -> None:
    """The signature without it is the published one; with the token added afterwards it is refused."""
    by_header, by_query = signed(case), presigned(case)
    assert sigv4.claim(by_header).signature == case["by_header"]
    assert sigv4.claim(by_query).signature == case["by_query"]
    with pytest.raises(InvalidSignature):
        accepted(more(by_header, (TOKEN, case["token"].encode())), token=True)
    query = "&".join([f"X-Amz-Security-Token={quote(case['token'], '')}", str(by_query.query)])
    with pytest.raises(InvalidSignature):
        accepted(by_query._replace(query=query), token=True)
