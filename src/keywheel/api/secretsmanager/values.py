"""Values and versions: GetSecretValue, its batch, PutSecretValue, version listing, label moves; random passwords."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from keywheel.access.door import Caller, authorize
from keywheel.api.rooms import Rooms, checked_token, checked_value
from keywheel.api.secretsmanager import shapes as s
from keywheel.api.secretsmanager.finding import change, find, missing, permit, permit_key, scope_of
from keywheel.api.secretsmanager.secrets import filters_of
from keywheel.db.statement import Tx
from keywheel.errors import CallerError, InvalidParameter, InvalidRequest
from keywheel.secrets import labels, passwords
from keywheel.secrets.passwords import PasswordRules
from keywheel.secrets.rows import Secret
from keywheel.secrets.values import Found, Reading

_DEFAULT_KEY = "DefaultEncryptionKey"
_PAGE, _BATCH_PAGE = 100, 20


def get_secret_value(rooms: Rooms, caller: Caller, request: s.GetSecretValueRequest) -> s.GetSecretValueResponse:
    """One version's value. The hot path: one SELECT, two decryptions."""
    reading = _read(rooms, caller, request)
    return s.GetSecretValueResponse(**_value(reading))


def batch_get_secret_value(
    rooms: Rooms, caller: Caller, request: s.BatchGetSecretValueRequest
) -> s.BatchGetSecretValueResponse:
    """The current values of several secrets; what cannot be read is told beside them."""
    if (request.secret_id_list is None) == (request.filters is None):
        raise InvalidParameter("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
    token = None
    if request.secret_id_list is not None:
        if request.max_results is not None:
            raise InvalidParameter(
                "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided."
            )
        ids = request.secret_id_list
    else:
        authorize(caller, "secretsmanager:ListSecrets", "*", {})
        ids, token = _filtered(rooms, caller, request)
    values, errors = [], []
    for secret_id in dict.fromkeys(ids):
        try:
            values.append(
                s.SecretValueEntry(**_value(_read(rooms, caller, s.GetSecretValueRequest(secret_id=secret_id))))
            )
        except CallerError as error:
            errors.append(s.APIErrorType(secret_id=secret_id, error_code=error.code, message=error.message))
    return s.BatchGetSecretValueResponse(secret_values=values, errors=errors, next_token=token)


def put_secret_value(rooms: Rooms, caller: Caller, request: s.PutSecretValueRequest) -> s.PutSecretValueResponse:
    """A new version, under AWSCURRENT or the labels that are named."""
    value = checked_value(request.secret_string, request.secret_binary)
    if value is None:
        raise InvalidRequest("You must provide either SecretString or SecretBinary.")
    token = checked_token(request.client_request_token)
    new = value

    def work(tx: Tx, secret: Secret, now: datetime) -> s.PutSecretValueResponse:
        permit_key(rooms, tx, caller, "GenerateDataKey", secret.kms_key_id, secret.arn, token)
        held = rooms.secrets.put(tx, secret, token, new, request.version_stages or (), now)
        return s.PutSecretValueResponse(arn=secret.arn, name=secret.name, version_id=token, version_stages=held)

    return change(rooms, caller, request, work)


def list_secret_version_ids(
    rooms: Rooms, caller: Caller, request: s.ListSecretVersionIdsRequest
) -> s.ListSecretVersionIdsResponse:
    """The versions that have a value."""
    with rooms.database.read() as tx:
        secret = find(rooms, tx, caller, request, deleted=True)
        page = rooms.listing.versions(
            tx,
            secret,
            include_deprecated=bool(request.include_deprecated),
            most=request.max_results or _PAGE,
            token=request.next_token,
        )
    entries = [
        s.SecretVersionsListEntry(
            version_id=version.version_id,
            version_stages=list(version.labels) or None,
            last_accessed_date=version.accessed,
            created_date=version.created,
            kms_key_ids=[version.key_arn or _DEFAULT_KEY],
        )
        for version in page.items
    ]
    return s.ListSecretVersionIdsResponse(versions=entries, next_token=page.token, arn=secret.arn, name=secret.name)


def update_secret_version_stage(
    rooms: Rooms, caller: Caller, request: s.UpdateSecretVersionStageRequest
) -> s.UpdateSecretVersionStageResponse:
    """Move a label, or take it away."""

    def work(tx: Tx, secret: Secret, now: datetime) -> s.UpdateSecretVersionStageResponse:
        after = labels.move(
            rooms.secrets.labels(tx, secret),
            request.version_stage,
            to=request.move_to_version_id,
            remove_from=request.remove_from_version_id,
        )
        rooms.secrets.relabel(tx, secret, after, now)
        return s.UpdateSecretVersionStageResponse(arn=secret.arn, name=secret.name)

    return change(rooms, caller, request, work)


def get_random_password(
    rooms: Rooms, caller: Caller, request: s.GetRandomPasswordRequest
) -> s.GetRandomPasswordResponse:
    """A random password by rule."""
    del rooms, caller
    rules = PasswordRules(
        length=request.password_length or 32,
        exclude_characters=request.exclude_characters or "",
        exclude_numbers=bool(request.exclude_numbers),
        exclude_punctuation=bool(request.exclude_punctuation),
        exclude_uppercase=bool(request.exclude_uppercase),
        exclude_lowercase=bool(request.exclude_lowercase),
        include_space=bool(request.include_space),
        require_each=request.require_each_included_type is not False,
    )
    return s.GetRandomPasswordResponse(random_password=passwords.generate(rules).reveal())


def _read(rooms: Rooms, caller: Caller, request: s.GetSecretValueRequest) -> Reading:
    now, scope = rooms.clock.now(), scope_of(caller, request.secret_id)

    def admit(found: Found | None) -> None:
        if found is None:
            missing(caller, request)
            return
        permit(caller, request, found.arn, found.policy, found.tags)
        if found.version_id is not None and (found.key_arn is not None or scope != caller.scope):
            permit_key(rooms, tx, caller, "Decrypt", found.key_arn, found.arn, found.version_id, changing=False)

    with rooms.database.point() as tx:
        reading = rooms.secrets.vault.read(
            tx,
            scope,
            request.secret_id,
            version_id=request.version_id,
            label=request.version_stage,
            now=now,
            permit=admit,
        )
    if reading.first_today:
        rooms.database.later(lambda tx: rooms.secrets.touch(tx, reading.secret_id, reading.version_id, now))
    return reading


def _filtered(rooms: Rooms, caller: Caller, request: s.BatchGetSecretValueRequest) -> tuple[list[str], str | None]:
    with rooms.database.read() as tx:
        page = rooms.listing.secrets(
            tx,
            caller.scope,
            filters=filters_of(request.filters),
            sort_by="created",
            descending=False,
            include_deleted=False,
            most=request.max_results or _BATCH_PAGE,
            token=request.next_token,
        )
    return [secret.arn for secret in page.items], page.token


def _value(reading: Reading) -> dict[str, Any]:
    """The members that one value and a batch of them share."""
    data = reading.value.data.reveal()
    return {
        "arn": reading.arn,
        "name": reading.name,
        "version_id": reading.version_id,
        "secret_binary": data if reading.value.binary else None,
        "secret_string": None if reading.value.binary else data.decode(),
        "version_stages": reading.labels or None,
        "created_date": reading.created,
    }
