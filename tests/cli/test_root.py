"""`keywheel root`: a new root key under a server that serves all the while, and what is said of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.keywheel_server import KeywheelServer, run_keywheel

_TEXT = b"a text"


@pytest.fixture
def url(request: pytest.FixtureRequest, database_url: str) -> str | None:
    """The store: SQLite in the data directory, or PostgreSQL."""
    return None if database_url.startswith("sqlite") else database_url


@contextmanager
def load(server: KeywheelServer) -> Iterator[dict[str, int]]:
    """GetSecretValue and Decrypt all the while, and new keys and access; every answer must be right."""
    client, kms = server.client(), server.client("kms")
    client.create_secret(Name="s", SecretString="value")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=_TEXT)["CiphertextBlob"]
    done, counts, failures = threading.Event(), {"reads": 0, "opens": 0, "makes": 0}, list[BaseException]()

    def again(name: str, work: Any) -> None:
        try:
            while not done.is_set():
                work()
                counts[name] += 1
        except BaseException as error:  # noqa: BLE001 # told below
            failures.append(error)

    def read() -> None:
        assert client.get_secret_value(SecretId="s")["SecretString"] == "value"

    def open_() -> None:
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == _TEXT

    def make() -> None:
        made = kms.create_key()["KeyMetadata"]["KeyId"]
        sealed = kms.encrypt(KeyId=made, Plaintext=_TEXT)["CiphertextBlob"]
        assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == _TEXT

    threads = [
        threading.Thread(target=again, args=each) for each in (("reads", read), ("opens", open_), ("makes", make))
    ]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_the_root_key_rotates_while_a_server_serves(tmp_path: Path, url: str | None) -> None:
    """Twice, without one call that fails; afterwards the server starts by the new file alone."""
    with KeywheelServer(tmp_path, url, ("--workers", "2")) as server:
        first = (server.data / "root.key").read_text()
        with load(server) as counts:
            for _ in range(2):
                before = dict(counts)
                done = server.keywheel("root", "rotate")
                assert done.returncode == 0, done.stderr
                assert b"Nothing is under the old root key any more." in done.stdout
                assert all(counts[name] > before[name] for name in counts)
        status = json.loads(server.keywheel("root", "status", "--json").stdout)
        assert status["rotation"]["phase"] == "done"
        assert {name for each in status["values"].values() for name in each} == {status["rootKey"]}
        assert len(status["processes"]) == 3
        assert all(status["rootKey"] in each["rootKeys"] for each in status["processes"])
        assert (server.data / "root.key").read_text() != first
        assert len(list(server.data.glob("root.key.*"))) == 2
        server.stop()
        for path in server.data.glob("root.key.*"):
            path.unlink()
        server.start()
        assert server.client().get_secret_value(SecretId="s")["SecretString"] == "value"
        told = "".join(path.read_text(errors="replace") for path in (server.data / "audit").rglob("*.jsonl"))
        assert told.count('"BeginRootKeyRotation"') == told.count('"RotateRootKey"') == 2


def test_a_machine_that_has_not_got_the_new_root_key_is_waited_for(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, nothing is changed; given the file, it takes it up without being started anew."""
    with KeywheelServer(tmp_path / "one", postgresql_url) as one:
        two = KeywheelServer(tmp_path / "two", postgresql_url, ("--role", "api"))
        shutil.copytree(one.data, two.data, ignore=shutil.ignore_patterns("audit", "engine.lock"))
        with two:
            stuck = one.keywheel("root", "rotate", "--timeout", "3")
            assert stuck.returncode == 1
            assert b"is not known to: api-1 on " in stuck.stderr
            assert b"Nothing is changed yet." in stuck.stderr
            assert b"waits until every process has taken it up" in one.keywheel("root", "status").stdout
            shutil.copy(one.data / "root.key.next", two.data / "root.key.next")
            done = one.keywheel("root", "rotate")
            assert done.returncode == 0, done.stderr
            two.client().create_secret(Name="s", SecretString="value")
            assert one.client().get_secret_value(SecretId="s")["SecretString"] == "value"
            # On the second machine the files are still side by side; there is nothing else left to do.
            last = two.keywheel("root", "rotate")
            assert (last.returncode, (two.data / "root.key.next").exists()) == (0, False), last.stderr
            assert (two.data / "root.key").read_text() == (one.data / "root.key").read_text()


def test_a_rotation_that_waits_can_be_given_up(tmp_path: Path) -> None:
    """The file is left, and is the next one of the next rotation."""
    with KeywheelServer(tmp_path) as server:
        server.stop()
        _pretend_that_a_server_runs(server)
        assert server.keywheel("root", "rotate", "--timeout", "0").returncode == 1
        assert server.keywheel("root", "rotate", "--cancel").returncode == 0
        assert server.keywheel("root", "rotate", "--cancel").returncode == 1
        status = json.loads(server.keywheel("root", "status", "--json").stdout)
        assert status["rotation"] is None
        assert (server.data / "root.key.next").exists()


