"""SQL of rotations and their journal, with the claim.

`fence` counts up with every claim, and with every change from outside (cancelled, abandoned, deleted). A worker's
writes carry the fence it was given: when that is no longer the row's, somebody else owns the rotation. `holder` is who
holds the lease, whose end is then `wake_at`; or who was fenced off and may still be at the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, case, func, insert, select, update

from keywheel.db.statement import Row, Statement, Tx
from keywheel.db.tables import journal as j
from keywheel.db.tables import rotation as r
from keywheel.db.tables import secret as s
from keywheel.rotation.machine import Failure, Rotation, Step

_STATE = [
    "step", "token", "rehearsal", "attempt", "window_end", "due", "retiring", "retire_at",
    "failed_step", "failed_code", "failed_reason", "refusals", "refusals_since", "verify_at", "verified", "health",
    "wake_at",
]  # fmt: skip
_COLUMNS = [*_STATE, "secret_id", "place", "fence", "holder"]
_FENCED = " fenced at "
_NEWEST = 2**62
_row = [r.c[name] for name in _COLUMNS]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: the rotation's state, whose it is, and by whom it is held."""

    rotation: Rotation
    secret_id: int
    place: str
    fence: int
    holder: str | None


def _entry(row: Row) -> Entry:
    columns = dict(zip(_COLUMNS, row, strict=False))
    step, code, reason = columns["failed_step"], columns["failed_code"], columns["failed_reason"]
    plain = {name: columns[name] for name in _STATE if not name.startswith("failed_")}
    plain |= {"step": Step(columns["step"]), "rehearsal": bool(columns["rehearsal"])}
    state = Rotation(**plain, failure=None if step is None else Failure(Step(step), code, reason))
    return Entry(state, *(columns[name] for name in _COLUMNS[len(_STATE) :]))


def _state(rotation: Rotation) -> dict[str, object]:
    failure = rotation.failure
    values: dict[str, object] = {name: getattr(rotation, name) for name in _STATE if not name.startswith("failed_")}
    values["step"] = rotation.step.value
    values["failed_step"] = None if failure is None else failure.step.value
    values["failed_code"] = None if failure is None else failure.code
    values["failed_reason"] = None if failure is None else failure.reason
    return values


_by_secret = r.c.secret_id == bindparam("row_id")
_lock = Statement(select(*_row).where(_by_secret).with_for_update())
_get = Statement(select(*_row).where(_by_secret))
_insert = Statement(insert(r).values({name: bindparam(name) for name in _COLUMNS}))
_values: dict[str, Any] = {name: bindparam(name) for name in [*_STATE, "place", "holder", "fence"]}
_save = Statement(update(r).where(_by_secret).values(_values))
_later = case((r.c.wake_at > bindparam("wake_at"), r.c.wake_at), else_=bindparam("wake_at"))
_save_held = Statement(update(r).where(_by_secret).values(_values | {"wake_at": _later}))
_held = and_(_by_secret, r.c.fence == bindparam("held_fence"), r.c.holder == bindparam("worker"))
_renew = Statement(update(r).where(_held).values(wake_at=bindparam("until")))
_release = Statement(update(r).where(_held).values(holder=None, wake_at=bindparam("now")))
_let_go = Statement(
    update(r).where(_by_secret, r.c.holder == bindparam("former")).values(holder=None, wake_at=bindparam("now"))
)
# What the former holder sent last may land later. So the credential is looked at once more, a lease from now.
_looked_at = case((and_(r.c.token.is_not(None), r.c.verify_at.is_(None)), bindparam("until")), else_=r.c.verify_at)
_reclaim = Statement(
    update(r)
    .where(r.c.holder == bindparam("former"))
    .values(holder=None, wake_at=bindparam("now"), verify_at=_looked_at)
)
_due = (
    select(r.c.secret_id)
    .where(_by_secret, r.c.place == bindparam("at"), r.c.wake_at <= bindparam("now"))
    .with_for_update(skip_locked=True)
    .cte("due")
    .prefix_with("MATERIALIZED")  # PostgreSQL may otherwise run the inner SELECT more than once
)
# An epoch is greater than all before it; and, as targets keep it, than those of a store that was lost and restored.
_newer = case((r.c.fence < bindparam("epoch"), bindparam("epoch")), else_=r.c.fence + 1)
_claim = Statement(
    update(r)
    .where(r.c.secret_id.in_(select(_due.c.secret_id)))
    .values(
        wake_at=bindparam("until"),
        fence=_newer,
        holder=bindparam("worker"),
        verify_at=case((r.c.holder.is_not(None), _looked_at), else_=r.c.verify_at),
    )
    .returning(*_row)
)
_after_restore = Statement(
    update(r)
    .where(r.c.secret_id.in_(select(s.c.id).where(s.c.deleted.is_(None))))
    .values(
        holder=None,
        fence=case((r.c.fence < bindparam("epoch"), bindparam("epoch")), else_=r.c.fence + 1),
        verify_at=bindparam("now"),
        wake_at=bindparam("now"),
        refusals=0,
        refusals_since=None,
    )
)
_count_refusals = Statement(
    update(r).where(_by_secret).values(refusals=bindparam("refused"), refusals_since=bindparam("since"))
)
_at_rest = and_(r.c.token.is_(None), r.c.holder.is_(None))
_ask_check = Statement(
    update(r)
    .where(_by_secret, r.c.secret_id.in_(select(s.c.id).where(s.c.deleted.is_(None))))
    .values(verify_at=bindparam("now"), wake_at=case((_at_rest, bindparam("now")), else_=r.c.wake_at))
)
_first_check: Any = bindparam("now") + (r.c.secret_id * 7_919) % bindparam("every")  # spread over the round
_plan_checks = Statement(
    update(r)
    .where(r.c.verify_at.is_(None), r.c.token.is_(None), r.c.holder.is_(None))
    .where(r.c.secret_id.in_(select(s.c.id).where(s.c.deleted.is_(None), s.c.rotation_function.is_not(None))))
    .values(verify_at=_first_check, wake_at=case((r.c.wake_at < _first_check, r.c.wake_at), else_=_first_check))
)
_next_wake = Statement(select(func.min(r.c.wake_at)))
_overview = Statement(
    select(*_row, s.c.arn, s.c.name, s.c.rotation_enabled, s.c.rotation_function, s.c.rotated, s.c.next_rotation)
    .select_from(r.join(s, s.c.id == r.c.secret_id))
    .where(s.c.account == bindparam("account"), s.c.region == bindparam("region"), s.c.name > bindparam("after"))
    .where(s.c.deleted.is_(None))  # what is marked for deletion is not rotated
    .order_by(s.c.name)
    .limit(bindparam("most"))
)
_JOURNAL = [c.name for c in j.c if c.name not in ("id", "audited")]
_note = Statement(insert(j).values({name: bindparam(name) for name in _JOURNAL}))
_journal = Statement(
    select(*(j.c[name] for name in _JOURNAL))
    .where(and_(j.c.secret_id == bindparam("secret_id")))
    .order_by(j.c.id.desc())
    .limit(bindparam("most"))
)


