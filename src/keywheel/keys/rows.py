"""SQL of keys, aliases, backing keys, and of what the root key seals directly."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, insert, select

from keywheel.db.statement import Statement
from keywheel.db.tables import backing_key as b
from keywheel.db.tables import installation as i
from keywheel.db.tables import kms_alias as a
from keywheel.db.tables import kms_key as k

_scope = and_(k.c.account == bindparam("account"), k.c.region == bindparam("region"))

installation = Statement(select(i.c.value).where(i.c.name == bindparam("name")))
insert_installation = Statement(insert(i).values(name=bindparam("name"), value=bindparam("value")))

key = Statement(select(k.c.key_id).where(_scope, k.c.key_id == bindparam("key_id")))
keys = Statement(select(k.c.key_id, k.c.manager, k.c.description, k.c.created).where(_scope).order_by(k.c.created))
insert_key = Statement(
    insert(k).values({c.name: bindparam(c.name) for c in k.c}),
)

alias = Statement(
    select(a.c.key_id).where(
        a.c.account == bindparam("account"), a.c.region == bindparam("region"), a.c.name == bindparam("name")
    )
)
insert_alias = Statement(insert(a).values({c.name: bindparam(c.name) for c in a.c}))

current_backing_key = Statement(
    select(b.c.generation, b.c.sealed).where(b.c.key_id == bindparam("key_id")).order_by(b.c.generation.desc()).limit(1)
)
backing_key = Statement(
    select(b.c.sealed).where(b.c.key_id == bindparam("key_id"), b.c.generation == bindparam("generation"))
)
insert_backing_key = Statement(insert(b).values({c.name: bindparam(c.name) for c in b.c}))
