"""What an engine does about its clock: asks whether it is to be believed (trust.py), and puts right what it is not.

What is known of the clock is a row of the store, for the next start and for a person to look at. Corrections are few
statements over all rows, or pages; each may be run twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import structlog
from sqlalchemy import and_, bindparam, func, insert, or_, select, update

from keywheel.clock import Clock, from_epoch, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import installation as i
from keywheel.db.tables import rotation as r
from keywheel.db.tables import secret as s
from keywheel.db.tables import slot
from keywheel.db.tables import version as v
from keywheel.rotation.engine import Rotations
from keywheel.rotation.keys import redating
from keywheel.rotation.machine import Step
from keywheel.rotation.trust import Look, Trust, Verdict, dates_anew

_log = structlog.get_logger("keywheel.clock")

_ROW = "clock"
_DAY = 86_400.0
_LONGEST_RECOVERY = 30 * _DAY
_LONGEST_WAIT = 7_200.0  # seconds: no backoff, and no wait for the budget of logins, is as long
_LOOKED_AGAIN = 1.0  # seconds between two looks at the row while the clock is doubted
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Caution:
    """How careful the engine is with its clock, and with many rotations at once. Durations are seconds."""

    hold: float = 900.0
    """How long nothing begins after the clock has jumped."""
    limit: int = 100
    """How many rotations may be overdue after a pause before they are spread,"""
    spread: float = 900.0
    """over this time."""


CAREFUL = Caution()


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the store keeps of the clock. Instants and durations are seconds."""

    seen: float | None = None
    """The last instant that was trusted."""
    ahead: float = 0.0
    """By how much the clock was accepted ahead of what was expected, since it was last put back."""
    doubted: float | None = None
    """By how much it is ahead of what was expected now, while nothing is begun; None when it is trusted."""
    word: float | None = None
    """The instant at which a person said that the clock is right, until an engine has heard."""


_get = Statement(select(i.c.value).where(i.c.name == bindparam("row")))
_set = Statement(update(i).where(i.c.name == bindparam("row")).values(value=bindparam("text")))
_add = Statement(insert(i).values(name=bindparam("row"), value=bindparam("text")))

_now: Any = bindparam("now")
_nobodys = r.c.holder.is_(None)
_failed = and_(r.c.window_end.is_(None), r.c.step != Step.REPAIR.value)
_resting = and_(_nobodys, or_(r.c.token.is_(None), _failed))
_overdue = and_(_resting, r.c.wake_at <= _now)
_count_overdue = Statement(select(func.count()).select_from(r).where(_overdue))
_spread = Statement(
    update(r).where(_overdue).values(wake_at=_now + (r.c.secret_id * 7_919) % bindparam("spread"))  # a prime
)
# --- a clock that was put back: leases and waits
_cut: tuple[tuple[Statement, bool], ...] = (
    (Statement(update(r).where(~_nobodys, r.c.wake_at > bindparam("end")).values(wake_at=bindparam("end"))), True),
    (Statement(update(slot).where(slot.c.until > bindparam("end")).values(until=bindparam("end"))), True),
    (Statement(update(r).where(r.c.refusals_since > _now).values(refusals_since=_now)), False),
    (Statement(update(r).where(_nobodys, ~_resting, r.c.wake_at > _now + _LONGEST_WAIT).values(wake_at=_now)), False),
)
# --- and dates that were written while it was ahead
_rotated: Any = select(s.c.rotated).where(s.c.id == r.c.secret_id).scalar_subquery()
_dated: tuple[Statement, ...] = (
    Statement(update(r).where(r.c.retire_at > _now, _rotated > _now).values(retire_at=_now + r.c.retire_at - _rotated)),
    Statement(update(r).where(r.c.verified > _now).values(verified=_now)),
    Statement(
        update(r).where(r.c.verify_at > _now + _DAY).values(verify_at=_now + (r.c.secret_id * 7_919) % int(_DAY))
    ),
    Statement(update(r).where(r.c.window_end > _now + _DAY).values(window_end=_now + 3_600.0)),
    Statement(update(s).where(s.c.rotated > _now).values(rotated=_now)),
    Statement(update(s).where(s.c.rotation_configured > _now).values(rotation_configured=_now)),
    Statement(update(s).where(s.c.deleted > _now + _LONGEST_RECOVERY).values(deleted=_now + _LONGEST_RECOVERY)),
    Statement(update(v).where(v.c.created > _now).values(created=_now)),
)
_page = Statement(
    select(r.c.secret_id)
    .where(_resting, r.c.wake_at > _now, r.c.secret_id > bindparam("after"))
    .order_by(r.c.secret_id)
    .limit(_PAGE)
)


def read(tx: Tx) -> Known:
    """What the store knows of the clock."""
    row = _get.first(tx, row=_ROW)
    return Known() if row is None else msgspec.json.decode(bytes(row[0]), type=Known)


