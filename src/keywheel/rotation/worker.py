"""The engine: claim what is due, have it driven, keep its leases.

A worker holds a rotation by a lease, which a heartbeat renews while a step runs. A crash leaves the lease to end by
itself, or, when the same engine starts again, takes it back at once. When a lease ends is told by the store's clock;
whether it still runs, by this machine's own, which counts while the machine sleeps.

What is due now is asked for when a bell rings, when something comes due, and every second; more often where no bell is
to be heard.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from keywheel.clock import Clock, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import Fenced
from keywheel.rotation import rows, slots
from keywheel.rotation.claims import Claims
from keywheel.rotation.driver import Driver, frames, is_away
from keywheel.rotation.engine import Rotations
from keywheel.rotation.keys.engine import KeyEngine
from keywheel.rotation.rows import Entry
from keywheel.rotation.runners import Runners
from keywheel.rotation.sentinel import ON_REQUEST, Round
from keywheel.rotation.slots import DEFAULT, Limits, Slot
from keywheel.rotation.timekeeper import CAREFUL, Caution, Timekeeper
from keywheel.secrets.ledger import Secrets

R = TypeVar("R")

_log = structlog.get_logger("keywheel.engine")

_SWEEP_SECONDS = 60.0
_CLOCKS_DIFFER = 1.0  # seconds by which another machine may be early to see the end of a lease


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard the engine works. Durations are seconds."""

    lease: float = 30.0
    poll: float = 0.2
    idle: float = 1.0
    """The longest sleep where a bell is heard; without one it is `poll`."""
    workers: int = 8
    limits: Limits = DEFAULT
    rounds: Round = ON_REQUEST
    care: Caution = CAREFUL


