"""Why a key cannot be followed by another one behind its alias. A table; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from keywheel.keys import states
from keywheel.keys.rows import Key


class Obstacle(NamedTuple):
    """A code for programs, and a sentence for people."""

    code: str
    text: str


_XKS = "EXTERNAL_KEY_STORE"
_LEAVING = (states.PENDING_DELETION, states.PENDING_REPLICA_DELETION)
_TABLE: tuple[tuple[Callable[[Key], bool], Obstacle], ...] = (
    (
        lambda key: key.manager != "CUSTOMER",
        Obstacle("AwsManaged", "It is an AWS managed key, which is rotated every year."),
    ),
    (lambda key: key.state in _LEAVING, Obstacle("PendingDeletion", "It is pending deletion.")),
    (
        lambda key: key.state == states.DISABLED,
        Obstacle("Disabled", "It is disabled, and a new key behind its alias would not be."),
    ),
    (lambda key: key.state == states.PENDING_IMPORT, Obstacle("PendingImport", "It waits for key material.")),
    (
        lambda key: key.multi_region == states.REPLICA,
        Obstacle("MultiRegion", "It is a replica, which follows its primary."),
    ),
    (
        lambda key: key.origin == _XKS,
        Obstacle("ExternalKeyStore", "Its key is made in the external key store, and not from here."),
    ),
)
_IMPORTED = Obstacle(
    "ImportedMaterial", "Its material was imported: a new key's would be made here, if that is allowed (NewMaterial)."
)


def obstacle(key: Key, *, new_material: bool) -> Obstacle | None:
    """Why the key cannot be followed by another one; None when it can."""
    found = next((each for applies, each in _TABLE if applies(key)), None)
    if found is None and key.origin == states.EXTERNAL and not new_material:
        return _IMPORTED
    return found
