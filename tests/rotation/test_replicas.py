"""Several whole servers on one PostgreSQL: what one answered the other sees, and one takes over from another."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
LEASE = "10"


def replica(of: KeywheelServer, path: Path, url: str, *options: str, lease: str = LEASE) -> KeywheelServer:
    """Another server on the same store, its data directory a copy: the root key is the same."""
    path.mkdir()
    environment = {"KEYWHEEL_LEASE_SECONDS": lease}
    other = KeywheelServer(path, url, options, environment=environment)
    shutil.copytree(of.data, other.data)
    other.start()
    return other


@pytest.fixture
def house(tmp_path: Path, postgresql_url: str) -> Iterator[tuple[KeywheelServer, Callable[..., KeywheelServer]]]:
    """An API server, and a way to start more servers beside it."""
    with ExitStack() as stack:
        (tmp_path / "api").mkdir()
        api = stack.enter_context(KeywheelServer(tmp_path / "api", postgresql_url, ["--role", "api"]))

        def start(name: str, *options: str) -> KeywheelServer:
            other = replica(api, tmp_path / name, postgresql_url, *options)
            stack.callback(other.kill)
            return other

        yield api, start


def test_what_one_replica_answered_the_other_sees(
    house: tuple[KeywheelServer, Callable[..., KeywheelServer]],
) -> None:
    """A label that was moved by one is read by the other's very next call: nothing of it is kept in memory."""
    api, start = house
    one, two = api.client(), start("other", "--role", "api").client()
    one.create_secret(Name="s", SecretString="0")
    for number in range(1, 30):
        writer, reader = (one, two) if number % 2 else (two, one)
        version = writer.put_secret_value(SecretId="s", SecretString=str(number), VersionStages=["NEXT"])["VersionId"]
        current = reader.get_secret_value(SecretId="s")["VersionId"]
        writer.update_secret_version_stage(
            SecretId="s", VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=current
        )
        assert reader.get_secret_value(SecretId="s")["SecretString"] == str(number)


def test_an_engine_that_is_killed_is_replaced_by_the_other(
    house: tuple[KeywheelServer, Callable[..., KeywheelServer]], postgres: PostgresServer
) -> None:
    """Fifty live roles are rotated by two engines, of which one is killed on the way; every login works in the end."""
    api, start = house
    engines = [start(name, "--role", "engine") for name in ("first", "second")]
    client = api.client()
    names = [f"role_{uuid4().hex[:8]}" for _ in range(50)]
    before = {}
    for name in names:
        user = postgres.new_user(name)
        before[name] = client.create_secret(Name=name, SecretString=user.to_json().reveal())["VersionId"]
    for number, name in enumerate(names):
        client.rotate_secret(SecretId=name, RotationLambdaARN=FUNCTION, ClientRequestToken=str(uuid4()))
        if number == 20:
            engines[0].kill()
    deadline = time.monotonic() + 60.0
    left = set(names)
    while left:
        assert time.monotonic() < deadline, f"{len(left)} of 50 were not rotated"
        left -= {name for name in left if is_rotated(client, name, before[name])}
        time.sleep(0.05)
    for name in names:
        value: dict[str, Any] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
        postgres.connect(value["username"], value["password"]).close()


def is_rotated(client: Any, name: str, before: str) -> bool:
    """Whether the new version is current and nothing is pending."""
    labels = client.describe_secret(SecretId=name)["VersionIdsToStages"]
    stages = [stage for each in labels.values() for stage in each]
    return "AWSCURRENT" not in labels.get(before, []) and "AWSPENDING" not in stages
