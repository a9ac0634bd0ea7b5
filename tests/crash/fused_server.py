"""`keywheel serve` with a fuse: it kills its whole process group, with SIGKILL, before or after the n-th effect.

An effect is a transaction of the store or a verb of a target. They are found by going through the code: the store and
every strategy's target are wrapped where the composition root builds them. So a new effect is covered unnamed. Without
a number the names of all effects are written down instead.

    python -m tests.crash.fused_server --data DIR --process engine --record FILE [--point N] [--only NAME]
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from keywheel import server
from keywheel.config import load_settings
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.rotation.built_in import built_in
from keywheel.rotation.runners import Runners
from keywheel.rotator import Strategy
from keywheel.sensitive import Sensitive
from keywheel.testing import Fuse

R = TypeVar("R")


class FusedDatabase:
    """A store whose transactions are effects, named by the work that they carry."""

    def __init__(self, database: Database, fuse: Fuse, only: str = "") -> None:
        self._database = database
        self._fuse = fuse
        self._only = only

    def write(self, work: Callable[[Tx], R]) -> R:
        """A transaction between two points; but for what comes by the clock: the audit ledger's and the root key's."""
        name = getattr(work, "__qualname__", "work").replace(".<locals>.<lambda>", "")
        clocked = threading.current_thread().name.startswith(("audit-", "root-key-")) or name.startswith("open_audit")
        if clocked or not name.startswith(self._only):
            return self._database.write(work)
        self._fuse.passes(f"before transaction {name}")
        result = self._database.write(work)
        self._fuse.passes(f"after transaction {name}")
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def fused_strategies(fuse: Fuse) -> dict[str, Strategy]:
    """The built-in strategies over targets whose verbs are effects."""
    fused: dict[str, Strategy] = {}
    for name, strategy in built_in().items():
        fused[name] = type(strategy)(fuse.around("target", strategy.target))  # type: ignore[call-arg] # as built_in does
    return fused


def main() -> None:
    """Serve until the fuse blows or SIGTERM comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--database")
    parser.add_argument("--process", choices=["api", "engine"], required=True)
    parser.add_argument("--point", type=int)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--only", default="", help="of the transactions, those whose names begin so")
    given = parser.parse_args()
    fuse = Fuse()
    server.build = partial(
        server.build,
        around=lambda database: FusedDatabase(database, fuse, given.only),
        runners=Runners(None, fused_strategies(fuse)),
    )
    name = f"_run_{given.process}"
    setattr(server, name, partial(_armed, getattr(server, name), fuse, given.point, given.record))
    settings = load_settings({"data": given.data, "database": given.database, "port": 0})
    raise SystemExit(server.serve(settings, lambda _: Sensitive("")))


def _armed(run: Callable[..., None], fuse: Fuse, point: int | None, record: Path, *args: Any) -> None:
    """Run a child process with the fuse armed, or recording."""
    if point is not None:
        with fuse.blow_at(point, lambda: os.killpg(os.getpgrp(), signal.SIGKILL)):
            run(*args)
        return
    with fuse.recording() as points:
        try:
            run(*args)
        finally:
            record.write_text("\n".join(points), encoding="utf-8")


if __name__ == "__main__":
    main()
