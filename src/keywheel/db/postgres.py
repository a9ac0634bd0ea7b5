"""PostgreSQL as the store: a pool of connections, synchronous commits, conflicts and lost connections retried.

Nobody hangs: a statement, a lock or an idle transaction that takes longer than its limit is ended by the server, so
that a frozen process cannot hold a row for ever; and a server that does not answer is hung up on.

* A transaction whose connection is lost before its COMMIT was sent has done nothing, and is run again.
* Once COMMIT was sent, whether it was done is unknown, and that is raised. So is one that the server itself calls in
  doubt: it may be lost when the standby takes over, and nothing may be done to a target on the strength of it.
* A standby is never spoken to: what it says may be old.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from keywheel.clock import Clock, SteadyClock
from keywheel.db.bell import CHANNEL, NotifyBell
from keywheel.db.statement import Tx
from keywheel.db.watchdog import Watchdog
from keywheel.errors import ConfigurationError

R = TypeVar("R")

_POOL = 16  # connections of a process, kept once they are open: to open one costs more than a hundred reads
_ATTEMPTS = 6
# What is run again, after so many seconds: a serialization failure; a deadlock, when the other one has gone on, or both
# would meet again; a name that somebody else just took, to see it.
_CONFLICTS = {"40001": 0.0, "40P01": 0.1, "23505": 0.0}
# How a lost connection is told: without a code by libpq; a shutdown, a crash, a start; a primary that is one no longer;
# a transaction that the server ended because we slept in it.
_LOST = {None, "57P01", "57P02", "57P03", "08000", "08003", "08006", "25006", "25P03"}
_GONE = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
_LOST_PAUSE = 0.1  # seconds, doubled each time: a server that is started again is waited for a moment
_PATIENCE = 5.0  # seconds after which nothing is run again
_ANSWER = 35.0  # seconds that an answer may take: longer than the server's own limit, so that it is heard first
_SESSION: dict[str, Any] = {
    "application_name": "keywheel",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds: a machine that is gone is noticed by what was sent to it
    "target_session_attrs": "read-write",
}
_PRIMARY = ("read-write", "primary")
_LIMITS = (
    "-c idle_in_transaction_session_timeout=10s -c statement_timeout=30s -c lock_timeout=10s -c synchronous_commit=on"
)
_CLOSED = "The database is closed."
_NOW = b"SELECT extract(epoch FROM clock_timestamp())::float8"

_Connection = psycopg.Connection[tuple[Any, ...]]


class StoreAway(ConfigurationError):
    """No connection can be made, now. Nothing was done."""


class ReadLost(StoreAway, psycopg.OperationalError):
    """The connection was lost while something was read. Nothing was done."""


class CommitInDoubt(psycopg.OperationalError):
    """Whether the transaction was committed, and lasts, is not known."""


def connect(url: str, *, autocommit: bool = True) -> _Connection:
    """A connection to the primary with every limit in force. What the address itself asks for stands beside them.

    Of several hosts in the address, the first that is the primary is taken.

    Raises:
        StoreAway: no primary answers, or it does not let us in.
    """
    try:
        given = conninfo_to_dict(url)
        given["options"] = f"{given.get('options') or ''} {_LIMITS}".strip()
        if given.get("target_session_attrs") not in _PRIMARY:
            given["target_session_attrs"] = _SESSION["target_session_attrs"]
        return psycopg.connect(**{**_SESSION, **given}, autocommit=autocommit)
    except psycopg.Error as error:
        raise StoreAway(
            f"The PostgreSQL store does not answer ({type(error).__name__}).",
            hint="Check --database, and that the server is up and not a standby.",
        ) from error


class _PostgresTx:
    """One connection, as a `Tx`."""

    __slots__ = ("_connection", "_watchdog", "rings")

    dialect = "postgresql"

    def __init__(self, connection: _Connection, watchdog: Watchdog) -> None:
        self._connection = connection
        self._watchdog = watchdog
        self.rings = False

    def execute(self, sql: str, parameters: Mapping[str, Any] | Sequence[Any]) -> Any:
        # Our own statements, compiled from Core; prepared, because every one of them comes again.
        with self._watchdog.watching(self._connection):
            return self._connection.execute(sql.encode(), parameters, prepare=True)

    def command(self, sql: bytes) -> Any:
        """Run a command without parameters, such as BEGIN."""
        with self._watchdog.watching(self._connection):
            return self._connection.execute(sql)

    def ring(self) -> None:
        self.rings = True

    def commit(self) -> None:
        """End the transaction well.

        Raises:
            CommitInDoubt: perhaps it has.
        """
        doubts: list[object] = []
        # Where a standby has to confirm and somebody cancels the wait, PostgreSQL says "COMMIT" with a warning.
        self._connection.add_notice_handler(doubts.append)
        try:
            done = self.command(b"COMMIT").statusmessage
        except psycopg.OperationalError as error:
            if error.sqlstate in _CONFLICTS:
                raise
            raise CommitInDoubt("The connection was lost before the answer to COMMIT came.") from error
        finally:
            self._connection.remove_notice_handler(doubts.append)
        if done != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction("A statement that failed was passed over.")
        if doubts:
            raise CommitInDoubt("The standby has not confirmed the transaction.")

    def rollback(self) -> None:
        """End the transaction with nothing done. A lost connection has."""
        with suppress(psycopg.Error):
            self.command(b"ROLLBACK")


class PostgresDatabase:
    """A PostgreSQL database as the store of any number of machines.

    Args:
        url: its address; of several hosts, the primary is found.
        answer: how many seconds an answer may take before the server is hung up on.
    """

    inline_reads = False
    writer = None

    def __init__(self, url: str, *, answer: float = _ANSWER) -> None:
        self._closed = False
        self._open_one = partial(connect, url)
        self._pool = QueuePool(
            cast(Any, self._open_one), pool_size=_POOL, max_overflow=0, use_lifo=True, reset_on_return=None
        )
        self._watchdog = Watchdog(answer)
        self._lost = -1.0  # when a connection was last lost: those of before are not trusted
        self._ringing = threading.Event()
        self._background = ThreadPoolExecutor(1, thread_name_prefix="postgres-later")
        with self.point() as tx:
            tx.execute("SELECT 1", {})

    @contextmanager
    def _session(self) -> Iterator[_PostgresTx]:
        """A connection of the pool. One that broke, or is left inside a transaction, is not given back."""
        pooled = self._checkout()
        connection = cast(_Connection, pooled.driver_connection)
        try:
            yield _PostgresTx(connection, self._watchdog)
        finally:
            status = connection.pgconn.transaction_status
            if status == TransactionStatus.IDLE and not self._closed:
                pooled.close()
            else:
                if status == TransactionStatus.UNKNOWN:
                    self._lost = time.monotonic()
                pooled.invalidate()

    def _checkout(self) -> PoolProxiedConnection:
        """A connection whose server has not hung up since it was last used. A new one is taken as it is."""
        if self._closed:
            raise ConfigurationError(_CLOSED)
        pooled = self._pool.connect()
        while self._is_suspect(pooled):
            pooled.invalidate()
            pooled = self._pool.connect()
        pooled.info.setdefault("since", time.monotonic())
        return pooled

    def _is_suspect(self, pooled: PoolProxiedConnection) -> bool:
        since = pooled.info.get("since")
        if since is None:
            return False
        # A machine that is gone hangs up on nobody: where one connection was lost, each of the others would hang too.
        return bool(since <= self._lost) or _hung_up(cast(_Connection, pooled.driver_connection))

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A snapshot: every statement inside sees the same state."""
        with self._session() as tx:
            try:
                tx.command(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield tx
            except _GONE as error:
                _raise_read_lost(error)
                raise
            finally:
                tx.rollback()

    @contextmanager
    def point(self) -> Iterator[Tx]:
        """A connection for one statement, which is a snapshot by itself."""
        with self._session() as tx:
            try:
                yield tx
            except _GONE as error:
                _raise_read_lost(error)
                raise

    def write(self, work: Callable[[Tx], R]) -> R:
        """Run `work` in a transaction; run it again when somebody else was in the way, or the connection was lost."""
        begun = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._transaction(work)
            except (psycopg.Error, StoreAway) as error:
                pause = _pause(error, attempt)
                if pause is None or attempt == _ATTEMPTS or time.monotonic() - begun > _PATIENCE:
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _transaction(self, work: Callable[[Tx], R]) -> R:
        with self._session() as tx:
            tx.command(b"BEGIN")
            try:
                result = work(tx)
            except psycopg.errors.ReadOnlySqlTransaction:
                self._lost = time.monotonic()  # the primary of before
                raise
            except BaseException:
                tx.rollback()
                raise
            tx.commit()
            rings = tx.rings
        if rings:
            self._ring()
        return result

    def later(self, work: Callable[[Tx], object]) -> None:
        """As `write`, on a thread of its own."""
        try:
            self._background.submit(self.write, work)
        except RuntimeError:
            raise ConfigurationError(_CLOSED) from None

    # --- time, and being woken

    def clock(self) -> Clock:
        """The server's, so that leases do not depend on this machine's time of day."""
        return SteadyClock(self._time)

    def _time(self) -> float:
        with self._session() as tx:
            row = tx.command(_NOW).fetchone()
        return float(row[0])

    def bell(self, ring: Callable[[], None]) -> NotifyBell:
        """Rings after a transaction that rang, on whichever machine."""
        return NotifyBell(self._open_one, ring)

    def _ring(self) -> None:
        """Ring once for all that rang meanwhile, and outside of their transactions.

        A NOTIFY inside a transaction holds a lock of the whole server until that one is on disk.
        """
        if not self._ringing.is_set():
            self._ringing.set()
            with suppress(RuntimeError):  # the database is closed
                self._background.submit(self._notify)

    def _notify(self) -> None:
        self._ringing.clear()
        with suppress(psycopg.Error, ConfigurationError), self._session() as tx:
            tx.command(f"NOTIFY {CHANNEL}".encode())

    def close(self) -> None:
        """Finish the queued writes, then close every connection."""
        self._background.shutdown()
        self._closed = True
        self._watchdog.close()
        self._pool.dispose()


def _raise_read_lost(error: psycopg.Error) -> None:
    """Say so where an error means that the connection is gone: whoever reads may come again."""
    if error.sqlstate in _LOST:
        raise ReadLost(f"The PostgreSQL store went away while it was read ({type(error).__name__}).") from error


def _pause(error: Exception, attempt: int) -> float | None:
    """How many seconds to wait before a transaction is run again; None where that is not right."""
    if isinstance(error, CommitInDoubt):
        return None
    code = getattr(error, "sqlstate", None)
    if code in _CONFLICTS:
        return _CONFLICTS[code]
    is_lost = isinstance(error, (StoreAway, psycopg.errors.ReadOnlySqlTransaction, *_GONE))
    return _LOST_PAUSE * 2.0 ** (attempt - 1) if is_lost and code in _LOST else None


def _hung_up(connection: _Connection) -> bool:
    """Whether the server ended an idle connection: what there is to read then is its farewell. Asks the kernel only."""
    if connection.closed:
        return True
    kernel = select.poll()
    kernel.register(connection.fileno(), select.POLLIN)
    return bool(kernel.poll(0))
