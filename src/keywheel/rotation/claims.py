"""What an engine takes up next: slot first.

    look (no lock) ──▶ choose (pure) ──▶ take (one transaction)

* The oldest due rotations come first, but only those whose target and account have a slot left: a backlog at one
  target costs nothing but the look at it, and nobody behind it waits.
* A look is bounded, however much is due: some of the oldest, and, when these were all at full places, some of the other
  places in turn.
* A place that an engine could not reach gets one of its rotations at a time, until one gets through: the other slots
  are left to engines that can, and not held for a timeout each.
* A rotation whose place is not known yet, before its first create step, needs no slot at a target: it does not speak to
  one. It takes its slot when the place is known (`Claims.admit`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

from sqlalchemy import Integer, bindparam, cast, func, or_, select

from keywheel.db.database import Database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import rotation as r
from keywheel.db.tables import secret as s
from keywheel.rotation import rows, slots
from keywheel.rotation.machine import Step
from keywheel.rotation.rows import Entry
from keywheel.rotation.slots import Limits, Slot

_WINDOW = 256  # how many of the oldest are looked at
_PLACES = 256  # how many places are looked at when these do not do


@dataclass(frozen=True, slots=True)
class Due:
    """A rotation that could be claimed."""

    secret_id: int
    place: str
    account: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A rotation that was claimed, and the slots that it holds."""

    entry: Entry
    slots: tuple[Slot, ...]


_due = select(r.c.secret_id, r.c.place, s.c.account).select_from(r.join(s, s.c.id == r.c.secret_id))
_oldest = Statement(_due.where(r.c.wake_at <= bindparam("now")).order_by(r.c.wake_at).limit(bindparam("most")))
# What is under way: begun, and not given up for now.
_begun = Statement(
    _due.where(r.c.wake_at <= bindparam("now"), or_(r.c.window_end.is_not(None), r.c.step == Step.REPAIR.value))
    .order_by(r.c.wake_at)
    .limit(bindparam("most"))
)
_oldest_at = Statement(
    _due.where(r.c.place == bindparam("at"), r.c.wake_at <= bindparam("now"))
    .order_by(r.c.wake_at)
    .limit(bindparam("most"))
)
# From one place to the next by the index: as many steps as places, however many rotations each one has.
_first = select(func.min(r.c.place)).where(r.c.place > bindparam("after")).scalar_subquery()
_walk = select(_first.label("place"), cast(bindparam("many"), Integer).label("left")).cte("walk", recursive=True)
_next = select(func.min(r.c.place)).where(r.c.place > _walk.c.place).scalar_subquery()
_walk = _walk.union_all(select(_next, _walk.c.left - 1).where(_walk.c.place.is_not(None), _walk.c.left > 1))
_wake = select(func.min(r.c.wake_at)).where(r.c.place == _walk.c.place).scalar_subquery()
_places = Statement(select(_walk.c.place, _wake).where(_walk.c.place.is_not(None)).order_by(_walk.c.place))


def choose(due: Iterable[Due], held: dict[str, int], limits: Limits, most: int) -> list[Due]:
    """The first `most` of `due` for which there are slots, where `held` counts those that are held."""
    count = Counter(held)
    chosen: list[Due] = []
    for one in due:
        if len(chosen) == most:
            break
        names = needed(one.place, one.account)
        if all(count[name] < limits.of(name) for name in names):
            count.update(names)
            chosen.append(one)
    return chosen


def needed(place: str, account: str) -> list[str]:
    """Where a rotation needs slots."""
    return [*([place] if place else []), slots.of_account(account)]


