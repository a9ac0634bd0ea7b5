"""Fixtures that tests of several rooms share. A real server is started once for each test process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.servers import PostgresServer
from tests.support.stores import (
    build_house,
    clock,
    database,
    database_url,
    house,
    postgres_template,
    postgresql_url,
    sqlite_template,
    sqlite_url,
)
from tests.support.tokens import soft_token

# A red run must be somebody's doing: on a CI machine the same cases are tried each time.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

__all__ = [
    "build_house",
    "clock",
    "database",
    "database_url",
    "house",
    "postgres_template",
    "postgresql_url",
    "soft_token",
    "sqlite_template",
    "sqlite_url",
]


# For histories of calls on a real store, of which each costs what it costs.
settings.register_profile("ci", max_examples=25, stateful_step_count=20, deadline=None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private PostgreSQL, of the system's packages or else of the wheel."""
    with PostgresServer() as server:
        yield server
