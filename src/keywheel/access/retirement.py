"""Who may retire a grant. Pure.

1. A Deny that applies, in any of the policies, decides.
2. The grant itself says who may: its retiring principal, and its grantee where RetireGrant is among its operations.
3. The key's account may, as far as its identities' policies allow them. So may the account that is the retiring
   principal. What the key's policy allows counts for nothing here.

Sources: the KMS guide on retiring and revoking grants, and the reference of its permissions.
"""

from __future__ import annotations

from keywheel.access import authorize
from keywheel.access.authorize import Authority, Decision, Lock, Verdict
from keywheel.access.grants import RETIRE, Grant
from keywheel.access.policy import Request


def retire(authority: Authority, asked: Request, lock: Lock, grant: Grant | None, retiring: str | None) -> Decision:
    """Decide who retires `grant`, whose retiring principal is `retiring`; None where there is no such grant."""
    by_policy = authorize.key(authority, asked, Lock(lock.owner, lock.policy))
    if by_policy.verdict is Verdict.DENIED:
        return by_policy
    by_grant = authorize.key(authority, asked, Lock(lock.owner, None, _saying_who(grant, retiring)))
    account = authority.principal.account
    if by_grant.allowed or not (account == lock.owner or retiring == f"arn:aws:iam::{account}:root"):
        return by_grant
    return authorize.own(authority, asked)


def _saying_who(grant: Grant | None, retiring: str | None) -> tuple[Grant, ...]:
    if grant is None:
        return ()
    if retiring is None:
        return (grant,)
    return grant, Grant(grant.grant_id, retiring, frozenset({RETIRE}))
