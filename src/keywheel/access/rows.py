"""SQL of access keys, users, roles, their policies, and sessions."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from keywheel.db.statement import Statement
from keywheel.db.tables import access_key as k
from keywheel.db.tables import access_session as s
from keywheel.db.tables import identity_policy as i
from keywheel.db.tables import principal as p

_GIVEN = ("access_key_id", "account", "arn", "role", "sealed", "created")
_LISTED = ("access_key_id", "account", "arn", "role", "created", "active", "used", "used_service", "used_region")

access_key = Statement(
    select(k.c.account, k.c.arn, k.c.role, k.c.sealed, k.c.active, k.c.used).where(
        k.c.access_key_id == bindparam("access_key_id")
    )
)
access_keys = Statement(select(*(k.c[name] for name in _LISTED)).order_by(k.c.created, k.c.access_key_id))
access_keys_of = Statement(
    select(*(k.c[name] for name in _LISTED))
    .where(k.c.account == bindparam("account"), k.c.arn == bindparam("arn"))
    .order_by(k.c.created, k.c.access_key_id)
)
insert_access_key = Statement(insert(k).values({name: bindparam(name) for name in _GIVEN}))
delete_access_key = Statement(delete(k).where(k.c.access_key_id == bindparam("access_key_id")))
delete_access_keys_of = Statement(delete(k).where(k.c.account == bindparam("account"), k.c.arn == bindparam("arn")))
set_active = Statement(update(k).where(k.c.access_key_id == bindparam("row_key")).values(active=bindparam("active")))
touch_access_key = Statement(
    update(k)
    .where(k.c.access_key_id == bindparam("row_key"))
    .values({name: bindparam(name) for name in ("used", "used_service", "used_region")})
)

# --- users and roles

PRINCIPAL_COLUMNS = [c.name for c in p.c]
_the_principal = (p.c.account == bindparam("account"), p.c.kind == bindparam("kind"), p.c.name == bindparam("name"))

principal = Statement(select(p).where(*_the_principal))
principals = Statement(select(p).order_by(p.c.account, p.c.kind, p.c.name))
insert_principal = Statement(insert(p).values({name: bindparam(name) for name in PRINCIPAL_COLUMNS}))
delete_principal = Statement(delete(p).where(*_the_principal))
set_trust = Statement(
    update(p)
    .where(p.c.account == bindparam("row_account"), p.c.kind == "role", p.c.name == bindparam("row_name"))
    .values(trust=bindparam("trust"))
)

_of_owner = (i.c.account == bindparam("account"), i.c.kind == bindparam("kind"), i.c.owner == bindparam("owner"))

policies = Statement(select(i.c.name, i.c.document).where(*_of_owner).order_by(i.c.name))
insert_policy = Statement(insert(i).values({c.name: bindparam(c.name) for c in i.c}))
delete_policy = Statement(delete(i).where(*_of_owner, i.c.name == bindparam("name")))
delete_policies = Statement(delete(i).where(*_of_owner))

# --- sessions

session = Statement(
    select(
        s.c.account, s.c.role, s.c.name, s.c.sealed, s.c.token, s.c.policy, s.c.tags, s.c.created, s.c.expires
    ).where(s.c.access_key_id == bindparam("access_key_id"))
)
insert_session = Statement(insert(s).values({c.name: bindparam(c.name) for c in s.c}))
delete_session = Statement(delete(s).where(s.c.access_key_id == bindparam("access_key_id")))
delete_sessions_of = Statement(delete(s).where(s.c.account == bindparam("account"), s.c.role == bindparam("role")))
delete_sessions_before = Statement(delete(s).where(s.c.expires < bindparam("before")))
