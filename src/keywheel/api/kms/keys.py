"""Keys themselves: their making, description, states and tags."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, get_args

from msgspec.structs import fields, replace

from keywheel.access.door import Caller, authorize
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import change, find, new_key_facts
from keywheel.api.kms.paging import Bookmarks
from keywheel.api.kms.policies import checked_policy
from keywheel.api.kms.regions import make_replica, told_of_regions
from keywheel.api.kms.stores import create_key_in_store, is_custom, told_of_store
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.errors import ValidationFailed
from keywheel.keys import states
from keywheel.keys.keyring import Key
from keywheel.keys.specs import ALGORITHM_MEMBER

_KEYS_PAGE, _TAGS_PAGE = 100, 50
_OTHERS = {"OTHER_ACCOUNTS_VIA_RAM"}
ALGORITHMS: Final = {
    usage: field.name
    for field in fields(s.KeyMetadata)
    for usage, member in ALGORITHM_MEMBER.items()
    if field.encode_name == member
}
"""By usage, the member that lists a key's algorithms."""
_OLD_SPECS: Final = frozenset(get_args(s.CustomerMasterKeySpec))


def create_key(rooms: Rooms, caller: Caller, request: s.CreateKeyRequest) -> s.CreateKeyResponse:
    """Make a key."""
    spec, role = request.key_spec or request.customer_master_key_spec, states.PRIMARY if request.multi_region else None
    authorize(caller, "kms:CreateKey", "*", new_key_facts(spec, request.key_usage, request.origin, role, request))
    if request.key_spec is not None and request.customer_master_key_spec is not None:
        raise ValidationFailed(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
            "CustomerMasterKeySpec is deprecated."
        )
    policy = request.policy
    if policy is not None:
        checked_policy(
            policy, caller, caller.scope.arn("kms", "key/*"), bypass=bool(request.bypass_policy_lockout_safety_check)
        )
    tags = [(tag.tag_key, tag.tag_value) for tag in request.tags or ()]
    rooms.keys.lifecycle.check_tags(tags)
    if is_custom(request):
        made = create_key_in_store(rooms, caller, request, dict(tags), policy)
        return s.CreateKeyResponse(key_metadata=_described(rooms, made))
    draft = rooms.keys.draft(
        spec, request.key_usage, origin=request.origin or states.AWS_KMS, multi_region=bool(request.multi_region)
    )

    def work(tx: Tx) -> Key:
        return rooms.keys.create(
            tx,
            caller.scope,
            description=request.description or "",
            now=rooms.clock.now(),
            draft=draft,
            tags=dict(tags),
            policy=policy,
        )

    return s.CreateKeyResponse(key_metadata=_described(rooms, rooms.database.write(work)))


def replicate_key(rooms: Rooms, caller: Caller, request: s.ReplicateKeyRequest) -> s.ReplicateKeyResponse:
    """Make a key in another Region with the same id and the same material."""
    key, policy, regions = make_replica(rooms, caller, request)
    return s.ReplicateKeyResponse(
        replica_key_metadata=replace(metadata(key), multi_region_configuration=regions),
        replica_policy=policy,
        replica_tags=[s.Tag(tag_key=name, tag_value=value) for name, value in key.tags.items()],
    )


def describe_key(rooms: Rooms, caller: Caller, request: s.DescribeKeyRequest) -> s.DescribeKeyResponse:
    """Everything about a key but its material, its policy, tags and aliases."""
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, "DescribeKey", request.key_id, aliases=True, request=request)
    return s.DescribeKeyResponse(key_metadata=_described(rooms, key))


def list_keys(rooms: Rooms, caller: Caller, request: s.ListKeysRequest) -> s.ListKeysResponse:
    """A page of the keys of the account and Region. No account shares keys with another here."""
    authorize(caller, "kms:ListKeys", "*", {})
    owners = sorted(set(request.resource_owners or []))
    marks = Bookmarks(str, "ListKeys", caller.scope, owners)
    after, most = marks.read(request.marker), request.limit or _KEYS_PAGE
    if set(owners) == _OTHERS:
        return s.ListKeysResponse(keys=[], truncated=False)
    with rooms.database.point() as tx:
        found = rooms.keys.page(tx, caller.scope, after=after, most=most + 1)
    page = marks.page(found, most, lambda key: key.key_id)
    entries = [s.KeyListEntry(key_id=key.key_id, key_arn=key.arn) for key in page.items]
    return s.ListKeysResponse(keys=entries, next_marker=page.marker, truncated=page.truncated)


def enable_key(rooms: Rooms, caller: Caller, request: s.EnableKeyRequest) -> None:
    """Let a key be used again."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        rooms.keys.lifecycle.enable(tx, key, now)

    change(rooms, caller, "EnableKey", request.key_id, work, request)


def disable_key(rooms: Rooms, caller: Caller, request: s.DisableKeyRequest) -> None:
    """Let a key not be used for now."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        rooms.keys.lifecycle.disable(tx, key)

    change(rooms, caller, "DisableKey", request.key_id, work, request)


