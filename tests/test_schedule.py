"""What schedule.py promises: which rules Secrets Manager serves, and which windows they open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keywheel.cron import parse_cron
from keywheel.errors import InvalidParameter
from keywheel.schedule import RotationRules, Schedule, Window

ARN = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:db-a1b2c3"
LONG_AGO = datetime(2020, 1, 1, 12, 0, tzinfo=UTC)
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(expression: str, duration: str | None = None) -> Schedule:
    return RotationRules(expression=expression, duration=duration).schedule()


def walk(schedule: Schedule, after: str, *, configured: datetime = LONG_AGO, count: int = 3) -> list[str]:
    """The next windows, each asked for when the one before has closed: `2026-02-03 16-18`, the close as an hour."""
    instant, windows = at(after), []
    for _ in range(count):
        window = schedule.next_window(instant, configured=configured, last_rotated=None)
        assert window is not None
        windows.append(f"{window.opens:%Y-%m-%d %H}-{window.latest + SECOND - HOUR:%H}")
        instant = window.closes
    return windows


def opening(schedule: Schedule, after: str, *, last_rotated: str | None = None, configured: str = "2026-02-03") -> str:
    """When the next window opens, to the hour."""
    rotated = at(last_rotated) if last_rotated else None
    window = schedule.next_window(at(after), configured=at(configured), last_rotated=rotated)
    assert window is not None
    return f"{window.opens:%Y-%m-%d %H}"


# --- which rules are served ---------------------------------------------------------------------------------------

SAMPLES = [
    # The guide's samples; the hours in each window are inclusive: `08-23` is 08:00 until midnight.
    ("cron(0 /8 * * ? *)", None, ["2026-02-03 08-08", "2026-02-03 16-16", "2026-02-04 00-00"]),
    ("cron(0 8/8 * * ? *)", None, ["2026-02-03 08-08", "2026-02-03 16-16", "2026-02-04 08-08"]),
    ("cron(0 8/8 * * ? *)", "2h", ["2026-02-03 08-09", "2026-02-03 16-17", "2026-02-04 08-09"]),
    ("cron(0 2/10 * * ? *)", None, ["2026-02-03 12-12", "2026-02-03 22-22", "2026-02-04 02-02"]),
    ("cron(0 2/10 * * ? *)", "4h", ["2026-02-03 02-05", "2026-02-03 12-15", "2026-02-03 22-01"]),
    ("cron(0 4/12 * * ? *)", None, ["2026-02-03 16-16", "2026-02-04 04-04", "2026-02-04 16-16"]),
    ("cron(0 10 * * ? *)", None, ["2026-02-03 10-23", "2026-02-04 10-23", "2026-02-05 10-23"]),
    ("cron(0 18 ? * SAT *)", None, ["2026-02-07 18-23", "2026-02-14 18-23", "2026-02-21 18-23"]),
    ("cron(0 8 1 * ? *)", None, ["2026-03-01 08-23", "2026-04-01 08-23", "2026-05-01 08-23"]),
    ("cron(0 1 ? 1/3 SUN#1 *)", None, ["2026-04-05 01-23", "2026-07-05 01-23", "2026-10-04 01-23"]),
    ("cron(0 17 L * ? *)", None, ["2026-02-28 17-23", "2026-03-31 17-23", "2026-04-30 17-23"]),
    ("cron(0 8 ? * MON-FRI *)", None, ["2026-02-03 08-23", "2026-02-04 08-23", "2026-02-05 08-23"]),
    ("cron(0 16 1,15 * ? *)", "2h", ["2026-02-15 16-17", "2026-03-01 16-17", "2026-03-15 16-17"]),
    ("cron(0 0 ? * SUN#1 *)", None, ["2026-03-01 00-23", "2026-04-05 00-23", "2026-05-03 00-23"]),
    ("cron(0 0 ? 1/11 2#1 *)", None, ["2026-12-07 00-23", "2027-01-04 00-23", "2027-12-06 00-23"]),
    ("cron(0 8 ? * SUNL *)", None, ["2026-02-22 08-23", "2026-03-29 08-23", "2026-04-26 08-23"]),
    ("cron(0 8 31 * ? *)", None, ["2026-03-31 08-23", "2026-05-31 08-23", "2026-07-31 08-23"]),
    ("cron(0 8 ? * SUN#5 *)", None, ["2026-03-29 08-23", "2026-05-31 08-23", "2026-08-30 08-23"]),
    ("cron(0 8 29 FEB,JUN ? *)", None, ["2026-06-29 08-23", "2027-06-29 08-23", "2028-02-29 08-23"]),
    ("cron(0 8 ? 1 MON#1 *)", None, ["2027-01-04 08-23", "2028-01-03 08-23", "2029-01-01 08-23"]),
    ("rate(4 hours)", None, ["2026-02-03 08-08", "2026-02-03 12-12", "2026-02-03 16-16"]),
    ("rate(12 hours)", "12h", ["2026-02-03 00-11", "2026-02-03 12-23", "2026-02-04 00-11"]),
    ("rate(1 day)", None, ["2026-02-03 00-23", "2026-02-04 00-23", "2026-02-05 00-23"]),
    ("rate(10 days)", None, ["2026-02-08 00-23", "2026-02-18 00-23", "2026-02-28 00-23"]),
    ("rate(10 days)", "3h", ["2026-02-08 00-02", "2026-02-18 00-02", "2026-02-28 00-02"]),
]


@pytest.mark.parametrize(("expression", "duration", "expected"), SAMPLES)
def test_every_published_sample_opens_these_windows(expression: str, duration: str | None, expected: list[str]) -> None:
    """Each sample of the guide is accepted, and its windows are as the guide describes them."""
    assert expected == walk(schedule(expression, duration), "2026-02-03T05:30")


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(RotationRules(expression="cron(30 8 * * ? *)"), id="minutes"),
        pytest.param(RotationRules(expression="cron(* 8 * * ? *)"), id="every minute"),
        pytest.param(RotationRules(expression="cron(0 8 1 * ? 2027)"), id="year"),
        pytest.param(RotationRules(expression="cron(0 8 1 * ? 2026-2199)"), id="years"),
        pytest.param(RotationRules(expression="cron(0 8 15W * ? *)"), id="W"),
        pytest.param(RotationRules(expression="cron(0 8 LW * ? *)"), id="LW"),
        pytest.param(RotationRules(expression="cron(0 * * * ? *)"), id="hourly"),
        pytest.param(RotationRules(expression="cron(0 /3 * * ? *)"), id="every 3 hours"),
        pytest.param(RotationRules(expression="cron(0 0/7 * * ? *)"), id="21:00 to midnight is under 4 hours"),
        pytest.param(RotationRules(expression="cron(0 1,22 ? * MON-TUE *)"), id="3 hours over one midnight"),
        pytest.param(RotationRules(expression="cron(0 8 29 2 ? *)"), id="every fourth year"),
        pytest.param(RotationRules(expression="cron(0 8 30 2 ? *)"), id="never"),
        pytest.param(RotationRules(expression="cron(0 8 ? 1 FRI#5 *)"), id="not in every year"),
        pytest.param(RotationRules(expression="cron(0 8 ? 1,12 FRI#5 *)"), id="23 months now and then"),
        pytest.param(RotationRules(expression="cron(0 8 * * * *)"), id="two day fields"),
        pytest.param(RotationRules(expression="rate(3 hours)"), id="rate below 4 hours"),
        pytest.param(RotationRules(expression="rate(0 days)"), id="rate of nothing"),
        pytest.param(RotationRules(expression="rate(1000 days)"), id="rate above 999 days"),
        pytest.param(RotationRules(expression="rate(300 minutes)"), id="minutes"),
        pytest.param(RotationRules(expression="rate(2 weeks)"), id="weeks"),
        pytest.param(RotationRules(expression="rate(-4 days)"), id="negative rate"),
        pytest.param(RotationRules(expression="rate(1.5 days)"), id="broken rate"),
        pytest.param(RotationRules(expression="rate(10days)"), id="no space"),
        pytest.param(RotationRules(expression="rate(10  days)"), id="two spaces"),
        pytest.param(RotationRules(expression=" rate(10 days)"), id="leading space"),
        pytest.param(RotationRules(expression="rate(10 days)\n"), id="line end"),
        pytest.param(RotationRules(expression="10 days"), id="no call"),
        pytest.param(RotationRules(expression=""), id="empty"),
        pytest.param(RotationRules(expression="cron(0 8 * * ? *)", duration="17h"), id="into the next day"),
        pytest.param(RotationRules(expression="cron(0 2/10 * * ? *)", duration="5h"), id="into the window at 02:00"),
        pytest.param(RotationRules(expression="rate(4 hours)", duration="5h"), id="into the next rate window"),
        pytest.param(RotationRules(expression="rate(48 hours)", duration="25h"), id="over a day"),
        pytest.param(RotationRules(expression="rate(10 days)", duration="25h"), id="over the day"),
        pytest.param(RotationRules(after_days=30, duration="25h"), id="over the day after N days"),
        pytest.param(RotationRules(after_days=0), id="0 days"),
        pytest.param(RotationRules(after_days=-1), id="negative days"),
        pytest.param(RotationRules(after_days=1001), id="1001 days"),
        *(
            pytest.param(RotationRules(expression="rate(10 days)", duration=text), id=f"duration {text!r}")
            for text in ("", "0h", "00h", "3", "h", "3H", "3d", "3.5h", "-3h", " 3h", "100h", "3h\n", "٣h")
        ),
        pytest.param(RotationRules(duration="soon"), id="a broken duration alone"),
    ],
)
def test_what_secrets_manager_refuses_is_refused(rules: RotationRules) -> None:
    """Rules outside the service's limits are an error of the caller."""
    with pytest.raises(InvalidParameter):
        rules.schedule()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            RotationRules(after_days=30, expression="rate(30 days)"),
            "You cannot specify both rotation frequency and schedule expression together.",
        ),
        (RotationRules(after_days=1001), "AutomaticallyAfterDays must be between 1 and 1000."),
        (RotationRules(expression="rate(3 hours)"), "A rate must be between 4 hours and 999 days."),
        (
            RotationRules(expression="cron(0 8 * * ? *)", duration="17h"),
            (
                "The rotation window must not extend into the next rotation window or the next UTC day: "
                "this schedule allows a Duration of at most 16h."
            ),
        ),
        (
            RotationRules(expression="cron(30 8 * * ? *)"),
            "The Minutes field must be 0: a rotation window opens on the hour.",
        ),
    ],
)
def test_a_refusal_says_why(rules: RotationRules, expected: str) -> None:
    """The first of these is AWS's own text, which clients know; the others tell a person what to change."""
    with pytest.raises(InvalidParameter) as refused:
        rules.schedule()
    assert expected == refused.value.message


