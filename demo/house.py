"""The demo's two servers, as the demo sees them: started, kept on, or gone without a trace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from demo.errors import DemoFailed

_ROOT = Path(__file__).resolve().parent.parent
_STOP_SECONDS = 30.0


class House:
    """A directory, and a keeper process that runs the servers in it. A context manager: its end ends everything."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="keywheel-demo-", dir=_place()))
        self._log = self.directory / "keeper.log"
        self._kept = False
        try:
            self._keeper = self._start()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def keeper(self) -> int:
        """The process to send SIGTERM to, which ends both servers and removes their files."""
        return self._keeper.pid

    def hear(self, fact: str) -> dict[str, Any]:
        """Wait for the next thing that the keeper tells, which should be `fact`.

        Raises:
            DemoFailed: it could not start what it was to start.
        """
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"reason": self._last_words()}
        if told.get("fact") != fact:
            raise DemoFailed(f"{fact} did not start. {told['reason']}")
        return told

    def keep(self) -> None:
        """Let the servers outlive the demo."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.write("keep\n")
        self._keeper.stdin.close()
        self._kept = True

    def end(self) -> None:
        """End everything, unless it is kept; once is enough."""
        if self._kept or self._keeper.returncode is not None:
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C changes nothing
        try:
            self._keeper.terminate()
            try:
                self._keeper.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.communicate()
            shutil.rmtree(self.directory, ignore_errors=True)
        finally:
            signal.signal(signal.SIGINT, before)

    def _start(self) -> subprocess.Popen[str]:
        self.directory.chmod(0o711)  # root's PostgreSQL runs as another user, who has to pass through
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "demo.keeper", str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=_ROOT,
                start_new_session=True,  # the terminal's Ctrl-C is for the demo, which then ends its house in order
            )

    def _last_words(self) -> str:
        with suppress(FileNotFoundError):
            return self._log.read_text(errors="replace")[-2000:]
        return "The process that keeps the servers was ended."


def _place() -> str | None:
    """Where the directory goes: where temporary files do; for root, where other users may pass through as well."""
    usual = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() != 0 or all(parent.stat().st_mode & stat.S_IXOTH for parent in (usual, *usual.parents)):
        return None
    return "/var/tmp"  # noqa: S108 - it is the parent of a directory that mkdtemp names
