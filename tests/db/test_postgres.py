"""PostgreSQL: the limits of a session, conflicts that are retried, connections that are replaced."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import psycopg
import pytest

from keywheel.db.database import open_database
from keywheel.db.postgres import PostgresDatabase, StoreAway
from keywheel.db.schema import migrate
from keywheel.db.statement import Tx
from tests.db import notes
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

IN_FORCE = {
    "application_name": "keywheel",
    "idle_in_transaction_session_timeout": "10s",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "synchronous_commit": "on",
}


@pytest.fixture
def database(postgresql_url: str) -> Iterator[PostgresDatabase]:
    """This test's store, opened."""
    with closing(PostgresDatabase(postgresql_url)) as opened:
        yield opened


def settings(tx: Tx) -> dict[str, Any]:
    return {name: tx.execute(f"SHOW {name}", {}).fetchone()[0] for name in IN_FORCE}


# --- sessions ------------------------------------------------------------------------------------------------------


def test_every_session_has_its_limits(database: PostgresDatabase) -> None:
    """So that a frozen process holds no row for ever, and an answered commit is on disk."""
    with database.read() as tx:
        assert settings(tx) == IN_FORCE
    assert database.write(settings) == IN_FORCE


def test_options_of_the_address_stand_beside_the_limits(postgresql_url: str) -> None:
    """A schema of the operator's choice is used; the limits are not to be weakened."""
    url = f"{postgresql_url}&options=-csearch_path%3Dpg_temp%20-csynchronous_commit%3Doff&application_name=mine"
    with closing(PostgresDatabase(url)) as database, database.point() as tx:
        assert settings(tx) == {**IN_FORCE, "application_name": "mine"}
        assert tx.execute("SHOW search_path", {}).fetchone() == ("pg_temp",)


def test_a_read_cannot_write(database: PostgresDatabase) -> None:
    """The server itself refuses it."""
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), database.read() as tx:
        notes.write(tx, "a")


# --- conflicts -----------------------------------------------------------------------------------------------------


def test_of_two_creators_the_second_runs_again_and_sees_the_first(database: PostgresDatabase) -> None:
    """Both look before either writes: one finds the name taken, and its work is run once more."""
    both_looked = threading.Barrier(2)
    runs: list[str] = []

    def create(tx: Tx) -> bool:
        runs.append("run")
        found = notes.has(tx, "a")
        if len(runs) <= 2:
            both_looked.wait(10)
        if not found:
            notes.write(tx, "a")
        return not found

    with ThreadPoolExecutor(2) as pool:
        made = [future.result() for future in [pool.submit(database.write, create) for _ in range(2)]]
    assert (sorted(made), len(runs)) == ([False, True], 3)


def test_of_two_that_wait_for_each_other_the_victim_runs_again(database: PostgresDatabase) -> None:
    """Both are done in the end."""
    for name in "ab":
        database.write(partial(notes.write, name=name))
    both_hold = threading.Barrier(2)
    lock = "SELECT 1 FROM installation WHERE name = %(name)s FOR UPDATE"
    runs: list[str] = []

    def work(tx: Tx, order: str) -> str:
        runs.append(order)
        tx.execute(lock, {"name": order[0]})
        if len(runs) <= 2:
            both_hold.wait(10)
        tx.execute(lock, {"name": order[1]})
        return order

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(database.write, partial(work, order=order)) for order in ("ab", "ba")]
        assert [future.result() for future in done] == ["ab", "ba"]
    assert len(runs) == 3


def test_a_conflict_that_stays_is_raised(database: PostgresDatabase) -> None:
    """After six attempts."""
    database.write(partial(notes.write, name="a"))
    runs: list[str] = []

    def work(tx: Tx) -> None:
        runs.append("run")
        notes.write(tx, "a")

    with pytest.raises(psycopg.errors.UniqueViolation):
        database.write(work)
    assert len(runs) == 6


# --- connections ---------------------------------------------------------------------------------------------------


