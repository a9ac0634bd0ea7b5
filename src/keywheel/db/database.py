"""The durable store: open it, read from it, write to it in transactions.

Two stores keep one contract. `write(work)` runs `work` in one transaction that is durable before `write` returns;
`work` may be run again after a conflict, so it changes nothing but the transaction. SQLite lets one writer in at a
time; on PostgreSQL a room locks the row of the secret it changes first. `read()` sees every commit that was answered
before it began. No transaction may span a call to a target.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine

from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

R = TypeVar("R")


class Database(Protocol):
    """An open store. Open it after forking, never before."""

    @property
    def inline_reads(self) -> bool:
        """Whether a read is quick enough for an event loop: true where no network is crossed."""
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

    def close(self) -> None:
        """Finish what is under way and let go of every connection."""
        ...


def open_database(url: str) -> Database:
    """Open the store that `url` names: `sqlite:///PATH` or `postgresql://…`.

    Raises:
        ConfigurationError: the scheme is neither, or the store cannot be reached.
    """
    if url.startswith("sqlite:///"):
        from keywheel.db.sqlite import SqliteDatabase

        return SqliteDatabase(Path(url.removeprefix("sqlite:///")))
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
    """Bring the schema to this program's version; True when anything was changed.

    Raises:
        ConfigurationError: the schema is newer than this program, or the store cannot be reached.
    """
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            return _upgrade(connection)
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    if url.startswith("sqlite:///"):
        return create_engine(url)
    return create_engine("postgresql+psycopg://" + libpq_url(url).partition("://")[2])


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
