"""SQLite: what is in force on every connection, and how writes share a commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from keywheel.db import sqlite
from keywheel.db.sqlite import SqliteDatabase
from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError
from tests.db import notes

IN_FORCE = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


@pytest.fixture
def path(sqlite_url: str) -> Path:
    """The file of this test's store."""
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    """The store, opened."""
    with closing(SqliteDatabase(path)) as opened:
        yield opened


def together(database: SqliteDatabase, *works: Callable[[Tx], Any]) -> list[Any]:
    """Have the works share one commit; the result of each, or its error."""
    busy, may_go = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        busy.set()
        may_go.wait()

    def write(work: Callable[[Tx], Any]) -> Any:
        try:
            return database.write(work)
        except Exception as error:  # noqa: BLE001 - it is the result
            return error

    database.later(hold)
    assert busy.wait(10)
    with ThreadPoolExecutor(len(works)) as pool:
        futures = []
        for number, work in enumerate(works, start=1):
            futures.append(pool.submit(write, work))
            while database._jobs.qsize() < number:
                pass
        may_go.set()
        return [future.result() for future in futures]


def statements(database: SqliteDatabase) -> list[str]:
    """Every statement of the writer from now on."""
    seen: list[str] = []
    database.write(lambda tx: database._writing.connection.set_trace_callback(seen.append))
    return seen


def fail(tx: Tx) -> NoReturn:
    """Write something, and fail."""
    notes.write(tx, "of the failed")
    raise LookupError("no")


def spoil_the_commit(tx: Tx) -> None:
    """Leave a reference to nothing, which is noticed when the transaction is committed, and not before."""
    tx.execute("PRAGMA defer_foreign_keys=ON", {})
    tx.execute("INSERT INTO label (secret_id, label, version_id) VALUES (1, 'a', 'b')", {})


# --- what is in force ----------------------------------------------------------------------------------------------


def pragmas(tx: Tx) -> dict[str, Any]:
    return {name: tx.execute(f"PRAGMA {name}", {}).fetchone()[0] for name in IN_FORCE}


def test_the_writer_has_every_pragma_in_force(database: SqliteDatabase) -> None:
    """WAL, a sync of every commit, foreign keys, and nothing left in free pages."""
    assert database.write(pragmas) == IN_FORCE


def test_every_reader_has_every_pragma_in_force(database: SqliteDatabase) -> None:
    """In each thread."""

    def read() -> dict[str, Any]:
        with database.read() as tx:
            return pragmas(tx)

    with ThreadPoolExecutor(1) as pool:
        assert [read(), pool.submit(read).result()] == [IN_FORCE, IN_FORCE]


def test_what_was_erased_is_not_in_the_file(database: SqliteDatabase, path: Path) -> None:
    """Whoever takes the disk finds no ciphertext that was purged."""
    marker = b"a ciphertext that must not linger " * 300  # more than a page
    database.write(partial(notes.write, name="a", value=marker))
    database.write(partial(notes.erase, name="a"))
    database.close()
    assert [file.name for file in path.parent.iterdir() if marker[:34] in file.read_bytes()] == []


# --- a commit that is shared ---------------------------------------------------------------------------------------


def test_waiting_writes_share_one_commit(database: SqliteDatabase) -> None:
    """Three that wait behind a fourth are one transaction, together with it or after it."""
    seen = statements(database)
    together(database, *(partial(notes.write, name=name) for name in "abc"))
    assert seen.count("COMMIT") <= 3  # that of `statements`, of the one they waited for, and theirs
    assert notes.all_of(database) == ["a", "b", "c"]


def test_a_job_that_fails_in_a_shared_commit_is_undone_alone(database: SqliteDatabase) -> None:
    """The others are done; it alone is told."""
    first, second, third = together(database, partial(notes.write, name="a"), fail, partial(notes.write, name="b"))
    assert (first, str(second), third) == (None, "no", None)
    assert isinstance(second, LookupError)
    assert notes.all_of(database) == ["a", "b"]


def test_a_commit_that_fails_fails_everybody_in_it(database: SqliteDatabase) -> None:
    """Nothing of it is there, everybody is told, whoever failed before is told why, and the next write works."""
    first, second, third = together(database, partial(notes.write, name="a"), fail, spoil_the_commit)
    assert [type(error) for error in (first, second, third)] == [
        sqlite3.IntegrityError, LookupError, sqlite3.IntegrityError,
    ]  # fmt: skip
    assert notes.all_of(database) == []
    database.write(partial(notes.write, name="b"))
    assert notes.all_of(database) == ["b"]


