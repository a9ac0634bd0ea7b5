"""SQL of rotations behind aliases, and of what is kept under rotation.

`wake_at` is the only timer. A claim pushes it to the end of a lease and counts `serial` up; a save that brings another
serial is refused, so a worker that was overtaken changes nothing. No heartbeat is needed: a step takes a few seconds
at the most, and what it does to the store it does in the transaction of its save.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, func, insert, select, union_all, update

from keywheel.arn import Scope
from keywheel.db.statement import Row, Statement, Tx
from keywheel.db.tables import alias_rotation as r
from keywheel.db.tables import enforcement as e
from keywheel.db.tables import former_key as f
from keywheel.errors import Fenced
from keywheel.rotation.keys.machine import Failure, Rotation, Step
from keywheel.rotation.keys.rules import RULES, Rules

_STATE = (
    "step", "run", "old_key", "new_key", "attempt", "failures", "urgent", "due", "rotated", "wake_at",
    "failed_step", "failed_code", "failed_reason",
)  # fmt: skip


class Entry(NamedTuple):
    """An alias's rules and rotation, and by which claim they are held."""

    scope: Scope
    name: str
    configured: float
    rules: Rules
    rotation: Rotation
    serial: int


class Bound(NamedTuple):
    """Keys that are kept under rotation: those with a tag, or all where its key is empty."""

    account: str
    region: str
    tag_key: str
    tag_value: str
    days: int


def _columns(table: Any, names: tuple[str, ...]) -> list[Any]:
    return [table.c[name] for name in names]


