"""The engine of rotations behind aliases: claim what is due, do one step, write down what came of it.

A step's effects and its result are one transaction, but for the making of material, which is slow for RSA and happens
elsewhere where keys live in a token: it comes first, under an id that was written down before. A crash leaves a claim
to end by itself; whoever comes next does the step again, and finds the key or makes it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from keywheel.clock import Clock, from_epoch, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import BrokenInvariant, CallerError, Fenced, KeyStoreError
from keywheel.keys import identifiers
from keywheel.keys.errors import KeyNotFound
from keywheel.keys.keyring import Key, Keys
from keywheel.rotation.keys import former_rows, formers, machine, rows
from keywheel.rotation.keys.former_rows import FormerEntry
from keywheel.rotation.keys.formers import Held
from keywheel.rotation.keys.machine import Failure, Outcome, Rotation, Step
from keywheel.rotation.keys.rows import Entry
from keywheel.rotation.keys.rules import Rules, next_due
from keywheel.rotation.keys.steps import KeySteps, note, tell

_log = structlog.get_logger("keywheel.keys")

LEASE = timedelta(seconds=30)
SHORTEST_LEASE = timedelta(
    seconds=10
)  # the slowest key is made sooner: two workers must not overtake each other for ever
_REFUSED = (CallerError, BrokenInvariant)


def planned(entry: Entry, now: datetime) -> Rotation:
    """At rest until the schedule's next instant after `now`."""
    seed = f"{entry.scope.arn('kms', entry.name)}"
    due = next_due(entry.rules, now, since=from_epoch(entry.configured), seed=seed)
    return machine.plan(entry.rotation, due)


def begun(steps: KeySteps, tx: Tx, entry: Entry, now: datetime, *, urgent: bool = False) -> Entry:
    """Begin a rotation of a locked entry. The new key's id is written down; there is no such key yet.

    Raises:
        CallerError, KeyStoreError: the alias cannot be rotated now.
    """
    source = steps.named(tx, entry, now)
    rotation = machine.begin(
        entry.rotation,
        to_epoch(now),
        run=str(uuid.uuid4()),
        old_key=source.key_id,
        new_key=identifiers.new_key_id(multi_region=source.multi_region is not None),
        urgent=urgent,
    )
    entry = rows.save(tx, entry, rotation)
    note(tx, entry, "KeyRotationStarted", now, key_id=rotation.new_key, reason=f"It will follow {source.key_id}.")
    return entry


