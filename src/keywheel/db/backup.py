"""Backup and restore of the whole store, whichever kind it is: one snapshot out, one transaction in.

A backup is a text file: a line that says what it is, for each table a line with its name and columns and then a line
for each row, and at the end the counts and the SHA-256 of everything before. It holds what the store holds, so secret
values in it are sealed under the root key, which is *not* in it. Tables are those of `tables.py`, without naming them.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Table

from keywheel.db import copying
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.db.tables import metadata
from keywheel.errors import ConfigurationError

_KIND = "keywheel-backup"
_VERSION = 1
_SCHEMA = "SELECT version_num FROM alembic_version"


def back_up(database: Database, path: Path, time: str) -> dict[str, int]:
    """Write a backup of the store as it is now to a new file; the number of rows of each table.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    if path.exists():
        raise ConfigurationError(f"{path} exists already and is never overwritten.")
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                counts = _write(database, file, time)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        finally:
            Path(draft).unlink()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    return counts


def restore(database: Database, path: Path, finish: Callable[[Tx], object]) -> dict[str, int]:
    """Fill an empty store of this program's schema from a backup, wholly or not at all; the rows of each table.

    `finish` does in the same transaction what else belongs to it, and raises to undo everything.

    Raises:
        ConfigurationError: the file is no backup, was changed or cut short, or the store is not empty.
    """
    expected = verify(path)

    def fill(tx: Tx) -> None:
        if not copying.is_empty(tx):
            raise ConfigurationError(
                "The store to restore into is not empty.", hint="Name another --database, or another --data."
            )
        for (table, columns), rows in _tables(path):
            copying.insert_rows(tx, table, columns, rows)
        copying.go_on_counting(tx)
        finish(tx)

    database.write(fill)
    return expected


def verify(path: Path) -> dict[str, int]:
    """The number of rows of each table in a whole and unchanged backup.

    Raises:
        ConfigurationError: it is not one.
    """
    no = ConfigurationError(f"{path} is not a whole backup of keywheel's.", hint="It was cut short or changed.")
    try:
        hashed, end = hashlib.sha256(), b""
        with path.open("rb") as file:
            head = json.loads(file.readline())
            file.seek(0)
            for line in file:
                hashed.update(end)
                end = line
        last = json.loads(end)
        known = {table.name for table in metadata.sorted_tables}
        whole = end.endswith(b"\n") and set(last["rows"]) <= known
        sound = whole and head[_KIND] == _VERSION and last["sha256"] == hashed.hexdigest()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise no from None
    if not sound:
        raise no
    counts: dict[str, int] = last["rows"]
    return counts


# --- out -------------------------------------------------------------------------------------------------------------


def _write(database: Database, file: IO[bytes], time: str) -> dict[str, int]:
    hashed, counts = hashlib.sha256(), {}

    def say(document: object) -> None:
        line = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        hashed.update(line)
        file.write(line)

    with database.read() as tx:
        schema = tx.execute(_SCHEMA, ()).fetchone()[0]
        say({_KIND: _VERSION, "schema": schema, "time": time})
        for table in copying.TABLES:
            say({"table": table.name, "columns": [column.name for column in table.c]})
            counts[table.name] = 0
            for row in copying.rows(tx, table):
                counts[table.name] += 1
                say(row)
    end = {"rows": counts, "sha256": hashed.hexdigest()}
    file.write(json.dumps(end).encode() + b"\n")
    return counts


# --- in --------------------------------------------------------------------------------------------------------------


def _tables(path: Path) -> Iterator[tuple[tuple[Table, list[str]], Iterator[list[Any]]]]:
    """Each table of a verified backup with its rows, which must be read before the next is asked for."""
    with path.open("rb") as file:
        file.readline()
        line = file.readline()
        while line:
            found = json.loads(line)
            if "table" not in found:
                return
            rest: list[bytes] = []
            yield (metadata.tables[found["table"]], found["columns"]), _until_next(file, rest)
            line = rest[0] if rest else b""


def _until_next(file: IO[bytes], rest: list[bytes]) -> Iterator[list[Any]]:
    for line in file:
        if not line.startswith(b"["):
            rest.append(line)
            return
        yield json.loads(line)