def test_a_new_passphrase_is_a_rotation(tmp_path: Path) -> None:
    """A running server reads it from beside the old one's file."""
    file = tmp_path / "passphrase"
    file.write_text("the first passphrase\n")
    with KeywheelServer(tmp_path, environment={"KEYWHEEL_PASSPHRASE_FILE": str(file)}) as server:
        (server.data / "keywheel.toml").write_text(f'passphrase_file = "{file}"\n')
        server.client().create_secret(Name="s", SecretString="value")
        new = tmp_path / "new"
        new.write_text("the second passphrase\n")
        done = server.keywheel("root", "rotate", "--new-passphrase-file", str(new))
        assert done.returncode == 0, done.stderr
        assert b"passphrase" in server.keywheel("root", "status").stdout
        assert file.read_text() == "the second passphrase\n"
        server.stop()
        server.start()
        assert server.client().get_secret_value(SecretId="s")["SecretString"] == "value"
        log = server.log.read_text() + done.stdout.decode() + done.stderr.decode()
        assert "second passphrase" not in log


def test_a_backup_from_before_needs_the_root_key_from_before(tmp_path: Path) -> None:
    """Which is beside the new one under its id; the refusal names that id."""
    with KeywheelServer(tmp_path) as server:
        server.client().create_secret(Name="s", SecretString="value")
        backup = tmp_path / "backup"
        assert server.keywheel("backup", "--out", str(backup)).returncode == 0
        assert server.keywheel("root", "rotate").returncode == 0
        (old,) = server.data.glob("root.key.*")
        data = tmp_path / "restored"
        data.mkdir()
        where = ["restore", str(backup), "--data", str(data), "--root-key-file"]
        refused = run_keywheel(*where, str(server.data / "root.key"))
        assert refused.returncode == 1
        assert old.suffix.removeprefix(".").encode() in refused.stderr
        done = run_keywheel(*where, str(old))
        assert done.returncode == 0, done.stderr


def test_a_backup_from_the_midst_of_a_rotation_needs_both(tmp_path: Path) -> None:
    """One of them opens the tie, and not everything: that is seen before anything is restored."""
    with KeywheelServer(tmp_path) as server:
        server.client().create_secret(Name="s", SecretString="value")
        server.stop()
        (server.data / "former").write_text((server.data / "root.key").read_text())
        before = server.data / "former.db"
        with sqlite3.connect(server.data / "keywheel.db") as store, sqlite3.connect(before) as copy:
            store.backup(copy)
        assert server.keywheel("root", "rotate").returncode == 0
        # As in the midst of it: the tie is the new one, and a backing key is still under the old root key.
        with sqlite3.connect(server.data / "keywheel.db") as store, sqlite3.connect(before) as copy:
            for key_id, number, sealed in copy.execute("SELECT key_id, generation, sealed FROM backing_key"):
                store.execute(
                    "UPDATE backing_key SET sealed = ? WHERE key_id = ? AND generation = ?", (sealed, key_id, number)
                )
        assert server.keywheel("root", "status").returncode == 1
        backup, data = tmp_path / "backup", tmp_path / "restored"
        assert server.keywheel("backup", "--out", str(backup)).returncode == 0
        data.mkdir()
        shutil.copy(server.data / "root.key", data / "root.key")
        refused = run_keywheel("restore", str(backup), "--data", str(data))
        assert refused.returncode == 1
        assert b"1 values are under another root key" in refused.stderr
        shutil.copy(server.data / "former", data / "root.key.next")
        assert run_keywheel("restore", str(backup), "--data", str(data)).returncode == 0


def test_a_root_key_for_machines_that_get_theirs_from_outside(tmp_path: Path) -> None:
    """Made into a file, given as a credential beside the present one."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    key = credentials / "root.key"
    assert run_keywheel("root", "new", "--data", str(tmp_path), "--out", str(key)).returncode == 0
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "KEYWHEEL_ROOT_KEY_CREDENTIAL": "root.key"}
    with KeywheelServer(tmp_path, environment=environment) as server:
        assert not (server.data / "root.key").exists()
        server.client().create_secret(Name="s", SecretString="value")
        following = credentials / "root.key.next"
        assert run_keywheel("root", "new", "--data", str(tmp_path), "--out", str(following)).returncode == 0
        where = {**environment, "KEYWHEEL_DATA": str(server.data)}
        done = run_keywheel("root", "rotate", environment=where)
        assert done.returncode == 0, done.stderr
        assert b"The next root key is that of" in done.stdout
        assert server.client().get_secret_value(SecretId="s")["SecretString"] == "value"


def _pretend_that_a_server_runs(server: KeywheelServer) -> None:
    with sqlite3.connect(server.data / "keywheel.db") as store:
        row = "INSERT INTO process (id, name, root_keys, seen) VALUES ('1', 'api-1 on elsewhere', '', 9e9)"
        store.execute(row)
