"""Migrations make what tables.py says, wholly or not at all, and once."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import BatchOperations
from sqlalchemy import inspect

from keywheel.db import migrations
from keywheel.db.database import open_database
from keywheel.db.schema import Plan, Revision, migrate, migration_engine, pending, plan, revisions
from keywheel.db.tables import metadata
from keywheel.errors import ConfigurationError
from tests.db import notes
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

_MIGRATE = "import sys; from keywheel.db.schema import migrate; print(bool(migrate(sys.argv[1]).apply))"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty store of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"kw_{secrets.token_hex(6)}"
    server.execute(f"CREATE DATABASE {name}")
    yield postgres_url(server, name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def tables(url: str) -> set[str]:
    """The names of the tables that are there."""
    engine = migration_engine(url)
    with engine.connect() as connection:
        return set(inspect(connection).get_table_names())


# SQLite's index on an expression cannot be compared; tests/secrets/test_reencryption.py sees that it is used.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_revisions_make_what_tables_py_says(database_url: str) -> None:
    """No difference in tables, columns, types, keys or indexes."""
    engine = migration_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_names_are_ordered_by_code_point(postgresql_url: str) -> None:
    """Whatever the language of the database is; Alembic does not compare collations."""
    engine = migration_engine(postgresql_url)
    with engine.connect() as connection:
        columns = {column["name"]: column["type"] for column in inspect(connection).get_columns("secret")}
    assert getattr(columns["name"], "collation", None) == "C"


def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    """It says whether it changed anything; what is stored stays."""
    assert migrate(empty_url).apply
    with closing(open_database(empty_url)) as database:
        database.write(lambda tx: notes.write(tx, "a"))
    assert not migrate(empty_url).apply
    with closing(open_database(empty_url)) as database:
        assert notes.all_of(database) == ["a"]


def test_of_two_that_migrate_at_once_one_does(empty_url: str) -> None:
    """The other waits, and finds it done: replicas may be started together."""
    command = [sys.executable, "-c", _MIGRATE, empty_url]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in both) == ["False\n", "True\n"]


def test_a_migration_that_fails_leaves_nothing_half_done(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash in the middle it is made as if nothing had been."""

    def crash(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("a crash")

    with monkeypatch.context() as patch:
        patch.setattr(BatchOperations, "create_index", crash)
        with pytest.raises(RuntimeError, match="a crash"):
            migrate(empty_url)
    assert tables(empty_url) == set()
    assert migrate(empty_url).apply


def test_a_newer_schema_that_took_something_away_is_refused(database_url: str) -> None:
    """It is named, it stays as it is, and the way out is said."""
    with closing(open_database(database_url)) as database:
        database.write(lambda tx: tx.execute("UPDATE alembic_version SET version_num = '9999'", {}))
        database.write(lambda tx: tx.execute("UPDATE schema_floor SET oldest = '9998'", {}))
    with pytest.raises(ConfigurationError, match="schema 9999") as caught:
        migrate(database_url)
    assert "newer keywheel" in caught.value.hint()
    with closing(open_database(database_url)) as database, database.point() as tx:
        assert tx.execute("SELECT version_num FROM alembic_version", {}).fetchone() == ("9999",)


def test_a_newer_schema_that_only_added_is_worked_with(database_url: str) -> None:
    """And left as it is: an older replica beside a newer one, or after a roll-back."""
    with closing(open_database(database_url)) as database:
        database.write(lambda tx: tx.execute("UPDATE alembic_version SET version_num = '9999'", {}))
    assert migrate(database_url).apply == ()
    assert pending(database_url)[0] == "9999"


E1, E2, C3 = Revision("0001", "expand"), Revision("0002", "expand"), Revision("0003", "contract")
E4, C5 = Revision("0004", "expand"), Revision("0005", "contract")


@pytest.mark.parametrize(
    ("known", "at", "floor", "contract", "expected"),
    [
        ([E1, E2], None, None, False, (("0001", "0002"), (), "0001")),
        ([E1, E2], "0001", None, False, (("0002",), (), "0001")),
        ([E1, E2], "0002", "0001", False, ((), (), "0001")),
        ([E1, E2, C3], "0001", None, False, (("0002",), ("0003",), "0001")),
        ([E1, E2, C3], "0002", "0001", True, (("0003",), (), "0003")),
        ([E1, E2, C3], None, None, False, (("0001", "0002", "0003"), (), "0003")),
        ([E1, E2, C3, E4], "0002", "0001", True, (("0003", "0004"), (), "0003")),
        ([E1, E2, C3, E4], "0003", "0003", False, (("0004",), (), "0003")),
        ([E1, E2, C3, E4, C5], "0003", "0003", False, (("0004",), ("0005",), "0003")),
        ([E1, E2], "0004", "0001", False, ((), (), "0001")),
        ([E1, E2], "0003", "0003", False, None),
        ([E1, E2], "0004", None, False, None),
        ([E1, E2, C3, E4], "0002", "0001", False, None),
    ],
)
def test_what_a_program_does_with_a_store(
    known: list[Revision], at: str | None, floor: str | None, contract: bool, expected: tuple[object, ...] | None
) -> None:
    """It adds by itself, takes away on a person's word, and refuses what it would break or be broken by."""
    if expected is None:
        with pytest.raises(ConfigurationError):
            plan(known, at, floor, contract=contract)
    else:
        assert plan(known, at, floor, contract=contract) == Plan(*expected)  # type: ignore[arg-type] # the table's


@pytest.mark.parametrize("number", range(1, len(revisions())))
def test_an_expanding_revision_only_adds(number: int, tmp_path: Path) -> None:
    """No table or column goes or changes its type, and what is new may be left out by who does not know it."""
    if revisions()[number].phase != "expand":
        pytest.skip("it contracts")
    url = f"sqlite:///{tmp_path}/line.db"
    before, after = (columns(url, revision.name) for revision in revisions()[number - 1 : number + 1])
    assert before.keys() <= after.keys()
    for place, column in after.items():
        if place in before:
            assert str(column["type"]) == str(before[place]["type"]), place
            assert column["nullable"] or not before[place]["nullable"], place
        elif place[0] in {table for table, _ in before}:
            assert column["nullable"] or column["default"] is not None, place


def columns(url: str, revision: str) -> dict[tuple[str, str], Any]:
    """Every column of every table at a revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    engine = migration_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        there = inspect(connection)
        return {(table, each["name"]): each for table in there.get_table_names() for each in there.get_columns(table)}


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://u:p@127.0.0.1:1/d", "The PostgreSQL store does not answer (OperationalError)."),
        ("sqlite:////nowhere/keywheel.db", "There is no directory /nowhere."),
        ("mysql://h/d", "--database must be sqlite:///PATH or postgresql://…"),
    ],
)
def test_a_store_that_cannot_be_reached_is_said_so(url: str, text: str) -> None:
    """As by `open_database`."""
    with pytest.raises(ConfigurationError) as caught:
        migrate(url)
    assert caught.value.message == text


def test_a_database_that_is_not_ours_is_said_so(postgres: PostgresServer) -> None:
    """A user who may create nothing in it is told by the class of the error, without the driver's text."""
    user = postgres.new_user()
    name = f"kw_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name}")
    postgres.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", dbname=name)
    password = user.password.reveal()
    with pytest.raises(ConfigurationError, match=r"cannot be brought up to date \(InsufficientPrivilege\)") as caught:
        migrate(f"postgresql://{user.username}:{password}@127.0.0.1:{postgres.port}/{name}?sslmode=disable")
    assert "own it" in caught.value.hint()
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("name", ["a b", "a?b=c", "a#b", "a%20b", "u:p@h", "ключ"])
def test_an_address_means_the_same_to_migrate_and_to_open(tmp_path: Path, sqlite_template: Path, name: str) -> None:
    """Whatever characters the path has."""
    directory = tmp_path / name
    directory.mkdir()
    url = f"sqlite:///{directory}/keywheel.db"
    assert migrate(url).apply
    with closing(open_database(url)) as database:
        assert notes.all_of(database) == []
    assert [path.name for path in tmp_path.iterdir()] == [name]
    shutil.copy(sqlite_template, directory / "keywheel.db")
    assert not migrate(url).apply


def test_options_of_the_address_hold_for_migrate_too(postgresql_url: str) -> None:
    """The tables are made in the schema that the server will look in."""
    url = f"{postgresql_url}&options=-csearch_path%3Delsewhere"
    with closing(open_database(url)) as database:
        database.write(lambda tx: tx.execute("CREATE SCHEMA elsewhere", {}))
        assert migrate(url).apply
        assert notes.all_of(database) == []


def test_a_migration_does_not_cascade(sqlite_url: str) -> None:
    """SQLite alters a table by copying it: dropping the old one must not erase what refers to it."""
    engine = migration_engine(sqlite_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
