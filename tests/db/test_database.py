"""The contract of a store, kept by both kinds of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import NoReturn, TypeVar

import psycopg
import pytest

from keywheel.db.database import Database, libpq_url, open_database
from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError
from tests.db import notes

T = TypeVar("T")


def in_another_thread(work: Callable[[], T]) -> T:
    """Its result."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


# --- writing -------------------------------------------------------------------------------------------------------


def test_a_write_is_seen_by_the_next_read(database: Database) -> None:
    """In this thread, in another one, and by whoever opens the store anew."""
    database.write(lambda tx: notes.write(tx, "a"))
    assert notes.all_of(database) == ["a"]
    assert in_another_thread(lambda: notes.all_of(database)) == ["a"]


def test_a_write_gives_the_result_of_its_work(database: Database) -> None:
    """As it is."""
    result = object()
    assert database.write(lambda tx: result) is result


def test_a_write_that_fails_leaves_nothing_of_it(database: Database) -> None:
    """Its own error is raised, and what it wrote before is gone."""

    def work(tx: Tx) -> NoReturn:
        notes.write(tx, "a")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        database.write(work)
    assert notes.all_of(database) == []
    database.write(lambda tx: notes.write(tx, "b"))
    assert notes.all_of(database) == ["b"]


def test_a_crash_in_a_write_leaves_nothing_of_it(database: Database) -> None:
    """Also what is no `Exception` reaches whoever waits."""

    def work(tx: Tx) -> NoReturn:
        notes.write(tx, "a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.write(work)
    assert notes.all_of(database) == []


def test_a_foreign_key_holds(database: Database) -> None:
    """A label of a secret that is not there is refused."""
    orphan = "INSERT INTO label (secret_id, label, version_id) VALUES (1, 'a', 'b')"
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        database.write(lambda tx: tx.execute(orphan, {}))


def test_of_many_who_create_the_same_one_does(database: Database) -> None:
    """The others find it made."""
    together = threading.Barrier(8)

    def create(tx: Tx) -> bool:
        if notes.has(tx, "a"):
            return False
        notes.write(tx, "a")
        return True

    def one() -> bool:
        together.wait()
        return database.write(create)

    with ThreadPoolExecutor(8) as pool:
        made = [future.result() for future in [pool.submit(one) for _ in range(8)]]
    assert sorted(made) == [False] * 7 + [True]


def test_processes_write_beside_each_other(database: Database, database_url: str) -> None:
    """Two writers on one store: all that both wrote is there."""
    writers = [notes.start(database_url, word, 40) for word in ("a", "b")]
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert set(notes.all_of(database)) == {f"{word}-{number}" for word in ("a", "b") for number in range(40)}


def test_what_was_answered_survives_kill_9(database_url: str) -> None:
    """A writer is killed in the middle: the store opens, and holds every write that was answered."""
    writer = notes.start(database_url, "a", 1_000_000)
    assert writer.stdout is not None
    for _ in range(100):
        writer.stdout.readline()
    writer.kill()
    answered = 100 + len(writer.stdout.read().splitlines())
    writer.stdout.close()
    writer.wait()
    with closing(open_database(database_url)) as database:
        assert {f"a-{number}" for number in range(answered)} <= set(notes.all_of(database))
        database.write(lambda tx: notes.write(tx, "b"))
        if database_url.startswith("sqlite"):
            with database.point() as tx:
                assert tx.execute("PRAGMA integrity_check", {}).fetchall() == [("ok",)]


# --- later ---------------------------------------------------------------------------------------------------------


def test_later_does_not_wait(database: Database) -> None:
    """The call returns before the work is done."""
    may_go = threading.Event()
    done = threading.Event()

    def work(tx: Tx) -> None:
        may_go.wait()
        notes.write(tx, "a")
        done.set()

    database.later(work)
    assert not done.is_set()
    may_go.set()
    assert done.wait(10)


def test_what_fails_later_disturbs_nobody(database: Database) -> None:
    """Nobody waits for it, so nobody is told; what comes after it is done."""

    def work(tx: Tx) -> NoReturn:
        raise LookupError("no")

    database.later(work)
    database.write(lambda tx: notes.write(tx, "a"))
    assert notes.all_of(database) == ["a"]


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_read_is_a_snapshot(database: Database) -> None:
    """What is committed meanwhile is seen by the next read only."""
    with database.read() as tx:
        before = notes.names(tx)
        in_another_thread(lambda: database.write(lambda tx: notes.write(tx, "a")))
        assert (before, notes.names(tx)) == ([], [])
    assert notes.all_of(database) == ["a"]


def test_what_is_not_committed_is_not_read(database: Database) -> None:
    """While a write is under way, reads see the state before it."""
    written, may_end = threading.Event(), threading.Event()

    def work(tx: Tx) -> None:
        notes.write(tx, "a")
        written.set()
        may_end.wait()

    database.later(work)
    assert written.wait(10)
    assert notes.all_of(database) == []
    may_end.set()


def test_a_read_that_fails_leaves_the_connection_usable(database: Database) -> None:
    """An error in the middle of a read ends that read only."""

    def fail() -> NoReturn:
        with database.read() as tx:
            notes.names(tx)
            raise LookupError("no")

    for _ in range(3):
        with pytest.raises(LookupError):
            fail()
    assert notes.all_of(database) == []


def test_a_statement_that_fails_leaves_the_connection_usable(database: Database) -> None:
    """The same for an error of the store's own."""
    for _ in range(3):
        with pytest.raises(Exception, match="nowhere"), database.point() as tx:
            tx.execute("SELECT * FROM nowhere", {})
    assert notes.all_of(database) == []


# --- opening and closing -------------------------------------------------------------------------------------------


def test_close_finishes_the_queue(database_url: str) -> None:
    """Everything that was handed over before is durable after."""
    database = open_database(database_url)
    for number in range(300):
        database.later(partial(notes.write, name=f"{number:03d}"))
    database.close()
    with closing(open_database(database_url)) as again:
        assert notes.all_of(again) == [f"{number:03d}" for number in range(300)]


def test_a_closed_store_refuses_writes(database: Database) -> None:
    """Instead of letting them wait for ever; closing it twice is nothing."""
    database.close()
    database.close()
    for use in (database.write, database.later):
        with pytest.raises(ConfigurationError, match="closed"):
            use(lambda tx: None)


def test_every_write_while_the_store_closes_is_answered(database_url: str) -> None:
    """Done or refused, and then it is not there; nobody waits for ever."""
    database = open_database(database_url)
    together = threading.Barrier(5)

    def writer(word: int) -> set[str]:
        together.wait()
        done: set[str] = set()
        for number in range(10_000):
            name = f"{word}-{number}"
            try:
                database.write(partial(notes.write, name=name))
            except ConfigurationError:
                return done
            done.add(name)
        raise AssertionError("the store never closed")

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(writer, word) for word in range(4)]
        together.wait()
        threading.Event().wait(0.05)
        database.close()
        done = {name for future in writers for name in future.result(30)}
    with closing(open_database(database_url)) as again:
        assert set(notes.all_of(again)) == done


@pytest.mark.parametrize("url", ["", "keywheel.db", "mysql://h/d", "sqlite://h/d", "postgresql:h", "https://h"])
def test_an_address_of_something_else_is_refused(url: str) -> None:
    """With the two forms that are known."""
    with pytest.raises(ConfigurationError, match=r"sqlite:///PATH or postgresql://"):
        open_database(url)


@pytest.mark.parametrize("url", ["postgresql://h/d", "postgres://h/d"])
def test_both_spellings_of_postgresql_are_known(url: str) -> None:
    """As libpq knows them."""
    assert libpq_url(url) == url


def test_a_store_that_does_not_answer_is_said_so() -> None:
    """Without the driver's text, and without the password."""
    with pytest.raises(ConfigurationError) as caught:
        open_database("postgresql://u:a-password@127.0.0.1:1/d")
    assert caught.value.message == "The PostgreSQL store does not answer (OperationalError)."
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
