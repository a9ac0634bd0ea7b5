"""The server as its operator meets it: what it says when it cannot start, and what becomes of its processes.

Real processes of `keywheel serve`; each test that breaks something has a server of its own.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from botocore.exceptions import BotoCoreError, ClientError

from keywheel.cli.asking import ask
from keywheel.config import Settings, load_settings
from keywheel.db.database import open_database
from keywheel.errors import ConfigurationError, KeywheelError
from keywheel.keys.root.unseal import create_root_key
from keywheel.server import engine_lock, log_to_stderr, serve
from tests.support.keywheel_server import KEYWHEEL, KeywheelServer, clean_environment, run_keywheel
from tests.support.servers import Authority, free_port

SOON = 20.0


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def children(server: KeywheelServer) -> dict[str, list[int]]:
    """The living children of a server: those with an event loop are API workers, the others engines."""
    found: dict[str, list[int]] = {"api": [], "engine": []}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == server.pid and fields[0] not in ("Z", "X"):
                kind = "engine" if _has_no_loop(path) else "api"
                found[kind].append(int(path.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def _has_no_loop(process: Path) -> bool:
    """Whether a process has no event loop."""
    return not any("eventpoll" in str(descriptor.readlink()) for descriptor in (process / "fd").iterdir())


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def answers(server: KeywheelServer) -> bool:
    """Whether it serves a request."""
    try:
        server.client().list_secrets()
    except BotoCoreError:
        return False
    return True


def refused(data: Path, *options: str) -> list[str]:
    """The two lines of a `keywheel serve` that does not start."""
    done = run_keywheel("serve", "--data", str(data), "--port", "0", *options)
    assert (done.returncode, done.stdout) == (1, b"")
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("Error: ")
    assert second.startswith("Next:  ")
    return [first.removeprefix("Error: "), second.removeprefix("Next:  ")]


def refuses(data: Path, **options: Any) -> KeywheelError:
    """The error of a server that does not start, without a process of its own."""

    def start() -> None:
        settings = load_settings({"data": str(data), "port": 0, **options}, {})
        serve(settings, ask)

    before = os.umask(0o077)
    try:
        with pytest.raises(KeywheelError) as caught:
            start()
    finally:
        os.umask(before)
        structlog.reset_defaults()
    return caught.value


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that is not served."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    assert run_keywheel("init", "--data", str(data)).returncode == 0
    return data


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))


@contextmanager
def started(prepared: Path, directory: Path, *options: str) -> Iterator[KeywheelServer]:
    """A server on a copy of a prepared data directory."""
    server = KeywheelServer(directory, extra_args=options)
    shutil.copytree(prepared, server.data)
    with ExitStack() as stack:
        stack.push(server)
        server.start()
        yield server


@pytest.fixture
def server(prepared: Path, tmp_path: Path) -> Iterator[KeywheelServer]:
    """A server of this test's own."""
    with started(prepared, tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def shared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeywheelServer]:
    """A server for the tests that leave it as it is."""
    with started(prepared, tmp_path_factory.mktemp("shared")) as server:
        yield server


# --- why it does not start -----------------------------------------------------------------------------------------