@dataclass(slots=True)
class _Hold:
    """A claimed rotation, as long as a thread is busy with it."""

    place: str
    until: float  # by the monotonic clock
    slots: tuple[Slot, ...] = ()


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
        keys: KeyEngine | None = None,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._clock = clock
        self._name = name
        self._pace = pace
        self._keys = keys
        self._trusted = False
        self._stop = threading.Event()
        self._stopped = threading.Event()
        self._holds: dict[tuple[int, int], _Hold] = {}  # by secret id and fence
        self._ended: list[Slot] = []  # slots to be given back
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._timekeeper = Timekeeper(database, rotations, clock, lease=pace.lease, care=pace.care)
        self._claims = Claims(database, pace.limits, name=name)
        self._driver = Driver(
            database,
            secrets,
            rotations,
            runners,
            clock,
            name=name,
            rounds=pace.rounds,
            left=self.lease_left,
            admitted=self._admitted,
            stopping=self._stop.is_set,
        )

    def held_until(self, entry: Entry) -> float:
        """Until when this engine holds a claimed rotation, by its clock's monotonic time; -inf when it is lost.

        Counted from before the store was asked, so that the store never thinks it over while we do not.
        """
        with self._lock:
            hold = self._holds.get((entry.secret_id, entry.fence))
        return -math.inf if hold is None else hold.until

    def lease_left(self, entry: Entry) -> float:
        """How many seconds this engine still holds a claimed rotation; nothing or less when it does not."""
        return self.held_until(entry) - self._clock.monotonic()

    # --- the loop

    def run(self) -> None:
        """Work until `stop`. Steps under way end; the rest is left to whoever comes next."""
        self._reclaim()
        heart = threading.Thread(target=self._beat, name="engine-heartbeat", daemon=True)
        heart.start()
        bell = self._database.bell(self._awake.set)
        swept = -_SWEEP_SECONDS
        try:
            with ThreadPoolExecutor(self._pace.workers, thread_name_prefix="rotation") as pool:
                while not self._stop.is_set():
                    if self._clock.monotonic() - swept >= _SWEEP_SECONDS:
                        swept = self._clock.monotonic()
                        self._guarded(self._sweep, False)
                    self._awake.clear()  # before the look: what comes later wakes us again
                    rest = self._guarded(lambda: self._claim(pool), self._pace.poll)
                    self._guarded(lambda: self._turn_keys(pool), None)
                    if rest > 0.0:
                        self._awake.wait(min(rest, self._pace.idle if bell.hears else self._pace.poll))
        finally:
            bell.close()
        self._stopped.set()  # only now: a step that ends after `stop` is held as long as it takes
        heart.join()

    def stop(self) -> None:
        """Ask `run` to end. Takes no lock that `run` holds for long."""
        self._stop.set()
        self._awake.set()

    def tick(self) -> int:
        """Claim what is due now and drive it to rest, in this thread; how many. What tests and tools call."""
        claimed, _ = self._take(self._pace.workers)
        for entry in claimed:
            self._drive(entry)
            self._take(0)  # gives its slots back
        if self._keys is not None:
            self._keys.turn(trusted=self._trusted)
        return len(claimed)

    def _claim(self, pool: ThreadPoolExecutor) -> float:
        """Claim what there are hands for; how many seconds nothing more will be due by itself."""
        with self._lock:
            free = self._pace.workers - len(self._holds)
        claimed, rest = self._take(max(0, free))
        for entry in claimed:
            pool.submit(self._drive, entry)
        return rest

    def _take(self, most: int) -> tuple[list[Entry], float]:
        """Claim up to `most` rotations, and give back the slots of those that ended; and the rest, as `_claim`."""
        trusted = self._trusted = self._timekeeper.trusts()
        before, now = self._clock.monotonic(), to_epoch(self._clock.now())
        with self._database.point() as tx:  # a look without a lock: nothing is due most of the time
            wake = rows.next_wake(tx) if most else None
        is_due = wake is not None and wake <= now
        rest = self._pace.idle if wake is None else wake - now
        with self._lock:
            ended, self._ended = self._ended, []
            busy_at = {hold.place for hold in self._holds.values()}
        try:
            chosen = self._claims.look(now, most, ended, only_begun=not trusted, busy_at=busy_at) if is_due else []
            until = now + self._pace.lease
            claimed = self._claims.take(chosen, ended, now=now, until=until) if chosen or ended else []
        except BaseException:
            with self._lock:
                self._ended += ended
            raise
        with self._lock:
            for claim in claimed:
                hold = _Hold(claim.entry.place, self._deadline(before), claim.slots)
                self._holds[claim.entry.secret_id, claim.entry.fence] = hold
        # What is due and not to be had now waits for a slot: perhaps another engine's, which rings no bell.
        if is_due and not claimed:
            rest = self._pace.poll if trusted else self._pace.idle
        return [claim.entry for claim in claimed], max(0.0, rest)

    def _turn_keys(self, pool: ThreadPoolExecutor) -> None:
        """Have what is due of keys done beside the rotations: to make a key may take seconds."""
        if self._keys is not None and self._keys.is_due():
            pool.submit(self._guarded, partial(self._run_keys, self._keys), None)

    def _run_keys(self, keys: KeyEngine) -> None:
        if keys.turn(trusted=self._trusted):
            self._awake.set()  # there may be more

    def _deadline(self, before: float) -> float:
        """When a lease that was asked for at `before` is over, for us: earlier than anybody else may see it end."""
        return before + self._pace.lease - min(_CLOCKS_DIFFER, self._pace.lease / 6.0)

    def _guarded(self, work: Callable[[], R], otherwise: R) -> R:
        """Run a part of the loop; a store that is away for a moment does not end the engine."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on and it is told
            _log.error("engine.loop", error=type(error).__name__)
            self._stop.wait(1.0)
            return otherwise

    def _sweep(self) -> bool:
        if not self._timekeeper.trusts():
            return False  # what is purged by a wrong clock is lost
        self._timekeeper.remember()
        now = self._clock.now()
        purged = self._database.write(lambda tx: self._secrets.purge_due(tx, now))
        self._database.write(lambda tx: slots.forget(tx, to_epoch(now)))
        every = self._pace.rounds.every
        if every is not None:
            self._database.write(lambda tx: rows.plan_checks(tx, to_epoch(now), every))
        if purged:
            _log.info("engine.purged", secrets=purged)
        if self._keys is not None:
            self._keys.sweep()
        return True

    def _reclaim(self) -> None:
        now = to_epoch(self._clock.now())

        def reclaim(tx: Tx) -> int:
            slots.reclaim(tx, self._name, now)
            return rows.reclaim(tx, self._name, now, now + self._pace.lease)

        taken = self._database.write(reclaim)
        if taken:
            _log.info("engine.reclaimed", rotations=taken)

    def _beat(self) -> None:
        while not self._stopped.wait(self._pace.lease / 3.0):
            self._guarded(self._renew, None)

    def _renew(self) -> None:
        """Renew every lease and its slots. What is not ours any more is lost from now on."""
        before = self._clock.monotonic()
        until = to_epoch(self._clock.now()) + self._pace.lease
        with self._lock:
            held = {key: hold.slots for key, hold in self._holds.items()}

        def renew(tx: Tx) -> set[tuple[int, int]]:
            for each in held.values():  # also of what is lost: its worker may still be at the target
                for slot in each:
                    slots.renew(tx, slot, worker=self._name, until=until)
            return {key for key in held if rows.renew(tx, key[0], worker=self._name, fence=key[1], until=until)}

        ours = self._database.write(renew)
        with self._lock:
            for key in held.keys() & self._holds.keys():
                self._holds[key].until = self._deadline(before) if key in ours else -math.inf

    # --- one rotation

    def _drive(self, entry: Entry) -> None:
        """Run steps until the rotation rests, is lost, or the engine stops."""
        try:
            rest = self._driver.drive(entry)
            self._claims.tell(rest.place, reached=not is_away(rest.rotation))
        except Fenced:
            _log.info("rotation.lost", secret_id=entry.secret_id)
            self._guarded(lambda: self._let_go(entry), None)
        except Exception as error:  # noqa: BLE001 - the lease ends and the step is run again
            _log.error("rotation.interrupted", secret_id=entry.secret_id, error=type(error).__name__, at=frames(error))
        finally:
            with self._lock:
                hold = self._holds.pop((entry.secret_id, entry.fence), None)
                self._ended += () if hold is None else hold.slots
            self._awake.set()

    def _admitted(self, entry: Entry) -> bool:
        """Whether a rotation may go on at its target: when a step changed its place, only with a slot there."""
        with self._lock:
            hold = self._holds.get((entry.secret_id, entry.fence))
        if hold is None or hold.place == entry.place or not entry.place:
            return True
        now = to_epoch(self._clock.now())
        slot = self._claims.admit(entry.place, now=now, until=now + self._pace.lease)
        if slot is None:
            return False
        with self._lock:
            self._ended += [each for each in hold.slots if each.place == hold.place]
            hold.slots = (*(each for each in hold.slots if each.place != hold.place), slot)
            hold.place = entry.place
        return True

    def _let_go(self, entry: Entry) -> None:
        """Let others begin, and tell them to look: what this worker did last at the target is not known to them."""
        now = to_epoch(self._clock.now())

        def let_go(tx: Tx) -> None:
            rows.let_go(tx, entry.secret_id, worker=self._name, fence=entry.fence, now=now)
            rows.ask_check(tx, entry.secret_id, now)

        self._database.write(let_go)
