"""The work of a soak: a mixed load on many secrets, while the passwords of live roles are rotated without a pause."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.benchmarks.bare_sql import FIRST_PASSWORD, create_users
from tests.benchmarks.subjects import Keywheel
from tests.benchmarks.workloads import name, value
from tests.soak.client import Asked, Client
from tests.support.keywheel_server import ACCOUNT, REGION
from tests.support.servers import PostgresServer

STRATEGIES = ("single-user", "alternating-users")
BUSY = "InvalidRequestException"  # RotateSecret while the last rotation of that secret still runs
# Shares of a hundred requests of the mixed load.
MIX = {"GetSecretValue": 90, "DescribeSecret": 4, "PutSecretValue": 3, "CreateSecret": 2, "ListSecrets": 1}
_KEPT = 20  # secrets that a client has created and not yet deleted
_PAUSE = 0.2  # seconds between two RotateSecret
_PATIENCE = 120.0
_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:keywheel-postgres-"
_RULES = {"ScheduleExpression": "rate(4 hours)", "Duration": "1h"}


class Work:
    """A server full of secrets, a target with roles, and the clients that use them.

    Args:
        secrets: how many are read and written.
        roles: how many live roles are rotated, half of them by each strategy.
        rate: requests a second of the mixed load, all clients together.
    """

    def __init__(
        self, server: Keywheel, target: PostgresServer, *, secrets: int, roles: int, rate: float, clients: int = 4
    ) -> None:
        self._server = server
        self._target = target
        self._secrets = secrets
        self._rate = rate
        self._begun = time.monotonic()
        self._clients = [self._client() for _ in range(clients)]
        self._rotator = self._client()
        server.fill(secrets)
        self.roles = {f"soak{number:04d}": STRATEGIES[number % 2] for number in range(roles)}
        create_users(target, list(self.roles))
        superuser = dict(target.superuser.fields) | {"password": target.superuser.password.reveal()}
        self._create("superuser", superuser)
        for role, strategy in self.roles.items():
            fields = dict(target.credential(role, FIRST_PASSWORD).fields) | {"password": FIRST_PASSWORD}
            self._create(role, fields | ({"masterarn": "superuser"} if strategy == "alternating-users" else {}))

    def _client(self) -> Client:
        return Client(self._server.port, self._server.signer, lambda: time.monotonic() - self._begun)

    def _create(self, secret: str, fields: dict[str, Any]) -> None:
        self._rotator.ask("CreateSecret", Name=secret, SecretString=json.dumps(fields), ClientRequestToken=_token())

    def run(self, seconds: float) -> list[Asked]:
        """Work that long; every request that was sent, in no order."""
        everyone = [*self._clients, self._rotator]
        for client in everyone:
            client.asked.clear()
        self._begun = time.monotonic()
        over = threading.Event()
        with ThreadPoolExecutor(len(everyone)) as pool:
            doing = [pool.submit(self._mixed, client, number, over) for number, client in enumerate(self._clients)]
            doing.append(pool.submit(self._rotate, over))
            end = self._begun + seconds
            while time.monotonic() < end and not any(each.done() for each in doing):
                over.wait(0.1)
            over.set()
        for each in doing:
            each.result()
        return [asked for client in everyone for asked in client.asked]

    def _mixed(self, client: Client, number: int, over: threading.Event) -> None:
        draw = random.Random(number)
        pause = len(self._clients) / self._rate
        operations = [operation for operation, share in MIX.items() for _ in range(share)]
        kept: list[str] = []
        due = time.monotonic()
        while not over.is_set():
            self._one(client, draw, draw.choice(operations), kept)
            due = max(due + pause, time.monotonic() - 1.0)  # what a slow second left undone is not all made good
            over.wait(max(0.0, due - time.monotonic()))

    def _one(self, client: Client, draw: random.Random, operation: str, kept: list[str]) -> None:
        secret = name(draw.randrange(self._secrets))
        match operation:
            case "PutSecretValue":
                client.ask(operation, SecretId=secret, SecretString=value(), ClientRequestToken=_token())
            case "CreateSecret":
                kept.append(f"soak/{uuid.uuid4().hex}")
                client.ask(operation, Name=kept[-1], SecretString=value(), ClientRequestToken=_token())
                if len(kept) > _KEPT:
                    client.ask("DeleteSecret", SecretId=kept.pop(0), ForceDeleteWithoutRecovery=True)
            case "ListSecrets":
                client.ask(operation, MaxResults=20)
            case _:
                client.ask(operation, SecretId=secret)

    def _rotate(self, over: threading.Event) -> None:
        for role, strategy in itertools.cycle(self.roles.items()):
            if over.wait(_PAUSE):
                return
            token = _token()
            self._rotator.ask(
                "RotateSecret",
                SecretId=role,
                RotationLambdaARN=_ARN + strategy,
                RotationRules=_RULES,
                ClientRequestToken=token,
            )

    # --- afterwards

    def settle(self) -> None:
        """Wait until no rotation is under way."""
        until(lambda: not any(self._pending(role) for role in self.roles))

    def _pending(self, role: str) -> bool:
        described = self._rotator.ask("DescribeSecret", SecretId=role)
        stages = described["VersionIdsToStages"].values()
        return any("AWSPENDING" in labels and "AWSCURRENT" not in labels for labels in stages)

    def rotated(self) -> Iterator[str]:
        """The roles whose published password logs in, and is no longer the first one."""
        for role in self.roles:
            fields = json.loads(self._rotator.ask("GetSecretValue", SecretId=role)["SecretString"])
            with self._target.connect(fields["username"], fields["password"]) as session:
                session.execute("SELECT 1")
            if fields["password"] != FIRST_PASSWORD:
                yield role

    def close(self) -> None:
        """Close every connection."""
        for client in [*self._clients, self._rotator]:
            client.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds.

    Raises: TimeoutError.
    """
    end = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true in time")
        time.sleep(0.1)


def _token() -> str:
    return str(uuid.uuid4())
