"""A keywheel server of a test's own: `keywheel init` and `keywheel serve` as a user would run them.

It runs in a process group of its own and ends with the test process, on Linux even when that is killed. What it logs
goes to a file, and to the test's output when the context ends: pytest shows that of a failed test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.servers import _die_with_parent

KEYWHEEL = str(Path(sys.executable).with_name("keywheel"))
ACCOUNT, REGION = "123456789012", "us-east-1"
_START_SECONDS, _STOP_SECONDS = 60.0, 60.0
_LOG_TAIL = 20_000


class KeywheelServer:
    """A server on a free port of 127.0.0.1, initialised and started by entering the context.

    Args:
        tmp_path: an empty directory; the data directory is made in it.
        database_url: a PostgreSQL store; by default SQLite in the data directory.
        extra_args: more options of `keywheel serve`.
        environment: more variables for the server.
        program: what is run for `keywheel serve`.
    """

    def __init__(
        self,
        tmp_path: Path,
        database_url: str | None = None,
        extra_args: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (KEYWHEEL,),
    ) -> None:
        self._program = tuple(program)
        self.data = tmp_path / "keywheel-data"
        self.log = tmp_path / "keywheel.log"
        self.url = ""
        self._store = () if database_url is None else ("--database", database_url)
        self._extra = tuple(extra_args)
        self._environment = {**clean_environment(), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        done = subprocess.run(
            [KEYWHEEL, "init", "--data", str(self.data), *self._store],
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self.alive:
                self.stop()
        finally:
            self.kill()
            print(f"--- {self.log} (the end of it)\n{self._read_log()[-_LOG_TAIL:]}")

    # --- its life

    @property
    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process that was started: the parent of the API workers and the engine, and their group."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it takes requests. The port is the one it had before, if it had one."""
        seen = len(self._read_log())
        port = self.url.rpartition(":")[2] or "0"
        command = [*self._program, "serve", "--data", str(self.data), "--port", port, *self._store, *self._extra]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # one system call, which takes no lock
            )
        deadline = time.monotonic() + _START_SECONDS
        while (started := _started(self._read_log()[seen:])) is None:
            if not self.alive or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"keywheel serve did not start:\n{self._read_log()[seen:]}")
            time.sleep(0.02)
        self.url = started.get("url", "")

    def stop(self) -> None:
        """Ask it to end, and wait until it has, with exit code 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(_STOP_SECONDS)
        assert code == 0, f"keywheel serve ended with {code}:\n{self._read_log()[-_LOG_TAIL:]}"

    def kill(self) -> None:
        """End every process of it now, as a loss of power would; none is left when this returns."""
        if self._process is None:
            return
        group = self._process.pid
        deadline = time.monotonic() + _STOP_SECONDS
        while _members(group):
            os.killpg(group, signal.SIGKILL)
            assert time.monotonic() < deadline, f"process group {group} survives SIGKILL"
            self._process.poll()
            time.sleep(0.005)
        self._process.wait(_STOP_SECONDS)

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same data and port."""
        if self.alive:
            self.stop()
        self.start()

    # --- using it

    def client(self, service: str = "secretsmanager", *, region: str = REGION, **options: Any) -> Any:
        """A boto3 client of it, with the administrator's access key. It does not retry."""
        import boto3
        from botocore.config import Config

        from keywheel.credentials import read_credentials

        access_key_id, secret = read_credentials(self.data / "credentials")
        session = boto3.Session(
            aws_access_key_id=access_key_id, aws_secret_access_key=secret.reveal(), region_name=region
        )
        config = Config(retries={"total_max_attempts": 1}, **options)
        return session.client(service, endpoint_url=self.url, config=config)

    def keywheel(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `keywheel` with `arguments` against it, without a terminal."""
        where = {"KEYWHEEL_ENDPOINT_URL": self.url, "KEYWHEEL_DATA": str(self.data)}
        if self._store:
            where["KEYWHEEL_DATABASE"] = self._store[1]
        return run_keywheel(*arguments, stdin=stdin, environment=where)

    def _read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""


def run_keywheel(
    *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `keywheel` with `arguments`, without a terminal."""
    return subprocess.run(
        [KEYWHEEL, *arguments],
        input=stdin,
        env={**clean_environment(), **(environment or {})},
        capture_output=True,
        timeout=120,
    )


def clean_environment() -> dict[str, str]:
    """This process's environment without what would configure keywheel, AWS clients or libpq."""
    foreign = ("KEYWHEEL_", "AWS_", "PG", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _started(log: str) -> dict[str, str] | None:
    for line in log.splitlines():
        if '"server.started"' in line and line.endswith("}"):
            found: dict[str, str] = json.loads(line)
            return found
    return None


def _members(group: int) -> list[int]:
    """The processes of a group that still run; the dead that nobody has waited for are left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[2]) == group and fields[0] not in ("Z", "X"):
            found.append(int(stat.parent.name))
    return found
