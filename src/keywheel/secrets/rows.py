"""SQL of secrets, versions, labels and replicas. A `Secret` is the row as it stands; it is never changed in place."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from keywheel.arn import Scope
from keywheel.db.statement import Row, Statement
from keywheel.db.tables import label as lab
from keywheel.db.tables import replica as r
from keywheel.db.tables import secret as s
from keywheel.db.tables import version as v

SEPARATOR = "\x1f"  # between labels in one text; a label with a control character is refused when it is put


class Secret(NamedTuple):
    """The metadata of a secret. Instants are seconds since the epoch; None means "not"."""

    id: int
    account: str
    region: str
    name: str
    arn: str
    description: str | None
    kms_key_id: str | None
    type: str | None
    owning_service: str | None
    tags: str  # a JSON object
    policy: str | None
    created: float
    changed: float
    accessed: float | None
    deleted: float | None
    rotated: float | None
    rotation_enabled: bool | None
    rotation_function: str | None
    rotation_days: int | None
    rotation_expression: str | None
    rotation_duration: str | None
    rotation_configured: float | None
    next_rotation: float | None
    external_metadata: str | None  # a JSON list
    external_role: str | None
    primary_id: int | None
    primary_region: str | None

    @property
    def scope(self) -> Scope:
        """The account and Region it lives in."""
        return Scope(self.account, self.region)


class Version(NamedTuple):
    """A version of a secret: `data_key` and `sealed` are None as long as it has no value."""

    version_id: str
    created: float
    accessed: float | None
    binary: bool
    key_arn: str | None
    data_key: bytes | None
    sealed: bytes | None


@dataclass(frozen=True, slots=True)
class Replica:
    """The state of a replica, kept at its primary."""

    region: str
    kms_key_id: str | None
    status: str
    message: str | None


SECRET_COLUMNS = list(Secret._fields)
_VERSION_COLUMNS = list(Version._fields)
_REPLICA_COLUMNS = [field.name for field in fields(Replica)]
_secret = select(*(s.c[name] for name in SECRET_COLUMNS))
_version = select(*(v.c[name] for name in _VERSION_COLUMNS)).where(v.c.secret_id == bindparam("secret_id"))
_by_arn = s.c.arn == bindparam("arn")
_by_name = and_(s.c.account == bindparam("account"), s.c.region == bindparam("region"), s.c.name == bindparam("name"))

secret_by_arn = Statement(_secret.where(_by_arn))
secret_by_name = Statement(_secret.where(_by_name))
lock_by_arn = Statement(_secret.where(_by_arn).with_for_update())
lock_by_name = Statement(_secret.where(_by_name).with_for_update())
secret_by_id = Statement(_secret.where(s.c.id == bindparam("id")))
lock_by_id = Statement(_secret.where(s.c.id == bindparam("id")).with_for_update())

insert_secret = Statement(
    insert(s).values({name: bindparam(name) for name in SECRET_COLUMNS if name != "id"}).returning(s.c.id)
)
delete_secret = Statement(delete(s).where(s.c.id == bindparam("id")))
purgeable = Statement(
    _secret.where(s.c.deleted <= bindparam("now")).order_by(s.c.deleted).limit(bindparam("most")).with_for_update()
)


@functools.cache  # one for each set of columns that the code changes together
def secret_update(*columns: str) -> Statement:
    """A statement that sets `columns` of the secret `row_id`."""
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    return Statement(update(s).where(s.c.id == bindparam("row_id")).values(values))


touch_secret = Statement(update(s).where(s.c.id == bindparam("row_id")).values(accessed=bindparam("day")))
touch_version = Statement(
    update(v)
    .where(v.c.secret_id == bindparam("row_id"), v.c.version_id == bindparam("row_version"))
    .values(accessed=bindparam("day"))
)

# --- versions

version = Statement(_version.where(v.c.version_id == bindparam("version_id")))
versions = Statement(_version.order_by(v.c.created, v.c.version_id))
insert_version = Statement(
    insert(v).values({name: bindparam(name) for name in ["secret_id", *_VERSION_COLUMNS]}),
)
fill_version = Statement(
    update(v)
    .where(v.c.secret_id == bindparam("row_id"), v.c.version_id == bindparam("row_version"))
    .values({name: bindparam(name) for name in ("binary", "key_arn", "data_key", "sealed")})
)
delete_version = Statement(
    delete(v).where(v.c.secret_id == bindparam("secret_id"), v.c.version_id == bindparam("version_id"))
)
count_versions = Statement(select(func.count()).select_from(v).where(v.c.secret_id == bindparam("secret_id")))
_labelled = select(lab.c.version_id).where(lab.c.secret_id == bindparam("secret_id"))
removable_versions = Statement(
    select(v.c.version_id)
    .where(
        v.c.secret_id == bindparam("secret_id"),
        v.c.created < bindparam("before"),
        v.c.version_id.not_in(_labelled),
    )
    .order_by(v.c.created)
    .limit(bindparam("most"))
)

# --- labels

labels = Statement(select(lab.c.label, lab.c.version_id).where(lab.c.secret_id == bindparam("secret_id")))
insert_label = Statement(insert(lab).values({c.name: bindparam(c.name) for c in lab.c}))
_one_label = and_(lab.c.secret_id == bindparam("row_id"), lab.c.label == bindparam("row_label"))
move_label = Statement(update(lab).where(_one_label).values(version_id=bindparam("version_id")))
delete_label = Statement(delete(lab).where(_one_label))

# --- replicas

replicas = Statement(
    select(*(r.c[name] for name in _REPLICA_COLUMNS))
    .where(r.c.secret_id == bindparam("secret_id"))
    .order_by(r.c.region)
)
insert_replica = Statement(insert(r).values({name: bindparam(name) for name in ["secret_id", *_REPLICA_COLUMNS]}))
_one_replica = and_(r.c.secret_id == bindparam("row_id"), r.c.region == bindparam("row_region"))
delete_replica = Statement(delete(r).where(_one_replica))
replica_copies = Statement(_secret.where(s.c.primary_id == bindparam("primary_id")).with_for_update())

# --- the hot read: a secret, one of its versions, and that version's labels, in one statement

_held = lab.alias("held")
_stages = (
    select(func.aggregate_strings(_held.c.label, SEPARATOR))
    .where(_held.c.secret_id == v.c.secret_id, _held.c.version_id == v.c.version_id)
    .correlate(v)
    .scalar_subquery()
)
_picked = (
    s.c.id, s.c.arn, s.c.name, s.c.deleted, s.c.accessed,
    v.c.version_id, v.c.created, v.c.binary, v.c.data_key, v.c.sealed, v.c.accessed, _stages, s.c.policy, s.c.tags,
    v.c.key_arn,
)  # fmt: skip


def _value_by_label(where: ColumnElement[bool]) -> Select[Any]:
    held = and_(lab.c.secret_id == s.c.id, lab.c.label == bindparam("label"))
    found = and_(v.c.secret_id == lab.c.secret_id, v.c.version_id == lab.c.version_id)
    return select(*_picked).select_from(s.outerjoin(lab, held).outerjoin(v, found)).where(where)


def _value_by_version(where: ColumnElement[bool]) -> Select[Any]:
    found = and_(v.c.secret_id == s.c.id, v.c.version_id == bindparam("version_id"))
    return select(*_picked).select_from(s.outerjoin(v, found)).where(where)


value_by_arn_and_label = Statement(_value_by_label(_by_arn))
value_by_name_and_label = Statement(_value_by_label(_by_name))
value_by_arn_and_version = Statement(_value_by_version(_by_arn))
value_by_name_and_version = Statement(_value_by_version(_by_name))


versions_with_value = Statement(
    select(v.c.version_id)
    .where(v.c.secret_id == bindparam("secret_id"), v.c.data_key.is_not(None))
    .order_by(v.c.created.desc(), v.c.version_id)
)

# --- listing: pages in the order of one column, then of the id

_ORDERS = {
    "created": s.c.created,
    "changed": s.c.changed,
    "name": s.c.name,
    "accessed": func.coalesce(s.c.accessed, 0.0),
}


def _after(column: ColumnElement[Any], tie: ColumnElement[Any], *, descending: bool = False) -> ColumnElement[bool]:
    """Beyond the position `after`, `after_id`. As a row value, which both stores seek in an index; an OR they scan."""
    here = tuple_(column, tie)
    position = tuple_(bindparam("after", type_=column.type), bindparam("after_id", type_=tie.type))
    return here < position if descending else here > position


def _page(column: ColumnElement[Any], *, descending: bool, first: bool) -> Statement:
    query = _secret.where(s.c.account == bindparam("account"), s.c.region == bindparam("region"))
    if not first:
        query = query.where(_after(column, s.c.id, descending=descending))
    order = (column.desc(), s.c.id.desc()) if descending else (column, s.c.id)
    return Statement(query.order_by(*order).limit(bindparam("most")))


PAGES = {
    (name, descending, first): _page(column, descending=descending, first=first)
    for name, column in _ORDERS.items()
    for descending in (False, True)
    for first in (False, True)
}


def _version_page(*, deprecated: bool) -> Statement:
    query = (
        select(v.c.version_id, v.c.created, v.c.accessed, v.c.key_arn)
        .where(v.c.secret_id == bindparam("secret_id"), v.c.sealed.is_not(None))
        .where(_after(v.c.created, v.c.version_id))
    )
    if not deprecated:
        query = query.where(v.c.version_id.in_(_labelled))
    return Statement(query.order_by(v.c.created, v.c.version_id).limit(bindparam("most")))


VERSION_PAGES = {deprecated: _version_page(deprecated=deprecated) for deprecated in (False, True)}

LABELS_OF = 100  # how many secrets `labels_of_secrets` asks about; their ids are its parameters id_0, id_1, …
labels_of_secrets = Statement(
    select(lab.c.secret_id, lab.c.version_id, lab.c.label).where(
        lab.c.secret_id.in_([bindparam(f"id_{n}", type_=lab.c.secret_id.type) for n in range(LABELS_OF)])
    )
)


def as_secret(row: Row) -> Secret:
    """A row of the secret statements as a `Secret`."""
    return Secret._make(row)
