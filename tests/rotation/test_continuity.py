"""A client that logs in all the time, while its secret is rotated 200 times."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from tests.crash.ledger import create_secret
from tests.crash.process import Process, client
from tests.support.servers import PostgresServer

ROTATIONS = 200
CLIENTS = 2


class LoginLoad:
    """Clients that read AWSCURRENT and log in with it, over and over; a refused login is counted and retried."""

    def __init__(self, make_client: Any, secret: str, postgres: PostgresServer) -> None:
        self._make_client = make_client
        self._secret = secret
        self._postgres = postgres
        self._stop = threading.Event()
        self.logins = [0] * CLIENTS
        self.refused = 0
        self.gaps: list[float] = []
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for_fresh_logins(self) -> None:
        """Return when every client has read the secret and logged in since now."""
        seen = list(self.logins)
        end = time.monotonic() + 30
        # Two each: the first may have been read before.
        while any(now < then + 2 for now, then in zip(self.logins, seen, strict=True)):
            assert not self.errors, self.errors
            assert time.monotonic() < end, "the clients do not log in"
            time.sleep(0.002)

    def _run(self, number: int) -> None:
        api = self._make_client()
        try:
            while not self._stop.is_set():
                self._log_in(api)
                self.logins[number] += 1
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.errors.append(error)

    def _log_in(self, api: Any) -> None:
        began = None
        while not self._stop.is_set():
            value = json.loads(api.get_secret_value(SecretId=self._secret)["SecretString"])
            try:
                self._postgres.connect(value["username"], value["password"]).close()
            except psycopg.OperationalError:
                began = began or time.monotonic()
                self.refused += 1
                continue
            if began is not None:
                self.gaps.append(time.monotonic() - began)
            return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Process, Path]]:
    """A running server on SQLite."""
    data = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-m", "keywheel", "init", "--data", str(data)], check=True, stdout=subprocess.DEVNULL
    )
    process = Process("keywheel", ["serve", "--data", str(data), "--port", "0"], tmp_path / "server.log")
    yield process, data
    process.kill()


@pytest.mark.parametrize("strategy", ["alternating-users", "single-user"])
def test_no_login_is_refused_with_alternating_users_and_the_gap_of_a_single_user_is_measured(
    server: tuple[Process, Path], postgres: PostgresServer, strategy: str
) -> None:
    """200 rotations under a continuous login load: 0 refused logins, or a measured gap."""
    process, data = server
    url = process.url()
    user = f"u{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'first password'")
    fields = dict(postgres.superuser.fields) | {"username": user, "password": "first password"}
    if strategy == "alternating-users":
        fields["masterarn"] = create_secret(data, [], f"{user}-superuser", postgres.superuser.to_json().reveal())
    create_secret(data, [], user, json.dumps(fields))
    api = client(url, data)
    with LoginLoad(lambda: client(url, data), user, postgres) as load:
        for _ in range(ROTATIONS):
            _rotate(api, user, strategy)
            load.wait_for_fresh_logins()
    assert load.errors == []
    if strategy == "alternating-users":
        assert load.refused == 0
    worst = max(load.gaps, default=0.0) * 1000
    print(f"\n{strategy}: {ROTATIONS} rotations, {sum(load.logins)} logins, {load.refused} refused, "
          f"longest gap {worst:.1f} ms")  # fmt: skip


def _rotate(api: Any, name: str, strategy: str) -> None:
    function = f"arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-{strategy}"
    token = api.rotate_secret(SecretId=name, RotationLambdaARN=function)["VersionId"]
    end = time.monotonic() + 30
    while "AWSCURRENT" not in api.describe_secret(SecretId=name)["VersionIdsToStages"].get(token, []):
        assert time.monotonic() < end, "the rotation does not end"
        time.sleep(0.005)
