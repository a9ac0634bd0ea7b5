"""AWS Signature Version 4: read who a request says it is from, check that it is, and sign one. Pure.

The rules kept here, beyond AWS's canonical form:

* The body is always hashed again, so unsigned and streaming payloads are refused.
* `host` and every `x-amz-*` header must be signed, so that nothing that means something is added on the way. Two
  headers choose nothing here and some SDKs leave them unsigned: `content-type` and `x-amz-user-agent`.
* An unknown access key costs the same work as a known one.
* SigV4 has no nonce: a captured request is good for five minutes, a presigned one until it expires.
* No error holds a secret, a signature, or text of the request but its timestamp.
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes, unquote_plus

from msgspec import Struct

from keywheel.errors import IncompleteSignature, InvalidSignature, MissingAuthenticationToken, UnrecognizedClient
from keywheel.sensitive import Sensitive

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW, LONGEST = timedelta(minutes=5), timedelta(days=7)  # of a clock; of a presigned request's life

_TERMINATOR = "aws4_request"
_STAMP = "%Y%m%dT%H%M%SZ"
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
# No NUL, which a query can hold (a header cannot): PostgreSQL's text does not take one.
_CREDENTIAL = re.compile(r"([^/\0]{1,128})/" + r"/".join([r"([^/\0]{1,64})"] * 4), re.ASCII)
# The form of the Authorization header that SDKs write, up to the signature.
_USUAL = re.compile(
    rf"{ALGORITHM} Credential=([^/,= ]{{1,128}})/([^/,= ]{{1,64}})/([^/,= ]{{1,64}})/([^/,= ]{{1,64}})/{_TERMINATOR}, ?"
    r"SignedHeaders=([^,= ]+), ?Signature=",
    re.ASCII,
)
_USUAL_LENGTH, _SIGNATURE_LENGTH = 1024, 64
_SECONDS = re.compile(r"-?\d{1,12}", re.ASCII)
_NO_SECRET = Sensitive("stands in for the secret of an access key that does not exist")
_HEADER_NEEDS = {
    part: f"Authorization header requires '{part}' parameter." for part in ("Credential", "Signature", "SignedHeaders")
} | {"Date": "Authorization header requires existence of a 'X-Amz-Date' header."}
_QUERY_NEEDS = {
    part: f"AWS query-string parameters must include 'X-Amz-{part}'."
    for part in ("Algorithm", "Credential", "Signature", "SignedHeaders", "Date", "Expires")
}
_WRONG_DATE = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)


class Request(NamedTuple):
    """An HTTP request as it came: path and query undecoded, header names in lower case (as ASGI gives them)."""

    method: str
    path: bytes | str
    query: bytes | str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """What the claims of one client on one day have in common. `scope` is what its signing key is good for."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[bytes, ...]
    scope: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", f"{self.date}/{self.region}/{self.service}/{_TERMINATOR}")


class Claim(Struct, frozen=True):
    """What a request says about its signer. Nothing of it is known to be true before `verify` has returned."""

    signer: Signer
    headers: Mapping[bytes, bytes]
    signature: str
    timestamp: str
    expires: int | None = None
    presigned: bool = False
    session_token: Sensitive[str] | None = None

    def __repr__(self) -> str:
        return f"Claim({self.signer!r}, timestamp={self.timestamp!r})"


class SigningKey:
    """HMAC-SHA-256 under one key: the two hashes of RFC 2104 with the key in them, copied for each message.

    That takes half the time of beginning again with the key.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(64, b"\0")
        self._inner, self._outer = (sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))

    def sign(self, message: bytes) -> str:
        """The signature of `message`, in hexadecimal."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


