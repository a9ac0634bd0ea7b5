"""`keywheel audit` over a real server: what was done is there, and stands up to the verifier that stands alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer

VALUE = "a value that stands nowhere else"


def entries(data: Path) -> list[dict[str, Any]]:
    """Every entry of the ledger."""
    paths = sorted((data / "audit").glob("*/[0-9]*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def keywheel(server: KeywheelServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "keywheel", "audit", *arguments, "--data", str(server.data)]
    return subprocess.run(command, capture_output=True, text=True)


def when(server: KeywheelServer, **members: object) -> dict[str, Any]:
    """The first entry with these members, once it is there."""
    end = time.monotonic() + 20.0
    while time.monotonic() < end:
        for entry in entries(server.data):
            if entry.items() >= members.items():
                return entry
        time.sleep(0.05)
    raise AssertionError(f"no entry has {members}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Any:
    """A server to which everything below was done."""
    with KeywheelServer(tmp_path_factory.mktemp("audit")) as running:
        api = running.client()
        api.create_secret(Name="plain", SecretString=VALUE, Tags=[{"Key": "owner", "Value": "someone"}])
        api.get_secret_value(SecretId="plain")
        api.put_secret_value(SecretId="plain", SecretBinary=VALUE.encode())
        with pytest.raises(ClientError):
            api.get_secret_value(SecretId="missing")
        user = postgres.new_user()
        api.create_secret(Name="login", SecretString=user.to_json().reveal())
        function = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
        api.rotate_secret(SecretId="login", RotationLambdaARN=function, ClientRequestToken=str(uuid.uuid4()))
        when(running, eventName="OldCredentialRetired")
        yield running


def test_every_call_is_an_entry_in_cloudtrail_s_words(server: KeywheelServer) -> None:
    """Who, what, when, from where, on which secret; also a call that was refused."""
    entry = when(server, eventName="GetSecretValue", readOnly=True)
    assert entry["eventSource"] == "secretsmanager.amazonaws.com"
    assert entry["requestParameters"] == {"secretId": "plain"}
    assert entry["userIdentity"]["type"] == "IAMUser"
    assert entry["userIdentity"]["accessKeyId"].startswith("AKIA")
    assert (entry["awsRegion"], entry["sourceIPAddress"]) == ("us-east-1", "127.0.0.1")
    assert "Boto3" in entry["userAgent"]
    assert when(server, eventName="CreateSecret")["responseElements"]["name"] == "plain"
    assert when(server, eventName="GetSecretValue", errorCode="ResourceNotFoundException")["readOnly"] is True


def test_a_rotation_s_steps_are_entries(server: KeywheelServer) -> None:
    """From its start to the proof that the old credential is dead, in the order of the journal."""
    told = [entry["eventName"] for entry in entries(server.data) if entry["eventType"] == "AwsServiceEvent"]
    assert told[0] == "Initialize"
    assert told[1:] == [
        "RotationStarted", "StepDone", "StepDone", "StepDone", "RotationSucceeded", "OldCredentialRetired",
    ]  # fmt: skip


def test_no_secret_value_is_in_the_ledger(server: KeywheelServer) -> None:
    """Nor its Base64, nor a tag's value."""
    text = "".join(path.read_text() for path in (server.data / "audit").glob("*/*.jsonl"))
    for value in (VALUE, base64.b64encode(VALUE.encode()).decode(), "someone", "password"):
        assert value not in text


def test_the_ledger_of_a_running_server_is_sound(server: KeywheelServer) -> None:
    """Exit code 0; and 1 with what is wrong when a stream is gone."""
    assert keywheel(server, "verify").returncode == 0
    time.sleep(1.5)  # a checkpoint
    stream = next(path for path in (server.data / "audit").iterdir() if path.name.endswith("-engine"))
    moved = stream.rename(server.data / "away")
    found = keywheel(server, "verify", "--json")
    moved.rename(stream)
    assert (found.returncode, json.loads(found.stdout)["problems"]) == (1, [f"stream {stream.name} is missing"])


def test_a_copy_is_verified_without_the_server_s_code(server: KeywheelServer, tmp_path: Path) -> None:
    """By the one file that is part of it."""
    out = tmp_path / "copy"
    said = keywheel(server, "export", "--out", str(out))
    assert said.returncode == 0, said.stderr
    _, *arguments = said.stdout.split()
    verified = subprocess.run([sys.executable, "-I", *arguments], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "The ledger is sound.")


def test_an_entry_is_proved_to_somebody_who_has_only_the_key(server: KeywheelServer, tmp_path: Path) -> None:
    """And a changed entry is not."""
    event = when(server, eventName="CreateSecret")["eventID"]
    time.sleep(1.5)
    proof = tmp_path / "proof.json"
    proof.write_text(keywheel(server, "prove", event).stdout)
    verify = [sys.executable, "-m", "keywheel.verifier", "--key", str(server.data / "audit" / "public-key.pem")]
    verified = subprocess.run([*verify, "--proof", str(proof)], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout
    proof.write_text(proof.read_text().replace("CreateSecret", "DeleteSecret"))
    assert subprocess.run([*verify, "--proof", str(proof)], capture_output=True).returncode == 1


def test_the_ledger_is_proved_to_continue_a_kept_checkpoint(server: KeywheelServer, tmp_path: Path) -> None:
    """To somebody who has kept one line of it, and the key."""
    (stream,) = (server.data / "audit").glob("*-api-1")
    kept, proof = tmp_path / "kept", tmp_path / "proof.json"
    kept.write_text((stream / "checkpoints.jsonl").read_text().splitlines()[0] + "\n")
    server.client().list_secrets()
    time.sleep(1.5)
    said = keywheel(server, "prove", "--since", str(kept))
    assert said.returncode == 0, said.stderr
    proof.write_text(said.stdout)
    verify = [sys.executable, "-m", "keywheel.verifier", "--key", str(server.data / "audit" / "public-key.pem")]
    verified = subprocess.run([*verify, "--proof", str(proof)], capture_output=True, text=True)
    assert (verified.returncode, "are the first of" in verified.stdout) == (0, True)
    assert "no stream" in keywheel(server, "prove", "--since", str(_renamed(kept))).stderr


def _renamed(kept: Path) -> Path:
    other = kept.with_name("other")
    other.write_text(kept.read_text().replace("-api-1", "-api-9"))
    return other
