"""Multi-Region keys: replicas in other Regions, and which Region's key is the primary.

What the keys of one multi-Region key have in common is told in regional.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import UnsupportedOperation
from keywheel.keys import rows, states
from keywheel.keys.errors import AlreadyExists, KeyNotFound
from keywheel.keys.lifecycle import require_tags
from keywheel.keys.materials import insert_key, update_key
from keywheel.keys.regions import material as regional
from keywheel.keys.regions import rows as regional_rows
from keywheel.keys.rows import Key

_MOVED = ("rotation_period", "next_rotation", "on_demand")


class Related(NamedTuple):
    """The Regions of a multi-Region key."""

    primary: str
    replicas: tuple[str, ...]


class Regions:
    """The multi-Region keys of every account."""

    @staticmethod
    def related(tx: Tx, key: Key) -> Related:
        """Where the keys of a multi-Region key are, itself included."""
        found = regional_rows.related.all(tx, key_id=key.key_id)
        primary = next(row[0] for row in found if row[1] == states.PRIMARY)
        return Related(primary, tuple(row[0] for row in found if row[1] == states.REPLICA))

    @staticmethod
    def replicate(
        tx: Tx,
        primary: Key,
        region: str,
        *,
        description: str,
        now: datetime,
        tags: Mapping[str, str] | None = None,
        policy: str | None = None,
    ) -> Key:
        """A new key in `region` with the id and the material of `primary`, which is locked.

        Imported material does not come along: the replica waits for it.

        Raises:
            UnsupportedOperation: it is no primary of a multi-Region key.
            KeyDisabled, KeyInvalidState: not in its state.
            AlreadyExists: the Region has the key.
            TagRefused: the tags are refused.
        """
        states.require_primary(primary.multi_region, primary.arn)
        states.check("ReplicateKey", primary.state, primary.origin, primary.arn)
        require_tags(tags or ())
        imported = regional.is_kept_by_region(primary)
        replica = Key(
            account=primary.account,
            region=region,
            key_id=primary.key_id,
            manager=primary.manager,
            description=description,
            created=to_epoch(now),
            spec=primary.spec,
            usage=primary.usage,
            origin=primary.origin,
            state=states.PENDING_IMPORT if imported else states.ENABLED,
            generation=primary.generation,
            tags_json=json.dumps(dict(tags or {})),
            multi_region=states.REPLICA,
        )
        if rows.key.first(tx, account=replica.account, region=region, key_id=replica.key_id) is not None:
            raise AlreadyExists(f"A key with the ARN {replica.arn} already exists.")
        insert_key(tx, replica, policy)
        return replica

    @staticmethod
    def require_other(primary: Key, region: str) -> None:
        """Nothing, when `region` is another one than that of `primary`, which is one.

        Raises:
            UnsupportedOperation: it is none, or is there already.
        """
        states.require_primary(primary.multi_region, primary.arn)
        if region == primary.region:
            raise UnsupportedOperation(f"{primary.arn} is the multi-region primary key of this region already.")

    @staticmethod
    def find_replica(tx: Tx, primary: Key, region: str) -> Key:
        """The replica of `primary` in `region`, locked.

        Raises:
            KeyNotFound: there is none.
        """
        row = rows.lock_key.first(tx, account=primary.account, region=region, key_id=primary.key_id)
        if row is None:
            arn = Scope(primary.account, region).arn("kms", f"key/{primary.key_id}")
            raise KeyNotFound(f"Key '{arn}' does not exist")
        return rows.as_key(row)

    @staticmethod
    def promote(tx: Tx, primary: Key, replica: Key) -> tuple[Key, Key]:
        """Make `replica` the primary, and the primary a replica. Both are locked. How the key rotates moves along.

        Raises:
            KeyDisabled, KeyInvalidState: one of them is not in a state for that.
        """
        for key in (primary, replica):
            states.check("UpdatePrimaryRegion", key.state, key.origin, key.arn)
        settings = {name: getattr(primary, name) for name in _MOVED}
        cleared = {"rotation_period": None, "next_rotation": None, "on_demand": 0}
        return (
            update_key(tx, primary, multi_region=states.REPLICA, **cleared),
            update_key(tx, replica, multi_region=states.PRIMARY, **settings),
        )
