"""When a secret is rotated: its rotation rules, and the windows they open. Pure: no I/O and no clock; all times UTC.

Rules give a `Schedule`; a schedule gives one `Window` after another; a rotation starts at a window's due instant.
Every schedule keeps these rules:

1. All windows of a schedule are equally long (1 to 24 hours) and never overlap.
2. The next window is the first that closes after the instant asked about and opens after the last rotation. So a
   window that is open now counts, unless the secret was rotated in it.
3. A window that was missed or failed (the server was off) is not made up for outside a window: ask again with a
   later instant, and run in the window that is given. For AutomaticallyAfterDays every later day is such a window,
   until a rotation succeeds.

Reading an expression (cron.py, `_RATE`) and refusing what Secrets Manager does not serve (`_LIMITS`) are two steps.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import NamedTuple, Protocol

from keywheel.cron import YEARS, Cron, parse_cron
from keywheel.errors import InvalidParameter

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)

_DAYS_ALLOWED = range(1, 1001)
_SHORTEST_INTERVAL_HOURS = 4
_LONGEST_RATE_DAYS = 999
# A year, counted the way "the first Monday of January" counts one: up to 53 weeks.
_LONGEST_GAP_DAYS = 53 * 7
_NEVER_DAYS = 10**6

_RATE = re.compile(r"rate\(([0-9]{1,9}) (hours?|days?)\)")
_DURATION = re.compile(r"[0-9]{1,2}h")


@dataclass(frozen=True, slots=True)
class Window:
    """A rotation window: a rotation may start at any instant from `opens` (included) to `closes` (not included)."""

    opens: datetime
    closes: datetime

    @property
    def latest(self) -> datetime:
        """The last second of the window, which DescribeSecret shows as NextRotationDate."""
        return self.closes - timedelta(seconds=1)

    def due(self, seed: str) -> datetime:
        """The whole second in the window at which to rotate the secret whose ARN is `seed`.

        Stable over restarts and replicas, and different for each window and secret, so that secrets which share a
        schedule do not all rotate at once. In a window that is already open it may have passed: then it is due now.
        """
        digest = hashlib.sha256(f"{seed}\n{self.opens.astimezone(UTC).isoformat()}".encode()).digest()
        seconds = int((self.closes - self.opens).total_seconds())
        return self.opens + timedelta(seconds=int.from_bytes(digest[:8]) % seconds)


class Schedule(Protocol):
    """What rotation rules come to. `RotationRules.schedule()` makes one."""

    def next_window(self, after: datetime, *, configured: datetime, last_rotated: datetime | None) -> Window | None:
        """The first window that closes after `after` and opens after `last_rotated`. None if there is never one.

        `configured` is when the rules were stored: the count of a rate(), and of days on a secret that was never
        rotated, begins there. `last_rotated` is the last success; with AutomaticallyAfterDays a value that a person
        put counts as one too, as at AWS. All three are aware.
        """
        ...

    def days(self, after: datetime) -> int | None:
        """Whole days between two windows, rounded up: what DescribeSecret shows as AutomaticallyAfterDays.

        Where the distance varies, it is that of the next two windows to open after `after`. None without a schedule.
        """
        ...


@dataclass(frozen=True, slots=True)
class RotationRules:
    """Rotation rules as a caller gives them: days between rotations or an expression, and a duration like `3h`."""

    after_days: int | None = None
    expression: str | None = None
    duration: str | None = None

    def schedule(self) -> Schedule:
        """The schedule that these rules mean. With neither days nor expression it has no windows.

        Raises:
            InvalidParameter: Secrets Manager would refuse these rules; the message says why.
        """
        return _parse(self)


@dataclass(frozen=True, slots=True)
class Unscheduled:
    """Rotation on request only."""

    def next_window(self, after: datetime, *, configured: datetime, last_rotated: datetime | None) -> Window | None:
        return None

    def days(self, after: datetime) -> int | None:
        return None


@dataclass(frozen=True, slots=True)
class AfterDays:
    """AutomaticallyAfterDays: the UTC day that lies `every` days after the day of the last rotation."""

    every: int
    length: timedelta = _DAY

    def next_window(self, after: datetime, *, configured: datetime, last_rotated: datetime | None) -> Window:
        first = _midnight(last_rotated or configured) + self.every * _DAY
        # Overdue: a day of its own every day, so that a secret that is too old never waits another period.
        return _nth_window(first, _DAY, self.length, after - self.length)

    def days(self, after: datetime) -> int:
        return self.every


@dataclass(frozen=True, slots=True)
class Rate:
    """rate(): a window each `period`. The first is `lead` after the midnight that begins the day of configuration."""

    period: timedelta
    lead: timedelta
    length: timedelta

    def next_window(self, after: datetime, *, configured: datetime, last_rotated: datetime | None) -> Window:
        first = _midnight(configured) + self.lead
        return _nth_window(first, self.period, self.length, _earliest(after, self.length, last_rotated))

    def days(self, after: datetime) -> int:
        return _days_up(self.period)


@dataclass(frozen=True, slots=True)
class ByCron:
    """cron(): a window opens at each instant that the expression names. Configuration does not shift it."""

    cron: Cron
    length: timedelta

    def next_window(self, after: datetime, *, configured: datetime, last_rotated: datetime | None) -> Window | None:
        opens = next(self.cron.starts(_earliest(after, self.length, last_rotated)), None)
        return Window(opens, opens + self.length) if opens else None

    def days(self, after: datetime) -> int | None:
        distances = [later - sooner for sooner, later in pairwise(islice(self.cron.starts(after), 2))]
        return _days_up(distances[0]) if distances else None


def _midnight(instant: datetime) -> datetime:
    """The midnight that begins the UTC day of `instant`."""
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _days_up(distance: timedelta) -> int:
    return -(-distance // _DAY)


def _earliest(after: datetime, length: timedelta, last_rotated: datetime | None) -> datetime:
    """The instant after which the next window opens: older ones have closed, or are used up."""
    closed = after - length
    return closed if last_rotated is None else max(closed, last_rotated)


def _nth_window(first: datetime, period: timedelta, length: timedelta, earliest: datetime) -> Window:
    """The first window to open after `earliest`, of those that open at `first` and each `period` after it."""
    opens = first + max(0, (earliest - first) // period + 1) * period
    return Window(opens, opens + length)


# --- from rules to a schedule: first the grammar, then what Secrets Manager serves ---------------------------------


@lru_cache(maxsize=1024)  # Lists ask for many secrets at once, most of them with the same few rules.
def _parse(rules: RotationRules) -> Schedule:
    if rules.after_days is not None and rules.expression is not None:
        raise InvalidParameter("You cannot specify both rotation frequency and schedule expression together.")
    if rules.after_days is not None:
        return _after_days(rules.after_days, rules.duration)
    if rules.expression is None:
        _length(rules.duration, default=24, most=24)
        return Unscheduled()
    if rules.expression.startswith("cron("):
        return _by_cron(rules.expression, rules.duration)
    return _by_rate(rules.expression, rules.duration)


def _after_days(days: int, duration: str | None) -> Schedule:
    if days not in _DAYS_ALLOWED:
        raise InvalidParameter("AutomaticallyAfterDays must be between 1 and 1000.")
    # AWS documents Duration beside an expression only; here it shortens the day's window.
    return AfterDays(days, _length(duration, default=24, most=24))


def _by_rate(expression: str, duration: str | None) -> Schedule:
    match = _RATE.fullmatch(expression)
    if match is None:
        raise InvalidParameter(
            "The schedule expression must be cron(...), or rate(...) in hours or days as in rate(10 days)."
        )
    every, in_days = int(match[1]), match[2].startswith("day")
    hours = every * 24 if in_days else every
    if not _SHORTEST_INTERVAL_HOURS <= hours <= _LONGEST_RATE_DAYS * 24:
        raise InvalidParameter("A rate must be between 4 hours and 999 days.")
    if in_days:
        # "Once immediately, and then every 10 days" (RotateSecret's sample), so the first is a whole period away; and
        # whoever asks not to rotate immediately is not rotated on the same day.
        return Rate(every * _DAY, lead=every * _DAY, length=_length(duration, default=24, most=24))
    # AWS does not say how hours that do not divide a day fall: they are counted without a break from the next midnight.
    return Rate(every * _HOUR, lead=_DAY, length=_length(duration, default=1, most=every))


def _by_cron(expression: str, duration: str | None) -> Schedule:
    cron = parse_cron(expression)
    pace = _pace(cron)
    for serves, refusal in _LIMITS:
        if not serves(cron, pace):
            raise InvalidParameter(refusal)
    # Several windows on one day make it a schedule in hours: an hour by default, and midnight is no border.
    if len(cron.hours) > 1:
        return ByCron(cron, _length(duration, default=1, most=pace.shortest_hours))
    rest_of_day = 24 - cron.hours[0]
    return ByCron(cron, _length(duration, default=rest_of_day, most=rest_of_day))


def _length(duration: str | None, *, default: int, most: int) -> timedelta:
    """The length of a window. `default` and `most` are hours."""
    if duration is None:
        return default * _HOUR
    if not _DURATION.fullmatch(duration) or duration in {"0h", "00h"}:
        raise InvalidParameter("Duration must be a number of hours of at least one, as in 3h.")
    hours = int(duration[:-1])
    # Longer than a day is always into the next UTC day, whatever the interval.
    if hours > min(most, 24):
        raise InvalidParameter(
            "The rotation window must not extend into the next rotation window or the next UTC day: "
            f"this schedule allows a Duration of at most {min(most, 24)}h."
        )
    return hours * _HOUR


class _Pace(NamedTuple):
    """The shortest and the longest way from one window of an expression to the next."""

    shortest_hours: int
    longest_days: int


def _pace(cron: Cron) -> _Pace:
    # Each way in which one year can follow another occurs within 28 years.
    months = ((year, month) for year in range(2000, 2029) for month in cron.months)
    days = [date(year, month, 1).toordinal() + day for year, month in months for day in cron.days_of(year, month)]
    gaps = {later - sooner for sooner, later in pairwise(days)} or {_NEVER_DAYS}
    overnight = 24 * min(gaps) - cron.hours[-1] + cron.hours[0]
    within_day = (later - sooner for sooner, later in pairwise(cron.hours))
    return _Pace(min([overnight, *within_day]), max(gaps))


# What Secrets Manager does not serve of the grammar, in the order in which a caller is told.
_LIMITS: tuple[tuple[Callable[[Cron, _Pace], bool], str], ...] = (
    (lambda cron, _: cron.minutes == (0,), "The Minutes field must be 0: a rotation window opens on the hour."),
    (lambda cron, _: cron.years == YEARS, "The Year field must be *."),
    (
        lambda cron, _: not any("workday" in rule.kind for rule in cron.days),
        "The Day-of-month field can't use W.",
    ),
    (
        lambda _, pace: pace.longest_days <= _LONGEST_GAP_DAYS,
        "The schedule expression must open a rotation window at least once a year.",
    ),
    (
        lambda _, pace: pace.shortest_hours >= _SHORTEST_INTERVAL_HOURS,
        "The schedule expression must leave at least 4 hours between rotation windows.",
    ),
)
