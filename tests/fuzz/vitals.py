"""What each process of a server holds: memory and file descriptors, from /proc."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.benchmarks.processes import family

MIB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Vitals:
    """One process at one moment: seconds since the watch began, resident bytes, open descriptors."""

    at: float
    memory: int
    descriptors: int


def slope(samples: Sequence[Vitals]) -> float:
    """Bytes a second: the straight line that fits the memory best."""
    middle = sum(each.at for each in samples) / len(samples)
    mean = sum(each.memory for each in samples) / len(samples)
    spread = sum((each.at - middle) ** 2 for each in samples)
    return sum((each.at - middle) * (each.memory - mean) for each in samples) / spread if spread else 0.0


class Watch:
    """Looks at a process and everything below it once a second, as long as the context lasts.

    The engine is forked last, so the members are in order: the parent, the API workers, the engine.
    """

    def __init__(self, pid: int, *, every: float = 1.0) -> None:
        self.members = family(pid)
        self._every = every
        self._over = threading.Event()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: dict[int, list[Vitals]] = defaultdict(list)

    def __enter__(self) -> Self:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()

    def look(self) -> dict[int, Vitals]:
        """A sample of each process now. One that has ended gives none."""
        seen = {}
        for pid in self.members:
            with suppress(OSError):
                memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
                descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
                seen[pid] = Vitals(time.monotonic() - self._begun, memory, descriptors)
                self.samples[pid].append(seen[pid])
        return seen

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self.look()
