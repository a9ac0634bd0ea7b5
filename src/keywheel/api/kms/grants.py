"""Grants: given, listed, retired by who they name, revoked by who governs the key."""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

from keywheel.access import retirement
from keywheel.access.authorize import Lock, refusal
from keywheel.access.documents import Kind
from keywheel.access.door import Caller, authorize
from keywheel.access.granted import as_grant
from keywheel.access.policy import compiled
from keywheel.access.policy import request as question
from keywheel.access.principals import Principal, Sort
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import change, find, policy_of
from keywheel.api.kms.paging import Bookmarks
from keywheel.api.rooms import Rooms
from keywheel.arn import Arn
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied, ValidationFailed
from keywheel.keys.errors import DryRunOperation, InvalidArn, InvalidGrantToken, KeyNotFound
from keywheel.keys.grant_rows import KeyGrant, Terms
from keywheel.keys.grants import require_id, terms
from keywheel.keys.keyring import Key

_PAGE = 50


def create_grant(rooms: Rooms, caller: Caller, request: s.CreateGrantRequest) -> s.CreateGrantResponse:
    """Allow a grantee some operations with a key."""

    def work(tx: Tx, key: Key, now: datetime) -> s.CreateGrantResponse:
        given, issuer = _terms(request), caller.scope.account
        grant = rooms.keys.grants.create(tx, key, given, name=request.name, issuer=issuer, now=now)
        if request.dry_run:
            raise DryRunOperation
        return s.CreateGrantResponse(grant_token=rooms.keys.grants.token(tx, grant), grant_id=grant.grant_id)

    return change(rooms, caller, "CreateGrant", request.key_id, work, request)


def list_grants(rooms: Rooms, caller: Caller, request: s.ListGrantsRequest) -> s.ListGrantsResponse:
    """A page of the grants on a key: all, or those of a grantee, or one."""
    person, service = request.grantee_principal, request.grantee_service_principal
    most, grants = request.limit or _PAGE, rooms.keys.grants
    with rooms.database.read() as tx:
        key = find(rooms, tx, caller, "ListGrants", request.key_id, request=request)
        if person is not None and service is not None:
            raise ValidationFailed("You can specify either GranteePrincipal or GranteeServicePrincipal, but not both.")
        marks = Bookmarks(str, "ListGrants", key.arn, person, service)
        after = marks.read(request.marker)
        if request.grant_id is None:
            grantee, is_service = person or service, service is not None
            found = grants.page(tx, key, after=after, most=most + 1, grantee=grantee, is_service=is_service)
        else:
            found = _one(rooms, tx, key, request)
    page = marks.page(found, most, lambda grant: grant.grant_id)
    return s.ListGrantsResponse(
        grants=[_entry(grant) for grant in page.items], next_marker=page.marker, truncated=page.truncated
    )


def list_retirable_grants(rooms: Rooms, caller: Caller, request: s.ListRetirableGrantsRequest) -> s.ListGrantsResponse:
    """A page of the grants of the Region, on whatever keys, that a principal of the caller's account may retire."""
    authorize(caller, "kms:ListRetirableGrants", "*", {})
    principal = request.retiring_principal
    if request.retiring_service_principal is not None:
        raise ValidationFailed("RetiringServicePrincipal can only be used by a service principal.")
    if principal is None:
        raise ValidationFailed("You must specify RetiringPrincipal.")
    account = _principal(principal)
    if account != caller.scope.account:
        raise ValidationFailed(f"The retiring principal must be in your account, {caller.scope.account}.")
    most = request.limit or _PAGE
    marks = Bookmarks(str, "ListRetirableGrants", caller.scope, principal)
    after = marks.read(request.marker)
    with rooms.database.point() as tx:
        found = rooms.keys.grants.retirable(tx, caller.scope.region, principal, after=after, most=most + 1)
    page = marks.page(found, most, lambda grant: grant.grant_id)
    return s.ListGrantsResponse(
        grants=[_entry(grant) for grant in page.items], next_marker=page.marker, truncated=page.truncated
    )


def retire_grant(rooms: Rooms, caller: Caller, request: s.RetireGrantRequest) -> None:
    """End a grant, by whom it names."""
    by_id = request.key_id is not None and request.grant_id is not None
    if (request.grant_token is not None) == by_id:
        raise ValidationFailed("You must specify either a grant token, or a grant ID and a key ID.")

    def work(tx: Tx) -> None:
        key_id, grant_id = request.key_id or "", request.grant_id or ""
        if request.grant_token is not None:
            named = rooms.keys.grants.named(tx, request.grant_token)
            if named.scope.region != caller.scope.region:
                raise InvalidGrantToken("The grant token is not valid in this Region.")
            key_id, grant_id = named.scope.arn("kms", f"key/{named.key_id}"), named.grant_id
        require_id(grant_id)
        key = rooms.keys.find(tx, caller.scope, key_id, now=rooms.clock.now(), lock=True)
        _permit_retirement(rooms, tx, caller, key, grant_id)
        rooms.keys.grants.delete(tx, key, grant_id)
        if request.dry_run:
            raise DryRunOperation

    rooms.database.write(work)


