"""GetCallerIdentity and AssumeRole."""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256

from keywheel.access import authorize
from keywheel.access.authorize import Lock
from keywheel.access.documents import Kind
from keywheel.access.door import Caller
from keywheel.access.identities import Identities, Identity, Sort
from keywheel.access.policy import compiled, request
from keywheel.access.principals import Principal
from keywheel.access.principals import Sort as Principals
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
    known = {"sts:rolesessionname": asked.role_session_name}
    if asked.external_id is not None:
        known["sts:externalid"] = asked.external_id
    what = request(principal, "sts:AssumeRole", asked.role_arn, {**caller.facts, **known})

    def work(tx: Tx) -> q.AssumeRoleResponse:
        role = _role(tx, asked.role_arn)
        if role is None or role.trust is None:  # whether there is such a role is not told
            raise AccessDenied(
                f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {asked.role_arn}"
            )
        decision = authorize.assume(caller.authority, what, Lock(role.account, compiled(role.trust, Kind.TRUST)))
        if not decision.allowed:
            raise AccessDenied(authorize.refusal(decision))
        now = rooms.clock.now()
        name, policy = asked.role_session_name, asked.policy
        issued = Sessions(rooms.keys).issue(tx, role, name, seconds=seconds, now=now, policy=policy)
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
    """The unique id; of a user whom only access keys know, one that is made of the ARN."""
    if principal.sort is Principals.SESSION:
        role = principal.arn.split("/")[1]
        found = Identities.find(tx, principal.account, Sort.ROLE, role)
        return f"{'' if found is None else found.identity_id}:{principal.name}"
    found = Identities.find(tx, principal.account, Sort.USER, principal.name)
    if found is not None and found.arn == principal.arn:
        return found.identity_id
    return "AIDA" + b32encode(sha256(principal.arn.encode()).digest()).decode()[:17]