def use_at_once(database: PostgresDatabase, connections: int) -> list[int]:
    """Have that many connections out of the pool at once; the server processes behind them."""
    together = threading.Barrier(connections)

    def one() -> int:
        with database.point() as tx:
            together.wait(10)
            pid: int = tx.execute("SELECT pg_backend_pid()", {}).fetchone()[0]
            return pid

    with ThreadPoolExecutor(connections) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(connections)]]


def test_connections_are_used_again(database: PostgresDatabase) -> None:
    """One after the other needs one."""
    pids = {use_at_once(database, 1)[0] for _ in range(5)}
    assert len(pids) == 1


def test_a_connection_that_breaks_is_not_used_again(database: PostgresDatabase) -> None:
    """Whoever has it is told; the next has another one."""
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError), database.point() as tx:
            tx.execute(end, {})
        with pytest.raises(psycopg.OperationalError), database.read() as tx:
            tx.execute(end, {})
        with pytest.raises(psycopg.OperationalError):
            database.write(lambda tx: tx.execute(end, {}))
    assert notes.all_of(database) == []


def test_a_read_that_lost_its_connection_is_no_defect(database: PostgresDatabase) -> None:
    """It says that the store was away: a step of a rotation that meets it is then tried again, however often."""
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(StoreAway), database.point() as tx:
        tx.execute(end, {})
    with pytest.raises(StoreAway), database.read() as tx:
        tx.execute(end, {})
    with pytest.raises(psycopg.errors.DivisionByZero), database.read() as tx:
        tx.execute("SELECT 1 / 0", {})


def sleep_in(tx: Tx, postgres: PostgresServer, then: str) -> None:
    """Be idle in a transaction until the server has ended it, as a frozen machine is; and go on."""
    pid = tx.execute("SELECT pg_backend_pid()", {}).fetchone()[0]
    tx.execute("SET LOCAL idle_in_transaction_session_timeout = 1", {})
    end = time.monotonic() + 30.0
    while postgres.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]):
        assert time.monotonic() < end, "the server has not ended the session"
    tx.execute(then, {})


def test_whoever_slept_in_a_transaction_is_told_that_it_is_lost(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    """Nothing of it was done: a read says that the store was away, and a write is run again."""
    with pytest.raises(StoreAway), database.read() as tx:
        sleep_in(tx, postgres, "SELECT 1")
    runs: list[int] = []

    def work(tx: Tx) -> None:
        runs.append(1)
        notes.write(tx, f"run {len(runs)}")
        if len(runs) == 1:
            sleep_in(tx, postgres, "SELECT 1")

    database.write(work)
    assert notes.all_of(database) == ["run 2"]


def test_a_connection_that_the_server_ended_while_it_was_idle_is_replaced(
    database: PostgresDatabase, postgres: PostgresServer
) -> None:
    """Nobody notices, however many of the pool there are."""
    before = use_at_once(database, 5)
    for pid in before:
        postgres.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert set(use_at_once(database, 5)).isdisjoint(before)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_was_started_again_is_found_again(end: signal.Signals) -> None:
    """After a fast shutdown and after a crash; no request that comes later fails."""
    with PostgresServer() as server:
        url = postgres_url(server, "postgres")
        migrate(url)
        with closing(PostgresDatabase(url)) as database:
            database.write(partial(notes.write, name="a"))
            use_at_once(database, 4)
            if end is signal.SIGKILL:
                server.kill()
            else:
                server.stop()
            server.start()
            use_at_once(database, 4)
            database.write(partial(notes.write, name="b"))
            assert notes.all_of(database) == ["a", "b"]


def test_a_closed_store_has_no_session_left(postgresql_url: str, postgres: PostgresServer) -> None:
    """Not even one that was in use when it was closed."""
    database = open_database(postgresql_url)
    name = postgresql_url.rpartition("/")[2].partition("?")[0]
    with database.point():
        database.close()
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pg_sleep(0.1) IS NOT NULL"
    while postgres.execute(count, [name]) != [(0,)]:
        pass
