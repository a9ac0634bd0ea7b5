"""Grants: what one allows, and to whom. Pure.

1. A grant only ever allows. It names one grantee: a user, a session, a role (meaning its sessions) or a service.
2. Its constraints on the encryption context compare names and values exactly as they are written, case and all. They do
   not apply to DescribeKey, RetireGrant and CreateGrant, which have no context; that on the source not to RetireGrant.
3. A grant made by means of a grant is no wider: no other operation, and constraints at least as strict. Whoever asks
   whether CreateGrant is allowed asks it of the grants that cover the new one.

Sources: the KMS guide on grants, and the reference of CreateGrant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keywheel.access.policy import Request
from keywheel.access.principals import Principal

RETIRE = "RetireGrant"
_UNCONSTRAINED = frozenset({"DescribeKey", "CreateGrant", RETIRE})


@dataclass(frozen=True, slots=True)
class Grant:
    """What decides of a grant. A constraint is None where the grant has none of its kind."""

    grant_id: str
    grantee: str
    operations: frozenset[str]
    equals: Mapping[str, str] | None = None
    subset: Mapping[str, str] | None = None
    source_arn: str | None = None

    def names(self, principal: Principal) -> bool:
        """Whether `principal` is the grantee."""
        return self.grantee == principal.arn or principal.has_role(self.grantee)

    def allows(self, asked: Request, encryption_context: Mapping[str, str]) -> bool:
        """Whether the grant allows the request."""
        service, _, operation = asked.action.partition(":")
        if service != "kms" or operation not in self.operations or not self.names(asked.principal):
            return False
        if self.source_arn not in (None, asked.context.get("aws:sourcearn")) and operation != RETIRE:
            return False
        return operation in _UNCONSTRAINED or self._admits(encryption_context)

    def _admits(self, given: Mapping[str, str]) -> bool:
        if self.equals is not None and dict(given) != dict(self.equals):
            return False
        return self.subset is None or self.subset.items() <= given.items()

    def covers(self, other: Grant) -> bool:
        """Whether `other` is no wider than this one (rule 3)."""
        if not other.operations <= self.operations:
            return False
        if self.source_arn is not None and other.source_arn != self.source_arn:
            return False
        if self.equals is not None:
            return other.equals is not None and dict(other.equals) == dict(self.equals)
        if self.subset is None:
            return True
        narrowed = other.subset if other.equals is None else other.equals
        return narrowed is not None and self.subset.items() <= narrowed.items()
