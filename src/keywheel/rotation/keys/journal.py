"""SQL of the journal of key rotations. It outlives aliases and keys."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, insert, select, update

from keywheel.arn import Scope
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import key_journal as j
from keywheel.keys.rows import Key


class Note(NamedTuple):
    """An entry of the journal: ids, steps and codes."""

    account: str
    region: str
    name: str
    """The alias; empty where it is about a key alone."""
    key_id: str | None
    run: str | None
    attempt: int
    step: str
    event: str
    code: str | None
    reason: str | None
    at: float


_NOTE = Note._fields
_columns = [j.c[name] for name in _NOTE]
_note = Statement(insert(j).values({name: bindparam(name) for name in _NOTE}))
_journal = Statement(
    select(*_columns)
    .where(j.c.account == bindparam("account"), j.c.region == bindparam("region"), j.c.name == bindparam("name"))
    .order_by(j.c.id.desc())
    .limit(bindparam("most"))
)
_unaudited = Statement(
    select(j.c.id, *_columns).where(j.c.audited.is_(False)).order_by(j.c.id).limit(bindparam("most"))
)
_mark_audited = Statement(update(j).where(j.c.id == bindparam("number")).values(audited=True))


def of_key(key: Key, event: str, at: float) -> Note:
    """A note of what a sweep did to a key: it belongs to no alias's rotation."""
    return Note(key.account, key.region, "", key.key_id, None, 0, "", event, None, None, at)


def note(tx: Tx, entry: Note) -> None:
    """Append to the journal."""
    _note.run(tx, **entry._asdict())


def journal(tx: Tx, scope: Scope, name: str, most: int) -> list[Note]:
    """The newest entries of an alias, newest first."""
    found = _journal.all(tx, account=scope.account, region=scope.region, name=name, most=most)
    return [Note._make(row) for row in found]


def unaudited(tx: Tx, most: int) -> list[tuple[int, Note]]:
    """The oldest notes that the audit ledger does not have, with their numbers."""
    return [(row[0], Note._make(row[1:])) for row in _unaudited.all(tx, most=most)]


def mark_audited(tx: Tx, numbers: list[int]) -> None:
    """The audit ledger has these notes."""
    for number in numbers:
        _mark_audited.run(tx, number=number)
