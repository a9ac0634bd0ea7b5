"""Rotation of a key's material: by the calendar, on demand, and the list of what has been."""

from __future__ import annotations

from datetime import datetime

from keywheel.access.door import Caller
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import change, find
from keywheel.api.kms.paging import Bookmarks
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.keys.keyring import Key

_PAGE = 100


def enable_key_rotation(rooms: Rooms, caller: Caller, request: s.EnableKeyRotationRequest) -> None:
    """Have a key's material rotated every so many days."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        rooms.keys.rotation.enable(tx, key, request.rotation_period_in_days, now)

    change(rooms, caller, "EnableKeyRotation", request.key_id, work, request)


def disable_key_rotation(rooms: Rooms, caller: Caller, request: s.DisableKeyRotationRequest) -> None:
    """Rotate a key's material by the calendar no more."""

    def work(tx: Tx, key: Key, now: datetime) -> None:
        del now
        rooms.keys.rotation.disable(tx, key)

    change(rooms, caller, "DisableKeyRotation", request.key_id, work, request)


def get_key_rotation_status(
    rooms: Rooms, caller: Caller, request: s.GetKeyRotationStatusRequest
) -> s.GetKeyRotationStatusResponse:
    """Whether a key's material is rotated by the calendar, and when next."""
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, "GetKeyRotationStatus", request.key_id)
        status = rooms.keys.rotation.status(tx, key)
    return s.GetKeyRotationStatusResponse(
        key_id=key.key_id,
        key_rotation_enabled=status.enabled,
        rotation_period_in_days=status.period,
        next_rotation_date=status.next,
    )


def rotate_key_on_demand(
    rooms: Rooms, caller: Caller, request: s.RotateKeyOnDemandRequest
) -> s.RotateKeyOnDemandResponse:
    """Rotate a key's material now."""

    def work(tx: Tx, key: Key, now: datetime) -> Key:
        return rooms.keys.rotation.on_demand(tx, key, now)

    return s.RotateKeyOnDemandResponse(
        key_id=change(rooms, caller, "RotateKeyOnDemand", request.key_id, work, request).key_id
    )


def list_key_rotations(rooms: Rooms, caller: Caller, request: s.ListKeyRotationsRequest) -> s.ListKeyRotationsResponse:
    """A page of a key's rotations, or of all its material."""
    everything = request.include_key_material == "ALL_KEY_MATERIAL"
    most = request.limit or _PAGE
    with rooms.database.read() as tx:
        key = find(rooms, tx, caller, "ListKeyRotations", request.key_id)
        marks = Bookmarks(int, "ListKeyRotations", key.arn, everything)
        after = marks.read(request.marker) or 0
        found = rooms.keys.rotation.entries(tx, key, everything=everything, after=after, most=most + 1)
    page = marks.page(found, most, lambda entry: entry.generation)
    rotations = [
        s.RotationsListEntry(
            key_id=key.key_id,
            key_material_id=entry.material_id,
            key_material_description=entry.description,
            import_state=entry.import_state,
            key_material_state=entry.material_state,
            expiration_model=entry.expiration_model,
            valid_to=entry.valid_to,
            rotation_date=entry.rotated,
            rotation_type=entry.kind,
        )
        for entry in page.items
    ]
    return s.ListKeyRotationsResponse(rotations=rotations, next_marker=page.marker, truncated=page.truncated)
