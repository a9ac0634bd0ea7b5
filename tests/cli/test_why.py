"""`keywheel why` and `keywheel repair` against a real server and a real PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeywheelServer]:
    with KeywheelServer(tmp_path_factory.mktemp("why")) as running:
        yield running


def keywheel(server: KeywheelServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--data", str(server.data), "--endpoint-url", server.url]
    return subprocess.run([sys.executable, "-m", "keywheel", *arguments, *where], capture_output=True, text=True)


def rotated(server: KeywheelServer, postgres: PostgresServer, *, superuser: bool) -> tuple[str, str]:
    """A secret that was rotated once, and its user."""
    api, name = server.client(), f"secret-{uuid.uuid4().hex[:8]}"
    user = postgres.new_user()
    fields: dict[str, Any] = {**user.fields, "password": user.password.reveal()}
    if superuser:
        fields["masterarn"] = api.create_secret(
            Name=f"{name}-superuser", SecretString=postgres.superuser.to_json().reveal()
        )["ARN"]
    api.create_secret(Name=name, SecretString=json.dumps(fields))
    api.rotate_secret(SecretId=name, RotationLambdaARN=FUNCTION, ClientRequestToken=str(uuid.uuid4()))
    said = keywheel(server, "repair", name)
    assert said.returncode == 0, said.stdout + said.stderr
    return name, user.username


def test_drift_is_explained_and_repaired(server: KeywheelServer, postgres: PostgresServer) -> None:
    """`why` is 1 as long as there is something to do; `repair` does it, and says so."""
    name, user = rotated(server, postgres, superuser=True)
    assert keywheel(server, "why", name).returncode == 0
    postgres.execute(f"ALTER ROLE {user} PASSWORD 'changed by somebody'")
    told = keywheel(server, "why", name)
    assert told.returncode == 1
    assert "Next: repair" in told.stdout
    assert f"keywheel repair {name}" in told.stdout
    repaired = keywheel(server, "repair", name, "--json")
    document = json.loads(repaired.stdout)
    assert (repaired.returncode, document["Action"]) == (0, "nothing")
    value = json.loads(server.client().get_secret_value(SecretId=name)["SecretString"])
    postgres.connect(user, value["password"]).close()
    assert value["password"] not in told.stdout + repaired.stdout


def test_what_only_a_person_can_do_is_said(server: KeywheelServer, postgres: PostgresServer, tmp_path: Path) -> None:
    """Without a superuser, and with a password that nobody knows."""
    name, user = rotated(server, postgres, superuser=False)
    postgres.execute(f"ALTER ROLE {user} PASSWORD 'changed by somebody'")
    told = keywheel(server, "why", name)
    assert (told.returncode, "Next: by-hand" in told.stdout) == (1, True)
    assert keywheel(server, "repair", name).returncode == 1
    value = json.loads(server.client().get_secret_value(SecretId=name)["SecretString"])
    postgres.execute(f"ALTER ROLE {user} PASSWORD '{value['password']}'")
    assert keywheel(server, "repair", name).returncode == 0


def test_a_secret_that_is_not_there_is_a_clear_error(server: KeywheelServer) -> None:
    """With what to do next."""
    for command in ("why", "repair"):
        told = keywheel(server, command, "missing")
        assert told.returncode == 1
        assert "ResourceNotFoundException" in told.stderr
