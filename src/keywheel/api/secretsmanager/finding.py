"""Which secret a request is about, and whether the caller may ask that of it: what every operation on one begins with.

A secret is found first and asked for afterwards, because its policy may allow what the caller's own do not. One that is
not there is asked for by its name, so that only whoever may ask learns that. One of another account is given by its
ARN, where its policy and the caller's own both allow it; whether it is there is told to nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from msgspec import Struct

from keywheel.access import facts
from keywheel.access.door import Caller, authorize, authorize_secret, is_allowed
from keywheel.access.facts import Facts, Gathered
from keywheel.api.kms.finding import permit_by_way_of
from keywheel.api.rooms import Rooms
from keywheel.arn import Arn, Scope
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied, InvalidParameter, InvalidRequest, ResourceNotFound
from keywheel.secrets.ledger import MARKED
from keywheel.secrets.rows import Secret
from keywheel.secrets.values import named_key

R = TypeVar("R")
_SHAPES = "keywheel.api.secretsmanager.shapes"
_NO_KEY = "Access to KMS is not allowed"

# The service authorization reference of Secrets Manager: condition keys that are members of the request.
_MEMBERS = {
    "name": "secretsmanager:name",
    "description": "secretsmanager:description",
    "kms_key_id": "secretsmanager:kmskeyid",
    "version_id": "secretsmanager:versionid",
    "version_stage": "secretsmanager:versionstage",
    "rotation_lambda_arn": "secretsmanager:rotationlambdaarn",
    "block_public_policy": "secretsmanager:blockpublicpolicy",
    "recovery_window_in_days": "secretsmanager:recoverywindowindays",
    "force_delete_without_recovery": "secretsmanager:forcedeletewithoutrecovery",
    "rotate_immediately": "secretsmanager:rotateimmediately",
}


def find(rooms: Rooms, tx: Tx, caller: Caller, request: Any, *, lock: bool = False, deleted: bool = False) -> Secret:
    """The secret that a request names, of which the caller may ask that.

    Raises:
        ResourceNotFound, InvalidRequest, AccessDenied: there is none for this caller.
    """
    try:
        secret = rooms.secrets.find(tx, scope_of(caller, request.secret_id), request.secret_id, lock=lock, deleted=True)
    except ResourceNotFound:
        missing(caller, request)
        raise
    permit(caller, request, secret.arn, secret.policy, secret.tags)
    if secret.deleted is not None and not deleted:
        raise InvalidRequest(MARKED)
    return secret


def change(rooms: Rooms, caller: Caller, request: Any, work: Callable[[Tx, Secret, datetime], R]) -> R:
    """Run `work` on the locked secret in one transaction. A replica is refused: writes go to the primary.

    Raises:
        ResourceNotFound, InvalidRequest, InvalidParameter, AccessDenied: there is no such secret for this caller to
            change.
    """

    def transaction(tx: Tx) -> R:
        secret = find(rooms, tx, caller, request, lock=True)
        rooms.replicas.refuse_replica(secret)
        return work(tx, secret, rooms.clock.now())

    return rooms.database.write(transaction)


def scope_of(caller: Caller, named: str) -> Scope:
    """Where the secret is that a request names: in another account, where its ARN says so."""
    if not named.startswith("arn:"):
        return caller.scope
    parsed = Arn.parse(named)
    if parsed is None or parsed.service != "secretsmanager" or parsed.region != caller.scope.region:
        return caller.scope
    return Scope(parsed.account, parsed.region)


def admit(rooms: Rooms, caller: Caller, request: Any) -> None:
    """Refuse early, before anything else of the request is looked at, what neither side allows.

    Raises:
        AccessDenied: with AWS's text.
    """
    named = getattr(request, "secret_id", None)
    if named is None or is_allowed(caller, _action_of(request), _arn(caller, named), member_facts(request)):
        return  # the policy of the secret is asked when the secret is found
    with suppress(ResourceNotFound), rooms.database.point() as tx:
        find(rooms, tx, caller, request, deleted=True)


def permit(caller: Caller, request: Struct, arn: str, policy: str | None, tags: str) -> None:
    """Return if the caller may ask `request` of the secret `arn`, which has this policy and these tags.

    Raises:
        AccessDenied: with AWS's text.
    """

    def known() -> Facts:
        held = json.loads(tags).items()
        of_tags = facts.tag_facts("aws:ResourceTag", held) | facts.tag_facts("secretsmanager:ResourceTag", held)
        return member_facts(request) | {"secretsmanager:secretid": arn} | of_tags

    named = getattr(request, "secret_id", None)
    called = arn if named is None else _arn(caller, named)
    authorize_secret(caller, _action_of(request), arn, policy, Gathered(known), called=called)


def permit_key(
    rooms: Rooms,
    tx: Tx,
    caller: Caller,
    action: str,
    named: str | None,
    arn: str,
    version: str,
    *,
    changing: bool = True,
) -> None:
    """Return if the caller may have the key `named` used for a version of the secret `arn`, as Secrets Manager does.

    `changing`: this transaction writes.

    The default key is for everybody of the account, and for nobody else. Of a key that is not there, the vault tells.

    Raises:
        AccessDenied: with AWS's text.
    """
    parsed = Arn.parse(named or "")
    scope = scope_of(caller, arn) if parsed is None else Scope(parsed.account, parsed.region)
    if named is None or named_key(scope, named) is None:
        if scope.account != caller.scope.account:
            raise AccessDenied(_NO_KEY, hint="A secret for other accounts takes a key of its own (KmsKeyId).")
        return
    try:
        key = rooms.keys.resolve(tx, scope, named)
    except (ResourceNotFound, InvalidParameter):
        return
    try:
        context = {"SecretARN": arn, "SecretVersionId": version}
        permit_by_way_of(rooms, tx, caller, action, key, context, changing=changing)
    except AccessDenied as error:
        raise AccessDenied(_NO_KEY, hint=error.message) from None


def missing(caller: Caller, request: Any) -> None:
    """Return if the caller may ask `request` of the secret that it names, and that is not there.

    Raises:
        AccessDenied: with AWS's text.
    """
    arn = _arn(caller, request.secret_id)
    if scope_of(caller, request.secret_id) == caller.scope:
        authorize(caller, _action_of(request), arn, member_facts(request))
    else:  # no more is told than of one that has no policy
        authorize_secret(caller, _action_of(request), arn, None, member_facts(request))


def member_facts(request: Struct) -> Facts:
    """What a request's members say, as condition keys."""
    known: Facts = {}
    for name, key in _members(type(request)):
        value = getattr(request, name)
        if value is not None:
            known[key] = str(value).lower() if isinstance(value, bool) else str(value)
    tags = getattr(request, "tags", None)
    if tags:
        pairs = [(tag.key or "", tag.value or "") for tag in tags]
        known |= facts.tag_facts("aws:RequestTag", pairs) | {"aws:tagkeys": tuple(key for key, _ in pairs)}
    elif getattr(request, "tag_keys", None):
        known["aws:tagkeys"] = tuple(getattr(request, "tag_keys"))  # noqa: B009 - not every request has it
    return known


@cache
def _members(kind: type[Struct]) -> list[tuple[str, str]]:
    return [(name, key) for name, key in _MEMBERS.items() if hasattr(kind, name)]


def _arn(caller: Caller, named: str) -> str:
    """What a request names, as far as it does."""
    return named if named.startswith("arn:") else caller.scope.arn("secretsmanager", f"secret:{named}")


def _action_of(request: Struct) -> str:
    """The action that a request asks for, by the name of its shape."""
    return _action(type(request))


@cache
def _action(kind: type[Struct]) -> str:
    service = "secretsmanager" if kind.__module__ == _SHAPES else "keywheel"
    return f"{service}:{kind.__name__.removesuffix('Request')}"
