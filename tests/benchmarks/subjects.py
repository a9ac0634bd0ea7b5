"""The servers that are measured: ours on each store, moto's, and two that answer constant bytes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from keywheel.credentials import read_credentials
from keywheel.sensitive import Sensitive
from tests.benchmarks.load import drive
from tests.benchmarks.processes import cpu_seconds, family, unique_memory
from tests.benchmarks.workloads import Signer, creations
from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import _die_with_parent, free_port, listening

_BIN = Path(sys.executable).parent
_PATIENCE = 30.0
_STRANGER = Signer("AKIAIOSFODNN7EXAMPLE", Sensitive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))  # AWS's own example


class Subject(ABC):
    """A server that is up. A context manager."""

    name: str
    port: int
    signer: Signer = _STRANGER
    fills_at_once = 32

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process that was started."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    def cpu(self) -> float:
        """The CPU seconds of its whole process tree until now."""
        return cpu_seconds(self.pid)

    def fill(self, secrets: int) -> None:
        """Store the secrets that the measurements read and write."""
        requests = self.signer.requests("CreateSecret", creations(secrets), self.port)
        sample = drive(self.port, requests, connections=self.fills_at_once, seconds=600.0, once=True)
        if sample.refused:
            raise RuntimeError(f"{self.name} refuses to create secrets: {sample.first_refusal.decode()[-300:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Process(Subject):
    """A server that is one child process."""

    def __init__(self, name: str, command: Sequence[str], *, prints_port: bool = False) -> None:
        self.name = name
        output = subprocess.PIPE if prints_port else subprocess.DEVNULL
        self._process = subprocess.Popen(
            list(command),
            text=True,
            stdout=output,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # one system call, which takes no lock
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
            return
        self._process.kill()
        self._process.wait()


class Bare(_Process):
    """A server of `bare.py`."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"bare {kind}", [sys.executable, "-m", "tests.benchmarks.bare", kind], prints_port=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())


class Moto(_Process):
    """moto's server as it is shipped."""

    fills_at_once = 1  # its threads now and then trip over each other while its store grows

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__("moto", [str(_BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)])
        end = time.monotonic() + _PATIENCE
        while not listening(self.port):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("moto_server did not start")
            time.sleep(0.05)


class Keywheel(Subject):
    """`keywheel init` and `keywheel serve`, as an operator runs them.

    Args:
        store: a PostgreSQL address; None: SQLite in the data directory.
        parent: where the data directory is made.
    """

    def __init__(
        self, name: str, *, store: str | None = None, parent: str | None = None, workers: int = 1, role: str = "api"
    ) -> None:
        self.name = name
        self._role = role
        self._directory = Path(tempfile.mkdtemp(prefix="keywheel-bench-", dir=parent))
        self._server = KeywheelServer(self._directory, store, ["--workers", str(workers), "--role", role])
        self._server.__enter__()
        self.port = int(self._server.url.rpartition(":")[2])
        self.signer = Signer(*read_credentials(self._server.data / "credentials"))

    @property
    def pid(self) -> int:
        return self._server.pid

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self._server.data / "keywheel.db"

    @property
    def engine(self) -> int:
        """The process of the engine, which is forked last."""
        return family(self.pid)[-1]

    @property
    def worker_memory(self) -> int:
        """The bytes that an API process has for itself: of several, the most."""
        children = family(self.pid)[1:]
        return max(unique_memory(pid) for pid in (children[:-1] if self._role == "all" else children))

    def stop(self) -> None:
        self._server.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
