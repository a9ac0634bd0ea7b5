"""What a grant has to do with a request: the grants that the caller holds, and what a request for a grant is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from keywheel.access import facts
from keywheel.access.door import Caller
from keywheel.access.facts import Facts
from keywheel.access.granted import held
from keywheel.access.grants import Grant
from keywheel.api.kms import shapes as s
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.keys.keyring import Key

_FOR_SERVICES = frozenset({"CreateGrant", "ListGrants", "RevokeGrant"})


def grants_for(
    rooms: Rooms, tx: Tx, caller: Caller, key: Key, request: Struct | None, *, changing: bool
) -> tuple[Grant, ...]:
    """The caller's grants on a key; for a new grant only those that cover it.

    Raises:
        InvalidGrantToken: the request brings a token that is none. What it names is in force without it.
    """
    for token in getattr(request, "grant_tokens", None) or ():
        rooms.keys.grants.named(tx, token, remembered=not changing)
    if not key.grants:
        return ()
    found = held(rooms.keys.grants, tx, key, caller.authority.principal, remembered=not changing)
    if isinstance(request, s.CreateGrantRequest):
        asked = proposed(request)
        return tuple(grant for grant in found if grant.covers(asked))
    return found


def proposed(request: s.CreateGrantRequest) -> Grant:
    """The grant that a request asks for."""
    constraints = request.constraints or s.GrantConstraints()
    return Grant(
        grant_id="",
        grantee=request.grantee_principal or request.grantee_service_principal or "",
        operations=frozenset(request.operations),
        equals=constraints.encryption_context_equals or None,
        subset=constraints.encryption_context_subset or None,
        source_arn=constraints.source_arn,
    )


def grant_facts(action: str, request: Struct | None) -> Facts:
    """What is known of a request that is about grants, as condition keys. No service asks on anybody's behalf here."""
    known: Facts = {"kms:grantisforawsresource": "false"} if action in _FOR_SERVICES else {}
    if not isinstance(request, s.CreateGrantRequest):
        return known
    for key, read in _MEMBERS.items():
        value = read(request)
        if value is not None:
            known[key] = value
    asked = proposed(request)
    kinds = {"EncryptionContextEquals": asked.equals, "EncryptionContextSubset": asked.subset}
    given = tuple(kind for kind, pairs in kinds.items() if pairs)
    if given:
        known["kms:grantconstrainttype"] = given[0] if len(given) == 1 else given
    return known | facts.encryption_facts({**(asked.subset or {}), **(asked.equals or {})})


_MEMBERS: dict[str, Callable[[s.CreateGrantRequest], Any]] = {
    "kms:grantoperations": lambda request: tuple(request.operations),
    "kms:granteeprincipal": lambda request: request.grantee_principal or request.grantee_service_principal,
    "kms:retiringprincipal": lambda request: request.retiring_principal or request.retiring_service_principal,
}
