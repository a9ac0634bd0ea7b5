"""The PostgreSQL store goes away while the server runs, and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from tests.conformance.server import Server, fresh, token, until
from tests.support.keywheel_server import KeywheelServer, run_keywheel
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

FAULT = (500, "InternalServiceError", "An error occurred on the server side.")


@pytest.fixture(scope="module")
def store() -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody else uses."""
    with PostgresServer() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def stored(store: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on it."""
    url = postgres_url(store, "postgres")
    with KeywheelServer(tmp_path_factory.mktemp("stored"), url) as process:
        yield Server(process, url)


def probe(server: Server, path: str) -> int:
    """The status of a probe."""
    try:
        with urlopen(server.url + path, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def fault(call: Any, **members: Any) -> tuple[int, str, str]:
    """Status, code and text of an error."""
    with pytest.raises(ClientError) as raised:
        call(**members)
    response: Any = raised.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_store_that_is_away_is_a_fault_until_it_is_back(store: PostgresServer, stored: Server, end: str) -> None:
    """Requests get InternalServiceError and /ready 503, at once; then everything works again without a restart."""
    api, name = stored.client(), fresh()
    version = api.create_secret(Name=name, SecretString="v")["VersionId"]
    assert (probe(stored, "/ready"), probe(stored, "/health")) == (200, 200)
    getattr(store, end)()
    began = time.monotonic()
    for _ in range(3):
        assert fault(api.get_secret_value, SecretId=name) == FAULT
        assert fault(api.put_secret_value, SecretId=name, SecretString="lost") == FAULT
        assert (probe(stored, "/ready"), probe(stored, "/health")) == (503, 200)
    assert time.monotonic() - began < 10
    raw = stored.post("ListSecrets", {})
    assert {"__type": FAULT[1], "Message": FAULT[2]} == raw.json
    assert "x-amzn-requestid" in raw.headers
    store.start()
    until(lambda: probe(stored, "/ready") == 200 or None)
    for _ in range(12):  # more than the connections that a pool may have kept
        assert api.get_secret_value(SecretId=name)["SecretString"] == "v"
        assert probe(stored, "/ready") == 200
    assert [version] == list(api.describe_secret(SecretId=name)["VersionIdsToStages"])
    api.put_secret_value(SecretId=name, SecretString="w")
    assert api.get_secret_value(SecretId=name)["SecretString"] == "w"


def test_rotations_go_on_when_the_store_is_back(
    store: PostgresServer, stored: Server, postgres: PostgresServer
) -> None:
    """The engine is a process of its own, and outlives the store as well."""
    api, name = stored.client(), fresh("rotated")
    secret = postgres.new_user()
    api.create_secret(Name=name, SecretString=secret.to_json().reveal())
    store.stop()
    time.sleep(1.5)  # the engine looks for work, and finds no store
    store.start()
    until(lambda: probe(stored, "/ready") == 200 or None)
    version = token()
    function = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
    api.rotate_secret(SecretId=name, RotationLambdaARN=function, ClientRequestToken=version)
    until(lambda: api.describe_secret(SecretId=name).get("LastRotatedDate"))
    value = json.loads(api.get_secret_value(SecretId=name)["SecretString"])
    postgres.connect(value["username"], value["password"]).close()
    assert version == api.get_secret_value(SecretId=name)["VersionId"]


def test_a_server_does_not_start_without_its_store(store: PostgresServer, stored: Server, tmp_path: Path) -> None:
    """It says so in a sentence, and ends."""
    nowhere = postgres_url(store, "postgres").replace(f":{store.port}/", ":1/")
    done = run_keywheel("serve", "--data", str(stored.data), "--port", "0", "--database", nowhere)
    assert done.returncode != 0
    assert b"PostgreSQL" in done.stderr
    assert b"Traceback" not in done.stderr
    assert store.superuser.password.reveal().encode() not in done.stderr
