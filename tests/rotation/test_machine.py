"""What machine.py promises: which step follows from which outcome, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keywheel.rotation import machine
from keywheel.rotation.machine import (
    FUNCTION_ATTEMPTS,
    LOGIN_BUDGET,
    MANUAL_WINDOW,
    NEXT,
    REATTEMPT,
    TEST_ATTEMPTS,
    Failure,
    Outcome,
    Rotation,
    Step,
    advance,
    backoff,
)

NOW = 1_000_000.0
CLOSES = NOW + 7_200.0
DUE = NOW + 90_000.0
GRACE_ENDS = NOW + 600.0
FAILURE = Failure(Step.SET, "TargetUnavailable", "db1 did not answer.")
ROTATING = Rotation(step=Step.CREATE, token="token", window_end=CLOSES, due=DUE, wake_at=NOW)
REHEARSING = replace(ROTATING, step=Step.TEST, rehearsal=True)
RETIRING = Rotation(step=Step.RETIRE, retiring="old", retire_at=NOW, due=DUE, wake_at=NOW)
WAITING = replace(RETIRING, token="token", window_end=CLOSES)
FAILED = replace(ROTATING, step=Step.SET, failure=FAILURE, window_end=None, wake_at=DUE)

UNSUCCESSFUL = [Outcome.RETRY, Outcome.AGAIN, Outcome.REFUSED]
STEPS = [Step.CREATE, Step.SET, Step.TEST, Step.FINISH]


def after(
    rotation: Rotation, outcome: Outcome, *, now: float = NOW, jitter: float = 0.5, function: bool = False
) -> Rotation:
    failure = None if outcome is Outcome.DONE else FAILURE
    return advance(rotation, outcome, now=now, jitter=jitter, failure=failure, from_start=function)


# --- every step, every outcome -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "following"), [(Step.CREATE, Step.SET), (Step.SET, Step.TEST), (Step.TEST, Step.FINISH)]
)
def test_a_step_that_is_done_is_followed_by_the_next_at_once(step: Step, following: Step) -> None:
    """The next step is due now, with the same token and window, and with nothing counted against it."""
    before = replace(ROTATING, step=step, attempt=3, failure=FAILURE)
    assert replace(ROTATING, step=following) == after(before, Outcome.DONE)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.AGAIN])
def test_a_step_without_an_answer_is_run_again_after_a_backoff(step: Step, outcome: Outcome) -> None:
    """Everything stays as it is, but for the attempt that is counted, the reason, and the timer."""
    before = replace(ROTATING, step=step)
    expected = replace(before, attempt=1, failure=FAILURE, wake_at=NOW + backoff(1, 0.5))
    assert expected == after(before, outcome)


@pytest.mark.parametrize("step", [step for step in STEPS if step is not Step.TEST])
def test_a_step_that_is_refused_fails_the_rotation_at_once(step: Step) -> None:
    """It keeps its step and its token, and waits for its next window."""
    failed = after(replace(ROTATING, step=step), Outcome.REFUSED)
    assert replace(FAILED, step=step, attempt=1) == failed
    assert failed.failed


@pytest.mark.parametrize(("step", "function"), [(Step.CREATE, False), *((step, True) for step in STEPS)])
def test_a_step_without_an_answer_to_the_end_of_the_window_fails_the_rotation(step: Step, function: bool) -> None:
    """A retry that would lie behind the window is not made, as long as the target is untouched or a function's."""
    last = CLOSES - backoff(1, 0.5)
    failed = after(replace(ROTATING, step=step), Outcome.RETRY, now=last, function=function)
    expected = Step.CREATE if function else step
    assert (failed.failed, failed.step, failed.token, failed.wake_at) == (True, expected, "token", DUE)


@pytest.mark.parametrize("step", [Step.SET, Step.TEST, Step.FINISH])
@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.AGAIN])
def test_what_may_have_changed_the_target_is_finished_whatever_the_window(step: Step, outcome: Outcome) -> None:
    """The window stops rotations from starting; AWSCURRENT may name a dead password by now."""
    before = replace(ROTATING, step=step, attempt=1_000)
    later = after(before, outcome, now=CLOSES + 1.0)
    assert (later.failed, later.step, later.wake_at) == (False, step, CLOSES + 1.0 + backoff(1_001, 0.5))


