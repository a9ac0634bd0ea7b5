"""The base of the shapes that hold a sensitive member."""

from __future__ import annotations

from msgspec import Struct


class Veiled(Struct, frozen=True):
    """A shape with a sensitive member: it never prints what it holds."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []
