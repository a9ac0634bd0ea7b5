"""The Regions of the keys behind an alias: what becomes of a multi-Region primary becomes of its replicas.

1. The new key is a primary where the one before it is one, with a replica in each Region that has one of that.
2. Each Region's key has the description, tags, policy and grants of the one before it in that Region. A replica that is
   not enabled is followed by one that is not enabled either.
3. A replica that is on its way out is followed by none.
4. The keys of all Regions are locked in the order of the Regions, the former key's before the new one's.
5. Replicas are deleted first: AWS KMS's own rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.keys import identifiers, states
from keywheel.keys.errors import KeyNotFound
from keywheel.keys.keyring import Key, Keys
from keywheel.keys.regions import rows as regional_rows

LEAVING = (states.PENDING_DELETION, states.PENDING_REPLICA_DELETION)


def staying(keys: Iterable[Key]) -> list[Key]:
    """Those that are not on their way out, a primary last."""
    return sorted((key for key in keys if key.state not in LEAVING), key=lambda key: key.multi_region == states.PRIMARY)


def of(tx: Tx, scope: Scope, key_id: str) -> list[Scope]:
    """Where the keys with this id are, in the order of the Regions; `scope` for a key of one Region."""
    if not identifiers.is_multi_region(key_id):
        return [scope]
    return [Scope(scope.account, row[0]) for row in regional_rows.related.all(tx, key_id=key_id)]


def lock(keys: Keys, tx: Tx, scope: Scope, key_id: str, now: datetime) -> list[Key]:
    """The keys with this id, which no other transaction changes meanwhile; none where there is none any more."""
    found: list[Key] = []
    for each in of(tx, scope, key_id):
        with suppress(KeyNotFound):
            found.append(keys.find(tx, each, key_id, now=now, lock=True))
    return found


def find(keys: Keys, tx: Tx, scope: Scope, key_id: str, now: datetime, *, locked: bool) -> Key:
    """The key with this id in a Region; with `locked`, the keys of its other Regions are locked with it.

    Raises:
        KeyNotFound: there is none.
    """
    if locked:
        lock(keys, tx, scope, key_id, now)
    return keys.find(tx, scope, key_id, now=now, lock=locked)


def follow_state(keys: Keys, tx: Tx, source: Key, key: Key, now: datetime) -> Key:
    """Have a new replica be enabled where the one before it is, and only there."""
    if source.multi_region != states.REPLICA or key.enabled == source.enabled:
        return key
    return keys.lifecycle.enable(tx, key, now) if source.enabled else keys.lifecycle.disable(tx, key)
