"""The root key rotates, while servers run.

1. *spread*: the next root key is beside the present one. Every process that runs takes it up, and says so in its row.
2. The database changes over, in one transaction, and only when every process has taken the next one up. From that
   transaction on nothing is written under the former one: see `root`.
3. *rewrap*: everything that is under the former one is wrapped under the new one, a page in a transaction. Each value
   is put in the place of exactly the value that it was read as, so what others change meanwhile stays as they left it.
4. *done*: nothing is under the former one any more. It may go.

Nothing but the tables says how far it is, so whoever begins again goes on. Every process knows both root keys from the
second step to the fourth, and so does one that starts: a crash at any instant leaves every value readable.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from keywheel.db.database import Database
from keywheel.db.statement import Row, Tx
from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.keys.root import rows
from keywheel.keys.root.places import UNKNOWN, Place
from keywheel.keys.root.ring import CHECK, RootRing
from keywheel.keys.root.tie import name_root_key

SPREAD, REWRAP, DONE = "spread", "rewrap", "done"
STALE = 60.0  # seconds after which a process that has not been seen is taken for gone
_STATE = "root-key-rotation"
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Rotation:
    """The last rotation of the root key. `since` is when it was begun, `ended` when it was done."""

    former: str
    current: str
    phase: str
    since: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class RootRotation:
    """The rotation of a database's root key."""

    database: Database
    ring: RootRing
    places: Sequence[Place]

    # --- how it stands

    def state(self) -> Rotation | None:
        """The rotation that is under way, or was the last; None where there never was one."""
        with self.database.point() as tx:
            return _state(tx)

    def count(self) -> dict[str, Counter[str]]:
        """How many values are under which root key, by where they are; `unknown` for those that none of ours opens."""
        return {place.what: Counter(self._roots(place)) for place in self.places}

    def _roots(self, place: Place) -> Iterator[str]:
        after: Row | None = None
        while True:
            with self.database.point() as tx:
                page = place.page(tx, after, _PAGE)
            for row in page:
                name = place.read(self.ring, row).root_key
                if name is not None:
                    yield name
            if len(page) < _PAGE:
                return
            after = page[-1]

    def processes(self) -> list[tuple[str, frozenset[str]]]:
        """The processes of servers that run, and the root keys that each knows."""
        now = self._now()
        with self.database.point() as tx:
            return _processes(tx, now)

    def lagging(self, root_key: str) -> list[str]:
        """The processes that do not know a root key."""
        return [name for name, known in self.processes() if root_key not in known]

    def _now(self) -> float:
        return self.database.clock().now().timestamp()

    # --- the steps

    def begin(self, following: str) -> Rotation:
        """Begin a rotation to a root key of the ring, or find it begun.

        Raises:
            ConfigurationError: one to another root key is under way.
        """
        now = self._now()

        def work(tx: Tx) -> Rotation:
            former, found = self._lock(tx), _state(tx)
            if found is not None and found.phase != DONE:
                if found.current != following:
                    raise ConfigurationError(
                        f"A rotation to root key {found.current} is under way, and the next one here is {following}.",
                        hint="Put that one's file beside the present one, or give it up by --cancel.",
                    )
                return found
            made = Rotation(former, following, SPREAD, now)
            _save(tx, made)
            return made

        return self.database.write(work)

    def change_over(self) -> bool:
        """Have the database wrap with the new root key; False while a process that runs does not know it."""
        now = self._now()

        def work(tx: Tx) -> bool:
            self._lock(tx)
            found = _required(tx)
            if found.phase != SPREAD:
                return True
            if any(found.current not in known for _, known in _processes(tx, now)):
                return False
            tie = self.ring.wrap(os.urandom(32), CHECK.encode(), by=found.current)
            rows.put.run(tx, row_name=CHECK, value=tie)
            name_root_key(tx, found.current)
            _save(tx, replace(found, phase=REWRAP))
            return True

        return self.database.write(work)

    def rewrap(self) -> Iterator[int]:
        """Wrap under the present root key what is not: a page at a time, how many values of it were."""
        for place in self.places:
            after: Row | None = None
            while True:
                page, changed = self.database.write(partial(self._page, place, after))
                yield changed
                if len(page) < _PAGE:
                    break
                after = page[-1]

    def _page(self, place: Place, after: Row | None, tx: Tx) -> tuple[list[Row], int]:
        self.ring.hold(tx)
        page = place.page(tx, after, _PAGE)
        changed = 0
        for row in page:
            value = place.renewed(self.ring, row)
            if value is not None:
                changed += place.change(tx, row, value)
        return page, changed

    def end(self) -> Rotation:
        """Write down that nothing is under the former root key any more, having looked.

        Raises:
            KeyStoreError: something is under another root key than the present one.
        """
        found = self.state()
        counts = sum(self.count().values(), Counter())
        others = {name: number for name, number in counts.items() if found is None or name != found.current}
        if others:
            told = ", ".join(f"{number} under {name}" for name, number in others.items())
            raise KeyStoreError(
                f"Not everything is under the new root key: {told}.",
                hint="Run it again. What is `unknown` was under a root key that is not here: `keywheel root status`.",
            )
        now = self._now()

        def work(tx: Tx) -> Rotation:
            self._lock(tx)
            state = _required(tx)
            if state.phase == REWRAP:
                state = replace(state, phase=DONE, ended=now)
                _save(tx, state)
            return state

        return self.database.write(work)

    def cancel(self) -> None:
        """Give up a rotation of which nothing is wrapped yet.

        Raises:
            ConfigurationError: there is none, or it has gone on.
        """

        def work(tx: Tx) -> None:
            self._lock(tx)
            found = _state(tx)
            if found is None or found.phase != SPREAD:
                raise ConfigurationError(
                    "There is no rotation of the root key that could be given up.",
                    hint="One that has begun to wrap goes on to its end: `keywheel root rotate`.",
                )
            rows.drop.run(tx, row_name=_STATE)

        self.database.write(work)

    def _lock(self, tx: Tx) -> str:
        """The root key that the database is tied to, which nobody changes meanwhile."""
        row = rows.lock.first(tx, row_name=CHECK)
        if row is None:
            raise KeyStoreError("This database is not initialised.", hint="Run `keywheel init` first.")
        self.ring.follow(tx, bytes(row[0]))
        return self.ring.current


