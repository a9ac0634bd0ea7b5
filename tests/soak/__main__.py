"""`python -m tests.soak [--seconds 600]`: work for that long, print the table, and say what was not as promised."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from tests.benchmarks.subjects import Keywheel
from tests.fuzz.vitals import Watch
from tests.soak.report import Soak
from tests.soak.work import Work
from tests.support.servers import PostgresServer

# Two hours at 40 requests a second are 480 a second for ten minutes.
RATE = 480.0
_RETIRED = "SELECT count(*) FROM journal WHERE event = 'RotationSucceeded'"


def soak(seconds: float, *, secrets: int, roles: int, rate: float = RATE) -> Soak:
    """Start a server on SQLite and a target, and work that long."""
    with PostgresServer() as target, Keywheel("soaked", role="all") as server:
        work = Work(server, target, secrets=secrets, roles=roles, rate=rate)
        before = _sizes(server.database.parent)
        with Watch(server.pid) as watch:
            asked = work.run(seconds)
        work.settle()
        live = len(list(work.rotated()))
        work.close()
        after = _sizes(server.database.parent)
        with closing(sqlite3.connect(server.database)) as store:
            rotations = store.execute(_RETIRED).fetchone()[0]
        parent, *workers, engine = watch.members
        names = {parent: "parent", engine: "engine"} | {pid: f"API {n}" for n, pid in enumerate(workers, 1)}
        return Soak(
            seconds=seconds,
            period=60.0 if seconds >= 120 else seconds / 4,
            asked=asked,
            vitals={names[pid]: watch.samples[pid] for pid in watch.members},
            disk={file: (before.get(file, 0), size) for file, size in after.items()},
            rotations=rotations,
            live=live,
            roles=roles,
        )


def _sizes(directory: Path) -> dict[str, int]:
    """The store, its WAL, and the rest of the data directory together."""
    found = {"keywheel.db": 0, "keywheel.db-wal": 0, "everything else": 0}
    for path in directory.rglob("*"):
        if path.is_file():
            found[path.name if path.name in found else "everything else"] += path.stat().st_size
    return found


def main() -> int:
    """The exit code: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="tests.soak")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--secrets", type=int, default=2000)
    parser.add_argument("--roles", type=int, default=50)
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    options = parser.parse_args()
    seen = soak(options.seconds, secrets=options.secrets, roles=options.roles, rate=options.rate)
    print(seen, flush=True)
    broken = list(seen.broken())
    print("\n".join(broken) or "Every promise was kept.")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
