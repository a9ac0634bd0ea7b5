"""HTTP requests around the bodies: signed as an SDK signs, or with something about the envelope that is wrong.

Every request here is framed as HTTP frames it, so that each has exactly one answer.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keywheel.access import sigv4
from keywheel.sensitive import Sensitive
from tests.fuzz.documents import OPERATIONS, Draw, Names, body

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Key:
    """Who signs, for which server and Region."""

    access_key_id: str
    secret: Sensitive[str]
    host: str
    region: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request as it goes over the wire. `refused`: it must not be carried out, whatever its body says."""

    raw: bytes
    kind: str
    refused: bool = False


def envelope(draw: Draw, key: Key, names: Names) -> Envelope:
    """Four of five are signed rightly, so that their bodies are read."""
    operation = draw.choice(OPERATIONS)
    content = body(draw, operation, names)
    if draw.random() < 0.8:
        return Envelope(signed(key, operation, content), "signed")
    kind = draw.choice(sorted(_KINDS))
    make, refused = _KINDS[kind]
    return Envelope(make(draw, key, operation, content), kind, refused)


def signed(
    key: Key,
    operation: str,
    content: bytes,
    *,
    target: bytes | None = None,
    more: Headers | None = None,
    shift: timedelta = timedelta(0),
    spoil: Callable[[Headers], Headers] = lambda headers: headers,
    unsigned: Headers | None = None,
) -> bytes:
    """A request signed for the service of `operation`.

    `more` headers are signed, `unsigned` ones are not; `spoil` is applied after signing.
    """
    wanted = operation.encode() if target is None else target
    headers = [(b"host", key.host.encode()), (b"x-amz-target", wanted), *(more or [])]
    if not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", b"application/x-amz-json-1.1"))
    request = sigv4.Request("POST", "/", "", headers, content)
    now = datetime.now(UTC) + shift
    signature = sigv4.sign(
        request,
        access_key_id=key.access_key_id,
        secret=key.secret,
        region=key.region,
        service=_service(operation),
        now=now,
    )
    return framed(spoil([*headers, *signature]) + (unsigned or []), content)


def _service(operation: str) -> str:
    """The service that a request is signed for."""
    return "kms" if operation.startswith("TrentService.") else "secretsmanager"


def framed(headers: Headers, content: bytes, *, query: bytes = b"", method: bytes = b"POST") -> bytes:
    """The request with its length."""
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return b"%b /%b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (method, query, lines, len(content), content)


# --- what is wrong -------------------------------------------------------------------------------------------------


