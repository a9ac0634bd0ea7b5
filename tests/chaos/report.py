"""What a run saw, and the tables of it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.load import Read
from tests.chaos.monkey import Struck
from tests.chaos.plan import Kind

_SLACK = 2.0  # seconds: what is left in the queues of a busy machine


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long it took after each fault of a kind, in seconds.

    Attributes:
        next_done: until any rotation was complete, from the fault's beginning.
        pause: the longest time without a complete rotation, while it lasted.
        taken_over: until those that the engine was busy with were complete, from the fault's beginning.
        reads: until a read at the replica was answered, from the fault's end.
    """

    next_done: Sequence[float]
    pause: Sequence[float]
    taken_over: Sequence[float]
    reads: Sequence[float]


@dataclass(frozen=True, slots=True)
class Keys:
    """What was made with keys, read back, asked for, and done to them."""

    made: Mapping[str, int] = field(default_factory=dict)
    read: Mapping[str, int] = field(default_factory=dict)
    asked: Mapping[str, int] = field(default_factory=dict)
    in_place: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"keys: made {dict(self.made)}, read back {dict(self.read)}.",
                f"asked: {dict(sorted(self.asked.items()))}.",
                f"rotated behind aliases {self.events.get('KeyRotationSucceeded', 0)}, in place {dict(self.in_place)}.",
                f"journal of keys: {dict(self.events)}",
                f"commands: {dict(sorted(self.commands.items()))} {dict(self.refusals)}",
            ]
        )


@dataclass(frozen=True, slots=True)
class Chaos:
    """One run. Instants are seconds since it began; `done` holds those at which a rotation was complete, by version."""

    seed: int
    seconds: float
    lease: float
    secrets: int
    roles: int
    struck: Sequence[Struck]
    reads: Sequence[Read]
    asked: Mapping[str, int]
    writes: Mapping[str, int]
    done: Mapping[str, float]
    samples: int
    kept: int
    outages: Sequence[float]
    settled: float
    events: Mapping[str, int]
    logged: Mapping[str, int]
    violations: Sequence[str]
    keys: Keys = field(default_factory=Keys)

    def recovery(self, kind: Kind) -> Recovery:
        """The times of all faults of a kind."""
        instants, answered = sorted(self.done.values()), self._answered()
        next_done, pause, taken_over, reads = [], [], [], []
        for each in self.struck:
            if each.fault.kind is not kind:
                continue
            next_done += [at - each.begin for at in instants if at > each.begin][:1]
            during = [each.begin, *(at for at in instants if each.begin < at < each.end), each.end]
            pause.append(max(later - earlier for earlier, later in pairwise(during)))
            taken_over += [at - each.begin for token in each.tokens if (at := self.done.get(token, 0.0)) > each.begin]
            if kind.hits_reads:
                reads += _wait(answered, each)
        return Recovery(next_done, pause, taken_over, reads)

    def unaided(self) -> Counter[str]:
        """Reads without a value at a replica that no fault had hit, by their codes.

        A fault is to blame until the first read that is answered afterwards where it had struck.
        """
        answered = self._answered()
        spans = [(each, each.end + next(iter(_wait(answered, each)), 0.0) + _SLACK) for each in self.struck]
        return Counter(
            read.code
            for read in self.reads
            if read.code is not None
            and not any(
                each.begin <= read.at
                and read.at - read.took <= until
                and (each.fault.kind.spares_no_one or each.fault.replica == read.replica)
                for each, until in spans
            )
        )

    def _answered(self) -> dict[int, list[float]]:
        """When reads were answered, by replica."""
        found: dict[int, list[float]] = {}
        for read in self.reads:
            if read.code is None:
                found.setdefault(read.replica, []).append(read.at)
        return {replica: sorted(instants) for replica, instants in found.items()}

    def __str__(self) -> str:
        count = len(self.done)
        good = [read for read in self.reads if read.code is None]
        took = sorted(read.took for read in good) or [0.0]
        hit = {each.fault.kind for each in self.struck}
        asked, writes = dict(self.asked), dict(self.writes)
        unaided = f"{sum(self.unaided().values())} {dict(self.unaided()) or ''}".rstrip()
        lines = [
            f"seed {self.seed}: {self.seconds:.0f} s, {self.secrets} secrets, {self.roles} live roles, "
            f"leases of {self.lease:.0f} s; {len(self.struck)} faults.",
            f"{count} rotations complete ({count / self.seconds:.1f} a second), of {asked.get('done', 0)} that were "
            f"accepted; at rest {self.settled:.1f} s after the end.",
            f"{len(good)} reads ({len(good) / self.seconds:.0f} a second), p50 {took[len(took) // 2] * 1e3:.1f} ms, "
            f"p99 {took[len(took) * 99 // 100] * 1e3:.0f} ms; {len(self.reads) - len(good)} had no answer or an error, "
            f"at replicas that nothing had hit {unaided}.",
            f"RotateSecret: {asked}. PutSecretValue: {writes}.",
            f"{self.samples} logins with AWSCURRENT, {self.kept} looks at every kept version; "
            f"{len(self.outages)} logins of single users refused on the way, "
            f"{_times(self.outages)} s until AWSCURRENT worked.",
            f"journal: {dict(self.events)}",
            f"logs: {dict(self.logged)}",
            str(self.keys),
            "",
            "| fault | times | next rotation complete, s | longest pause, s "
            "| those under way complete, s | reads again, s |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for kind in Kind:
            if kind in hit:
                times, found = sum(each.fault.kind is kind for each in self.struck), self.recovery(kind)
                cells = [_times(found.next_done), _times(found.pause), _times(found.taken_over), _times(found.reads)]
                lines.append(f"| {kind} | {times} | " + " | ".join(cells) + " |")
        lines += ["", f"**{len(self.violations)} violations**"]
        return "\n".join(lines)


def _wait(answered: Mapping[int, Sequence[float]], struck: Struck) -> list[float]:
    """How long after a fault the first read was answered where it had struck, if there was one."""
    instants = answered.get(struck.fault.replica, [])
    first = bisect_left(instants, struck.end)
    return [at - struck.end for at in instants[first : first + 1]]


def _times(seconds: Sequence[float]) -> str:
    """The median and the longest."""
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f}, at most {ordered[-1]:.1f}" if ordered else "–"
