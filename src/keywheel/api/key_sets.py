"""JWK Sets: the public keys of an alias whose signatures are to be accepted now, to be fetched by anybody who verifies.

`GET /jwks/ACCOUNT/REGION/alias/NAME` is not signed and not audited: it tells public keys, and only of an alias whose
rotation says that they are public. Of every other alias it says what it says of one that does not exist.

Whoever verifies may keep an answer for `MAX_AGE`. The server keeps it for a second, so that however many ask, the store
is asked no more than that.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from keywheel.api.rooms import Rooms
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.keys import jwk
from keywheel.keys.errors import KeyNotFound

PREFIX = "/jwks/"
MAX_AGE = 300  # seconds that a key set may be kept
KEPT_SECONDS = 1.0  # that a key set is answered again as it was found
MOST_KEPT = 256
LEAD = 2 * MAX_AGE  # seconds after which everybody has fetched a key that was published
_PATH = re.compile(r"/jwks/([0-9]{12})/([a-z0-9-]{1,32})/(alias/[A-Za-z0-9/_-]{1,250})")
_NOT_FOUND = b'{"keys":[]}'

Headers = list[tuple[bytes, bytes]]


def key_set(rooms: Rooms, tx: Tx, scope: Scope, name: str) -> list[dict[str, str]]:
    """The JWKs of an alias: the current one first.

    Raises:
        KeyNotFound: there is no such alias.
        UnsupportedOperation: its keys have no public half, or none that a JWK can hold.
    """
    keys = rooms.key_rotations.published(tx, scope, name, rooms.clock.now())
    return [jwk.of(key, rooms.keys.signatures.public_key(tx, key)) for key in keys]


@dataclass(frozen=True, slots=True)
class KeySet:
    """A key set as it is answered, and its entity tag."""

    body: bytes
    tag: bytes


def is_path(path: str) -> bool:
    """Whether `path` may be that of a key set."""
    return _PATH.fullmatch(path) is not None


def look_up(rooms: Rooms, path: str) -> KeySet | None:
    """The key set at `path`; None where nothing is published."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    scope, name = Scope(match[1], match[2]), match[3]
    with rooms.database.read() as tx:
        if not rooms.key_rotations.is_published(tx, scope, name):
            return None
        try:
            found = key_set(rooms, tx, scope, name)
        except KeyNotFound:
            return None
    body = json.dumps({"keys": found}, separators=(",", ":")).encode()
    return KeySet(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'.encode())


def answer(found: KeySet | None, known: Iterable[bytes]) -> tuple[int, Headers, bytes]:
    """The answer to a GET. `known`: what the request says in If-None-Match."""
    if found is None:
        return _missing()
    headers = [(b"etag", found.tag), (b"cache-control", f"public, max-age={MAX_AGE}".encode())]
    headers.append((b"access-control-allow-origin", b"*"))  # a browser may verify, too
    if any(each.strip().removeprefix(b"W/") in (found.tag, b"*") for line in known for each in line.split(b",")):
        return 304, headers, b""
    return 200, [*headers, *_described(found.body)], found.body


def _missing() -> tuple[int, Headers, bytes]:
    return 404, [(b"cache-control", b"no-store"), *_described(_NOT_FOUND)], _NOT_FOUND


def _described(body: bytes) -> Headers:
    return [(b"content-type", b"application/jwk-set+json"), (b"content-length", str(len(body)).encode())]