_unaudited = Statement(
    select(j.c.id, *(j.c[name] for name in _JOURNAL))
    .where(j.c.audited.is_(False))
    .order_by(j.c.id)
    .limit(bindparam("most"))
)
_numbered = select(j.c.id, *(j.c[name] for name in _JOURNAL)).where(j.c.secret_id == bindparam("secret_id"))
_since = Statement(_numbered.where(j.c.id >= bindparam("first")).order_by(j.c.id).limit(bindparam("most")))
_of_secret = select(j.c.id, j.c.token, j.c.event).where(j.c.secret_id == bindparam("secret_id"))
_latest = Statement(
    _of_secret.where(j.c.event == bindparam("event"), j.c.id < bindparam("before")).order_by(j.c.id.desc()).limit(1)
)
_first_of = Statement(
    _of_secret.where(j.c.token == bindparam("token"), j.c.event == bindparam("event")).order_by(j.c.id).limit(1)
)
_mark_audited = Statement(update(j).where(j.c.id == bindparam("number")).values(audited=True))


@dataclass(frozen=True, slots=True)
class Note:
    """An entry of the journal: ids, steps and codes; no value, and no text of a driver's."""

    secret_id: int
    arn: str
    token: str | None
    fence: int
    attempt: int
    step: str
    event: str
    code: str | None
    reason: str | None
    at: float
    detail: str | None = None
    """What evidence needs beside that, as JSON (particulars.py)."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A rotation beside what its secret says of it."""

    entry: Entry
    arn: str
    name: str
    enabled: bool | None
    function: str | None
    rotated: float | None
    next_rotation: float | None


def get(tx: Tx, secret_id: int, *, lock: bool = False) -> Entry | None:
    """The rotation of a secret; None when none was ever configured."""
    row = (_lock if lock else _get).first(tx, row_id=secret_id)
    return None if row is None else _entry(row)


def add(tx: Tx, secret_id: int, rotation: Rotation, place: str) -> Entry:
    """The first row of a secret's rotation."""
    entry = Entry(rotation, secret_id, place, 1, None)
    _insert.run(tx, secret_id=secret_id, place=place, fence=1, holder=None, **_state(rotation))
    _ring(tx, entry)
    return entry


def save(tx: Tx, entry: Entry, *, held: bool = False) -> None:
    """Write the whole entry. The caller holds the row's lock and has compared the fence.

    `held`: its timer is the end of a lease, which the heartbeat may have put off farther meanwhile.
    """
    (_save_held if held else _save).run(
        tx,
        row_id=entry.secret_id,
        place=entry.place,
        holder=entry.holder,
        fence=entry.fence,
        **_state(entry.rotation),
    )
    _ring(tx, entry)


