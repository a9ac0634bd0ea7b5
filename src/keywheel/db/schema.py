"""The store's schema: which program may work with which, and how it is brought up to date. Rules first.

Revisions are a line. Each is of one phase:

* `expand` only adds, so that programs of the revision before go on working beside newer ones. A server that starts
  applies these.
* `contract` takes away what only older programs use. It is applied on a person's word, when these are gone.

The store says which revision a program must know at least (`schema_floor`). A program that meets a newer schema works
with it when it knows that one, and leaves it as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from keywheel.db.database import libpq_url, sqlite_path
from keywheel.errors import ConfigurationError

Phase = Literal["expand", "contract"]

# How a migration begins: it is one transaction, and there is one at a time.
_BEGIN = {
    "sqlite": ("BEGIN IMMEDIATE",),  # the driver would begin one before DML only, and tables would be half made
    "postgresql": (
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL lock_timeout = '1min'",
        "SELECT pg_advisory_xact_lock(7203512896640917)",  # any number, the same in every version of keywheel
    ),
}
_FLOOR = "schema_floor"
# In place of a revision, where nobody may serve.
MOVED, MOVING = "moved", "moving"
_CLOSED = {
    MOVED: ("This store was moved to another database.", "Name that one with --database."),
    MOVING: (
        "This store is being filled by `keywheel move`.",
        "Run the same command again until it says that it is done.",
    ),
}


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the schema."""

    name: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class Plan:
    """What is applied now, what waits for a person's word, and the revision that programs must know afterwards."""

    apply: tuple[str, ...]
    waiting: tuple[str, ...]
    floor: str


def plan(known: Sequence[Revision], at: str | None, floor: str | None, *, contract: bool = False) -> Plan:
    """What a program that knows the revisions `known` does with a store at revision `at` (None: an empty one).

    Raises:
        ConfigurationError: the program must not work with that store.
    """
    names = [revision.name for revision in known]
    if at in _CLOSED:
        text, hint = _CLOSED[at]
        raise ConfigurationError(text, hint=hint)
    if at is not None and at not in names:
        if floor is None or floor not in names:
            raise ConfigurationError(
                f"The database has schema {at}, which this version of keywheel does not know.",
                hint="Run the newer keywheel that wrote it, or restore a backup of its time.",
            )
        return Plan((), (), floor)
    pending = list(known[0 if at is None else names.index(at) + 1 :])
    if at is None or contract:  # nobody works with an empty store
        apply = pending
    else:
        until = next((n for n, revision in enumerate(pending) if revision.phase == "contract"), len(pending))
        apply = pending[:until]
        if any(revision.phase == "expand" for revision in pending[until:]):
            raise ConfigurationError(
                f"The database has schema {at}, from which there is no way to {names[-1]} beside an older keywheel.",
                hint="When every older server has ended: `keywheel migrate --contract`.",
            )
    contracted = [revision.name for revision in apply if revision.phase == "contract"]
    waiting = tuple(revision.name for revision in pending[len(apply) :])
    return Plan(tuple(revision.name for revision in apply), waiting, [floor or names[0], *contracted][-1])


@cache
def revisions() -> tuple[Revision, ...]:
    """The revisions that this program knows, in their order."""
    script = ScriptDirectory.from_config(_config())
    return tuple(Revision(script_.revision, script_.module.phase) for script_ in reversed([*script.walk_revisions()]))


def migrate(url: str, *, contract: bool = False) -> Plan:
    """Bring the schema to this program's version, wholly or not at all; what was done.

    Raises:
        ConfigurationError: this program must not work with the store, or it cannot be reached or changed.
    """
    with _begun(url) as connection:
        done = plan(revisions(), *_stands(connection), contract=contract)
        if done.apply:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, done.apply[-1])
            connection.exec_driver_sql(f"UPDATE {_FLOOR} SET oldest = '{done.floor}'")  # noqa: S608 - our own names
        return done


def pending(url: str) -> tuple[str | None, Plan]:
    """Where the schema stands, and what `migrate` would do.

    Raises:
        ConfigurationError: as `migrate`.
    """
    with _begun(url) as connection:
        at, floor = _stands(connection)
        return at, plan(revisions(), at, floor)


def _stands(connection: Connection) -> tuple[str | None, str | None]:
    """The revision of the schema, and the one that programs must know."""
    at = MigrationContext.configure(connection).get_current_revision()
    if at is None or not inspect(connection).has_table(_FLOOR):
        return at, None
    return at, connection.exec_driver_sql(f"SELECT oldest FROM {_FLOOR}").scalar()  # noqa: S608 - our own name


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


@contextmanager
def _begun(url: str) -> Iterator[Connection]:
    engine = migration_engine(url)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise ConfigurationError(
            f"The database's schema cannot be brought up to date ({type(error.orig).__name__}).",
            hint="Its user must own it, and no other program may hold it for long.",
        ) from error
    finally:
        engine.dispose()


def migration_engine(url: str) -> Engine:
    """An engine over our own connections, so that an address means the same here as to `open_database`."""
    path = sqlite_path(url)
    if path is not None:
        return create_engine("sqlite://", creator=lambda: _sqlite_connection(path), poolclass=NullPool)
    from keywheel.db.postgres import connect

    address = libpq_url(url)
    return create_engine(
        "postgresql+psycopg://", creator=lambda: connect(address, autocommit=False), poolclass=NullPool
    )


def _sqlite_connection(path: Path) -> sqlite3.Connection:
    from keywheel.db.sqlite import connect

    connection = connect(path)
    # A table is altered by copying it; dropping the old one must not cascade.
    connection.execute("PRAGMA foreign_keys=OFF")
    return connection


def _begin(connection: Connection) -> None:
    for statement in _BEGIN[connection.dialect.name]:
        connection.exec_driver_sql(statement)