@pytest.mark.parametrize(
    "rules",
    [
        RotationRules(after_days=1),
        RotationRules(after_days=1000, duration="24h"),
        RotationRules(expression="rate(999 days)", duration="1h"),
        RotationRules(expression="rate(4 hours)", duration="4h"),
        RotationRules(expression="rate(23976 hours)", duration="24h"),
        RotationRules(expression="rate(1 days)"),
        RotationRules(expression="rate(10 day)"),
        RotationRules(expression="cron(0 8 * * ? *)", duration="16h"),
        RotationRules(expression="cron(0 8,20 * * ? *)", duration="12h"),
        RotationRules(expression="cron(0 1,22 ? * MON,WED *)", duration="21h"),
        RotationRules(expression="cron(0 8 1 1 ? *)"),
        RotationRules(expression="cron(0 8 L-3 * ? *)"),
    ],
)
def test_what_lies_on_a_limit_is_served(rules: RotationRules) -> None:
    """Each limit is inclusive."""
    assert rules.schedule().next_window(LONG_AGO, configured=LONG_AGO, last_rotated=None) is not None


@pytest.mark.parametrize("rules", [RotationRules(), RotationRules(duration="3h")])
def test_without_days_or_expression_nothing_is_scheduled(rules: RotationRules) -> None:
    """Rotation can be on with no schedule: then it happens on request only."""
    unscheduled = rules.schedule()
    assert unscheduled.next_window(LONG_AGO, configured=LONG_AGO, last_rotated=LONG_AGO) is None
    assert unscheduled.days(LONG_AGO) is None


