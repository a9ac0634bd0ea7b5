"""SigV4: what is accepted, and everything that is refused."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock, patch
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given
from hypothesis import strategies as st

from keywheel.access import sigv4
from keywheel.access.sigv4 import Claim, Request, SigningKey, SigningKeys
from keywheel.errors import (
    CallerError,
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    UnrecognizedClient,
)
from keywheel.sensitive import Sensitive

NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
KEY_ID = "AKIDEXAMPLE"
PLAIN_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SECRET = Sensitive(PLAIN_SECRET)
SERVICE = "secretsmanager"
SIGNER: dict[str, Any] = {
    "access_key_id": KEY_ID,
    "secret": SECRET,
    "region": "us-east-1",
    "service": SERVICE,
    "now": NOW,
}
HEADERS = [
    (b"host", b"localhost:8080"),
    (b"content-type", b"application/x-amz-json-1.1"),
    (b"x-amz-target", b"secretsmanager.GetSecretValue"),
]
PLAIN = Request("POST", b"/", "", HEADERS, b'{"SecretId":"prod/db"}')


def signed(request: Request = PLAIN, **changes: Any) -> Request:
    """`request` with the headers that `sign` adds."""
    return more(request, *sigv4.sign(request, **(SIGNER | changes)))


def presigned(request: Request = PLAIN, *, expires: int = 3600, **changes: Any) -> Request:
    """`request` with the query that `presign` makes."""
    return request._replace(query=sigv4.presign(request, expires, **(SIGNER | changes)))


def check(request: Request, *, secret: Sensitive[str] | None = SECRET, **changes: Any) -> Claim:
    """Claim and verify in one, as the door does."""
    given: dict[str, Any] = {"keys": SigningKeys(), "now": NOW, "services": frozenset({SERVICE})}
    found = sigv4.claim(request)
    sigv4.verify(request, found, secret, **(given | changes))
    return found


def header(request: Request, name: bytes, change: Callable[[bytes], bytes]) -> Request:
    """`request` with the value of one header changed."""
    return request._replace(headers=[(key, change(value) if key == name else value) for key, value in request.headers])


def without(request: Request, name: bytes) -> Request:
    """`request` without one header."""
    return request._replace(headers=[pair for pair in request.headers if pair[0] != name])


def more(request: Request, *extra: tuple[bytes, bytes]) -> Request:
    """`request` with more headers."""
    return request._replace(headers=[*request.headers, *extra])


def authorization(old: bytes, new: bytes) -> Request:
    """A signed request whose Authorization header was edited."""
    return header(signed(), b"authorization", lambda value: value.replace(old, new))


def query(old: str, new: str) -> Request:
    """A presigned request whose query was edited."""
    request = presigned()
    return request._replace(query=str(request.query).replace(old, new))


# --- AWS's published test suite ----------------------------------------------------------------------------------

HOST = [(b"host", b"example.amazonaws.com")]
FORM = (b"content-type", b"application/x-www-form-urlencoded")
ALPHABET = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VANILLA = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"


def get(path: str = "/", query: str = "", *extra: tuple[bytes, bytes]) -> Request:
    """A GET of the test suite."""
    return Request("GET", path, query, [*HOST, *extra], b"")


def post(query: str, body: bytes, *extra: tuple[bytes, bytes]) -> Request:
    """A POST of the test suite."""
    return Request("POST", "/", query, [*HOST, *extra], body)


def my(*given: bytes) -> list[tuple[bytes, bytes]]:
    """The test suite's header, once for each value."""
    return [(b"my-header1", value) for value in given]


