"""SQL of grants."""

from __future__ import annotations

import json
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from keywheel.arn import Scope
from keywheel.db.statement import Row, Statement
from keywheel.db.tables import key_grant as g
from keywheel.db.tables import kms_key as k


class Terms(NamedTuple):
    """What a grant says. Equal terms are written in one way only."""

    grantee: str
    grantee_is_service: bool
    retiring: str | None
    retiring_is_service: bool
    operations: str
    equals: str | None
    subset: str | None
    source_arn: str | None


class KeyGrant(NamedTuple):
    """A grant as it is kept. Instants are seconds since the epoch."""

    account: str
    region: str
    key_id: str
    grant_id: str
    name: str | None
    grantee: str
    grantee_is_service: bool
    retiring: str | None
    retiring_is_service: bool
    operations: str
    equals: str | None
    subset: str | None
    source_arn: str | None
    issuer: str
    created: float
    copy_of: str | None

    @property
    def key_arn(self) -> str:
        """The ARN of its key."""
        return Scope(self.account, self.region).arn("kms", f"key/{self.key_id}")

    @property
    def terms(self) -> Terms:
        """What it says."""
        return Terms(*(getattr(self, name) for name in Terms._fields))

    @property
    def operation_names(self) -> list[str]:
        """The operations that it allows."""
        return self.operations.split()

    @property
    def equals_context(self) -> dict[str, str] | None:
        """The encryption context that must be given; None where the grant does not say."""
        return None if self.equals is None else json.loads(self.equals)

    @property
    def subset_context(self) -> dict[str, str] | None:
        """What the encryption context must hold; None where the grant does not say."""
        return None if self.subset is None else json.loads(self.subset)


def as_grant(row: Row) -> KeyGrant:
    """The grant of a row."""
    return KeyGrant._make(row)


_grant = select(*(g.c[name] for name in KeyGrant._fields))
_key = and_(g.c.account == bindparam("account"), g.c.region == bindparam("region"), g.c.key_id == bindparam("key_id"))
_one = and_(_key, g.c.grant_id == bindparam("grant_id"))
_grantee = g.c.grantee == bindparam("grantee")
_next = g.c.grant_id > bindparam("after")

grant = Statement(_grant.where(_one))
of_key = Statement(_grant.where(_key).order_by(g.c.grant_id))
after = Statement(_grant.where(_key, _next).order_by(g.c.grant_id).limit(bindparam("most")))
of_grantee_after = Statement(
    _grant.where(_key, _grantee, g.c.grantee_is_service == bindparam("is_service"), _next)
    .order_by(g.c.grant_id)
    .limit(bindparam("most"))
)
of_grantee = Statement(_grant.where(_key, _grantee))
retirable_after = Statement(
    _grant.where(g.c.region == bindparam("region"), g.c.retiring == bindparam("retiring"), _next)
    .order_by(g.c.grant_id)
    .limit(bindparam("most"))
)
insert_grant = Statement(insert(g).values({name: bindparam(name) for name in KeyGrant._fields}))
delete_grant = Statement(delete(g).where(_one))
delete_of_key = Statement(delete(g).where(_key))
count = Statement(
    update(k)
    .where(
        k.c.account == bindparam("row_account"),
        k.c.region == bindparam("row_region"),
        k.c.key_id == bindparam("row_key"),
    )
    .values(grants=k.c.grants + bindparam("more"), grant_serial=k.c.grant_serial + 1)
)
