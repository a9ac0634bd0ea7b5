"""Schedules as DescribeSecret and ListSecrets show them (aws-contract A10)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.server import Server, refusal

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)


def configure(api: Any, name: str, **rules: Any) -> dict[str, Any]:
    """Give a secret without a value a schedule; what DescribeSecret shows then."""
    api.create_secret(Name=name)
    api.rotate_secret(SecretId=name, RotationLambdaARN=FUNCTION, RotationRules=rules, RotateImmediately=False)
    described: dict[str, Any] = api.describe_secret(SecretId=name)
    return described


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 8/8 * * ? *)",
        "cron(0 10 * * ? *)",
        "cron(0 18 ? * SAT *)",
        "cron(0 8 1 * ? *)",
        "cron(0 1 ? 1/3 SUN#1 *)",
        "cron(0 17 L * ? *)",
        "cron(0 8 ? * MON-FRI *)",
        "cron(0 16 1,15 * ? *)",
        "cron(0 2/10 * * ? *)",
        "cron(0 /8 * * ? *)",
        "cron(0 0 ? * SUNL *)",
        "rate(4 hours)",
        "rate(1 day)",
        "rate(10 days)",
    ],
)
def test_an_expression_of_awss_guide_is_served(api: Any, name: str, expression: str) -> None:
    """It comes back with the days that it comes to, and a next date: the last second of a window to come."""
    described = configure(api, name, ScheduleExpression=expression)
    assert expression == described["RotationRules"]["ScheduleExpression"]
    assert 1 <= described["RotationRules"]["AutomaticallyAfterDays"] <= 1000
    latest = described["NextRotationDate"].astimezone(UTC)
    assert (latest.minute, latest.second) == (59, 59)
    assert datetime.now(UTC) < latest < datetime.now(UTC) + 400 * DAY


@pytest.mark.parametrize(
    "rules",
    [
        {"ScheduleExpression": "rate(3 hours)"},
        {"ScheduleExpression": "rate(30 minutes)"},
        {"ScheduleExpression": "rate(0 days)"},
        {"ScheduleExpression": "rate(1000 days)"},
        {"ScheduleExpression": "rate(10 weeks)"},
        {"ScheduleExpression": "rate(10days)"},
        {"ScheduleExpression": "cron(5 10 * * ? *)"},
        {"ScheduleExpression": "cron(0 10 * * ? 2027)"},
        {"ScheduleExpression": "cron(0 10 * * * *)"},
        {"ScheduleExpression": "cron(0 10 ? * ? *)"},
        {"ScheduleExpression": "cron(0 10 1 * MON *)"},
        {"ScheduleExpression": "cron(0 10 * * ?)"},
        {"ScheduleExpression": "cron(0 24 * * ? *)"},
        {"ScheduleExpression": "cron(0 /3 * * ? *)"},
        {"ScheduleExpression": "cron(0 10 31 2 ? *)"},
        {"ScheduleExpression": "0 10 * * ? *"},
        {"ScheduleExpression": "daily"},
        {"ScheduleExpression": "rate(4 hours)", "Duration": "5h"},
        {"ScheduleExpression": "cron(0 22 * * ? *)", "Duration": "3h"},
        {"ScheduleExpression": "rate(10 days)", "Duration": "25h"},
        {"ScheduleExpression": "rate(10 days)", "Duration": "0h"},
        {"ScheduleExpression": "rate(10 days)", "Duration": "3m"},
        {"AutomaticallyAfterDays": 5, "Duration": "30h"},
    ],
)
def test_a_schedule_that_secrets_manager_does_not_serve_is_refused(api: Any, name: str, rules: dict[str, Any]) -> None:
    """Before anything is configured."""
    api.create_secret(Name=name)
    code, _ = refusal(api.rotate_secret, SecretId=name, RotationLambdaARN=FUNCTION, RotationRules=rules)
    assert code in ("InvalidParameterException", "ValidationException")
    described = api.describe_secret(SecretId=name)
    assert set() == {"RotationEnabled", "RotationRules", "RotationLambdaARN", "VersionIdsToStages"} & set(described)


def end_of_day(day: datetime) -> datetime:
    """The last second of a UTC day."""
    return day.replace(hour=23, minute=59, second=59, microsecond=0)


def hour_of_next_day(now: datetime, hours: int) -> datetime:
    """The last second of the `hours`-th hour of tomorrow."""
    return end_of_day(now) + hours * HOUR


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"AutomaticallyAfterDays": 10}, lambda now: end_of_day(now) + 10 * DAY),
        ({"AutomaticallyAfterDays": 10, "Duration": "3h"}, lambda now: hour_of_next_day(now, 3) + 9 * DAY),
        ({"ScheduleExpression": "rate(10 days)"}, lambda now: end_of_day(now) + 10 * DAY),
        ({"ScheduleExpression": "rate(10 days)", "Duration": "3h"}, lambda now: hour_of_next_day(now, 3) + 9 * DAY),
        ({"ScheduleExpression": "rate(4 hours)"}, lambda now: hour_of_next_day(now, 1)),
        ({"ScheduleExpression": "rate(4 hours)", "Duration": "4h"}, lambda now: hour_of_next_day(now, 4)),
    ],
)
def test_the_next_date_is_the_last_second_of_the_next_window(
    api: Any, name: str, rules: dict[str, Any], expected: Callable[[datetime], datetime]
) -> None:
    """In UTC, whatever the window's length."""
    before = datetime.now(UTC)
    latest = configure(api, name, **rules)["NextRotationDate"].astimezone(UTC)
    assert latest in {expected(before), expected(datetime.now(UTC))}


