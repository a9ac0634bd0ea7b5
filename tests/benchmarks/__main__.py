"""Measure everything in one run and print it. `--quick` takes two minutes, and says less."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from tests.benchmarks import keys, report, rounds, throughput
from tests.benchmarks.keys import Keyed
from tests.benchmarks.load import Sample
from tests.benchmarks.rotations import Rotated, Rotating
from tests.benchmarks.rounds import Rounds
from tests.benchmarks.subjects import Bare, Keywheel, Moto, Subject
from tests.benchmarks.throughput import Loads
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

_MEMORY = Path("/dev/shm")
# The server under test has to write to a disk before it answers, and so do the databases beside it.
_DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done."""

    rounds: int
    seconds: float
    stored: int
    rotations: int


FULL = Size(rounds=5, seconds=1.5, stored=10_000, rotations=160)
QUICK = Size(rounds=3, seconds=0.3, stored=1_000, rotations=32)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: two minutes")
    parser.add_argument("--only", choices=("requests", "kms", "rotations"), help="this part alone")
    given = parser.parse_args()
    size = QUICK if given.quick else FULL
    console = Console(width=None if os.isatty(1) else 140)
    values: dict[str, float] = {}
    if given.only in (None, "kms"):
        values |= _keys(size, console)
    if given.only != "kms":
        with PostgresServer(settings=_DURABLE) as postgres:
            if given.only in (None, "requests"):
                values |= _requests(size, postgres, console)
            if given.only in (None, "rotations"):
                values |= _rotations(size, postgres, console)
    report.show_goals(values, console)


@contextmanager
def _subjects(size: Size, postgres: PostgresServer) -> Iterator[dict[str, Subject]]:
    """Every server, up and filled."""
    postgres.execute("CREATE DATABASE keywheel")
    with ExitStack() as stack:
        found: dict[str, Subject] = {"uvicorn": Bare("uvicorn"), "protocol": Bare("protocol"), "moto": Moto()}
        found |= {
            "sqlite": Keywheel("sqlite"),
            "two": Keywheel("two", workers=2),
            "postgresql": Keywheel("postgresql", store=postgres_url(postgres, "keywheel")),
        }
        if _MEMORY.is_dir():
            found["memory"] = Keywheel("memory", parent=str(_MEMORY))
        for subject in found.values():
            stack.enter_context(subject)
            if not isinstance(subject, Bare):
                subject.fill(size.stored)
        postgres.execute("ANALYZE", dbname="keywheel")  # as autovacuum does within a minute
        yield found


def _requests(size: Size, postgres: PostgresServer, console: Console) -> dict[str, float]:
    """The operations on every server."""
    with console.status("Starting and filling the servers"), ExitStack() as stack:
        subjects = stack.enter_context(_subjects(size, postgres))
        keep = stack.pop_all()
    with keep:
        cases = throughput.cases(Loads(size.stored, size.seconds), subjects)
        found = rounds.run("Requests", cases, rounds=size.rounds, console=console)
        sqlite = subjects["sqlite"]
        assert isinstance(sqlite, Keywheel)
        memory = sqlite.worker_memory / 2**20
    report.show_requests(found, console)
    report.show_generator(found, console)
    return _of_requests(found) | {"16": memory}


def _of_requests(found: Rounds[Sample]) -> dict[str, float]:
    values = {
        "1": found.ratio("get sqlite", "get moto", lambda s: s.rate),
        "3": found.ratio("get sqlite", "get protocol", lambda s: s.cpu_each),
        "4": found.ratio("get sqlite", "get uvicorn", lambda s: s.rate),
        "5a": found.ratio("one sqlite", "one protocol", lambda s: s.p50),
        "5b": found.ratio("one moto", "one sqlite", lambda s: s.p50),
        "8a": found.ratio("put sqlite", "put moto", lambda s: s.rate),
        "9": found.ratio("get postgresql", "get sqlite", lambda s: s.rate),
        "17": found.ratio("get two", "get sqlite", lambda s: s.cpu_each),
    }
    if "put memory" in found.samples:
        values["8b"] = found.ratio("put sqlite", "put memory", lambda s: s.rate)
    return values


def _keys(size: Size, console: Console) -> dict[str, float]:
    """What keys do on our server, on moto's and in the library; and readers beside them."""
    with Keywheel("sqlite") as keywheel, Moto() as moto:
        with console.status("Making keys"):
            keywheel.fill(1_000)
            ours = Keyed(keywheel)
            cases = keys.cases(ours, Keyed(moto), size.seconds)
        found = rounds.run("Keys", cases, rounds=size.rounds, console=console)
        beside = {
            name: partial(ours.readers, 1_000, size.seconds, None if name == "calm" else name)
            for name in report.BESIDE_KEYS
        }
        seen = rounds.run("Readers beside keys", beside, rounds=size.rounds, console=console)
    report.show_requests(found, console)
    report.show_keys(found, console)
    report.show_readers(seen, console, report.BESIDE_KEYS)
    rates = {"6a": "encrypt", "6b": "decrypt", "6c": "datakey"}
    values = {row: found.ratio(f"{name} sqlite", f"{name} moto", lambda s: s.rate) for row, name in rates.items()}
    return values | {"7": found.ratio("sign-rsa sqlite", "sign-rsa library", lambda s: s.rate)}


def _rotations(size: Size, postgres: PostgresServer, console: Console) -> dict[str, float]:
    """The engine beside the bare SQL, and readers beside the engine."""
    with Keywheel("rotating", role="all") as keywheel:
        with console.status("Making users to rotate"):
            keywheel.fill(1_000)
            rotating = Rotating(keywheel, postgres, count=size.rotations)
        cases = {name: partial(rotating.engine, name) for name in ("single-user", "alternating-users")}
        by_hand = {name: partial(rotating.by_hand, name) for name in ("single_user", "alternating_users", "least")}
        found: Rounds[Rotated] = rounds.run("Rotations", cases | by_hand, rounds=size.rounds, console=console)
        read = partial(Loads(1_000, size.seconds).get, keywheel, 4)
        readers = {name: partial(rotating.readers, read, rotating=name == "busy") for name in ("calm", "busy")}
        seen = rounds.run("Readers beside rotations", readers, rounds=size.rounds, console=console)
    report.show_rotations(found, console)
    report.show_readers(seen, console)
    return {
        "10a": found.ratio("single-user", "single_user", lambda s: s.rate),
        "10b": found.ratio("alternating-users", "alternating_users", lambda s: s.rate),
        "11a": found.ratio("single-user", "single_user", lambda s: s.cpu_each),
        "11b": found.ratio("alternating-users", "alternating_users", lambda s: s.cpu_each),
        "12": seen.ratio("busy", "calm", lambda s: s.p50),
    }


if __name__ == "__main__":
    main()
