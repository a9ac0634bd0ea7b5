"""GetCallerIdentity and AssumeRole."""

from __future__ import annotations

from keywheel.access import authorize, facts
from keywheel.access.authorize import Lock
from keywheel.access.documents import Kind
from keywheel.access.door import Caller
from keywheel.access.facts import Facts
from keywheel.access.identities import Identities, Identity, Sort, user_id
from keywheel.access.policy import compiled, request
from keywheel.access.principals import Principal
from keywheel.access.principals import Sort as Principals
from keywheel.access.session_tags import NO_TAGS, passed_on
from keywheel.access.sessions import Sessions
from keywheel.api.rooms import Rooms
from keywheel.api.sts import query as q
from keywheel.arn import Arn
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied, ValidationFailed

_HOUR = 3600
_TOO_LONG = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"


def get_caller_identity(rooms: Rooms, caller: Caller, asked: q.GetCallerIdentityRequest) -> q.GetCallerIdentityResponse:
    """Who asks. Everybody may know that of themselves."""
    del asked
    with rooms.database.point() as tx:
        user_id = _user_id(tx, caller.authority.principal)
    return q.GetCallerIdentityResponse(user_id, caller.scope.account, caller.arn)


def assume_role(rooms: Rooms, caller: Caller, asked: q.AssumeRoleRequest) -> q.AssumeRoleResponse:
    """A session of a role, for whom the role's trust policy admits."""
    principal = caller.authority.principal
    chained = principal.sort is Principals.SESSION
    seconds = asked.duration_seconds or _HOUR
    if chained and seconds > _HOUR:
        raise ValidationFailed(_TOO_LONG)
    known: Facts = {"sts:rolesessionname": asked.role_session_name}
    if asked.external_id is not None:
        known["sts:externalid"] = asked.external_id
    pairs, transitive = [(tag.key, tag.value) for tag in asked.tags or ()], asked.transitive_tag_keys or []
    if pairs:
        known |= facts.tag_facts("aws:RequestTag", pairs) | {"aws:tagkeys": tuple(key for key, _ in pairs)}
    if transitive:
        known["sts:transitivetagkeys"] = tuple(transitive)
    actions = ("sts:AssumeRole", "sts:TagSession") if pairs else ("sts:AssumeRole",)
    questions = [request(principal, action, asked.role_arn, {**caller.facts, **known}) for action in actions]

    def work(tx: Tx) -> q.AssumeRoleResponse:
        role = _role(tx, asked.role_arn)
        if role is None or role.trust is None:  # whether there is such a role is not told
            raise AccessDenied(
                f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {asked.role_arn}"
            )
        lock = Lock(role.account, compiled(role.trust, Kind.TRUST))
        decision = authorize.every(authorize.assume(caller.authority, what, lock) for what in questions)
        if not decision.allowed:
            raise AccessDenied(authorize.refusal(decision))
        now = rooms.clock.now()
        name, policy = asked.role_session_name, asked.policy
        sessions = Sessions(rooms.keys)
        before = sessions.known(tx, caller.access_key_id) if chained else None
        tags = passed_on(NO_TAGS if before is None else before.tags, pairs, transitive)
        issued = sessions.issue(tx, role, name, seconds=seconds, now=now, policy=policy, tags=tags)
        return q.AssumeRoleResponse(
            q.Credentials(issued.access_key_id, issued.secret.reveal(), issued.token.reveal(), issued.expires),
            q.AssumedRoleUser(f"{role.identity_id}:{name}", issued.arn),
        )

    return rooms.database.write(work)


def _role(tx: Tx, arn: str) -> Identity | None:
    parsed = Arn.parse(arn)
    if parsed is None or parsed.service != "iam" or not parsed.resource.startswith("role/"):
        raise ValidationFailed(f"{arn} is invalid")
    found = Identities.find(tx, parsed.account, Sort.ROLE, parsed.resource.rpartition("/")[2])
    return found if found is not None and found.arn == arn else None


def _user_id(tx: Tx, principal: Principal) -> str:
    """The unique id, of a session with its name."""
    if principal.sort is Principals.SESSION:
        role = principal.arn.split("/")[1]
        found = Identities.find(tx, principal.account, Sort.ROLE, role)
        return f"{'' if found is None else found.identity_id}:{principal.name}"
    return user_id(tx, principal.account, principal.arn)[0]
