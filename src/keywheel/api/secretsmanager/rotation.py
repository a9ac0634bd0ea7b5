"""RotateSecret and CancelRotateSecret. Both answer at once; no target is spoken to here."""

from __future__ import annotations

import json
from datetime import datetime

from keywheel.access.door import Caller
from keywheel.api.rooms import Rooms, asker, checked_token
from keywheel.api.secretsmanager import shapes as s
from keywheel.api.secretsmanager.finding import change, find
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied, ConfigurationError, InvalidParameter, UnsupportedOperation
from keywheel.rotation.engine import Configuration, RotationInProgress
from keywheel.schedule import RotationRules
from keywheel.secrets.rows import Secret

_CANNOT_INVOKE = (
    "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to "
    "the principal secretsmanager.amazonaws.com."
)
_CANNOT_INVOKE_HINT = (
    "Name a built-in rotator (docs/rotators/) or a function of the settings (docs/guide/functions.md), or start the "
    "server with --lambda-endpoint."
)


def rotate_secret(rooms: Rooms, caller: Caller, request: s.RotateSecretRequest) -> s.RotateSecretResponse:
    """Configure rotation, and begin one, or with RotateImmediately=false a test of the configuration."""
    token = checked_token(request.client_request_token, InvalidParameter)
    configuration = _configuration(request)
    _refuse_uninvokable(rooms, caller, request, configuration.function)

    def work(tx: Tx, secret: Secret, now: datetime) -> s.RotateSecretResponse:
        immediately = request.rotate_immediately is not False
        by = asker(caller)
        version = rooms.rotations.start(tx, secret, token, configuration, now, immediately=immediately, by=by)
        return s.RotateSecretResponse(arn=secret.arn, name=secret.name, version_id=version)

    try:
        return change(rooms, caller, request, work)
    except RotationInProgress:
        # "That rotation will be reattempted": when it had given up, it is, now.
        change(rooms, caller, request, rooms.rotations.nudge)
        raise


def cancel_rotate_secret(
    rooms: Rooms, caller: Caller, request: s.CancelRotateSecretRequest
) -> s.CancelRotateSecretResponse:
    """Turn rotation off, and stop one that is under way."""

    def work(tx: Tx, secret: Secret, now: datetime) -> s.CancelRotateSecretResponse:
        version = rooms.rotations.cancel(tx, secret, now, asker(caller))
        return s.CancelRotateSecretResponse(arn=secret.arn, name=secret.name, version_id=version)

    return change(rooms, caller, request, work)


def _configuration(request: s.RotateSecretRequest) -> Configuration:
    rules, given = None, request.rotation_rules
    if given is not None:
        rules = RotationRules(given.automatically_after_days, given.schedule_expression, given.duration)
        rules.schedule()
    metadata = request.external_secret_rotation_metadata
    if metadata is not None and not request.rotation_lambda_arn:
        raise UnsupportedOperation("Managed external secrets are not supported: name a rotation function.")
    items = None if metadata is None else [{"key": item.key, "value": item.value} for item in metadata]
    return Configuration(
        function=request.rotation_lambda_arn or None,
        rules=rules,
        external_metadata=None if items is None else json.dumps(items),
        external_role=request.external_secret_rotation_role_arn,
    )


def _refuse_uninvokable(rooms: Rooms, caller: Caller, request: s.RotateSecretRequest, given: str | None) -> None:
    """A function that cannot be invoked is refused before anything is configured.

    Raises:
        AccessDenied: with AWS's text.
        InvalidParameter: it is a replica, whatever function was named.
    """
    with rooms.database.point() as tx:
        secret = find(rooms, tx, caller, request)
    rooms.replicas.refuse_replica(secret)
    function = given or secret.rotation_function
    try:
        can_run = function is None or rooms.runners.can_run(function, secret.scope)
    except ConfigurationError as error:  # a function of this server's own, of which the reason is known
        raise AccessDenied(f"{_CANNOT_INVOKE} {error.message}", hint=_CANNOT_INVOKE_HINT) from None
    if not can_run:
        raise AccessDenied(_CANNOT_INVOKE, hint=_CANNOT_INVOKE_HINT)
