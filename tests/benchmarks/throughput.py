"""Requests a second, latency and CPU time of the operations, on every server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.load import Sample, drive
from tests.benchmarks.subjects import Subject
from tests.benchmarks.workloads import creations, gets, puts

CONNECTIONS = 32
Case = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Loads:
    """How much is stored on each server, and how long a measurement takes."""

    stored: int
    seconds: float

    def get(self, subject: Subject, connections: int = CONNECTIONS) -> Sample:
        """GetSecretValue."""
        requests = subject.signer.requests("GetSecretValue", gets(self.stored), subject.port)
        return drive(subject.port, requests, connections=connections, seconds=self.seconds, cpu=subject.cpu)

    def put(self, subject: Subject, most: int) -> Sample:
        """PutSecretValue; `most` a second is more than this server does."""
        members = puts(int(most * self.seconds), self.stored)
        return self._once(subject, subject.signer.requests("PutSecretValue", members, subject.port))

    def create(self, subject: Subject, most: int) -> Sample:
        """CreateSecret; `most` as above."""
        members = creations(int(most * self.seconds), prefix="bench/new")
        return self._once(subject, subject.signer.requests("CreateSecret", members, subject.port))

    def _once(self, subject: Subject, requests: list[bytes]) -> Sample:
        return drive(subject.port, requests, connections=CONNECTIONS, seconds=self.seconds, once=True, cpu=subject.cpu)


_OURS, _MOTOS = 12_000, 3_000  # writes a second that nobody reaches


def cases(loads: Loads, subjects: dict[str, Subject]) -> dict[str, Case]:
    """Every case by its name, `operation server`, for the servers that there are."""
    found: dict[str, Case] = {f"get {name}": partial(loads.get, subject) for name, subject in subjects.items()}
    for name in ("sqlite", "moto", "protocol"):
        found[f"one {name}"] = partial(loads.get, subjects[name], 1)
    for name in ("sqlite", "memory", "postgresql", "moto"):
        if name in subjects:
            found[f"put {name}"] = partial(loads.put, subjects[name], _MOTOS if name == "moto" else _OURS)
    for name in ("sqlite", "moto"):
        found[f"create {name}"] = partial(loads.create, subjects[name], _MOTOS if name == "moto" else _OURS)
    return found