def test_a_new_password_that_is_refused_again_and_again_is_taken_back() -> None:
    """Two more tests, then the current value is set anew; only then the rotation is failed, with the first reason."""
    rotation = replace(ROTATING, step=Step.TEST)
    for attempt in range(1, TEST_ATTEMPTS):
        rotation = after(rotation, Outcome.REFUSED)
        assert (rotation.step, rotation.attempt, rotation.failed) == (Step.TEST, attempt, False)
    rotation = after(rotation, Outcome.REFUSED)
    assert (rotation.step, rotation.wake_at, rotation.failed, rotation.stuck) == (Step.REPAIR, NOW, False, False)
    failed = after(rotation, Outcome.DONE)
    assert (failed.failed, failed.step, failed.token, failed.failure) == (True, Step.SET, "token", FAILURE)


@pytest.mark.parametrize("outcome", UNSUCCESSFUL)
def test_a_repair_that_does_not_succeed_is_tried_again_for_ever(outcome: Outcome) -> None:
    """A published value that does not work is an outage: there is no window and no last attempt."""
    rotation = replace(ROTATING, step=Step.REPAIR, window_end=None)
    for attempt in range(1, 20):
        rotation = machine.advance(rotation, outcome, now=NOW, jitter=0.5, failure=replace(FAILURE, step=Step.REPAIR))
        assert (rotation.step, rotation.wake_at) == (Step.REPAIR, NOW + backoff(attempt, 0.5))
        assert rotation.stuck


def test_refused_logins_are_counted_for_an_hour_and_then_forgotten() -> None:
    """When the budget is spent, the next try waits for the end of the hour."""
    rotation = machine.counted(replace(ROTATING, step=Step.SET), LOGIN_BUDGET - 1, NOW)
    assert machine.logins_left(rotation, NOW + 1) == 1
    spent = machine.counted(rotation, 1, NOW + 1)
    assert machine.logins_left(spent, NOW + 2) == 0
    assert after(spent, Outcome.RETRY, now=NOW + 2).wake_at == NOW + 3_600
    assert after(rotation, Outcome.RETRY, now=NOW + 2).wake_at == NOW + 2 + backoff(1, 0.5)
    assert machine.logins_left(spent, NOW + 3_600) == LOGIN_BUDGET
    assert machine.counted(spent, 1, NOW + 3_600).refusals == 1


@pytest.mark.parametrize("step", [Step.SET, Step.TEST, Step.FINISH, Step.REPAIR])
def test_a_rotation_that_is_stopped_in_doubt_has_its_credential_checked(step: Step) -> None:
    """AWSCURRENT stays, and may be dead."""
    stopped = machine.abandoned(replace(ROTATING, step=step), due=DUE, now=NOW)
    assert (stopped.step, stopped.token, stopped.health, stopped.wake_at) == (Step.IDLE, None, machine.IN_DOUBT, NOW)


def test_a_retry_just_inside_the_window_is_made() -> None:
    """The window's end is the first instant at which nothing is tried."""
    retried = after(ROTATING, Outcome.RETRY, now=CLOSES - backoff(1, 0.5) - 0.001)
    assert not retried.failed
    assert retried.wake_at is not None
    assert retried.wake_at < CLOSES


@pytest.mark.parametrize("outcome", UNSUCCESSFUL)
def test_a_retirement_that_does_not_succeed_is_tried_again_for_ever(outcome: Outcome) -> None:
    """However often it was tried, it waits for its next try, and says why."""
    rotation = RETIRING
    for attempt in range(1, 40):
        now = rotation.wake_at or 0.0
        rotation = after(replace(rotation, due=None), outcome, now=now)
        retry = now + backoff(attempt, 0.5, 3_600.0)
        assert (Step.RETIRE, attempt, FAILURE, retry) == (
            rotation.step,
            rotation.attempt,
            rotation.failure,
            rotation.retire_at,
        )
        assert rotation.wake_at == rotation.retire_at
        assert not rotation.failed


def test_a_retired_credential_leaves_the_rotation_at_rest() -> None:
    """It sleeps until its schedule."""
    assert Rotation(due=DUE, wake_at=DUE) == after(replace(RETIRING, attempt=4, failure=FAILURE), Outcome.DONE)


def test_a_retired_credential_makes_way_for_the_rotation_that_waits() -> None:
    """A rotation that began in the grace period goes on with its first step."""
    assert after(WAITING, Outcome.DONE) == ROTATING


