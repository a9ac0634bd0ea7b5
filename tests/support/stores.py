"""The stores that a room is tested on, and houses on them: new ones for each test, with the schema of `migrate`.

The schema is made once for each kind of store and then copied. The PostgreSQL databases sort by a language, where the
server can do that, because those of a careless operator do.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keywheel.config import Settings
from keywheel.db.database import Database, open_database
from keywheel.db.schema import migrate
from keywheel.keys.keyring import Keys
from keywheel.rotation.runners import Runners
from keywheel.sensitive import Sensitive
from keywheel.server import House, build
from keywheel.testing import ManualClock
from tests.support.servers import PostgresServer

BuildHouse = Callable[[Runners | None], House]

_SORTS_BY_LANGUAGE = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema, to be copied."""
    path = tmp_path_factory.mktemp("stores") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a PostgreSQL database with the schema, to be copied."""
    name = f"kw_{secrets.token_hex(6)}"
    knows_languages = postgres.execute("SELECT count(*) FROM pg_collation WHERE collprovider = 'i'")[0][0] > 0
    locale = _SORTS_BY_LANGUAGE if knows_languages else ""
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {locale}")
    migrate(postgres_url(postgres, name))
    return name


def postgres_url(server: PostgresServer, name: str) -> str:
    """The address of a database of `server`, for its superuser."""
    superuser = server.superuser
    login = f"{superuser.username}:{superuser.password.reveal()}"
    return f"postgresql://{login}@127.0.0.1:{server.port}/{name}?sslmode=disable"


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of a SQLite store of this test's own."""
    path = tmp_path / "keywheel.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The address of a PostgreSQL store of this test's own."""
    name = f"kw_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    yield postgres_url(postgres, name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a store of this test's own, of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open store of this test's own, of each kind."""
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> ManualClock:
    """The time of this test's house, which stands still until it is moved."""
    return ManualClock()


@pytest.fixture
def build_house(database_url: str, clock: ManualClock, tmp_path: Path) -> Iterator[BuildHouse]:
    """Build every room on this test's store, with the given runners or the built-in ones; as often as one likes."""
    root = Sensitive(os.urandom(32))
    settings = Settings(data=str(tmp_path), database=database_url)
    store = open_database(database_url)
    store.write(Keys(root).bind)
    store.close()
    built: list[House] = []

    def build_one(runners: Runners | None) -> House:
        built.append(build(settings, root, clock=clock, runners=runners))
        return built[-1]

    yield build_one
    for house in built:
        house.close()


@pytest.fixture
def house(build_house: BuildHouse) -> House:
    """Every room, built on each kind of store, with a clock that stands still."""
    return build_house(None)
