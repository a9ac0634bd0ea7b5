"""Where something is under the root key: tables, columns and labels.

A value is wrapped, or wrapped behind a name (a handle of an external key store), or no wrapped value at all (the handle
of a key in a token, imported material that is away). Which of these it is, trying tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, select, tuple_, update

from keywheel.db.statement import Row, Statement
from keywheel.db.tables import backing_key, custom_key_store, installation
from keywheel.keys import ciphertext
from keywheel.keys.custom.stores import sealed_label
from keywheel.keys.root.ring import CHECK, RootRing
from keywheel.keys.stores.software import FINGERPRINT

OWN = ("audit-signing-key", "grant-token-key")
"""Rows of `installation` that are under the root key, besides the tie itself."""


class Statements(NamedTuple):
    """The SQL of a place."""

    first: Statement
    after: Statement
    change: Statement


@dataclass(frozen=True, slots=True)
class Place:
    """A column of values under the root key."""

    what: str
    table: Table
    column: str
    label: Callable[..., bytes]
    sql: Statements

    @classmethod
    def of(
        cls, what: str, table: Table, column: str, label: Callable[..., bytes], only: tuple[str, ...] | None = None
    ) -> Place:
        """The column of a table; `label` gives a row's label by its primary key, which is one of `only` where given."""
        keys, value = list(table.primary_key), table.c[column]
        here = value.is_not(None) if only is None else and_(value.is_not(None), keys[0].in_(only))
        page = select(*keys, value).where(here).order_by(*keys).limit(bindparam("most"))
        beyond = tuple_(*keys) > tuple_(*(bindparam(f"after_{key.name}", type_=key.type) for key in keys))
        row = and_(*(key == bindparam(f"row_{key.name}") for key in keys), value == bindparam("former"))
        change = update(table).where(row).values({column: bindparam("value")})
        return cls(
            what, table, column, label, Statements(Statement(page), Statement(page.where(beyond)), Statement(change))
        )

    def page(self, tx: Any, after: Row | None, most: int) -> list[Row]:
        """Rows of primary key and value behind `after`, which is such a row."""
        if after is None:
            return self.sql.first.all(tx, most=most)
        return self.sql.after.all(tx, most=most, **self._of("after", after))

    def change(self, tx: Any, row: Row, value: bytes) -> bool:
        """Put `value` instead of that of `row`, unless it was changed meanwhile."""
        return bool(self.sql.change.run(tx, former=row[-1], value=value, **self._of("row", row)))

    def _of(self, prefix: str, row: Row) -> dict[str, Any]:
        return {
            f"{prefix}_{name}": each for name, each in zip(self.table.primary_key.columns.keys(), row, strict=False)
        }

    def read(self, ring: RootRing, row: Row) -> Found:
        """What stands in a row."""
        value, label = bytes(row[-1]), self.label(*row[:-1])
        for start in (0, 1 + value[0]) if value else ():
            opened = ring.opened(value[start:], label)
            if opened is not None:
                return Found(opened[1], value[:start], opened[0])
        return Found(None if value in (b"", label) else UNKNOWN, value, b"")

    def renewed(self, ring: RootRing, row: Row) -> bytes | None:
        """The row's value under the current root key; None where nothing is to be done, or can be."""
        found = self.read(ring, row)
        if found.root_key in (None, UNKNOWN, ring.current):
            return None
        return found.prefix + ring.wrap(found.material, self.label(*row[:-1]))


class Found(NamedTuple):
    """What stands in a row: which root key it is under (None: it is nothing wrapped), and what."""

    root_key: str | None
    prefix: bytes
    material: bytes


UNKNOWN = "unknown"
"""Instead of a root key's id, where none that is known opens the value."""

PLACES = (
    Place.of("backing keys", backing_key, "sealed", ciphertext.head),
    Place.of(
        "fingerprints",
        backing_key,
        "fingerprint",
        lambda key_id, _: FINGERPRINT + ciphertext.head(key_id, 0),
    ),
    Place.of("key store credentials", custom_key_store, "sealed", sealed_label),
    Place.of("the server's own keys", installation, "value", str.encode, only=(CHECK, *OWN)),
)
