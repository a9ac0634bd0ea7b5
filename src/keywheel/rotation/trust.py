"""Whether the clock is to be believed. Pure: it is told the time of day and the boot-time clock, and remembers both.

The boot-time clock cannot be set: between two looks it says how far the time of day should have come. A time of day
that is elsewhere has jumped, and one of its two values was wrong; which one, nobody here can know. So nothing is begun
on its word for a while, a person is told, and has that long to correct it:

    trusted ── it jumped ──▶ doubted ── it is back ──▶ trusted, as if nothing had been
                                └────── time is up ──▶ accepted: from now on this is the time

* Doubted: no rotation starts, no old credential is retired, nothing is purged. What is under way goes on, and so does
  RotateSecret.
* Accepted, ahead: what is overdue starts, spread over some time.
* Accepted, behind: leases and backoffs are cut to what they can be. If the clock had been accepted ahead before, what
  was written meanwhile is dated by a wrong clock, and is dated anew. Else the clock may as well be wrong now: dates
  stay, and wait for it or for a person's word (`keywheel clock --accept`).
* At start only the last instant that was trusted is known. Being switched off for up to `AWAY` is nothing strange.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

JUMP = 300.0  # seconds; what is less is not worth a stop
AWAY = 86_400.0
ASLEEP = 3_600.0  # seconds without a look, after which what is overdue is spread


class Verdict(StrEnum):
    """What a look at the clock comes to."""

    TRUSTED = "trusted"
    WOKEN = "woken"  # trusted; but nothing was done for long
    DOUBTED = "doubted"
    AHEAD = "ahead"  # accepted
    BEHIND = "behind"  # accepted


@dataclass(frozen=True, slots=True)
class Look:
    """A verdict, and by how many seconds the clock is ahead (negative: behind) of what was expected."""

    verdict: Verdict
    offset: float = 0.0
    news: bool = False
    """Whether the last look had another verdict, or another offset."""


def expected_at_start(seen: float | None, now: float) -> float:
    """The instant that a start at `now` is compared to, where `seen` is the last one that was trusted."""
    return now if seen is None else min(max(now, seen), seen + AWAY)


def dates_anew(offset: float, ahead: float) -> bool:
    """Whether a clock that was accepted `offset` (negative) behind takes back `ahead`, which was accepted before."""
    return ahead > 0.0 and -offset <= ahead + AWAY


class Trust:
    """Judges one clock after another look. `hold`: how many seconds a person has to correct it."""

    def __init__(self, seen: float | None, *, hold: float) -> None:
        self._seen = seen
        self._hold = hold
        self._anchor: tuple[float, float] | None = None  # the last trusted instant, by both clocks
        self._since = 0.0  # by the boot-time clock
        self._offset = 0.0
        self._looked: float | None = None

    def look(self, now: float, monotonic: float, *, accepted: bool = False) -> Look:
        """Judge the time of day `now`. `accepted`: a person says that it is right."""
        first = self._anchor is None
        if self._anchor is None:
            self._anchor = (expected_at_start(self._seen, now), monotonic)
        expected = self._anchor[0] + monotonic - self._anchor[1]
        offset = now - expected
        away = self._away(now, monotonic)
        self._looked = monotonic
        if abs(offset) <= JUMP:
            news, self._offset = self._offset != 0.0, 0.0
            self._anchor = (now, monotonic)
            return Look(Verdict.WOKEN if away > ASLEEP else Verdict.TRUSTED, away if away > ASLEEP else 0.0, news)
        news = first or abs(offset - self._offset) > JUMP
        if news:
            self._offset, self._since = offset, monotonic
        if not accepted and monotonic - self._since < self._hold:
            return Look(Verdict.DOUBTED, offset, news)
        self._anchor, self._offset = (now, monotonic), 0.0
        return Look(Verdict.AHEAD if offset > 0.0 else Verdict.BEHIND, offset, news=True)

    def _away(self, now: float, monotonic: float) -> float:
        """How long nobody looked."""
        if self._looked is not None:
            return monotonic - self._looked
        return 0.0 if self._seen is None else now - self._seen