class KeyDriver:
    """Does what is due. Threads and processes may each have one."""

    def __init__(self, database: Database, keys: Keys, clock: Clock, *, lease: timedelta = LEASE) -> None:
        self._database = database
        self._lease = max(lease, SHORTEST_LEASE)
        self._steps = KeySteps(keys)
        self._clock = clock
        self._deeds: dict[Step, Callable[[Entry], None]] = {
            Step.REST: self._begin,
            Step.CREATE: self._create,
            Step.COPY: self._copy,
            Step.TEST: self._test,
            Step.ANNOUNCE: lambda entry: self._save(entry, Outcome.DONE),
            Step.MOVE: self._move,
            Step.DISCARD: self._discard,
        }

    def next_wake(self) -> float | None:
        """When something is due."""
        with self._database.point() as tx:
            return rows.next_wake(tx)

    def turn(self, *, trusted: bool = True) -> bool:
        """Do one thing that is due; False when nothing is. By a clock that is not `trusted`, nothing begins or ends."""
        now = self._clock.now()
        until = to_epoch(now + self._lease)
        entry = self._database.write(lambda tx: rows.claim(tx, to_epoch(now), until, only_begun=not trusted))
        if entry is not None:
            self._step(entry)
            return True
        former = self._database.write(lambda tx: former_rows.claim(tx, to_epoch(now), until)) if trusted else None
        if former is not None:
            self._lead_out(former)
            return True
        return False

    # --- rotations

    def _step(self, entry: Entry) -> None:
        step = entry.rotation.step
        try:
            self._deeds[step](entry)
        except Fenced:
            _log.info("key-rotation.lost", alias=entry.name)
        except KeyStoreError as error:
            self._came_to_nothing(entry, Outcome.AWAY, Failure(step, type(error).__name__, error.message))
        except KeyNotFound as error:
            self._came_to_nothing(entry, Outcome.REFUSED, Failure(step, error.code, error.message), gone=True)
        except _REFUSED as error:
            code = error.code if isinstance(error, CallerError) else type(error).__name__
            self._came_to_nothing(entry, Outcome.REFUSED, Failure(step, code, error.message))

    def _begin(self, entry: Entry) -> None:
        """Begin, where it is time; else plan when that will be."""

        def work(tx: Tx) -> None:
            # As it was claimed: its timer is the end of the claim by now.
            held = rows.held(tx, entry)
            held = held._replace(rotation=replace(held.rotation, wake_at=entry.rotation.wake_at))
            now = self._clock.now()
            if machine.is_due(held.rotation, to_epoch(now)):
                begun(self._steps, tx, held, now)
            else:
                rows.save(tx, held, planned(held, now) if held.rotation.due is None else _until_due(held.rotation))

        self._database.write(work)

    def _create(self, entry: Entry) -> None:
        now = self._clock.now()
        with self._database.read() as tx:
            source = self._steps.source(tx, entry, now, lock=False)
            is_made = self._steps.made(tx, entry, now, lock=False) is not None
        if source.store_id is not None:
            self._create_in_store(entry, source, source.store_id, now)
            return
        draft = None if is_made else self._steps.draft(entry, source)
        self._save(entry, Outcome.DONE, partial(self._steps.create, draft=draft))

    def _create_in_store(self, entry: Entry, source: Key, store_id: str, now: datetime) -> None:
        """Elsewhere, so outside of the save. Who was overtaken while he made the key takes it back, if nobody wants it.

        Raises:
            Fenced: somebody else has the rotation.
        """
        self._steps.create_in_store(self._database, entry, source, store_id, now)

        def told(tx: Tx, held: Entry, now: datetime) -> None:
            note(tx, held, "KeyCreated", now, key_id=held.rotation.new_key)

        def unwanted(tx: Tx) -> None:
            found = rows.get(tx, entry.scope, entry.name, lock=True)
            if found is None or not found.rotation.in_progress or found.rotation.new_key != entry.rotation.new_key:
                self._steps.discard(tx, entry, self._clock.now())

        try:
            self._save(entry, Outcome.DONE, told)
        except Fenced:
            self._database.write(unwanted)
            raise

    def _copy(self, entry: Entry) -> None:
        self._save(entry, Outcome.DONE, self._steps.copy)

    def _test(self, entry: Entry) -> None:
        with self._database.read() as tx:
            self._steps.prove(tx, entry, self._clock.now())

        def told(tx: Tx, held: Entry, now: datetime) -> None:
            note(tx, held, "KeyTested", now, key_id=held.rotation.new_key)

        self._save(entry, Outcome.DONE, told)

    def _move(self, entry: Entry) -> None:
        self._save(entry, Outcome.DONE, self._steps.move)

    def _discard(self, entry: Entry) -> None:
        self._save(entry, Outcome.DONE, self._steps.discard)

    def _save(
        self, entry: Entry, outcome: Outcome, deed: Callable[[Tx, Entry, datetime], object] | None = None
    ) -> None:
        """Do the deed and write down that it is done, both or neither."""

        def work(tx: Tx) -> None:
            held, now = rows.held(tx, entry), self._clock.now()
            if deed is not None:
                deed(tx, held, now)
            rotation = machine.advance(held.rotation, outcome, to_epoch(now), lead=held.rules.lead)
            if held.rotation.step is Step.MOVE:
                rotation = planned(held._replace(rotation=rotation), now)
            rows.save(tx, held, rotation)

        self._database.write(work)

    def _came_to_nothing(self, entry: Entry, outcome: Outcome, failure: Failure, *, gone: bool = False) -> None:
        """Write down that a step failed. `gone`: there is no such alias any more, so its schedule ends, too."""

        def work(tx: Tx) -> None:
            held, now = rows.held(tx, entry), self._clock.now()
            resting = held.rotation.step is Step.REST
            if resting and gone:
                held = rows.save_rules(tx, held, replace(held.rules, expression=None, published=False), to_epoch(now))
                rotation = replace(held.rotation, failure=failure, due=None, wake_at=None)
            elif resting:
                rotation = machine.refuse(held.rotation, failure, to_epoch(now))
            else:
                rotation = machine.advance(held.rotation, outcome, to_epoch(now), failure=failure)
            event = "KeyStepRetried" if outcome is Outcome.AWAY and not resting else "KeyRotationFailed"
            key_id = None if resting else held.rotation.new_key
            note(tx, held, event, now, key_id=key_id, code=failure.code, reason=failure.reason)
            rows.save(tx, held, rotation)

        try:
            self._database.write(work)
        except Fenced:
            _log.info("key-rotation.lost", alias=entry.name)
        _log.warning("key-rotation.failed", alias=entry.name, step=failure.step.value, code=failure.code)

    # --- former keys

    def _lead_out(self, entry: FormerEntry) -> None:
        def work(tx: Tx) -> None:
            held = former_rows.held(tx, entry)
            found = rows.get(tx, held.scope, held.name)
            rules = Rules() if found is None else found.rules
            former_rows.save(tx, held, self._steps.lead_out(tx, held, rules, self._clock.now()))

        try:
            self._database.write(work)
        except Fenced:
            _log.info("former-key.lost", key_id=entry.former.key_id)
        except (CallerError, KeyStoreError) as error:
            _log.warning("former-key.postponed", key_id=entry.former.key_id, error=type(error).__name__)
            self._database.write(self._postpone(entry))

    def _postpone(self, entry: FormerEntry) -> Callable[[Tx], None]:
        """It cannot be led on in the state that it is in: look again later."""

        def work(tx: Tx) -> None:
            now = self._clock.now()
            held = former_rows.held(tx, entry)
            if held.former.held is not Held.STATE:
                tell(tx, held, "FormerKeyHeld", now, code=Held.STATE.value)
            former_rows.save(tx, held, formers.hold(held.former, Held.STATE, to_epoch(now)))

        return work


def _until_due(rotation: Rotation) -> Rotation:
    return replace(rotation, wake_at=rotation.due)
