"""SQL of custom key stores and of the keys in them."""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, exists, insert, select, update

from keywheel.arn import Scope
from keywheel.db.statement import Statement
from keywheel.db.tables import custom_key as c
from keywheel.db.tables import custom_key_store as s
from keywheel.db.tables import kms_key as k
from keywheel.keys import states


class CustomKeyStore(NamedTuple):
    """A custom key store as it stands."""

    store_id: str
    account: str
    region: str
    name: str
    type: str
    cluster: str | None
    trust_anchor: str | None
    proxy_json: str
    sealed: bytes
    state: str
    error: str | None
    serial: int
    created: float

    @property
    def scope(self) -> Scope:
        """The account and Region it belongs to."""
        return Scope(self.account, self.region)

    @property
    def proxy(self) -> dict[str, str]:
        """`endpoint`, `path` and `access_key_id` of an external key store's proxy."""
        found: dict[str, str] = json.loads(self.proxy_json)
        return found


def as_store(row: tuple[Any, ...]) -> CustomKeyStore:
    """A row of `store` or `stores`."""
    columns = list(row)
    columns[8] = bytes(columns[8])  # of PostgreSQL a view
    return CustomKeyStore(*columns)


_store = select(
    s.c.store_id,
    s.c.account,
    s.c.region,
    s.c.name,
    s.c.type,
    s.c.cluster,
    s.c.trust_anchor,
    s.c.proxy,
    s.c.sealed,
    s.c.state,
    s.c.error,
    s.c.serial,
    s.c.created,
)
_id = s.c.store_id == bindparam("store_id")
_scope = (s.c.account == bindparam("account"), s.c.region == bindparam("region"))

store = Statement(_store.where(_id))
lock_store = Statement(_store.where(_id).with_for_update())
state = Statement(select(s.c.state).where(_id))
stores = Statement(_store.where(*_scope).order_by(s.c.name))
stores_after = Statement(
    _store.where(*_scope, s.c.name > bindparam("after")).order_by(s.c.name).limit(bindparam("most"))
)
store_by_name = Statement(_store.where(*_scope, s.c.name == bindparam("name")))
store_of_cluster = Statement(select(s.c.store_id).where(s.c.cluster == bindparam("cluster")))
insert_store = Statement(insert(s).values({column.name: bindparam(column.name) for column in s.c}))
delete_store = Statement(delete(s).where(_id))


@functools.cache  # one for each set of columns that the code changes together
def store_update(*columns: str) -> Statement:
    """A statement that sets `columns` of the store `row_id`, as long as its serial is `row_serial`."""
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    where = (s.c.store_id == bindparam("row_id"), s.c.serial == bindparam("row_serial"))
    return Statement(update(s).where(*where).values(**values, serial=s.c.serial + 1))


# --- the keys in them

key_in = Statement(select(c.c.key_id).where(c.c.store_id == bindparam("store_id")).limit(1))
external_id = Statement(select(c.c.external_id).where(c.c.key_id == bindparam("key_id")))
key_of_external = Statement(
    select(c.c.key_id).where(c.c.store_id == bindparam("store_id"), c.c.external_id == bindparam("external_id"))
)
insert_key = Statement(insert(c).values({column.name: bindparam(column.name) for column in c.c}))
delete_key = Statement(delete(c).where(c.c.key_id == bindparam("key_id")))
unfinished = Statement(
    select(k.c.account, k.c.region, k.c.key_id)
    .where(k.c.store_id.is_not(None), k.c.state == states.CREATING, k.c.created <= bindparam("begun_before"))
    .with_for_update()
)
# Keys that are gone, and whose material in a key store may not be.
gone = Statement(
    select(c.c.key_id, c.c.store_id)
    .where(~exists().where(k.c.key_id == c.c.key_id))
    .order_by(c.c.key_id)
    .limit(bindparam("most"))
)
