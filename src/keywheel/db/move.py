"""Move the whole store from SQLite to PostgreSQL: page by page, resumable, compared row by row at the end.

    empty ── begun ──▶ moving ── every page, every row compared ──▶ moved ──▶ the old one says so

The old store is locked for everybody else meanwhile, and only read. The new one is marked as being filled, and serves
nobody before it is whole. Whoever dies on the way runs the same command again: what is there stays and is compared. At
the end the old store is marked as moved, and serves nobody any more: never are there two stores that rotate.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from psycopg import IntegrityError
from sqlalchemy import Table

from keywheel.db import copying, schema
from keywheel.db.database import Database, open_database
from keywheel.db.sqlite import SqliteTx, exclusive
from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

_PAGE = 2_000  # rows in a transaction
_AT = "SELECT version_num FROM alembic_version"

Progress = Callable[[str, int], None]


def move(source: Path, url: str, tell: Progress) -> dict[str, int]:
    """Copy the store in `source` to the one that `url` names, and retire `source`; the rows of each table.

    Args:
        tell: called with a table's name and how many of its rows are there, after each page.

    Raises:
        ConfigurationError: a server runs, the new store is not empty, or the two differ at the end.
    """
    with _locked(source) as old:
        head = _begin(old, url)
        with closing(open_database(url)) as new:
            for table in copying.TABLES:
                _copy(old, new, table, tell)
            counts = {table.name: _compare(old, new, table) for table in copying.TABLES}

            def end(tx: Tx) -> None:
                copying.go_on_counting(tx)
                _mark(tx, head)

            new.write(end)
        old.execute(f"UPDATE alembic_version SET version_num = '{schema.MOVED}'", ())  # noqa: S608 - our own word
        old.execute("COMMIT", ())
    return counts


@contextmanager
def _locked(source: Path) -> Iterator[SqliteTx]:
    """The old store, with nobody else in it."""
    if not source.is_file():
        raise ConfigurationError(f"There is no database {source}.")
    try:
        with closing(exclusive(source)) as connection:
            yield SqliteTx(connection)
    except sqlite3.OperationalError as error:
        raise ConfigurationError(
            f"{source} is in use ({error}).", hint="Stop every server and command that works with it."
        ) from None


def _begin(old: Tx, url: str) -> str:
    """Mark the new store as being filled, when it is empty or was begun before; the revision that both have."""
    head = schema.revisions()[-1].name
    at = old.execute(_AT, ()).fetchone()[0]
    if at == schema.MOVED:
        raise ConfigurationError("This store was moved already.", hint="Serve with --database and its new address.")
    if at != head:
        raise ConfigurationError(f"The store has schema {at}, not {head}.", hint="`keywheel migrate` comes first.")
    with closing(open_database(url)) as new, new.point() as tx:
        if _stands(tx) == schema.MOVING:
            return head
    schema.migrate(url)
    with closing(open_database(url)) as new:

        def begin(tx: Tx) -> None:
            if copying.is_empty(tx):
                _mark(tx, schema.MOVING)

        new.write(begin)  # one that is not empty is whole already, or is found to differ
    return head


def _stands(tx: Tx) -> str | None:
    there = tx.execute("SELECT to_regclass('alembic_version')", ()).fetchone()[0] is not None
    return None if not there else str(tx.execute(_AT, ()).fetchone()[0])


def _mark(tx: Tx, at: str) -> None:
    tx.execute(f"UPDATE alembic_version SET version_num = '{at}'", ())  # noqa: S608 - our own words


def _copy(old: Tx, new: Database, table: Table, tell: Progress) -> None:
    """What the new store does not have yet of a table."""
    columns = [column.name for column in table.c]
    with new.read() as tx:
        moving = _stands(tx) == schema.MOVING
        done = sum(1 for _ in copying.rows(tx, table))
    page: list[copying.Row] = []
    for row in islice(copying.rows(old, table), done, None) if moving else ():
        page.append(row)
        if len(page) == _PAGE:
            done += _insert(new, table, columns, page)
            tell(table.name, done)
            page = []
    done += _insert(new, table, columns, page)
    tell(table.name, done)


def _insert(new: Database, table: Table, columns: list[str], page: list[copying.Row]) -> int:
    try:
        return new.write(lambda tx: copying.insert_rows(tx, table, columns, page)) if page else 0
    except IntegrityError as error:
        raise _differ(table, type(error).__name__) from None


def _compare(old: Tx, new: Database, table: Table) -> int:
    """How many rows a table has, which are the same in both stores.

    Raises:
        ConfigurationError: they are not.
    """
    with new.read() as tx:
        (count, digest), (copied, other) = _digest(old, table), _digest(tx, table)
    if (count, digest) != (copied, other):
        raise _differ(table, f"{count} rows and {copied}")
    return count


def _differ(table: Table, how: str) -> ConfigurationError:
    return ConfigurationError(
        f"The two stores differ in {table.name}: {how}.",
        hint="The old store is as it was. Move into a new, empty database.",
    )


def _digest(tx: Tx, table: Table) -> tuple[int, int]:
    """How many rows, and a sum of their hashes: each store has its own order of texts."""
    total, count = 0, 0
    for row in copying.rows(tx, table):
        text = json.dumps(copying.same_in_every_store(table, row))
        total = (total + int.from_bytes(hashlib.sha256(text.encode()).digest())) % 2**256
        count += 1
    return count, total