@pytest.mark.parametrize("outcome", UNSUCCESSFUL)
def test_a_waiting_rotation_does_not_wait_for_a_retirement_that_fails(outcome: Outcome) -> None:
    """Its own set replaces the old credential; that the retirement failed is not forgotten at once."""
    assert replace(ROTATING, failure=FAILURE) == after(WAITING, outcome)


# --- rehearsal -----------------------------------------------------------------------------------------------------


def test_a_rehearsal_runs_only_the_test() -> None:
    """It begins at the test, due now, and is marked as what it is."""
    begun = machine.rehearse(Rotation(due=DUE, wake_at=DUE), "token", now=NOW)
    assert replace(REHEARSING, window_end=NOW + MANUAL_WINDOW) == begun


def test_a_rehearsal_that_succeeds_ends_at_rest() -> None:
    """Nothing of it is left but the schedule."""
    assert Rotation(due=DUE, wake_at=DUE) == after(REHEARSING, Outcome.DONE)


@pytest.mark.parametrize("outcome", UNSUCCESSFUL)
def test_a_rehearsal_that_fails_ends_at_rest_and_says_why(outcome: Outcome) -> None:
    """It is not repeated and blocks nothing."""
    ended = after(REHEARSING, outcome)
    assert Rotation(due=DUE, wake_at=DUE, failure=FAILURE) == ended
    assert not ended.failed


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_rehearsal_in_the_grace_period_keeps_the_retirement(outcome: Outcome) -> None:
    """Whatever the test says, the old credential is retired when its grace period ends."""
    waiting = replace(RETIRING, retire_at=GRACE_ENDS, wake_at=GRACE_ENDS)
    ended = after(machine.rehearse(waiting, "token", now=NOW), outcome)
    assert (ended.step, ended.retiring, ended.retire_at, ended.wake_at) == (Step.RETIRE, "old", GRACE_ENDS, GRACE_ENDS)
    assert not ended.in_progress


# --- beginning, failing, going on ----------------------------------------------------------------------------------


def test_a_new_rotation_begins_with_create() -> None:
    """What happened to an earlier one is forgotten."""
    before = Rotation(due=DUE, wake_at=DUE, attempt=3, failure=FAILURE)
    assert machine.begin(before, "token", window_end=CLOSES, now=NOW) == ROTATING


def test_a_new_rotation_in_the_grace_period_retires_the_old_credential_first() -> None:
    """It is not left behind by a rotation that would forget it."""
    waiting = replace(RETIRING, retire_at=GRACE_ENDS, wake_at=GRACE_ENDS)
    begun = machine.begin(waiting, "token", window_end=CLOSES, now=NOW)
    assert replace(WAITING, retire_at=GRACE_ENDS) == begun


@pytest.mark.parametrize(
    ("due", "expected"),
    [(None, NOW + REATTEMPT), (NOW - 1, NOW + REATTEMPT), (NOW, NOW + REATTEMPT), (NOW + 1, NOW + 1), (DUE, DUE)],
)
def test_a_failed_rotation_waits_for_its_next_window(due: float | None, expected: float) -> None:
    """Without a schedule, or with one that is not ahead, it is attempted again after a day."""
    failed = after(replace(ROTATING, due=due), Outcome.REFUSED)
    assert (expected, due) == (failed.wake_at, failed.due)


@pytest.mark.parametrize("obstacle", [None, "a label is in the way"])
def test_a_postponed_rotation_is_at_rest_and_says_what_is_in_the_way(obstacle: str | None) -> None:
    """It waits for its next window; a window that was only missed is nobody's fault."""
    postponed = machine.postponed(Rotation(due=DUE, wake_at=NOW), obstacle)
    failure = None if obstacle is None else Failure(Step.CREATE, "RotationPostponed", obstacle)
    assert postponed == Rotation(due=DUE, wake_at=DUE, failure=failure)
    assert not postponed.failed


def test_what_is_in_the_way_hides_no_overdue_retirement() -> None:
    """The old credential that lives on is the graver matter."""
    overdue = replace(RETIRING, retire_at=GRACE_ENDS, wake_at=GRACE_ENDS, failure=FAILURE)
    assert machine.postponed(overdue, "a label is in the way") == overdue


