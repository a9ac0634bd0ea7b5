"""The only reader of time, and instants as the store keeps them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.clock import Clock, SteadyClock, SystemClock, epoch_day, from_epoch, to_epoch

INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - aware by `timezones`


def test_the_time_is_aware_and_in_utc() -> None:
    """And it is the machine's."""
    clock: Clock = SystemClock()
    before, now, after = time.time(), clock.now(), time.time()
    assert now.tzinfo is UTC
    assert before - 1e-3 <= now.timestamp() <= after + 1e-3


def test_the_monotonic_time_goes_on() -> None:
    """Never back."""
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


@given(instant=INSTANTS)
def test_an_instant_survives_the_store(instant: datetime) -> None:
    """To the microsecond, in double precision."""
    assert from_epoch(to_epoch(instant)) == instant


@given(instant=INSTANTS)
def test_a_day_begins_at_its_midnight(instant: datetime) -> None:
    """In UTC."""
    midnight = from_epoch(epoch_day(instant))
    assert midnight.time() == datetime.min.time()
    assert timedelta(0) <= instant - midnight < timedelta(days=1)


@pytest.mark.parametrize("hours", [-11, 0, 14])
def test_the_day_is_that_of_utc(hours: int) -> None:
    """Whatever time zone the instant is given in."""
    instant = datetime(2026, 5, 1, 12, tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
    assert epoch_day(instant) == datetime(2026, 5, 1, tzinfo=UTC).timestamp()


# --- another clock's time, carried on ------------------------------------------------------------------------------


class Elsewhere:
    """A server's clock, this machine's boot-time clock, and the network between them."""

    def __init__(self) -> None:
        self.server, self.boot = 1_000_000.0, 50.0
        self.there, self.back = 0.0, 0.0  # seconds that a question and an answer travel
        self.away = False
        self.asked = 0

    def passes(self, seconds: float) -> None:
        self.server, self.boot = self.server + seconds, self.boot + seconds

    def ask(self) -> float:
        self.asked += 1
        if self.away:
            raise ConnectionError
        self.passes(self.there)
        answer = self.server
        self.passes(self.back)
        return answer

    def clock(self) -> SteadyClock:
        return SteadyClock(self.ask, boottime=lambda: self.boot)


def settled(elsewhere: Elsewhere, asked: int) -> None:
    """Wait for the questions of another thread."""
    end = time.monotonic() + 10.0
    while elsewhere.asked < asked:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_steady_clock_goes_on_without_asking() -> None:
    """The other's time, by this machine's seconds; what this machine's time of day does changes nothing."""
    elsewhere = Elsewhere()
    clock = elsewhere.clock()
    asked = elsewhere.asked
    elsewhere.passes(59.0)
    assert clock.now() == from_epoch(elsewhere.server)
    assert clock.monotonic() == elsewhere.boot
    assert elsewhere.asked == asked


@given(there=st.floats(0.0, 0.4), back=st.floats(0.0, 0.4))
def test_a_steady_clock_is_never_further_off_than_it_says(there: float, back: float) -> None:
    """Whichever way was the slow one."""
    elsewhere = Elsewhere()
    elsewhere.there, elsewhere.back = there, back
    clock = elsewhere.clock()
    assert abs(to_epoch(clock.now()) - elsewhere.server) <= clock.doubt + 1e-6
    assert clock.doubt == pytest.approx((there + back) / 2.0, abs=1e-6)


def test_a_steady_clock_asks_again_in_a_minute_and_takes_the_correction() -> None:
    """In a thread of its own: whoever wants the time does not wait."""
    elsewhere = Elsewhere()
    clock = elsewhere.clock()
    elsewhere.server += 7.0
    elsewhere.passes(61.0)
    asked = elsewhere.asked
    clock.now()
    settled(elsewhere, asked + 3)
    end = time.monotonic() + 10.0
    while to_epoch(clock.now()) != elsewhere.server:
        assert time.monotonic() < end


def test_a_steady_clock_goes_on_while_the_other_is_away() -> None:
    """And does not believe an answer that took too long."""
    elsewhere = Elsewhere()
    clock = elsewhere.clock()
    elsewhere.away = True
    asked = elsewhere.asked
    elsewhere.passes(61.0)
    clock.now()
    settled(elsewhere, asked + 1)
    assert clock.now() == from_epoch(elsewhere.server)
    elsewhere.away = False
    elsewhere.there = 3.0
    before = to_epoch(clock.now()) - elsewhere.boot
    assert clock.ask() is False
    assert to_epoch(clock.now()) - elsewhere.boot == before


def test_a_steady_clock_that_cannot_ask_at_first_is_none() -> None:
    """Rather than a wrong one."""
    elsewhere = Elsewhere()
    elsewhere.away = True
    with pytest.raises(ConnectionError):
        elsewhere.clock()
