"""Import of key material: the wrapping key, the material, and its end."""

from __future__ import annotations

from datetime import datetime

from keywheel.access.door import Caller
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import change, find
from keywheel.api.rooms import Rooms
from keywheel.clock import from_epoch, to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import ValidationFailed
from keywheel.keys.imports import Import
from keywheel.keys.keyring import Key


def get_parameters_for_import(
    rooms: Rooms, caller: Caller, request: s.GetParametersForImportRequest
) -> s.GetParametersForImportResponse:
    """A public key to wrap material with, and the token that belongs to it."""
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, "GetParametersForImport", request.key_id)
    made = rooms.keys.imports.parameters(key, request.wrapping_algorithm, request.wrapping_key_spec, rooms.clock.now())
    return s.GetParametersForImportResponse(
        key_id=key.arn, import_token=made.token, public_key=made.public, parameters_valid_to=to_epoch(made.valid_to)
    )


def import_key_material(
    rooms: Rooms, caller: Caller, request: s.ImportKeyMaterialRequest
) -> s.ImportKeyMaterialResponse:
    """Give a key the material that was wrapped for it."""
    given = Import(
        token=request.import_token,
        encrypted=request.encrypted_key_material,
        expiration_model=request.expiration_model,
        valid_to=_instant(request.valid_to),
        import_type=request.import_type,
        description=request.key_material_description,
        material_id=request.key_material_id,
    )

    def work(tx: Tx, key: Key, now: datetime) -> tuple[Key, str | None]:
        return key, rooms.keys.imports.import_material(tx, key, given, now)

    key, material = change(rooms, caller, "ImportKeyMaterial", request.key_id, work, request)
    return s.ImportKeyMaterialResponse(key_id=key.arn, key_material_id=material)


def delete_imported_key_material(
    rooms: Rooms, caller: Caller, request: s.DeleteImportedKeyMaterialRequest
) -> s.DeleteImportedKeyMaterialResponse:
    """Take imported material away; the key waits for the same again."""

    def work(tx: Tx, key: Key, now: datetime) -> tuple[Key, str | None]:
        del now
        return key, rooms.keys.imports.delete_material(tx, key, request.key_material_id)

    key, material = change(rooms, caller, "DeleteImportedKeyMaterial", request.key_id, work, request)
    return s.DeleteImportedKeyMaterialResponse(key_id=key.arn, key_material_id=material)


def _instant(epoch: float | None) -> datetime | None:
    if epoch is None:
        return None
    try:
        return from_epoch(epoch)
    except (OverflowError, ValueError, OSError):
        raise ValidationFailed("ValidTo is not a date.") from None