def test_a_directory_that_was_not_prepared_is_said(tmp_path: Path) -> None:
    """With the command that prepares one; nothing is made."""
    first, second = refused(tmp_path / "data")
    assert (first, "keywheel init" in second) == (
        f"The root key file {tmp_path}/data/root.key cannot be read (FileNotFoundError).", True,
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_another_root_key_is_said(data: Path, tmp_path: Path) -> None:
    """Before anything is served."""
    create_root_key(tmp_path / "other.key", None)
    first, second = refused(data, "--root-key-file", str(tmp_path / "other.key"))
    assert (first, "root key" in second) == ("The root key does not open this database.", True)


def test_a_database_that_was_not_prepared_is_said(data: Path) -> None:
    """Though the root key is there."""
    (data / "keywheel.db").unlink()
    error = refuses(data)
    assert (error.message, error.hint()) == ("This database is not initialised.", "Run `keywheel init` first.")


def test_a_newer_schema_is_said(data: Path) -> None:
    """It is left as it is."""
    database = open_database(f"sqlite:///{data}/keywheel.db")
    database.write(lambda tx: tx.execute("UPDATE alembic_version SET version_num = '9999'", {}))
    database.write(lambda tx: tx.execute("UPDATE schema_floor SET oldest = '9999'", {}))
    database.close()
    assert refuses(data).message == "The database has schema 9999, which this version of keywheel does not know."


def test_a_port_in_use_is_said(data: Path) -> None:
    """By its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first, second = refused(data, "--port", str(port))
    assert first == f"127.0.0.1:{port} cannot be listened on: Address already in use."
    assert second == "Choose another --port."


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"host": "192.0.2.1", "allow_plaintext": True, "role": "api"}, "192.0.2.1:0 cannot be listened on"),
        (
            {"host": "nowhere.invalid", "allow_plaintext": True, "role": "api"},
            "nowhere.invalid:0 cannot be listened on",
        ),
        ({"host": "0.0.0.0"}, "Listening on 0.0.0.0 without TLS would send secret values in clear"),
        ({"tls_cert": "a.pem"}, "--tls-cert and --tls-key go together"),
        ({"tls_cert": "none.pem", "tls_key": "none.pem"}, "The TLS certificate and key cannot be used: No such file"),
        ({"database": "mysql://h/d"}, "--database must be sqlite:///PATH or postgresql://…"),
        ({"database": "postgresql://u:pass-word@127.0.0.1:1/d"}, "The PostgreSQL store does not answer"),
        ({"database": "sqlite:////nowhere/keywheel.db"}, "There is no directory /nowhere"),
        ({"workers": 0}, "The settings are not valid: Expected `int` >= 1 - at `$.workers`"),
        ({"lambda_endpoint": "http://127.0.0.1:1", "lambda_credentials": "none"}, "none cannot be read as an AWS"),
        ({"passphrase_file": "none", "root_key_file": "none"}, "The root key file none cannot be read"),
    ],
)
def test_an_option_that_cannot_be_followed_is_said(prepared: Path, options: dict[str, Any], text: str) -> None:
    """With something to do about it, and without a password."""
    error = refuses(prepared, **options)
    assert error.message.startswith(text)
    assert error.hint()
    assert "pass-word" not in error.message + error.hint()


def test_a_certificate_and_a_key_that_do_not_belong_together_are_said(prepared: Path, tmp_path: Path) -> None:
    """Instead of a worker that dies again and again."""
    authority = Authority()
    paths = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    paths[0].write_text(authority.issue("localhost")[0])
    paths[1].write_text(authority.issue("localhost")[1])
    error = refuses(prepared, tls_cert=str(paths[0]), tls_key=str(paths[1]))
    assert (error.message, "belong together" in error.hint()) == (
        "The TLS certificate and key cannot be used: KEY_VALUES_MISMATCH.", True,
    )  # fmt: skip


def test_an_engine_needs_a_directory_for_its_name(data: Path, tmp_path: Path) -> None:
    """Also where everything else is elsewhere."""
    given = {"root_key_file": str(data / "root.key"), "database": f"sqlite:///{data}/keywheel.db"}
    error = refuses(tmp_path / "nowhere", role="engine", **given)
    assert error.message == f"{tmp_path}/nowhere/engine.lock cannot be opened: No such file or directory."


# --- the passphrase and the settings file --------------------------------------------------------------------------


def test_a_passphrase_opens_what_was_made_with_it(tmp_path: Path) -> None:
    """From a file, named by an option or in keywheel.toml; a wrong one is said."""
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse battery staple\n")
    wrong.write_text("correct horse battery stable\n")
    server = KeywheelServer(tmp_path, environment={"KEYWHEEL_PASSPHRASE_FILE": str(right)})
    with server:
        assert answers(server)
    assert refuses(server.data, passphrase_file=str(wrong)).message == "The root key does not open this database."
    assert refuses(server.data, passphrase_file="nowhere").message == "nowhere cannot be read (FileNotFoundError)."
    (server.data / "keywheel.toml").write_text(f'passphrase_file = "{wrong}"\n')
    assert refuses(server.data).message == "The root key does not open this database."


def test_the_settings_file_is_read(data: Path, tmp_path: Path) -> None:
    """What it says holds, but for what the command line says."""
    (data / "keywheel.toml").write_text('workers = 2\nrole = "engine"\nport = 1\n')
    with started(data, tmp_path / "server", "--role", "api") as server:
        eventually(lambda: len(children(server)["api"]) == 2)
        assert children(server)["engine"] == []


# --- its processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "api", "engine"),
    [
        (["--workers", "2"], 2, 1),
        (["--role", "engine"], 0, 1),
    ],
)
def test_a_server_has_the_processes_of_its_role(
    prepared: Path, tmp_path: Path, options: Sequence[str], api: int, engine: int
) -> None:
    """API workers as many as asked for, one engine, or one of both kinds only; an engine listens to nothing."""
    with started(prepared, tmp_path, *options) as server:
        eventually(
            lambda: {kind: len(pids) for kind, pids in children(server).items()} == {"api": api, "engine": engine}
        )
        assert bool(server.url) == (api > 0)
        if server.url:
            assert all(answers(server) for _ in range(4))


def test_it_takes_a_free_port_and_tells_it(shared: KeywheelServer) -> None:
    """Port 0 is any; health and readiness are asked there without a signature."""
    for path, body in (("/health", b"live\n"), ("/ready", b"ready\n")):
        with urllib.request.urlopen(shared.url + path, timeout=SOON) as answer:
            assert (answer.status, answer.read()) == (200, body)


def test_what_it_makes_is_for_its_owner_alone(shared: KeywheelServer) -> None:
    """Every file in the data directory, and the directory."""
    shared.client().create_secret(Name="a", SecretString="a")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.data.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in shared.data.rglob("*") if path.is_dir()} == {0o700}
    assert {"engine.lock", "keywheel.db", "root.key", "credentials"} <= set(modes)
    assert stat.S_IMODE(shared.data.stat().st_mode) == 0o700


def test_one_engine_serves_a_directory(shared: KeywheelServer) -> None:
    """A second one is refused with what to do; a second API is not."""
    for role in ("all", "engine"):
        error = refuses(shared.data, role=role)
        assert error.message == f"Another keywheel engine runs on {shared.data}."
        assert "--role api" in error.hint()
    other = subprocess.Popen(
        [KEYWHEEL, "serve", "--data", str(shared.data), "--port", "0", "--role", "api"],
        env=clean_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert other.stderr is not None
    assert '"server.started"' in other.stderr.readline()
    other.send_signal(signal.SIGTERM)
    assert other.wait(SOON) == 0
    other.stderr.close()
    assert answers(shared)


def test_it_serves_tls(prepared: Path, tmp_path: Path) -> None:
    """Of version 1.2 and above, with the certificate that it was given, and nothing in clear."""
    authority = Authority()
    certificate, key = authority.issue("localhost")
    (tmp_path / "cert.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(key)
    options = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    with started(prepared, tmp_path, *options) as server:
        port = urlsplit(server.url).port
        trusting = ssl.create_default_context(cafile=str(authority.path))
        with urllib.request.urlopen(f"https://localhost:{port}/ready", timeout=SOON, context=trusting) as answer:
            assert answer.read() == b"ready\n"
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            trusting.minimum_version = trusting.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", port)) as bare:
            trusting.wrap_socket(bare, server_hostname="localhost")
        with pytest.raises((http.client.HTTPException, OSError)):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=SOON)


# --- the end -------------------------------------------------------------------------------------------------------


def half_a_request(server: KeywheelServer) -> tuple[http.client.HTTPConnection, bytes]:
    """A signed request of which the last byte is missing, and that byte."""
    sent: list[Any] = []
    client = server.client()

    def keep(request: Any, **_: object) -> _Nothing:
        sent.append(request)
        return _Nothing()

    client.meta.events.register("before-send", keep)
    client.list_secrets()
    prepared, where = sent[0], urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=SOON)
    connection.putrequest("POST", "/", skip_host=True, skip_accept_encoding=True)
    headers = {"Host": where.netloc, **dict(prepared.headers.items())}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    body = prepared.body if isinstance(prepared.body, bytes) else prepared.body.encode()
    connection.send(body[:-1])
    return connection, body[-1:]


class _Nothing:
    """Stands in for the answer to a request that was not sent."""

    status_code, headers, content = 200, {"x-amzn-requestid": "-"}, b"{}"


def test_a_request_under_way_is_answered_before_the_end(server: KeywheelServer) -> None:
    """Nothing new is let in meanwhile, and the exit code is 0."""
    connection, rest = half_a_request(server)
    time.sleep(0.3)
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(server.stop)
        time.sleep(0.5)
        assert server.alive
        connection.send(rest)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"SecretList":[]}')
        end.result()
    connection.close()


def test_every_write_that_was_answered_before_the_end_is_kept(server: KeywheelServer) -> None:
    """Of several clients that write as it ends: each request is done or not answered, and never half."""
    begun = Barrier(5)

    def write(word: int) -> set[str]:
        client = server.client()
        client.create_secret(Name=f"{word}", SecretString="begun")
        begun.wait(SOON)
        done: set[str] = set()
        for number in range(10_000):
            name = f"{word}-{number}"
            try:
                client.create_secret(Name=name, SecretString=name)
            except ClientError:
                raise
            except BotoCoreError:
                return done
            done.add(name)
        raise AssertionError("it never ended")

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, word) for word in range(4)]
        begun.wait(SOON)
        time.sleep(0.5)
        server.stop()
        answered = {name for writer in writers for name in writer.result(SOON)}
    server.start()
    client = server.client()
    kept = {entry["Name"] for page in client.get_paginator("list_secrets").paginate() for entry in page["SecretList"]}
    assert answered
    assert answered <= kept
    assert {client.get_secret_value(SecretId=name)["SecretString"] for name in sorted(answered)[:5]} <= answered


def test_it_ends_as_soon_as_it_is_told_to(server: KeywheelServer) -> None:
    """Also where its processes have only just begun."""
    for _ in range(2):
        server.restart()
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 10


def test_its_children_end_with_it(server: KeywheelServer) -> None:
    """Though nobody can tell them: the parent was killed. The port and the directory are free again."""
    eventually(lambda: {kind: len(pids) for kind, pids in children(server).items()} == {"api": 1, "engine": 1})
    pids = [pid for kind in children(server).values() for pid in kind]
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not any(lives(pid) for pid in pids))
    server.kill()
    server.start()
    assert answers(server)


@pytest.mark.parametrize("kind", ["api", "engine"])
def test_a_child_that_was_killed_is_started_again(server: KeywheelServer, kind: str) -> None:
    """And serves what was stored before."""
    server.client().create_secret(Name="a", SecretString="text")
    eventually(lambda: {kind: len(pids) for kind, pids in children(server).items()} == {"api": 1, "engine": 1})
    before = children(server)
    os.kill(before[kind][0], signal.SIGKILL)
    other = "engine" if kind == "api" else "api"

    def is_whole_again() -> bool:
        now = children(server)
        return now[other] == before[other] and len(now[kind]) == 1 and now[kind] != before[kind]

    eventually(is_whole_again)
    assert server.client().get_secret_value(SecretId="a")["SecretString"] == "text"


# --- its log -------------------------------------------------------------------------------------------------------


class Written:
    """A stream that keeps each write apart."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> None:
        self.writes.append(text)

    def flush(self) -> None:
        """Nothing is held back."""


def test_a_log_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its end, as one JSON object: several processes share the stream, and none comes between."""
    stream = Written()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        log_to_stderr("info")
        log = structlog.get_logger("keywheel.a-test")
        log.debug("not asked for")
        log.info("an.event", name="a\nb")
    finally:
        structlog.reset_defaults()
    (line,) = stream.writes
    assert line.endswith("}\n")
    assert json.loads(line).items() >= {"event": "an.event", "name": "a\nb", "level": "info"}.items()


# --- the engine's name ---------------------------------------------------------------------------------------------


def test_an_engine_keeps_its_name(tmp_path: Path) -> None:
    """It takes its own leases back after a crash; another directory's engine has another name."""
    names = []
    for directory in (tmp_path / "a", tmp_path / "a", tmp_path / "b"):
        directory.mkdir(exist_ok=True)
        with engine_lock(Settings(data=str(directory))) as lock:
            names.append(lock.read())
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("engine-") and len(name) == 43 for name in names)


