"""A server for the tests of the commands, and a Region of it for each test, so that no test sees another's secrets."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.keywheel_server import ACCOUNT, KeywheelServer
from tests.support.servers import PostgresServer, free_port

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """A Region of a server, with a PostgreSQL for the secrets to be of."""

    server: KeywheelServer
    postgres: PostgresServer
    region: str

    def run(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
        """Run `keywheel` in this Region, and check how it ends."""
        done = self.server.keywheel(*arguments, "--region", self.region, stdin=stdin)
        assert code == done.returncode, (done.stdout.decode(), done.stderr.decode())
        return done

    def text(self, *arguments: str, code: int = 0) -> str:
        """What `keywheel` prints."""
        return self.run(*arguments, code=code).stdout.decode()

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The one document that `keywheel … --json` prints."""
        document: dict[str, Any] = json.loads(self.run(*arguments, "--json", code=code).stdout)
        return document

    @property
    def client(self) -> Any:
        """A boto3 client in this Region."""
        return self.server.client(region=self.region)

    def user(self, name: str, *, tags: dict[str, str] | None = None, **changes: object) -> dict[str, Any]:
        """Create a PostgreSQL user and the secret `name` for it, with some fields changed, whose rotation is on."""
        value = {**json.loads(self.postgres.new_user().to_json().reveal()), **changes}
        marked = [{"Key": key, "Value": text} for key, text in (tags or {}).items()]
        self.client.create_secret(Name=name, SecretString=json.dumps(value), Tags=marked)
        self.client.rotate_secret(
            SecretId=name,
            RotationLambdaARN=f"arn:aws:lambda:{self.region}:{ACCOUNT}:function:keywheel-postgres-single-user",
            RotationRules={"AutomaticallyAfterDays": 30},
            RotateImmediately=False,
        )
        self.settled(name)
        return value

    def settled(self, name: str) -> None:
        """Wait until no rotation of `name` is under way."""
        for _ in range(400):
            events = self.json("secrets", "history", name)["events"]
            if events and events[0]["event"] not in ("TestRotationStarted", "RotationStarted", "StepDone"):
                return
        raise AssertionError(f"the rotation of {name} does not end")

    def value(self, name: str) -> dict[str, Any]:
        """The secret's present value."""
        found: dict[str, Any] = json.loads(self.client.get_secret_value(SecretId=name)["SecretString"])
        return found

    def logs_in(self, value: dict[str, Any]) -> None:
        """Log in to PostgreSQL with a secret's value."""
        self.postgres.connect(value["username"], value["password"]).close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeywheelServer]:
    """A running server, shared by the tests of this process."""
    with KeywheelServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def place(server: KeywheelServer, postgres: PostgresServer) -> Place:
    """A Region of the shared server that nobody has used."""
    return Place(server, postgres, f"eu-test-{next(_numbers)}")


@pytest.fixture
def nobody() -> str:
    """The address of a server that is not there."""
    return f"http://127.0.0.1:{free_port()}"
