"""When a clock is believed: the rules, without an engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.rotation.trust import AWAY, JUMP, Trust, Verdict, dates_anew

HOLD = 900.0
_durations = st.floats(0.0, 1e8)


@given(start=st.floats(0, 4e9), steps=st.lists(st.tuples(_durations, st.floats(-JUMP, JUMP)), max_size=20))
def test_a_clock_that_goes_as_it_should_is_trusted(start: float, steps: list[tuple[float, float]]) -> None:
    """However long between two looks, and with small corrections."""
    trust, now, monotonic = Trust(None, hold=HOLD), start, 0.0
    assert trust.look(now, monotonic).verdict is Verdict.TRUSTED
    for duration, correction in steps:
        now, monotonic = now + duration + correction * 0.99, monotonic + duration
        assert trust.look(now, monotonic).verdict in (Verdict.TRUSTED, Verdict.WOKEN)


@given(offset=st.one_of(st.floats(-1e9, -2 * JUMP), st.floats(2 * JUMP, 1e9)), wait=st.floats(0.0, HOLD - 1.0))
def test_a_jump_is_doubted_until_it_is_taken_back(offset: float, wait: float) -> None:
    """And then nothing has been."""
    trust = Trust(None, hold=HOLD)
    trust.look(1e9, 0.0)
    first = trust.look(1e9 + 1.0 + offset, 1.0)
    assert (first.verdict, first.news) == (Verdict.DOUBTED, True)
    again = trust.look(1e9 + 1.0 + wait + offset, 1.0 + wait)
    assert (again.verdict, again.news) == (Verdict.DOUBTED, False)
    back = trust.look(1e9 + 2.0 + wait, 2.0 + wait)
    assert (back.verdict, back.news) == (Verdict.TRUSTED, True)
    assert trust.look(1e9 + 3.0 + wait, 3.0 + wait) == replace(back, news=False)


@given(offset=st.one_of(st.floats(-1e9, -2 * JUMP), st.floats(2 * JUMP, 1e9)))
def test_a_jump_that_stays_is_accepted_once(offset: float) -> None:
    """When its time is up, or at once on a person's word."""
    for word in (False, True):
        trust = Trust(None, hold=HOLD)
        trust.look(1e9, 0.0)
        trust.look(1e9 + offset, 0.0)
        after = 1.0 if word else HOLD + 1.0
        accepted = trust.look(1e9 + offset + after, after, accepted=word)
        assert accepted.verdict is (Verdict.AHEAD if offset > 0 else Verdict.BEHIND)
        assert trust.look(1e9 + offset + after + 1.0, after + 1.0).verdict is Verdict.TRUSTED


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [
        (-JUMP - 1, Verdict.DOUBTED), (-1.0, Verdict.TRUSTED), (60.0, Verdict.TRUSTED), (7200.0, Verdict.WOKEN),
        (AWAY, Verdict.WOKEN), (AWAY + JUMP + 1, Verdict.DOUBTED), (1e8, Verdict.DOUBTED),
    ],
)  # fmt: skip
def test_a_start_compares_with_the_last_instant_that_was_trusted(gap: float, verdict: Verdict) -> None:
    """Off for a day is nothing strange; a year may be a wrong clock."""
    assert Trust(1e9, hold=HOLD).look(1e9 + gap, 5.0).verdict is verdict


def test_only_what_was_accepted_ahead_is_dated_anew() -> None:
    """A clock that was never ahead may as well be behind now: its dates are left alone."""
    assert not dates_anew(-1e6, ahead=0.0)
    assert dates_anew(-1e6, ahead=1e6 - 60.0)
    assert not dates_anew(-1e8, ahead=1e6)
