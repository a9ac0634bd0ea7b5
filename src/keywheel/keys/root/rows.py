"""SQL of the root key: what ties the database to it, where something is under it, and who knows which root keys."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from keywheel.db.statement import Statement
from keywheel.db.tables import installation as i
from keywheel.db.tables import process as p

_named = i.c.name == bindparam("row_name")

# Whoever writes something under the root key holds the tie meanwhile; whoever changes the tie waits for them.
hold = Statement(select(i.c.value).where(_named).with_for_update(read=True))
lock = Statement(select(i.c.value).where(_named).with_for_update())
put = Statement(update(i).where(_named).values(value=bindparam("value")))
add = Statement(insert(i).values(name=bindparam("row_name"), value=bindparam("value")))
value = Statement(select(i.c.value).where(_named))
drop = Statement(delete(i).where(_named))

processes = Statement(select(p.c.name, p.c.root_keys).where(p.c.seen >= bindparam("since")).order_by(p.c.name))
add_process = Statement(insert(p).values({c.name: bindparam(c.name) for c in p.c}))
see_process = Statement(
    update(p).where(p.c.id == bindparam("row_id")).values(root_keys=bindparam("root_keys"), seen=bindparam("seen"))
)
drop_process = Statement(delete(p).where(p.c.id == bindparam("row_id")))
drop_processes = Statement(delete(p).where(p.c.seen < bindparam("before")))
