"""Servers that do it in a wrong order: each loses or strands a key, and a run of chaos must find it out.

`python -m tests.chaos.mutants NAME serve …` is `keywheel serve` with one of them installed, for good.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from keywheel.cli.main import main
from keywheel.db.statement import Tx
from keywheel.keys import rows as key_rows
from keywheel.keys.keyring import Key
from keywheel.keys.root import ring
from keywheel.rotation.keys import aliases, driver, rows
from keywheel.rotation.keys.rows import Entry
from keywheel.rotation.keys.steps import KeySteps

_MOMENT = 0.3  # seconds between two transactions, as where a store is slow


def _alias_first() -> None:
    """The alias moves when the rotation begins, and the key that it names is made, copied and tested afterwards."""
    begun, create = driver.begun, driver.KeyDriver._create

    def begin(steps: KeySteps, tx: Tx, entry: Entry, now: datetime, *, urgent: bool = False) -> Entry:
        entry = begun(steps, tx, entry, now, urgent=urgent)
        scope, named = entry.scope, entry.rotation.new_key
        key_rows.move_alias.run(
            tx, row_account=scope.account, row_region=scope.region, row_name=entry.name, key_id=named, updated=0.0
        )
        return entry

    def source(steps: KeySteps, tx: Tx, entry: Entry, now: datetime, *, lock: bool = True) -> Key:
        return steps._keys.find(tx, entry.scope, entry.rotation.old_key or "", now=now, lock=lock)

    def made_later(self: Any, entry: Entry) -> None:
        time.sleep(3 * _MOMENT)
        create(self, entry)

    _put(driver, "begun", begin)
    _put(driver.KeyDriver, "_create", made_later)
    _put(aliases, "begun", begin)
    _put(KeySteps, "source", source)


def _id_not_written_down() -> None:
    """The key is made under an id of its own, and only the next transaction writes down which it is."""
    create = driver.KeyDriver._create

    def made_first(self: Any, entry: Entry) -> None:
        other = entry._replace(rotation=replace(entry.rotation, new_key=str(uuid.uuid4())))
        with self._database.read() as tx:
            source = self._steps.source(tx, other, self._clock.now(), lock=False)
        draft = self._steps.draft(other, source)
        self._database.write(lambda tx: self._steps.create(tx, other, self._clock.now(), draft=draft))
        time.sleep(_MOMENT)

        def told(tx: Tx) -> Entry:
            held = rows.held(tx, entry)
            return rows.save(tx, held, replace(held.rotation, new_key=other.rotation.new_key))

        create(self, self._database.write(told))

    _put(driver.KeyDriver, "_create", made_first)


def _root_not_held() -> None:
    """Whoever wraps does not look which root key the database is tied to by now."""
    _put(ring.RootRing, "hold", lambda _self, _tx: None)


MUTANTS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {"alias-first": _alias_first, "id-not-written-down": _id_not_written_down, "root-not-held": _root_not_held}
)


def _put(place: Any, name: str, made: Callable[..., Any]) -> None:
    setattr(place, name, made)


if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    sys.argv[0] = "keywheel"
    main()
