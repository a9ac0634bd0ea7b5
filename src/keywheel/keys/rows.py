"""SQL of keys, aliases, backing keys, and of what the root key seals directly."""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from keywheel.arn import Scope
from keywheel.db.statement import Row, Statement
from keywheel.db.tables import backing_key as b
from keywheel.db.tables import installation as i
from keywheel.db.tables import kms_alias as a
from keywheel.db.tables import kms_key as k
from keywheel.keys import ciphertext, states
from keywheel.keys.specs import SPECS, SYMMETRIC, Kind


class Key(NamedTuple):
    """A key as it stands, without its policy and its material. Instants are seconds since the epoch."""

    account: str
    region: str
    key_id: str
    manager: str  # CUSTOMER or AWS
    description: str
    created: float
    spec: str
    usage: str
    origin: str
    state: str
    generation: int  # of the current backing key; 0 as long as no material was imported
    tags_json: str
    policy_serial: int = 0
    deletion: float | None = None
    deletion_window: int | None = None
    rotation_period: int | None = None
    next_rotation: float | None = None
    on_demand: int = 0
    expires: float | None = None
    store_id: str | None = None
    multi_region: str | None = None
    last_used: float | None = None
    last_operation: str | None = None
    grants: int = 0
    grant_serial: int = 0

    @property
    def scope(self) -> Scope:
        """The account and Region it lives in."""
        return Scope(self.account, self.region)

    @property
    def arn(self) -> str:
        """The key's ARN."""
        return f"arn:aws:kms:{self.region}:{self.account}:key/{self.key_id}"

    @property
    def enabled(self) -> bool:
        """Whether it can be used."""
        return self.state == states.ENABLED

    @property
    def kind(self) -> Kind:
        """Symmetric, asymmetric or HMAC."""
        return SPECS[self.spec].kind

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What it can do by its spec and usage."""
        return SPECS[self.spec].algorithms(self.usage)

    @property
    def tags(self) -> dict[str, str]:
        """The tags, in the order they were given."""
        tags: dict[str, str] = json.loads(self.tags_json)
        return tags

    @property
    def material_id(self) -> str | None:
        """The id of the current key material; None for a key that has none, or is not a symmetric one of our own."""
        if self.spec != SYMMETRIC or self.generation == 0 or self.origin not in (states.AWS_KMS, states.EXTERNAL):
            return None
        return ciphertext.material_id(self.key_id, self.generation)

    @property
    def expiration_model(self) -> str | None:
        """Whether imported material expires; None for other keys, and without material."""
        if self.origin != states.EXTERNAL or self.generation == 0 or self.state == states.PENDING_IMPORT:
            return None
        return "KEY_MATERIAL_DOES_NOT_EXPIRE" if self.expires is None else "KEY_MATERIAL_EXPIRES"


class Alias(NamedTuple):
    """A name of a key. Instants are None where nobody wrote them down."""

    account: str
    region: str
    name: str
    key_id: str
    created: float | None
    updated: float | None

    @property
    def arn(self) -> str:
        """The alias's ARN."""
        return alias_arn(Scope(self.account, self.region), self.name)


class Material(NamedTuple):
    """One backing key of a key. `sealed` is empty while imported material is away."""

    generation: int
    sealed: bytes
    created: float
    public: bytes | None
    rotated: float | None
    rotation: str | None
    fingerprint: bytes | None
    description: str | None
    expires: float | None


def alias_arn(scope: Scope, name: str) -> str:
    """The ARN of the alias `name`."""
    return scope.arn("kms", name)


def as_key(row: Row) -> Key:
    """The key of a row."""
    return Key._make(row)


def as_material(row: Row) -> Material:
    """The backing key of a row."""
    return Material._make(row)


_KEY_COLUMNS = ["tags" if name == "tags_json" else name for name in Key._fields]
_key = select(*(k.c[name] for name in _KEY_COLUMNS))
_scope = and_(k.c.account == bindparam("account"), k.c.region == bindparam("region"))
_key_id = k.c.key_id == bindparam("key_id")
_alias = select(*(a.c[name] for name in Alias._fields))
_alias_scope = and_(a.c.account == bindparam("account"), a.c.region == bindparam("region"))
_alias_name = and_(_alias_scope, a.c.name == bindparam("name"))
_material = select(*(b.c[name] for name in Material._fields)).where(b.c.key_id == bindparam("key_id"))
_generation = b.c.generation == bindparam("generation")

