"""Time that moves when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """A `keywheel.clock.Clock` that stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, duration: timedelta) -> None:
        """Let that much time pass."""
        self._now += duration
        self._monotonic += duration.total_seconds()

    def set(self, now: datetime) -> None:
        """Correct the time of day, forward or back, as an administrator would: no time passes."""
        self._now = now
