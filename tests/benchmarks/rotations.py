"""Rotations a second of the engine against a real PostgreSQL, beside the bare SQL; and what they do to readers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.benchmarks import bare_sql
from tests.benchmarks.bare_sql import FIRST_PASSWORD, BareSql, create_users
from tests.benchmarks.load import Sample, drive
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.subjects import Keywheel
from tests.support.keywheel_server import ACCOUNT, REGION
from tests.support.servers import PostgresServer

AT_A_TIME = 8
_PATIENCE = 120.0
_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:keywheel-postgres-"
# What the engine writes down when the last step of a rotation is done.
_DONE = {"single-user": "OldCredentialRetired", "alternating-users": "RotationSucceeded"}
_COUNT = "SELECT count(*), max(at) FROM journal WHERE event = ? AND at >= ?"
_BEGIN = "SELECT min(at) FROM journal WHERE at >= ?"
_UNWELL = "SELECT event, step, code, reason FROM journal WHERE at >= ? AND code IS NOT NULL LIMIT 1"


@dataclass(frozen=True, slots=True)
class Rotated:
    """What one measurement saw. CPU is in seconds: ours, or the loop's, and the target's."""

    rotations: int
    seconds: float
    cpu: float
    target_cpu: float

    @property
    def rate(self) -> float:
        """Rotations in a second."""
        return self.rotations / self.seconds

    @property
    def cpu_each(self) -> float:
        """Our CPU seconds for one rotation."""
        return self.cpu / self.rotations

    @property
    def target_cpu_each(self) -> float:
        """The target's CPU seconds for one rotation."""
        return self.target_cpu / self.rotations


class Rotating:
    """A keywheel with an engine, a target with users, and as many users that are rotated by hand."""

    def __init__(self, keywheel: Keywheel, target: PostgresServer, *, count: int) -> None:
        self._keywheel = keywheel
        self._target = target
        self._target_pid = int((target.directory / "postmaster.pid").read_text().split()[0])
        self._users = {strategy: [f"{strategy[:4]}{n:04d}" for n in range(count)] for strategy in _DONE}
        self._by_hand = [f"hand{n:04d}" for n in range(count)]
        self._loop = BareSql(target, self._by_hand)
        for names in self._users.values():
            create_users(target, names)
        self._create("superuser", dict(target.superuser.fields) | {"password": target.superuser.password.reveal()})
        for strategy, names in self._users.items():
            for name in names:
                self._create(name, self._value(name, strategy))
        for _ in range(2):  # the clones of alternating users are made by their first rotation
            self.engine("alternating-users")

    def _value(self, name: str, strategy: str) -> dict[str, Any]:
        value = dict(self._target.credential(name, FIRST_PASSWORD).fields) | {"password": FIRST_PASSWORD}
        return value | ({"masterarn": "superuser"} if strategy == "alternating-users" else {})

    def _create(self, name: str, value: dict[str, Any]) -> None:
        members = {"Name": name, "SecretString": json.dumps(value), "ClientRequestToken": str(uuid.uuid4())}
        self._ask("CreateSecret", [members])

    def _ask(self, operation: str, members: list[dict[str, Any]]) -> None:
        port = self._keywheel.port
        requests = self._keywheel.signer.requests(operation, members, port)
        answered = drive(port, requests, connections=AT_A_TIME, seconds=_PATIENCE, once=True)
        if answered.refused:
            raise RuntimeError(f"{operation} was refused: {answered.first_refusal.decode()[-300:]}")

    # --- by the engine

    def engine(self, strategy: str) -> Rotated:
        """Every secret of a strategy once: asked for while the engine is frozen, so that only rotating is measured."""
        with self._waiting(strategy) as go:
            before, target_before = self._cpu()
            seconds = self._until_done(strategy, since=go())
            after, target_after = self._cpu()
        return Rotated(len(self._users[strategy]), seconds, after - before, target_after - target_before)

    def readers(self, loads: Callable[[], Sample], *, rotating: bool) -> Sample:
        """What readers see, with and without rotations beside them."""
        if not rotating:
            return loads()
        with self._waiting("single-user") as go:
            begun = go()
            time.sleep(0.3)  # the engine looks for work five times a second
            sample = loads()
            self._until_done("single-user", since=begun)
        return sample

    @contextmanager
    def _waiting(self, strategy: str) -> Iterator[Callable[[], float]]:
        """Every secret of the strategy is about to be rotated; call what is given to let it begin, and tell when."""
        engine = self._keywheel.engine

        def go() -> float:
            os.kill(engine, signal.SIGCONT)
            return time.time()

        os.kill(engine, signal.SIGSTOP)
        try:
            asked = [
                {"SecretId": name, "RotationLambdaARN": _ARN + strategy, "ClientRequestToken": str(uuid.uuid4())}
                for name in self._users[strategy]
            ]
            self._ask("RotateSecret", asked)
            yield go
        finally:
            os.kill(engine, signal.SIGCONT)

    def _until_done(self, strategy: str, *, since: float) -> float:
        """Wait for every rotation; the seconds from the first step that was done to the last."""
        end = time.monotonic() + _PATIENCE
        with closing(sqlite3.connect(f"file:{self._keywheel.database}?mode=ro", uri=True)) as store:
            while time.monotonic() < end:
                count, last = store.execute(_COUNT, (_DONE[strategy], since)).fetchone()
                if count == len(self._users[strategy]):
                    return float(last - store.execute(_BEGIN, (since,)).fetchone()[0])
                time.sleep(0.05)
            unwell = store.execute(_UNWELL, (since,)).fetchone()
        raise TimeoutError(f"{count} of {len(self._users[strategy])} rotations were done; the first trouble: {unwell}")

    def _cpu(self) -> tuple[float, float]:
        return self._keywheel.cpu(), cpu_seconds(self._target_pid)

    # --- by hand

    def by_hand(self, rotate: str) -> Rotated:
        """Every user once, by a method of `BareSql`."""
        names = self._by_hand
        before, target_before, begun = time.process_time(), cpu_seconds(self._target_pid), time.monotonic()
        bare_sql.run(getattr(self._loop, rotate), names, at_a_time=AT_A_TIME)
        seconds = time.monotonic() - begun
        after, target_after = time.process_time(), cpu_seconds(self._target_pid)
        return Rotated(len(names), seconds, after - before, target_after - target_before)
