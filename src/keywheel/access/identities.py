"""Users and roles, and the policies that are put on them.

1. A user signs with access keys; a role is assumed by whom its trust policy admits, and acts in sessions (sessions.py).
2. A policy is read and compiled when it is put, so that what is stored can be evaluated.
3. One role is the house's own, in every account: that of rotation functions. Nobody assumes or changes it.
4. With a user go its access keys, with a role its sessions, with both their policies: nothing of them comes back to
   life with another one of the same name, which has another id.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from keywheel.access import rows
from keywheel.access.documents import Kind
from keywheel.access.policy import compile_policy
from keywheel.access.session_tags import checked_tags
from keywheel.access.templates import FUNCTIONS
from keywheel.clock import to_epoch
from keywheel.db.statement import Row, Tx
from keywheel.errors import ConfigurationError, InvalidParameter, ResourceNotFound

LONGEST_SESSION = 3600
FUNCTIONS_ROLE = "KeywheelServiceRoleForFunctions"
_FUNCTIONS_PATH = "/aws-service-role/functions.keywheel.internal/"
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_POLICY_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}")
_PATH = re.compile(r"/|/[!-~]{1,510}/")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ALWAYS = 0.0  # when what is the house's own was created
_SESSION_SECONDS = range(3600, 43_201)  # the CreateRole reference: MaxSessionDuration


class Sort(StrEnum):
    """What holds rights."""

    USER = "user"
    ROLE = "role"


_PREFIXES = {Sort.USER: "AIDA", Sort.ROLE: "AROA"}


@dataclass(frozen=True, slots=True)
class Identity:
    """A user or a role. `trust` and `longest` (the longest session, in seconds) are a role's."""

    account: str
    sort: Sort
    name: str
    path: str
    identity_id: str
    trust: str | None
    longest: int | None
    created: float
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """Its ARN, with its path."""
        return f"arn:aws:iam::{self.account}:{self.sort.value}{self.path}{self.name}"


class Identities:
    """The users and roles of every account."""

    @staticmethod
    def create_user(
        tx: Tx,
        *,
        account: str,
        name: str,
        now: datetime,
        path: str = "/",
        tags: Mapping[str, str] | None = None,
    ) -> Identity:
        """A new user, who may do nothing yet.

        Raises:
            ConfigurationError: the name or the path is not valid, or the name is taken.
        """
        made = Identity(account, Sort.USER, name, path, _new_id(Sort.USER), None, None, to_epoch(now), tags or {})
        return _insert(tx, made)

    @staticmethod
    def create_role(
        tx: Tx,
        *,
        account: str,
        name: str,
        trust: str,
        now: datetime,
        path: str = "/",
        longest: int = LONGEST_SESSION,
        tags: Mapping[str, str] | None = None,
    ) -> Identity:
        """A new role, which may do nothing yet, and which whom `trust` admits may assume.

        Raises:
            ConfigurationError: the name, the path or the length of a session is not valid, or the name is taken.
            MalformedPolicyDocument: `trust` is no trust policy.
        """
        compile_policy(trust, Kind.TRUST)
        if longest not in _SESSION_SECONDS:
            raise ConfigurationError("The longest session of a role is between 3600 and 43200 seconds.")
        role_id = _new_id(Sort.ROLE)
        made = Identity(account, Sort.ROLE, name, path, role_id, trust, longest, to_epoch(now), tags or {})
        return _insert(tx, made)

    @staticmethod
    def find(tx: Tx, account: str, sort: Sort, name: str) -> Identity | None:
        """The user or role of that name, or None."""
        if (sort, name) == (Sort.ROLE, FUNCTIONS_ROLE):
            return functions_role(account)
        row = rows.principal.first(tx, account=account, kind=sort.value, name=name)
        return None if row is None else _identity(row)

    def get(self, tx: Tx, account: str, sort: Sort, name: str) -> Identity:
        """The user or role of that name.

        Raises:
            ResourceNotFound: there is none.
        """
        found = self.find(tx, account, sort, name)
        if found is None:
            hint = f"`keywheel access {sort.value}s list` shows all."
            raise ResourceNotFound(f"There is no {sort.value} {name} in account {account}.", hint=hint)
        return found

    @staticmethod
    def list(tx: Tx, sort: Sort) -> list[Identity]:
        """Every user, or every role, by account and name."""
        return [_identity(row) for row in rows.principals.all(tx) if row[1] == sort.value]

    def delete(self, tx: Tx, account: str, sort: Sort, name: str) -> None:
        """Remove a user with its access keys, or a role with its sessions, and their policies.

        Raises:
            ResourceNotFound: there is none.
        """
        found = self._changeable(tx, account, sort, name)
        rows.delete_principal.run(tx, account=account, kind=sort.value, name=name)
        rows.delete_policies.run(tx, account=account, kind=sort.value, owner=name)
        if sort is Sort.USER:
            rows.delete_access_keys_of.run(tx, account=account, arn=found.arn)
        else:
            rows.delete_sessions_of.run(tx, account=account, role=name)

    def set_trust(self, tx: Tx, account: str, name: str, trust: str) -> None:
        """Give a role another trust policy.

        Raises:
            ResourceNotFound: there is no such role.
            MalformedPolicyDocument: `trust` is no trust policy.
        """
        compile_policy(trust, Kind.TRUST)
        self._changeable(tx, account, Sort.ROLE, name)
        rows.set_trust.run(tx, row_account=account, row_name=name, trust=trust)

    def put_policy(
        self, tx: Tx, account: str, sort: Sort, owner: str, *, name: str, document: str, now: datetime
    ) -> None:
        """Put a policy on a user or a role, in place of the one of that name.

        Raises:
            ResourceNotFound: there is no such user or role.
            ConfigurationError: the name is not valid.
            MalformedPolicyDocument: it is no policy of an identity.
        """
        if not _POLICY_NAME.fullmatch(name):
            raise ConfigurationError("A policy name has up to 128 letters, digits and _+=,.@-")
        compile_policy(document, Kind.IDENTITY)
        self._changeable(tx, account, sort, owner)
        place = {"account": account, "kind": sort.value, "owner": owner, "name": name}
        rows.delete_policy.run(tx, **place)
        rows.insert_policy.run(tx, document=document, changed=to_epoch(now), **place)

    @staticmethod
    def delete_policy(tx: Tx, account: str, sort: Sort, owner: str, name: str) -> bool:
        """Take a policy away; whether there was one."""
        return rows.delete_policy.run(tx, account=account, kind=sort.value, owner=owner, name=name) == 1

    @staticmethod
    def policies(tx: Tx, account: str, sort: Sort, owner: str) -> dict[str, str]:
        """The texts of the policies of a user or a role, by name."""
        if (sort, owner) == (Sort.ROLE, FUNCTIONS_ROLE):
            return {"functions": FUNCTIONS}
        return dict(rows.policies.all(tx, account=account, kind=sort.value, owner=owner))

    def _changeable(self, tx: Tx, account: str, sort: Sort, name: str) -> Identity:
        found = self.get(tx, account, sort, name)
        if found.created == _ALWAYS:
            raise ConfigurationError(f"The role {name} is the server's own, and cannot be changed.")
        return found