def test_a_copy_of_a_data_directory_has_an_engine_of_its_own(tmp_path: Path) -> None:
    """Two machines whose directories were copied do not take each other's leases for their own."""
    for name in "ab":
        (tmp_path / name).mkdir()
    with engine_lock(Settings(data=str(tmp_path / "a"))) as lock:
        shutil.copy(tmp_path / "a" / "engine.lock", tmp_path / "b" / "engine.lock")
        with engine_lock(Settings(data=str(tmp_path / "b"))) as copy:
            assert copy.read() != lock.read()


def test_an_engines_name_is_held(tmp_path: Path) -> None:
    """As long as it runs."""
    settings = Settings(data=str(tmp_path))
    with engine_lock(settings), pytest.raises(ConfigurationError, match="Another keywheel engine runs on"):
        engine_lock(settings)
    engine_lock(settings).close()


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


def test_it_serves_from_postgresql(tmp_path: Path, postgresql_url: str) -> None:
    """Two servers on one store see the same, and one without an engine needs no directory but the root key's."""
    with KeywheelServer(tmp_path, database_url=postgresql_url, extra_args=["--workers", "2"]) as server:
        server.client().create_secret(Name="a", SecretString="text")
        given = ["--database", postgresql_url, "--root-key-file", str(server.data / "root.key"), "--role", "api"]
        other = subprocess.Popen(
            [KEYWHEEL, "serve", "--data", str(tmp_path / "nowhere"), "--port", str(port := free_port()), *given],
            env=clean_environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert other.stderr is not None
        assert '"server.started"' in other.stderr.readline()
        client = server.client()
        url, server.url = server.url, f"http://127.0.0.1:{port}"
        assert server.client().get_secret_value(SecretId="a")["SecretString"] == "text"
        server.url = url
        other.send_signal(signal.SIGTERM)
        assert other.wait(SOON) == 0
        other.stderr.close()
        assert client.get_secret_value(SecretId="a")["SecretString"] == "text"
