"""`keywheel move` from SQLite to a real PostgreSQL: whole, compared, resumed after a crash, and never two stores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keywheel.db import copying
from keywheel.db.database import open_database
from keywheel.db.move import move
from keywheel.errors import ConfigurationError
from tests.support.keywheel_server import KeywheelServer, clean_environment
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

_FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
MANY = 4_500  # secrets: more than two pages


class Interrupted(BaseException):
    """The process ended here."""


def keywheel(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "keywheel", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment())


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database, whose texts are in no order of bytes."""
    name = f"kw_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name}")
    yield postgres_url(postgres, name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with many secrets."""
    data = tmp_path_factory.mktemp("filled") / "data"
    assert keywheel("init", "--data", data).returncode == 0
    with closing(open_database(f"sqlite:///{data / 'keywheel.db'}")) as database:
        columns = "account, region, name, arn, tags, created, changed"
        database.write(
            lambda tx: tx.execute(
                f"INSERT INTO secret ({columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
                f"i < {MANY}) SELECT '123456789012', 'us-east-1', 'Ü-' || i, 'arn-' || i, '{{}}', i, i + 0.1 FROM n",
                [],
            )
        )
    return data


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(filled, tmp_path / "data"))


def rows(url: str) -> dict[str, int]:
    with closing(open_database(url)) as database, database.read() as tx:
        return {table.name: sum(1 for _ in copying.rows(tx, table)) for table in copying.TABLES}


def test_a_store_is_moved_and_the_server_goes_on(tmp_path: Path, empty_url: str, postgres: PostgresServer) -> None:
    """Same credentials, same values; the old store serves nobody; nothing is moved under a running server."""
    with KeywheelServer(tmp_path) as server:
        user, api = postgres.new_user(), server.client()
        fields = {**user.fields, "password": user.password.reveal()}
        api.create_secret(Name="login", SecretString=json.dumps(fields))
        api.create_secret(Name="binary", SecretBinary=bytes(range(256)))
        api.rotate_secret(SecretId="login", RotationLambdaARN=_FUNCTION, ClientRequestToken=str(uuid.uuid4()))
        assert server.keywheel("repair", "login").returncode == 0
        value = api.get_secret_value(SecretId="login")["SecretString"]
        arguments = ("move", "--data", server.data, "--to", empty_url)
        refused = keywheel(*arguments)
        assert (refused.returncode, "is in use" in refused.stderr) == (1, True)
        server.stop()
        moved = keywheel(*arguments)
        assert moved.returncode == 0, moved.stderr
        assert "2 secrets" in moved.stdout
        assert "was moved to another database" in keywheel("serve", "--data", server.data).stderr
        assert "was moved" in keywheel(*arguments).stderr
        there = KeywheelServer(tmp_path, empty_url)
        there.start()
        try:
            api = there.client()
            assert api.get_secret_value(SecretId="login")["SecretString"] == value
            assert api.get_secret_value(SecretId="binary")["SecretBinary"] == bytes(range(256))
            api.create_secret(Name="another", SecretString="ids go on")
            api.rotate_secret(SecretId="login", ClientRequestToken=str(uuid.uuid4()))
            assert there.keywheel("repair", "login").returncode == 0
            login: dict[str, Any] = json.loads(api.get_secret_value(SecretId="login")["SecretString"])
            postgres.connect(login["username"], login["password"]).close()
            there.stop()
        finally:
            there.kill()


@pytest.mark.parametrize("page", range(0, 14, 3))
def test_an_interrupted_move_goes_on(data: Path, empty_url: str, page: int) -> None:
    """Wherever it ended; until it is whole the new store serves nobody, and the old one still does."""
    source, seen = data / "keywheel.db", 0

    def interrupt(_table: str, _rows: int) -> None:
        nonlocal seen
        seen += 1
        if seen > page:
            raise Interrupted

    before = rows(f"sqlite:///{source}")
    with pytest.raises(Interrupted):
        move(source, empty_url, interrupt)
    half = keywheel("serve", "--data", data, "--database", empty_url)
    assert "being filled" in half.stderr
    assert keywheel("keys", "list", "--data", data).returncode == 0
    assert move(source, empty_url, lambda *_: None) == before == rows(empty_url)


def test_a_process_that_is_killed_on_its_way_is_gone_on_with(data: Path, empty_url: str) -> None:
    """`kill -9`, not an exception."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom keywheel.db.move import move\n"
        "def tell(table, rows):\n    if table == 'secret': os.kill(os.getpid(), 9)\n"
        "move(Path(sys.argv[1]), sys.argv[2], tell)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(data / "keywheel.db"), empty_url], env=dict(os.environ))
    assert killed.returncode == -9
    assert keywheel("move", "--data", data, "--to", empty_url).returncode == 0
    assert rows(empty_url)["secret"] == MANY


def test_a_store_that_changed_meanwhile_is_found_out(data: Path, empty_url: str) -> None:
    """The comparison is of every row, not of their number."""
    source = data / "keywheel.db"
    with pytest.raises(Interrupted):
        move(source, empty_url, _stop_at_version)
    with closing(open_database(f"sqlite:///{source}")) as database:
        database.write(lambda tx: tx.execute("UPDATE secret SET description = 'changed' WHERE name = 'Ü-7'", []))
    with pytest.raises(ConfigurationError, match="differ in secret"):
        move(source, empty_url, lambda *_: None)
    assert keywheel("keys", "list", "--data", data).returncode == 0


def _stop_at_version(table: str, _rows: int) -> None:
    if table == "version":
        raise Interrupted


def test_what_is_not_empty_is_left_alone(data: Path, postgresql_url: str, tmp_path: Path) -> None:
    """Somebody else's store is not filled."""
    other = tmp_path / "other"
    assert keywheel("init", "--data", other, "--database", postgresql_url).returncode == 0
    before = rows(postgresql_url)
    refused = keywheel("move", "--data", data, "--to", postgresql_url)
    assert (refused.returncode, "differ" in refused.stderr) == (1, True)
    assert rows(postgresql_url) == before
