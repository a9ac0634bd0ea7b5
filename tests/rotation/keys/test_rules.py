"""When an alias is rotated, and which rules are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keywheel.clock import from_epoch, to_epoch
from keywheel.errors import CallerError
from keywheel.rotation.keys.rules import Rules, check, longest_gap, next_due

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
DAY = 86_400


def due(rules: Rules, after: datetime = NOW, since: datetime = NOW, seed: str = "alias/k") -> datetime | None:
    found = next_due(rules, after, since=since, seed=seed)
    return None if found is None else from_epoch(found)


@pytest.mark.parametrize(
    ("expression", "first", "second"),
    [
        ("cron(0 0 1 * ? *)", datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        ("cron(15 2 ? * MON#1 *)", datetime(2026, 2, 2, 2, 15, tzinfo=UTC), datetime(2026, 3, 2, 2, 15, tzinfo=UTC)),
        ("cron(0 12 LW * ? *)", datetime(2026, 1, 30, 12, tzinfo=UTC), datetime(2026, 2, 27, 12, tzinfo=UTC)),
        ("rate(30 days)", NOW + timedelta(days=30), NOW + timedelta(days=60)),
        ("rate(1 hour)", NOW + timedelta(hours=1), NOW + timedelta(hours=2)),
    ],
)
def test_an_expression_names_its_instants(expression: str, first: datetime, second: datetime) -> None:
    """EventBridge's grammar, whole; a rate counts from when it was given."""
    rules = Rules(expression=expression)
    assert due(rules) == first
    assert due(rules, after=first) == second


def test_a_window_spreads_aliases_and_never_repeats_itself() -> None:
    """Each alias has its own instant in each window."""
    rules = Rules(expression="cron(0 0 1 * ? *)", window=DAY)
    opens = datetime(2026, 2, 1, tzinfo=UTC)
    found = {due(rules, seed=f"alias/{n}") for n in range(50)}
    assert len(found) > 40
    assert all(each is not None and opens <= each < opens + timedelta(days=1) for each in found)
    first = due(rules)
    assert first is not None
    second = due(rules, after=first)
    assert second is not None
    assert second >= datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(expression="every day"),
        Rules(expression="rate(0 days)"),
        Rules(expression="rate(30 minutes)"),
        Rules(expression="cron(0 0 1 1 ? 2020)"),
        Rules(expression="cron(*/5 * * * ? *)"),
        Rules(expression="cron(0 0 1 * *)"),
        Rules(window=-1),
        Rules(window=2 * DAY),
        Rules(lead=31 * DAY),
        Rules(grace=-1),
        Rules(delete_after=DAY),
        Rules(grace=0, delete_after=0, deletion_window=6),
        Rules(grace=0, delete_after=0, deletion_window=31),
    ],
)
def test_what_makes_no_sense_is_refused(rules: Rules) -> None:
    """And its text says why."""
    with pytest.raises(CallerError) as refused:
        check(rules, "alias/k", NOW)
    assert refused.value.message


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        (None, None),
        ("rate(30 days)", 30),
        ("rate(12 hours)", 0.5),
        ("cron(0 0 1 * ? *)", 31),
        ("cron(0 0 1 1 ? 2027)", None),
        ("cron(0 0 ? * SUN *)", 7),
    ],
)
def test_the_longest_gap_is_what_a_bound_is_compared_to(expression: str | None, days: float | None) -> None:
    """A schedule that ends keeps nothing under rotation."""
    assert longest_gap(Rules(expression=expression), to_epoch(NOW)) == (None if days is None else days * DAY)
