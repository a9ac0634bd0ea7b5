"""`python -m tests.chaos [--seconds 1200]`: run it, print what was seen, and say what was violated."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import key_verdict, verdict
from tests.chaos.custodian import Custodian
from tests.chaos.keys import KeyLoad, KeyObserver
from tests.chaos.load import Load
from tests.chaos.monkey import Monkey
from tests.chaos.mutants import MUTANTS
from tests.chaos.observer import Observer
from tests.chaos.plan import plan
from tests.chaos.report import Chaos, Keys
from tests.chaos.site import Site, building

SEED = 3
LEASE = 10.0
_PATIENCE = 420.0  # seconds until everything has to be at rest: a backoff is no longer than five minutes
_KEY_ROTATIONS = 1.5  # a second that are asked for, of six aliases
_COMMAND_EVERY = 8.0  # seconds
_BOUND = 9.0  # leases within which a refused login of a single user has to work again


def chaos(
    seconds: float,
    *,
    secrets: int,
    roles: int,
    seed: int = SEED,
    lease: float = LEASE,
    reads: float = 40.0,
    rotations: float = 20.0,
    uses: float = 8.0,
    root_pause: float = 8.0,
    mutant: str | None = None,
    say: Callable[[str], None] = print,
) -> Chaos:
    """Build the site, let the monkey loose for so many seconds, heal everything, and look at what is left."""
    with building(lease=lease, mutant=mutant) as site:
        site.furnish(secrets=secrets, roles=roles)
        pace = _Pace(seed, lease, reads, rotations, uses, root_pause)
        return _run(site, seconds, pace, say)


@dataclass(frozen=True, slots=True)
class _Pace:
    seed: int
    lease: float
    reads: float
    rotations: float
    uses: float
    root_pause: float


def _run(site: Site, seconds: float, pace: _Pace, say: Callable[[str], None]) -> Chaos:
    begun, epoch = time.monotonic(), time.time()

    def since() -> float:
        return time.monotonic() - begun

    seed, lease = pace.seed, pace.lease
    load = Load(site, since, seed=seed, reads=pace.reads, rotations=pace.rotations)
    keys = KeyLoad(site, since, seed=seed, uses=pace.uses, rotations=_KEY_ROTATIONS)
    key_observer = KeyObserver(site, since, keys.ledger, seed=seed)
    custodian = Custodian(site, seed=seed, pause=_COMMAND_EVERY, root_pause=pace.root_pause)
    observer = Observer(site, since, seed=seed, bound=_BOUND * lease)
    monkey = Monkey(site, since, say)
    working = (load, keys, custodian)
    for each in (*working, observer, key_observer):
        each.start()
    monkey.run(plan(seed, seconds, lease), seconds)
    for each in working:
        each.stop()
    ended = since()
    say(f"{ended:7.1f} s  the load ends; waiting for rest")
    while (verdict.unrest(site) or key_verdict.unrest(site)) and since() - ended < _PATIENCE:
        time.sleep(0.2)
    settled = since() - ended
    observer.stop()
    key_observer.stop()
    notes = verdict.notes_of(site)
    found = [*load.told.wrong, *observer.seen.wrong]
    found += [*key_verdict.violations(site, keys.ledger, custodian), *verdict.violations(site, load, notes)]
    say(f"{since():7.1f} s  looked at")
    return Chaos(
        seed=seed,
        seconds=ended,
        lease=lease,
        secrets=len(site.plain),
        roles=len(site.roles),
        struck=monkey.struck,
        reads=load.told.reads,
        asked=load.told.asked,
        writes=load.told.writes,
        done={note.token: note.at - epoch for note in notes if note.event == "RotationSucceeded" and note.token},
        samples=observer.seen.samples,
        kept=observer.seen.kept,
        outages=observer.seen.outages,
        settled=settled,
        events=Counter(note.event for note in notes),
        logged=verdict.logged(site),
        violations=found,
        keys=Keys(
            made=Counter(each.kind for each in keys.ledger.made),
            read=keys.ledger.read,
            asked=keys.ledger.asked,
            in_place=key_verdict.rotated_in_place(site),
            events=Counter(each.event for each in key_verdict.journal(site)),
            commands=custodian.came_to,
            refusals=custodian.refusals,
        ),
    )


def main() -> int:
    """The exit code: 1 when anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200.0)
    parser.add_argument("--secrets", type=int, default=10_000)
    parser.add_argument("--roles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--lease-seconds", type=float, default=LEASE)
    parser.add_argument("--reads", type=float, default=40.0, help="reads a second at each replica")
    parser.add_argument("--rotations", type=float, default=20.0, help="how often a second a rotation is asked for")
    parser.add_argument("--uses", type=float, default=8.0, help="uses of keys a second at each replica")
    parser.add_argument("--mutant", choices=list(MUTANTS), help="servers that do it in a wrong order")
    given = parser.parse_args()
    seen = chaos(
        given.seconds,
        secrets=given.secrets,
        roles=given.roles,
        seed=given.seed,
        lease=given.lease_seconds,
        reads=given.reads,
        rotations=given.rotations,
        uses=given.uses,
        mutant=given.mutant,
        say=lambda line: print(line, flush=True),
    )
    print(seen)
    print("\n".join(seen.violations) or "Nothing was lost, and nothing was rotated twice at once.")
    return bool(seen.violations)


if __name__ == "__main__":
    sys.exit(main())
