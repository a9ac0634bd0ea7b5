"""The newest checkpoint of every stream, in the store: a stream that is gone, or was cut back, is missed there."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select

from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import audit_checkpoint as c

_delete = Statement(delete(c).where(c.c.stream == bindparam("old")))
_insert = Statement(insert(c).values({name: bindparam(name) for name in ("stream", "size", "line")}))
_all = Statement(select(c.c.line).order_by(c.c.stream))


def keep(tx: Tx, stream: str, size: int, line: str) -> None:
    """Keep the newest checkpoint of a stream."""
    _delete.run(tx, old=stream)
    _insert.run(tx, stream=stream, size=size, line=line)


def kept(tx: Tx) -> list[str]:
    """The lines of all of them."""
    return [str(row[0]) for row in _all.all(tx)]
