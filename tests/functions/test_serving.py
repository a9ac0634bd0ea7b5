"""Functions of `keywheel serve` as a user runs it: their settings, their identity in the audit ledger, their end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.functions.conftest import SAMPLE
from tests.support.keywheel_server import ACCOUNT, REGION, KeywheelServer
from tests.support.servers import PostgresServer
from tests.test_processes import eventually, lives

FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:mine"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/KeywheelServiceRoleForFunctions/mine"


class Hosting(KeywheelServer):
    """A server with the function `mine`."""

    def __init__(self, tmp_path: Path, handler: str, notes: Path, *extra: str) -> None:
        super().__init__(tmp_path, extra_args=extra)
        self._settings = f"""
            [functions.mine]
            directory = {json.dumps(str(SAMPLE))}
            handler = "{handler}"
            timeout = 60
            environment = {{SSL_MODE = "disable", NOTES = {json.dumps(str(notes))}}}
        """

    def start(self) -> None:
        (self.data / "keywheel.toml").write_text(self._settings)
        super().start()


def entries(server: KeywheelServer) -> list[dict[str, Any]]:
    """Everything in the audit ledger."""
    return [
        json.loads(line)
        for path in (server.data / "audit").rglob("*.jsonl")
        for line in path.read_text().splitlines()
        if line.startswith("{")
    ]


def test_a_function_rotates_and_its_calls_are_its_own_in_the_audit_ledger(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """It finds the API by itself, at whatever port that is; each invocation has an access key of its own."""
    user = postgres.new_user()
    with Hosting(tmp_path, "postgres.lambda_handler", tmp_path / "notes") as server:
        client = server.client()
        client.create_secret(Name="app", SecretString=user.to_json().reveal())
        version = client.rotate_secret(SecretId="app", RotationLambdaARN=FUNCTION)["VersionId"]
        eventually(lambda: client.get_secret_value(SecretId="app")["VersionId"] == version)
        value = json.loads(client.get_secret_value(SecretId="app")["SecretString"])
        postgres.connect(value["username"], value["password"]).close()
    assert user.password.reveal() != value["password"]
    calls = [entry for entry in entries(server) if entry.get("userIdentity", {}).get("arn") == ROLE]
    assert {call["userIdentity"]["type"] for call in calls} == {"AssumedRole"}
    assert len({call["userIdentity"]["accessKeyId"] for call in calls}) == 4
    assert {"GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"} <= {call["eventName"] for call in calls}
    assert not list((server.data / "functions").iterdir())
    told = server.log.read_text()
    assert "finishSecret with" in told
    assert value["password"] not in told
    assert user.password.reveal() not in told


def test_a_function_does_not_outlive_a_server_that_is_killed(tmp_path: Path, postgres: PostgresServer) -> None:
    """Nor do its children; the next start removes what it left."""
    notes = tmp_path / "elsewhere" / "notes"
    notes.parent.mkdir()
    with Hosting(tmp_path, "faults.hangs", notes) as server:
        client = server.client()
        client.create_secret(Name="app", SecretString=postgres.new_user().to_json().reveal())
        client.rotate_secret(SecretId="app", RotationLambdaARN=FUNCTION)
        eventually(lambda: notes.is_file() and " " in notes.read_text())
        own, child = (int(text) for text in notes.read_text().split())
        left = list((server.data / "functions").iterdir())
        assert lives(own)
        assert left
        server.kill()
        eventually(lambda: not lives(own) and not lives(child))
        server.start()
        eventually(lambda: not left[0].exists())
        server.kill()


def test_a_function_that_cannot_be_run_is_told_at_the_start(tmp_path: Path) -> None:
    """By its name and what is wrong with it."""
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"functions\.mine.*no function handle_lambda"):  # noqa: SIM117
        with Hosting(tmp_path, "postgres.handle_lambda", tmp_path / "notes"):
            pass
    assert time.monotonic() - began < 50


def test_an_engine_alone_must_be_told_where_the_api_is(tmp_path: Path) -> None:
    """It listens nowhere itself."""
    with pytest.raises(RuntimeError, match="functions_endpoint"):  # noqa: SIM117
        with Hosting(tmp_path, "postgres.lambda_handler", tmp_path / "notes", "--role", "engine"):
            pass
