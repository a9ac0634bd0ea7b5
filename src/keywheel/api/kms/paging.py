"""Markers: where a listing goes on. One belongs to one query, and is refused by every other. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from msgspec import DecodeError
from msgspec import json as msgjson

from keywheel.keys.errors import InvalidMarker

T = TypeVar("T")
P = TypeVar("P", str, int)
_DIGEST = 12  # bytes: enough that no spoiled marker passes by chance


class Page(NamedTuple, Generic[T]):
    """A part of a listing, and the marker of the next one; None at the end."""

    items: Sequence[T]
    marker: str | None

    @property
    def truncated(self) -> bool:
        """Whether there is more."""
        return self.marker is not None


class Bookmarks(Generic[P]):
    """The markers of one query: a digest of the query and the position, then the position."""

    def __init__(self, position: type[P], *query: object) -> None:
        self._positions: msgjson.Decoder[P] = msgjson.Decoder(position)
        self._query = msgjson.encode(query)

    def write(self, position: P) -> str:
        """The marker of a position."""
        body = msgjson.encode(position)
        digest = hashlib.sha256(self._query + b"\n" + body).digest()[:_DIGEST]
        return base64.urlsafe_b64encode(digest + body).decode()

    def read(self, marker: str | None) -> P | None:
        """The position of a marker; None, to begin.

        Raises:
            InvalidMarker: this query does not write such a marker.
        """
        if marker is None:
            return None
        with suppress(ValueError, DecodeError):
            position = self._positions.decode(base64.urlsafe_b64decode(marker)[_DIGEST:])
            if self.write(position) == marker:
                return position
        raise InvalidMarker("The marker is not valid.")

    def page(self, found: Sequence[T], most: int, position: Callable[[T], P]) -> Page[T]:
        """The first `most` of what was found, of which one more was asked for."""
        kept = found[:most]
        return Page(kept, self.write(position(kept[-1])) if len(found) > most else None)
