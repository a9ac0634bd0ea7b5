"""Resource policies: stored, validated and given back. Finding a secret evaluates its policy (finding.py)."""

from __future__ import annotations

from datetime import datetime

from keywheel.access import checks
from keywheel.access.door import Caller, authorize
from keywheel.api.rooms import Rooms
from keywheel.api.secretsmanager import shapes as s
from keywheel.api.secretsmanager.finding import change, find
from keywheel.db.statement import Tx
from keywheel.errors import InvalidNextToken, InvalidParameter, MalformedPolicyDocument, PublicPolicy, ResourceNotFound
from keywheel.secrets.rows import Secret

_NAME = "default"


def put_resource_policy(
    rooms: Rooms, caller: Caller, request: s.PutResourcePolicyRequest
) -> s.PutResourcePolicyResponse:
    """Attach a policy to a secret."""
    _refuse_name(request.policy_name)
    parsed = checks.read_secret_policy(request.resource_policy)
    if request.block_public_policy and checks.is_public(parsed):
        raise PublicPolicy("You can't attach a resource policy that allows broad access to the secret.")
    if checks.locks_out(parsed, caller.authority.principal):
        raise MalformedPolicyDocument("This resource policy would keep you from changing the policy afterwards.")

    def work(tx: Tx, secret: Secret, now: datetime) -> s.PutResourcePolicyResponse:
        rooms.secrets.set(tx, secret, now, policy=request.resource_policy)
        return s.PutResourcePolicyResponse(arn=secret.arn, name=secret.name, policy_name=_NAME)

    return change(rooms, caller, request, work)


def get_resource_policy(
    rooms: Rooms, caller: Caller, request: s.GetResourcePolicyRequest
) -> s.GetResourcePolicyResponse:
    """The policy of a secret, as it was given."""
    with rooms.database.point() as tx:
        secret = find(rooms, tx, caller, request)
    if request.policy_name not in (None, _NAME):
        raise ResourceNotFound("Secrets Manager can't find the specified resource policy.")
    name = None if secret.policy is None else _NAME
    return s.GetResourcePolicyResponse(
        arn=secret.arn, name=secret.name, resource_policy=secret.policy, policy_name=name
    )


def delete_resource_policy(
    rooms: Rooms, caller: Caller, request: s.DeleteResourcePolicyRequest
) -> s.DeleteResourcePolicyResponse:
    """Take the policy away; nothing, where there is none."""
    _refuse_name(request.policy_name)

    def work(tx: Tx, secret: Secret, now: datetime) -> s.DeleteResourcePolicyResponse:
        rooms.secrets.set(tx, secret, now, policy=None)
        return s.DeleteResourcePolicyResponse(arn=secret.arn, name=secret.name, policy_name=_NAME)

    return change(rooms, caller, request, work)


def list_resource_policies(
    rooms: Rooms, caller: Caller, request: s.ListResourcePoliciesRequest
) -> s.ListResourcePoliciesResponse:
    """The names of the policies: `default`, or none."""
    if request.next_token is not None:
        raise InvalidNextToken("The NextToken value is invalid: there is never a second page.")
    with rooms.database.point() as tx:
        secret = find(rooms, tx, caller, request)
    names = [] if secret.policy is None else [s.ResourcePolicySummary(policy_name=_NAME)]
    return s.ListResourcePoliciesResponse(resource_policies=names)


def validate_resource_policy(
    rooms: Rooms, caller: Caller, request: s.ValidateResourcePolicyRequest
) -> s.ValidateResourcePolicyResponse:
    """Check a policy for public access, syntax and lock-out. A finding is an answer, not an error."""
    if request.secret_id is not None:
        with rooms.database.point() as tx:
            find(rooms, tx, caller, request)
    else:
        authorize(caller, "secretsmanager:ValidateResourcePolicy", "*", {})
    found = checks.findings(request.resource_policy, caller.authority.principal)
    errors = [s.ValidationErrorsEntry(check_name=check, error_message=message) for check, message in found]
    return s.ValidateResourcePolicyResponse(policy_validation_passed=not found, validation_errors=errors)


def _refuse_name(name: str | None) -> None:
    if name not in (None, _NAME):
        raise InvalidParameter("The only PolicyName is default.")
