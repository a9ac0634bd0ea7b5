"""One claimed rotation, driven until it rests: what is next, run the step, judge its end, save what came of it.

No transaction is open while a target is spoken to. Only ids, steps and error codes are logged.
"""

from __future__ import annotations

import random
import traceback
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from keywheel.clock import Clock, to_epoch
from keywheel.db.database import Database
from keywheel.errors import (
    Fenced,
    FunctionFailed,
    KeywheelError,
    SecretMalformed,
    TargetError,
    TargetRefused,
    TargetUnavailable,
)
from keywheel.rotation import machine, particulars, rows, sentinel
from keywheel.rotation.engine import Rotations
from keywheel.rotation.machine import WIRE_STEPS, Failure, Outcome, Rotation, Step
from keywheel.rotation.particulars import Particulars
from keywheel.rotation.rows import Entry
from keywheel.rotation.rules import ends_sessions
from keywheel.rotation.runners import Runners
from keywheel.rotation.sentinel import Round
from keywheel.rotation.steps import CURRENT, Terms, run_step
from keywheel.rotation.store import LedgerStore
from keywheel.rotator import Fence, Logins, Strategy
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.rows import Secret

_log = structlog.get_logger("keywheel.engine")

_OUTCOMES: dict[type[KeywheelError], Outcome] = {
    TargetUnavailable: Outcome.RETRY,
    TargetRefused: Outcome.REFUSED,
    SecretMalformed: Outcome.REFUSED,
    FunctionFailed: Outcome.AGAIN,
}


