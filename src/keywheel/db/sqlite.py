"""SQLite: one file, WAL, every commit on disk before it is answered.

One writer thread for each process takes the jobs that are waiting into one transaction, each inside its own
savepoint, and commits once for all of them: durable commits (`synchronous=FULL`) then cost almost nothing under load.
Each reading thread has a connection of its own.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError

R = TypeVar("R")

_BATCH = 64  # the most jobs in one commit: bounds how long the first of them waits
_BUSY_SECONDS = 20.0  # how long another process may hold the write lock
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # a purged ciphertext does not linger in free pages
)


class _SqliteTx:
    """One connection, as a `Tx`."""

    __slots__ = ("connection", "execute")

    dialect = "sqlite"
    execute: Callable[[str, Mapping[str, Any]], Any]

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to give back: the connection is the thread's own."""


@dataclass(slots=True)
class _Job:
    work: Callable[[Tx], Any]
    future: Future[Any]
    outcome: Any = None
    error: BaseException | None = None


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
        writer = _SqliteTx(self._connect())
        self._writer = threading.Thread(target=self._write_loop, args=(writer,), name="sqlite-writer", daemon=True)
        self._writer.start()

    def _connect(self) -> sqlite3.Connection:
        if not self._path.parent.is_dir():
            raise ConfigurationError(f"There is no directory {self._path.parent}.", hint="Run `keywheel init` first.")
        try:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS, cached_statements=512
            )
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except sqlite3.Error as error:
            raise ConfigurationError(f"The database {self._path} cannot be opened: {error}.") from error
        return connection

    # --- reading

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A snapshot: every statement inside sees the same state."""
        tx = self._reader()
        tx.connection.execute("BEGIN")
        try:
            yield tx
        finally:
            tx.connection.execute("COMMIT")

    def point(self) -> _SqliteTx:
        """A connection for one statement, which is a snapshot by itself."""
        return self._reader()

    def _reader(self) -> _SqliteTx:
        tx: _SqliteTx | None = getattr(self._local, "tx", None)
        if tx is None:
            tx = self._local.tx = _SqliteTx(self._connect())
            with self._readers_lock:
                self._readers.append(tx.connection)
        return tx

    # --- writing

    def write(self, work: Callable[[Tx], R]) -> R:
        """Hand `work` to the writer thread and wait until it is on disk."""
        future: Future[R] = Future()
        self._submit(_Job(work, future))
        return future.result()

    def later(self, work: Callable[[Tx], object]) -> None:
        """Hand `work` to the writer thread and do not wait."""
        self._submit(_Job(work, Future()))

    def _submit(self, job: _Job) -> None:
        if self._closed:
            raise ConfigurationError("The database is closed.")
        self._jobs.put(job)

    def _write_loop(self, tx: _SqliteTx) -> None:
        while (job := self._jobs.get()) is not None:
            batch, last = self._gather(job)
            self._commit(tx, batch)
            if last:
                break
        tx.connection.close()

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

    def _commit(self, tx: _SqliteTx, batch: list[_Job]) -> None:
        try:
            tx.connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run(tx, job)
            tx.connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - a full disk, say: nobody's work is durable, and everybody is told
            if tx.connection.in_transaction:
                tx.connection.execute("ROLLBACK")
            for job in batch:
                job.error = job.error or error
        for job in batch:
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.outcome)

    @staticmethod
    def _run(tx: _SqliteTx, job: _Job) -> None:
        tx.connection.execute("SAVEPOINT job")
        try:
            job.outcome = job.work(tx)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the job
            job.error = error
            tx.connection.execute("ROLLBACK TO job")
        tx.connection.execute("RELEASE job")

    def close(self) -> None:
        """Finish the queued writes, then close every connection."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._writer.join()
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
