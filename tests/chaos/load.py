"""The load: readers at every replica, writers, and clients that have live secrets rotated all the time."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.register import Register
from tests.chaos.site import FUNCTION, Replica, Site
from tests.soak.client import Client

# 5xx: done or not
OUR_FAULT = ("InternalServiceError", "InternalFailure", "ServiceUnavailable", "KMSInternalException")
AWAY = "no answer"
BUSY = "InvalidRequestException"  # RotateSecret while the last rotation of that secret still runs
_REST = 0.2  # seconds that a client waits before it tries a silent replica again
_WRITTEN = 50  # plain secrets that are written to


@dataclass(frozen=True, slots=True)
class Read:
    """One read: when it ended, since the run began; at which replica; how long it took; and what was wrong with it."""

    at: float
    replica: int
    took: float
    code: str | None


@dataclass(slots=True)
class Told:
    """What the clients were told."""

    reads: list[Read] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """The secret of each token that RotateSecret took."""
    asked: Counter[str] = field(default_factory=Counter)
    """The answers to RotateSecret."""
    writes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Caller:
    """A client of one replica that connects again when it must."""

    def __init__(self, site: Site, replica: Replica) -> None:
        self._site = site
        self._replica = replica
        self._client: Client | None = None

    def ask(self, operation: str, **members: Any) -> tuple[str | None, Any]:
        """The error's code, or None, and the answer."""
        return self._call(f"secretsmanager.{operation}", members, "secretsmanager")

    def ask_keys(self, operation: str, **members: Any) -> tuple[str | None, Any]:
        """The same of AWS KMS."""
        return self._call(f"TrentService.{operation}", members, "kms")

    def ask_house(self, operation: str, **members: Any) -> tuple[str | None, Any]:
        """The same of keywheel's own operations."""
        return self._call(f"keywheel.{operation}", members, "secretsmanager")

    def _call(self, target: str, members: dict[str, Any], service: str) -> tuple[str | None, Any]:
        try:
            if self._client is None:
                self._client = self._site.client(self._replica)
            self._client.asked.clear()
            document = self._client.call(target, members, service=service)
        except (OSError, ValueError, IndexError):  # nothing, or half an answer
            self.close()
            return AWAY, {}
        return document.get("__type"), document

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            with suppress(OSError):
                self._client.close()
        self._client = None


Work = Callable[[Caller, Replica, random.Random], str | None]


class Hands:
    """Threads that work until they are told to stop, one for each kind of work and replica.

    Args:
        paces: each kind of work, and the seconds between two of it.
        wrong: where it is told that one has ended.
    """

    def __init__(self, site: Site, paces: Sequence[tuple[Work, float]], *, seed: int, wrong: list[str]) -> None:
        self._site = site
        self._wrong = wrong
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(one, pause, replica, random.Random(f"{seed} {replica.number}")))
            for one, pause in paces
            for replica in site.replicas  # a client of each, for one that waits does not load the others
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let everybody end what they do."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self, one: Work, pause: float, replica: Replica, draw: random.Random) -> None:
        caller = Caller(self._site, replica)
        due = time.monotonic()
        try:
            while not self._over.is_set():
                silent = one(caller, replica, draw) == AWAY
                due = max(due + pause, time.monotonic() - 1.0)
                self._over.wait(max(_REST if silent else 0.0, due - time.monotonic()))
        except Exception as error:
            self._wrong.append(f"a client ended by {error!r}")
            raise
        finally:
            caller.close()


class Load(Hands):
    """The clients of secrets.

    Args:
        since: seconds since the run began.
        reads: reads a second at each replica.
        rotations: how often a second a rotation is asked for.
    """

    def __init__(self, site: Site, since: Callable[[], float], *, seed: int, reads: float, rotations: float) -> None:
        self.told = Told()
        self.register = Register()
        self._since = since
        paces = [(self._read, 1.0 / reads), (self._write, 0.3), (self._rotate, len(site.replicas) / rotations)]
        super().__init__(site, paces, seed=seed, wrong=self.told.wrong)

    def _read(self, caller: Caller, replica: Replica, draw: random.Random) -> str | None:
        names = self._site.plain[:_WRITTEN] if draw.random() < 0.5 else self._site.plain
        secret = draw.choice(names)
        least, begun = self.register.least(secret), time.perf_counter()
        code, document = caller.ask("GetSecretValue", SecretId=secret)
        took = time.perf_counter() - begun
        self.told.reads.append(Read(self._since(), replica.number, took, code))
        if code is None and not self.register.allows(secret, int(document["SecretString"]), least):
            self.told.wrong.append(f"{secret} was read as {document['SecretString']} after {least} was answered")
        return code

    def _write(self, caller: Caller, replica: Replica, draw: random.Random) -> str | None:
        secret = draw.choice(self._site.plain[replica.number : _WRITTEN : len(self._site.replicas)])  # its own
        number = self.register.begin(secret)
        code, _answer = caller.ask(
            "PutSecretValue", SecretId=secret, SecretString=str(number), ClientRequestToken=str(uuid.uuid4())
        )
        self.told.writes[code or "done"] += 1
        if code is None:
            self.register.answered(secret, number)
        elif code not in (AWAY, *OUR_FAULT):
            self.register.refused(secret, number)
        return code

    def _rotate(self, caller: Caller, _: Replica, draw: random.Random) -> str | None:
        role, strategy = draw.choice(list(self._site.roles.items()))
        token = str(uuid.uuid4())
        code, _answer = caller.ask(
            "RotateSecret", SecretId=role, RotationLambdaARN=FUNCTION + strategy, ClientRequestToken=token
        )
        self.told.asked[code or "done"] += 1
        if code is None:
            self.told.accepted[token] = role
        return code
