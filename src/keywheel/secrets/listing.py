"""Listing: pages over the secrets of a scope and over the versions of a secret.

1. A page begins after the position that its token names, in the order that was asked for. So what comes or goes
   between two pages never makes another row skipped or told twice, unless the row itself moves in that order.
2. One call reads a bounded number of rows. A page may hold fewer than were asked for, even none, and have a token.
3. A page has a token only where there is more to read.
4. A token belongs to one query: the same scope, filters, order and options. It names only a position in what that
   query may read, and its parts are checked before they reach the store, so a forged one gains nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import DecodeError, Meta
from msgspec import json as msgjson

from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import InvalidNextToken
from keywheel.secrets import rows
from keywheel.secrets.filters import Filter, compile_filters
from keywheel.secrets.rows import Secret

T = TypeVar("T")
Order = Literal["created", "changed", "name", "accessed"]

_MOST_SCANNED = 10_000
_MOST_FETCHED = 500
_DIGEST = 12  # bytes: enough that no spoiled token passes by chance


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a listing; `token` asks for the next one, and is None at the end."""

    items: list[T]
    token: str | None


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """What a listing tells of a version. `key_arn` is None for the default key."""

    version_id: str
    created: float
    accessed: float | None
    key_arn: str | None
    labels: list[str]


class Listing:
    """Pages of secrets and versions; beside `Secrets`, which changes them. Call it inside `Database.read`."""

    def __init__(self, *, most_scanned: int = _MOST_SCANNED) -> None:
        self._most_scanned = most_scanned

    def secrets(
        self,
        tx: Tx,
        scope: Scope,
        *,
        filters: Iterable[Filter] = (),
        sort_by: Order = "created",
        descending: bool = False,
        include_deleted: bool = False,
        most: int,
        token: str | None = None,
    ) -> Page[Secret]:
        """At most `most` secrets that every filter lets through.

        Raises:
            InvalidParameter: a filter is not complete.
            InvalidNextToken: the token is spoiled or belongs to another query.
        """
        filters = tuple(filters)
        passes = compile_filters(filters)
        bookmark = _Bookmark(_POSITIONS[sort_by], scope, filters, sort_by, descending, include_deleted)
        here = bookmark.read(token)
        found: list[Secret] = []
        for scanned, secret in enumerate(_walk(tx, scope, sort_by, descending, here, most + 1)):
            if scanned == self._most_scanned:
                return Page(found, bookmark.write(here))
            if (include_deleted or secret.deleted is None) and passes(secret):
                if len(found) == most:
                    return Page(found, bookmark.write(here))
                found.append(secret)
            here = (_COLUMNS[sort_by](secret), secret.id)
        return Page(found, None)

    def versions(
        self, tx: Tx, secret: Secret, *, include_deprecated: bool = False, most: int, token: str | None = None
    ) -> Page[VersionEntry]:
        """At most `most` versions that have a value, oldest first; those without a label only when asked for.

        Raises:
            InvalidNextToken: the token is spoiled or belongs to another query.
        """
        bookmark = _Bookmark(_VERSION_POSITIONS, secret.arn, include_deprecated)
        after, after_id = bookmark.read(token) or (-math.inf, "")
        found = rows.VERSION_PAGES[include_deprecated].all(
            tx, secret_id=secret.id, after=after, after_id=after_id, most=most + 1
        )
        held = self.labels_of(tx, secret)
        entries = [
            VersionEntry(version_id, created, accessed, key_arn, held.get(version_id, []))
            for version_id, created, accessed, key_arn in found[:most]
        ]
        last = (entries[-1].created, entries[-1].version_id) if len(found) > most else None
        return Page(entries, bookmark.write(last))

    @staticmethod
    def labels_of(tx: Tx, secret: Secret) -> dict[str, list[str]]:
        """The labels of each version that has any, sorted; also of a version without a value."""
        held = rows.labels.all(tx, secret_id=secret.id)
        return _by_version((version_id, label) for label, version_id in held)

    @staticmethod
    def labels_of_each(tx: Tx, secrets: Iterable[Secret]) -> dict[int, dict[str, list[str]]]:
        """`labels_of` for each of the secrets, by `Secret.id`: one statement for a page."""
        held: dict[int, list[tuple[str, str]]] = {secret.id: [] for secret in secrets}
        ids = list(held)
        for start in range(0, len(ids), rows.LABELS_OF):
            asked = ids[start : start + rows.LABELS_OF]
            asked += asked[:1] * (rows.LABELS_OF - len(asked))
            parameters = {f"id_{number}": row_id for number, row_id in enumerate(asked)}
            for row_id, version_id, label in rows.labels_of_secrets.all(tx, **parameters):
                held[row_id].append((version_id, label))
        return {row_id: _by_version(pairs) for row_id, pairs in held.items()}


def _by_version(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The labels of each version, sorted here: a database may sort by another locale."""
    held: dict[str, list[str]] = {}
    for version_id, label in sorted(pairs):
        held.setdefault(version_id, []).append(label)
    return held


# --- positions

_Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Text = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z")]  # PostgreSQL's text holds no NUL
_Number = msgjson.Decoder(tuple[float, _Id])

_COLUMNS: dict[Order, Callable[[Secret], float | str]] = {
    "created": lambda secret: secret.created,
    "changed": lambda secret: secret.changed,
    "name": lambda secret: secret.name,
    "accessed": lambda secret: secret.accessed or 0.0,
}
_POSITIONS: dict[Order, msgjson.Decoder[Any]] = {
    "created": _Number,
    "changed": _Number,
    "name": msgjson.Decoder(tuple[_Text, _Id]),
    "accessed": _Number,
}
_VERSION_POSITIONS = msgjson.Decoder(tuple[float, _Text])


def _walk(
    tx: Tx, scope: Scope, sort_by: Order, descending: bool, here: tuple[Any, Any] | None, size: int
) -> Iterator[Secret]:
    """The secrets beyond `here`: `size` of them are fetched at first, then more at a time."""
    where: dict[str, Any] = {"account": scope.account, "region": scope.region}
    while True:
        beyond = {} if here is None else {"after": here[0], "after_id": here[1]}
        found = rows.PAGES[sort_by, descending, here is None].all(tx, **where, **beyond, most=size)
        secrets = [rows.as_secret(row) for row in found]
        yield from secrets
        if len(secrets) < size:
            return
        here = (_COLUMNS[sort_by](secrets[-1]), secrets[-1].id)
        size = min(size * 2, _MOST_FETCHED)


class _Bookmark:
    """Tokens of one query: a digest of the query and the position, then the position."""

    def __init__(self, positions: msgjson.Decoder[Any], *query: object) -> None:
        self._positions = positions
        self._query = msgjson.encode(query)

    def write(self, position: tuple[Any, Any] | None) -> str | None:
        """The token of a position; None, where there is nothing beyond."""
        if position is None:
            return None
        body = msgjson.encode(position)
        digest = hashlib.sha256(self._query + b"\n" + body).digest()[:_DIGEST]
        return base64.urlsafe_b64encode(digest + body).decode()

    def read(self, token: str | None) -> tuple[Any, Any] | None:
        """The position of a token; None, to begin.

        Raises:
            InvalidNextToken: this query does not write such a token.
        """
        if token is None:
            return None
        position: tuple[Any, Any] | None = None
        with suppress(ValueError, DecodeError):
            position = self._positions.decode(base64.urlsafe_b64decode(token)[_DIGEST:])
        if self.write(position) != token:
            raise InvalidNextToken("The NextToken value is invalid.")
        return position
