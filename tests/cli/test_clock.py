"""`keywheel clock` against real servers whose store remembers another time."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.keywheel_server import KeywheelServer

YEAR = 365 * 86_400.0
_PATIENCE = 30.0


def clock(server: KeywheelServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--data", str(server.data), "--endpoint-url", server.url]
    return subprocess.run(
        [sys.executable, "-m", "keywheel", "clock", *arguments, *where], capture_output=True, text=True
    )


def until_exit_code(server: KeywheelServer, code: int) -> str:
    """What it says once it ends with that code."""
    end = time.monotonic() + _PATIENCE
    while (said := clock(server)).returncode != code:
        assert time.monotonic() < end, said.stdout + said.stderr
    return said.stdout


@pytest.mark.parametrize(("seen", "word"), [(-YEAR, "ahead of"), (YEAR, "behind")])
def test_a_clock_that_is_elsewhere_is_told_and_accepted(tmp_path: Path, seen: float, word: str) -> None:
    """Exit code 1 while it is doubted; on a person's word the engine goes on at once."""
    with KeywheelServer(tmp_path) as server:
        assert "trusted" in until_exit_code(server, 0)
        server.stop()
        with closing(sqlite3.connect(server.data / "keywheel.db")) as store:
            known = json.dumps({"seen": time.time() + seen}).encode()
            store.execute("INSERT OR REPLACE INTO installation (name, value) VALUES ('clock', ?)", [known])
            store.commit()
        server.start()
        assert word in until_exit_code(server, 1)
        assert "hears" in clock(server, "--accept").stdout
        until_exit_code(server, 0)
        assert "Doubted" not in json.loads(clock(server, "--json").stdout)