def _binds(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


_KEY = ("account", "region", "name")
_at = and_(*(r.c[name] == bindparam(f"row_{name}") for name in _KEY))
_entry_columns = _columns(r, (*_KEY, "configured", "serial", *RULES, *_STATE))
_get = Statement(select(*_entry_columns).where(_at))
_lock = Statement(select(*_entry_columns).where(_at).with_for_update())
_insert = Statement(insert(r).values(_binds((*_KEY, "configured", "serial", *RULES, *_STATE))))
_save = Statement(update(r).where(_at).values(_binds((*_STATE, "serial"))))
_save_rules = Statement(update(r).where(_at).values(_binds(("configured", *RULES))))
_page = Statement(
    select(*_entry_columns)
    .where(r.c.account == bindparam("account"), r.c.region == bindparam("region"), r.c.name > bindparam("after"))
    .order_by(r.c.name)
    .limit(bindparam("most"))
)
_woken: Any = r.c.wake_at <= bindparam("now")
_next = select(*_entry_columns).order_by(r.c.wake_at).limit(1).with_for_update(skip_locked=True)
_due = Statement(_next.where(_woken))
_begun = Statement(_next.where(_woken, r.c.step.not_in([Step.REST.value, Step.ANNOUNCE.value])))
_lease = Statement(update(r).where(_at).values(_binds(("serial", "wake_at"))))

_wakes = union_all(
    select(func.min(r.c.wake_at).label("wake_at")), select(func.min(f.c.wake_at).label("wake_at"))
).subquery()
_next_wake = Statement(select(func.min(_wakes.c.wake_at)))

_bound_at = and_(*(e.c[name] == bindparam(f"row_{name}") for name in Bound._fields[:4]))
_bound_insert = Statement(insert(e).values(_binds((*Bound._fields, "wake_at"))))
_bound_delete = Statement(delete(e).where(_bound_at))
_bound_due = Statement(
    select(*_columns(e, Bound._fields))
    .where(e.c.wake_at <= bindparam("now"))
    .order_by(e.c.wake_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_bound_later = Statement(update(e).where(_bound_at).values(wake_at=bindparam("until")))
_bounds = Statement(
    select(*_columns(e, Bound._fields)).where(e.c.account == bindparam("account"), e.c.region == bindparam("region"))
)


# --- rotations


def _where(scope: Scope, name: str) -> dict[str, str]:
    return {"row_account": scope.account, "row_region": scope.region, "row_name": name}


def _entry(row: Row) -> Entry:
    account, region, name, configured, serial, *rest = row
    rules = dict(zip(RULES, rest, strict=False))
    state = dict(zip(_STATE, rest[len(RULES) :], strict=True))
    rules |= {flag: bool(rules[flag]) for flag in ("restricted", "together", "published", "new_material")}
    step, code, reason = (state.pop(f"failed_{part}") for part in ("step", "code", "reason"))
    failure = None if step is None else Failure(Step(step), code, reason)
    state |= {"step": Step(state["step"]), "urgent": bool(state["urgent"]), "failure": failure}
    return Entry(Scope(account, region), name, configured, Rules(**rules), Rotation(**state), serial)


def _state(rotation: Rotation) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(rotation, name) for name in _STATE if not name.startswith("failed_")}
    failure = rotation.failure
    return values | {
        "step": rotation.step.value,
        "failed_step": None if failure is None else failure.step.value,
        "failed_code": None if failure is None else failure.code,
        "failed_reason": None if failure is None else failure.reason,
    }


def get(tx: Tx, scope: Scope, name: str, *, lock: bool = False) -> Entry | None:
    """The rotation of an alias; None when it never had one."""
    row = (_lock if lock else _get).first(tx, **_where(scope, name))
    return None if row is None else _entry(row)


def add(tx: Tx, scope: Scope, name: str, rules: Rules, rotation: Rotation, now: float) -> Entry:
    """The first row of an alias."""
    said = {rule: getattr(rules, rule) for rule in RULES}
    _insert.run(
        tx,
        account=scope.account,
        region=scope.region,
        name=name,
        configured=now,
        serial=1,
        **said,
        **_state(rotation),
    )
    return Entry(scope, name, now, rules, rotation, 1)


def save(tx: Tx, entry: Entry, rotation: Rotation) -> Entry:
    """Write the state, and take it from whoever had claimed it. The caller holds the row's lock."""
    _save.run(tx, serial=entry.serial + 1, **_where(entry.scope, entry.name), **_state(rotation))
    return entry._replace(rotation=rotation, serial=entry.serial + 1)


def save_rules(tx: Tx, entry: Entry, rules: Rules, now: float) -> Entry:
    """Write the rules. A claim does not mind: it reads them again."""
    said = {rule: getattr(rules, rule) for rule in RULES}
    _save_rules.run(tx, configured=now, **_where(entry.scope, entry.name), **said)
    return entry._replace(rules=rules, configured=now)


def held(tx: Tx, entry: Entry) -> Entry:
    """A claimed rotation as it stands, locked.

    Raises:
        Fenced: somebody else has it.
    """
    found = get(tx, entry.scope, entry.name, lock=True)
    if found is None or found.serial != entry.serial:
        raise Fenced(f"The rotation of {entry.name} belongs to another worker.")
    return found


def claim(tx: Tx, now: float, until: float, *, only_begun: bool) -> Entry | None:
    """A rotation that is due, until the instant `until`; None when there is none."""
    row = (_begun if only_begun else _due).first(tx, now=now)
    if row is None:
        return None
    entry = _entry(row)
    _lease.run(tx, serial=entry.serial + 1, wake_at=until, **_where(entry.scope, entry.name))
    return entry._replace(serial=entry.serial + 1)


def page(tx: Tx, scope: Scope, *, after: str, most: int) -> list[Entry]:
    """At most `most` rotations of a scope behind the alias `after`."""
    found = _page.all(tx, account=scope.account, region=scope.region, after=after, most=most)
    return [_entry(row) for row in found]


def next_wake(tx: Tx) -> float | None:
    """The earliest timer."""
    row = _next_wake.first(tx)
    return None if row is None else row[0]


# --- what is kept under rotation


def _bound_where(bound: Bound) -> dict[str, str]:
    return {f"row_{name}": getattr(bound, name) for name in Bound._fields[:4]}


def put_bound(tx: Tx, bound: Bound, wake_at: float) -> None:
    """Keep these keys under rotation from `wake_at` on."""
    drop_bound(tx, bound)
    _bound_insert.run(tx, wake_at=wake_at, **bound._asdict())


def drop_bound(tx: Tx, bound: Bound) -> bool:
    """Keep them so no more; False when nobody did."""
    return _bound_delete.run(tx, **_bound_where(bound)) == 1


def claim_bound(tx: Tx, now: float, until: float) -> Bound | None:
    """What is to be looked at now, and then not before `until`."""
    row = _bound_due.first(tx, now=now)
    if row is None:
        return None
    bound = Bound._make(row)
    _bound_later.run(tx, until=until, **_bound_where(bound))
    return bound


def bounds(tx: Tx, scope: Scope) -> list[Bound]:
    """All of a scope."""
    return [Bound._make(row) for row in _bounds.all(tx, account=scope.account, region=scope.region)]