installation = Statement(select(i.c.value).where(i.c.name == bindparam("name")))
insert_installation = Statement(insert(i).values(name=bindparam("name"), value=bindparam("value")))

# --- keys

key = Statement(_key.where(_scope, _key_id))
lock_key = Statement(_key.where(_scope, _key_id).with_for_update())
key_by_alias = Statement(
    _key.join_from(k, a, and_(a.c.account == k.c.account, a.c.region == k.c.region, a.c.key_id == k.c.key_id)).where(
        _alias_name
    )
)
key_by_region = Statement(_key.where(_key_id, k.c.region == bindparam("region")))
key_states = Statement(select(k.c.region, k.c.state, k.c.manager, k.c.store_id).where(_key_id))
keys = Statement(select(k.c.key_id, k.c.manager, k.c.description, k.c.created).where(_scope).order_by(k.c.created))
keys_after = Statement(
    _key.where(_scope, k.c.key_id > bindparam("after")).order_by(k.c.key_id).limit(bindparam("most"))
)
insert_key = Statement(
    insert(k).values(
        {
            **{name: bindparam(name) for name in _KEY_COLUMNS},
            "policy": bindparam("policy"),
        }
    )
)
delete_key = Statement(
    delete(k).where(
        k.c.account == bindparam("account"), k.c.region == bindparam("region"), k.c.key_id == bindparam("key_id")
    )
)
policy = Statement(select(k.c.policy).where(_scope, _key_id))
_row = and_(
    k.c.account == bindparam("row_account"), k.c.region == bindparam("row_region"), k.c.key_id == bindparam("row_key")
)
put_policy = Statement(update(k).where(_row).values(policy=bindparam("policy"), policy_serial=k.c.policy_serial + 1))


@functools.cache  # one for each set of columns that the code changes together
def key_update(*columns: str) -> Statement:
    """A statement that sets `columns` of the key `row_account`, `row_region`, `row_key`."""
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    return Statement(update(k).where(_row).values(values))


_due_deletion = k.c.deletion <= bindparam("now")
purgeable = Statement(_key.where(_due_deletion).order_by(k.c.deletion).limit(bindparam("most")).with_for_update())
rotatable = Statement(
    _key.where(k.c.next_rotation <= bindparam("now"), k.c.state == states.ENABLED)
    .order_by(k.c.next_rotation)
    .limit(bindparam("most"))
    .with_for_update()
)
expirable = Statement(
    select(b.c.key_id).where(b.c.expires <= bindparam("now")).order_by(b.c.expires).limit(bindparam("most"))
)
lock_keys = Statement(_key.where(_key_id).order_by(k.c.region).with_for_update())  # in every Region

# --- aliases

alias = Statement(_alias.where(_alias_name))
aliases_after = Statement(
    _alias.where(_alias_scope, a.c.name > bindparam("after")).order_by(a.c.name).limit(bindparam("most"))
)
aliases_of_key_after = Statement(
    _alias.where(_alias_scope, a.c.key_id == bindparam("key_id"), a.c.name > bindparam("after"))
    .order_by(a.c.name)
    .limit(bindparam("most"))
)
insert_alias = Statement(insert(a).values({name: bindparam(name) for name in Alias._fields}))
move_alias = Statement(
    update(a)
    .where(
        a.c.account == bindparam("row_account"),
        a.c.region == bindparam("row_region"),
        a.c.name == bindparam("row_name"),
    )
    .values(key_id=bindparam("key_id"), updated=bindparam("updated"))
)
delete_alias = Statement(delete(a).where(_alias_name))
delete_aliases = Statement(delete(a).where(_alias_scope, a.c.key_id == bindparam("key_id")))

# --- backing keys

backing_key = Statement(select(b.c.sealed, b.c.public).where(b.c.key_id == bindparam("key_id"), _generation))
materials = Statement(_material.order_by(b.c.generation))
insert_backing_key = Statement(insert(b).values({c.name: bindparam(c.name) for c in b.c}))
delete_backing_key = Statement(delete(b).where(b.c.key_id == bindparam("key_id"), _generation))
delete_backing_keys = Statement(delete(b).where(b.c.key_id == bindparam("key_id")))
_material_row = and_(b.c.key_id == bindparam("row_key"), b.c.generation == bindparam("row_generation"))


@functools.cache
def material_update(*columns: str) -> Statement:
    """A statement that sets `columns` of the backing key `row_key`, `row_generation`."""
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    return Statement(update(b).where(_material_row).values(values))
