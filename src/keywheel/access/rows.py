"""SQL of access keys."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select

from keywheel.db.statement import Statement
from keywheel.db.tables import access_key as k

access_key = Statement(
    select(k.c.account, k.c.arn, k.c.role, k.c.sealed).where(k.c.access_key_id == bindparam("access_key_id"))
)
access_keys = Statement(
    select(k.c.access_key_id, k.c.account, k.c.arn, k.c.role, k.c.created).order_by(k.c.created, k.c.access_key_id)
)
insert_access_key = Statement(insert(k).values({c.name: bindparam(c.name) for c in k.c}))
delete_access_key = Statement(delete(k).where(k.c.access_key_id == bindparam("access_key_id")))
