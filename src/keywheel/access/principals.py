"""Principals: who a policy names, and who is meant by that. Pure.

1. `*` means everyone. An account (its number, or the ARN of its root) means everybody of that account. A role means its
   sessions. A user, a session, a federated user and a service mean just themselves.
2. How closely somebody is named decides what an Allow is worth (authorize.py): an account is only delegated to, and
   what a role is given a session may have been narrowed down from.
3. NotPrincipal means all others. To be spared by a Deny one has to be named by oneself or by one's role; to be left
   out of an Allow, by one's account as well. Both err on the side of refusing.

Sources: the IAM guide on the elements Principal and NotPrincipal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

ANYONE = "*"
ENGINE = "keywheel.internal"
"""The service that rotates: this server's own engine."""
_IDENTITY = re.compile(r"arn:([a-z0-9-]+):(iam|sts):[a-z0-9-]*:([0-9]{12}):(root|[a-z-]+)(?:/(.+))?")
_ROLE = re.compile(r"arn:([^:]*):iam::([0-9]{12}):role/(?:.+/)?([^/]+)")
_ACCOUNT = re.compile(r"(?:arn:[a-z0-9-]+:iam::)?([0-9]{12})(?::root)?")


class Sort(StrEnum):
    """What kind of principal one is, in the words of aws:PrincipalType."""

    ACCOUNT = "Account"  # the root user
    USER = "User"
    SESSION = "AssumedRole"
    FEDERATED = "FederatedUser"
    SERVICE = "Service"


class Bond(IntEnum):
    """How closely a Principal element names somebody."""

    NONE = 0
    ACCOUNT = 1
    ROLE = 2
    DIRECT = 3


# Every request asks for them, and by the class's name each takes longer than a comparison.
_NONE, _BY_ACCOUNT, _BY_ROLE, _DIRECT = Bond


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. `role` is the ARN of a session's role with its path, where that is known."""

    arn: str
    account: str
    sort: Sort
    name: str
    role: str | None = None

    @classmethod
    def of(cls, arn: str, role: str | None = None) -> Principal:
        """The principal with this ARN, or the service with this name.

        Raises:
            ValueError: there can be no such principal.
        """
        parts = _IDENTITY.fullmatch(arn)
        if parts is None:
            if arn == ENGINE or (arn.endswith((".amazonaws.com", ".amazonaws.com.cn")) and ":" not in arn):
                return cls(arn, "", Sort.SERVICE, arn)
            raise ValueError(f"{arn[:128]!r} is the ARN of no principal")
        sort = _SORTS.get((parts[2], parts[4]))
        if sort is None or (sort is Sort.ACCOUNT) != (parts[5] is None):
            raise ValueError(f"{arn[:128]!r} is the ARN of no principal")
        name = (parts[5] or "").rpartition("/")[2]
        return cls(arn, parts[3], sort, name, role)

    @property
    def identity(self) -> str:
        """The ARN of who holds rights: of a session its role, else oneself."""
        return self.role or self.arn

    def has_role(self, role: str) -> bool:
        """Whether one is a session of the role with this ARN."""
        if self.sort is not Sort.SESSION:
            return False
        if self.role is not None:
            return self.role == role
        named = _ROLE.fullmatch(role)  # the path of a role does not stand in the ARNs of its sessions
        partition, account, session = self.arn.split(":")[1], self.account, self.arn.split("/")[1]
        return named is not None and named.groups() == (partition, account, session)


_SORTS = {
    ("iam", "root"): Sort.ACCOUNT,
    ("iam", "user"): Sort.USER,
    ("sts", "assumed-role"): Sort.SESSION,
    ("sts", "federated-user"): Sort.FEDERATED,
}


@dataclass(frozen=True, slots=True)
class Principals:
    """A Principal element, or, `negated`, a NotPrincipal element; `allows` is the effect of its statement."""

    everyone: bool
    accounts: frozenset[str]
    roles: frozenset[str]
    exact: frozenset[str]
    negated: bool
    allows: bool

    def bond(self, principal: Principal) -> Bond:
        """How closely `principal` is meant."""
        named = self._named(principal)
        if not self.negated:
            return named
        least = _BY_ACCOUNT if self.allows else _BY_ROLE
        return _NONE if named >= least else _DIRECT

    def _named(self, principal: Principal) -> Bond:
        if self.everyone or principal.arn in self.exact:
            return _DIRECT
        if self.roles and any(principal.has_role(role) for role in self.roles):
            return _BY_ROLE
        if principal.account in self.accounts:
            return _DIRECT if principal.sort is Sort.ACCOUNT else _BY_ACCOUNT
        return _NONE


def compile_principals(names: Iterable[str], *, negated: bool, allows: bool) -> Principals:
    """The element that names these: `*`, accounts, ARNs and services."""
    accounts, roles, exact = set[str](), set[str](), set[str]()
    listed = list(names)
    for name in listed:
        account = _ACCOUNT.fullmatch(name)
        if account is not None:
            accounts.add(account[1])
        elif _ROLE.fullmatch(name):
            roles.add(name)
        else:
            exact.add(name)
    everyone = ANYONE in exact
    return Principals(everyone, frozenset(accounts), frozenset(roles), frozenset(exact - {ANYONE}), negated, allows)
