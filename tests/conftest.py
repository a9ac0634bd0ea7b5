"""Fixtures that tests of several rooms share. A real server is started once for each test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import PostgresServer
from tests.support.stores import (
    database,
    database_url,
    postgres_template,
    postgresql_url,
    sqlite_template,
    sqlite_url,
)

__all__ = ["database", "database_url", "postgres_template", "postgresql_url", "sqlite_template", "sqlite_url"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private PostgreSQL, of the system's packages or else of the wheel."""
    with PostgresServer() as server:
        yield server
