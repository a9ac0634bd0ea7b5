"""Whose rights: the policies of a user, and of a role as somebody acts in it, gathered and compiled."""

from __future__ import annotations

from collections.abc import Mapping

from keywheel.access import facts
from keywheel.access.authorize import Authority
from keywheel.access.documents import Kind
from keywheel.access.facts import Facts
from keywheel.access.identities import Identities, Identity, Sort, user_id
from keywheel.access.policy import Policy, compiled
from keywheel.access.principals import Principal
from keywheel.access.session_tags import NO_TAGS, SessionTags, effective
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


def user_facts(tx: Tx, user: Principal) -> Facts:
    """What conditions may know of a user: with the unique id, and the tags."""
    known = facts.principal_facts(user)
    known["aws:userid"], found = user_id(tx, user.account, user.arn)
    return known if found is None else known | facts.tag_facts("aws:PrincipalTag", found.tags.items())


def session_facts(session: Principal, role: Identity, tags: SessionTags = NO_TAGS) -> Facts:
    """What conditions may know of a session of a role, which was begun with these tags."""
    known = facts.principal_facts(session) | {"aws:userid": f"{role.identity_id}:{session.name}"}
    return known | facts.tag_facts("aws:PrincipalTag", effective(role.tags, tags).items())


def _policies(texts: Mapping[str, str]) -> tuple[Policy, ...]:
    return tuple(compiled(text, Kind.IDENTITY, name) for name, text in texts.items())
