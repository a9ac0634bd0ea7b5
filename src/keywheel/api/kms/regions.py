"""Multi-Region keys: replicas, and which Region has the primary.

What is done to the key of another Region is asked for there: with that Region in what is known of the request.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from keywheel.access.door import Caller, authorize
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import change, new_key_facts, permit, policy_of
from keywheel.api.kms.policies import checked_policy
from keywheel.api.rooms import Rooms
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied
from keywheel.keys import states
from keywheel.keys.keyring import Key


class Made(NamedTuple):
    """A new replica, its policy, and the Regions that have the key now."""

    key: Key
    policy: str
    regions: s.MultiRegionConfiguration | None


def make_replica(rooms: Rooms, caller: Caller, request: s.ReplicateKeyRequest) -> Made:
    """What ReplicateKey does."""
    there = _in_region(caller, request.replica_region)
    tags = [(tag.tag_key, tag.tag_value) for tag in request.tags or ()]
    rooms.keys.lifecycle.check_tags(tags)

    def work(tx: Tx, key: Key, now: datetime) -> Made:
        _require_own(caller, "ReplicateKey", key)
        states.require_primary(key.multi_region, key.arn)
        arn = there.scope.arn("kms", f"key/{key.key_id}")
        known = new_key_facts(key.spec, key.usage, key.origin, states.REPLICA, request)
        authorize(there, "kms:CreateKey", "*", known)
        if tags:
            authorize(there, "kms:TagResource", arn, known)
        if request.policy is not None:
            checked_policy(request.policy, there, arn, bypass=bool(request.bypass_policy_lockout_safety_check))
        made = rooms.keys.regions.replicate(
            tx,
            key,
            request.replica_region,
            description=request.description or "",
            now=now,
            tags=dict(tags),
            policy=request.policy,
        )
        return Made(made, policy_of(rooms, tx, made), told_of_regions(rooms, tx, made))

    return change(rooms, caller, "ReplicateKey", request.key_id, work, request)


def update_primary_region(rooms: Rooms, caller: Caller, request: s.UpdatePrimaryRegionRequest) -> None:
    """Make the replica of a Region the primary, and the primary a replica."""
    there = _in_region(caller, request.primary_region)

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        _require_own(caller, "UpdatePrimaryRegion", key)
        rooms.keys.regions.require_other(key, request.primary_region)
        replica = rooms.keys.regions.find_replica(tx, key, request.primary_region)
        permit(rooms, tx, there, "UpdatePrimaryRegion", replica, request)
        rooms.keys.regions.promote(tx, key, replica)

    change(rooms, caller, "UpdatePrimaryRegion", request.key_id, work, request)


def told_of_regions(rooms: Rooms, tx: Tx, key: Key) -> s.MultiRegionConfiguration | None:
    """The primary and the replicas of a multi-Region key; None for a key of one Region."""
    if key.multi_region is None:
        return None
    related = rooms.keys.regions.related(tx, key)
    return s.MultiRegionConfiguration(
        multi_region_key_type=key.multi_region,
        primary_key=_told(key, related.primary),
        replica_keys=[_told(key, region) for region in related.replicas],
    )


def _told(key: Key, region: str) -> s.MultiRegionKey:
    return s.MultiRegionKey(arn=key._replace(region=region).arn, region=region)


def _in_region(caller: Caller, region: str) -> Caller:
    """The caller, as if the request had come to another Region."""
    scope = Scope(caller.scope.account, region)
    return replace(caller, scope=scope, known={**caller.facts, "aws:requestedregion": region})


def _require_own(caller: Caller, action: str, key: Key) -> None:
    """Multi-Region keys are changed by their own account alone.

    Raises:
        AccessDenied: the key is another account's.
    """
    if key.account != caller.scope.account:
        raise AccessDenied(f"User: {caller.arn} is not authorized to perform: kms:{action} on resource: {key.arn}")
