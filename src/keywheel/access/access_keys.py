"""Access keys: who may sign requests, and in which role."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keywheel.access import rows
from keywheel.access.identities import Identities, Sort
from keywheel.clock import to_epoch
from keywheel.db.statement import Row, Tx
from keywheel.errors import ConfigurationError, ResourceNotFound
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ID = re.compile(r"[A-Za-z0-9]{16,128}")
_SECRET = re.compile(r"[!-~]{16,}")  # what a credentials file keeps as it is
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_MOST = 2  # so that one can be replaced without a gap, and none is forgotten


class Role(StrEnum):
    """What an access key lets its user do by itself: everything, what changes nothing, or nothing.

    The user's own policies count besides; with `POLICIES`, they alone.
    """

    ADMINISTRATOR = "administrator"
    READ_ONLY = "read-only"
    POLICIES = "policies"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key without its secret half."""

    access_key_id: str
    account: str
    arn: str
    role: Role
    created: float
    active: bool = True
    used: float | None = None
    used_service: str | None = None
    used_region: str | None = None


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What checking a signature needs of an access key."""

    account: str
    arn: str
    role: Role
    secret: Sensitive[str]
    active: bool = True
    used: float | None = None


def new_access_key() -> tuple[str, Sensitive[str]]:
    """The two halves of an access key that nobody has seen before."""
    access_key_id = "AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
    return access_key_id, Sensitive(secrets.token_urlsafe(30))


def check_access_key(access_key_id: str, secret: Sensitive[str]) -> None:
    """Refuse halves that cannot be an access key.

    Raises:
        ConfigurationError: one of them cannot.
    """
    if not _ID.fullmatch(access_key_id):
        raise ConfigurationError("An access key id has 16 to 128 letters and digits.")
    if not _SECRET.fullmatch(secret.reveal()):
        raise ConfigurationError("A secret access key has 16 or more characters, which are ASCII and no spaces.")


class AccessKeys:
    """The access keys of every account."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def create(
        self,
        tx: Tx,
        *,
        account: str,
        name: str,
        role: Role,
        now: datetime,
        access_key_id: str,
        secret: Sensitive[str],
    ) -> None:
        """Let `access_key_id` and `secret` sign requests, as the user `name`.

        Raises:
            ConfigurationError: a half is not usable, the id is taken, or the user has two access keys already.
            ResourceNotFound: the key is to do what its user may, and there is no such user.
        """
        check_access_key(access_key_id, secret)
        if not _NAME.fullmatch(name):
            raise ConfigurationError("A user name has up to 64 letters, digits and _+=,.@-")
        if rows.access_key.first(tx, access_key_id=access_key_id) is not None:
            raise ConfigurationError(f"There is an access key {access_key_id} already.")
        arn = _arn(tx, account, name, role)
        rows.insert_access_key.run(
            tx,
            access_key_id=access_key_id,
            account=account,
            arn=arn,
            role=role.value,
            sealed=self._keys.wrap(tx, secret.reveal().encode(), sealed_label(access_key_id)),
            created=to_epoch(now),
        )

    def known(self, tx: Tx, access_key_id: str) -> KnownKey | None:
        """The access key with its secret half; None when there is none."""
        row = rows.access_key.first(tx, access_key_id=access_key_id)
        if row is None:
            return None
        account, arn, role, sealed, active, used = row
        secret = self._keys.unwrap(sealed, sealed_label(access_key_id)).reveal().decode()
        return KnownKey(account, arn, Role(role), Sensitive(secret), bool(active), used)

    @staticmethod
    def list(tx: Tx) -> list[AccessKey]:
        """Every access key, oldest first."""
        return [_access_key(row) for row in rows.access_keys.all(tx)]

    @staticmethod
    def delete(tx: Tx, access_key_id: str) -> bool:
        """Remove an access key; whether there was one."""
        return rows.delete_access_key.run(tx, access_key_id=access_key_id) == 1

    @staticmethod
    def set_active(tx: Tx, access_key_id: str, *, active: bool) -> bool:
        """Let an access key sign requests, or no longer; whether there is such a key."""
        return rows.set_active.run(tx, row_key=access_key_id, active=active) == 1

    @staticmethod
    def touch(tx: Tx, access_key_id: str, *, at: float, service: str, region: str) -> None:
        """Remember when, for what and where an access key was last used."""
        rows.touch_access_key.run(tx, row_key=access_key_id, used=at, used_service=service, used_region=region)


def _arn(tx: Tx, account: str, name: str, role: Role) -> str:
    """The ARN of the user, who has a path where there is such a user, and then no more than two access keys."""
    user = Identities.find(tx, account, Sort.USER, name)
    if user is None:
        if role is Role.POLICIES:
            hint = "`keywheel access users create` makes one."
            raise ResourceNotFound(f"There is no user {name} in account {account}.", hint=hint)
        return f"arn:aws:iam::{account}:user/{name}"
    if len(rows.access_keys_of.all(tx, account=account, arn=user.arn)) >= _MOST:
        hint = "Delete one that is not in use: `keywheel access keys list` shows when each was last used."
        raise ConfigurationError(f"The user {name} has {_MOST} access keys already.", hint=hint)
    return user.arn


def _access_key(row: Row) -> AccessKey:
    access_key_id, account, arn, role, created, active, used, service, region = row
    return AccessKey(access_key_id, account, arn, Role(role), created, bool(active), used, service, region)


def sealed_label(access_key_id: str) -> str:
    """What an access key's secret half is bound to."""
    return f"access-key:{access_key_id}"
