"""The engine's hands: claim what is due, run its steps, save what came of it.

A worker holds a rotation by a lease, which a heartbeat renews while a step runs. A crash leaves the lease to end by
itself, or, when the same engine starts again, takes it back at once. No transaction is open while a target is spoken
to. Only ids, steps and error codes are logged.
"""

from __future__ import annotations

import random
import threading
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from keywheel.clock import Clock, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import (
    Fenced,
    FunctionFailed,
    KeywheelError,
    SecretMalformed,
    TargetError,
    TargetRefused,
    TargetUnavailable,
)
from keywheel.rotation import machine, rows
from keywheel.rotation.engine import Rotations
from keywheel.rotation.machine import WIRE_STEPS, Failure, Outcome, Rotation, Step
from keywheel.rotation.rows import Entry
from keywheel.rotation.runners import Runners
from keywheel.rotation.steps import CURRENT, run_step
from keywheel.rotation.store import LedgerStore
from keywheel.rotator import Strategy
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.rows import Secret

_log = structlog.get_logger("keywheel.engine")

_OUTCOMES: dict[type[KeywheelError], Outcome] = {
    TargetUnavailable: Outcome.RETRY,
    TargetRefused: Outcome.REFUSED,
    SecretMalformed: Outcome.REFUSED,
    FunctionFailed: Outcome.AGAIN,
}
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
        self._rotations = rotations
        self._runners = runners
        self._clock = clock
        self._name = name
        self._pace = pace
        self._stop = threading.Event()
        self._stopped = threading.Event()
        self._running: dict[int, int] = {}  # secret id → fence
        self._lock = threading.Lock()
        self._freed = threading.Event()

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
            self._drive_steps(entry)
        except Fenced:
            _log.info("rotation.lost", secret_id=entry.secret_id)
            self._guarded(lambda: self._let_go(entry))
        except Exception as error:  # noqa: BLE001 - the lease ends and the step is run again
            _log.error("rotation.interrupted", secret_id=entry.secret_id, error=type(error).__name__, at=_frames(error))
        finally:
            with self._lock:
                if self._running.get(entry.secret_id) == entry.fence:
                    del self._running[entry.secret_id]
            self._freed.set()

    def _let_go(self, entry: Entry) -> bool:
        now = to_epoch(self._clock.now())
        self._database.write(lambda tx: rows.let_go(tx, entry.secret_id, worker=self._name, fence=entry.fence, now=now))
        return True

    def _drive_steps(self, entry: Entry) -> None:
        wrote = False  # whether the step before this one, in this very run, wrote the pending value
        while True:
            entry, wrote = self._next(entry, may_have_landed=not wrote)
            now = to_epoch(self._clock.now())
            if entry.rotation.wake_at is None or entry.rotation.wake_at > now:
                return
            if self._stop.is_set():
                self._release(entry, now)
                return

    def _next(self, entry: Entry, *, may_have_landed: bool) -> tuple[Entry, bool]:
        """Do the next thing: begin what came due, go back to rest, or run a step. Whether it wrote a pending value."""
        now, rotation = self._clock.now(), entry.rotation
        if _is_due(rotation, to_epoch(now)):
            return self._database.write(lambda tx: self._rotations.begin_due(tx, entry, now)), False
        if _rests(rotation, to_epoch(now)):
            rest = machine.settle(rotation)
            return self._database.write(lambda tx: self._rotations.rest(tx, entry, rest, now)), False
        return self._step(entry, may_have_landed=may_have_landed)

    def _release(self, entry: Entry, now: float) -> None:
        self._database.write(
            lambda tx: rows.release(tx, entry.secret_id, worker=self._name, fence=entry.fence, now=now)
        )

    def _step(self, entry: Entry, *, may_have_landed: bool) -> tuple[Entry, bool]:
        """Run the present step and save its outcome. Whether it wrote a pending value."""
        now = self._clock.now()
        with self._database.point() as tx:
            secret = self._secrets.by_id(tx, entry.secret_id)
        if secret is None:
            raise Fenced("The secret is gone.")
        store = LedgerStore(self._database, self._secrets, secret, now)
        strategy = self._runners.built_in(secret.rotation_function or "", secret.scope)
        failure: Failure | None = None
        outcome = Outcome.DONE
        try:
            self._run(strategy, store, secret, entry.rotation, may_have_landed=may_have_landed)
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001 - every end of a step is an outcome
            outcome, failure = _judge(error, entry.rotation.step)
            _log.warning("rotation.step", secret=secret.arn, step=entry.rotation.step.value, code=failure.code)
        return self._save(entry, store, strategy, outcome, failure), store.written is not None

    def _run(
        self,
        strategy: Strategy | None,
        store: LedgerStore,
        secret: Secret,
        rotation: Rotation,
        *,
        may_have_landed: bool,
    ) -> None:
        step = rotation.step
        version = rotation.retiring if step is Step.RETIRE else rotation.token
        if strategy is not None:
            run_step(strategy, store, secret.arn, version or "", step, may_have_landed=may_have_landed)
        elif step is Step.RETIRE:
            raise TargetRefused(
                "The rotator that is to end the old credential is not the secret's any more.",
                hint="Rotate the secret with that rotator again, or end the old credential by hand and rotate again.",
            )
        else:
            self._invoke(store, secret, rotation)

    def _invoke(self, store: LedgerStore, secret: Secret, rotation: Rotation) -> None:
        function, token = secret.rotation_function or "", rotation.token or ""
        if self._runners.endpoint is None:
            raise FunctionFailed(
                f"{function} is not built in, and no Lambda endpoint is configured.",
                hint="Start the server with --lambda-endpoint, or choose a built-in rotator.",
            )
        event = {
            "Step": WIRE_STEPS[rotation.step],
            "SecretId": secret.arn,
            "ClientRequestToken": token,
            "RotationToken": str(uuid.uuid4()),
        }
        self._runners.endpoint.invoke(function, event)
        if rotation.step is Step.FINISH and store.labels(secret.arn).get(CURRENT) != token:
            raise FunctionFailed(f"{function} ended finishSecret without moving {CURRENT} to version {token}.")

    def _save(
        self,
        entry: Entry,
        store: LedgerStore,
        strategy: Strategy | None,
        outcome: Outcome,
        failure: Failure | None,
    ) -> Entry:
        now, rotation = self._clock.now(), entry.rotation
        if outcome is Outcome.DONE and rotation.step is Step.FINISH:
            grace: timedelta | None = None if strategy is None else strategy.GRACE
            return self._database.write(
                lambda tx: self._rotations.finish(
                    tx, entry, store.effects, now, grace=grace, retires=strategy is not None
                )
            )
        following = machine.advance(
            rotation,
            outcome,
            now=to_epoch(now),
            jitter=random.random(),  # noqa: S311 - spreads retries, protects nothing
            failure=failure,
            from_start=strategy is None,
        )
        if rotation.rehearsal:
            return self._database.write(lambda tx: self._rotations.end_rehearsal(tx, entry, following, now))
        place = None if strategy is None or store.written is None else strategy.target.place(store.written)
        return self._database.write(
            lambda tx: self._rotations.commit(tx, entry, following, store.effects, now, place=place)
        )