class Driver:
    """Runs the steps of rotations that a worker holds. It keeps nothing between two rotations."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        rotations: Rotations,
        runners: Runners,
        clock: Clock,
        *,
        name: str,
        rounds: Round,
        left: Callable[[Entry], float],
        admitted: Callable[[Entry], bool],
        stopping: Callable[[], bool],
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._rotations = rotations
        self._runners = runners
        self._clock = clock
        self._name = name
        self._rounds = rounds
        self._left = left
        self._admitted = admitted
        self._stopping = stopping

    def drive(self, entry: Entry) -> Entry:
        """Run steps until the rotation rests, the engine stops, or it has to wait for a slot at its target.

        How it is then.

        Raises:
            Fenced: it is somebody else's now.
        """
        wrote = False  # whether the step before this one, in this very run, wrote the pending value
        while True:
            entry, wrote = self._next(entry, may_have_landed=not wrote)
            now = to_epoch(self._clock.now())
            if entry.rotation.wake_at is None or entry.rotation.wake_at > now:
                return entry
            if self._stopping() or not self._admitted(entry):
                self._release(entry, now)
                return entry

    def _next(self, entry: Entry, *, may_have_landed: bool) -> tuple[Entry, bool]:
        """Do the next thing: begin what came due, go back to rest, or run a step. Whether it wrote a pending value."""
        now, rotation = self._clock.now(), entry.rotation
        if _is_to_be_checked(rotation, to_epoch(now)):  # before anything else changes it
            return self._check(entry), False
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

    def _check(self, entry: Entry) -> Entry:
        """Have the sentinel look at a secret at rest, and save what it found."""
        secret, now = self._secret(entry), self._clock.now()
        store = LedgerStore(self._database, self._secrets, secret, now)
        terms = self._terms(entry, secret)
        strategy = self._runners.built_in(secret.rotation_function or "", secret.scope)
        found = sentinel.check(entry.rotation, strategy, store, terms, now, self._rounds)
        rotation = machine.counted(found.rotation, terms.logins.refused, to_epoch(now))
        return self._database.write(
            lambda tx: self._rotations.checked(tx, entry, rotation, found.event, self._clock.now())
        )

    def _step(self, entry: Entry, *, may_have_landed: bool) -> tuple[Entry, bool]:
        """Run the present step and save its outcome. Whether it wrote a pending value."""
        secret, now = self._secret(entry), self._clock.now()
        store = LedgerStore(self._database, self._secrets, secret, now)
        strategy = self._runners.built_in(secret.rotation_function or "", secret.scope)
        terms = self._terms(entry, secret, may_have_landed=may_have_landed)
        failure: Failure | None = None
        outcome = Outcome.DONE
        try:
            self._run(strategy, store, secret, entry.rotation, terms)
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001 - every end of a step is an outcome
            outcome, failure = _judge(error, entry.rotation.step)
            _log.warning("rotation.step", secret=secret.arn, step=entry.rotation.step.value, code=failure.code)
        logins = terms.logins
        seen = particulars.of_step(
            entry.rotation,
            strategy,
            began=now,
            engine=self._name,
            place=entry.place,
            done=outcome is Outcome.DONE,
            logins=logins,
        )
        entry = replace(entry, rotation=machine.counted(entry.rotation, logins.refused, to_epoch(now)))
        return self._save(entry, store, strategy, outcome, failure, seen), store.written is not None

    def _secret(self, entry: Entry) -> Secret:
        with self._database.point() as tx:
            secret = self._secrets.by_id(tx, entry.secret_id)
        if secret is None:
            raise Fenced("The secret is gone.")
        return secret

    def _terms(self, entry: Entry, secret: Secret, *, may_have_landed: bool = True) -> Terms:
        return Terms(
            may_have_landed=may_have_landed,
            fence=Fence(entry.fence, partial(self._left, entry)),
            logins=Logins(machine.logins_left(entry.rotation, to_epoch(self._clock.now()))),
            ends_sessions=ends_sessions(secret),
        )

    def _run(
        self, strategy: Strategy | None, store: LedgerStore, secret: Secret, rotation: Rotation, terms: Terms
    ) -> None:
        step = rotation.step
        version = rotation.retiring if step is Step.RETIRE else rotation.token
        if strategy is not None:
            run_step(strategy, store, secret.arn, version or "", step, terms)
        elif step in WIRE_STEPS:
            self._invoke(store, secret, rotation, terms)
        else:
            raise TargetRefused(
                f"The rotator that is to {step} the credential is not the secret's any more.",
                hint="Rotate the secret with that rotator again, or do it by hand and rotate again.",
            )

    def _invoke(self, store: LedgerStore, secret: Secret, rotation: Rotation, terms: Terms) -> None:
        function, token = secret.rotation_function or "", rotation.token or ""
        event = {
            "Step": WIRE_STEPS[rotation.step],
            "SecretId": secret.arn,
            "ClientRequestToken": token,
            "RotationToken": str(uuid.uuid4()),
        }
        local = self._runners.local(function, secret.scope)
        if local is not None:
            local.invoke(function, event, known=store.texts, holds=lambda: terms.fence.left() > 0.0)
        elif self._runners.endpoint is not None:
            self._runners.endpoint.invoke(function, event)
        else:
            raise FunctionFailed(
                f"{function} is not built in, and no Lambda endpoint is configured.",
                hint="Start the server with --lambda-endpoint, or choose a built-in rotator.",
            )
        if rotation.step is Step.FINISH and store.labels(secret.arn).get(CURRENT) != token:
            raise FunctionFailed(f"{function} ended finishSecret without moving {CURRENT} to version {token}.")

    def _save(
        self,
        entry: Entry,
        store: LedgerStore,
        strategy: Strategy | None,
        outcome: Outcome,
        failure: Failure | None,
        seen: Particulars,
    ) -> Entry:
        now, rotation = self._clock.now(), entry.rotation
        if outcome is Outcome.DONE and rotation.step is Step.FINISH:
            grace: timedelta | None = None if strategy is None else strategy.GRACE
            verify_at = None if self._rounds.every is None else to_epoch(now) + self._rounds.every
            return self._database.write(
                lambda tx: self._rotations.finish(
                    tx,
                    entry,
                    store.effects,
                    now,
                    grace=grace,
                    retires=strategy is not None,
                    verify_at=verify_at,
                    seen=seen,
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
            lambda tx: self._rotations.commit(tx, entry, following, store.effects, now, place=place, seen=seen)
        )


def is_away(rotation: Rotation) -> bool:
    """Whether its target could not be reached the last time."""
    return rotation.failure is not None and rotation.failure.code == TargetUnavailable.code


def _is_to_be_checked(rotation: Rotation, now: float) -> bool:
    return rotation.token is None and rotation.verify_at is not None and rotation.verify_at <= now


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
    _log.error("rotation.defect", step=step.value, error=type(error).__name__, at=frames(error))
    return Outcome.AGAIN, Failure(step, type(error).__name__, "An unexpected error; the server's log says where.")


def _hint(error: Exception) -> str:
    return error.hint() if isinstance(error, TargetError) else ""


def frames(error: BaseException) -> list[str]:
    """Where an exception comes from. Its text is left out: it may quote a value."""
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
