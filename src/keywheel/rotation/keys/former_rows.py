"""SQL of former keys, which are claimed as rotations are: see `rows`."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, or_, select, update

from keywheel.arn import Scope
from keywheel.db.statement import Row, Statement, Tx
from keywheel.db.tables import former_key as f
from keywheel.db.tables import secret as s
from keywheel.db.tables import version as v
from keywheel.errors import Fenced
from keywheel.rotation.keys.formers import Former, Held, Stage

_FORMER = ("key_id", "stage", "since", "missed", "held", "wake_at")


class FormerEntry(NamedTuple):
    """A former key: of which alias, which key came after it, when, and by which claim it is held."""

    scope: Scope
    name: str
    successor: str
    moved: float
    former: Former
    serial: int


_COLUMNS = ("account", "region", "name", "successor", "moved", "serial", *_FORMER)


def _binds(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


_KEY = ("account", "region", "key_id")
_at = and_(*(f.c[name] == bindparam(f"row_{name}") for name in _KEY))
_columns = [f.c[name] for name in _COLUMNS]
_insert = Statement(insert(f).values(_binds(_COLUMNS)))
_delete = Statement(delete(f).where(_at))
_get = Statement(select(f.c.stage).where(_at))
_lock = Statement(select(*_columns).where(_at).with_for_update())
_save = Statement(update(f).where(_at).values(_binds((*_FORMER[1:], "serial"))))
_due = Statement(
    select(*_columns)
    .where(f.c.wake_at <= bindparam("now"))
    .order_by(f.c.wake_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_lease = Statement(update(f).where(_at).values(_binds(("serial", "wake_at"))))
_of_alias = and_(f.c.account == bindparam("account"), f.c.region == bindparam("region"), f.c.name == bindparam("name"))
_formers = Statement(select(*_columns).where(_of_alias).order_by(f.c.moved.desc(), f.c.key_id))
_wake = Statement(
    update(f)
    .where(_of_alias, f.c.stage != Stage.DELETING.value)
    .values(wake_at=bindparam("now"), held=None, serial=f.c.serial + 1)
)
_missed = Statement(
    update(f)
    .where(_at, f.c.stage == Stage.DISABLED.value)
    .where(or_(f.c.missed.is_(None), f.c.missed < bindparam("before")))
    .values(missed=bindparam("now"))
    .returning(f.c.name, f.c.successor)
)
_sealed = Statement(select(v.c.version_id).where(v.c.key_arn == bindparam("arn"), v.c.sealed.is_not(None)).limit(1))
_chosen = Statement(
    select(s.c.id)
    .where(s.c.account == bindparam("account"), s.c.kms_key_id.in_([bindparam("arn"), bindparam("key_id")]))
    .limit(1)
)


def _where(scope: Scope, key_id: str) -> dict[str, str]:
    return {"row_account": scope.account, "row_region": scope.region, "row_key_id": key_id}


def _entry(row: Row) -> FormerEntry:
    account, region, name, successor, moved, serial, key_id, stage, since, missed, held, wake_at = row
    former = Former(key_id, Stage(stage), since, missed, None if held is None else Held(held), wake_at)
    return FormerEntry(Scope(account, region), name, successor, moved, former, serial)


def _state(former: Former) -> dict[str, object]:
    held = None if former.held is None else former.held.value
    state = {"stage": former.stage.value, "since": former.since, "missed": former.missed}
    return {**state, "held": held, "wake_at": former.wake_at}


def add(tx: Tx, scope: Scope, name: str, former: Former, successor: str) -> None:
    """A key that an alias leaves now; what was known of it as a former key is forgotten."""
    _delete.run(tx, **_where(scope, former.key_id))
    _insert.run(
        tx,
        account=scope.account,
        region=scope.region,
        name=name,
        successor=successor,
        moved=former.since,
        serial=1,
        key_id=former.key_id,
        **_state(former),
    )


def has(tx: Tx, scope: Scope, key_id: str) -> bool:
    """Whether an alias has left the key."""
    return _get.first(tx, **_where(scope, key_id)) is not None


def held(tx: Tx, entry: FormerEntry) -> FormerEntry:
    """A claimed former key as it stands, locked.

    Raises:
        Fenced: somebody else has it.
    """
    row = _lock.first(tx, **_where(entry.scope, entry.former.key_id))
    if row is None or (found := _entry(row)).serial != entry.serial:
        raise Fenced(f"The former key {entry.former.key_id} belongs to another worker.")
    return found


def save(tx: Tx, entry: FormerEntry, former: Former) -> None:
    """Write the stage. The caller holds the row's lock."""
    where = _where(entry.scope, former.key_id)
    _save.run(tx, serial=entry.serial + 1, **where, **_state(former))


def claim(tx: Tx, now: float, until: float) -> FormerEntry | None:
    """A former key that is due, until the instant `until`; None when there is none."""
    row = _due.first(tx, now=now)
    if row is None:
        return None
    entry = _entry(row)
    _lease.run(tx, serial=entry.serial + 1, wake_at=until, **_where(entry.scope, entry.former.key_id))
    return entry._replace(serial=entry.serial + 1)


def of_alias(tx: Tx, scope: Scope, name: str) -> list[FormerEntry]:
    """The keys that the alias has left, the latest first."""
    found = _formers.all(tx, account=scope.account, region=scope.region, name=name)
    return [_entry(row) for row in found]


def wake(tx: Tx, scope: Scope, name: str, now: float) -> None:
    """Have the alias's former keys looked at: the rules are others."""
    _wake.run(tx, account=scope.account, region=scope.region, name=name, now=now)


def miss(tx: Tx, scope: Scope, key_id: str, now: float, every: float) -> tuple[str, str] | None:
    """Somebody tried to use a key: its alias and its successor, where it is a disabled former key and that is news."""
    row = _missed.first(tx, now=now, before=now - every, **_where(scope, key_id))
    return None if row is None else (row[0], row[1])


def is_needed(tx: Tx, scope: Scope, arn: str, key_id: str) -> bool:
    """Whether a secret of this house is sealed under the key, or names it for what comes."""
    chosen = _chosen.first(tx, account=scope.account, arn=arn, key_id=key_id)
    return chosen is not None or _sealed.first(tx, arn=arn) is not None
