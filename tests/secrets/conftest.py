"""Fixtures of the tests of the secrets room."""

from __future__ import annotations

import os

import pytest

from keywheel.db.database import Database
from keywheel.keys.keyring import Keys
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.listing import Listing
from keywheel.sensitive import Sensitive
from tests.secrets.house import House


@pytest.fixture
def house(database: Database) -> House:
    """An empty house, on each kind of store."""
    keys = Keys(Sensitive(os.urandom(32)))
    database.write(keys.bind)
    return House(database, keys, Secrets(keys), Listing())
