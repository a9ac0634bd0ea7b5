"""What AWS's protocol does not tell: how far each rotation is, and what happened to one before.

Own operations under the target prefix `keywheel.`, signed and authorized like every other.
"""

from __future__ import annotations

from msgspec import Struct

from keywheel.access.door import Caller
from keywheel.api.rooms import Rooms
from keywheel.api.secretsmanager.finding import find
from keywheel.errors import InvalidNextToken
from keywheel.rotation import rows
from keywheel.rotation.machine import Step
from keywheel.rotation.rows import Overview

_PAGE = 100


class ListRotationsRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """`next_token` as the answer before gave it."""

    next_token: str | None = None


class RotationEntry(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A secret's rotation. Instants are seconds since the epoch."""

    arn: str = ""
    name: str = ""
    enabled: bool = False
    function: str | None = None
    state: str = ""
    step: str | None = None
    version_id: str | None = None
    attempt: int | None = None
    code: str | None = None
    reason: str | None = None
    next_try: float | None = None
    last_rotated: float | None = None
    next_rotation: float | None = None


class ListRotationsResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A page of rotations, by name."""

    rotations: list[RotationEntry] | None = None
    next_token: str | None = None


class ListRotationEventsRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The newest events of one secret."""

    secret_id: str


class RotationEvent(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """An entry of the journal."""

    event: str = ""
    step: str = ""
    version_id: str | None = None
    attempt: int = 0
    code: str | None = None
    reason: str | None = None
    at: float = 0.0


class ListRotationEventsResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Newest first."""

    arn: str | None = None
    events: list[RotationEvent] | None = None


def list_rotations(rooms: Rooms, caller: Caller, request: ListRotationsRequest) -> ListRotationsResponse:
    """A page of the rotations of the caller's account and Region."""
    after = request.next_token or ""
    if "\0" in after:
        raise InvalidNextToken("The NextToken value is invalid.")
    with rooms.database.point() as tx:
        found = rows.overview(tx, caller.scope.account, caller.scope.region, after=after, most=_PAGE)
    token = found[-1].name if len(found) == _PAGE else None
    return ListRotationsResponse(rotations=[_entry(overview) for overview in found], next_token=token)


def list_rotation_events(
    rooms: Rooms, caller: Caller, request: ListRotationEventsRequest
) -> ListRotationEventsResponse:
    """The journal of one secret."""
    with rooms.database.read() as tx:
        secret = find(rooms, tx, caller, request, deleted=True)
        notes = rows.journal(tx, secret.id, _PAGE)
    events = [
        RotationEvent(
            event=note.event,
            step=note.step,
            version_id=note.token,
            attempt=note.attempt,
            code=note.code,
            reason=note.reason,
            at=note.at,
        )
        for note in notes
    ]
    return ListRotationEventsResponse(arn=secret.arn, events=events)


def _entry(overview: Overview) -> RotationEntry:
    rotation = overview.entry.rotation
    failure = rotation.failure
    busy = rotation.in_progress
    return RotationEntry(
        arn=overview.arn,
        name=overview.name,
        enabled=bool(overview.enabled),
        function=overview.function,
        state=_state(overview),
        step=rotation.step.value if busy or rotation.retiring else None,
        version_id=rotation.token,
        attempt=rotation.attempt if failure is not None else None,
        code=None if failure is None else failure.code,
        reason=None if failure is None else failure.reason,
        next_try=rotation.wake_at if failure is not None else None,
        last_rotated=overview.rotated,
        next_rotation=overview.next_rotation,
    )


def _state(overview: Overview) -> str:
    """One word for a person: what the rotation is at."""
    rotation = overview.entry.rotation
    table = (
        (rotation.failed, "failed"),
        (rotation.rehearsal, "testing"),
        (rotation.in_progress and rotation.failure is not None, "retrying"),
        (rotation.in_progress, "rotating"),
        (rotation.retiring is not None and rotation.failure is not None, "retirement overdue"),
        (rotation.retiring is not None, "retiring"),
        (not overview.enabled, "off"),
        (rotation.failure is not None and rotation.failure.step is Step.TEST, "test failed"),
        (rotation.failure is not None, "postponed"),
    )
    return next((word for applies, word in table if applies), "ok")
