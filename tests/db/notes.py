"""A table to write to, and a process that does: `python -m tests.db.notes URL WORD COUNT`.

It writes `WORD-0`, `WORD-1` and so on, and prints the number of each one after the store has answered.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from sqlalchemy import bindparam, delete, insert, select

from keywheel.db.database import Database, open_database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import installation as i

ROOT = Path(__file__).resolve().parents[2]

_insert = Statement(insert(i).values(name=bindparam("name"), value=bindparam("value")))
_delete = Statement(delete(i).where(i.c.name == bindparam("name")))
_value = Statement(select(i.c.value).where(i.c.name == bindparam("name")))
_names = Statement(select(i.c.name).order_by(i.c.name))


def write(tx: Tx, name: str, value: bytes = b"") -> None:
    """A note; there is one of a name at the most."""
    _insert.run(tx, name=name, value=value)


def erase(tx: Tx, name: str) -> None:
    """A note less."""
    _delete.run(tx, name=name)


def has(tx: Tx, name: str) -> bool:
    """Whether there is a note of that name."""
    return _value.first(tx, name=name) is not None


def names(tx: Tx) -> list[str]:
    """Every note."""
    return [row[0] for row in _names.all(tx)]


def all_of(database: Database) -> list[str]:
    """Every note that a read of its own sees."""
    with database.read() as tx:
        return names(tx)


def start(url: str, word: str, count: int) -> subprocess.Popen[str]:
    """The process."""
    command = [sys.executable, "-m", "tests.db.notes", url, word, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def main(url: str, word: str, count: str) -> None:
    """Write notes and tell which are written."""
    database = open_database(url)
    for number in range(int(count)):
        database.write(partial(write, name=f"{word}-{number}"))
        print(number, flush=True)
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
