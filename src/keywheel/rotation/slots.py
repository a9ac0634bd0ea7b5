"""SQL of slots: how many rotations may be at one target, and of one account, at once, over all engines.

A slot is a row that is leased. It is held from the claim of a rotation until its worker has really left the target, be
it fenced off or not, and it is renewed as long. One whose holder died or froze is free again at `until`, so nothing
leaks. Rows are never waited for: a slot that somebody is just taking is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Integer, and_, bindparam, cast, delete, func, insert, literal, select, tuple_, update

from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import slot as t

_FORGOTTEN = 86_400.0  # seconds after which the slots of a place where nothing happens are removed


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rotations at a time: at one target, and of one account."""

    target: int = 4
    account: int = 64

    def of(self, place: str) -> int:
        """The limit of a target's place, or of what `of_account` names."""
        return self.account if place.startswith(_ACCOUNT) else self.target


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that was taken. `turn` is the holder's own: the next one has another."""

    place: str
    n: int
    turn: int


DEFAULT = Limits()
_ACCOUNT = "account "  # no host has a space in its name


def of_account(account: str) -> str:
    """The name under which an account has slots."""
    return _ACCOUNT + account


_counted = select(literal(0).label("n")).cte("counted", recursive=True)
_counted = _counted.union_all(select(_counted.c.n + 1).where(_counted.c.n + 1 < cast(bindparam("many"), Integer)))
_there = select(t.c.n).where(t.c.place == bindparam("place"), t.c.n == _counted.c.n).exists()
_make = Statement(
    insert(t).from_select(
        ["place", "n", "turn", "until"],
        select(
            cast(bindparam("place"), t.c.place.type), _counted.c.n, literal(0), cast(bindparam("now"), t.c.until.type)
        ).where(~_there),
    )
)
_live = Statement(select(t.c.place, func.count()).where(t.c.until > bindparam("now")).group_by(t.c.place))
_free = (
    select(t.c.place, t.c.n)
    .where(t.c.place == bindparam("at"), t.c.n < bindparam("many"), t.c.until <= bindparam("now"))
    .order_by(t.c.n)
    .limit(1)
    .with_for_update(skip_locked=True)
    .cte("free")
    .prefix_with("MATERIALIZED")
)
_take = Statement(
    update(t)
    .where(tuple_(t.c.place, t.c.n).in_(select(_free.c.place, _free.c.n)))
    .values(holder=bindparam("worker"), until=bindparam("end"), turn=t.c.turn + 1)
    .returning(t.c.n, t.c.turn)
)
_own = and_(t.c.place == bindparam("at"), t.c.n == bindparam("number"), t.c.turn == bindparam("mine"))
_held = and_(_own, t.c.holder == bindparam("worker"))
_renew = Statement(update(t).where(_held).values(until=bindparam("end")))
_give_back = Statement(update(t).where(_held).values(holder=None, until=bindparam("now")))
_reclaim = Statement(update(t).where(t.c.holder == bindparam("former")).values(holder=None, until=bindparam("now")))
_forget = Statement(delete(t).where(t.c.until < bindparam("before")))


def make_all(tx: Tx, places: dict[str, int], now: float) -> None:
    """Let each place have that many slots, if it has fewer."""
    for place, many in places.items():
        _make.run(tx, place=place, many=many, now=now)


def live(tx: Tx, now: float) -> dict[str, int]:
    """How many slots are held, by place."""
    return {row[0]: row[1] for row in _live.all(tx, now=now)}


def take(tx: Tx, place: str, many: int, *, worker: str, now: float, until: float) -> Slot | None:
    """A free slot of the first `many`; None when there is none."""
    row = _take.first(tx, at=place, many=many, worker=worker, now=now, end=until)
    return None if row is None else Slot(place, row[0], row[1])


def renew(tx: Tx, slot: Slot, *, worker: str, until: float) -> bool:
    """Hold a slot longer; False when it is somebody else's by now."""
    return _renew.run(tx, at=slot.place, number=slot.n, mine=slot.turn, worker=worker, end=until) == 1


def give_back(tx: Tx, slot: Slot, *, worker: str, now: float) -> None:
    """A slot is free again. Nothing, when it is somebody else's by now."""
    _give_back.run(tx, at=slot.place, number=slot.n, mine=slot.turn, worker=worker, now=now)


def reclaim(tx: Tx, worker: str, now: float) -> None:
    """Free what this worker held when it died. Only its own next start may call this."""
    _reclaim.run(tx, former=worker, now=now)


def forget(tx: Tx, now: float) -> None:
    """Remove the slots of places where nothing happens any more. They are made again when they are needed."""
    _forget.run(tx, before=now - _FORGOTTEN)