def write(tx: Tx, known: Known) -> None:
    """Keep what is known of the clock."""
    text = msgspec.json.encode(known)
    if _set.run(tx, row=_ROW, text=text) == 0:
        _add.run(tx, row=_ROW, text=text)


class Timekeeper:
    """Asks before each look at what is due. One thread uses it."""

    def __init__(self, database: Database, rotations: Rotations, clock: Clock, *, lease: float, care: Caution) -> None:
        self._database = database
        self._rotations = rotations
        self._clock = clock
        self._lease = lease
        self._care = care
        self._trust: Trust | None = None
        self._doubts = False
        self._listened = 0.0

    def trusts(self) -> bool:
        """Whether what is due by the clock may be begun. Puts things right first, where it has just been accepted."""
        now, monotonic = to_epoch(self._clock.now()), self._clock.monotonic()
        if self._trust is None:
            self._trust = Trust(self._known().seen, hold=self._care.hold)
        look = self._trust.look(now, monotonic, accepted=self._doubts and self._heard(now, monotonic))
        if look.verdict is not Verdict.TRUSTED or look.news:
            self._act(look, now)
        self._doubts = look.verdict is Verdict.DOUBTED
        return not self._doubts

    def remember(self) -> None:
        """Keep how far time has come; and do what a person said of the clock after it was accepted."""
        now = to_epoch(self._clock.now())
        known = self._known()
        if known.word is not None and abs(now - known.word) < _DAY:
            self._date_anew(now)
            known = Known(seen=now)
        self._keep(msgspec.structs.replace(known, seen=now, doubted=None))

    # --- inside

    def _act(self, look: Look, now: float) -> None:
        known = self._known()
        match look.verdict:
            case Verdict.DOUBTED:
                if look.news:
                    _log.error("clock.doubted", ahead=round(look.offset), held_seconds=self._care.hold)
                    self._keep(msgspec.structs.replace(known, doubted=look.offset))
                return
            case Verdict.AHEAD:
                known = Known(now, ahead=known.ahead + look.offset)
            case Verdict.BEHIND:
                known = self._put_back(known, look.offset, now)
            case Verdict.WOKEN | Verdict.TRUSTED:
                known = Known(now, ahead=known.ahead)
        _log.warning("clock.accepted", ahead=round(look.offset))
        if look.verdict in (Verdict.AHEAD, Verdict.WOKEN):
            self._spread_overdue(now)
        self._keep(known)  # last: who dies before does it again

    def _put_back(self, known: Known, offset: float, now: float) -> Known:
        self._database.write(lambda tx: _cut_waits(tx, now, self._lease))
        if known.word is not None or dates_anew(offset, known.ahead):
            self._date_anew(now)
            return Known(now, ahead=0.0 if known.word is not None else max(0.0, known.ahead + offset))
        _log.error("clock.behind", behind=round(-offset), hint="If it is right now: `keywheel clock --accept`.")
        return Known(now)

    def _spread_overdue(self, now: float) -> None:
        def spread(tx: Tx) -> int:
            row = _count_overdue.first(tx, now=now)
            count = 0 if row is None else int(row[0])
            if count > self._care.limit and self._care.spread >= 1.0:
                _spread.run(tx, now=now, spread=int(self._care.spread))
                return count
            return 0

        count = self._database.write(spread)
        if count:
            _log.error("clock.mass-due", rotations=count, spread_seconds=self._care.spread)

    def _date_anew(self, now: float) -> None:
        """Nothing was written after now: whatever says so is dated now, and what is planned is planned from now."""

        def date(tx: Tx) -> None:
            _cut_waits(tx, now, self._lease)
            for statement in _dated:
                statement.run(tx, now=now)
            redating.date_anew(tx, now)

        self._database.write(date)
        page = [-1]
        while page:
            page = self._database.write(partial(self._replan, page[-1], now))

    def _replan(self, after: int, now: float, tx: Tx) -> list[int]:
        """Plan the rotations of the page behind `after` anew; which they are."""
        page = [row[0] for row in _page.all(tx, now=now, after=after)]
        for secret_id in page:
            self._rotations.replan(tx, secret_id, from_epoch(now))
        return page

    def _heard(self, now: float, monotonic: float) -> bool:
        """Whether a person has said that the clock is right as it is."""
        if monotonic - self._listened < _LOOKED_AGAIN:
            return False
        self._listened = monotonic
        word = self._known().word
        return word is not None and abs(now - word) < _DAY

    def _known(self) -> Known:
        with self._database.point() as tx:
            return read(tx)

    def _keep(self, known: Known) -> None:
        self._database.write(lambda tx: write(tx, known))


def _cut_waits(tx: Tx, now: float, lease: float) -> None:
    for statement, ends in _cut:
        statement.run(tx, **({"end": now + lease} if ends else {"now": now}))
    redating.cut_waits(tx, now + lease)
