"""`keywheel doctor`: each thing that can be wrong is found, and says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Place
from tests.support.keywheel_server import KeywheelServer, run_keywheel
from tests.support.servers import PostgresServer, free_port

Checks = dict[str, dict[str, str | None]]
HEALTHY = {
    "data directory", "root key file", "credentials file", "database", "durability", "root key", "server", "clock",
    "credentials", "rotations", "engine", "root key rotation", "functions", "key stores", "alias rotations",
    "keys pending deletion", "targets",
}  # fmt: skip


def examine(place: Place, *options: str, code: int = 0) -> Checks:
    """The findings by what was looked at."""
    checks: list[dict[str, Any]] = place.json("doctor", *options, code=code)["checks"]
    assert len({one["check"] for one in checks}) == len(checks)
    return {one["check"]: one for one in checks}


def failures(checks: Checks) -> dict[str, str | None]:
    """What failed, with the advice."""
    return {name: one["advice"] for name, one in checks.items() if one["result"] == "failed"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that no server runs on."""
    done = run_keywheel("init", "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "data"


def examined(data: Path, nobody: str, *options: str) -> dict[str, str]:
    """The result of each check of a house without a server."""
    done = run_keywheel("doctor", "--json", "--data", str(data), "--endpoint-url", nobody, *options)
    assert done.returncode == 1, done.stderr
    return {one["check"]: one["result"] for one in json.loads(done.stdout)["checks"]}


# --- a house with a server


def test_a_healthy_house_passes(place: Place) -> None:
    """Everything is ok, the target included, the exit code is 0, and no value is shown."""
    value = place.user("s")
    done = place.run("doctor", "--json")
    checks = {one["check"]: one["result"] for one in json.loads(done.stdout)["checks"]}
    assert checks == dict.fromkeys({*HEALTHY, "target of s"} - {"targets"}, "ok")
    shown = place.run("doctor")
    assert b"17 checks, 0 failed, 0 with a warning." in shown.stdout
    assert value["password"].encode() not in done.stdout + shown.stdout + shown.stderr


def test_a_healthy_house_without_rotations_passes(place: Place) -> None:
    """There is no target to ask."""
    assert "no rotation is on" in str(examine(place)["targets"]["detail"])


def test_a_target_that_does_not_answer_is_found(place: Place) -> None:
    """And the rotation that waits for it is told of."""
    place.user("s", port=free_port())
    place.run("rotate", "s", "--timeout", "1", code=1)
    checks = examine(place, code=1)
    assert set(failures(checks)) == {"target of s"}
    assert "TargetUnavailable" in str(checks["target of s"]["detail"])
    assert (checks["rotation of s"]["result"], checks["target of s"]["result"]) == ("warning", "failed")


def test_a_credential_that_the_target_refuses_is_found(place: Place) -> None:
    """With the rotation that failed for it; the value is not shown."""
    place.user("s", password="not-the-password")
    place.run("rotate", "s", code=1)
    done = place.run("doctor", "--json", code=1)
    checks = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert set(failures(checks)) == {"rotation of s", "target of s"}
    assert "refuses the current credential" in checks["target of s"]["detail"]
    assert b"not-the-password" not in done.stdout + done.stderr


def test_a_secret_that_is_not_a_credential_is_found(place: Place) -> None:
    """The field that is missing is named."""
    place.user("s")
    place.client.put_secret_value(SecretId="s", SecretString='{"username": "x", "password": "y"}')
    assert "engine key is missing" in str(examine(place, code=1)["target of s"]["detail"])


def test_a_store_on_postgresql_is_examined_alike(postgresql_url: str, postgres: PostgresServer, tmp_path: Path) -> None:
    """Its own settings decide whether a commit survives."""
    with KeywheelServer(tmp_path, postgresql_url) as server:
        place = Place(server, postgres, "us-east-1")
        checks = examine(place, code=1)
        assert "postgresql" in str(checks["database"]["detail"])
        assert set(failures(checks)) == {"durability"}  # the tests' PostgreSQL does not wait for its disk
        assert "fsync" in str(checks["durability"]["detail"])


def test_a_server_without_an_engine_is_found(postgres: PostgresServer, tmp_path: Path) -> None:
    """Requests are served, and nothing is rotated."""
    with KeywheelServer(tmp_path, extra_args=("--role", "api")) as server:
        checks = examine(Place(server, postgres, "us-east-1"), code=1)
    assert set(failures(checks)) == {"engine"}
    assert "--role all or engine" in str(checks["engine"]["advice"])


# --- a house without a server


def test_a_server_that_is_down_is_found(data: Path, nobody: str) -> None:
    """What depends on it is skipped; the house itself is examined all the same."""
    checks = examined(data, nobody)
    assert {name for name, result in checks.items() if result == "failed"} == {"server", "engine"}
    assert {name for name, result in checks.items() if result == "skipped"} == {"credentials", "rotations"}


@pytest.mark.parametrize(
    ("name", "check"), [(".", "data directory"), ("root.key", "root key file"), ("credentials", "credentials file")]
)
def test_what_is_open_to_others_is_found(data: Path, nobody: str, name: str, check: str) -> None:
    """The advice is the command that closes it."""
    (data / name).chmod(0o755)
    done = run_keywheel("doctor", "--data", str(data), "--endpoint-url", nobody)
    assert f"failed   {check}: ".encode() in done.stdout
    assert b"chmod " in done.stdout


def test_another_root_key_is_found(data: Path, nobody: str, tmp_path: Path) -> None:
    """The database is there, and stays shut; the targets cannot be asked."""
    assert run_keywheel("init", "--data", str(tmp_path / "other")).returncode == 0
    checks = examined(data, nobody, "--root-key-file", str(tmp_path / "other" / "root.key"))
    assert (checks["database"], checks["root key"], checks["targets"]) == ("ok", "failed", "skipped")


def test_a_database_that_is_gone_is_found_and_not_made(data: Path, nobody: str) -> None:
    """Looking leaves no empty file."""
    (data / "keywheel.db").unlink()
    checks = examined(data, nobody)
    assert (checks["database"], checks["root key"]) == ("failed", "skipped")
    assert not (data / "keywheel.db").exists()


def test_a_spoiled_database_is_found(data: Path, nobody: str) -> None:
    """It does not end the examination."""
    (data / "keywheel.db").write_bytes(b"not a database" * 1000)
    checks = examined(data, nobody)
    assert (checks["database"], checks["clock"]) == ("failed", "ok")


def test_a_directory_that_is_not_there_is_found(tmp_path: Path, nobody: str) -> None:
    """And nothing is made in its place."""
    assert examined(tmp_path / "nothing", nobody)["data directory"] == "failed"
    assert not (tmp_path / "nothing").exists()


@pytest.fixture
def passphrase_data(tmp_path: Path) -> Path:
    """A house whose root key is made from a passphrase."""
    (tmp_path / "passphrase").write_text("a passphrase of some length\n")
    options = ("--data", str(tmp_path / "data"), "--passphrase-file", str(tmp_path / "passphrase"))
    assert run_keywheel("init", *options).returncode == 0
    return tmp_path / "data"


def test_a_passphrase_that_nobody_gives_is_asked_for_in_the_advice(passphrase_data: Path, nobody: str) -> None:
    """Without a terminal there is nobody to type it."""
    checks = examined(passphrase_data, nobody)
    assert (checks["root key"], checks["targets"]) == ("failed", "skipped")
    given = examined(passphrase_data, nobody, "--passphrase-file", str(passphrase_data.parent / "passphrase"))
    assert (given["root key"], given["targets"]) == ("ok", "ok")


# --- keys


def test_an_alias_whose_rotation_fails_is_found(place: Place) -> None:
    """With the reason; when it works again, it is well."""
    kms = place.server.client("kms", region=place.region)
    key_id = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/k", TargetKeyId=key_id)
    place.run("keys", "schedule", "alias/k", "--rate", "1 day", "--lead", "1h")
    place.run("keys", "rotate", "alias/k")
    kms.disable_key(KeyId=key_id)
    place.run("keys", "rotate", "alias/k", "--urgent", "--no-wait")
    for _ in range(400):
        if "KeyDiscarded" in place.text("keys", "history", "alias/k"):
            break
    found = examine(place, code=1)["rotation of alias/k"]
    assert (found["result"], "It is disabled" in str(found["detail"])) == ("failed", True)
    assert "keywheel keys rotate alias/k" in str(found["advice"])
    kms.enable_key(KeyId=key_id)
    place.run("keys", "schedule", "alias/k", "--rate", "1 day")
    place.run("keys", "rotate", "alias/k")
    assert examine(place)["alias rotations"]["result"] == "ok"


def test_a_key_that_is_deleted_although_something_needs_it_is_found(place: Place) -> None:
    """An alias is a warning; a value that would be lost is a failure."""
    kms = place.server.client("kms", region=place.region)
    named, sealed, idle = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3))
    kms.create_alias(AliasName="alias/left", TargetKeyId=named)
    place.client.create_secret(Name="s", SecretString="a value", KmsKeyId=sealed)
    for key_id in (named, sealed, idle):
        kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    checks = examine(place, code=1)
    assert (checks[f"key {named}"]["result"], checks[f"key {sealed}"]["result"]) == ("warning", "failed")
    assert "alias/left" in str(checks[f"key {named}"]["detail"])
    assert "a secret is sealed under it" in str(checks[f"key {sealed}"]["detail"])
    assert f"key {idle}" not in checks


# --- settings and the root key, without a server


def test_a_function_that_cannot_run_is_found(data: Path, nobody: str) -> None:
    """As `serve` would say it; one that can run is told of beside it."""
    (data / "good.py").write_text("def handler(event, context):\n    pass\n")
    with (data / "keywheel.toml").open("a") as file:
        for name, handler in (("fine", "good.handler"), ("broken", "gone.handler")):
            file.write(f'\n[functions.{name}]\ndirectory = "{data}"\nhandler = "{handler}"\n')
    checks = examined(data, nobody)
    assert (checks["function fine"], checks["function broken"]) == ("ok", "failed")


def test_a_root_key_that_nobody_has_taken_up_is_found(data: Path, nobody: str) -> None:
    """The next file lies there; after the rotation all is well."""
    options = ("--data", str(data))
    assert run_keywheel("root", "new", *options, "--out", str(data / "root.key.next")).returncode == 0
    assert examined(data, nobody)["root key rotation"] == "warning"
    done = run_keywheel("root", "rotate", *options)
    assert done.returncode == 0, done.stderr
    assert examined(data, nobody)["root key rotation"] == "ok"
