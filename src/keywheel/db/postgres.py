"""PostgreSQL as the store: a pool of connections, synchronous commits, conflicts retried.

Every session gives up rather than hang: a statement, a lock or an idle transaction that takes longer than its limit
is ended by the server, so that a frozen process cannot hold a row for ever.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

R = TypeVar("R")

_POOL = 16  # connections of a process, kept once they are open: to open one costs more than a hundred reads
_ATTEMPTS = 6
# What is run again, after so many seconds: a serialization failure; a deadlock, when the other one has gone on, or both
# would meet again; a name that somebody else just took, to see it.
_CONFLICTS = {"40001": 0.0, "40P01": 0.1, "23505": 0.0}
_SESSION: dict[str, Any] = {"application_name": "keywheel", "connect_timeout": 5, "keepalives_idle": 10}
_LIMITS = (
    "-c idle_in_transaction_session_timeout=10s -c statement_timeout=30s -c lock_timeout=10s -c synchronous_commit=on"
)
_CLOSED = "The database is closed."

_Connection = psycopg.Connection[tuple[Any, ...]]


def connect(url: str, *, autocommit: bool = True) -> _Connection:
    """A connection with every limit in force. What the address itself asks for stands beside them.

    Raises:
        ConfigurationError: the server does not answer, or does not let us in.
    """
    try:
        given = conninfo_to_dict(url)
        given["options"] = f"{given.get('options') or ''} {_LIMITS}".strip()
        return psycopg.connect(**{**_SESSION, **given}, autocommit=autocommit)
    except psycopg.Error as error:
        raise ConfigurationError(
            f"The PostgreSQL store does not answer ({type(error).__name__}).",
            hint="Check --database, and that the server is up.",
        ) from error


class _PostgresTx:
    """One connection, as a `Tx`."""

    __slots__ = ("_connection",)

    dialect = "postgresql"

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Mapping[str, Any] | Sequence[Any]) -> Any:
        # Our own statements, compiled from Core; prepared, because every one of them comes again.
        return self._connection.execute(sql.encode(), parameters, prepare=True)


class PostgresDatabase:
    """A PostgreSQL database as the store of any number of machines."""

    inline_reads = False
    writer = None

    def __init__(self, url: str) -> None:
        self._closed = False
        open_one = cast(Any, partial(connect, url))
        self._pool = QueuePool(open_one, pool_size=_POOL, max_overflow=0, use_lifo=True, reset_on_return=None)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="postgres-later")
        with self.point() as tx:
            tx.execute("SELECT 1", {})

    @contextmanager
    def _session(self) -> Iterator[_Connection]:
        """A connection of the pool. One that broke, or is left inside a transaction, is not given back."""
        pooled = self._checkout()
        connection: _Connection = pooled.driver_connection  # type: ignore[assignment] # the pool types it as Any | None
        try:
            yield connection
        finally:
            if connection.pgconn.transaction_status == TransactionStatus.IDLE and not self._closed:
                pooled.close()
            else:
                pooled.invalidate()

    def _checkout(self) -> PoolProxiedConnection:
        """A connection whose server has not hung up since it was last used. A new one is taken as it is."""
        if self._closed:
            raise ConfigurationError(_CLOSED)
        pooled = self._pool.connect()
        while "used" in pooled.info and _hung_up(cast(_Connection, pooled.driver_connection)):
            pooled.invalidate()
            pooled = self._pool.connect()
        pooled.info["used"] = True
        return pooled

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A snapshot: every statement inside sees the same state."""
        with self._session() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield _PostgresTx(connection)
            finally:
                if not connection.closed:
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
                pause = _CONFLICTS.get(error.sqlstate or "")
                if pause is None or attempt == _ATTEMPTS:
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    def later(self, work: Callable[[Tx], object]) -> None:
        """As `write`, on a thread of its own."""
        try:
            self._background.submit(self.write, work)
        except RuntimeError:
            raise ConfigurationError(_CLOSED) from None

    def close(self) -> None:
        """Finish the queued writes, then close every connection."""
        self._background.shutdown()
        self._closed = True
        self._pool.dispose()


def _hung_up(connection: _Connection) -> bool:
    """Whether the server ended an idle connection: what there is to read then is its farewell. Asks the kernel only."""
    if connection.closed:
        return True
    kernel = select.poll()
    kernel.register(connection.fileno(), select.POLLIN)
    return bool(kernel.poll(0))