def functions_role(account: str) -> Identity:
    """The role in whose sessions rotation functions act that have no other."""
    role_id = _made_of(Sort.ROLE, f"{account} {FUNCTIONS_ROLE}")
    return Identity(account, Sort.ROLE, FUNCTIONS_ROLE, _FUNCTIONS_PATH, role_id, None, LONGEST_SESSION, _ALWAYS)


def user_id(tx: Tx, account: str, arn: str) -> tuple[str, Identity | None]:
    """The unique id of a user, and the user; of one whom only access keys know, an id that is made of the ARN."""
    user = Identities.find(tx, account, Sort.USER, arn.rpartition("/")[2])
    if user is not None and user.arn == arn:
        return user.identity_id, user
    return _made_of(Sort.USER, arn), None


def _made_of(sort: Sort, text: str) -> str:
    return _PREFIXES[sort] + b32encode(sha256(text.encode()).digest()).decode()[:17]


def _insert(tx: Tx, new: Identity) -> Identity:
    if not _NAME.fullmatch(new.name):
        raise ConfigurationError(f"The name of a {new.sort.value} has up to 64 letters, digits and _+=,.@-")
    if not _PATH.fullmatch(new.path):
        raise ConfigurationError("A path begins and ends with a slash.")
    if Identities.find(tx, new.account, new.sort, new.name) is not None:
        raise ConfigurationError(f"There is a {new.sort.value} {new.name} already.")
    try:
        tags = json.dumps(checked_tags(new.tags.items()))
    except InvalidParameter as error:
        raise ConfigurationError(error.message) from None
    rows.insert_principal.run(
        tx,
        account=new.account,
        kind=new.sort.value,
        name=new.name,
        path=new.path,
        principal_id=new.identity_id,
        trust=new.trust,
        longest=new.longest,
        created=new.created,
        tags=tags,
    )
    return new


def _identity(row: Row) -> Identity:
    account, kind, name, path, identity_id, trust, longest, tags, created = row
    return Identity(account, Sort(kind), name, path, identity_id, trust, longest, created, json.loads(tags))


def _new_id(sort: Sort) -> str:
    return _PREFIXES[sort] + "".join(secrets.choice(_ALPHABET) for _ in range(17))
