"""Which secret a request is about, and whether the caller may ask that of it: what every operation on one begins with.

A secret is found first and asked for afterwards, because its policy may allow what the caller's own do not. One that is
not there is asked for by its name, so that only whoever may ask learns that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct

from keywheel.access import facts
from keywheel.access.door import Caller, authorize, authorize_secret, is_allowed
from keywheel.access.facts import Facts
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
        secret = rooms.secrets.find(tx, caller.scope, request.secret_id, lock=lock, deleted=True)
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
    known = member_facts(request)
    known["secretsmanager:secretid"] = arn
    if tags != "{}":
        held = json.loads(tags).items()
        known |= facts.tag_facts("aws:ResourceTag", held) | facts.tag_facts("secretsmanager:ResourceTag", held)
    named = getattr(request, "secret_id", None)
    called = arn if named is None else _arn(caller, named)
    authorize_secret(caller, _action_of(request), arn, policy, known, called=called)


def permit_key(rooms: Rooms, tx: Tx, caller: Caller, action: str, named: str | None, arn: str, version: str) -> None:
    """Return if the caller may have the key `named` used for a version of the secret `arn`, as Secrets Manager does.

    The default key is for everybody of the account. Of a key that is not there, the vault tells.

    Raises:
        AccessDenied: with AWS's text.
    """
    parsed = Arn.parse(named or "")
    scope = caller.scope if parsed is None else Scope(parsed.account, parsed.region)
    if named is None or named_key(scope, named) is None:
        return
    try:
        key = rooms.keys.resolve(tx, scope, named)
    except (ResourceNotFound, InvalidParameter):
        return
    try:
        permit_by_way_of(rooms, tx, caller, action, key, {"SecretARN": arn, "SecretVersionId": version})
    except AccessDenied as error:
        raise AccessDenied("Access to KMS is not allowed", hint=error.message) from None


def missing(caller: Caller, request: Any) -> None:
    """Return if the caller may ask `request` of the secret that it names, and that is not there.

    Raises:
        AccessDenied: with AWS's text.
    """
    authorize(caller, _action_of(request), _arn(caller, request.secret_id), member_facts(request))


def member_facts(request: Struct) -> Facts:
    """What a request's members say, as condition keys."""
    known: Facts = {}
    for name, key in _MEMBERS.items():
        value = getattr(request, name, None)
        if value is not None:
            known[key] = str(value).lower() if isinstance(value, bool) else str(value)
    tags = getattr(request, "tags", None)
    if tags:
        pairs = [(tag.key or "", tag.value or "") for tag in tags]
        known |= facts.tag_facts("aws:RequestTag", pairs) | {"aws:tagkeys": tuple(key for key, _ in pairs)}
    elif getattr(request, "tag_keys", None):
        known["aws:tagkeys"] = tuple(getattr(request, "tag_keys"))  # noqa: B009 - not every request has it
    return known


def _arn(caller: Caller, named: str) -> str:
    """What a request names, as far as it does."""
    return named if named.startswith("arn:") else caller.scope.arn("secretsmanager", f"secret:{named}")


def _action_of(request: Struct) -> str:
    """The action that a request asks for, by the name of its shape."""
    kind = type(request)
    service = "secretsmanager" if kind.__module__ == _SHAPES else "keywheel"
    return f"{service}:{kind.__name__.removesuffix('Request')}"
