"""The only reader of time.

Everything else is told the time. Instants are aware `datetime`s in UTC; the store keeps them as seconds since the
epoch (`to_epoch`, `from_epoch`), which is also what the AWS protocols carry.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time. `keywheel.testing.ManualClock` is the other one."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def to_epoch(instant: datetime) -> float:
    """Seconds since the epoch, to the microsecond."""
    return instant.timestamp()


def from_epoch(seconds: float) -> datetime:
    """The aware instant of `seconds` since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def epoch_day(instant: datetime) -> float:
    """The midnight (UTC) that begins the day of `instant`, in seconds since the epoch."""
    return instant.timestamp() // 86_400 * 86_400
