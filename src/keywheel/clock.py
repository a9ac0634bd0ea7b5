"""The only reader of time.

Everything else is told the time. Instants are aware `datetime`s in UTC; the store keeps them as seconds since the
epoch (`to_epoch`, `from_epoch`), which is also what the AWS protocols carry.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

_COUNTS_SUSPEND = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # where the kernel has such a clock
_ASKED_EVERY = 60.0  # seconds: two clocks drift apart by some milliseconds in that time
_ASKED_IN_VAIN = 5.0  # seconds until a source that did not answer is asked again
_MOST_DOUBT = 0.5  # seconds: an answer that may be further off says too little
_QUESTIONS = 3  # of which the quickest answer counts: the first may have had to connect


class Clock(Protocol):
    """Tells the time. `keywheel.testing.ManualClock` is the other one."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back, and goes on while the machine sleeps."""
        ...


def boottime() -> float:
    """Seconds since the machine was started, those that it slept included."""
    return time.clock_gettime(_COUNTS_SUSPEND)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return boottime()


class SteadyClock:
    """The time of day of another clock, such as the store's, carried on between two questions by the boot-time clock.

    So machines whose own time of day differs agree on when a lease ends, and a correction of this machine's time of day
    changes nothing. Later questions are asked in a thread of their own: `now` waits for nobody.

    Args:
        ask: seconds since the epoch by the other clock. Called at once: what it raises is raised.
    """

    def __init__(self, ask: Callable[[], float], *, boottime: Callable[[], float] = boottime) -> None:
        self._ask = ask
        self._boottime = boottime
        self._asking = threading.Lock()
        self._offset, self.doubt = self._measured()
        self._next = boottime() + _ASKED_EVERY

    doubt: float
    """How many seconds the last answer may have been off: half the time that it took."""

    def now(self) -> datetime:
        if self._boottime() >= self._next and self._asking.acquire(blocking=False):
            threading.Thread(target=self._ask_again, name="clock", daemon=True).start()
        return from_epoch(self._offset + self._boottime())

    def monotonic(self) -> float:
        return self._boottime()

    def ask(self) -> bool:
        """Ask for the time now; False, and nothing is changed, when the answer took too long to say anything."""
        offset, doubt = self._measured()
        if doubt > _MOST_DOUBT:
            return False
        self._offset, self.doubt = offset, doubt
        return True

    def _measured(self) -> tuple[float, float]:
        """The offset by the quickest of some answers, and its doubt."""
        found = []
        for _ in range(_QUESTIONS):
            before = self._boottime()
            instant = self._ask()
            after = self._boottime()
            found.append(((after - before) / 2.0, instant - (before + after) / 2.0))
        doubt, offset = min(found)
        return offset, doubt

    def _ask_again(self) -> None:
        try:
            answered = self.ask()
        except Exception:  # noqa: BLE001 - a source that is away is asked again; its clock has not stopped
            answered = False
        self._next = self._boottime() + (_ASKED_EVERY if answered else _ASKED_IN_VAIN)
        self._asking.release()


def to_epoch(instant: datetime) -> float:
    """Seconds since the epoch, to the microsecond."""
    return instant.timestamp()


def from_epoch(seconds: float) -> datetime:
    """The aware instant of `seconds` since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def epoch_day(instant: datetime) -> float:
    """The midnight (UTC) that begins the day of `instant`, in seconds since the epoch."""
    return instant.timestamp() // 86_400 * 86_400
