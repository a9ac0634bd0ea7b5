"""An account with a target in memory and secrets of two of its users, on both stores."""

from __future__ import annotations

import pytest

from keywheel.rotation.runners import Runners
from keywheel.rotator import Credential
from keywheel.strategies import AlternatingUsers, SingleUser
from keywheel.testing import ManualClock
from tests.support.account import ALTERNATING_USERS, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget
from tests.support.stores import BuildHouse


@pytest.fixture
def target() -> MemoryTarget:
    """The system whose passwords are rotated."""
    return MemoryTarget()


@pytest.fixture
def runners(target: MemoryTarget) -> Runners:
    """Both strategies on the target."""
    return Runners(None, {SINGLE_USER: SingleUser(target), ALTERNATING_USERS: AlternatingUsers(target)})


@pytest.fixture
def account(build_house: BuildHouse, runners: Runners, target: MemoryTarget, clock: ManualClock) -> Account:
    """An account with the secrets `app`, a single user's, and `pair`, whose superuser is in `master`."""
    account = Account(build_house(runners), clock)
    account.create("app", target.new_user("app", "app-password"))
    master = account.create("master", target.superuser)
    user = target.new_user("pair", "pair-password")
    account.create("pair", Credential({**user.fields, "masterarn": master}, user.password))
    return account
