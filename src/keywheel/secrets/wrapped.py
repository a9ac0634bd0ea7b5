"""SQL of which backing key wraps which version: told by the head of the version's data key, so it cannot be outdated.

An index holds these heads, so how many versions depend on a backing key is counted without reading versions.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import LargeBinary, bindparam, func, literal_column, select, tuple_, update

from keywheel.arn import Scope
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import secret as s
from keywheel.db.tables import version as v
from keywheel.keys import ciphertext

# As the index spells it: with parameters in it, no store would know it again.
_HEAD = literal_column("substr(data_key, 1, 21)", LargeBinary)
_LAST = 2**32 - 1


class Place(NamedTuple):
    """A version, by which a page begins behind it."""

    secret_id: int
    version_id: str


class Seen(NamedTuple):
    """A version, and the head of its data key: None as long as it has no value."""

    secret_id: int
    version_id: str
    head: bytes | None
    account: str

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.secret_id, self.version_id)


class Stored(NamedTuple):
    """A version with its value, and what its secret says of the key."""

    account: str
    region: str
    arn: str
    kms_key_id: str | None
    data_key: bytes | None
    sealed: bytes | None

    @property
    def scope(self) -> Scope:
        """Where its secret lives."""
        return Scope(self.account, self.region)


FIRST = Place(0, "")

_with_secret = v.join(s, s.c.id == v.c.secret_id)
_here = tuple_(v.c.secret_id, v.c.version_id)
_behind = tuple_(bindparam("after_id", type_=v.c.secret_id.type), bindparam("after", type_=v.c.version_id.type))
_page = Statement(
    select(v.c.secret_id, v.c.version_id, _HEAD, s.c.account)
    .select_from(_with_secret)
    .where(_here > _behind)
    .order_by(v.c.secret_id, v.c.version_id)
    .limit(bindparam("most"))
)
_stored = Statement(
    select(s.c.account, s.c.region, s.c.arn, s.c.kms_key_id, v.c.data_key, v.c.sealed)
    .select_from(_with_secret)
    .where(v.c.secret_id == bindparam("secret_id"), v.c.version_id == bindparam("version_id"))
)
_named = select(s.c.kms_key_id).where(s.c.id == bindparam("id"))
_lock = Statement(_named.with_for_update())
_lock_if_free = Statement(_named.with_for_update(skip_locked=True))
_replace = Statement(
    update(v)
    .where(
        v.c.secret_id == bindparam("row_id"),
        v.c.version_id == bindparam("row_version"),
        v.c.data_key == bindparam("row_data_key"),
    )
    .values(data_key=bindparam("data_key"), key_arn=bindparam("key_arn"))
)
_values = Statement(
    select(func.count()).select_from(_with_secret).where(s.c.account == bindparam("account"), v.c.data_key.is_not(None))
)
_dependants = Statement(
    select(_HEAD, func.count())
    .select_from(v)
    .where(
        bindparam("first", type_=LargeBinary()) <= _HEAD,
        bindparam("last", type_=LargeBinary()) >= _HEAD,
    )
    .group_by(_HEAD)
)
_named_keys = Statement(
    select(s.c.kms_key_id, func.count())
    .where(s.c.account == bindparam("account"), s.c.region == bindparam("region"))
    .group_by(s.c.kms_key_id)
)


def page(tx: Tx, after: Place, most: int) -> list[Seen]:
    """At most `most` versions of every account behind `after`, in the order of secrets."""
    found = _page.all(tx, after_id=after.secret_id, after=after.version_id, most=most)
    return [Seen._make(row) for row in found]


def stored(tx: Tx, place: Place) -> Stored | None:
    """The version at `place`; None when it is gone."""
    row = _stored.first(tx, secret_id=place.secret_id, version_id=place.version_id)
    return None if row is None else Stored._make(row)


def replace(tx: Tx, place: Place, former: Stored, data_key: bytes, key_arn: str | None, *, wait: bool = True) -> bool:
    """Put `data_key` in the place of the former one. False, and nothing is done, when somebody was before us.

    Its secret is locked first, as by every change. Without `wait`, one that somebody else has locked is left to him.
    """
    row = (_lock if wait else _lock_if_free).first(tx, id=place.secret_id)
    if row is None or row[0] != former.kms_key_id:
        return False
    where = {"row_id": place.secret_id, "row_version": place.version_id, "row_data_key": former.data_key}
    return _replace.run(tx, data_key=data_key, key_arn=key_arn, **where) == 1


def values(tx: Tx, account: str) -> int:
    """How many versions of an account have a value."""
    row = _values.first(tx, account=account)
    return 0 if row is None else row[0]


def dependants(tx: Tx, key_id: str) -> dict[int, int]:
    """How many versions each generation of a key wraps, in every Region; generations that wrap none are left out."""
    found = _dependants.all(tx, first=ciphertext.head(key_id, 0), last=ciphertext.head(key_id, _LAST))
    return {ciphertext.backing_key(bytes(head))[1]: many for head, many in found}


def named_keys(tx: Tx, scope: Scope) -> dict[str | None, int]:
    """How many secrets name which key, as they spell it; None names the default key."""
    return dict(_named_keys.all(tx, account=scope.account, region=scope.region))
