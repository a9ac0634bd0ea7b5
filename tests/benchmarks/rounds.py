"""Rounds: every case once in each, in an order of its own. What is compared is compared inside a round."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from statistics import median
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


class Rounds(Generic[T]):
    """The samples of some cases."""

    def __init__(self, samples: dict[str, list[T]]) -> None:
        self.samples = samples

    def median(self, case: str, measure: Callable[[T], float]) -> float:
        """The median over all rounds."""
        return median(map(measure, self.samples[case]))

    def ratio(self, case: str, to: str, measure: Callable[[T], float]) -> float:
        """The median of the ratios that the rounds had."""
        pairs = zip(self.samples[case], self.samples[to], strict=True)
        return median(measure(one) / measure(other) for one, other in pairs)


def run(title: str, cases: Mapping[str, Callable[[], T]], *, rounds: int, console: Console) -> Rounds[T]:
    """Run every case `rounds` times."""
    samples: dict[str, list[T]] = {name: [] for name in cases}
    order = []
    for _ in range(rounds):
        names = list(cases)
        random.shuffle(names)
        order += names
    for name in track(order, title, console=console, transient=True):
        samples[name].append(cases[name]())
    return Rounds(samples)
