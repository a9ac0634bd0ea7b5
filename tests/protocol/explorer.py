"""Explores a model to its end, breadth first: the first trace to a broken invariant is a shortest one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests.protocol.model import Rules, State, broken, following, good, start


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. `violations`: a shortest trace for each invariant; `stuck_trace`: to a state with no way out."""

    states: int
    transitions: int
    violations: dict[str, list[str]]
    stuck: int
    stuck_trace: list[str]
    steps: frozenset[tuple[str, str]]  # pairs of a rotation's steps that follow each other

    @property
    def holds(self) -> bool:
        """All invariants hold, and from everywhere there is a way to a good end."""
        return not self.violations and not self.stuck


class TooLarge(Exception):
    """The model has more states than it was allowed."""


def explore(rules: Rules, *, most: int = 3_000_000, until_broken: bool = False) -> Verdict:
    """Look at every reachable state; or, `until_broken`, until an invariant does not hold.

    Raises:
        TooLarge: there are more than `most`.
    """
    first = start(rules)
    number: dict[State, int] = {first: 0}
    came: list[tuple[int, str]] = [(-1, "")]
    before: list[list[int]] = [[]]
    ends: list[int] = []
    violations: dict[str, int] = {}
    steps: set[tuple[str, str]] = set()
    queue, transitions = deque([first]), 0
    while queue:
        state = queue.popleft()
        here = number[state]
        if good(rules, state):
            ends.append(here)
        for name in broken(rules, state):
            violations.setdefault(name, here)
        if until_broken and violations:
            break
        for what, after in following(rules, state):
            transitions += 1
            there = number.get(after)
            if there is None:
                there = number[after] = len(came)
                came.append((here, what))
                before.append([])
                queue.append(after)
                if there > most:
                    raise TooLarge(f"more than {most} states")
            before[there].append(here)
            if state.step != after.step:
                steps.add((state.step, after.step))
    hopeless = [] if until_broken and violations else _without_a_way(before, ends)
    return Verdict(
        states=len(came),
        transitions=transitions,
        violations={name: _trace(came, where) for name, where in sorted(violations.items())},
        stuck=len(hopeless),
        stuck_trace=_trace(came, hopeless[0]) if hopeless else [],
        steps=frozenset(steps),
    )


def _without_a_way(before: list[list[int]], ends: list[int]) -> list[int]:
    """The states from which no end can be reached."""
    saved = bytearray(len(before))
    queue = deque(ends)
    for end in ends:
        saved[end] = 1
    while queue:
        for state in before[queue.popleft()]:
            if not saved[state]:
                saved[state] = 1
                queue.append(state)
    return [state for state, is_saved in enumerate(saved) if not is_saved]


def _trace(came: list[tuple[int, str]], where: int) -> list[str]:
    trace = []
    while where > 0:
        where, what = came[where]
        trace.append(what)
    return trace[::-1]
