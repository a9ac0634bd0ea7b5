"""Whose rights: the policies of a user, and of a role as somebody acts in it, gathered and compiled."""

from __future__ import annotations

from collections.abc import Mapping

from keywheel.access.authorize import Authority
from keywheel.access.documents import Kind
from keywheel.access.identities import Identities, Identity, Sort
from keywheel.access.policy import Policy, compiled
from keywheel.access.principals import Principal
from keywheel.access.sessions import session_arn
from keywheel.db.statement import Tx


def of_user(tx: Tx, arn: str, built_in: tuple[Policy, ...] = ()) -> Authority:
    """What a user may do: by the built-in policies of the access key, and by the user's own.

    Raises:
        MalformedPolicyDocument: a policy cannot be evaluated; then nothing may be done.
    """
    user = Principal.of(arn)
    texts = Identities.policies(tx, user.account, Sort.USER, user.name)
    return Authority(user, (*built_in, *_policies(texts)))


def of_session(tx: Tx, role: Identity, name: str, narrowing: str | None = None) -> Authority:
    """What a role may do in the session `name`, which the session policy `narrowing` may narrow.

    Raises:
        MalformedPolicyDocument: a policy cannot be evaluated; then nothing may be done.
    """
    acting = Principal.of(session_arn(role.account, role.name, name), role.arn)
    texts = Identities.policies(tx, role.account, Sort.ROLE, role.name)
    session = None if narrowing is None else compiled(narrowing, Kind.SESSION, "session")
    return Authority(acting, _policies(texts), session)


def _policies(texts: Mapping[str, str]) -> tuple[Policy, ...]:
    return tuple(compiled(text, Kind.IDENTITY, name) for name, text in texts.items())