def _is_due(rotation: Rotation, now: float) -> bool:
    """A schedule came due, or a failed rotation is attempted again."""
    scheduled = rotation.token is None and rotation.due is not None and rotation.due <= now
    return scheduled or rotation.failed


def _rests(rotation: Rotation, now: float) -> bool:
    """Woken for nothing: the row was changed between its timer and its claim."""
    waits = rotation.step is Step.RETIRE and rotation.token is None and (rotation.retire_at or 0.0) > now
    return rotation.step is Step.IDLE or waits


def _judge(error: Exception, step: Step) -> tuple[Outcome, Failure]:
    """What an exception says about a step. The class decides; only keywheel's own texts are kept."""
    for kind, outcome in _OUTCOMES.items():
        if isinstance(error, kind):
            return outcome, Failure(step, getattr(error, "code", kind.__name__), f"{error} {_hint(error)}".strip())
    if isinstance(error, KeywheelError):
        return Outcome.RETRY, Failure(step, type(error).__name__, str(error))
    _log.error("rotation.defect", step=step.value, error=type(error).__name__, at=_frames(error))
    return Outcome.AGAIN, Failure(step, type(error).__name__, "An unexpected error; the server's log says where.")


def _hint(error: Exception) -> str:
    return error.hint() if isinstance(error, TargetError) else ""


def _frames(error: BaseException) -> list[str]:
    """Where an exception comes from. Its text is left out: it may quote a value."""
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
