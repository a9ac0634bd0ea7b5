"""A key's life after it was made: enabled, disabled, described, tagged, on its way out, gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import ValidationFailed
from keywheel.keys import grant_rows, rows, states
from keywheel.keys.errors import TagRefused
from keywheel.keys.imports import complete
from keywheel.keys.materials import Materials, update_key
from keywheel.keys.regions import material as regional
from keywheel.keys.rotation import KeyRotation
from keywheel.keys.rows import Key

SHORTEST_WINDOW, LONGEST_WINDOW = 7, 30  # days
_MOST_TAGS = 50
_SEEN_FOR = 3600.0  # seconds for which a use is not written down again
_POLICIES = 4096  # key policies that are remembered


def require_tags(tags: Iterable[str], existing: Iterable[str] = ()) -> None:
    """Nothing, when tags with these names may be added to those that exist.

    Raises:
        TagRefused: one comes twice, or is reserved, or they would be too many.
    """
    names = list(tags)
    if len(set(names)) != len(names):
        raise TagRefused("Duplicate tag keys")
    if any(name.lower().startswith("aws:") for name in names):
        raise TagRefused("Tags beginning with aws: are reserved")
    if len({*names, *existing}) > _MOST_TAGS:
        raise TagRefused("Too many tags")


def _check(key: Key, operation: str) -> None:
    states.require_customer(key.manager, key.arn)
    states.check(operation, key.state, key.origin, key.arn)


class Lifecycle:
    """What changes about keys. Each method is given the key as it was locked, and gives it as it is afterwards.

    Every method that changes a key raises KeyInvalidState where its state does not allow that, and AccessDenied for an
    AWS managed key.
    """

    def __init__(self, materials: Materials, rotation: KeyRotation) -> None:
        self._materials = materials
        self._rotation = rotation
        self._policies: dict[tuple[str, str, str, float, int], str | None] = {}
        self.noting: dict[tuple[str, str], float] = {}
        """What is about to be written down of which key, and since when."""

    def enable(self, tx: Tx, key: Key, now: datetime) -> Key:
        """Let the key be used. A rotation that came due meanwhile is made at once."""
        _check(key, "EnableKey")
        return self._rotation.catch_up(tx, update_key(tx, key, state=states.ENABLED), now)

    @staticmethod
    def disable(tx: Tx, key: Key) -> Key:
        """Let the key not be used."""
        _check(key, "DisableKey")
        return update_key(tx, key, state=states.DISABLED)

    # --- the end

    @staticmethod
    def schedule_deletion(tx: Tx, key: Key, days: int | None, now: datetime) -> Key:
        """Delete the key in `days` days, 30 when None; a primary, so many days after its last replica is gone.

        Raises:
            ValidationFailed: that is too soon or too late.
        """
        _check(key, "ScheduleKeyDeletion")
        window = LONGEST_WINDOW if days is None else days
        if not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
            bound = ("greater", SHORTEST_WINDOW) if window < SHORTEST_WINDOW else ("less", LONGEST_WINDOW)
            raise ValidationFailed(
                f"1 validation error detected: Value '{window}' at 'pendingWindowInDays' failed to satisfy "
                f"constraint: Member must have value {bound[0]} than or equal to {bound[1]}"
            )
        if regional.has_replicas(tx, key):
            return update_key(tx, key, state=states.PENDING_REPLICA_DELETION, deletion=None, deletion_window=window)
        return update_key(
            tx,
            key,
            state=states.PENDING_DELETION,
            deletion=to_epoch(now + timedelta(days=window)),
            deletion_window=window,
        )

    def cancel_deletion(self, tx: Tx, key: Key) -> Key:
        """Keep the key after all. It is disabled then, or waits for the material that it lacks."""
        _check(key, "CancelKeyDeletion")
        there = key.origin != states.EXTERNAL or complete(key, self._materials.of(tx, key))
        state = states.DISABLED if there else states.PENDING_IMPORT
        return update_key(tx, key, state=state, deletion=None, deletion_window=None)

    def purge_due(self, tx: Tx, now: datetime, *, most: int = 100) -> list[Key]:
        """Destroy the keys whose time has come, with their material, aliases, grants and policies; as they were."""
        due = [rows.as_key(row) for row in rows.purgeable.all(tx, now=to_epoch(now), most=most)]
        for key in due:
            where = {"account": key.account, "region": key.region, "key_id": key.key_id}
            rows.delete_aliases.run(tx, **where)
            if key.grants:
                grant_rows.delete_of_key.run(tx, **where)
            rows.delete_key.run(tx, **where)
            if key.multi_region is not None:
                regional.leave(tx, key, now)
            if rows.key_states.first(tx, key_id=key.key_id) is None:  # no other Region has it
                for material in self._materials.of(tx, key):
                    self._materials.forget(key.key_id, material.generation)
                rows.delete_backing_keys.run(tx, key_id=key.key_id)
        return due

    # --- what is said about it

    @staticmethod
    def describe(tx: Tx, key: Key, text: str) -> Key:
        """Change the description."""
        _check(key, "UpdateKeyDescription")
        return update_key(tx, key, description=text)

    @staticmethod
    def check_tags(tags: Sequence[tuple[str, str]], existing: Iterable[str] = ()) -> None:
        """As `require_tags`, of names and values."""
        require_tags([name for name, _ in tags], existing)

    def tag(self, tx: Tx, key: Key, tags: Sequence[tuple[str, str]]) -> Key:
        """Add tags, or change their values.

        Raises:
            TagRefused: they are refused.
        """
        _check(key, "TagResource")
        self.check_tags(tags, key.tags)
        return update_key(tx, key, tags=json.dumps({**key.tags, **dict(tags)}))

    @staticmethod
    def untag(tx: Tx, key: Key, names: Iterable[str]) -> Key:
        """Take tags away; nothing, where there are none of these names."""
        _check(key, "UntagResource")
        gone = set(names)
        kept = {name: value for name, value in key.tags.items() if name not in gone}
        return update_key(tx, key, tags=json.dumps(kept))

    @staticmethod
    def policy(tx: Tx, key: Key) -> str | None:
        """The key policy; None where it is the default one."""
        row = rows.policy.first(tx, account=key.account, region=key.region, key_id=key.key_id)
        return None if row is None else row[0]

    def remembered_policy(self, tx: Tx, key: Key) -> str | None:
        """The same, read once for each change of it. Only for what is committed: a change may yet be undone."""
        # A replica that was deleted may be made again, with the same ARN.
        known = (key.account, key.region, key.key_id, key.created, key.policy_serial)
        if known not in self._policies:
            if len(self._policies) >= _POLICIES:
                self._policies.clear()
            self._policies[known] = self.policy(tx, key)
        return self._policies[known]

    @staticmethod
    def put_policy(tx: Tx, key: Key, text: str) -> Key:
        """Set the key policy, which was checked."""
        _check(key, "PutKeyPolicy")
        rows.put_policy.run(tx, row_account=key.account, row_region=key.region, row_key=key.key_id, policy=text)
        return key._replace(policy_serial=key.policy_serial + 1)

    # --- use

    @staticmethod
    def is_news(key: Key, now: datetime) -> bool:
        """Whether a use of the key at `now` is to be written down: not more often than every hour."""
        return key.last_used is None or to_epoch(now) - key.last_used >= _SEEN_FOR

    @staticmethod
    def touch(tx: Tx, key: Key, operation: str, now: datetime) -> None:
        """Remember that the key was used."""
        update_key(tx, key, last_used=to_epoch(now), last_operation=operation)