class SigningKeys:
    """Derived signing keys, up to `limit`; the least recently used goes first.

    A key is served only for the secret that it was derived from, so a changed secret counts at once. Threads may
    share it: each step on the dictionary is atomic, and a lost race derives the key again.
    """

    def __init__(self, *, limit: int = 1024) -> None:
        self._limit = limit
        self._keys: OrderedDict[tuple[str, str], tuple[Sensitive[str], SigningKey]] = OrderedDict()

    def key(self, signer: Signer, secret: Sensitive[str]) -> SigningKey:
        """The signing key of `secret` for the scope of `signer`."""
        place = signer.access_key_id, signer.scope
        known, key = self._keys.pop(place, (None, None))
        if key is None or (known is not secret and known != secret):
            key = _derived(secret, signer)
        self._keys[place] = secret, key
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)
        return key


def claim(request: Request) -> Claim:
    """What `request` says about its signer, in its Authorization header or its presigned query.

    Raises: MissingAuthenticationToken (unsigned), IncompleteSignature (unreadable), InvalidSignature (another kind).
    """
    headers, query = _by_name(request.headers), _raw(request.query)
    authorization, presigned = headers.get(b"authorization"), b"X-Amz-" in query
    if authorization and presigned:
        raise IncompleteSignature("A request is signed by its Authorization header or by its query, not by both.")
    if presigned:
        parts = [(name[6:], value) for name, value in _pairs(query) if name.startswith("X-Amz-")]
        return _claimed(headers, parts, _QUERY_NEEDS)
    if not authorization:
        raise MissingAuthenticationToken("Missing Authentication Token")
    timestamp = headers.get(b"x-amz-date", b"").decode("latin-1").strip()
    signature = authorization[-_SIGNATURE_LENGTH:]
    signer = _usual_signer(authorization[:-_SIGNATURE_LENGTH]) if len(authorization) < _USUAL_LENGTH else None
    if signer is not None and signature.isalnum() and timestamp and b"x-amz-security-token" not in headers:
        _instant(timestamp)
        return Claim(signer, headers, signature.decode("latin-1"), timestamp)
    algorithm, _, rest = _trimmed(authorization).decode("latin-1").partition(" ")
    named = [part.strip().partition("=")[::2] for part in rest.split(",")]
    return _claimed(headers, [*named, ("Algorithm", algorithm), ("Date", timestamp)], _HEADER_NEEDS)


@lru_cache(1024)
def _usual_signer(header: bytes) -> Signer | None:
    """Who signs, by an Authorization header that all SDKs write alike, without its signature; None for another form.

    A client's header stays the same for a day, so most are read once.
    """
    usual = _USUAL.fullmatch(header.decode("latin-1"))
    if usual is None:
        return None
    key_id, date, region, service, names = usual.groups()
    return Signer(key_id, date, region, service, tuple(names.encode("latin-1").split(b";")))


def _claimed(headers: Mapping[bytes, bytes], given: Sequence[Sequence[str]], needs: Mapping[str, str]) -> Claim:
    parts = {pair[0]: pair[1] for pair in given}
    if missing := [sentence for part, sentence in needs.items() if not parts.get(part)]:
        raise IncompleteSignature(" ".join(missing))
    if len(parts) != len(given):
        raise IncompleteSignature("Each part of a signature must be given once.")
    if parts["Algorithm"] != ALGORITHM:
        raise InvalidSignature(f"Unsupported AWS 'algorithm': only {ALGORITHM} is accepted.")
    presigned = "Expires" in needs
    if presigned and not _SECONDS.fullmatch(parts["Expires"]):
        raise IncompleteSignature("X-Amz-Expires should be a number.")
    credential = _CREDENTIAL.fullmatch(parts["Credential"])
    if credential is None:
        raise IncompleteSignature("Credential must have exactly 5 elements, e.g. keyid/date/region/service/term.")
    key_id, date, region, service, terminator = credential.groups()
    if terminator != _TERMINATOR:
        raise InvalidSignature(f"Credential should be scoped with a valid terminator: '{_TERMINATOR}'.")
    _instant(parts["Date"])
    names = tuple(parts["SignedHeaders"].encode("latin-1").split(b";"))
    expires = int(parts["Expires"]) if presigned else None
    token = headers.get(b"x-amz-security-token", b"").decode("latin-1") or parts.get("Security-Token")
    held = Sensitive(token) if token else None
    signer = Signer(key_id, date, region, service, names)
    return Claim(signer, headers, parts["Signature"], parts["Date"], expires, presigned, held)