def _ring(tx: Tx, entry: Entry) -> None:
    """Wake the engines for what has begun and is nobody's yet. What comes due later, they find by themselves."""
    if entry.holder is None and entry.rotation.in_progress and entry.rotation.failure is None:
        tx.ring()


def claim(tx: Tx, secret_id: int, *, place: str, worker: str, now: float, until: float) -> Entry | None:
    """Take a rotation that is due until the instant `until`; None when it is not to be had, or has another place.

    A dead worker's comes due again; its credential is then looked at once more at `until`.
    """
    row = _claim.first(tx, row_id=secret_id, at=place, worker=worker, now=now, until=until, epoch=int(now * 1_000.0))
    return None if row is None else _entry(row)


def renew(tx: Tx, secret_id: int, *, worker: str, fence: int, until: float) -> bool:
    """Lengthen a lease; False when it is no longer the worker's, or the rotation rests."""
    return _renew.run(tx, row_id=secret_id, held_fence=fence, worker=worker, until=until) == 1


def release(tx: Tx, secret_id: int, *, worker: str, fence: int, now: float) -> None:
    """Give a lease back before its end, so that anybody may go on at once."""
    _release.run(tx, row_id=secret_id, held_fence=fence, worker=worker, now=now)
    tx.ring()


def fenced(holder: str, fence: int) -> str:
    """What stands for a holder that was fenced off, until it lets go or its lease is over."""
    return holder if _FENCED in holder else f"{holder}{_FENCED}{fence}"


def let_go(tx: Tx, secret_id: int, *, worker: str, fence: int, now: float) -> None:
    """A worker that was fenced off is done with the target: who was waiting for that may begin."""
    _let_go.run(tx, row_id=secret_id, former=fenced(worker, fence), now=now)
    tx.ring()


def reclaim(tx: Tx, worker: str, now: float, until: float) -> int:
    """Make due what this worker held when it died; how many. Only its own next start may call this."""
    return _reclaim.run(tx, former=worker, now=now, until=until)


def after_restore(tx: Tx, now: float) -> int:
    """The store is older than the targets may be: nobody holds anything, and every credential is checked first."""
    return _after_restore.run(tx, now=now, epoch=int(now * 1_000.0))


def count_refusals(tx: Tx, rotation: Rotation, secret_id: int) -> None:
    """Save how many logins were refused. The caller holds the row's lock."""
    _count_refusals.run(tx, row_id=secret_id, refused=rotation.refusals, since=rotation.refusals_since)


def ask_check(tx: Tx, secret_id: int, now: float) -> None:
    """Have the published credential checked as soon as the rotation rests."""
    _ask_check.run(tx, row_id=secret_id, now=now)


def plan_checks(tx: Tx, now: float, every: float) -> int:
    """Give every rotation at rest that has none a first check within the round; how many."""
    return _plan_checks.run(tx, now=now, every=max(1, int(every)))


def next_wake(tx: Tx) -> float | None:
    """The earliest timer of all rotations."""
    row = _next_wake.first(tx)
    return None if row is None else row[0]


def note(tx: Tx, entry: Note) -> None:
    """Append to the journal."""
    _note.run(tx, **{name: getattr(entry, name) for name in _JOURNAL})


def journal(tx: Tx, secret_id: int, most: int) -> list[Note]:
    """The newest entries of a secret, newest first."""
    return [Note(*row) for row in _journal.all(tx, secret_id=secret_id, most=most)]


def unaudited(tx: Tx, most: int) -> list[tuple[int, Note]]:
    """The oldest notes that the audit ledger does not have, with their numbers."""
    return [(row[0], Note(*row[1:])) for row in _unaudited.all(tx, most=most)]


def first_of(tx: Tx, secret_id: int, token: str, event: str) -> int | None:
    """The number of a rotation's first note of an event; None when there is none."""
    row = _first_of.first(tx, secret_id=secret_id, token=token, event=event)
    return None if row is None else int(row[0])


def latest(tx: Tx, secret_id: int, event: str, *, before: int | None = None) -> tuple[int, str] | None:
    """The newest note of an event, before the note with that number: its own number, and its rotation."""
    row = _latest.first(tx, secret_id=secret_id, event=event, before=_NEWEST if before is None else before)
    return None if row is None else (int(row[0]), str(row[1]))


def since(tx: Tx, secret_id: int, first: int, most: int) -> list[tuple[int, Note]]:
    """A secret's notes from one on, with their numbers, the oldest first."""
    return [(row[0], Note(*row[1:])) for row in _since.all(tx, secret_id=secret_id, first=first, most=most)]


def mark_audited(tx: Tx, numbers: list[int]) -> None:
    """The audit ledger has these notes."""
    for number in numbers:
        _mark_audited.run(tx, number=number)


def overview(tx: Tx, account: str, region: str, *, after: str, most: int) -> list[Overview]:
    """The rotations of a scope in the order of their secrets' names, beginning behind `after`."""
    found = _overview.all(tx, account=account, region=region, after=after, most=most)
    return [Overview(_entry(row), *row[len(_COLUMNS) :]) for row in found]
