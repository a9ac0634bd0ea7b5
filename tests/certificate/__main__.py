"""`python -m tests.certificate [--quick N] [--write FILE]`: run the certificate, and print its table."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.certificate import cases, live
from tests.certificate.cases import DELAY, Case, Result
from tests.certificate.world import STORES, Nursery, World, strategies_of
from tests.support.servers import PostgresServer

PAGE = """# The crash certificate

Written by `make certificate`: a rotation is run again and again, each time with one fault at one boundary of its input
and output, on live targets and on both stores. The boundaries are counted in an undisturbed rotation, not listed by
hand: transactions of the store, verbs of the target, and each piece that is sent to the target over the wire. A
strategy or a target that is added later joins by itself. The test run takes a sample of the cases, and has four engines
that do it in a wrong order run into them: each is caught.

| fault | what happens |
|---|---|
| `kill before`, `kill after` | SIGKILL of the engine's process, before or after the boundary is crossed |
| `drop request`, `drop reply` | nothing arrives, or it does and nobody hears of it |
| `duplicate` | it is done twice (a transaction: rolled back by a conflict, and run again) |
| `delay` | SIGSTOP until the lease is over and other rotations are complete; then everything goes on |

Checked after the fault and after every step of the recovery: a credential that the store keeps logs in; with users that
alternate, AWSCURRENT does; no user can log in with a password that the store does not keep. After the recovery:
AWSCURRENT is new and logs in, nothing is pending, what was replaced in place is dead, and the engine was woken no more
than {steps} times. After a frozen worker woke up: AWSCURRENT logged in all the while.

"""


def main() -> int:
    """Run it; 1 when anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.certificate", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="run only every N-th case")
    parser.add_argument("--store", choices=STORES, action="append", help="run on this store only")
    parser.add_argument("--verbose", action="store_true", help="tell each case on standard error before it is run")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table to FILE")
    given = parser.parse_args()
    table = Table()
    with PostgresServer() as server:
        for rotator in live.names():
            target = live.start(rotator)
            try:
                for store, real_time in itertools.product(given.store or STORES, (False, True)):
                    nursery = Nursery()
                    try:
                        with World(store, target, server, real_time=real_time, nursery=nursery) as world:
                            run_all(
                                world, rotator, table, every=given.every, real_time=real_time, verbose=given.verbose
                            )
                    finally:
                        nursery.close()
            finally:
                target.stop()
    print(table)
    if given.write:
        given.write.write_text(PAGE.format(steps=cases.STEPS) + str(table), encoding="utf-8")
    return 1 if table.violations else 0


def run_all(world: World, rotator: str, table: Table, *, every: int, real_time: bool, verbose: bool) -> None:
    """Every case of a rotator in one world."""
    for function, strategy in strategies_of(rotator).items():
        found = cases.boundaries(world, function, world.admit(function, strategy))
        every_case: Iterable[Case] = cases.delays(found) if real_time else cases.cases(found)
        for case in itertools.islice(every_case, None, None, every):
            # A frozen worker does harm in a later rotation; what killed it is over by then.
            patient = world.admit(function, strategy)
            if verbose:
                print(f"{strategy.NAME} {world.store} {case}", file=sys.stderr, flush=True)
            result = cases.run(world, patient, case)
            table.add(rotator, strategy.NAME, world.store, case, result)
            for violation in result.violations:
                print(f"VIOLATED {rotator} {strategy.NAME} {world.store}: {case}: {violation}", flush=True)


class Table:
    """The counts."""

    def __init__(self) -> None:
        self.cases: Counter[tuple[str, str, str, str, str]] = Counter()
        self.violations: Counter[tuple[str, str, str, str, str]] = Counter()
        self.steps = 0
        self.outages: dict[tuple[str, str], float] = {}

    def add(self, rotator: str, strategy: str, store: str, case: Case, result: Result) -> None:
        """Count a case."""
        key = (rotator, strategy, store, case.at, case.deed)
        self.cases[key] += 1
        self.violations[key] += len(result.violations)
        self.violations += Counter()  # forgets zeros
        self.steps = max(self.steps, result.steps)
        if case.deed == DELAY:
            where = (rotator, strategy)
            self.outages[where] = max(self.outages.get(where, 0.0), result.outage)

    def __str__(self) -> str:
        lines = [
            "| target | strategy | store | boundary | fault | cases | violations |",
            "|---|---|---|---|---|--:|--:|",
        ]
        lines += [
            "| " + " | ".join(key) + f" | {self.cases[key]} | {self.violations[key]} |" for key in sorted(self.cases)
        ]
        total, broken = sum(self.cases.values()), sum(self.violations.values())
        lines += ["", f"**{total} cases, {broken} violations**; a recovery took {self.steps} steps at the most."]
        for (rotator, strategy), seconds in sorted(self.outages.items()):
            lines.append(
                f"After a frozen worker woke up, AWSCURRENT of {rotator}, {strategy}, did not log in "
                f"for {seconds:.2f} s at the longest."
            )
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