class Claims:
    """Claims for one engine, known to the store as `name`."""

    def __init__(self, database: Database, limits: Limits, *, name: str) -> None:
        self._database = database
        self._limits = limits
        self._name = name
        self._after = ""  # the place at which the last look at places ended
        self._made: set[str] = set()  # whose slots are in the store, as far as is known
        self._away: set[str] = set()  # places that could not be reached from here the last time

    def tell(self, place: str, *, reached: bool) -> None:
        """What became of the last rotation of this engine at a place."""
        (self._away.discard if reached else self._away.add)(place)

    def look(
        self, now: float, most: int, returned: Iterable[Slot], *, only_begun: bool = False, busy_at: Container[str] = ()
    ) -> list[Due]:
        """What may be claimed now. The slots in `returned` count as free.

        `only_begun`: nothing that has yet to begin, as long as the clock is not to be trusted. `busy_at`: the places
        at which this engine is at work.
        """
        with self._database.read() as tx:
            held = Counter(slots.live(tx, now))
            held.subtract(slot.place for slot in returned)
            for place in tuple(self._away):
                full = self._limits.of(place)
                held[place] = max(held[place], full if place in busy_at else full - 1)
            oldest = [Due(*row) for row in (_begun if only_begun else _oldest).all(tx, now=now, most=_WINDOW)]
            chosen = choose(oldest, held, self._limits, most)
            if not only_begun and len(chosen) < most and len(oldest) == _WINDOW:
                others = self._elsewhere(tx, now, most, held)
                chosen = choose(dict.fromkeys([*chosen, *others]), held, self._limits, most)
        return chosen

    def _elsewhere(self, tx: Tx, now: float, most: int, held: dict[str, int]) -> list[Due]:
        """Due rotations of the next places that have slots, and there the oldest."""
        places = _places.all(tx, after=self._after, many=_PLACES)
        self._after = places[-1][0] if len(places) == _PLACES else ""
        found: list[Due] = []
        for _, place in sorted((wake, place) for place, wake in places if wake is not None and wake <= now):
            free = self._limits.of(place) - held[place]
            if free > 0 and len(found) < most:
                found += [Due(*row) for row in _oldest_at.all(tx, at=place, now=now, most=free)]
        return found

    def take(self, chosen: list[Due], returned: list[Slot], *, now: float, until: float) -> list[Claim]:
        """Give `returned` back and claim of `chosen` what is still to be had, until the instant `until`."""
        names = {name for one in chosen for name in needed(one.place, one.account)}
        self._make(names, now)

        def take(tx: Tx) -> list[Claim]:
            for slot in returned:
                slots.give_back(tx, slot, worker=self._name, now=now)
            hand = _Hand(tx, self._limits, self._name, now, until)
            found = [claim for one in chosen if (claim := hand.claim(one)) is not None]
            hand.lay_down()
            return found

        taken = self._database.write(take)
        if len(taken) < len(chosen):  # were slots removed? They are made again, if need be
            self._made -= names
        return taken

    def admit(self, place: str, *, now: float, until: float) -> Slot | None:
        """A slot at a place that has just become known; None when it has none left."""
        self._make({place}, now)
        limit = self._limits.of(place)
        return self._database.write(lambda tx: slots.take(tx, place, limit, worker=self._name, now=now, until=until))

    def _make(self, names: set[str], now: float) -> None:
        missing = sorted(names - self._made)
        if missing:
            self._database.write(lambda tx: slots.make_all(tx, {name: self._limits.of(name) for name in missing}, now))
            self._made.update(missing)


class _Hand:
    """The slots that were taken in a transaction and have no rotation yet."""

    def __init__(self, tx: Tx, limits: Limits, name: str, now: float, until: float) -> None:
        self.full: set[str] = set()
        self._tx = tx
        self._limits = limits
        self._name = name
        self._now = now
        self._until = until
        self._spare: list[Slot] = []

    def claim(self, one: Due) -> Claim | None:
        """Claim a rotation with its slots, or leave both."""
        found: list[Slot] = []
        for name in needed(one.place, one.account):
            slot = self._slot(name)
            if slot is None:
                self._spare += found
                return None
            found.append(slot)
        entry = rows.claim(
            self._tx, one.secret_id, place=one.place, worker=self._name, now=self._now, until=self._until
        )
        if entry is None:  # somebody else's, or not due any more
            self._spare += found
            return None
        return Claim(entry, tuple(found))

    def _slot(self, name: str) -> Slot | None:
        for spare in self._spare:
            if spare.place == name:
                self._spare.remove(spare)
                return spare
        if name in self.full:
            return None
        limit = self._limits.of(name)
        slot = slots.take(self._tx, name, limit, worker=self._name, now=self._now, until=self._until)
        if slot is None:
            self.full.add(name)
        return slot

    def lay_down(self) -> None:
        """Give back what no rotation was found for."""
        for slot in self._spare:
            slots.give_back(self._tx, slot, worker=self._name, now=self._now)
