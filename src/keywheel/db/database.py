"""The durable store: open it, read from it, write to it in transactions.

Two stores keep one contract. `write(work)` runs `work` in one transaction that is durable before `write` returns;
`work` may be run again after a conflict, so it changes nothing but the transaction. SQLite lets one writer in at a
time; on PostgreSQL a room locks the row of the secret it changes first. `read()` sees every commit that was answered
before it began. No transaction may span a call to a target.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from keywheel.clock import Clock
from keywheel.db.bell import Bell
from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

R = TypeVar("R")

_SQLITE = "sqlite:///"
# How a migration begins: it is one transaction, and there is one at a time.
_BEGIN = {
    "sqlite": ("BEGIN IMMEDIATE",),  # the driver would begin one before DML only, and tables would be half made
    "postgresql": (
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL lock_timeout = '1min'",
        "SELECT pg_advisory_xact_lock(7203512896640917)",  # any number, the same in every version of keywheel
    ),
}


class Database(Protocol):
    """An open store. Open it after forking, never before."""

    @property
    def inline_reads(self) -> bool:
        """Whether a read is quick enough for an event loop: true where no network is crossed."""
        ...

    @property
    def writer(self) -> Executor | None:
        """Runs a call that waits for nothing but this store; it is done when all it wrote is durable.

        None where one thread is as good as another.
        """
        ...

    def read(self) -> AbstractContextManager[Tx]:
        """A consistent read of one or several statements."""
        ...

    def point(self) -> AbstractContextManager[Tx]:
        """As `read`, for a single statement: cheaper."""
        ...

    def write(self, work: Callable[[Tx], R]) -> R:
        """Run `work` in a transaction, and return its result once that is durable."""
        ...

    def later(self, work: Callable[[Tx], object]) -> None:
        """As `write`, without waiting: for what may be lost in a crash, such as a date of last access."""
        ...

    def clock(self) -> Clock:
        """The clock that all processes of this store agree on: leases are told by it."""
        ...

    def bell(self, ring: Callable[[], None]) -> Bell:
        """Have `ring` called, in another thread, soon after a transaction that rang: see `Tx.ring`.

        It may be called for nothing, and it may be missed: a bell shortens a sleep, and nothing depends on it.
        """
        ...

    def close(self) -> None:
        """Finish what is under way and let go of every connection."""
        ...


def open_database(url: str) -> Database:
    """Open the store that `url` names: `sqlite:///PATH` or `postgresql://…`.

    Raises:
        ConfigurationError: the scheme is neither, or the store cannot be reached.
    """
    if url.startswith(_SQLITE):
        from keywheel.db.sqlite import SqliteDatabase

        return SqliteDatabase(Path(url.removeprefix(_SQLITE)))
    from keywheel.db.postgres import PostgresDatabase

    return PostgresDatabase(libpq_url(url))


def libpq_url(url: str) -> str:
    """`url` as libpq reads it.

    Raises:
        ConfigurationError: it is not a PostgreSQL address.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("--database must be sqlite:///PATH or postgresql://…")
    return url


def migrate(url: str) -> bool:
    """Bring the schema to this program's version, wholly or not at all; True when anything was changed.

    Raises:
        ConfigurationError: the schema is newer than this program, or the store cannot be reached or changed.
    """
    engine = _engine(url)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            return _upgrade(connection)
    except DBAPIError as error:
        raise ConfigurationError(
            f"The database's schema cannot be brought up to date ({type(error.orig).__name__}).",
            hint="Its user must own it, and no other program may hold it for long.",
        ) from error
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    """An engine over our own connections, so that an address means the same here as to `open_database`."""
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        return create_engine("sqlite://", creator=lambda: _sqlite_connection(path), poolclass=NullPool)
    from keywheel.db.postgres import connect

    address = libpq_url(url)
    return create_engine(
        "postgresql+psycopg://", creator=lambda: connect(address, autocommit=False), poolclass=NullPool
    )


def _sqlite_connection(path: Path) -> sqlite3.Connection:
    from keywheel.db.sqlite import connect

    connection = connect(path)
    # A table is altered by copying it; dropping the old one must not cascade.
    connection.execute("PRAGMA foreign_keys=OFF")
    return connection


def _begin(connection: Connection) -> None:
    for statement in _BEGIN[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def _upgrade(connection: Connection) -> bool:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    before = MigrationContext.configure(connection).get_current_revision()
    if before == script.get_current_head():
        return False
    if before is not None and before not in {revision.revision for revision in script.walk_revisions()}:
        raise ConfigurationError(
            f"The database has schema {before}, which this version of keywheel does not know.",
            hint="Run the newer keywheel that wrote it, or restore a backup of its time.",
        )
    command.upgrade(config, "head")
    return True
