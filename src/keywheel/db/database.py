"""The durable store: open it, read from it, write to it in transactions.

Two stores keep one contract. `write(work)` runs `work` in one transaction that is durable before `write` returns;
`work` may be run again after a conflict, so it changes nothing but the transaction. SQLite lets one writer in at a
time; on PostgreSQL a room locks the row of the secret it changes first. `read()` sees every commit that was answered
before it began. No transaction may span a call to a target.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from keywheel.clock import Clock
from keywheel.db.bell import Bell
from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

R = TypeVar("R")

_SQLITE = "sqlite:///"


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
    path = sqlite_path(url)
    if path is not None:
        from keywheel.db.sqlite import SqliteDatabase

        return SqliteDatabase(path)
    from keywheel.db.postgres import PostgresDatabase

    return PostgresDatabase(libpq_url(url))


def sqlite_path(url: str) -> Path | None:
    """The file that `url` names; None when it names no SQLite store."""
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def libpq_url(url: str) -> str:
    """`url` as libpq reads it.

    Raises:
        ConfigurationError: it is not a PostgreSQL address.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("--database must be sqlite:///PATH or postgresql://…")
    return url
