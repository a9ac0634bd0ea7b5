"""DescribeClock and AcceptClock: whether the engine believes its clock, and a person's word that it is right."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from keywheel.access.door import Caller
from keywheel.api.rooms import Rooms
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.rotation import timekeeper


class DescribeClockRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Nothing to say."""


class AcceptClockRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Nothing to say: the clock is right now."""


class DescribeClockResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The clock, and what an engine has said of it last. Instants and durations are seconds."""

    now: float
    seen: float | None = None
    """The last instant that an engine trusted; a running engine renews it about once a minute."""
    doubted: float | None = None
    """By how much the clock is ahead (negative: behind), while nothing begins because of it."""
    accepted: bool = False
    """Whether a person's word waits to be heard."""


def describe_clock(rooms: Rooms, _caller: Caller, _request: DescribeClockRequest) -> DescribeClockResponse:
    """What is known of the clock."""
    with rooms.database.point() as tx:
        known = timekeeper.read(tx)
    return _told(rooms, known)


def accept_clock(rooms: Rooms, _caller: Caller, _request: AcceptClockRequest) -> DescribeClockResponse:
    """Have the engine believe the clock at once, and date anew what was written when it was wrong."""
    now = to_epoch(rooms.clock.now())

    def accept(tx: Tx) -> timekeeper.Known:
        known = msgspec.structs.replace(timekeeper.read(tx), word=now)
        timekeeper.write(tx, known)
        return known

    return _told(rooms, rooms.database.write(accept))


def _told(rooms: Rooms, known: timekeeper.Known) -> DescribeClockResponse:
    return DescribeClockResponse(
        now=to_epoch(rooms.clock.now()), seen=known.seen, doubted=known.doubted, accepted=known.word is not None
    )
