"""Fixtures of the tests of the secrets room."""

from __future__ import annotations

import os

import pytest

from keywheel.db.database import Database
from keywheel.keys.keyring import Keys
from keywheel.rotation.runners import Runners
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.listing import Listing
from keywheel.sensitive import Sensitive
from keywheel.strategies import SingleUser
from keywheel.testing import ManualClock
from tests.secrets.house import House
from tests.support.account import SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget
from tests.support.stores import BuildHouse


@pytest.fixture
def house(database: Database) -> House:
    """An empty house, on each kind of store."""
    keys = Keys(Sensitive(os.urandom(32)))
    database.write(keys.bind)
    return House(database, keys, Secrets(keys), Listing())


@pytest.fixture
def target() -> MemoryTarget:
    """The system whose passwords the account rotates."""
    return MemoryTarget()


@pytest.fixture
def account(build_house: BuildHouse, clock: ManualClock, target: MemoryTarget) -> Account:
    """An account without secrets, by the API's handlers, on each kind of store."""
    return Account(build_house(Runners(None, {SINGLE_USER: SingleUser(target)})), clock)
