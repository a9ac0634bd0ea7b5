"""`keywheel access keys`, on the data directory of a running server."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from keywheel.credentials import read_credentials
from tests.cli.conftest import Place
from tests.support.keywheel_server import ACCOUNT, KeywheelServer, run_keywheel


def create(
    server: KeywheelServer, file: Path, *more: str, role: str = "--administrator", user: str = "app", code: int = 0
) -> dict[str, Any]:
    """Create an access key for a user."""
    done = server.keywheel("access", "keys", "create", user, role, "--credentials-file", str(file), "--json", *more)
    assert code == done.returncode, done.stderr
    made: dict[str, Any] = json.loads(done.stdout) if code == 0 else {"error": done.stderr.decode()}
    return made


def test_a_key_is_written_to_a_file_and_not_shown(server: KeywheelServer, tmp_path: Path) -> None:
    """The file is its owner's alone, and its secret half is in no output."""
    file = tmp_path / "app"
    made = create(server, file)
    access_key_id, secret = read_credentials(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (made["access_key_id"], made["account"], made["role"]) == (access_key_id, ACCOUNT, "administrator")
    listed = server.keywheel("access", "keys", "list")
    assert access_key_id.encode() in listed.stdout
    assert secret.reveal() not in json.dumps(made) + listed.stdout.decode()


def test_a_read_only_key_reads_and_changes_nothing(place: Place, tmp_path: Path) -> None:
    """It works at once, against the server that was running before."""
    file = tmp_path / "app"
    assert create(place.server, file, role="--read-only")["role"] == "read-only"
    place.run("secrets", "create", "s", "--generate")
    place.run("secrets", "get", "s", "--reveal", "--credentials-file", str(file))
    place.run("secrets", "create", "t", "--generate", "--credentials-file", str(file), code=1)


def test_a_key_of_another_account_sees_only_that(place: Place, tmp_path: Path) -> None:
    """Accounts are partitions."""
    create(place.server, tmp_path / "other", "--account", "210987654321")
    place.run("secrets", "create", "s", "--generate")
    assert place.json("secrets", "list", "--credentials-file", str(tmp_path / "other")) == {"secrets": []}


def test_a_deleted_key_is_refused_a_second_later(place: Place, tmp_path: Path) -> None:
    """By the server that runs."""
    file = tmp_path / "app"
    access_key_id = create(place.server, file)["access_key_id"]
    place.run("status", "--credentials-file", str(file))
    assert place.server.keywheel("access", "keys", "delete", access_key_id).returncode == 0
    time.sleep(1.0)
    assert b"UnrecognizedClient" in place.run("status", "--credentials-file", str(file), code=1).stderr
    again = place.server.keywheel("access", "keys", "delete", access_key_id)
    assert again.returncode == 1
    assert b"There is no access key" in again.stderr


def test_a_file_is_never_overwritten(server: KeywheelServer, tmp_path: Path) -> None:
    """And no key is made."""
    file = tmp_path / "app"
    create(server, file)
    before = file.read_text(), server.keywheel("access", "keys", "list", "--json").stdout
    assert "exists already" in create(server, file, code=1)["error"]
    assert before == (file.read_text(), server.keywheel("access", "keys", "list", "--json").stdout)


@pytest.mark.parametrize("wrong", [{"user": "no spaces"}, {"role": "--account=12"}, {"role": "--json"}])
def test_a_key_that_cannot_be_made_leaves_no_file(
    server: KeywheelServer, tmp_path: Path, wrong: dict[str, str]
) -> None:
    """A file with a key that nothing knows would mislead. Without a role, it is for a user that there is."""
    create(server, tmp_path / "app", code=1, **wrong)
    assert not (tmp_path / "app").exists()


def test_keys_are_listed_for_programs(server: KeywheelServer) -> None:
    """The administrator of `keywheel init` is the first."""
    document = json.loads(server.keywheel("access", "keys", "list", "--json").stdout)
    first = document["access_keys"][0]
    assert (first["user"], first["role"], first["account"]) == ("admin", "administrator", ACCOUNT)
    told = {"access_key_id", "user", "account", "arn", "role", "created", "active"}
    assert set(first) == told | {"last_used", "last_used_service", "last_used_region"}


def test_a_postgresql_store_is_administered_alike(postgresql_url: str, tmp_path: Path) -> None:
    """The same commands, with --database."""
    options = ("--data", str(tmp_path / "data"), "--database", postgresql_url)
    assert run_keywheel("init", *options).returncode == 0
    file = str(tmp_path / "app")
    made = run_keywheel("access", "keys", "create", "app", "--read-only", "--credentials-file", file, *options)
    assert made.returncode == 0, made.stderr
    listed = json.loads(run_keywheel("access", "keys", "list", "--json", *options).stdout)
    assert [one["user"] for one in listed["access_keys"]] == ["admin", "app"]
