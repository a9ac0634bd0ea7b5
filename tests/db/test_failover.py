"""A PostgreSQL store that goes away, freezes, is a standby, or is taken over by one."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial

import psycopg
import pytest

from keywheel.db.database import open_database
from keywheel.db.postgres import CommitInDoubt, PostgresDatabase, StoreAway, connect
from keywheel.db.schema import migrate
from keywheel.db.statement import Tx
from keywheel.testing import FaultProxy
from tests.db import notes
from tests.support.servers import PostgresServer, _as_service_user
from tests.support.stores import postgres_url

END = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    """The network before the server."""
    with FaultProxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def far_url(postgresql_url: str, postgres: PostgresServer, proxy: FaultProxy) -> str:
    """The store's address by way of the proxy."""
    return postgresql_url.replace(f":{postgres.port}/", f":{proxy.port}/")


def test_a_transaction_that_is_cut_off_is_run_again(postgresql_url: str) -> None:
    """At whichever statement the connection was lost: before COMMIT, nothing of it was done."""
    with closing(PostgresDatabase(postgresql_url)) as database:
        for lost_at in range(3):
            runs: list[int] = []

            def work(tx: Tx, lost_at: int = lost_at, runs: list[int] = runs) -> None:
                runs.append(1)
                for number in range(3):
                    if number == lost_at and len(runs) == 1:
                        tx.execute(END, {})
                    notes.write(tx, f"{lost_at}-{number}")

            database.write(work)
            assert len(runs) == 2
        assert len(notes.all_of(database)) == 9


def test_a_lost_answer_to_commit_is_in_doubt(far_url: str, proxy: FaultProxy) -> None:
    """It is not run again, for it may have been done; here it was."""
    with closing(PostgresDatabase(far_url)) as database:
        proxy.lose_reply_to(b"COMMIT")
        runs: list[int] = []

        def work(tx: Tx) -> None:
            runs.append(1)
            notes.write(tx, "a")

        with pytest.raises(CommitInDoubt):
            database.write(work)
        proxy.pass_through()
        assert (runs, notes.all_of(database)) == ([1], ["a"])


def test_a_server_that_freezes_is_hung_up_on(far_url: str, proxy: FaultProxy) -> None:
    """A read on a connection that was good is told so, within the bound; afterwards the store is found again."""
    with closing(PostgresDatabase(far_url, answer=1.0)) as database:
        proxy.black_hole()
        begun = time.monotonic()
        with pytest.raises(psycopg.OperationalError), database.point() as tx:
            tx.execute("SELECT 1", {})
        assert time.monotonic() - begun < 15.0
        proxy.pass_through()
        assert notes.all_of(database) == []


def test_one_lost_connection_is_a_reason_to_doubt_the_others(far_url: str, proxy: FaultProxy) -> None:
    """A machine that is gone hangs up on nobody: it is waited for once, not once for each connection of the pool."""
    with closing(PostgresDatabase(far_url, answer=1.0)) as database:
        with database.point(), database.point(), database.point():
            pass
        proxy.black_hole()
        with pytest.raises(psycopg.OperationalError), database.point() as tx:
            tx.execute("SELECT 1", {})
        proxy.pass_through()
        for _ in range(3):
            assert notes.all_of(database) == []


def test_a_bell_rings_again_after_the_store_was_away(far_url: str, proxy: FaultProxy) -> None:
    """And it knows that it did not."""
    with closing(PostgresDatabase(far_url)) as database:
        rang = threading.Event()
        with closing(database.bell(rang.set)) as bell:
            until(lambda: bell.hears)
            proxy.disconnect()
            until(lambda: not bell.hears)
            until(lambda: bell.hears)
            rang.clear()
            database.write(lambda tx: tx.ring())
            assert rang.wait(20.0)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_every_commit_rings_on_sqlite(sqlite_url: str) -> None:
    """Also that of another process, which another opened store stands for."""
    with closing(open_database(sqlite_url)) as one, closing(open_database(sqlite_url)) as other:
        rang = threading.Event()
        with closing(one.bell(rang.set)):
            assert rang.wait(20.0)
            rang.clear()
            other.write(partial(notes.write, name="a"))
            assert rang.wait(20.0)


def test_a_server_that_only_reads_is_not_the_store(postgresql_url: str) -> None:
    """As a standby is."""
    name = postgresql_url.rpartition("/")[2].partition("?")[0]
    with closing(PostgresDatabase(postgresql_url)) as database, database.point() as tx:
        tx.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on", {})
    with pytest.raises(StoreAway):
        connect(postgresql_url)
    with pytest.raises(StoreAway):
        connect(f"{postgresql_url}&target_session_attrs=any")


def test_leases_are_told_by_the_servers_clock(postgresql_url: str) -> None:
    """Not by the machine's."""
    with closing(PostgresDatabase(postgresql_url)) as database:
        clock = database.clock()
        with database.point() as tx:
            there = tx.execute("SELECT extract(epoch FROM clock_timestamp())::float8", {}).fetchone()[0]
        assert abs(clock.now().timestamp() - there) < 1.0


# --- a pair --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary, and a standby that confirms every commit."""
    with PostgresServer(access=["host replication all 127.0.0.1/32 trust"]) as primary:
        standby = PostgresServer()
        for each in standby.directory.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        where = ["-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "-D", str(standby.directory)]
        command = [str(primary.binaries / "pg_basebackup"), *where, "-R", "-c", "fast", "-X", "stream", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **_as_service_user())
        with standby:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
            until(lambda: primary.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)])
            yield primary, standby


def test_a_standby_takes_over_and_nothing_that_was_answered_is_lost(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    """The address names both: the new primary is found by itself. A standby is not spoken to."""
    primary, standby = pair
    with pytest.raises(StoreAway):
        connect(postgres_url(standby, "postgres"))
    host = f"127.0.0.1:{primary.port}"
    url = postgres_url(primary, "postgres").replace(host, f"127.0.0.1:{standby.port},{host}")
    migrate(url)
    answered: list[str] = []
    stop = threading.Event()
    with closing(PostgresDatabase(url)) as database:

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                with suppress(psycopg.Error, StoreAway):
                    database.write(partial(notes.write, name=f"{number:06}"))
                    answered.append(f"{number:06}")

        thread = threading.Thread(target=write)
        thread.start()
        until(lambda: len(answered) > 20)
        primary.kill()
        standby.execute("SELECT pg_promote()")
        count = len(answered)
        until(lambda: len(answered) > count + 20)
        stop.set()
        thread.join()
        assert set(answered) <= set(notes.all_of(database))


def test_a_commit_that_no_standby_confirmed_is_in_doubt(pair: tuple[PostgresServer, PostgresServer]) -> None:
    """PostgreSQL says COMMIT when somebody cancels the wait; but the standby does not have it."""
    primary, standby = pair
    url = postgres_url(primary, "postgres")
    migrate(url)
    with closing(PostgresDatabase(url)) as database, ThreadPoolExecutor(1) as pool:
        standby.stop()
        written = pool.submit(database.write, partial(notes.write, name="a"))
        waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        until(lambda: written.done() or primary.execute(waiting) == [(True,)])
        with pytest.raises(CommitInDoubt):
            written.result(30)