def revoke_grant(rooms: Rooms, caller: Caller, request: s.RevokeGrantRequest) -> None:
    """End a grant, by whom the key's policy allows it."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        rooms.keys.grants.delete(tx, key, request.grant_id)
        if request.dry_run:
            raise DryRunOperation

    change(rooms, caller, "RevokeGrant", request.key_id, work, request)


# --- inside


def _terms(request: s.CreateGrantRequest) -> Terms:
    """What a request asks for.

    Raises:
        ValidationFailed: it names none, or two, where there is to be one.
        InvalidArn: it names nobody that there could be.
    """
    grantee, service = request.grantee_principal, request.grantee_service_principal
    if (grantee is None) == (service is None):
        raise ValidationFailed("You must specify either GranteePrincipal or GranteeServicePrincipal, but not both.")
    retiring, retiring_service = request.retiring_principal, request.retiring_service_principal
    if retiring is not None and retiring_service is not None:
        raise ValidationFailed("You can specify either RetiringPrincipal or RetiringServicePrincipal, but not both.")
    for principal in (grantee, retiring):
        if principal is not None:
            _principal(principal)
    constraints = request.constraints or s.GrantConstraints()
    return terms(
        grantee or service or "",
        request.operations,
        grantee_is_service=service is not None,
        retiring=retiring or retiring_service,
        retiring_is_service=retiring_service is not None,
        equals=constraints.encryption_context_equals,
        subset=constraints.encryption_context_subset,
        source_arn=constraints.source_arn,
    )


def _principal(text: str) -> str:
    """The account of a principal: a user, a role, a session, or an account by the ARN of its root.

    Raises:
        InvalidArn: it is none of these.
    """
    arn = Arn.parse(text)
    if arn is None:
        _refuse_principal()
    if arn.service == "iam" and arn.resource.startswith("role/") and len(arn.resource) > len("role/"):
        return arn.account
    try:
        principal = Principal.of(text)
    except ValueError:
        _refuse_principal()
    if principal.sort is Sort.SERVICE:
        _refuse_principal()
    return principal.account


def _refuse_principal() -> NoReturn:
    raise InvalidArn("ARN does not refer to a valid principal")


def _permit_retirement(rooms: Rooms, tx: Tx, caller: Caller, key: Key, grant_id: str) -> None:
    """Return if the caller may retire the grant, or may know that it is not there.

    Raises:
        AccessDenied: with AWS's text.
    """
    try:
        kept = rooms.keys.grants.get(tx, key, grant_id)
    except KeyNotFound:
        kept = None
    authority = caller.authority
    asked = question(authority.principal, "kms:RetireGrant", key.arn, caller.facts)
    lock = Lock(key.account, compiled(policy_of(rooms, tx, key), Kind.KEY, "the key's policy"))
    grant = None if kept is None else as_grant(kept)
    decision = retirement.retire(authority, asked, lock, grant, None if kept is None else kept.retiring)
    if not decision.allowed:
        raise AccessDenied(refusal(decision))


def _one(rooms: Rooms, tx: Tx, key: Key, request: s.ListGrantsRequest) -> list[KeyGrant]:
    require_id(request.grant_id or "")
    try:
        grant = rooms.keys.grants.get(tx, key, request.grant_id or "")
    except KeyNotFound:
        return []
    asked = (
        request.grantee_principal or request.grantee_service_principal,
        request.grantee_service_principal is not None,
    )
    return [grant] if asked[0] is None or asked == (grant.grantee, grant.grantee_is_service) else []


def _entry(grant: KeyGrant) -> s.GrantListEntry:
    """A grant as it is listed."""
    principals = {
        "grantee_service_principal" if grant.grantee_is_service else "grantee_principal": grant.grantee,
        "retiring_service_principal" if grant.retiring_is_service else "retiring_principal": grant.retiring,
    }
    constraints = s.GrantConstraints(
        encryption_context_subset=grant.subset_context,
        encryption_context_equals=grant.equals_context,
        source_arn=grant.source_arn,
    )
    return s.GrantListEntry(
        key_id=grant.key_arn,
        grant_id=grant.grant_id,
        name=grant.name,
        creation_date=grant.created,
        issuing_account=f"arn:aws:iam::{grant.issuer}:root",
        operations=grant.operation_names,
        constraints=constraints if constraints != s.GrantConstraints() else None,
        **principals,
    )
