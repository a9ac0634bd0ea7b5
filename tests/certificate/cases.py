"""The cases of the certificate: which there are, and what is checked in each of them."""

from __future__ import annotations

import json
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from keywheel.rotator import FencedTarget
from tests.certificate import toys
from tests.certificate.toys import Toy
from tests.certificate.world import PATIENCE, Patient, World

AT_STORE = ("kill before", "kill after", "drop request", "drop reply", "duplicate")
AT_VERB = ("drop request", "drop reply", "duplicate")
AT_WIRE = ("kill before", "kill after", "drop request", "drop reply")
DELAY = "delay"
STEPS = 10
"""How often the rescuer may have to be woken until a rotation is at rest."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault at a boundary of a rotation."""

    at: str  # store, verb or wire
    number: int
    name: str
    deed: str

    def __str__(self) -> str:
        return f"{self.deed} at {self.at} {self.number} ({self.name})"


@dataclass(slots=True)
class Result:
    """What was found out in a case."""

    violations: list[str]
    steps: int = 0
    outage: float = 0.0  # seconds, after a frozen worker woke up


def boundaries(world: World, function: str, patient: Patient, toy: Toy = toys.RIGHT) -> dict[str, list[str]]:
    """The boundaries that an undisturbed rotation crosses, found by counting them."""
    world.start(patient)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        world.wire.arm()
        world.victim(engine=toy.name, record=file.name)
        assert world.nursery.hears("ended") == "ended 0"
        pieces = world.wire.disarm()
        found: dict[str, list[str]] = json.loads(Path(file.name).read_text(encoding="utf-8"))
    found["wire"] = [f"piece {number}" for number in range(pieces)]
    assert world.at_rest(patient), f"{function} did not come to rest undisturbed"
    return found


def cases(found: dict[str, list[str]]) -> Iterator[Case]:
    """Every fault at every boundary that does not need the real time."""
    for at, deeds in (("store", AT_STORE), ("verb", AT_VERB), ("wire", AT_WIRE)):
        for number, name in enumerate(found[at]):
            for deed in deeds:
                yield Case(at, number, name, deed)


def delays(found: dict[str, list[str]]) -> Iterator[Case]:
    """A worker that is frozen at each boundary until its lease is over and the next rotation is complete."""
    for at in ("store", "verb", "wire"):
        for number, name in enumerate(found[at]):
            yield Case(at, number, name, DELAY)


# --- what must hold --------------------------------------------------------------------------------------------------


def _always(world: World, patient: Patient, when: str) -> list[str]:
    """At every instant: a kept credential logs in, and no credential that logs in is unknown."""
    broken = []
    kept = world.kept(patient).values()
    if not any(world.live.works(each) for each in kept):
        broken.append(f"{when}: no credential that is kept logs in")
    if patient.strategy.GRACE is None and not world.live.works(world.current(patient)):
        broken.append(f"{when}: AWSCURRENT does not log in, although the strategy overlaps")
    broken += [f"{when}: user {user} logs in with an unknown password" for user in world.unknown_users(patient)]
    return broken


def _recovered(world: World, patient: Patient, before: str) -> list[str]:
    """At rest: AWSCURRENT is new, and logs in; nothing is pending; what it replaced in place is dead."""
    labels, broken = world.labels(patient), []
    current = world.current(patient)
    if labels["AWSCURRENT"] == before:
        broken.append("the rotation was not completed")
    if "AWSPENDING" in labels:
        broken.append("something is still pending")
    if not world.live.works(current):
        broken.append("AWSCURRENT does not log in after the recovery")
    if patient.strategy.GRACE is not None:
        others = [each for version, each in world.kept(patient).items() if version != labels["AWSCURRENT"]]
        broken += ["an old password still logs in" for each in others if world.live.works(each)]
    return broken


