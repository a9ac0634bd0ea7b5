"""What a soak saw, what it must have seen, and the table of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.fuzz.vitals import MIB, Vitals, slope
from tests.soak.client import Asked
from tests.soak.work import BUSY

WARM_UP = 0.25  # of the run: memory is looked at after it
MOST_GROWTH = 16 * MIB  # of each process, by the straight line through what follows the warm-up
MOST_DESCRIPTORS = 8  # more than after the warm-up, in the mean
MOST_SLOWER = 5.0  # times the first period's p99, or the floor's
FLOOR = 0.050  # seconds: below, a p99 says more of the machine than of the server


@dataclass(frozen=True, slots=True)
class Soak:
    """One run. `vitals` holds the samples of each process by its name; `disk` each file's size before and after."""

    seconds: float
    period: float
    asked: Sequence[Asked]
    vitals: Mapping[str, Sequence[Vitals]]
    disk: Mapping[str, tuple[int, int]]
    rotations: int
    live: int
    roles: int

    def broken(self) -> Iterator[str]:
        """Each promise that the run did not keep."""
        for code, operation in sorted({(each.code, each.operation) for each in self.asked if _failed(each)}):
            yield f"{operation} answered {code}"
        if self.live != self.roles:
            yield f"{self.live} of {self.roles} roles were rotated and log in"
        for process, samples in self.vitals.items():
            if (grown := self.growth(samples)) > MOST_GROWTH:
                yield f"{process} grew by {grown / MIB:.1f} MiB after its warm-up"
            if (more := self.more_descriptors(samples)) > MOST_DESCRIPTORS:
                yield f"{process} held {more:.1f} more descriptors at the end"
        for operation in sorted({each.operation for each in self.asked}):
            if (times := self.slower(operation)) > MOST_SLOWER:
                yield f"the p99 of {operation} became {times:.1f} times that of the first period"

    def _settled(self, samples: Sequence[Vitals]) -> Sequence[Vitals]:
        begin = samples[0].at + WARM_UP * (samples[-1].at - samples[0].at)
        return [each for each in samples if each.at >= begin]

    def growth(self, samples: Sequence[Vitals]) -> float:
        """Bytes that a process grew by after its warm-up."""
        settled = self._settled(samples)
        return slope(settled) * (settled[-1].at - settled[0].at)

    def more_descriptors(self, samples: Sequence[Vitals]) -> float:
        """The mean of the last quarter, less that of the quarter after the warm-up."""
        settled = self._settled(samples)
        part = max(1, len(settled) // 3)
        first, last = settled[:part], settled[-part:]
        return sum(each.descriptors for each in last) / part - sum(each.descriptors for each in first) / part

    def slower(self, operation: str) -> float:
        """The slowest period's p99 over the first's; a time below the floor counts as the floor."""
        first, *rest = [max(FLOOR, p99) for _, _, p99, _ in self.periods(operation)] or [FLOOR]
        return max(rest, default=first) / first

    def periods(self, operation: str) -> list[tuple[int, float, float, float]]:
        """Count, p50, p99 and longest time of an operation in each whole period."""
        found = []
        for number in range(int(self.seconds // self.period)):
            begin = number * self.period
            took = sorted(
                each.took
                for each in self.asked
                if each.operation == operation and begin <= each.at < begin + self.period
            )
            if took:
                found.append((len(took), took[len(took) // 2], took[len(took) * 99 // 100], took[-1]))
        return found

    def __str__(self) -> str:
        busy = sum(each.code == BUSY and each.operation == "RotateSecret" for each in self.asked)
        lines = [
            f"{len(self.asked)} requests in {self.seconds:.0f} s, {sum(map(_failed, self.asked))} errors; "
            f"{self.rotations} rotations done, {busy} asked for while one was under way; "
            f"{self.live} of {self.roles} roles log in with what is published.",
            "",
            f"| operation | requests | p50 ms | p99 ms | max ms | p99 by {self.period:.0f} s, ms | worst ÷ first |",
            "|---|--:|--:|--:|--:|---|--:|",
        ]
        for operation in sorted({each.operation for each in self.asked}):
            took = sorted(each.took for each in self.asked if each.operation == operation)
            each_period = " ".join(f"{p99 * 1e3:.0f}" for _, _, p99, _ in self.periods(operation))
            lines.append(
                f"| {operation} | {len(took)} | {took[len(took) // 2] * 1e3:.1f} | "
                f"{took[len(took) * 99 // 100] * 1e3:.1f} | {took[-1] * 1e3:.0f} | {each_period} | "
                f"{self.slower(operation):.1f} |"
            )
        lines += [
            "",
            "| process | MiB after warm-up | MiB at the end | most MiB | growth by the line, MiB | descriptors |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for process, samples in self.vitals.items():
            settled = self._settled(samples)
            lines.append(
                f"| {process} | {settled[0].memory / MIB:.1f} | {settled[-1].memory / MIB:.1f} | "
                f"{max(each.memory for each in samples) / MIB:.1f} | {self.growth(samples) / MIB:+.2f} | "
                f"{settled[0].descriptors} → {settled[-1].descriptors} |"
            )
        lines += ["", "| on disk | MiB before | MiB after |", "|---|--:|--:|"]
        lines += [f"| {file} | {a / MIB:.1f} | {b / MIB:.1f} |" for file, (a, b) in self.disk.items()]
        return "\n".join(lines) + "\n"


def _failed(asked: Asked) -> bool:
    return asked.code is not None and not (asked.operation == "RotateSecret" and asked.code == BUSY)
