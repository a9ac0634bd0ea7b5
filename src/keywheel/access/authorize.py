"""May they? The policies of one request, weighed together. Pure.

1. Nothing is allowed but by a statement or a grant. A Deny that applies, in any of the policies, decides.
2. A secret, within one account: the identity's policies or the secret's policy allow it. Naming the account in the
   secret's policy allows nobody by itself; it leaves it to the identities' policies.
3. A key, and a role to be assumed: its policy decides. What that leaves to the account, by naming it, the identities'
   policies may allow; without that they count for nothing. A grant allows by itself.
4. From another account both sides must allow: the resource's policy, by naming the caller or the account, and the
   identity's policies. A grant needs no second side. A service has no other side.
5. A session policy narrows what the role is allowed, by whatever policy; not what is allowed to the very session, or to
   everyone.
6. Where several resources are concerned (an alias and its keys), each must be allowed.

Every question is answered by a `Decision`, which names the statements that decided; `refusal` puts it into AWS's words.

Sources: the IAM guide on the evaluation logic within and across accounts, and on access denied messages; the KMS guide
on key policies, grants and aliases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from keywheel.access.documents import Kind
from keywheel.access.grants import Grant
from keywheel.access.policy import Findings, Policy, Request, Where
from keywheel.access.principals import Bond, Principal, Sort

_NOTHING = Findings(None, None, Bond.NONE)
_CALLED = {
    Kind.IDENTITY: ("an", "identity-based policy"),
    Kind.SESSION: ("a", "session policy"),
    Kind.RESOURCE: ("a", "resource-based policy"),
    Kind.KEY: ("a", "resource-based policy"),
    Kind.TRUST: ("the", "role trust policy"),
}


class Verdict(StrEnum):
    """The three answers."""

    ALLOWED = "allowed"
    DENIED = "explicitly denied"
    NOT_ALLOWED = "not allowed"


# Every request asks for them, and by the class's name each takes longer than a comparison.
_ALLOWED, _BY_ROLE = Verdict.ALLOWED, Bond.ROLE


class Decision(Struct, frozen=True):
    """An answer, and why: the statements that decided, or the grant, or the kind of policy that has none.

    `foreign` says that the resource is another account's.
    """

    verdict: Verdict
    asked: Request
    because: tuple[Where, ...] = ()
    missing: Kind | None = None
    grant_id: str | None = None
    foreign: bool = False

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.verdict is _ALLOWED


@dataclass(frozen=True, slots=True)
class Authority:
    """Who asks, and what was given to them: their identity's policies, and what narrows their session."""

    principal: Principal
    policies: tuple[Policy, ...]
    session: Policy | None = None

    def asks(self, key: str, *others: Policy) -> bool:
        """Whether one of their policies, or of the others, asks for this condition key."""
        narrowing = () if self.session is None else (self.session,)
        return any(key in policy.asks for policy in (*self.policies, *others, *narrowing))


class Lock(Struct, frozen=True):
    """What a resource says itself: its account, its policy if it has one, and the grants on a key."""

    owner: str
    policy: Policy | None
    grants: tuple[Grant, ...] = ()


class _Weighed(Struct, frozen=True):
    """What each side says about a request that nothing denies."""

    asked: Request
    identity: Where | None
    resource: Findings
    narrowed: bool  # there is a session policy, and it does not allow this
    session: tuple[Where, ...]
    foreign: bool

    def by_name(self) -> Decision | None:
        """What the resource's policy allows to the caller by name."""
        found = self.resource
        if found.allowed is None or found.bond < _BY_ROLE:
            return None
        if found.bond is _BY_ROLE:
            return self._as_narrowed((found.allowed,))
        return Decision(_ALLOWED, self.asked, (found.allowed,), foreign=self.foreign)

    def by_identity(self) -> Decision:
        """What the identity's policies allow, where the resource leaves it to them."""
        if self.identity is None:
            return self.not_allowed(Kind.IDENTITY)
        left = self.resource.allowed
        return self._as_narrowed((self.identity,) if left is None else (left, self.identity))

    def by_grant(self, grant: Grant) -> Decision:
        """What a grant allows."""
        if self.narrowed and grant.grantee != self.asked.principal.arn:
            return self.not_allowed(Kind.SESSION)
        return Decision(_ALLOWED, self.asked, grant_id=grant.grant_id, foreign=self.foreign)

    def not_allowed(self, missing: Kind) -> Decision:
        """Nothing of that kind allows it."""
        return Decision(Verdict.NOT_ALLOWED, self.asked, missing=missing, foreign=self.foreign)

    def _as_narrowed(self, because: tuple[Where, ...]) -> Decision:
        if self.narrowed:
            return self.not_allowed(Kind.SESSION)
        return Decision(_ALLOWED, self.asked, (*because, *self.session), foreign=self.foreign)


