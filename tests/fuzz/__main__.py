"""`python -m tests.fuzz [--count 100000] [--seed N]`: all of it on SQLite, a tenth on PostgreSQL."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import abuse
from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

SEED = 20_240_229


def main() -> int:
    """The exit code: 1 when a server did what it should not."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], help="one store only")
    options = parser.parse_args()
    wrong = []
    with PostgresServer() as postgres:
        postgres.execute("CREATE DATABASE fuzzed")
        stores = {
            "sqlite": (None, options.count),
            "postgresql": (postgres_url(postgres, "fuzzed"), options.count // 10),
        }
        for store, (url, count) in stores.items():
            if options.store in (None, store):
                with tempfile.TemporaryDirectory() as directory, KeywheelServer(Path(directory), url) as server:
                    told = abuse(server, count=count, seed=options.seed)
                print(f"{store}: {told}\n" + "\n".join(told.wrong[:30]), flush=True)
                wrong += told.wrong
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
