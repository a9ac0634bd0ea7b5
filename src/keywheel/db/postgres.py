"""PostgreSQL as the store: a pool of connections, synchronous commits, conflicts retried.

Every session gives up rather than hang: a statement, a lock or an idle transaction that takes longer than its limit
is ended by the server, so that a frozen process cannot hold a row for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy.pool import QueuePool

from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

R = TypeVar("R")

_POOL = 8
_OVERFLOW = 24
_ATTEMPTS = 6
# serialization_failure, deadlock_detected, unique_violation (somebody else just took the name: run again and see it)
_CONFLICTS = frozenset({"40001", "40P01", "23505"})
_SESSION: dict[str, Any] = {
    "application_name": "keywheel",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "options": "-c idle_in_transaction_session_timeout=10s -c statement_timeout=30s -c lock_timeout=10s"
    " -c synchronous_commit=on",
}

_Connection = psycopg.Connection[tuple[Any, ...]]


class _PostgresTx:
    """One connection, as a `Tx`."""

    __slots__ = ("_connection",)

    dialect = "postgresql"

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Mapping[str, Any]) -> Any:
        # Our own statements, compiled from Core; prepared, because every one of them comes again.
        return self._connection.execute(sql.encode(), parameters, prepare=True)


class PostgresDatabase:
    """A PostgreSQL database as the store of any number of machines."""

    inline_reads = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = QueuePool(self._connect, pool_size=_POOL, max_overflow=_OVERFLOW, reset_on_return=None)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="postgres-later")
        with self.point() as tx:
            tx.execute("SELECT 1", {})

    def _connect(self) -> Any:
        try:
            return psycopg.connect(self._url, autocommit=True, **_SESSION)
        except psycopg.Error as error:
            raise ConfigurationError(
                f"The PostgreSQL store does not answer ({type(error).__name__}).",
                hint="Check --database, and that the server is up.",
            ) from error

    @contextmanager
    def _session(self) -> Iterator[_Connection]:
        """A connection of the pool; one that broke is thrown away instead of given back."""
        pooled = self._pool.connect()
        connection: _Connection = pooled.driver_connection  # type: ignore[assignment] # the pool types it as Any | None
        if connection.closed:
            pooled.invalidate()
            pooled = self._pool.connect()
            connection = pooled.driver_connection  # type: ignore[assignment] # as above
        try:
            yield connection
        except psycopg.OperationalError as error:
            pooled.invalidate(error)
            raise
        finally:
            pooled.close()

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A snapshot: every statement inside sees the same state."""
        with self._session() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield _PostgresTx(connection)
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def point(self) -> Iterator[Tx]:
        """A connection for one statement, which is a snapshot by itself."""
        with self._session() as connection:
            yield _PostgresTx(connection)

    def write(self, work: Callable[[Tx], R]) -> R:
        """Run `work` in a transaction; run it again when somebody else was in the way."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._session() as connection, connection.transaction():
                    return work(_PostgresTx(connection))
            except psycopg.Error as error:
                if error.sqlstate not in _CONFLICTS or attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def later(self, work: Callable[[Tx], object]) -> None:
        """As `write`, on a thread of its own."""
        self._background.submit(self.write, work)

    def close(self) -> None:
        """Finish the queued writes, then close every connection."""
        self._background.shutdown()
        self._pool.dispose()
