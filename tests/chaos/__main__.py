"""`python -m tests.chaos [--seconds 1200]`: run it, print what was seen, and say what was violated."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable

from tests.chaos import verdict
from tests.chaos.load import Load
from tests.chaos.monkey import Monkey
from tests.chaos.observer import Observer
from tests.chaos.plan import plan
from tests.chaos.report import Chaos
from tests.chaos.site import Site, building

SEED = 3
LEASE = 10.0
_PATIENCE = 420.0  # seconds until everything has to be at rest: a backoff is no longer than five minutes
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
    say: Callable[[str], None] = print,
) -> Chaos:
    """Build the site, let the monkey loose for so many seconds, heal everything, and look at what is left."""
    with building(lease=lease) as site:
        site.furnish(secrets=secrets, roles=roles)
        return _run(site, seconds, seed=seed, lease=lease, reads=reads, rotations=rotations, say=say)


def _run(
    site: Site, seconds: float, *, seed: int, lease: float, reads: float, rotations: float, say: Callable[[str], None]
) -> Chaos:
    begun, epoch = time.monotonic(), time.time()

    def since() -> float:
        return time.monotonic() - begun

    load = Load(site, since, seed=seed, reads=reads, rotations=rotations)
    observer = Observer(site, since, seed=seed, bound=_BOUND * lease)
    monkey = Monkey(site, since, say)
    load.start()
    observer.start()
    monkey.run(plan(seed, seconds, lease), seconds)
    load.stop()
    ended = since()
    say(f"{ended:7.1f} s  the load ends; waiting for rest")
    while verdict.unrest(site) and since() - ended < _PATIENCE:
        time.sleep(0.2)
    settled = since() - ended
    observer.stop()
    notes = verdict.notes_of(site)
    found = [*load.told.wrong, *observer.seen.wrong, *verdict.violations(site, load, notes)]
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
    given = parser.parse_args()
    seen = chaos(
        given.seconds,
        secrets=given.secrets,
        roles=given.roles,
        seed=given.seed,
        lease=given.lease_seconds,
        reads=given.reads,
        rotations=given.rotations,
        say=lambda line: print(line, flush=True),
    )
    print(seen)
    print("\n".join(seen.violations) or "Nothing was lost, and nothing was rotated twice at once.")
    return bool(seen.violations)


if __name__ == "__main__":
    sys.exit(main())
