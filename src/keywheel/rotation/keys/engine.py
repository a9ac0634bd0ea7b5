"""The engine's part for keys: rotations behind aliases, automatic rotations, what expires, what is deleted.

The loop of the rotation engine asks `is_due` at each look, which is one query, and has `turn` run beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from keywheel.clock import Clock, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.keys.custom.keys import CustomKeys
from keywheel.keys.keyring import Key, Keys
from keywheel.rotation.keys import journal
from keywheel.rotation.keys.driver import LEASE, KeyDriver
from keywheel.rotation.keys.enforcement import Enforcement

_log = structlog.get_logger("keywheel.keys")

_STEPS = 20  # of a turn, so that an engine that is to stop need not wait for long


class KeyEngine:
    """Does what is due to keys, one thing at a time."""

    def __init__(self, database: Database, keys: Keys, clock: Clock, *, lease: timedelta = LEASE) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._driver = KeyDriver(database, keys, clock, lease=lease)
        self._custom = CustomKeys(keys)
        self._enforcement = Enforcement(keys)
        self._turning = threading.Lock()

    def is_due(self) -> bool:
        """Whether there is something to do, and nobody at it."""
        if self._turning.locked():
            return False
        wake = self._driver.next_wake()
        return wake is not None and wake <= to_epoch(self._clock.now())

    def turn(self, *, trusted: bool) -> int:
        """Do what is due; how many steps. By a clock that is not `trusted`, nothing begins, and nothing ends."""
        if not self._turning.acquire(blocking=False):
            return 0
        try:
            count = 0
            while count < _STEPS and self._driver.turn(trusted=trusted):
                count += 1
            return count
        finally:
            self._turning.release()

    def sweep(self) -> None:
        """What need not be punctual. Only by a clock that is trusted: what is destroyed by a wrong one is lost."""
        now = self._clock.now()
        keys = self._keys
        for event, deed in (
            ("RotateKey", keys.rotation.rotate_due),
            ("DeleteImportedKeyMaterial", keys.imports.expire_due),
            ("DeleteKey", keys.lifecycle.purge_due),
        ):
            self._guarded(partial(self._swept, event, deed, now))
        self._guarded(lambda: self._custom.sweep(self._database, now))
        self._guarded(lambda: self._enforcement.turn(self._database, now))

    def _swept(self, event: str, deed: Callable[[Tx, datetime], list[Key]], now: datetime) -> None:
        """Do the deed to all keys that are due, and write down which they were."""

        def work(tx: Tx) -> int:
            found = deed(tx, now)
            for key in found:
                journal.note(tx, journal.of_key(key, event, to_epoch(now)))
            return len(found)

        count = 0
        while swept := self._database.write(work):
            count += swept
        if count:
            _log.info("keys.swept", event_name=event, keys=count)

    @staticmethod
    def _guarded(work: Callable[[], object]) -> None:
        """One that fails, because a token is away, say, keeps no other from being done."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told, and done again in a minute
            _log.error("keys.sweep", error=type(error).__name__)