def own(authority: Authority, asked: Request) -> Decision:
    """Decide where nothing but the caller's own policies can: for what has no policy, such as a list or an alias."""
    weighed = _weigh(authority, asked, Lock(authority.principal.account, None))
    return weighed if isinstance(weighed, Decision) else weighed.by_identity()


def secret(authority: Authority, asked: Request, lock: Lock) -> Decision:
    """Decide what is to be done to a secret (rules 2 and 4)."""
    weighed = _weigh(authority, asked, lock)
    if isinstance(weighed, Decision):
        return weighed
    if not weighed.foreign:
        return weighed.by_name() or weighed.by_identity()
    if weighed.resource.allowed is None:
        return weighed.not_allowed(Kind.RESOURCE)
    return weighed.by_identity()


def key(
    authority: Authority, asked: Request, lock: Lock, *, encryption_context: Mapping[str, str] | None = None
) -> Decision:
    """Decide what is to be done to a key (rules 3 and 4)."""
    return _governed(authority, asked, lock, Kind.KEY, encryption_context or {})


def assume(authority: Authority, asked: Request, lock: Lock) -> Decision:
    """Decide who assumes a role, whose trust policy is the lock's (rules 3 and 4)."""
    return _governed(authority, asked, lock, Kind.TRUST, {})


def every(decisions: Iterable[Decision]) -> Decision:
    """The first refusal, or else the last decision (rule 6).

    Raises:
        ValueError: there is no decision.
    """
    last = None
    for last in decisions:
        if not last.allowed:
            break
    if last is None:
        raise ValueError("Nothing was decided.")
    return last


def _governed(
    authority: Authority, asked: Request, lock: Lock, kind: Kind, encryption_context: Mapping[str, str]
) -> Decision:
    weighed = _weigh(authority, asked, lock)
    if isinstance(weighed, Decision):
        return weighed
    by_name = None if weighed.foreign else weighed.by_name()
    if by_name is not None and by_name.allowed:
        return by_name
    for grant in lock.grants:
        if grant.allows(asked, encryption_context):
            return weighed.by_grant(grant)
    if by_name is not None:
        return by_name
    return weighed.not_allowed(kind) if weighed.resource.allowed is None else weighed.by_identity()


def _weigh(authority: Authority, asked: Request, lock: Lock) -> Decision | _Weighed:
    """The Deny that decides (rule 1), or what each side says."""
    principal = authority.principal
    foreign = principal.account != lock.owner and principal.sort is not Sort.SERVICE
    resource = _NOTHING if lock.policy is None else lock.policy.examine(asked)
    if resource.denied is not None:
        return Decision(Verdict.DENIED, asked, (resource.denied,), foreign=foreign)
    identity = None
    for policy in authority.policies:
        found = policy.examine(asked)
        if found.denied is not None:
            return Decision(Verdict.DENIED, asked, (found.denied,), foreign=foreign)
        identity = identity or found.allowed
    session: tuple[Where, ...] = ()
    if authority.session is not None:
        found = authority.session.examine(asked)
        if found.denied is not None:
            return Decision(Verdict.DENIED, asked, (found.denied,), foreign=foreign)
        session = () if found.allowed is None else (found.allowed,)
    narrowed = authority.session is not None and not session
    return _Weighed(asked, identity, resource, narrowed, session, foreign)


def refusal(decision: Decision, called: str | None = None) -> str:
    """What AWS says of a request that is not allowed, on a resource that it calls by its ARN or `called`."""
    asked = decision.asked
    resource = called or asked.resource
    start = f"User: {asked.principal.arn} is not authorized to perform: {asked.action} on"
    kind = decision.because[0].kind if decision.verdict is Verdict.DENIED else decision.missing
    if kind is Kind.KEY and decision.foreign:  # whether another account's key exists is not told
        return (
            f"{start} this resource because the resource does not exist in this Region, no resource-based policies "
            "allow access, or a resource-based policy explicitly denies access"
        )
    article, called = _CALLED[kind or Kind.IDENTITY]
    if decision.verdict is Verdict.DENIED:
        return f"{start} resource: {resource} with an explicit deny in {article} {called}"
    return f"{start} resource: {resource} because no {called} allows the {asked.action} action"
