"""Access keys: who may sign requests, and in which role."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keywheel.access import rows
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import ConfigurationError
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ID = re.compile(r"[A-Za-z0-9]{16,128}")
_SECRET = re.compile(r"[!-~]{16,}")  # what a credentials file keeps as it is
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")


class Role(StrEnum):
    """What an access key may do: everything, or only what changes nothing."""

    ADMINISTRATOR = "administrator"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key without its secret half."""

    access_key_id: str
    account: str
    arn: str
    role: Role
    created: float


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What checking a signature needs of an access key."""

    account: str
    arn: str
    role: Role
    secret: Sensitive[str]


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
            ConfigurationError: a half is not usable, or the id is taken.
        """
        check_access_key(access_key_id, secret)
        if not _NAME.fullmatch(name):
            raise ConfigurationError("A user name has up to 64 letters, digits and _+=,.@-")
        if rows.access_key.first(tx, access_key_id=access_key_id) is not None:
            raise ConfigurationError(f"There is an access key {access_key_id} already.")
        rows.insert_access_key.run(
            tx,
            access_key_id=access_key_id,
            account=account,
            arn=f"arn:aws:iam::{account}:user/{name}",
            role=role.value,
            sealed=self._keys.wrap(secret.reveal().encode(), _label(access_key_id)),
            created=to_epoch(now),
        )

    def known(self, tx: Tx, access_key_id: str) -> KnownKey | None:
        """The access key with its secret half; None when there is none."""
        row = rows.access_key.first(tx, access_key_id=access_key_id)
        if row is None:
            return None
        account, arn, role, sealed = row
        secret = self._keys.unwrap(sealed, _label(access_key_id)).reveal().decode()
        return KnownKey(account, arn, Role(role), Sensitive(secret))

    @staticmethod
    def list(tx: Tx) -> list[AccessKey]:
        """Every access key, oldest first."""
        return [AccessKey(row[0], row[1], row[2], Role(row[3]), row[4]) for row in rows.access_keys.all(tx)]

    @staticmethod
    def delete(tx: Tx, access_key_id: str) -> bool:
        """Remove an access key; whether there was one."""
        return rows.delete_access_key.run(tx, access_key_id=access_key_id) == 1


def _label(access_key_id: str) -> str:
    return f"access-key:{access_key_id}"