def verify(
    request: Request,
    claim: Claim,
    secret: Sensitive[str] | None,
    *,
    keys: SigningKeys,
    now: datetime,
    services: frozenset[str],
    token_belongs: bool | None = None,
) -> None:
    """Return if `request` was signed with `secret`, for one of `services`, and is neither stale nor early.

    `secret` is that of `claim.access_key_id`, or None when there is no such access key. `token_belongs` says, of the
    access key of a session, whether the claim has the session's token; None is for one that has no token.

    Raises: UnrecognizedClient for an unknown access key, or not the token that belongs to it; else InvalidSignature.
    """
    _check_claim(claim, now, services)
    _check_headers(claim.signer.signed_headers, tuple(claim.headers))
    key = keys.key(claim.signer, _NO_SECRET if secret is None else secret)
    matches = hmac.compare_digest(_signature(request, claim, key).encode(), claim.signature.encode())
    fits = claim.session_token is None if token_belongs is None else token_belongs
    if secret is None or not fits:
        raise UnrecognizedClient("The security token included in the request is invalid.")
    if not matches:
        raise InvalidSignature(_MISMATCH)


def _check_claim(claim: Claim, now: datetime, services: frozenset[str]) -> None:
    if claim.signer.service not in services:
        named = ", ".join(f"'{service}'" for service in sorted(services))
        raise InvalidSignature(f"Credential should be scoped to correct service: {named}.")
    if claim.signer.date != claim.timestamp[:8]:
        raise InvalidSignature(_WRONG_DATE)
    signed = _instant(claim.timestamp)
    if claim.expires is None and -SKEW < signed - now < SKEW:
        return
    lifetime = SKEW if claim.expires is None else timedelta(seconds=claim.expires)
    now = now.replace(microsecond=0)
    if not timedelta(seconds=1) <= lifetime <= LONGEST:
        raise InvalidSignature("X-Amz-Expires must be at least 1 second and at most a week (604800 seconds).")
    if signed > now + SKEW:
        bound = f"{now + SKEW:{_STAMP}} ({now:{_STAMP}} + 5 min.)"
        raise InvalidSignature(f"Signature not yet current: {claim.timestamp} is still later than {bound}")
    if signed < now - lifetime:
        bound = f"{now - lifetime:{_STAMP}} ({now:{_STAMP}} - {lifetime.total_seconds() / 60:g} min.)"
        raise InvalidSignature(f"Signature expired: {claim.timestamp} is now earlier than {bound}")


@lru_cache(64)  # a client sends the same headers every time; what is refused raises, and is not kept
def _check_headers(signed: tuple[bytes, ...], headers: tuple[bytes, ...]) -> None:
    if list(signed) != sorted(set(signed)) or not set(headers) >= set(signed):
        raise InvalidSignature("SignedHeaders must name headers of the request, in order, each once.")
    if b"host" not in signed:
        raise InvalidSignature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in headers:
        if name[:6] == b"x-amz-" and name not in signed and name != b"x-amz-user-agent":
            raise InvalidSignature("There were headers present in the request which were not signed.")


def sign(
    request: Request, *, access_key_id: str, secret: Sensitive[str], region: str, service: str, now: datetime
) -> list[tuple[bytes, bytes]]:
    """The headers to add to `request`, which names its host and is not signed yet. Every header it has is signed."""
    stamp = f"{now:{_STAMP}}"
    headers = _by_name([*request.headers, (b"x-amz-date", stamp.encode())])
    signer = Signer(access_key_id, stamp[:8], region, service, tuple(sorted(headers)))
    signature = _signature(request, Claim(signer, headers, "", stamp), _derived(secret, signer))
    credential, names = f"{access_key_id}/{signer.scope}", b";".join(signer.signed_headers).decode()
    authorization = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return [(b"x-amz-date", stamp.encode()), (b"authorization", authorization.encode())]


