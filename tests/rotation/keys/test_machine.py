"""The rotation behind an alias as a table, cell by cell; and the stages of a former key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keywheel.keys import states
from keywheel.rotation.keys.formers import Deed, Former, Held, Stage, deed_at, enter, hold, holder, leave
from keywheel.rotation.keys.machine import (
    MOST_FAILURES,
    Failure,
    Outcome,
    Rotation,
    Step,
    advance,
    begin,
    is_due,
    plan,
    refuse,
)
from keywheel.rotation.keys.rules import Rules

NOW = 1_000_000.0
FAILURE = Failure(Step.TEST, "Code", "a reason")
DAY = 86_400


def at(step: Step, **members: object) -> Rotation:
    rotation = begin(Rotation(due=NOW), NOW, run="run", old_key="old", new_key="new")
    return replace(rotation, step=step, **members)  # type: ignore[arg-type] # as the test says


@pytest.mark.parametrize(
    ("step", "outcome", "following"),
    [
        (Step.CREATE, Outcome.DONE, Step.COPY),
        (Step.COPY, Outcome.DONE, Step.TEST),
        (Step.TEST, Outcome.DONE, Step.MOVE),
        (Step.ANNOUNCE, Outcome.DONE, Step.MOVE),
        (Step.MOVE, Outcome.DONE, Step.REST),
        (Step.DISCARD, Outcome.DONE, Step.REST),
        (Step.DISCARD, Outcome.REFUSED, Step.REST),
        *[(step, Outcome.AWAY, step) for step in Step if step is not Step.REST],
        *[
            (step, Outcome.REFUSED, Step.DISCARD)
            for step in (Step.CREATE, Step.COPY, Step.TEST, Step.ANNOUNCE, Step.MOVE)
        ],
    ],
)
def test_each_outcome_of_each_step_leads_somewhere(step: Step, outcome: Outcome, following: Step) -> None:
    """The new key is the same as long as it is not given up."""
    rotation = advance(at(step), outcome, NOW, failure=FAILURE)
    assert rotation.step is following
    assert rotation.new_key == "new"


def test_a_lead_is_waited_for_unless_it_is_urgent() -> None:
    """The new key is announced meanwhile."""
    announced = advance(at(Step.TEST), Outcome.DONE, NOW, lead=3_600.0)
    assert (announced.step, announced.wake_at) == (Step.ANNOUNCE, NOW + 3_600.0)
    assert advance(at(Step.TEST, urgent=True), Outcome.DONE, NOW, lead=3_600.0).step is Step.MOVE


def test_a_key_store_that_is_away_is_asked_ever_more_seldom() -> None:
    """But at least every five minutes."""
    rotation, waits = at(Step.CREATE), []
    for _ in range(12):
        rotation = advance(rotation, Outcome.AWAY, NOW, failure=FAILURE)
        assert rotation.wake_at is not None
        waits.append(rotation.wake_at - NOW)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (2.0, 300.0)


def test_a_scheduled_rotation_is_attempted_for_ever_and_one_that_was_asked_for_is_given_up() -> None:
    """With a pause of a day at the most."""
    scheduled, asked = Rotation(due=NOW), Rotation()
    for _ in range(2 * MOST_FAILURES):
        scheduled, asked = refuse(scheduled, FAILURE, NOW), refuse(asked, FAILURE, NOW)
    assert scheduled.wake_at == NOW + DAY
    assert asked.wake_at is None
    assert refuse(Rotation(), FAILURE, NOW).wake_at == NOW + 60.0


def test_a_success_forgets_the_failures() -> None:
    """And plans what comes next."""
    moved = plan(advance(at(Step.MOVE, failures=3, failure=FAILURE), Outcome.DONE, NOW), NOW + 5.0)
    assert (moved.failures, moved.failure, moved.rotated, moved.wake_at) == (0, None, NOW, NOW + 5.0)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (Rotation(), False),
        (Rotation(due=NOW + 1, wake_at=NOW + 1), False),
        (Rotation(due=NOW, wake_at=NOW), True),
        (Rotation(due=None, wake_at=NOW), False),
        (Rotation(due=None, wake_at=NOW, failure=FAILURE), True),
        (Rotation(due=NOW, wake_at=NOW + 60, failure=FAILURE), False),
        (at(Step.COPY), False),
    ],
)
def test_a_rotation_begins_when_it_is_due_or_failed(rotation: Rotation, expected: bool) -> None:
    """And never while one is under way."""
    assert is_due(rotation, NOW) is expected


@pytest.mark.parametrize(
    ("stage", "rules", "expected"),
    [
        (Stage.GRACE, Rules(), (Deed.NOTHING, None)),
        (Stage.GRACE, Rules(grace=DAY), (Deed.DISABLE, NOW + DAY)),
        (Stage.DISABLED, Rules(grace=DAY), (Deed.NOTHING, None)),
        (Stage.DISABLED, Rules(grace=DAY, delete_after=DAY), (Deed.DELETE, NOW + DAY)),
        (Stage.DELETING, Rules(grace=DAY, delete_after=DAY), (Deed.NOTHING, None)),
    ],
)
def test_each_stage_has_its_deed(stage: Stage, rules: Rules, expected: tuple[Deed, float | None]) -> None:
    """Where the rules have one."""
    assert deed_at(Former("key", stage, NOW), rules) == expected


def test_a_missed_use_starts_the_watch_anew() -> None:
    """And a stage that is entered forgets it."""
    rules = Rules(grace=0, delete_after=DAY)
    missed = replace(enter(leave("key", NOW), Stage.DISABLED, rules, NOW), missed=NOW + 500.0)
    assert deed_at(missed, rules) == (Deed.DELETE, NOW + 500.0 + DAY)
    assert enter(missed, Stage.DELETING, rules, NOW).missed is None


@pytest.mark.parametrize(
    ("deed", "state", "named", "needed", "expected"),
    [
        (Deed.DISABLE, states.ENABLED, False, False, None),
        (Deed.DISABLE, states.ENABLED, True, False, Held.ALIAS),
        (Deed.DISABLE, states.ENABLED, False, True, Held.SECRETS),
        (Deed.DELETE, states.DISABLED, False, False, None),
        (Deed.DELETE, states.ENABLED, False, False, Held.ENABLED),
        (Deed.DELETE, states.DISABLED, True, True, Held.ALIAS),
        (Deed.DELETE, states.DISABLED, False, True, Held.SECRETS),
    ],
)
def test_what_is_needed_is_not_led_on(deed: Deed, state: str, named: bool, needed: bool, expected: Held | None) -> None:
    """It is looked at again in a day."""
    assert holder(deed, state, named=named, needed=needed) is expected
    assert hold(leave("key", NOW), Held.ALIAS, NOW).wake_at == NOW + DAY
