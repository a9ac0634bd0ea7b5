"""SQLite: one file, WAL, every commit on disk before it is answered.

One writer thread for each process takes the jobs that are waiting into one transaction, each write inside its own
savepoint, and commits once for all of them: durable commits (`synchronous=FULL`) then cost almost nothing under load.
Whoever waits for a job is told after the commit. Each reading thread has a connection of its own; what reads on the
writer thread uses the writer's.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from keywheel.clock import Clock, SystemClock
from keywheel.db.bell import CommitBell
from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

_BATCH = 64  # the most jobs in one commit: bounds how long the first of them waits
_BUSY_SECONDS = 20.0  # how long another process may hold the write lock
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # a purged ciphertext does not linger in free pages
)


class SqliteTx:
    """One connection, as a `Tx`."""

    __slots__ = ("connection", "execute")

    dialect = "sqlite"
    execute: Callable[[str, Any], Any]

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute

    def ring(self) -> None:
        """Nothing: every commit rings."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to give back: the connection is the thread's own."""


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    future: Future[Any]
    outcome: Any = None
    error: BaseException | None = None


class _Writer(Executor):
    """The writer thread, as an executor: what it runs is done when the transaction that it ran in is on disk."""

    def __init__(self, enqueue: Callable[[_Job], None]) -> None:
        self._enqueue = enqueue

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run `fn` with the arguments on the writer thread."""
        future: Future[R] = Future()
        self._enqueue(_Job(partial(fn, *args, **kwargs), future))
        return future


def connect(path: Path) -> sqlite3.Connection:
    """A connection with every pragma in force, which leaves the beginning of transactions to its user.

    Raises:
        ConfigurationError: the file cannot be opened, or not in WAL mode.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(f"There is no directory {path.parent}.", hint="Run `keywheel init` first.")
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS, cached_statements=512
        )
        mode, *_ = [connection.execute(pragma).fetchone() for pragma in _PRAGMAS]
    except sqlite3.Error as error:
        raise ConfigurationError(f"The database {path} cannot be opened: {error}.") from error
    if mode != ("wal",):
        connection.close()
        raise ConfigurationError(f"The database {path} cannot be used in WAL mode.", hint="Keep it on a local disk.")
    return connection


def exclusive(path: Path) -> sqlite3.Connection:
    """A connection in a transaction, with which nobody else is connected as long as it is open.

    Raises:
        sqlite3.OperationalError: somebody is.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class SqliteDatabase:
    """A SQLite file as the store of every process on one machine."""

    inline_reads = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._gate = threading.Lock()  # a job is never queued behind the end of the queue
        self.writer = _Writer(self._enqueue)
        self._writing = SqliteTx(connect(path))
        self._thread = threading.Thread(target=self._write_loop, name="sqlite-writer", daemon=True)
        self._thread.start()

    # --- reading

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A snapshot: every statement inside sees the same state."""
        tx = self._reader()
        if tx is self._writing:
            yield tx
            return
        tx.connection.execute("BEGIN")
        try:
            yield tx
        finally:
            if tx.connection.in_transaction:  # an I/O error ends it
                tx.connection.execute("COMMIT")

    def point(self) -> SqliteTx:
        """A connection for one statement, which is a snapshot by itself."""
        return self._reader()

    def _reader(self) -> SqliteTx:
        tx: SqliteTx | None = getattr(self._local, "tx", None)
        if tx is None:
            tx = self._local.tx = SqliteTx(connect(self._path))
            with self._readers_lock:
                self._readers.append(tx.connection)
        return tx

    # --- writing

    def write(self, work: Callable[[Tx], R]) -> R:
        """Hand `work` to the writer thread and wait until it is on disk. What runs on that thread does it at once."""
        if threading.get_ident() == self._thread.ident:
            return self._write(work)
        return self.writer.submit(self._write, work).result()

    def later(self, work: Callable[[Tx], object]) -> None:
        """Hand `work` to the writer thread and do not wait."""
        self.writer.submit(self._write, work)

    def _enqueue(self, job: _Job) -> None:
        with self._gate:
            if self._closed:
                raise ConfigurationError("The database is closed.")
            self._jobs.put(job)

    def _write_loop(self) -> None:
        connection = self._writing.connection
        self._local.tx = self._writing
        while (job := self._jobs.get()) is not None:
            batch, last = self._gather(job)
            # What was given up before its turn is not done.
            self._commit(connection, [each for each in batch if each.future.set_running_or_notify_cancel()])
            if last:
                break
        connection.close()

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        """`first` and what waits behind it; True when the end of the queue was among them."""
        batch = [first]
        while len(batch) < _BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    @staticmethod
    def _commit(connection: sqlite3.Connection, batch: list[_Job]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                try:
                    job.outcome = job.work()
                except BaseException as error:  # handed to whoever waits for the job
                    job.error = error
                    if not connection.in_transaction:  # an I/O error ended it, with all that was in it
                        raise
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - a full disk, say: nobody's work is durable, and everybody is told
            for job in batch:
                job.error = job.error or error
            with suppress(sqlite3.Error):  # whatever became of it, the waiting must hear
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        for job in batch:
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.outcome)

    def _write(self, work: Callable[[Tx], R]) -> R:
        """Do `work`, or nothing of it, inside the writer's transaction."""
        tx = self._writing
        tx.connection.execute("SAVEPOINT work")
        try:
            outcome = work(tx)
        except BaseException:
            if tx.connection.in_transaction:
                tx.connection.execute("ROLLBACK TO work")
                tx.connection.execute("RELEASE work")
            raise
        tx.connection.execute("RELEASE work")
        return outcome

    def clock(self) -> Clock:
        """The machine's: there is only one."""
        return SystemClock()

    def bell(self, ring: Callable[[], None]) -> CommitBell:
        """Rings after every commit to the file, be it of another process."""
        return CommitBell(partial(connect, self._path), ring)

    def close(self) -> None:
        """Finish the queued writes, then close every connection."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