def schedule_key_deletion(
    rooms: Rooms, caller: Caller, request: s.ScheduleKeyDeletionRequest
) -> s.ScheduleKeyDeletionResponse:
    """Have a key destroyed, with all that it protects, when its window ends."""

    def work(tx: Tx, key: Key, now: datetime) -> Key:
        return rooms.keys.lifecycle.schedule_deletion(tx, key, request.pending_window_in_days, now)

    key = change(rooms, caller, "ScheduleKeyDeletion", request.key_id, work, request)
    return s.ScheduleKeyDeletionResponse(
        key_id=key.arn,
        deletion_date=key.deletion,
        key_state=key.state,
        pending_window_in_days=key.deletion_window,
    )


def cancel_key_deletion(
    rooms: Rooms, caller: Caller, request: s.CancelKeyDeletionRequest
) -> s.CancelKeyDeletionResponse:
    """Keep a key after all. It is disabled."""

    def work(tx: Tx, key: Key, now: datetime) -> Key:
        del now
        return rooms.keys.lifecycle.cancel_deletion(tx, key)

    return s.CancelKeyDeletionResponse(
        key_id=change(rooms, caller, "CancelKeyDeletion", request.key_id, work, request).arn
    )


def update_key_description(rooms: Rooms, caller: Caller, request: s.UpdateKeyDescriptionRequest) -> None:
    """Change what a key is said to be for."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        rooms.keys.lifecycle.describe(tx, key, request.description)

    change(rooms, caller, "UpdateKeyDescription", request.key_id, work, request)


def get_key_last_usage(rooms: Rooms, caller: Caller, request: s.GetKeyLastUsageRequest) -> s.GetKeyLastUsageResponse:
    """What a key was last used for."""
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, "GetKeyLastUsage", request.key_id)
    usage = s.KeyLastUsageData(operation=key.last_operation, timestamp=key.last_used)
    return s.GetKeyLastUsageResponse(
        key_id=key.key_id, key_last_usage=usage, tracking_start_date=key.created, key_creation_date=key.created
    )


# --- tags


def tag_resource(rooms: Rooms, caller: Caller, request: s.TagResourceRequest) -> None:
    """Add tags, or give them another value."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        rooms.keys.lifecycle.tag(tx, key, [(tag.tag_key, tag.tag_value) for tag in request.tags])

    change(rooms, caller, "TagResource", request.key_id, work, request)


def untag_resource(rooms: Rooms, caller: Caller, request: s.UntagResourceRequest) -> None:
    """Remove tags; one that is not there is no error."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        rooms.keys.lifecycle.untag(tx, key, request.tag_keys)

    change(rooms, caller, "UntagResource", request.key_id, work, request)


def list_resource_tags(rooms: Rooms, caller: Caller, request: s.ListResourceTagsRequest) -> s.ListResourceTagsResponse:
    """A page of a key's tags, by their names."""
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, "ListResourceTags", request.key_id)
    marks = Bookmarks(str, "ListResourceTags", key.arn)
    after = marks.read(request.marker)
    found = sorted((name, value) for name, value in key.tags.items() if after is None or name > after)
    page = marks.page(found, request.limit or _TAGS_PAGE, lambda tag: tag[0])
    tags = [s.Tag(tag_key=name, tag_value=value) for name, value in page.items]
    return s.ListResourceTagsResponse(tags=tags, next_marker=page.marker, truncated=page.truncated)


# --- shared


def metadata(key: Key) -> s.KeyMetadata:
    """A key as DescribeKey shows it."""
    algorithms: dict[str, Any] = {ALGORITHMS[key.usage]: list(key.algorithms)}
    return s.KeyMetadata(
        aws_account_id=key.scope.account,
        key_id=key.key_id,
        arn=key.arn,
        creation_date=key.created,
        enabled=key.enabled,
        description=key.description,
        key_usage=key.usage,
        key_state=key.state,
        deletion_date=key.deletion,
        valid_to=key.expires,
        origin=key.origin,
        expiration_model=key.expiration_model,
        key_manager=key.manager,
        customer_master_key_spec=old_spec(key),
        key_spec=key.spec,
        multi_region=key.multi_region is not None,
        pending_deletion_window_in_days=(key.deletion_window if key.state == states.PENDING_REPLICA_DELETION else None),
        current_key_material_id=key.material_id,
        **algorithms,
    )


def old_spec(key: Key) -> str | None:
    """The key's spec under the member's old name, which knows no specs that came after it."""
    return key.spec if key.spec in _OLD_SPECS else None


# --- inside


def _described(rooms: Rooms, key: Key) -> s.KeyMetadata:
    """As `metadata`, with the key store that it is in, and the keys of other Regions."""
    if key.store_id is None and key.multi_region is None:
        return metadata(key)
    with rooms.database.read() as tx:
        regions = told_of_regions(rooms, tx, key)
        return replace(metadata(key), multi_region_configuration=regions, **told_of_store(rooms, tx, key))
