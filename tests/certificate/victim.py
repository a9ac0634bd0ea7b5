"""The process that dies: an engine with a fault at one of its boundaries.

`python -m tests.certificate.victim` is the nursery. It loads everything once, reads a JSON line for each victim, forks
it, and answers with lines: `born PID`, then `stopped` as often as it is stopped, and at last `ended STATUS`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from keywheel.clock import Clock, SystemClock, from_epoch
from keywheel.config import Settings
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import TargetUnavailable
from keywheel.rotation.built_in import built_in
from keywheel.rotation.runners import Runners
from keywheel.rotator import Strategy
from keywheel.sensitive import Sensitive
from keywheel.server import House, build, log_to_stderr
from keywheel.testing import ManualClock
from tests.certificate import toys

R = TypeVar("R")

TICKS = 12


class Boundary:
    """Counts the calls over one kind of boundary, and does the deed at the n-th."""

    def __init__(self, number: int = -1, deed: str = "") -> None:
        self.names: list[str] = []
        self._number = number
        self._deed = deed

    def cross(self, name: str, call: Callable[[], R], *, lost: type[Exception], twice: Callable[[], R]) -> R:
        """Make the call, or what the fault makes of it."""
        struck = len(self.names) == self._number
        self.names.append(name)
        deed = self._deed if struck else ""
        if deed == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "drop request":
            raise lost("The request was dropped.")
        if deed == "delay":
            time.sleep(0.05)  # a thread that still tidies up behind a transaction would freeze with SQLite's lock
            os.kill(os.getpid(), signal.SIGSTOP)
        result = twice() if deed == "duplicate" else call()
        if deed == "kill after":
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == "drop reply":
            raise lost("The reply was dropped.")
        return result


class FaultyStore:
    """A store whose transactions are boundaries. A duplicated one is run, rolled back by a conflict, and run again."""

    def __init__(self, database: Database, boundary: Boundary) -> None:
        self._database = database
        self._boundary = boundary

    def write(self, work: Callable[[Tx], R]) -> R:
        """A transaction."""
        name = getattr(work, "__qualname__", "work").replace(".<locals>", "").replace(".<lambda>", "")

        def twice() -> R:
            def and_back(tx: Tx) -> None:
                work(tx)
                raise _RolledBackError

            with suppress(_RolledBackError):
                self._database.write(and_back)
            return self._database.write(work)

        return self._boundary.cross(name, lambda: self._database.write(work), lost=ConnectionError, twice=twice)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class _RolledBackError(Exception):
    """A conflict."""


def faulty_target(target: Any, boundary: Boundary) -> Any:
    """The same target, of a class of its own whose verbs are boundaries."""
    verbs = [name for name in dir(target) if not name.startswith("_") and name != "place"]
    calls = {name: getattr(target, name) for name in verbs if callable(getattr(target, name))}
    namespace = {name: _crossing(name, call, boundary) for name, call in calls.items()}
    return type(f"Faulty{type(target).__name__}", (type(target),), namespace)()


def _crossing(name: str, verb: Callable[..., Any], boundary: Boundary) -> Callable[..., Any]:
    def crossing(_: object, *args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            return verb(*args, **kwargs)

        def twice() -> Any:
            call()
            return call()

        return boundary.cross(name, call, lost=TargetUnavailable, twice=twice)

    return crossing


def house_of(
    spec: dict[str, Any],
    clock: Clock,
    *,
    around: Callable[[Database], Database] | None = None,
    strategies: dict[str, Strategy] | None = None,
) -> House:
    """The house on the store that `spec` names."""
    settings = Settings(data=spec["data"], database=spec["database"])
    settings = msgspec.structs.replace(settings, lease_seconds=spec["lease"])  # shorter than a user may have it
    root = Sensitive(bytes.fromhex(spec["root"]))
    return build(settings, root, clock=clock, around=around, runners=Runners(None, strategies))


def run(spec: dict[str, Any]) -> None:
    """Be the victim: rotate what is due until it rests, or until the fault strikes."""
    store, verbs = (
        Boundary(spec["number"], spec["deed"]) if spec["at"] == at else Boundary() for at in ("store", "verb")
    )
    clock = SystemClock() if spec["now"] is None else ManualClock(from_epoch(spec["now"]))
    strategies = {
        name: replace(strategy, target=faulty_target(strategy.target, verbs))  # type: ignore[type-var] # all are dataclasses
        for name, strategy in built_in().items()
    }
    toys.BY_NAME[spec["engine"]].install(strategies)
    house = house_of(spec, clock, around=lambda database: FaultyStore(database, store), strategies=strategies)
    engine = house.engine("victim")
    for _ in range(TICKS):
        if not engine.tick():
            break
    if spec["record"]:
        Path(spec["record"]).write_text(json.dumps({"store": store.names, "verb": verbs.names}), encoding="utf-8")


def nursery() -> None:
    """Fork a victim for each line."""
    log_to_stderr("error")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sys.stdin.close()
                run(json.loads(line))
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _say(f"born {pid}")
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            _say("stopped")
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    nursery()