def test_a_failed_rotation_goes_on_from_the_step_it_failed_at() -> None:
    """With the same token, so with the same pending value, and with a window of its own."""
    again = machine.reattempt(replace(FAILED, attempt=7), window_end=CLOSES, now=NOW)
    assert replace(ROTATING, step=Step.SET, failure=FAILURE) == again
    assert not again.failed


@pytest.mark.parametrize("rotation", [Rotation(), ROTATING, REHEARSING, RETIRING, WAITING])
def test_a_rotation_that_has_not_given_up_is_not_failed(rotation: Rotation) -> None:
    """Neither at rest, nor under way, nor retiring."""
    assert not rotation.failed
    assert not replace(rotation, failure=FAILURE).failed


# --- a rotation function -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_a_function_that_fails_is_run_again_from_its_first_step(step: Step) -> None:
    """As AWS does: the entire process is repeated with the same token."""
    again = after(replace(ROTATING, step=step), Outcome.AGAIN, function=True)
    assert (again.step, again.token, again.attempt) == (Step.CREATE, "token", 1)


@pytest.mark.parametrize("step", STEPS)
def test_a_function_that_fails_at_any_step_is_run_a_bounded_number_of_times(step: Step) -> None:
    """The steps that succeed in between do not begin the count anew."""
    rotation, runs = ROTATING, 0
    while not rotation.failed:
        while rotation.step is not step:
            rotation = after(rotation, Outcome.DONE, function=True)
        rotation = after(rotation, Outcome.AGAIN, function=True)
        runs += 1
    assert runs == FUNCTION_ATTEMPTS
    assert rotation.step is Step.CREATE


def test_a_defect_in_a_built_in_rotator_is_tried_a_bounded_number_of_times() -> None:
    """An unexpected error is no reason to go on for a whole window, as long as the target is untouched."""
    rotation, runs = replace(ROTATING, step=Step.CREATE), 0
    while not rotation.failed:
        rotation, runs = after(rotation, Outcome.AGAIN), runs + 1
    assert (runs, rotation.step) == (FUNCTION_ATTEMPTS, Step.CREATE)


# --- the end -------------------------------------------------------------------------------------------------------


def test_a_finished_rotation_retires_the_old_credential_after_its_grace() -> None:
    """The grace period wakes it before the schedule."""
    expected = replace(RETIRING, retire_at=GRACE_ENDS, wake_at=GRACE_ENDS)
    assert expected == machine.finished(retiring="old", retire_at=GRACE_ENDS, due=DUE)


@pytest.mark.parametrize(("retiring", "retire_at"), [(None, NOW), ("old", None), (None, None)])
def test_a_finished_rotation_with_nothing_to_retire_is_at_rest(retiring: str | None, retire_at: float | None) -> None:
    """No old credential, or one that lives until its next turn."""
    assert Rotation(due=DUE, wake_at=DUE) == machine.finished(retiring=retiring, retire_at=retire_at, due=DUE)


@pytest.mark.parametrize("rotation", [ROTATING, REHEARSING, replace(ROTATING, attempt=3, failure=FAILURE)])
def test_an_abandoned_rotation_is_at_rest(rotation: Rotation) -> None:
    """Its token, its attempts and its failure are gone; the new schedule holds."""
    assert Rotation(due=CLOSES, wake_at=CLOSES) == machine.abandoned(rotation, due=CLOSES, now=NOW)


def test_abandoning_a_rotation_keeps_the_retirement_that_it_waited_for() -> None:
    """The old credential is retired as if the rotation had never begun."""
    waiting = replace(WAITING, retire_at=GRACE_ENDS)
    expected = replace(RETIRING, retire_at=GRACE_ENDS, wake_at=GRACE_ENDS)
    assert expected == machine.abandoned(waiting, due=DUE, now=NOW)


def test_abandoning_nothing_keeps_an_overdue_retirement_visible() -> None:
    """Its attempts and its failure stay."""
    overdue = replace(RETIRING, attempt=5, failure=FAILURE)
    assert overdue == machine.abandoned(overdue, due=DUE, now=NOW)


