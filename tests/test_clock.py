"""The only reader of time, and instants as the store keeps them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.clock import Clock, SystemClock, epoch_day, from_epoch, to_epoch

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
