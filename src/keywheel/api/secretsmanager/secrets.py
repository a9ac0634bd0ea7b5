"""CreateSecret, DescribeSecret, UpdateSecret, DeleteSecret, RestoreSecret, ListSecrets, TagResource, UntagResource."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from keywheel.access.door import Caller
from keywheel.api.rooms import Rooms, checked_token, checked_value
from keywheel.api.secretsmanager import shapes as s
from keywheel.api.secretsmanager.finding import change, find, permit_key
from keywheel.arn import Scope, SecretRef, parse_secret_id
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import InvalidParameter, ResourceNotFound, UnsupportedOperation
from keywheel.keys.keyring import DEFAULT_ALIAS
from keywheel.rotation.rules import rules_of
from keywheel.secrets.filters import Filter
from keywheel.secrets.ledger import Draft
from keywheel.secrets.listing import Order
from keywheel.secrets.rows import Replica, Secret
from keywheel.secrets.values import named_key

_DEFAULT_WINDOW_DAYS = 30
_WINDOW_DAYS = range(7, 31)
_MOST_TAGS = 50
_PAGE = 100
_SORT: dict[str | None, Order] = {None: "created", "created-date": "created", "last-accessed-date": "accessed",
         "last-changed-date": "changed", "name": "name"}  # fmt: skip


def create_secret(rooms: Rooms, caller: Caller, request: s.CreateSecretRequest) -> s.CreateSecretResponse:
    """Create a secret, with a first version when it brings a value."""
    if request.cross_account_primary_arn is not None:
        raise UnsupportedOperation("Replicas in another account are not supported.")
    value = checked_value(request.secret_string, request.secret_binary)
    token = checked_token(request.client_request_token)
    draft = Draft(
        name=request.name,
        description=request.description,
        kms_key_id=named_key(caller.scope, request.kms_key_id),
        type=request.type,
        tags=_with_tags("{}", request.tags or ()),
    )

    def work(tx: Tx) -> s.CreateSecretResponse:
        now = rooms.clock.now()
        rooms.secrets.vault.key(tx, caller.scope, draft.kms_key_id, now)
        secret, version = rooms.secrets.create(tx, caller.scope, draft, now, token=token, value=value)
        permit_key(rooms, tx, caller, "GenerateDataKey", draft.kms_key_id, secret.arn, token)
        if request.add_replica_regions and secret.primary_region is None:  # a repeated call has added them already
            regions = replica_regions(caller.scope.account, request.add_replica_regions)
            overwrite = bool(request.force_overwrite_replica_secret)
            rooms.replicas.add(tx, secret, regions, overwrite=overwrite, now=now)
            secret = rooms.secrets.by_id(tx, secret.id) or secret
        status = [replication_status(replica, None) for replica, _ in rooms.replicas.status(tx, secret)]
        return s.CreateSecretResponse(
            arn=secret.arn, name=secret.name, version_id=version, replication_status=status or None
        )

    return rooms.database.write(work)


def describe_secret(rooms: Rooms, caller: Caller, request: s.DescribeSecretRequest) -> s.DescribeSecretResponse:
    """Everything about a secret but its value."""
    with rooms.database.read() as tx:
        secret = find(rooms, tx, caller, request, deleted=True)
        stages = rooms.listing.labels_of(tx, secret)
        replicas = rooms.replicas.status(tx, secret)
    return s.DescribeSecretResponse(
        version_ids_to_stages=stages or None,
        replication_status=[replication_status(replica, accessed) for replica, accessed in replicas] or None,
        **_metadata(secret, rooms.clock.now()),
    )


def update_secret(rooms: Rooms, caller: Caller, request: s.UpdateSecretRequest) -> s.UpdateSecretResponse:
    """Change metadata, and put a new value when the request brings one."""
    value = checked_value(request.secret_string, request.secret_binary)
    token = checked_token(request.client_request_token)

    def work(tx: Tx, secret: Secret, now: datetime) -> s.UpdateSecretResponse:
        columns: dict[str, object] = {}
        if request.description is not None:
            columns["description"] = request.description
        if request.type is not None:
            columns["type"] = request.type
        if request.kms_key_id is not None:
            columns["kms_key_id"] = named_key(secret.scope, request.kms_key_id)
        if columns:
            secret = rooms.secrets.set(tx, secret, now, **columns)
        if request.kms_key_id is not None:
            rooms.secrets.vault.key(tx, secret.scope, secret.kms_key_id, now)
            permit_key(rooms, tx, caller, "GenerateDataKey", secret.kms_key_id, secret.arn, token)
            rooms.secrets.rekey(tx, secret, now)
        if value is not None:
            permit_key(rooms, tx, caller, "GenerateDataKey", secret.kms_key_id, secret.arn, token)
            rooms.secrets.put(tx, secret, token, value, (), now)
        return s.UpdateSecretResponse(arn=secret.arn, name=secret.name, version_id=None if value is None else token)

    return change(rooms, caller, request, work)


def delete_secret(rooms: Rooms, caller: Caller, request: s.DeleteSecretRequest) -> s.DeleteSecretResponse:
    """Mark a secret for deletion, or delete it at once."""
    days, force = request.recovery_window_in_days, bool(request.force_delete_without_recovery)
    if force and days is not None:
        raise InvalidParameter("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
    if days is not None and days not in _WINDOW_DAYS:
        raise InvalidParameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
    window = None if force else timedelta(days=_DEFAULT_WINDOW_DAYS if days is None else days)

    def work(tx: Tx) -> s.DeleteSecretResponse:
        now = rooms.clock.now()
        try:
            secret = find(rooms, tx, caller, request, lock=True, deleted=force)
        except ResourceNotFound:
            if not force:
                raise
            return _deleted_nothing(parse_secret_id(request.secret_id, caller.scope), now)
        rooms.replicas.refuse_delete(tx, secret, request.secret_id)
        end = rooms.secrets.delete(tx, secret, window=window, now=now)
        return s.DeleteSecretResponse(arn=secret.arn, name=secret.name, deletion_date=to_epoch(end))

    return rooms.database.write(work)


def restore_secret(rooms: Rooms, caller: Caller, request: s.RestoreSecretRequest) -> s.RestoreSecretResponse:
    """Take the mark for deletion away."""

    def work(tx: Tx) -> s.RestoreSecretResponse:
        secret = find(rooms, tx, caller, request, lock=True, deleted=True)
        rooms.secrets.restore(tx, secret, rooms.clock.now())
        return s.RestoreSecretResponse(arn=secret.arn, name=secret.name)

    return rooms.database.write(work)


def list_secrets(rooms: Rooms, caller: Caller, request: s.ListSecretsRequest) -> s.ListSecretsResponse:
    """A page of secrets that match the filters."""
    now = rooms.clock.now()
    with rooms.database.read() as tx:
        page = rooms.listing.secrets(
            tx,
            caller.scope,
            filters=filters_of(request.filters),
            sort_by=_SORT[request.sort_by],
            descending=request.sort_order == "desc",
            include_deleted=bool(request.include_planned_deletion),
            most=request.max_results or _PAGE,
            token=request.next_token,
        )
        held = rooms.listing.labels_of_each(tx, page.items)
    entries = [
        s.SecretListEntry(secret_versions_to_stages=held.get(secret.id) or None, **_metadata(secret, now))
        for secret in page.items
    ]
    return s.ListSecretsResponse(secret_list=entries, next_token=page.token)


def tag_resource(rooms: Rooms, caller: Caller, request: s.TagResourceRequest) -> None:
    """Add tags, or give them another value."""

    def work(tx: Tx, secret: Secret, now: datetime) -> None:
        rooms.secrets.set(tx, secret, now, tags=_with_tags(secret.tags, request.tags))

    change(rooms, caller, request, work)


def untag_resource(rooms: Rooms, caller: Caller, request: s.UntagResourceRequest) -> None:
    """Remove tags; one that is not there is no error."""

    def work(tx: Tx, secret: Secret, now: datetime) -> None:
        kept = {key: value for key, value in json.loads(secret.tags).items() if key not in request.tag_keys}
        rooms.secrets.set(tx, secret, now, tags=json.dumps(kept))

    change(rooms, caller, request, work)


# --- shared with the other operations


def filters_of(filters: Iterable[s.Filter] | None) -> list[Filter]:
    """The filters of a request as the ledger reads them."""
    return [Filter(given.key or "", tuple(given.values or ())) for given in filters or ()]


def replica_regions(account: str, regions: Iterable[s.ReplicaRegionType]) -> list[tuple[str, str | None]]:
    """The Regions of a request, each with its key.

    Raises:
        InvalidParameter: one has no name.
    """
    if any(entry.region is None for entry in regions):
        raise InvalidParameter("Each entry of AddReplicaRegions must name a Region.")
    named = [(entry.region or "", entry.kms_key_id) for entry in regions]
    return [(region, named_key(Scope(account, region), kms_key_id)) for region, kms_key_id in named]


def replication_status(replica: Replica, accessed: float | None) -> s.ReplicationStatusType:
    """A replica as the wire shows it."""
    return s.ReplicationStatusType(
        region=replica.region,
        kms_key_id=replica.kms_key_id or DEFAULT_ALIAS,
        status=replica.status,
        status_message=replica.message,
        last_accessed_date=accessed,
    )


# --- inside


def _with_tags(tags: str, given: Iterable[s.Tag]) -> str:
    merged: dict[str, str] = json.loads(tags)
    for tag in given:
        if tag.key is None:
            raise InvalidParameter("You must provide a Key for each tag.")
        if tag.key.lower().startswith("aws:"):
            raise InvalidParameter("Tag keys that begin with aws: are reserved.")
        merged[tag.key] = tag.value or ""
    if len(merged) > _MOST_TAGS:
        raise InvalidParameter(f"A secret can have at most {_MOST_TAGS} tags.")
    return json.dumps(merged)


def _deleted_nothing(ref: SecretRef, now: datetime) -> s.DeleteSecretResponse:
    """ForceDeleteWithoutRecovery of a secret that is not there succeeds: the API reference says so."""
    name = ref.name if ref.name is not None else (ref.arn or "").rpartition(":secret:")[2][:-7]
    arn = ref.arn or ref.scope.arn("secretsmanager", f"secret:{name}")
    return s.DeleteSecretResponse(arn=arn, name=name, deletion_date=to_epoch(now))


def _metadata(secret: Secret, now: datetime) -> dict[str, Any]:
    """The members that DescribeSecret and ListSecrets share."""
    tags = [s.Tag(key=key, value=value) for key, value in json.loads(secret.tags).items()]
    external = json.loads(secret.external_metadata) if secret.external_metadata else []
    return {
        "arn": secret.arn,
        "name": secret.name,
        "type": secret.type,
        "description": secret.description or None,
        "kms_key_id": secret.kms_key_id,
        "rotation_enabled": None if secret.rotation_enabled is None else bool(secret.rotation_enabled),
        "rotation_lambda_arn": secret.rotation_function,
        "rotation_rules": _rules(secret, now),
        "external_secret_rotation_metadata": [s.ExternalSecretRotationMetadataItem(**item) for item in external]
        or None,
        "external_secret_rotation_role_arn": secret.external_role,
        "last_rotated_date": secret.rotated,
        "last_changed_date": secret.changed,
        "last_accessed_date": secret.accessed,
        "deleted_date": secret.deleted,
        "next_rotation_date": secret.next_rotation,
        "tags": tags or None,
        "owning_service": secret.owning_service,
        "created_date": secret.created,
        "primary_region": secret.primary_region,
    }


def _rules(secret: Secret, now: datetime) -> s.RotationRulesType | None:
    rules = rules_of(secret)
    if rules.after_days is None and rules.expression is None and rules.duration is None:
        return None
    return s.RotationRulesType(
        automatically_after_days=rules.schedule().days(now),
        duration=rules.duration,
        schedule_expression=rules.expression,
    )