# --- which window is next -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "last_rotated", "expected"),
    [
        pytest.param("2026-02-15T16:00", None, "2026-02-15 16", id="open now"),
        pytest.param("2026-02-15T17:59:59.999999", None, "2026-02-15 16", id="open for a microsecond more"),
        pytest.param("2026-02-15T18:00", None, "2026-03-01 16", id="closed just now"),
        pytest.param("2026-02-15T16:30", "2026-02-15T16:30", "2026-03-01 16", id="rotated in it"),
        pytest.param("2026-02-15T16:00", "2026-02-15T16:00", "2026-03-01 16", id="rotated as it opened"),
        pytest.param("2026-02-15T16:30", "2026-02-15T15:59", "2026-02-15 16", id="rotated by hand before it"),
        pytest.param("2026-02-20T00:00", "2026-02-20T00:00", "2026-03-01 16", id="rotated by hand between windows"),
        pytest.param("2026-02-15T18:00", "2026-01-15T16:30", "2026-03-01 16", id="missed: the one after it"),
        pytest.param("2026-05-05T09:00", "2026-01-15T16:30", "2026-05-15 16", id="missed for months"),
        pytest.param("2026-02-15T16:30", "2026-03-01T16:30", "2026-03-15 16", id="a clock that went back"),
    ],
)
def test_the_next_window_is_open_or_to_come_and_not_used_up(
    after: str, last_rotated: str | None, expected: str
) -> None:
    """The first window that closes after now, unless the secret was rotated in it or later."""
    twice_a_month = schedule("cron(0 16 1,15 * ? *)", "2h")
    assert expected == opening(twice_a_month, after, last_rotated=last_rotated)


