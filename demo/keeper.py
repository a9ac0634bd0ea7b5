"""Keeps a private PostgreSQL and a keywheel server: `python -m demo.keeper DIR`, a process of its own.

It tells on standard output what it started, a JSON object a line. It ends, and takes both servers and the directory
along, on SIGTERM, and when its standard input ends: then the demo is gone, whatever became of it. The line `keep` on
standard input makes it stay. Should it be killed itself, the kernel ends both servers.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer, wheel_binaries

SINGLE, ALTERNATING = "billing", "shop"
"""The applications' users."""

Tell = Callable[..., None]


class Bell:
    """Rung by SIGTERM: heard while the keeper waits, else when it begins to.

    It never interrupts the start of a process, which nobody would then know to end.
    """

    def __init__(self) -> None:
        self.rung = False
        self._waiting = False
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ring)

    def wait(self) -> None:
        """Until it is rung or the demo is gone; when that said `keep`, until it is rung."""
        with suppress(SystemExit):
            self._waiting = True
            if not self.rung and sys.stdin.readline().strip() == "keep":
                while True:
                    signal.pause()
        self._waiting = False

    def _ring(self, *_: object) -> None:
        self.rung = True
        if self._waiting:
            self._waiting = False
            raise SystemExit


def main(directory: Path) -> int:
    """Start both servers and keep them; the exit code."""
    bell = Bell()
    tempfile.tempdir = str(directory)  # whatever is made on the way is made in there
    tell = _teller(sys.stdout)
    try:
        with redirect_stdout(sys.stderr), ExitStack() as servers:
            for start in (_start_postgres, _start_keywheel):
                if not bell.rung:
                    start(servers, tell, directory)
            bell.wait()
    except Exception as error:  # noqa: BLE001 - whatever it is, the person who looks on is told
        tell("failed", reason=_reason(error))
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _start_postgres(servers: ExitStack, tell: Tell, _: Path) -> None:
    """PostgreSQL with a table, two users who may read it, and the superuser."""
    server = servers.enter_context(PostgresServer(binaries=wheel_binaries()))
    users = [server.new_user(name) for name in (SINGLE, ALTERNATING)]
    server.execute("CREATE TABLE orders (id int)")
    server.execute(f"GRANT SELECT ON orders TO {SINGLE}, {ALTERNATING}")
    secrets = {credential.username: credential.to_json().reveal() for credential in (*users, server.superuser)}
    version = f"{server.version // 10_000}.{server.version % 10_000}"
    tell("postgres", version=version, port=server.port, superuser=server.superuser.username, secrets=secrets)


def _start_keywheel(servers: ExitStack, tell: Tell, directory: Path) -> None:
    """`keywheel init` and `keywheel serve`, as a newcomer would type them."""
    server = servers.enter_context(KeywheelServer(directory, environment={"TMPDIR": str(directory)}))
    tell("keywheel", url=server.url, data=str(server.data))


def _teller(output: TextIO) -> Tell:
    def tell(fact: str, **details: object) -> None:
        with suppress(BrokenPipeError):  # the demo is gone, and the end of our standard input says so
            print(json.dumps({"fact": fact, **details}), file=output, flush=True)

    return tell


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
        return f"{Path(error.cmd[0]).name} ended with exit code {error.returncode}. {said}".strip()
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
