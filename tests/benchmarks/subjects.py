"""The servers that are measured: ours on each store, moto's, and two that answer constant bytes."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from keywheel.credentials import read_credentials
from keywheel.sensitive import Sensitive
from tests.benchmarks.load import drive
from tests.benchmarks.processes import cpu_seconds, family, unique_memory
from tests.benchmarks.workloads import Signer, creations
from tests.support.servers import free_port, listening

_BIN = Path(sys.executable).parent
_PATIENCE = 30.0
_STRANGER = Signer("AKIAIOSFODNN7EXAMPLE", Sensitive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))  # AWS's own example


class Subject:
    """A server process that is up. A context manager."""

    def __init__(self, name: str, command: Sequence[str], *, signer: Signer = _STRANGER, **popen: Any) -> None:
        self.name = name
        self.signer = signer
        self.port = 0
        self._process = subprocess.Popen(list(command), text=True, **popen)

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def cpu(self) -> float:
        """The CPU seconds of its whole process tree until now."""
        return cpu_seconds(self.pid)

    def fill(self, secrets: int) -> None:
        """Store the secrets that the measurements read and write."""
        requests = self.signer.requests("CreateSecret", creations(secrets), self.port)
        sample = drive(self.port, requests, connections=32, seconds=600.0, once=True)
        if sample.refused:
            raise RuntimeError(f"{self.name} refused to create secrets: {sample.first_refusal.decode()[-300:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
            return
        self._process.kill()
        self._process.wait()


class Bare(Subject):
    """A server of `bare.py`."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.bare", kind]
        super().__init__(f"bare {kind}", command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())


class Moto(Subject):
    """moto's server as it is shipped."""

    def __init__(self) -> None:
        port = free_port()
        command = [str(_BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        super().__init__("moto", command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = port
        end = time.monotonic() + _PATIENCE
        while not listening(port):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("moto_server did not start")
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Options:
    """How a keywheel server is started."""

    store: str | None = None  # a PostgreSQL address; None: SQLite in the data directory
    parent: str | None = None  # where the data directory is made
    workers: int = 1
    role: str = "api"


class Keywheel(Subject):
    """`keywheel init` and `keywheel serve`, as an operator runs them."""

    def __init__(self, name: str, options: Options) -> None:
        self.data = Path(tempfile.mkdtemp(prefix="keywheel-bench-", dir=options.parent))
        self._role = options.role
        store = [] if options.store is None else ["--database", options.store]
        command = [str(_BIN / "keywheel"), "init", "--data", str(self.data), *store]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self._log = (self.data / "server.log").open("w")
        command = [str(_BIN / "keywheel"), "serve", "--data", str(self.data), "--port", "0", *store]
        command += ["--workers", str(options.workers), "--role", options.role, "--log-level", "info"]
        signer = Signer(*read_credentials(self.data / "credentials"))
        super().__init__(name, command, signer=signer, stderr=self._log, stdout=subprocess.DEVNULL)
        self.port = self._announced()

    def _announced(self) -> int:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            for line in self.log():
                if line.get("event") == "server.started" and "url" in line:
                    port = int(line["url"].rpartition(":")[2])
                    if listening(port):
                        return port
            time.sleep(0.05)
        raise RuntimeError(f"keywheel did not start: {(self.data / 'server.log').read_text()[-2000:]}")

    def log(self) -> list[dict[str, Any]]:
        """The lines that it logged so far."""
        lines = (self.data / "server.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def workers(self) -> list[int]:
        """The API processes. The engine is forked last."""
        children = family(self.pid)[1:]
        return children[:-1] if self._role == "all" else children

    def engine(self) -> int:
        """The engine's process."""
        return family(self.pid)[-1]

    def worker_memory(self) -> int:
        """The bytes that each API process has for itself, at the most."""
        return max(unique_memory(pid) for pid in self.workers())

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._log.close()
        shutil.rmtree(self.data, ignore_errors=True)