def _rest(world: World, patient: Patient, result: Result) -> None:
    """Let the rescuer work until the rotation is at rest, and look all the while."""
    end = time.monotonic() + PATIENCE
    while not world.at_rest(patient) and result.steps < STEPS and time.monotonic() < end:
        if not world.tick(patient):
            continue
        result.steps += 1
        result.violations += _always(world, patient, f"after {result.steps} steps of the recovery")
    if not world.at_rest(patient):
        result.violations.append(f"not at rest after {result.steps} steps: {world.entry(patient).rotation}")


# --- a case ----------------------------------------------------------------------------------------------------------


def run(world: World, patient: Patient, case: Case, toy: Toy = toys.RIGHT) -> Result:
    """Rotate with the fault, recover, and look."""
    before = world.labels(patient)["AWSCURRENT"]
    world.start(patient)
    struck = threading.Event()
    _arm(world, case, struck)
    at = "" if case.at == "wire" else case.at
    world.victim(at=at, number=case.number, deed=case.deed, engine=toy.name)
    if case.deed == DELAY:
        return _delayed(world, patient, case, struck, before)
    world.nursery.hears("ended")
    world.wire.disarm()
    result = Result(_always(world, patient, "after the fault"))
    world.lose_the_lease()
    _rest(world, patient, result)
    result.violations += _recovered(world, patient, before)
    return result


def _arm(world: World, case: Case, go_on: threading.Event) -> None:
    if case.at != "wire":
        return

    def deed() -> str:
        if case.deed in ("kill before", "kill after"):
            world.nursery.signal(signal.SIGKILL)
        elif case.deed == DELAY:
            world.nursery.signal(signal.SIGSTOP)
            go_on.wait(60.0)
        return {"kill before": "cut", "drop request": "cut", "drop reply": "cut reply"}.get(case.deed, "forward")

    world.wire.arm(case.number, deed)


def _delayed(world: World, patient: Patient, case: Case, go_on: threading.Event, before: str) -> Result:
    """Rotations come and go while the worker is frozen, until it would hit AWSCURRENT; then it wakes up."""
    if world.nursery.hears("stopped", "ended").startswith("ended"):
        world.wire.disarm()
        return Result([f"the boundary was not reached: {case}"])
    world.wire.disarm()
    result = Result(_always(world, patient, "while the worker is frozen"))
    world.lose_the_lease()
    try:
        _rest(world, patient, result)
    except sqlite3.OperationalError:  # frozen with SQLite's lock: nothing goes on before it does
        world.nursery.signal(signal.SIGCONT)
        go_on.set()
        world.nursery.hears("ended")
        _rest(world, patient, result)
        result.violations += _recovered(world, patient, before)
        return result
    result.violations += _recovered(world, patient, before)
    if result.violations:
        world.nursery.signal(signal.SIGKILL)
        go_on.set()
        world.nursery.hears("ended")
        return result
    for _ in range(2 if patient.strategy.GRACE is None else 1):  # alternating users come back to the same one
        before = world.labels(patient)["AWSCURRENT"]
        world.start(patient)
        result.steps = 0
        _rest(world, patient, result)
        result.violations += _recovered(world, patient, before)
    world.nursery.signal(signal.SIGCONT)
    go_on.set()
    woke = time.monotonic()
    while not world.nursery_is_still():
        if not world.live.works(world.current(patient)):
            result.outage = time.monotonic() - woke
    result.outage = _repaired_within(world, patient, woke, result.outage)
    if result.outage and isinstance(patient.strategy.target, FencedTarget):
        result.violations.append(f"AWSCURRENT did not log in for {result.outage:.2f} s after the worker woke up")
    result.violations += _always(world, patient, "after the worker woke up")
    return result


def _repaired_within(world: World, patient: Patient, woke: float, outage: float) -> float:
    """How long AWSCURRENT did not log in after the worker woke up; what it broke is repaired by the engine itself."""
    end = time.monotonic() + timedelta(seconds=10).total_seconds()
    while not world.live.works(world.current(patient)) and time.monotonic() < end:
        world.engine.tick()
        outage = time.monotonic() - woke
    return outage
