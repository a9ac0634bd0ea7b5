"""Backup while a server runs, and restore into either kind of store, to a state that works."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"


def keywheel(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "keywheel", *map(str, arguments)], capture_output=True, text=True)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.1)


def works(postgres: PostgresServer, value: dict[str, Any]) -> bool:
    try:
        postgres.connect(value["username"], value["password"]).close()
    except psycopg.OperationalError:
        return False
    return True


def value_of(api: Any, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(api.get_secret_value(SecretId=name)["SecretString"])
    return value


def rotate(api: Any, name: str) -> None:
    """Once, to the end."""
    token = str(uuid.uuid4())
    api.rotate_secret(SecretId=name, RotationLambdaARN=FUNCTION, ClientRequestToken=token)
    eventually(lambda: api.describe_secret(SecretId=name)["VersionIdsToStages"].get(token) == ["AWSCURRENT"])


def data_with_root_key(of: Path, path: Path) -> Path:
    """A new data directory with the root key and the credentials of another, as an operator puts them back."""
    path.mkdir(mode=0o700)
    for name in ("root.key", "credentials", "config"):
        shutil.copy(of / name, path / name)
    return path


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_a_backup_made_while_a_server_writes_is_restored_to_a_state_that_works(
    into: str, database_url: str, tmp_path: Path, postgres: PostgresServer, request: pytest.FixtureRequest
) -> None:
    """Also where the target is newer than the backup: the published credential is checked, and set anew."""
    file, user = tmp_path / "backup", postgres.new_user()
    with KeywheelServer(tmp_path / "one", database_url=database_url) as server:
        api = server.client()
        superuser = api.create_secret(Name="superuser", SecretString=postgres.superuser.to_json().reveal())["ARN"]
        fields = {**user.fields, "password": user.password.reveal(), "masterarn": superuser}
        api.create_secret(Name="login", SecretString=json.dumps(fields))
        api.create_secret(Name="binary", SecretBinary=bytes(range(256)))
        rotate(api, "login")
        kept = value_of(api, "login")
        stop = threading.Event()
        writer = threading.Thread(target=_write_on, args=(server.client(), stop))
        writer.start()
        said = keywheel("backup", "--data", server.data, "--database", database_url, "--out", file)
        stop.set()
        writer.join()
        assert said.returncode == 0, said.stderr
        rotate(api, "login")  # the target is newer now
        data = data_with_root_key(server.data, tmp_path / "two")
    assert not works(postgres, kept)
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept["password"] not in file.read_text()
    url = f"sqlite:///{data / 'keywheel.db'}" if into == "sqlite" else request.getfixturevalue("other_postgresql_url")
    said = keywheel("restore", file, "--data", data, "--database", url)
    assert said.returncode == 0, said.stderr
    with started(tmp_path, data, url) as server:
        api = server.client()
        assert api.get_secret_value(SecretId="binary")["SecretBinary"] == bytes(range(256))
        eventually(lambda: works(postgres, value_of(api, "login")))
        assert value_of(api, "login") == kept
        rotate(api, "login")
        assert works(postgres, value_of(api, "login"))
        api.create_secret(Name="another", SecretString="ids go on")


def test_a_store_that_was_put_back_by_its_own_tools_is_looked_after(tmp_path: Path, postgres: PostgresServer) -> None:
    """A point-in-time recovery: the target is newer, and what is published is set again."""
    user = postgres.new_user()
    with KeywheelServer(tmp_path) as server:
        api, store, kept = server.client(), server.data / "keywheel.db", tmp_path / "kept.db"
        superuser = api.create_secret(Name="superuser", SecretString=postgres.superuser.to_json().reveal())["ARN"]
        fields = {**user.fields, "password": user.password.reveal(), "masterarn": superuser}
        api.create_secret(Name="login", SecretString=json.dumps(fields))
        rotate(api, "login")
        with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(kept)) as copy:
            source.backup(copy)
        published = value_of(api, "login")
        rotate(api, "login")
        server.stop()
        assert not works(postgres, published)
        for path in server.data.glob("keywheel.db*"):
            path.unlink()
        kept.rename(store)
        said = keywheel("restore", "--here", "--data", server.data)
        assert (said.returncode, "1 rotation will be looked at" in said.stdout) == (0, True), said.stderr
        server.start()
        eventually(lambda: works(postgres, published))
        assert value_of(server.client(), "login") == published
        rotate(server.client(), "login")
        assert server.keywheel("audit", "verify").returncode == 0


@contextmanager
def started(tmp_path: Path, data: Path, url: str) -> Iterator[KeywheelServer]:
    """A server on a data directory that is there already."""
    server = KeywheelServer(tmp_path, database_url=url)
    server.data = data
    server.start()
    try:
        yield server
        server.stop()
    finally:
        server.kill()


def _write_on(api: Any, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        api.create_secret(Name=f"written-{number}", SecretString="x")


@pytest.fixture
def other_postgresql_url(postgres: PostgresServer) -> Any:
    """An empty database."""
    from tests.support.stores import postgres_url

    name = f"kw_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name}")
    yield postgres_url(postgres, name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data directory, and a backup of it."""
    data = tmp_path_factory.mktemp("backed-up") / "data"
    assert keywheel("init", "--data", data).returncode == 0
    file = data.parent / "backup"
    said = keywheel("backup", "--data", data, "--out", file)
    assert said.returncode == 0, said.stderr
    assert keywheel("backup", "--data", data, "--out", file).returncode == 1  # never overwritten
    return data, file


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b'"access_key"', b'"access_kez"'),
        lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
        lambda data: data + data,
    ],
)
def test_a_backup_that_was_changed_or_cut_short_is_refused(
    backed_up: tuple[Path, Path], tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """Before anything is written."""
    data, file = backed_up
    spoiled = tmp_path / "spoiled"
    spoiled.write_bytes(spoil(file.read_bytes()))
    new = data_with_root_key(data, tmp_path / "data")
    said = keywheel("restore", spoiled, "--data", new)
    assert (said.returncode, "is not a whole backup" in said.stderr) == (1, True)
    assert not (new / "keywheel.db").exists()


def test_a_store_that_is_not_empty_or_of_another_root_key_is_refused(
    backed_up: tuple[Path, Path], tmp_path: Path
) -> None:
    """And left as it was."""
    data, file = backed_up
    said = keywheel("restore", file, "--data", data)
    assert (said.returncode, "is not empty" in said.stderr) == (1, True)
    other = tmp_path / "other"
    assert keywheel("init", "--data", other).returncode == 0
    (other / "keywheel.db").unlink()
    said = keywheel("restore", file, "--data", other)
    assert said.returncode == 1
    assert "root key" in said.stderr
    (other / "root.key").unlink()
    shutil.copy(data / "root.key", other / "root.key")
    assert keywheel("restore", file, "--data", other).returncode == 0  # nothing half-written was in the way
