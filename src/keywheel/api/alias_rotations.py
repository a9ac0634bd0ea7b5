"""Rotations behind aliases, for keywheel's own clients: schedule, start, look, publish, enforce.

Each is authorized on the alias by keywheel's own action, which includes what is done to its keys: a new key has the
policy of the one before it, so nobody gets more by it than he had.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from keywheel.access.door import Caller, authorize
from keywheel.api import key_sets
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.errors import InvalidNextToken
from keywheel.keys.aliases import Aliases
from keywheel.rotation.keys.former_rows import FormerEntry
from keywheel.rotation.keys.formers import deed_at
from keywheel.rotation.keys.rows import Entry
from keywheel.rotation.keys.rules import Rules

_PAGE = 100


class AliasRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Which alias."""

    alias_name: str


class ScheduleAliasRotationRequest(AliasRequest, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The rules of an alias, all of them: what is left out is as if it had never been said."""

    schedule_expression: str | None = None
    window_seconds: int = 0
    lead_seconds: int | None = None
    """By default none, or ten minutes where the keys are published."""
    grace_seconds: int | None = None
    delete_after_seconds: int | None = None
    deletion_window_in_days: int = 30
    restricted: bool = False
    together: bool = False
    published: bool = False
    new_material: bool = False


class StartAliasRotationRequest(AliasRequest, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Which alias, and whether the new key is used at once, before anybody has heard of it."""

    urgent: bool = False


class ListAliasRotationsRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Where to go on."""

    next_token: str | None = None


class FormerKey(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A key that the alias has left. Instants are seconds since the epoch."""

    key_id: str
    successor: str
    stage: str
    moved: float
    since: float
    missed: float | None = None
    """When somebody last tried to use it while it was disabled."""
    held: str | None = None
    next_stage: float | None = None


class AliasRotation(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """An alias under rotation. Instants are seconds since the epoch."""

    alias_name: str
    alias_arn: str
    key_id: str | None = None
    schedule_expression: str | None = None
    window_seconds: int | None = None
    lead_seconds: int | None = None
    grace_seconds: int | None = None
    delete_after_seconds: int | None = None
    deletion_window_in_days: int | None = None
    restricted: bool = False
    together: bool = False
    published: bool = False
    new_material: bool = False
    step: str
    rotation_id: str | None = None
    new_key_id: str | None = None
    """The key that is being made, while one is."""
    attempt: int = 0
    failures: int = 0
    code: str | None = None
    reason: str | None = None
    next_try: float | None = None
    last_rotated: float | None = None
    next_rotation: float | None = None
    former_keys: list[FormerKey] | None = None


class ListAliasRotationsResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A page, in the order of names, without the former keys."""

    alias_rotations: list[AliasRotation]
    next_token: str | None = None


class AliasRotationEvent(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A note of the journal."""

    event: str
    step: str
    at: float
    key_id: str | None = None
    rotation_id: str | None = None
    attempt: int = 0
    code: str | None = None
    reason: str | None = None


class ListAliasRotationEventsResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Newest first."""

    alias_arn: str
    events: list[AliasRotationEvent]


class GetKeySetResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A JWK Set, and where it is served to everybody, if it is."""

    keys: list[dict[str, str]]
    path: str | None = None


# --- operations


def schedule_alias_rotation(rooms: Rooms, caller: Caller, request: ScheduleAliasRotationRequest) -> AliasRotation:
    """Rotate an alias by these rules."""
    _permit(caller, "ScheduleAliasRotation", request.alias_name)
    lead = request.lead_seconds
    if lead is None:
        lead = key_sets.LEAD if request.published else 0
    rules = Rules(
        expression=request.schedule_expression,
        window=request.window_seconds,
        lead=lead,
        grace=request.grace_seconds,
        delete_after=request.delete_after_seconds,
        deletion_window=request.deletion_window_in_days,
        restricted=request.restricted,
        together=request.together,
        published=request.published,
        new_material=request.new_material,
    )

    def work(tx: Tx) -> AliasRotation:
        now = rooms.clock.now()
        return _told(rooms, tx, rooms.key_rotations.schedule(tx, caller.scope, request.alias_name, rules, now))

    return rooms.database.write(work)


def unschedule_alias_rotation(rooms: Rooms, caller: Caller, request: AliasRequest) -> AliasRotation:
    """Rotate an alias no more but when asked for."""
    _permit(caller, "UnscheduleAliasRotation", request.alias_name)

    def work(tx: Tx) -> AliasRotation:
        now = rooms.clock.now()
        return _told(rooms, tx, rooms.key_rotations.unschedule(tx, caller.scope, request.alias_name, now))

    return rooms.database.write(work)


def start_alias_rotation(rooms: Rooms, caller: Caller, request: StartAliasRotationRequest) -> AliasRotation:
    """Rotate an alias now."""
    _permit(caller, "StartAliasRotation", request.alias_name)

    def work(tx: Tx) -> AliasRotation:
        now, urgent = rooms.clock.now(), request.urgent
        return _told(rooms, tx, rooms.key_rotations.start(tx, caller.scope, request.alias_name, now, urgent=urgent))

    return rooms.database.write(work)


def describe_alias_rotation(rooms: Rooms, caller: Caller, request: AliasRequest) -> AliasRotation:
    """What is known of an alias's rotation, and of the keys that it left."""
    _permit(caller, "DescribeAliasRotation", request.alias_name)
    with rooms.database.read() as tx:
        entry = rooms.key_rotations.get(tx, caller.scope, request.alias_name)
        formers = rooms.key_rotations.formers(tx, caller.scope, request.alias_name)
        return _told(rooms, tx, entry, [_former(each, entry.rules) for each in formers])


def list_alias_rotations(
    rooms: Rooms, caller: Caller, request: ListAliasRotationsRequest
) -> ListAliasRotationsResponse:
    """A page of the aliases of the caller's account and Region that are under rotation, or were."""
    authorize(caller, "keywheel:ListAliasRotations", "*", {})
    after = request.next_token or ""
    if "\0" in after:
        raise InvalidNextToken("The NextToken value is invalid.")
    with rooms.database.read() as tx:
        found = rooms.key_rotations.page(tx, caller.scope, after=after, most=_PAGE)
        told = [_told(rooms, tx, entry) for entry in found]
    return ListAliasRotationsResponse(alias_rotations=told, next_token=found[-1].name if len(found) == _PAGE else None)


def list_alias_rotation_events(rooms: Rooms, caller: Caller, request: AliasRequest) -> ListAliasRotationEventsResponse:
    """The journal of an alias."""
    _permit(caller, "ListAliasRotationEvents", request.alias_name)
    with rooms.database.point() as tx:
        notes = rooms.key_rotations.journal(tx, caller.scope, request.alias_name, most=_PAGE)
    events = [
        AliasRotationEvent(
            event=note.event,
            step=note.step,
            at=note.at,
            key_id=note.key_id,
            rotation_id=note.run,
            attempt=note.attempt,
            code=note.code,
            reason=note.reason,
        )
        for note in notes
    ]
    return ListAliasRotationEventsResponse(alias_arn=_arn(caller, request.alias_name), events=events)


def get_key_set(rooms: Rooms, caller: Caller, request: AliasRequest) -> GetKeySetResponse:
    """The public keys of an alias as JWKs, published or not."""
    _permit(caller, "GetKeySet", request.alias_name)
    scope, name = caller.scope, request.alias_name
    with rooms.database.read() as tx:
        found = key_sets.key_set(rooms, tx, scope, name)
        published = rooms.key_rotations.is_published(tx, scope, name)
    path = f"{key_sets.PREFIX}{scope.account}/{scope.region}/{name}" if published else None
    return GetKeySetResponse(keys=found, path=path)


# --- inside


def _arn(caller: Caller, name: str) -> str:
    return caller.scope.arn("kms", name)


def _permit(caller: Caller, operation: str, name: str) -> None:
    Aliases.check_name(name)
    authorize(caller, f"keywheel:{operation}", _arn(caller, name), {})


def _told(rooms: Rooms, tx: Tx, entry: Entry, formers: list[FormerKey] | None = None) -> AliasRotation:
    rules, rotation = entry.rules, entry.rotation
    failure = rotation.failure
    optional: dict[str, Any] = {} if failure is None else {"code": failure.code, "reason": failure.reason}
    return AliasRotation(
        alias_name=entry.name,
        alias_arn=entry.scope.arn("kms", entry.name),
        key_id=rooms.key_rotations.current(tx, entry.scope, entry.name),
        schedule_expression=rules.expression,
        window_seconds=rules.window,
        lead_seconds=rules.lead,
        grace_seconds=rules.grace,
        delete_after_seconds=rules.delete_after,
        deletion_window_in_days=rules.deletion_window,
        restricted=rules.restricted,
        together=rules.together,
        published=rules.published,
        new_material=rules.new_material,
        step=rotation.step.value,
        rotation_id=rotation.run,
        new_key_id=rotation.new_key if rotation.in_progress else None,
        attempt=rotation.attempt,
        failures=rotation.failures,
        next_try=rotation.wake_at if failure is not None or rotation.in_progress else None,
        last_rotated=rotation.rotated,
        next_rotation=rotation.due,
        former_keys=formers,
        **optional,
    )


def _former(entry: FormerEntry, rules: Rules) -> FormerKey:
    former = entry.former
    return FormerKey(
        key_id=former.key_id,
        successor=entry.successor,
        stage=former.stage.value,
        moved=entry.moved,
        since=former.since,
        missed=former.missed,
        held=None if former.held is None else former.held.value,
        next_stage=deed_at(former, rules)[1],
    )
