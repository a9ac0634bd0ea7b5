"""The grammar of EventBridge's cron(), and the instants that an expression names. Pure: no I/O and no clock.

`cron(Minutes Hours Day-of-month Month Day-of-week Year)`: six fields in UTC, Sunday is 1, and exactly one of the two
day fields is `?`. Steps begin again with the unit above them (`2/10` in Hours is 02, 12 and 22 on every day), and a
month that lacks the day is skipped. The wide grammar is read here; what Secrets Manager refuses of it is a second
step, in schedule.py. It is our own because general cron libraries count Sunday as 0 and join the two day fields.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from keywheel.errors import InvalidParameter

# The length is the service model's limit on the whole expression.
_SHAPE = re.compile(r"cron\(([0-9A-Za-z#?*\-/, ]{1,250})\)")
# `8`, `8-16`, `*`, each with a step or without. A step alone (`/8` in the guide) begins at the field's lowest value.
_ITEM = re.compile(r"(?:\*|([0-9A-Z]+)(?:-([0-9A-Z]+))?)?(?:/([0-9]+))?")


class DayRule(NamedTuple):
    """One thing that a day field asks for: a key of `_DAYS_NAMED`, and its numbers."""

    kind: str
    value: int = 0
    ordinal: int = 0


class _Mark(NamedTuple):
    """A special spelling in a day field, the rule it stands for, and the fields that its numbers must fit."""

    pattern: str
    kind: str
    parts: tuple[_Field, ...] = ()


@dataclass(frozen=True)
class _Field:
    """One field of the expression: its bounds, its names from `low` upwards, and its special spellings."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    marks: tuple[_Mark, ...] = ()
    plain: str = ""

    def number(self, text: str) -> int:
        """The value of a number or a name, in bounds."""
        value = self.low + self.names.index(text) if text in self.names else int(text) if text.isdecimal() else -1
        if not self.low <= value <= self.high:
            raise self.refusal(text)
        return value

    def values(self, item: str) -> range:
        """What a plain item of the comma-separated list means: a value, a range, `*`, or a step over one of them."""
        match = _ITEM.fullmatch(item)
        if not item or match is None:
            raise self.refusal(item)
        first, last, step = match.groups()
        low = self.number(first) if first else self.low
        open_ended = not first or step
        high = self.number(last) if last else self.high if open_ended else low
        every = int(step or 1)
        # A range that wraps around is left undefined by AWS, and a step beyond the field can only be a mistake.
        if high < low or not 1 <= every <= self.high:
            raise self.refusal(item)
        return range(low, high + 1, every)

    def day_rules(self, item: str) -> list[DayRule]:
        """What an item of a day field asks for."""
        for mark in self.marks:
            if match := re.fullmatch(mark.pattern, item):
                texts = match.groups()
                return [DayRule(mark.kind, *(part.number(text) for part, text in zip(mark.parts, texts, strict=True)))]
        return [DayRule(self.plain, value) for value in self.values(item)]

    def refusal(self, text: str) -> InvalidParameter:
        """The error that names this field and what it holds."""
        values = f"its values are {self.low}-{self.high}"
        return InvalidParameter(f"The {self.name} field of a cron expression can't hold '{text}': {values}.")


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SUNDAY, _SATURDAY = 1, 7

_MINUTES = _Field("Minutes", 0, 59)
_HOURS = _Field("Hours", 0, 23)
_MONTH = _Field("Month", 1, 12, _MONTHS)
_YEAR = _Field("Year", 1970, 2199)
_WEEKDAY = _Field("Day-of-week", 1, 7, _WEEKDAYS)
_DAY = _Field("Day-of-month", 1, 31)
_DAY_OF_MONTH = _Field(
    "Day-of-month",
    1,
    31,
    plain="day",
    marks=(
        _Mark("L", "last day"),
        _Mark("L-([0-9]+)", "last day", (_Field("Day-of-month", 0, 30),)),
        _Mark("LW", "last workday"),
        _Mark("([0-9]+)W", "workday", (_DAY,)),
        # The Secrets Manager guide puts `SUNL` into this field; EventBridge has it in Day-of-week. Both work.
        _Mark("([A-Z]+)L", "last weekday", (_WEEKDAY,)),
    ),
)
_DAY_OF_WEEK = _Field(
    "Day-of-week",
    1,
    7,
    _WEEKDAYS,
    plain="weekday",
    marks=(
        _Mark("(L)", "weekday", (_Field("Day-of-week", _SATURDAY, _SATURDAY, ("L",)),)),
        _Mark("([0-9A-Z]+)L", "last weekday", (_WEEKDAY,)),
        _Mark("([0-9A-Z]+)#([0-9]+)", "nth weekday", (_WEEKDAY, _Field("Day-of-week", 1, 5))),
    ),
)