def test_a_full_disk_fails_everybody_in_the_commit(database: SqliteDatabase) -> None:
    """Also those whose own writes still found room; with room again the store goes on."""
    pages = database.write(lambda tx: tx.execute("PRAGMA page_count", {}).fetchone()[0])
    limit = "PRAGMA max_page_count={}".format
    database.write(lambda tx: tx.execute(limit(pages), {}).fetchone())
    big = partial(notes.write, name="big", value=b"x" * 1_000_000)
    told = together(database, partial(notes.write, name="a"), big, partial(notes.write, name="b"))
    assert [str(error) for error in told] == ["database or disk is full"] * 3
    assert notes.all_of(database) == []
    database.write(lambda tx: tx.execute(limit(1_000_000), {}).fetchone())
    database.write(big)
    assert notes.all_of(database) == ["big"]


def test_a_work_that_hides_a_full_disk_fails_all_the_same(database: SqliteDatabase) -> None:
    """A work that goes on after the transaction ended under it: what is answered is there."""
    pages = database.write(lambda tx: tx.execute("PRAGMA page_count", {}).fetchone()[0])
    database.write(lambda tx: tx.execute(f"PRAGMA max_page_count={pages}", {}).fetchone())

    def hides(tx: Tx) -> None:
        try:
            notes.write(tx, "big", b"x" * 1_000_000)
        except sqlite3.OperationalError:
            notes.write(tx, "small")

    told = together(database, partial(notes.write, name="a"), hides, partial(notes.write, name="b"))
    answered = [name for name, error in zip(["a", "small", "b"], told, strict=True) if error is None]
    assert set(answered) <= set(notes.all_of(database))
    assert all(isinstance(error, sqlite3.Error) for error in told)


def test_a_write_that_finds_the_file_held_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that it waits; when the file is let go, writes work again."""
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.1)
    with closing(SqliteDatabase(path)) as database, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            database.write(partial(notes.write, name="a"))
        assert notes.all_of(database) == []
        other.rollback()
        database.write(partial(notes.write, name="b"))
        assert notes.all_of(database) == ["b"]


# --- the writer as an executor -------------------------------------------------------------------------------------


def test_a_call_on_the_writer_is_done_when_what_it_wrote_is_durable(database: SqliteDatabase) -> None:
    """It reads and writes as it likes; each of its writes is undone alone when it fails."""

    def call() -> list[str]:
        database.write(partial(notes.write, name="a"))
        with pytest.raises(LookupError):
            database.write(fail)
        database.write(partial(notes.write, name="b"))
        return notes.all_of(database)

    assert database.writer.submit(call).result() == ["a", "b"]
    assert notes.all_of(database) == ["a", "b"]


def test_a_call_on_the_writer_is_told_when_the_commit_fails(database: SqliteDatabase) -> None:
    """Although every write of it had gone well."""
    future = database.writer.submit(lambda: database.write(spoil_the_commit))
    with pytest.raises(sqlite3.IntegrityError):
        future.result()


def test_a_call_that_was_given_up_before_its_turn_is_not_done(database: SqliteDatabase) -> None:
    """And the writer goes on with the next one."""
    may_go = threading.Event()
    database.later(lambda tx: may_go.wait())
    given_up = database.writer.submit(database.write, partial(notes.write, name="a"))
    assert given_up.cancel()
    may_go.set()
    database.write(partial(notes.write, name="b"))
    assert notes.all_of(database) == ["b"]


# --- opening -------------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    """With the command that makes it."""
    with pytest.raises(ConfigurationError, match="There is no directory") as caught:
        SqliteDatabase(tmp_path / "nowhere" / "keywheel.db")
    assert "keywheel init" in caught.value.hint()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """With what SQLite says about it; the file stays as it is."""
    file = tmp_path / "keywheel.db"
    file.write_text("something else\n" * 100)
    with pytest.raises(ConfigurationError, match="file is not a database"):
        SqliteDatabase(file)
    assert file.read_text() == "something else\n" * 100


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """As a database."""
    with pytest.raises(ConfigurationError, match="unable to open database file"):
        SqliteDatabase(tmp_path)


def test_a_database_without_wal_is_refused() -> None:
    """Such as one in memory, which every connection would have for itself."""
    with pytest.raises(ConfigurationError, match="cannot be used in WAL mode"):
        SqliteDatabase(Path(":memory:"))