def test_a_window_that_is_open_counts_as_long_as_the_secret_s_own_instant_in_it_is_to_come(api: Any, name: str) -> None:
    """Secrets are spread over the window, so for some of them the window of today is over for this day."""
    days = {end_of_day(datetime.now(UTC)) + n * DAY for n in (0, 1)}
    latest = configure(api, name, ScheduleExpression="cron(0 0 * * ? *)")["NextRotationDate"].astimezone(UTC)
    assert latest in days | {end_of_day(datetime.now(UTC)) + DAY}


def test_days_are_shown_beside_an_expression(api: Any, name: str) -> None:
    """AutomaticallyAfterDays is computed from the schedule; Duration is shown as it was given."""
    described = configure(api, name, ScheduleExpression="rate(10 days)", Duration="2h")
    expected = {"AutomaticallyAfterDays": 10, "ScheduleExpression": "rate(10 days)", "Duration": "2h"}
    assert expected == described["RotationRules"]


def test_writing_back_what_was_read_is_refused(api: Any, name: str) -> None:
    """As at AWS: what DescribeSecret shows holds both days and an expression."""
    described = configure(api, name, ScheduleExpression="rate(10 days)")
    code, message = refusal(api.rotate_secret, SecretId=name, RotationRules=described["RotationRules"])
    assert (code, message.startswith("You cannot specify both")) == ("InvalidParameterException", True)


def test_a_value_put_by_hand_counts_as_a_rotation(api: Any, name: str) -> None:
    """So the days begin to count anew; here on the same day, so that only the date can tell."""
    configure(api, name, AutomaticallyAfterDays=10)
    api.put_secret_value(SecretId=name, SecretString="v")
    api.put_secret_value(SecretId=name, SecretString="w")
    described = api.describe_secret(SecretId=name)
    assert described["NextRotationDate"].astimezone(UTC) == end_of_day(datetime.now(UTC)) + 10 * DAY
    assert "LastRotatedDate" not in described


def test_a_list_shows_rotation_as_describe_does(server: Server, region: str) -> None:
    """The members are the same ones."""
    api = server.client(region)
    api.create_secret(Name="listed")
    rules = {"ScheduleExpression": "cron(0 10 * * ? *)", "Duration": "2h"}
    function = FUNCTION.replace("us-east-1", region)
    api.rotate_secret(SecretId="listed", RotationLambdaARN=function, RotationRules=rules, RotateImmediately=False)
    described = api.describe_secret(SecretId="listed")
    (listed,) = api.list_secrets()["SecretList"]
    assert {key: described[key] for key in listed} == listed
    assert {"RotationEnabled", "RotationLambdaARN", "RotationRules", "NextRotationDate"} <= set(listed)