YEARS = tuple(_YEAR.values("*"))


class _MonthShape(NamedTuple):
    """All that a day rule can ask of a month: its length in days, and the weekday (1 = Sunday) of its first day."""

    length: int
    begins: int

    def first(self, weekday: int) -> int:
        """The first day of the month that is such a weekday."""
        return 1 + (weekday - self.begins) % 7

    def last(self, weekday: int) -> int:
        """The last day of the month that is such a weekday."""
        fifth = self.first(weekday) + 28
        return fifth if fifth <= self.length else fifth - 7

    def workday(self, day: int) -> int:
        """The Monday-to-Friday nearest to `day`, never in another month. 0 if the month lacks the day."""
        if day > self.length:
            return 0
        weekday = (self.begins + day - 2) % 7 + 1
        if weekday == _SATURDAY:
            return day - 1 if day > 1 else day + 2
        if weekday == _SUNDAY:
            return day + 1 if day < self.length else day - 2
        return day


# What each kind of rule names in a month. Days outside the month are dropped by the caller: that is how `31`,
# `SUN#5` and `L-30` skip the months that lack them.
_DAYS_NAMED: dict[str, Callable[[_MonthShape, DayRule], Iterable[int]]] = {
    "day": lambda _, rule: (rule.value,),
    "last day": lambda month, rule: (month.length - rule.value,),
    "workday": lambda month, rule: (month.workday(rule.value),),
    "last workday": lambda month, _: (month.workday(month.length),),
    "weekday": lambda month, rule: range(month.first(rule.value), month.length + 1, 7),
    "last weekday": lambda month, rule: (month.last(rule.value),),
    "nth weekday": lambda month, rule: (month.first(rule.value) + 7 * (rule.ordinal - 1),),
}


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression, read. Numbers are sorted; `days` comes from whichever day field is not `?`."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[DayRule, ...]
    months: tuple[int, ...]
    years: tuple[int, ...]

    def days_of(self, year: int, month: int) -> list[int]:
        """The days of that month on which the expression fires, in order. Empty where the month is not named."""
        if month not in self.months:
            return []
        monday_based, length = calendar.monthrange(year, month)
        shape = _MonthShape(length, (monday_based + 1) % 7 + 1)
        named = {day for rule in self.days for day in _DAYS_NAMED[rule.kind](shape, rule)}
        return sorted(day for day in named if 1 <= day <= length)

    def starts(self, earliest: datetime) -> Iterator[datetime]:
        """Every instant that the expression names, strictly after `earliest` (aware), in order, in UTC."""
        moment = earliest.astimezone(UTC)
        for year in self.years:
            if year < moment.year:
                continue
            for month in range(moment.month if year == moment.year else 1, 13):
                for day in self.days_of(year, month):
                    starts = (datetime(year, month, day, h, m, tzinfo=UTC) for h in self.hours for m in self.minutes)
                    yield from (start for start in starts if start > moment)


def parse_cron(expression: str) -> Cron:
    """Read a cron expression by EventBridge's grammar. Names may be in any case.

    Raises:
        InvalidParameter: it is not such an expression; the message names the field.
    """
    shape = _SHAPE.fullmatch(expression)
    fields = shape[1].upper().split(" ") if shape else []
    if len(fields) != 6:
        raise InvalidParameter("A cron expression has six fields with one space between them, as in cron(0 8 1 * ? *).")
    minutes, hours, day_of_month, month, day_of_week, year = fields
    return Cron(
        minutes=_numbers(_MINUTES, minutes),
        hours=_numbers(_HOURS, hours),
        days=_days(day_of_month, day_of_week),
        months=_numbers(_MONTH, month),
        years=_numbers(_YEAR, year),
    )


def _numbers(field: _Field, text: str) -> tuple[int, ...]:
    return tuple(sorted({value for item in text.split(",") for value in field.values(item)}))


def _days(day_of_month: str, day_of_week: str) -> tuple[DayRule, ...]:
    if (day_of_month == "?") == (day_of_week == "?"):
        raise InvalidParameter("Exactly one of the Day-of-month and Day-of-week fields must be '?'.")
    field, text = (_DAY_OF_WEEK, day_of_week) if day_of_month == "?" else (_DAY_OF_MONTH, day_of_month)
    rules = tuple(rule for item in text.split(",") for rule in field.day_rules(item))
    # The EventBridge reference: with `#`, the field holds that one expression only.
    if len(rules) > 1 and any(rule.kind == "nth weekday" for rule in rules):
        raise field.refusal(text)
    return rules