@pytest.mark.parametrize(
    ("after", "last_rotated", "duration", "expected"),
    [
        pytest.param("2026-02-03T18:00", "2026-02-03T17:42", None, "2026-03-05 00", id="30 days on"),
        pytest.param("2026-02-03T18:00", "2026-02-03T00:00", None, "2026-03-05 00", id="the day counts, not the hour"),
        pytest.param("2026-02-03T18:00", None, None, "2026-03-05 00", id="never rotated: from the configuration on"),
        pytest.param("2026-03-05T12:00", "2026-02-03T17:42", None, "2026-03-05 00", id="open now"),
        pytest.param("2026-03-05T03:00", "2026-02-03T17:42", "3h", "2026-03-06 00", id="missed: the next day"),
        pytest.param("2026-05-01T02:59", "2026-02-03T17:42", "3h", "2026-05-01 00", id="overdue: today"),
        pytest.param("2026-05-01T03:00", "2026-02-03T17:42", "3h", "2026-05-02 00", id="overdue: tomorrow"),
    ],
)
def test_after_days_counts_from_the_day_of_the_last_rotation(
    after: str, last_rotated: str | None, duration: str | None, expected: str
) -> None:
    """AutomaticallyAfterDays opens the day that many days on, and every day from then until a rotation succeeds."""
    assert expected == opening(RotationRules(30, duration=duration).schedule(), after, last_rotated=last_rotated)


@pytest.mark.parametrize(
    ("expression", "configured", "after", "expected"),
    [
        pytest.param("rate(5 hours)", "2026-02-03T09:30", "2026-02-03T09:30", "2026-02-04 00", id="first midnight"),
        pytest.param("rate(5 hours)", "2026-02-03T09:30", "2026-02-04T20:30", "2026-02-04 20", id="fifth of the day"),
        pytest.param("rate(5 hours)", "2026-02-03T09:30", "2026-02-04T21:00", "2026-02-05 01", id="over midnight"),
        pytest.param("rate(5 hours)", "2026-02-03T00:00", "2026-02-03T00:00", "2026-02-04 00", id="at midnight itself"),
        pytest.param("rate(36 hours)", "2026-02-03T09:30", "2026-02-04T01:00", "2026-02-05 12", id="over a day"),
        pytest.param(
            "rate(10 days)", "2026-02-03T09:30", "2026-02-03T09:30", "2026-02-13 00", id="not on the first day"
        ),
        pytest.param("rate(10 days)", "2026-02-03T09:30", "2026-02-14T00:00", "2026-02-23 00", id="days go on"),
        pytest.param("cron(0 8 * * ? *)", "2026-02-03T09:30", "2026-02-03T09:30", "2026-02-03 08", id="cron is free"),
    ],
)
def test_the_phase_of_a_rate_comes_from_its_configuration(
    expression: str, configured: str, after: str, expected: str
) -> None:
    """Hours run on from the midnight after configuration, days from that day's own; cron() does not care."""
    assert expected == opening(schedule(expression), after, configured=configured)