def presign(
    request: Request,
    expires: int,
    *,
    access_key_id: str,
    secret: Sensitive[str],
    region: str,
    service: str,
    now: datetime,
) -> str:
    """The query that signs `request`, with its host and every other header it has, for `expires` seconds."""
    stamp, headers = f"{now:{_STAMP}}", _by_name(request.headers)
    signer = Signer(access_key_id, stamp[:8], region, service, tuple(sorted(headers)))
    draft = Claim(signer, headers, "", stamp, expires, presigned=True)
    credential, names = quote(f"{access_key_id}/{signer.scope}"), quote(b";".join(signer.signed_headers))
    added = f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={stamp}"
    added += f"&X-Amz-Expires={expires}&X-Amz-SignedHeaders={names}"
    query = _canonical_query(b"&".join(filter(None, [_raw(request.query), added.encode()])), presigned=True)
    signature = _signature(request._replace(query=query), draft, _derived(secret, signer))
    return f"{query}&X-Amz-Signature={signature}"


def _signature(request: Request, claim: Claim, key: SigningKey) -> str:
    canonical = sha256(_canonical_request(request, claim)).hexdigest()
    return key.sign(f"{ALGORITHM}\n{claim.timestamp}\n{claim.signer.scope}\n{canonical}".encode())


def _canonical_request(request: Request, claim: Claim) -> bytes:
    query = _canonical_query(_raw(request.query), presigned=claim.presigned)
    start = request.method.encode(), _canonical_path(_raw(request.path)), query.encode()
    signed, headers = claim.signer.signed_headers, claim.headers
    lines = [name + b":" + b" ".join(headers[name].split()) for name in signed]
    payload = sha256(request.body).hexdigest().encode()
    if b"x-amz-content-sha256" in headers and _trimmed(headers[b"x-amz-content-sha256"]) != payload:
        raise InvalidSignature("The provided 'x-amz-content-sha256' header does not match what was computed.")
    return b"\n".join((*start, *lines, b"", b";".join(signed), payload))


def _canonical_path(path: bytes) -> bytes:
    if path == b"/":
        return path
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    closing = b"/" if kept and path.endswith(b"/") else b""
    return b"/" + quote_from_bytes(b"/".join(kept)).encode() + closing


def _canonical_query(query: bytes, *, presigned: bool) -> str:
    if not query:
        return ""
    pairs = [pair for pair in _pairs(query) if not (presigned and pair[0] == "X-Amz-Signature")]
    encoded = sorted((quote(name, "", "latin-1"), quote(value, "", "latin-1")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; the values of a name that stands more than once are joined."""
    found = dict(headers)
    if len(found) < len(headers):
        found = {}
        for name, value in headers:
            found[name] = found[name] + b"," + _trimmed(value) if name in found else _trimmed(value)
    return found


def _trimmed(value: bytes) -> bytes:
    return b" ".join(value.split())


def _derived(secret: Sensitive[str], signer: Signer) -> SigningKey:
    key = b"AWS4" + secret.reveal().encode()
    for part in (signer.date, signer.region, signer.service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return SigningKey(key)


def _pairs(query: bytes) -> list[tuple[str, str]]:
    halves = [pair.partition("=") for pair in query.decode("latin-1").split("&")]  # botocore sends a space as "+"
    return [(unquote_plus(name, "latin-1"), unquote_plus(value, "latin-1")) for name, _, value in halves]


@lru_cache(1024)  # of 16 characters each: what is not a timestamp raises, and is not kept
def _instant(timestamp: str) -> datetime:
    try:
        return datetime.fromisoformat(timestamp if _TIMESTAMP.fullmatch(timestamp) else "")
    except ValueError:
        raise IncompleteSignature("Date must be in ISO-8601 'basic format', such as 20150830T123600Z.") from None


def _raw(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