VECTORS = {
    "get-vanilla": (get(), VANILLA),
    "get-relative": (get("/example/.."), VANILLA),
    "get-relative-relative": (get("/example1/example2/../.."), VANILLA),
    "get-slash": (get("//"), VANILLA),
    "get-slash-dot-slash": (get("/./"), VANILLA),
    "get-slash-pointless-dot": (get("/./example"), "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
    "get-slashes": (get("//example//"), "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
    "get-space": (get("/example space/"), "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
    "get-unreserved": (get(f"/{ALPHABET}"), "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
    "get-utf8": (get("/ሴ"), "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    "get-vanilla-query-order-key-case": (
        get("/", "Param2=value2&Param1=value1"),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-empty-query-key": (
        get("/", "Param1=value1"),
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    "get-vanilla-query-unreserved": (
        get("/", f"{ALPHABET}={ALPHABET}"),
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "get-vanilla-utf8-query": (get("/", "ሴ=bar"), "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    "get-header-key-duplicate": (
        get("/", "", *my(b"value2", b"value2", b"value1")),
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-order": (
        get("/", "", *my(b"value4", b"value1", b"value3", b"value2")),
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    "get-header-value-trim": (
        get("/", "", *my(b" value1"), (b"my-header2", b' "a   b   c"')),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-vanilla": (post("", b""), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    "post-vanilla-query": (
        post("Param1=value1", b""),
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    "post-header-key-sort": (
        post("", b"", *my(b"value1")),
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-header-value-case": (
        post("", b"", *my(b"VALUE1")),
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-x-www-form-urlencoded": (
        post("", b"Param1=value1", FORM),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-x-www-form-urlencoded-parameters": (
        post("", b"Param1=value1", (FORM[0], FORM[1] + b"; charset=utf8")),
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_published_vectors_are_signed_as_published(name: str) -> None:
    """Every vector of AWS's SigV4 test suite that is written here gets the published signature, and passes."""
    request, expected = VECTORS[name]
    given = signed(request, service="service")
    assert expected == check(given, services=frozenset({"service"})).signature


# --- what AWS's own client sends ---------------------------------------------------------------------------------


def from_botocore(signer: type[SigV4Auth], request: AWSRequest, *, token: str | None = None, **options: Any) -> Request:
    """`request` signed by botocore, as it would arrive here."""
    request.headers["Host"] = "localhost:8080"
    with patch("botocore.auth.get_current_datetime", return_value=NOW):
        signer(Credentials(KEY_ID, PLAIN_SECRET, token), SERVICE, "eu-west-1", **options).add_auth(request)
    sent = request.prepare()
    parts, body = urlsplit(sent.url), sent.body or b""
    headers = [
        (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in sent.headers.items()
    ]
    return Request(
        sent.method, parts.path.encode(), parts.query, headers, body.encode() if isinstance(body, str) else body
    )


BOTOCORE: dict[str, dict[str, Any]] = {
    "a usual call": {"data": b'{"SecretId":"x"}', "headers": {"Content-Type": "application/x-amz-json-1.1"}},
    "no body": {"data": b""},
    "a body that is not text": {"data": bytes(range(256))},
    "an odd path": {"url": "http://localhost:8080/a%20b//c/./d/../%E1%88%B4/~x+y,z/"},
    "an odd query": {"url": "http://localhost:8080/?b=2&a=1&a=0&B=&%E1%88%B4=x%20y&-._~=a%2Fb%3D%26&c="},
    "parameters with spaces and signs": {"params": {"a b": "c d+e", "ሴ": "/=&~"}},
    "a unicode header": {"headers": {"X-Amz-Meta-Name": "Zürich – ሴ"}},
    "a header with many spaces": {"headers": {"X-Amz-Meta-Name": "  a   b  c "}},
    "headers that clients do not sign": {"headers": {"User-Agent": "Boto3/1", "X-Amzn-Trace-Id": "Root=1"}},
}


@pytest.mark.parametrize("name", BOTOCORE)
def test_a_request_signed_by_botocore_is_accepted(name: str) -> None:
    """What botocore signs in the Authorization header passes, and the claim says who and for what."""
    request = AWSRequest(**({"method": "POST", "url": "http://localhost:8080/"} | BOTOCORE[name]))
    found = check(from_botocore(SigV4Auth, request))
    signer = found.signer
    expected = (KEY_ID, "20150830", "eu-west-1", SERVICE)
    assert (signer.access_key_id, signer.date, signer.region, signer.service) == expected
    assert (
        found.timestamp,
        found.expires,
        found.presigned,
        found.session_token,
    ) == ("20150830T123600Z", None, False, None)


@pytest.mark.parametrize("name", [name for name in BOTOCORE if "body" not in name and "call" not in name])
def test_a_query_signed_by_botocore_is_accepted(name: str) -> None:
    """What botocore presigns passes, until it expires."""
    request = AWSRequest(**({"method": "GET", "url": "http://localhost:8080/"} | BOTOCORE[name]))
    found = check(from_botocore(SigV4QueryAuth, request, expires=60), now=NOW + timedelta(seconds=60))
    signer = found.signer
    assert (signer.access_key_id, signer.region, found.expires, found.presigned) == (KEY_ID, "eu-west-1", 60, True)


@pytest.mark.parametrize("signer", [SigV4Auth, SigV4QueryAuth])
def test_a_session_token_is_refused(signer: type[SigV4Auth]) -> None:
    """No temporary credentials are issued, so a session token names nobody, however well it is signed."""
    request = from_botocore(signer, AWSRequest(method="GET", url="http://localhost:8080/"), token="FwoGZXIvYXdzEXAMPLE")
    with pytest.raises(UnrecognizedClient, match=r"^The security token included in the request is invalid\.$"):
        check(request)


# --- refusals ----------------------------------------------------------------------------------------------------

Reason = tuple[type[CallerError], str]
SIGNATURE_TEXT = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
DATE_TEXT = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
MISMATCH = InvalidSignature, SIGNATURE_TEXT
WRONG_DATE = InvalidSignature, DATE_TEXT
LIFE = InvalidSignature, "X-Amz-Expires must be at least 1 second and at most a week (604800 seconds)."
ALGORITHM = InvalidSignature, "Unsupported AWS 'algorithm': only AWS4-HMAC-SHA256 is accepted."
TERMINATOR = InvalidSignature, "Credential should be scoped with a valid terminator: 'aws4_request'."
SERVICES = InvalidSignature, "Credential should be scoped to correct service: 'secretsmanager'."
NO_HOST = InvalidSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
ADDED = InvalidSignature, "There were headers present in the request which were not signed."
NAMES = InvalidSignature, "SignedHeaders must name headers of the request, in order, each once."
HASH = InvalidSignature, "The provided 'x-amz-content-sha256' header does not match what was computed."
UNSIGNED = MissingAuthenticationToken, "Missing Authentication Token"
BAD_DATE = IncompleteSignature, "Date must be in ISO-8601 'basic format', such as 20150830T123600Z."
NO_DATE = IncompleteSignature, "Authorization header requires existence of a 'X-Amz-Date' header."
NO_NUMBER = IncompleteSignature, "X-Amz-Expires should be a number."
TWICE = IncompleteSignature, "Each part of a signature must be given once."
TWO_WAYS = IncompleteSignature, "A request is signed by its Authorization header or by its query, not by both."
ELEMENTS = IncompleteSignature, "Credential must have exactly 5 elements, e.g. keyid/date/region/service/term."
ALL_PARTS = "Credential", "Signature", "SignedHeaders"


def lacks(*parts: str) -> Reason:
    """What is said when these parts of an Authorization header are missing."""
    return IncompleteSignature, " ".join(f"Authorization header requires '{part}' parameter." for part in parts)


def lacks_query(*parts: str) -> Reason:
    """What is said when these parts of a presigned query are missing."""
    return IncompleteSignature, " ".join(f"AWS query-string parameters must include 'X-Amz-{part}'." for part in parts)


def rehash(value: bytes) -> Request:
    """A request signed with the body hash that it names, right or wrong, as a client would sign it."""

    def lying_sha256(raw: bytes) -> Any:
        return Mock(**{"hexdigest.return_value": value.decode()}) if raw == PLAIN.body else hashlib.sha256(raw)

    with patch.object(sigv4, "sha256", lying_sha256):
        return signed(more(PLAIN, (b"x-amz-content-sha256", value)))


SCOPE = b"/20150830/us-east-1/secretsmanager/aws4_request"
LISTED = b"content-type;host;x-amz-date;x-amz-target"
TWO, SWAPPED = [(b"x-amz-a", b"1"), (b"x-amz-a", b"2")], [(b"x-amz-a", b"2"), (b"x-amz-a", b"1")]

REFUSED: dict[str, tuple[Request, Reason]] = {
    "no signature": (PLAIN, UNSIGNED),
    "an empty header": (header(signed(), b"authorization", lambda _: b""), UNSIGNED),
    "a login": (header(signed(), b"authorization", lambda _: b"Basic eA=="), lacks(*ALL_PARTS)),
    "no credential": (authorization(b"Credential=", b"Cred="), lacks("Credential")),
    "an empty credential": (authorization(b"AKIDEXAMPLE" + SCOPE, b""), lacks("Credential")),
    "no signed headers": (authorization(b"SignedHeaders=", b"Headers="), lacks("SignedHeaders")),
    "no signature part": (authorization(b" Signature=", b" Sig="), lacks("Signature")),
    "no date": (without(signed(), b"x-amz-date"), NO_DATE),
    "a date that is not one": (header(signed(), b"x-amz-date", lambda _: b"20150230T123600Z"), BAD_DATE),
    "a date as mail has it": (header(signed(), b"x-amz-date", lambda _: b"Sun, 30 Aug 2015 12:36:00 GMT"), BAD_DATE),
    "two dates": (more(signed(), (b"x-amz-date", b"20150830T123600Z")), BAD_DATE),
    "a part given twice": (authorization(b", Signature=", b", Signature=0, Signature="), TWICE),
    "two headers": (more(signed(), signed().headers[-1]), TWICE),
    "a header and a query": (signed()._replace(query=presigned().query), TWO_WAYS),
    "a short credential": (authorization(b"/us-east-1", b""), ELEMENTS),
    "a long credential": (authorization(b"AKID", b"AKID" * 64), ELEMENTS),
    "a credential with a gap": (authorization(b"us-east-1", b""), ELEMENTS),
    "another algorithm": (authorization(b"HMAC-SHA256", b"ECDSA-P256-SHA256"), ALGORITHM),
    "another terminator": (authorization(b"aws4_request", b"aws5_request"), TERMINATOR),
    "another service": (signed(service="s3"), SERVICES),
    "a scope of another day": (authorization(b"/20150830/", b"/20150829/"), WRONG_DATE),
    "another region": (authorization(b"us-east-1", b"eu-west-1"), MISMATCH),
    "another secret": (signed(secret=Sensitive("wrong")), MISMATCH),
    "another method": (signed()._replace(method="PUT"), MISMATCH),
    "a parameter named to be left out": (signed()._replace(query="X%2DAmz-Signature=1"), MISMATCH),
    "a longer signature": (authorization(b"Signature=", b"Signature=00"), MISMATCH),
    "a signature not of ASCII": (authorization(b"Signature=", b"Signature=\xe9"), MISMATCH),
    "a signature in capitals": (header(signed(), b"authorization", lambda it: it[:-64] + it[-64:].upper()), MISMATCH),
    "an unsigned host": (signed(PLAIN._replace(headers=HEADERS[1:])), NO_HOST),
    "a target added": (more(signed(without(PLAIN, b"x-amz-target")), HEADERS[2]), ADDED),
    "a second target added": (more(signed(), HEADERS[2]), MISMATCH),
    "names out of order": (authorization(LISTED, b"host;content-type;x-amz-date;x-amz-target"), NAMES),
    "a name twice": (authorization(b";host;", b";host;host;"), NAMES),
    "a name in capitals": (authorization(b";host;", b";Host;host;"), NAMES),
    "a name of no header": (authorization(LISTED, b"accept;" + LISTED), NAMES),
    "duplicates swapped": (
        PLAIN._replace(headers=[*HEADERS, *SWAPPED, *signed(more(PLAIN, *TWO)).headers[-2:]]),
        MISMATCH,
    ),
    "an unsigned payload": (rehash(b"UNSIGNED-PAYLOAD"), HASH),
    "a streaming payload": (rehash(b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), HASH),
    "the hash of another body": (rehash(hashlib.sha256(b"").hexdigest().encode()), HASH),
    "presigned, no algorithm": (query("X-Amz-Algorithm", "X-Amz-Algo"), lacks_query("Algorithm")),
    "presigned, no signature": (query("X-Amz-Signature", "X-Amz-Sig"), lacks_query("Signature")),
    "presigned, no date or life": (
        PLAIN._replace(query="X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-SignedHeaders=c&X-Amz-Signature=d"),
        lacks_query("Date", "Expires"),
    ),
    "presigned by another algorithm": (query("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), ALGORITHM),
    "presigned with a part twice": (query("X-Amz-Date", "X-Amz-Expires=9&X-Amz-Date"), TWICE),
    "presigned for no time": (presigned(expires=0), LIFE),
    "presigned for less": (presigned(expires=-1), LIFE),
    "presigned for over a week": (presigned(expires=604_801), LIFE),
    "presigned for ever": (presigned(expires=999_999_999_999), LIFE),
    "presigned for a word": (query("Expires=3600", "Expires=long"), NO_NUMBER),
    "presigned for an Arabic digit": (query("Expires=3600", "Expires=%D9%A1"), NO_NUMBER),
    "presigned, then made longer": (query("Expires=3600", "Expires=7200"), MISMATCH),
    "presigned on another day": (query("Date=20150830", "Date=20150829"), WRONG_DATE),
    "presigned, another body": (presigned()._replace(body=b"{}"), MISMATCH),
    "presigned, a parameter added": (query("X-Amz-Date", "a=1&X-Amz-Date"), MISMATCH),
    "presigned, a header added": (more(presigned(), (b"x-amz-a", b"1")), ADDED),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_breaks_a_rule_is_refused(name: str) -> None:
    """Each broken rule has its error and its text, AWS's where it has one, which is fixed: nothing can leak by it."""
    request, (kind, text) = REFUSED[name]
    with pytest.raises(CallerError) as refusal:
        check(request)
    assert (kind, text) == (type(refusal.value), str(refusal.value))


@pytest.mark.parametrize("sign_it", [signed, presigned])
@pytest.mark.parametrize("secret", [SECRET, sigv4._NO_SECRET])
def test_an_unknown_access_key_is_refused(sign_it: Callable[..., Request], secret: Sensitive[str]) -> None:
    """A request by an access key that does not exist is refused, even if it is signed with the stand-in secret."""
    with pytest.raises(UnrecognizedClient, match=r"^The security token included in the request is invalid\.$"):
        check(sign_it(secret=secret), secret=None)


def test_an_unknown_access_key_costs_the_work_of_a_known_one() -> None:
    """As many HMACs and comparisons are done for an unknown access key as for a wrong signature, warm and cold."""
    request, work = signed(secret=Sensitive("wrong")), []
    for secret in (SECRET, None):
        keys = SigningKeys()
        for _ in ("cold", "warm"):
            with (
                patch.object(hmac, "digest", wraps=hmac.digest) as digest,
                patch.object(SigningKey, "sign", autospec=True, side_effect=SigningKey.sign) as sign,
                patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compare,
                pytest.raises(CallerError),
            ):
                check(request, secret=secret, keys=keys)
            work.append((digest.call_count, sign.call_count, compare.call_count))
    assert work == [(4, 1, 1), (0, 1, 1)] * 2


def test_several_services_are_all_named() -> None:
    """A scope for a service that is not served is told which ones are."""
    with pytest.raises(InvalidSignature, match=r"service: 'kms', 'secretsmanager'\.$"):
        check(signed(service="s3"), services=frozenset({"secretsmanager", "kms"}))


EXPIRED = "Signature expired: 20150830T123600Z is now earlier than"
EARLY = "Signature not yet current: 20150830T123600Z is still later than"
TIMES = {
    "five minutes late": (signed(), 300.9, None),
    "a second more": (signed(), 301, f"{EXPIRED} 20150830T123601Z (20150830T124101Z - 5 min.)"),
    "five minutes early": (signed(), -300, None),
    "a second more early": (signed(), -301, f"{EARLY} 20150830T123559Z (20150830T123059Z + 5 min.)"),
    "presigned, at its end": (presigned(expires=5400), 5400, None),
    "presigned, ended": (presigned(expires=5400), 5401, f"{EXPIRED} 20150830T123601Z (20150830T140601Z - 90 min.)"),
    "presigned, briefly": (presigned(expires=6), 7, f"{EXPIRED} 20150830T123601Z (20150830T123607Z - 0.1 min.)"),
    "presigned, a week later": (presigned(expires=604_800), 604_800, None),
    "presigned, too early": (presigned(), -301, f"{EARLY} 20150830T123559Z (20150830T123059Z + 5 min.)"),
}


@pytest.mark.parametrize("name", TIMES)
def test_a_request_is_good_for_its_time_only(name: str) -> None:
    """A signed request is good within five minutes, a presigned one from then until it expires, to the second."""
    request, seconds, text = TIMES[name]
    try:
        check(request, now=NOW + timedelta(seconds=seconds))
        answer = None
    except InvalidSignature as refusal:
        answer = str(refusal)
    assert text == answer


# --- what may change on the way ------------------------------------------------------------------------------------

FOLDED = signed(more(PLAIN, (b"x-amz-a", b"1,2"))).headers[-2:]
HARMLESS = {
    "unsigned headers": more(signed(), (b"user-agent", b"curl"), (b"via", b"proxy"), (b"x-amzn-trace-id", b"1")),
    "headers in another order": signed()._replace(headers=signed().headers[::-1]),
    "spaces around a value": header(signed(), b"x-amz-target", lambda value: b" \t" + value + b"  "),
    "spaces between words": header(signed(more(PLAIN, (b"x-amz-a", b"a b"))), b"x-amz-a", lambda _: b"a    b"),
    "duplicates unfolded": more(PLAIN, *TWO, *FOLDED),
    "parameters in another order": signed(PLAIN._replace(query="b=1&a=2&a=1"))._replace(query="a=1&b=1&a=2"),
    "an escape that was not needed": signed(PLAIN._replace(query="a=b"))._replace(query="%61=%62"),
    "bytes for text": signed(PLAIN._replace(path="/ሴ", query="ሴ"))._replace(path="/ሴ".encode(), query="ሴ".encode()),
    "text that holds raw bytes": signed(PLAIN._replace(query=b"\xff=1"))._replace(query="\udcff=1"),
    "no spaces after the commas": authorization(b", ", b","),
    "the hash of the body": rehash(hashlib.sha256(PLAIN.body).hexdigest().encode()),
    "an empty path": signed()._replace(path=b""),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_change_without_meaning_is_accepted(name: str) -> None:
    """What a proxy or an HTTP library may change without changing the request's meaning does no harm."""
    assert check(HARMLESS[name]).signer.access_key_id == KEY_ID


# --- the keys that are remembered ------------------------------------------------------------------------------------


def test_a_changed_secret_counts_at_once() -> None:
    """A remembered signing key is never used for another secret of the same access key."""
    keys, other = SigningKeys(), Sensitive("another")
    check(signed(), keys=keys)
    with pytest.raises(InvalidSignature):
        check(signed(), secret=other, keys=keys)
    check(signed(secret=other), secret=other, keys=keys)
    with pytest.raises(InvalidSignature):
        check(signed(), secret=other, keys=keys)
    check(signed(), keys=keys)


def test_a_signing_key_is_derived_once_and_the_oldest_is_forgotten() -> None:
    """A key is derived once while it is in use, for equal secrets too; beyond the limit the least used one goes."""
    keys, derived = SigningKeys(limit=2), []
    drafts = {name: sigv4.claim(signed(region=name)) for name in "abc"}
    for name in "aabacab":
        with patch.object(sigv4, "_derived", wraps=sigv4._derived) as derive:
            keys.key(drafts[name].signer, Sensitive(PLAIN_SECRET))
        derived.append(f"{name}{derive.call_count}")
    assert derived == ["a1", "a0", "b1", "a0", "c1", "a0", "b1"]


def test_a_claim_does_not_print_what_was_signed_with() -> None:
    """The repr of a claim holds neither its signature nor its session token."""
    found = sigv4.claim(signed(more(PLAIN, (b"x-amz-security-token", b"FwoGZXIvYXdz"))))
    assert found.signature not in repr(found)
    assert "FwoGZXIvYXdz" not in repr(found)


# --- properties ----------------------------------------------------------------------------------------------------

UNRESERVED = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~"
words = st.text(UNRESERVED.decode(), min_size=1, max_size=6)
paths = st.lists(words, max_size=3).map(lambda segments: "/" + "/".join(segments))
queries = st.lists(st.tuples(words, words), max_size=3).map(lambda pairs: "&".join("=".join(pair) for pair in pairs))
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(lambda name: b"x-amz-meta-" + name.encode())
values = st.text(st.characters(min_codepoint=33, exclude_categories=["Cs", "Cc", "Z"]), max_size=12).map(str.encode)
requests = st.builds(
    lambda method, path, query, extra, body: Request(method, path, query, [*HEADERS, *extra], body),
    st.sampled_from(["GET", "POST"]),
    paths,
    queries,
    st.lists(st.tuples(names, values), max_size=4),
    st.binary(max_size=64),
)
anything = st.text(max_size=12)


def replaced(text: bytes, data: st.DataObject, alphabet: bytes) -> bytes:
    """`text` with one byte changed into another one of `alphabet`."""
    assume(text)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([byte for byte in alphabet if byte != text[place]]))
    return text[:place] + bytes([other]) + text[place + 1 :]


@given(
    request=st.builds(
        Request,
        st.sampled_from(["GET", "POST"]),
        st.one_of(anything, st.binary(max_size=12)),
        st.one_of(anything, st.binary(max_size=12)).filter(lambda query: "X-Amz-" not in str(query)),
        st.lists(st.tuples(names, st.binary(max_size=12)), max_size=4).map(lambda extra: [*HEADERS, *extra]),
        st.binary(max_size=64),
    ),
    key_id=words,
    secret=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds
    expires=st.integers(1, 604_800),
)
def test_what_is_signed_here_is_accepted_here(
    request: Request, key_id: str, secret: str, now: datetime, expires: int
) -> None:
    """Any request that `sign` or `presign` signed passes, whatever its path, query, headers and body are."""
    given = {"access_key_id": key_id, "secret": Sensitive(secret), "now": now}
    assert key_id == check(signed(request, **given), secret=Sensitive(secret), now=now).signer.access_key_id
    found = check(presigned(request, expires=expires, **given), secret=Sensitive(secret), now=now)
    assert (key_id, expires) == (found.signer.access_key_id, found.expires)


@given(request=requests, data=st.data(), sign_it=st.sampled_from([signed, presigned]))
def test_a_changed_byte_is_refused(
    request: Request, data: st.DataObject, sign_it: Callable[[Request], Request]
) -> None:
    """One byte changed in the body, the path, the query, or the name or value of any signed header is refused."""
    good = sign_it(request)
    part = data.draw(st.sampled_from(["body", "path", "query", "name", "value"]))
    if part in ("name", "value"):
        place = data.draw(st.integers(0, len(good.headers) - 1))
        name, value = good.headers[place]
        assume(name != b"authorization")
        if part == "name":
            name = replaced(name, data, b"abcdefghijklmnopqrstuvwxyz-")
        else:
            value = replaced(value, data, bytes(range(33, 256)))
        bad = good._replace(headers=[*good.headers[:place], (name, value), *good.headers[place + 1 :]])
    elif part == "body":
        bad = good._replace(body=replaced(good.body, data, bytes(range(256))))
    elif part == "path":
        bad = good._replace(path=replaced(str(good.path).encode(), data, UNRESERVED + b"/"))
    else:
        bad = good._replace(query=replaced(str(good.query).encode(), data, UNRESERVED))
        assume(unquote_to_bytes(str(good.query)) != unquote_to_bytes(bad.query))  # %2f is %2F
    with pytest.raises(CallerError):
        check(bad)


@given(
    authorization=st.one_of(
        st.binary(max_size=80),
        st.lists(st.sampled_from([b"AWS4-HMAC-SHA256 ", b"Credential=", SCOPE, b",", b"=\xe9"])).map(b"".join),
    ),
    date=st.one_of(st.binary(max_size=17), st.just(b"20150830T123600Z")),
    query=st.one_of(anything, st.lists(st.sampled_from(["X-Amz-Date=", "X-Amz-", "%", "&", "%f", "="])).map("".join)),
)
def test_nonsense_is_refused_by_name(authorization: bytes, date: bytes, query: str) -> None:
    """Whatever stands where a signature should, the answer is an error for the caller, never a crash."""
    headers = [*HEADERS, (b"x-amz-date", date), (b"authorization", authorization)]
    with pytest.raises(CallerError):
        check(PLAIN._replace(headers=headers, query=query))


@pytest.mark.parametrize("header", [b"content-type", b"x-amz-user-agent"])
def test_a_header_that_chooses_nothing_may_be_unsigned(header: bytes) -> None:
    """Some SDKs sign neither the content type nor x-amz-user-agent; their requests are accepted."""
    request = more(signed(without(PLAIN, b"content-type")), (header, b"anything"))
    check(request)