def test_a_rotation_by_hand_does_not_shift_a_rate() -> None:
    """Windows of a rate stay where they are; only the one that was used is passed over."""
    expected = ["2026-02-13 00", "2026-02-23 00"]
    by_hand = ["2026-02-09T10:00", "2026-02-13T10:00"]
    assert expected == [opening(schedule("rate(10 days)"), now, last_rotated=now) for now in by_hand]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        # Published by a user from a live account: changed on 3 February, NextRotationDate 2026-03-06T00:59:59+01:00.
        (RotationRules(after_days=30), "2026-03-05T23:59:59"),
        (RotationRules(after_days=30, duration="2h"), "2026-03-05T01:59:59"),
        (RotationRules(expression="cron(0 16 1,15 * ? *)", duration="2h"), "2026-02-15T17:59:59"),
        (RotationRules(expression="cron(0 10 * * ? *)"), "2026-02-04T23:59:59"),
        (RotationRules(expression="cron(0 8/8 * * ? *)"), "2026-02-04T08:59:59"),
        (RotationRules(expression="rate(10 days)"), "2026-02-13T23:59:59"),
    ],
)
def test_the_next_rotation_date_is_the_last_second_of_the_window(rules: RotationRules, expected: str) -> None:
    """`latest` is what AWS shows as NextRotationDate after a rotation on 3 February at 17:42."""
    rotated = at("2026-02-03T17:42:24.335")
    window = rules.schedule().next_window(rotated, configured=rotated, last_rotated=rotated)
    assert window is not None
    assert at(expected) == window.latest


@pytest.mark.parametrize(
    ("rules", "after", "expected"),
    [
        (RotationRules(after_days=30, duration="3h"), "2026-02-03", 30),
        (RotationRules(expression="rate(10 days)"), "2026-02-03", 10),
        (RotationRules(expression="rate(4 hours)"), "2026-02-03", 1),
        (RotationRules(expression="rate(36 hours)"), "2026-02-03", 2),
        (RotationRules(expression="cron(0 8/8 * * ? *)"), "2026-02-03", 1),
        (RotationRules(expression="cron(0 8 ? * SAT *)"), "2026-02-03", 7),
        # The API reference shows 14 for this one.
        (RotationRules(expression="cron(0 16 1,15 * ? *)", duration="2h"), "2022-09-30", 14),
        (RotationRules(expression="cron(0 16 1,15 * ? *)", duration="2h"), "2022-10-07", 17),
        (RotationRules(expression="cron(0 8 1 1 ? *)"), "2027-06-01", 366),
    ],
)
def test_days_is_the_distance_between_windows_rounded_up(rules: RotationRules, after: str, expected: int) -> None:
    """Shown as AutomaticallyAfterDays, so never smaller than the age that a secret can reach."""
    assert expected == rules.schedule().days(at(after))


def test_the_due_instant_never_changes() -> None:
    """Replicas and later releases must agree on it, so its value is pinned here."""
    window = Window(at("2026-02-15T16:00"), at("2026-02-15T18:00"))
    assert at("2026-02-15T16:09:55") == window.due(ARN)


