"""The store hangs up at every statement of a rotation, and at every answer to COMMIT: nothing is half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from keywheel.db import postgres as store
from keywheel.rotation.machine import Step
from keywheel.rotator import Credential
from keywheel.secrets.labels import CURRENT, PENDING
from tests.support.account import ALTERNATING_USERS, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget
from tests.support.servers import PostgresServer

_TRIES = 12


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    """The store that can be away."""
    return postgresql_url


class Cutter:
    """Counts the statements of this process, and has the server end the connection of one of them."""

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres
        self.seen: list[str] = []
        self.at: int | None = None

    def passes(self, connection: Any, sql: str) -> bool:
        """Before a statement; whether its answer is to be lost."""
        number = len(self.seen)
        self.seen.append(sql)
        if number != self.at:
            return False
        if sql == "COMMIT":
            return True
        self.cut(connection)
        return False

    def cut(self, connection: Any) -> None:
        """End a connection, as a fail-over does."""
        self._postgres.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")

    @contextmanager
    def cutting(self, at: int | None) -> Iterator[None]:
        """From now on; None counts only."""
        self.seen, self.at = [], at
        try:
            yield
        finally:
            self.at = None


@pytest.fixture
def cutter(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Cutter:
    """Around every statement of the store."""
    cutter = Cutter(postgres)
    execute, command = store._PostgresTx.execute, store._PostgresTx.command

    def cut_execute(tx: Any, sql: str, parameters: Any) -> Any:
        cutter.passes(tx._connection, sql)
        return execute(tx, sql, parameters)

    def cut_command(tx: Any, sql: bytes) -> Any:
        if not cutter.passes(tx._connection, sql.decode()):
            return command(tx, sql)
        command(tx, sql)  # it is committed
        cutter.cut(tx._connection)
        return command(tx, b"SELECT 1")  # and the answer does not come

    monkeypatch.setattr(store._PostgresTx, "execute", cut_execute)
    monkeypatch.setattr(store._PostgresTx, "command", cut_command)
    return cutter


@pytest.mark.parametrize("strategy", [SINGLE_USER, ALTERNATING_USERS])
def test_a_rotation_survives_the_loss_of_its_store_at_every_statement(
    account: Account, target: MemoryTarget, cutter: Cutter, strategy: str
) -> None:
    """What is published logs in at the end, nothing is left pending, and one version was made."""
    with cutter.cutting(None):
        rotate(account, secret(account, target, strategy, "recorded"), strategy)
    points = len(cutter.seen)
    assert points > 40
    assert cutter.seen.count("COMMIT") > 5
    for number in range(points):
        name = secret(account, target, strategy, f"cut-{number}")
        account.rotate(name, strategy)
        before = account.versions(name)
        with cutter.cutting(number):
            work(account)
        for _ in range(_TRIES):
            account.clock.advance(timedelta(seconds=31))
            work(account)
        where = f"{number} of {points}"
        rotation, labels = account.rotation(name), account.labels(name)
        assert rotation.token is None, f"{where}: {rotation}"
        assert rotation.step in (Step.IDLE, Step.RETIRE), where
        assert PENDING not in labels or labels[PENDING] == labels[CURRENT], where
        assert target.accepts(account.credential(name)), where
        assert len(account.versions(name) - before) == 1, where


def secret(account: Account, target: MemoryTarget, strategy: str, name: str) -> str:
    """A new secret of a new user."""
    user = target.new_user(name.replace("-", "_"), "first")
    fields = user.fields if strategy == SINGLE_USER else {**user.fields, "masterarn": account.describe("master").arn}
    account.create(name, Credential(fields, user.password))
    return name


def rotate(account: Account, name: str, strategy: str) -> None:
    account.rotate(name, strategy)
    work(account)


def work(account: Account) -> None:
    """What the engine's loop does, which outlives a store that is away."""
    engine = account.engine
    parts: tuple[Callable[[], object], ...] = (engine.tick, engine._renew, engine.tick)
    for part in parts:
        engine._guarded(part, None)
