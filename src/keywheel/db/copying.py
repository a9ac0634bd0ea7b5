"""Rows of any table, out of one store and into another, as JSON can carry them. No table is named."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Boolean, Identity, LargeBinary, Table, bindparam, insert, select, tuple_

from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import metadata

_NOT_KEPT = {"slot", "process", "schema_floor"}  # who holds what, and runs, now; what the schema is
_PAGE = 500
TABLES = tuple(table for table in metadata.sorted_tables if table.name not in _NOT_KEPT)

Row = list[Any]


def is_empty(tx: Tx) -> bool:
    """Whether no table that is kept has a row."""
    return all(next(rows(tx, table), None) is None for table in TABLES)


def rows(tx: Tx, table: Table) -> Iterator[Row]:
    """Every row in the order of the primary key, which two stores may see differently; read a page at a time."""
    first, following, places = _pages(table)
    keys = [key.name for key in table.primary_key]

    def behind(values: Sequence[Any]) -> list[Any]:
        return following.all(tx, **{f"after_{name}": value for name, value in zip(keys, values, strict=True)})

    page = first.all(tx)
    while page:
        for row in page:
            yield [_out(cell) for cell in row]
        page = behind([page[-1][place] for place in places]) if len(page) == _PAGE else []


def insert_rows(tx: Tx, table: Table, columns: Sequence[str], found: Iterable[Row]) -> int:
    """Insert rows that `rows` gave; how many."""
    statement = Statement(insert(table).values({name: bindparam(name) for name in columns}))
    binary = {name for name in columns if isinstance(table.c[name].type, LargeBinary)}
    flags = _flags(table) & set(columns)
    count = 0
    for row in found:
        cells = dict(zip(columns, row, strict=True))
        cells |= {name: bool(cells[name]) for name in flags if cells[name] is not None}
        cells |= {name: base64.b64decode(cells[name]["b"]) for name in binary if cells[name] is not None}
        statement.run(tx, **cells)
        count += 1
    return count


def go_on_counting(tx: Tx) -> None:
    """Let PostgreSQL, which counts its ids apart from the rows, go on behind the last one."""
    for table in TABLES:
        counted = [column.name for column in table.c if isinstance(column.identity, Identity)]
        if tx.dialect == "postgresql" and counted:
            name = counted[0]
            tx.execute(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{name}'), "  # noqa: S608 - our own names
                f"greatest(1, coalesce((SELECT max({name}) FROM {table.name}), 0)))",
                (),
            )


def same_in_every_store(table: Table, row: Row) -> Row:
    """A row as it compares between stores: SQLite has truth values as numbers, and whole numbers for doubles."""
    flags = _flags(table)
    return [
        bool(cell) if column.name in flags and cell is not None else float(cell) if isinstance(cell, int) else cell
        for column, cell in zip(table.c, row, strict=True)
    ]


@cache
def _pages(table: Table) -> tuple[Statement, Statement, list[int]]:
    """The first page, a page behind a key, and where the key's columns are."""
    keys = list(table.primary_key)
    page = select(*table.c).order_by(*keys).limit(_PAGE)
    position = tuple_(*(bindparam(f"after_{key.name}", type_=key.type) for key in keys))
    places = [list(table.c).index(key) for key in keys]
    return Statement(page), Statement(page.where(tuple_(*keys) > position)), places


@cache
def _flags(table: Table) -> frozenset[str]:
    return frozenset(column.name for column in table.c if isinstance(column.type, Boolean))


def _out(cell: Any) -> Any:
    if isinstance(cell, bytes | memoryview):
        return {"b": base64.b64encode(bytes(cell)).decode()}
    return cell