def test_due_instants_spread_over_the_window() -> None:
    """A thousand secrets on one schedule fall into every twelfth of the window, about equally often."""
    window = Window(at("2026-02-15T16:00"), at("2026-02-15T17:00"))
    twelfths = [(window.due(f"{ARN}{number}") - window.opens) // timedelta(minutes=5) for number in range(1200)]
    counts = [twelfths.count(twelfth) for twelfth in range(12)]
    assert len(twelfths) == sum(counts)
    assert 60 < min(counts) <= max(counts) < 140


def test_due_differs_from_window_to_window() -> None:
    """A secret is not rotated at the same minute each time."""
    opens = [at("2026-02-15T00:00") + day * DAY for day in range(10)]
    assert len(opens) == len({Window(first, first + DAY).due(ARN) - first for first in opens})


# --- what holds for every schedule -----------------------------------------------------------------------------------

EXPRESSIONS = sorted({expression for expression, _, _ in SAMPLES} | {"rate(5 hours)", "rate(36 hours)"})
rules = st.one_of(
    st.builds(RotationRules, after_days=st.integers(1, 1000), duration=st.sampled_from([None, "1h", "24h"])),
    st.builds(RotationRules, expression=st.sampled_from(EXPRESSIONS), duration=st.sampled_from([None, "1h"])),
)
instants = st.datetimes(datetime(1995, 1, 1), datetime(2095, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
holds = settings(max_examples=150, derandomize=True, database=None, deadline=None)


def next_window(rules: RotationRules, after: datetime, configured: datetime, last: datetime | None = None) -> Window:
    window = rules.schedule().next_window(after, configured=configured, last_rotated=last)
    assert window is not None
    return window


@holds
@given(rules, instants, instants, instants)
def test_later_questions_never_get_earlier_windows(
    rules: RotationRules, one: datetime, other: datetime, configured: datetime
) -> None:
    """The next window is monotone in the instant asked about."""
    sooner, later = sorted([one, other])
    assert next_window(rules, sooner, configured).opens <= next_window(rules, later, configured).opens


@holds
@given(rules, instants, instants, st.one_of(st.none(), instants))
def test_a_window_closes_after_now_and_opens_after_the_last_rotation(
    rules: RotationRules, after: datetime, configured: datetime, last: datetime | None
) -> None:
    """No window is given that is over, or that the secret was already rotated in; each lasts 1 to 24 hours."""
    window = next_window(rules, after, configured, last)
    assert window.closes > after
    assert last is None or window.opens > last
    assert HOUR <= window.closes - window.opens <= DAY


@holds
@given(rules, instants, instants, st.floats(0, 1, exclude_max=True))
def test_a_window_stays_the_next_one_until_it_closes(
    rules: RotationRules, after: datetime, configured: datetime, part: float
) -> None:
    """Asked again at any time before it closes, the answer is the same window; then one that does not overlap it."""
    window = next_window(rules, after, configured)
    before_it_closes = min(after + part * (window.closes - after), window.closes - timedelta(microseconds=1))
    assert window == next_window(rules, before_it_closes, configured)
    assert window.closes <= next_window(rules, window.closes, configured).opens


@holds
@given(st.sampled_from([text for text in EXPRESSIONS if text.startswith("cron")]), instants, instants)
def test_a_cron_window_opens_when_the_expression_says(text: str, after: datetime, configured: datetime) -> None:
    """Every window opens on a day and at an hour that the expression names."""
    cron, opens = parse_cron(text), next_window(RotationRules(expression=text), after, configured).opens
    assert opens.day in cron.days_of(opens.year, opens.month)
    assert opens.hour in cron.hours
    assert opens == opens.replace(minute=0, second=0, microsecond=0)


@holds
@given(st.integers(1, 999), st.sampled_from([HOUR, DAY]), instants, instants)
def test_a_rate_window_opens_a_whole_number_of_periods_on(
    every: int, unit: timedelta, after: datetime, configured: datetime
) -> None:
    """Days count from the midnight before configuration, hours from the one after."""
    every = every if unit == DAY else every + 3
    midnight = configured.replace(hour=0, minute=0, second=0, microsecond=0)
    text = f"rate({every} {'days' if unit == DAY else 'hours'})"
    elapsed = next_window(RotationRules(expression=text), after, configured).opens - midnight
    assert timedelta(0) == (elapsed if unit == DAY else elapsed - DAY) % (every * unit)
    assert elapsed >= DAY


@holds
@given(rules, instants, instants, st.text(max_size=20))
def test_the_due_instant_lies_in_the_window(
    rules: RotationRules, after: datetime, configured: datetime, seed: str
) -> None:
    """Due is a whole second in the window, at the latest its last one, and the same each time."""
    window = next_window(rules, after, configured)
    due = window.due(seed)
    assert window.opens <= due <= window.latest < window.closes
    assert (0, due) == (due.microsecond, Window(window.opens, window.closes).due(seed))