def _target(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    odd = [
        b"", b"secretsmanager.", operation.rpartition(".")[2].encode(), operation.lower().encode(), b"." * 500,
        b"TrentService.", b"kms.Encrypt", b"secretsmanager..GetSecretValue", b"\xff\xfe",
        b"secretsmanager.GetSecretValue.", b"x" * 8000,
    ]  # fmt: skip
    return signed(key, operation, content, target=draw.choice(odd))


def _other_service(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    """An operation of the service that the signature is not for."""
    other = b"TrentService.Encrypt" if _service(operation) == "secretsmanager" else b"secretsmanager.GetSecretValue"
    return signed(key, operation, content, target=other)


def _content_type(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    odd = [b"text/plain", b"", b"application/json; charset=utf-16", b"multipart/form-data; boundary=x", b"\xff"]
    return signed(key, operation, content, more=[(b"content-type", draw.choice(odd))])


def _gzip(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    coding = draw.choice([b"gzip", b"aws-chunked", b"br, deflate", b"identity"])
    return signed(key, operation, gzip.compress(content, mtime=0), more=[(b"content-encoding", coding)])


def _chunked(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    head = signed(key, operation, content).partition(b"\r\n\r\n")[0]
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
    parts, rest = [], content
    while rest:
        size = draw.randint(1, max(1, len(content) // 3))
        parts.append(b"%x\r\n%b\r\n" % (len(rest[:size]), rest[:size]))
        rest = rest[size:]
    return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", b"".join(parts)]) + b"0\r\n\r\n"


def _date(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    return signed(key, operation, content, shift=timedelta(minutes=draw.choice([-99_999_999, -525_600, -16, 16, 9999])))


def _odd_date(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    odd = draw.choice(
        [b"", b"now", b"20260230T000000Z", b"99999999T999999Z", b"00000101T000000Z", b"\xd9\xa1", b"2" * 900]
    )
    return signed(key, operation, content, spoil=lambda headers: _with(headers, b"x-amz-date", odd))


def _unsigned(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    headers = [(b"host", key.host.encode()), (b"x-amz-target", operation.encode())]
    return framed(headers, content)


def _authorization(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    """One byte changed, a part cut, repeated or put in place of another."""

    def spoil(headers: Headers) -> Headers:
        value = dict(headers)[b"authorization"]
        at = draw.randrange(len(value))
        odd = draw.choice(
            [
                value[:at],
                value[:at] + draw.choice([b"\xff", b"=", b",", b";", b"/"]) + value[at + 1 :],
                value + b", Signature=" + b"0" * 64,
                value.replace(b"SignedHeaders=host;", b"SignedHeaders="),
                value.replace(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256"),
                value.replace(b"aws4_request", b"aws5_request"),
                value.replace(b"secretsmanager", b"s3").replace(b"kms", b"s3"),
                value[: value.rindex(b"=") + 1] + b"f" * draw.choice([0, 1, 63, 64, 65, 9000]),
                b"Basic YTpi",
                b"AWS4-HMAC-SHA256 " + b"Credential=" * 500,
            ]
        )
        return _with(headers, b"authorization", odd if odd.split() != value.split() else b"x")

    return signed(key, operation, content, spoil=spoil)


def _unsigned_amz(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    odd = [(b"x-amz-added", b"1"), (b"x-amz-security-token", b"x" * 50), (b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD")]
    return signed(key, operation, content, unsigned=[draw.choice(odd)])


def _changed(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    """A body that is not the one that was signed."""
    head, _, sent = signed(key, operation, content or b"{}").partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" + bytes([sent[0] ^ 1]) + sent[1:]


def _harmless(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    odd = [
        (b"x-forwarded-for", b"1.1.1.1, " * 200), (b"cookie", b"\x80" * 200), (b"expect", b"200-maybe"),
        (b"range", b"bytes=0-"), (b"te", b"trailers"), (b"accept-encoding", b"gzip;q=1e9"), (b"a" * 4000, b"b"),
        (b"if-none-match", b"*"), (b"connection", b"keep-alive, x-y"), (b"user-agent", b""),
    ]  # fmt: skip
    return signed(key, operation, content, unsigned=draw.sample(odd, 3))


def _method(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    raw = signed(key, operation, content)
    return draw.choice([b"PUT", b"GET", b"DELETE", b"PATCH", b"OPTIONS"]) + raw[4:]


def _presigned(draw: Draw, key: Key, operation: str, content: bytes) -> bytes:
    """A presigned query, with one of its parts changed, cut or repeated."""
    now = datetime.now(UTC)
    scope = f"{key.access_key_id}/{now:%Y%m%d}/{key.region}/{_service(operation)}/aws4_request"
    parts = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": scope.replace("/", "%2F"),
        "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}", "X-Amz-Expires": "60", "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "f" * 64,
    }  # fmt: skip
    odd = ["", "%00", "%ff%fe", "0", "-1", "604801", "9" * 12, "9" * 5000, "%", "%zz", "a;b", "%0d%0a", "host;host"]
    parts[draw.choice(sorted(parts))] = draw.choice(odd)
    pairs = [f"{name}={value}" for name, value in parts.items()]
    if draw.random() < 0.3:
        pairs.append(draw.choice(pairs))
    headers = [(b"host", key.host.encode()), (b"x-amz-target", operation.encode())]
    return framed(headers, content, query=b"?" + "&".join(pairs).encode())


def _with(headers: Headers, name: bytes, value: bytes) -> Headers:
    return [(each, value if each == name else old) for each, old in headers]


Make = Callable[[Draw, Key, str, bytes], bytes]
_KINDS: dict[str, tuple[Make, bool]] = {
    "authorization": (_authorization, True),
    "changed": (_changed, True),
    "chunked": (_chunked, False),
    "content type": (_content_type, False),
    "date": (_date, True),
    "gzip": (_gzip, False),
    "harmless headers": (_harmless, False),
    "method": (_method, True),
    "odd date": (_odd_date, True),
    "other service": (_other_service, True),
    "presigned": (_presigned, True),
    "target": (_target, True),
    "unsigned": (_unsigned, True),
    "unsigned x-amz": (_unsigned_amz, True),
}
