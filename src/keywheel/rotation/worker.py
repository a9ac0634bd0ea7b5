"""The engine: claim what is due, have it driven, keep its leases.

A worker holds a rotation by a lease, which a heartbeat renews while a step runs. A crash leaves the lease to end by
itself, or, when the same engine starts again, takes it back at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from keywheel.clock import Clock, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import Fenced
from keywheel.rotation import rows
from keywheel.rotation.driver import Driver, frames
from keywheel.rotation.engine import Rotations
from keywheel.rotation.rows import Entry
from keywheel.rotation.runners import Runners
from keywheel.secrets.ledger import Secrets

_log = structlog.get_logger("keywheel.engine")

_SWEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard the engine works. Durations are seconds."""

    lease: float = 30.0
    poll: float = 0.2
    workers: int = 8


class Engine:
    """Runs rotations until it is told to stop."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        rotations: Rotations,
        runners: Runners,
        clock: Clock,
        *,
        name: str,
        pace: Pace,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._clock = clock
        self._name = name
        self._pace = pace
        self._stop = threading.Event()
        self._stopped = threading.Event()
        self._running: dict[int, int] = {}  # secret id → fence
        self._lock = threading.Lock()
        self._freed = threading.Event()
        self._driver = Driver(database, secrets, rotations, runners, clock, name=name, stopping=self._stop.is_set)

    # --- the loop

    def run(self) -> None:
        """Work until `stop`. Steps under way end; the rest is left to whoever comes next."""
        self._reclaim()
        heart = threading.Thread(target=self._beat, name="engine-heartbeat", daemon=True)
        heart.start()
        swept = -_SWEEP_SECONDS
        with ThreadPoolExecutor(self._pace.workers, thread_name_prefix="rotation") as pool:
            while not self._stop.is_set():
                if self._clock.monotonic() - swept >= _SWEEP_SECONDS:
                    swept = self._clock.monotonic()
                    self._guarded(self._sweep)
                if not self._guarded(lambda: self._claim(pool)):
                    self._freed.wait(self._pace.poll)
                    self._freed.clear()
        self._stopped.set()  # only now: a step that ends after `stop` is held as long as it takes
        heart.join()

    def stop(self) -> None:
        """Ask `run` to end. Safe in a signal handler."""
        self._stop.set()

    def tick(self) -> int:
        """Claim what is due now and drive it to rest, in this thread; how many. What tests and tools call."""
        claimed = self._take(self._pace.workers)
        for entry in claimed:
            self._drive(entry)
        return len(claimed)

    def _claim(self, pool: ThreadPoolExecutor) -> bool:
        with self._lock:
            free = self._pace.workers - len(self._running)
        claimed = self._take(free) if free > 0 else []
        for entry in claimed:
            pool.submit(self._drive, entry)
        return bool(claimed)

    def _take(self, most: int) -> list[Entry]:
        now = to_epoch(self._clock.now())
        with self._database.point() as tx:  # a look without a lock: nothing is due most of the time
            wake = rows.next_wake(tx)
        if wake is None or wake > now:
            return []
        until = now + self._pace.lease
        claimed = self._database.write(lambda tx: rows.claim(tx, worker=self._name, now=now, until=until, most=most))
        with self._lock:
            self._running.update({entry.secret_id: entry.fence for entry in claimed})
        return claimed

    def _guarded(self, work: Callable[[], bool]) -> bool:
        """Run a part of the loop; a store that is away for a moment does not end the engine."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on and it is told
            _log.error("engine.loop", error=type(error).__name__)
            self._stop.wait(1.0)
            return False

    def _sweep(self) -> bool:
        purged = self._database.write(lambda tx: self._secrets.purge_due(tx, self._clock.now()))
        if purged:
            _log.info("engine.purged", secrets=purged)
        return True

    def _reclaim(self) -> None:
        now = to_epoch(self._clock.now())
        taken = self._database.write(lambda tx: rows.reclaim(tx, self._name, now))
        if taken:
            _log.info("engine.reclaimed", rotations=taken)

    def _beat(self) -> None:
        while not self._stopped.wait(self._pace.lease / 3.0):
            self._guarded(self._renew)

    def _renew(self) -> bool:
        with self._lock:
            held = list(self._running.items())
        until = to_epoch(self._clock.now()) + self._pace.lease

        def renew(tx: Tx) -> None:
            for secret_id, fence in held:
                rows.renew(tx, secret_id, worker=self._name, fence=fence, until=until)

        self._database.write(renew)
        return True

    # --- one rotation

    def _drive(self, entry: Entry) -> None:
        """Run steps until the rotation rests, is lost, or the engine stops."""
        try:
            self._driver.drive(entry)
        except Fenced:
            _log.info("rotation.lost", secret_id=entry.secret_id)
            self._guarded(lambda: self._let_go(entry))
        except Exception as error:  # noqa: BLE001 - the lease ends and the step is run again
            _log.error("rotation.interrupted", secret_id=entry.secret_id, error=type(error).__name__, at=frames(error))
        finally:
            with self._lock:
                if self._running.get(entry.secret_id) == entry.fence:
                    del self._running[entry.secret_id]
            self._freed.set()

    def _let_go(self, entry: Entry) -> bool:
        now = to_epoch(self._clock.now())
        self._database.write(lambda tx: rows.let_go(tx, entry.secret_id, worker=self._name, fence=entry.fence, now=now))
        return True