def require_known(ring: RootRing, tx: Tx, places: Sequence[Place]) -> None:
    """Nothing, when the root keys open all that a database has under any.

    Raises:
        KeyStoreError: they do not.
    """
    unknown = 0
    for place in places:
        after: Row | None = None
        while page := place.page(tx, after, _PAGE):
            unknown += sum(place.read(ring, row).root_key == UNKNOWN for row in page)
            after = page[-1]
    if unknown:
        raise KeyStoreError(
            f"{unknown} values are under another root key.",
            hint="It was rotated: put the file of the other root key beside this one, with `.next` behind its name.",
        )


def _state(tx: Tx) -> Rotation | None:
    row = rows.value.first(tx, row_name=_STATE)
    return None if row is None else Rotation(**json.loads(bytes(row[0])))


def _required(tx: Tx) -> Rotation:
    found = _state(tx)
    if found is None:
        raise ConfigurationError(
            "The rotation of the root key was given up.", hint="`keywheel root rotate` begins one."
        )
    return found


def _save(tx: Tx, rotation: Rotation) -> None:
    text = json.dumps(asdict(rotation)).encode()
    if not rows.put.run(tx, row_name=_STATE, value=text):
        rows.add.run(tx, row_name=_STATE, value=text)


def _processes(tx: Tx, now: float) -> list[tuple[str, frozenset[str]]]:
    return [(row[0], frozenset(row[1].split())) for row in rows.processes.all(tx, since=now - STALE)]
