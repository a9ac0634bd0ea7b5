"""Which fault strikes whom, when, and how long: drawn from a seed before the run begins. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What may happen."""

    KILL = "replica killed"
    FREEZE_ENGINE = "engine frozen"
    FREEZE = "replica frozen"
    STORE_STALLED = "store unreachable, late delivery"
    STORE_CUT = "store unreachable, refused"
    TARGET_STALLED = "target unreachable, late delivery"
    TARGET_CUT = "target unreachable, refused"
    TARGET_GONE = "target unreachable for all"
    STORE_KILLED = "store killed"

    @property
    def spares_no_one(self) -> bool:
        """Every replica is hit: it stays short and alone."""
        return self in (Kind.TARGET_GONE, Kind.STORE_KILLED)

    @property
    def is_of_target(self) -> bool:
        """Whether it is the way to the target that is shut: there is one gate for all."""
        return self in (Kind.TARGET_STALLED, Kind.TARGET_CUT, Kind.TARGET_GONE)

    @property
    def hits_reads(self) -> bool:
        """Whether the replica's API answers no reads meanwhile."""
        return self in _DEAF


_DEAF = (Kind.KILL, Kind.FREEZE, Kind.STORE_STALLED, Kind.STORE_CUT, Kind.STORE_KILLED)
# How long each lasts, in leases: whoever freezes or is cut off is to lose its lease, most of the time.
_LASTS = {
    Kind.KILL: (0.1, 2.0),
    Kind.FREEZE_ENGINE: (1.2, 2.5),
    Kind.FREEZE: (1.2, 2.5),
    Kind.STORE_STALLED: (0.5, 2.5),
    Kind.STORE_CUT: (0.2, 2.0),
    Kind.TARGET_STALLED: (0.5, 2.5),
    Kind.TARGET_CUT: (0.2, 2.0),
    Kind.TARGET_GONE: (0.1, 0.4),
    Kind.STORE_KILLED: (0.05, 0.3),
}
_PAUSE = (0.3, 1.2)  # leases between the beginnings of two faults
_QUIET = 0.3  # leases after a fault that hit all, before the next one


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Instants are seconds since the run began."""

    kind: Kind
    replica: int
    begin: float
    end: float


def plan(seed: int, seconds: float, lease: float, *, replicas: int = 3) -> list[Fault]:
    """The faults of a run, by their beginnings.

    Each kind comes as often as any other. No more than two replicas are hit at a time, and what hits all comes alone.
    """
    draw = random.Random(seed)
    kinds = _kinds(draw)
    made: list[Fault] = []
    begin = draw.uniform(*_PAUSE) * lease
    while True:
        kind = next(kinds)
        while True:
            open_ = [each for each in made if each.end + _QUIET * lease > begin]
            if not _in_the_way(kind, [each.kind for each in open_]):
                break
            begin = min(each.end for each in open_) + _QUIET * lease
        healthy = [number for number in range(replicas) if number not in {each.replica for each in open_}]
        end = begin + draw.uniform(*_LASTS[kind]) * lease
        if end > seconds:
            return made
        made.append(Fault(kind, draw.choice(healthy), begin, end))
        begin += draw.uniform(*_PAUSE) * lease


def _in_the_way(kind: Kind, others: list[Kind]) -> bool:
    """Whether a fault has to wait until one of the others is over."""
    alone = any(each.spares_no_one for each in [kind, *others]) and len(others) > 0
    return alone or len(others) > 1 or (kind.is_of_target and any(each.is_of_target for each in others))


def _kinds(draw: random.Random) -> Iterator[Kind]:
    while True:
        yield from draw.sample(list(Kind), len(Kind))
