"""EnforceKeyRotation: every key of an account under rotation, once or from now on, and why some cannot be."""

from __future__ import annotations

from msgspec import Struct

from keywheel.access.door import Caller, authorize
from keywheel.api.rooms import Rooms
from keywheel.clock import to_epoch
from keywheel.errors import ValidationFailed
from keywheel.rotation.keys import rows
from keywheel.rotation.keys.enforcement import AGAIN, Enforcement, Verdict, check_days
from keywheel.rotation.keys.rows import Bound


class EnforceKeyRotationRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Within how many days, which keys, and whether it is only asked."""

    days: int = 90
    tag_key: str | None = None
    tag_value: str | None = None
    dry_run: bool = False
    standing: bool | None = None
    """True: also of keys that are still to be made; False: no more so. None: as it was."""


class EnforcedKey(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A key, and what was done or would be: kept, automatic, alias, exempt, none; and why."""

    key_id: str
    spec: str
    usage: str
    action: str
    description: str = ""
    alias_name: str | None = None
    code: str | None = None
    reason: str | None = None


class EnforceKeyRotationResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Every key that was meant. `standing`: within how many days, where it is carried out from now on."""

    keys: list[EnforcedKey]
    standing: int | None = None


def enforce_key_rotation(
    rooms: Rooms, caller: Caller, request: EnforceKeyRotationRequest
) -> EnforceKeyRotationResponse:
    """Bring every key of the account and Region, or every one with a tag, under rotation."""
    authorize(caller, "keywheel:EnforceKeyRotation", "*", {})
    check_days(request.days)
    if (request.tag_key is None) != (request.tag_value is None) or request.tag_key == "":
        raise ValidationFailed("A tag has a key and a value.")
    scope, now = caller.scope, rooms.clock.now()
    bound = Bound(scope.account, scope.region, request.tag_key or "", request.tag_value or "", request.days)
    if not request.dry_run and request.standing is not None:
        if request.standing:
            rooms.database.write(lambda tx: rows.put_bound(tx, bound, to_epoch(now + AGAIN)))
        else:
            rooms.database.write(lambda tx: rows.drop_bound(tx, bound))
    is_left = request.standing is False
    found = [] if is_left else Enforcement(rooms.keys).enforce(rooms.database, bound, now, dry_run=request.dry_run)
    with rooms.database.point() as tx:
        standing = next((each.days for each in rows.bounds(tx, scope) if each[:4] == bound[:4]), None)
    return EnforceKeyRotationResponse(keys=[_told(verdict) for verdict in found], standing=standing)


def _told(verdict: Verdict) -> EnforcedKey:
    key, obstacle = verdict.key, verdict.obstacle
    return EnforcedKey(
        key_id=key.key_id,
        spec=key.spec,
        usage=key.usage,
        action=verdict.action.value,
        description=key.description,
        alias_name=verdict.alias,
        code=None if obstacle is None else obstacle.code,
        reason=None if obstacle is None else obstacle.text,
    )