@pytest.mark.parametrize(
    ("due", "retire_at", "wake_at"),
    [
        (None, None, None),
        (DUE, None, DUE),
        (None, GRACE_ENDS, GRACE_ENDS),
        (DUE, GRACE_ENDS, GRACE_ENDS),
        (1.0, 2.0, 1.0),
    ],
)
def test_at_rest_it_wakes_for_whatever_comes_first(
    due: float | None, retire_at: float | None, wake_at: float | None
) -> None:
    """The schedule or the end of the grace period; without either, never."""
    assert wake_at == machine.settle(Rotation(due=due, retire_at=retire_at)).wake_at


# --- backoff -------------------------------------------------------------------------------------------------------


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_a_backoff_is_spread_over_the_upper_half_of_its_ceiling(attempt: int, jitter: float) -> None:
    """The ceiling doubles from two seconds to five minutes and stays there."""
    ceiling = min(300.0, 2.0 ** min(attempt, 9))
    assert ceiling / 2 <= backoff(attempt, jitter) <= ceiling


@given(attempt=st.integers(1, 7), early=st.floats(0, 1, exclude_max=True), late=st.floats(0, 1, exclude_max=True))
def test_a_backoff_gets_no_shorter_on_the_way_to_its_ceiling(attempt: int, early: float, late: float) -> None:
    """Each waits at least as long as the one before could have."""
    assert backoff(attempt, early) <= backoff(attempt + 1, late)


# --- from any reachable state --------------------------------------------------------------------------------------


class AnyHistory(RuleBasedStateMachine):
    """Rotations of one secret, asked for, failing, abandoned and going on as they may."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.tokens = 0
        self.token: str | None = None
        self.rotation = Rotation()

    def step(self, outcome: Outcome, *, jitter: float = 0.0, function: bool = False) -> None:
        """What the worker does when it is woken."""
        self.now = max(self.now, self.rotation.wake_at or self.now)
        if self.rotation.failed:
            self.rotation = machine.reattempt(self.rotation, window_end=self.now + MANUAL_WINDOW, now=self.now)
        if self.rotation.step is Step.FINISH and outcome is Outcome.DONE:
            self.rotation = machine.finished(retiring="old", retire_at=self.now + 60.0, due=self.rotation.due)
        else:
            self.rotation = after(self.rotation, outcome, now=self.now, jitter=jitter, function=function)

    @precondition(lambda self: self.token is None)
    @rule(rehearsal=st.booleans(), window=st.floats(1, 100_000))
    def begin(self, rehearsal: bool, window: float) -> None:
        self.tokens += 1
        self.token = f"token-{self.tokens}"
        if rehearsal:
            self.rotation = machine.rehearse(self.rotation, self.token, now=self.now)
        else:
            self.rotation = machine.begin(self.rotation, self.token, window_end=self.now + window, now=self.now)

    @precondition(lambda self: self.rotation.step is not Step.IDLE)
    @rule(outcome=st.sampled_from(Outcome), jitter=st.floats(0, 1, exclude_max=True), function=st.booleans())
    def run(self, outcome: Outcome, jitter: float, function: bool) -> None:
        before = self.rotation
        self.step(outcome, jitter=jitter, function=function)
        if before.rehearsal or (outcome is Outcome.DONE and before.step is Step.FINISH):
            self.token = None

    @rule(due=st.none() | st.floats(NOW, 2 * NOW))
    def abandon(self, due: float | None) -> None:
        self.rotation, self.token = machine.abandoned(self.rotation, due=due, now=self.now), None

    @rule(seconds=st.floats(0, 200_000))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def there_is_one_token(self) -> None:
        assert self.rotation.token == self.token

    @invariant()
    def what_is_not_at_rest_has_a_timer(self) -> None:
        if self.rotation.in_progress or self.rotation.retiring is not None:
            assert self.rotation.wake_at is not None

    @invariant()
    def a_step_has_what_it_needs(self) -> None:
        rotation = self.rotation
        assert (rotation.retiring is None) == (rotation.retire_at is None)
        assert (rotation.step is Step.RETIRE or rotation.rehearsal) or rotation.retiring is None
        assert (rotation.step is Step.IDLE) == (not rotation.in_progress and rotation.retiring is None)

    def teardown(self) -> None:
        """With a target that answers, whatever was begun is finished, and then the old credential is retired."""
        steps = 0
        while self.rotation.step is not Step.IDLE:
            self.step(Outcome.DONE)
            steps += 1
            assert steps <= len(NEXT) + 4
        assert not self.rotation.in_progress
        assert self.rotation.failure is None or steps == 0


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
