"""The keys of a store of each kind, and of the quicker kind alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keywheel.db.database import Database, open_database
from tests.keys.ring import Ring


@pytest.fixture
def ring(database: Database) -> Ring:
    """Keys on each kind of store."""
    return Ring(database)


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Ring]:
    """Keys on SQLite, for what does not depend on the store."""
    database = open_database(sqlite_url)
    yield Ring(database)
    database.close()
