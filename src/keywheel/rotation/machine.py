"""A rotation, its steps, and what follows from each outcome. Pure: a table and a few functions.

    idle ── due ──▶ create ──▶ set ──▶ test ──▶ finish ──▶ retire ──▶ idle
                                │       └─ refused ──▶ repair ──▶ failed
                     rehearsal: └─────▶ test ──▶ idle

* The row says which step to run again after a crash; the pending version says with what value.
* Being at `set` *is* the intent: from then on the target may hold the old value or the new one.
* Nothing is known (`RETRY`): the same step again after a backoff, as long as the window is open. From set on the
  window has no say: it stops rotations from starting, and one that may have changed the target is always finished.
* Test refused, again and again: the current value is set anew (repair), and only then is the rotation failed.
* A rotation function failed (`AGAIN`): as `RETRY`, at most `FUNCTION_ATTEMPTS` times, from its first step.
* Refused: the rotation is failed at once. It keeps its step, its token and its pending value, and goes on from there
  when it is attempted again: in the next window, after `REATTEMPT` where there is no schedule, or on RotateSecret.
* Retiring the old credential never fails for good: it is tried again for ever, and AWSCURRENT is not touched. Nor does
  repairing: it is tried again for ever, since a published value that does not work is an outage.
* A secret at rest may be verified: does the published credential still work? What the check found is its health.
* Refused logins are counted over steps and hours; when the budget is spent, nothing is asked until the hour is over.
* `wake_at` is the only timer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Step(StrEnum):
    """Where a rotation stands: the step to run next."""

    IDLE = "idle"
    CREATE = "create"
    SET = "set"
    TEST = "test"
    FINISH = "finish"
    RETIRE = "retire"
    REPAIR = "repair"


class Outcome(StrEnum):
    """How a step ended."""

    DONE = "done"
    RETRY = "retry"
    AGAIN = "again"
    REFUSED = "refused"


NEXT = {Step.CREATE: Step.SET, Step.SET: Step.TEST, Step.TEST: Step.FINISH}

# The `Step` member of a rotation function's event, by step. Retiring and repairing are the engine's own.
WIRE_STEPS = {
    Step.CREATE: "createSecret",
    Step.SET: "setSecret",
    Step.TEST: "testSecret",
    Step.FINISH: "finishSecret",
}

FUNCTION_ATTEMPTS = 5
REATTEMPT = 86_400.0  # seconds until a failed rotation without a schedule is attempted again
MANUAL_WINDOW = 3_600.0  # seconds that a rotation asked for by RotateSecret is tried
TEST_ATTEMPTS = 3  # a new password may need a moment to be known everywhere
LOGIN_BUDGET = 6  # refused logins of a secret's rotation in an hour without one that succeeded
_HOUR = 3_600.0
_BACKOFF_FIRST, _BACKOFF_MOST, _RETIRE_MOST = 1.0, 300.0, 3_600.0
IN_DOUBT = "InDoubt"  # the health of a secret whose rotation was stopped when the target may have been changed
_IN_DOUBT = (Step.SET, Step.TEST, Step.FINISH)  # the target may hold the new value already


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last attempt did not succeed. `reason` is keywheel's own text; a driver's never gets here."""

    step: Step
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """The state of a secret's rotation. Instants are seconds since the epoch."""

    step: Step = Step.IDLE
    token: str | None = None
    rehearsal: bool = False
    attempt: int = 0
    window_end: float | None = None
    due: float | None = None
    retiring: str | None = None
    retire_at: float | None = None
    failure: Failure | None = None
    refusals: int = 0
    refusals_since: float | None = None
    verify_at: float | None = None
    verified: float | None = None
    health: str | None = None
    wake_at: float | None = None

    @property
    def failed(self) -> bool:
        """It gave up for now, and waits to be attempted again."""
        return self.failure is not None and self.window_end is None and self.step in WIRE_STEPS

    @property
    def stuck(self) -> bool:
        """The published value does not work, and nobody that is known may set it."""
        return self.step is Step.REPAIR and self.failure is not None and self.failure.step is Step.REPAIR

    @property
    def in_progress(self) -> bool:
        """A rotation is under way, or failed and not complete."""
        return self.token is not None


def begin(rotation: Rotation, token: str, *, window_end: float, now: float) -> Rotation:
    """A new rotation with `token`. Where an old credential still waits to be retired, that comes first."""
    step = Step.RETIRE if rotation.step is Step.RETIRE else Step.CREATE
    return replace(
        rotation,
        step=step,
        token=token,
        rehearsal=False,
        attempt=0,
        window_end=window_end,
        failure=None,
        wake_at=now,
    )


def rehearse(rotation: Rotation, token: str, *, now: float) -> Rotation:
    """Only testSecret, on the temporary version `token`."""
    return replace(begin(rotation, token, window_end=now + MANUAL_WINDOW, now=now), step=Step.TEST, rehearsal=True)


def reattempt(rotation: Rotation, *, window_end: float, now: float) -> Rotation:
    """A failed rotation goes on from the step it failed at."""
    return replace(rotation, attempt=0, window_end=window_end, wake_at=now)


def logins_left(rotation: Rotation, now: float) -> int:
    """How many more logins may be refused now."""
    since = rotation.refusals_since
    return LOGIN_BUDGET if since is None or now - since >= _HOUR else max(0, LOGIN_BUDGET - rotation.refusals)


def counted(rotation: Rotation, refused: int, now: float) -> Rotation:
    """With `refused` more refused logins."""
    if refused == 0:
        return rotation
    since = rotation.refusals_since
    if since is None or now - since >= _HOUR:
        return replace(rotation, refusals=refused, refusals_since=now)
    return replace(rotation, refusals=rotation.refusals + refused)


def asked_to_repair(rotation: Rotation, *, now: float) -> Rotation:
    """On a person's word: tried now, whatever was refused before; at rest, also a value that was never seen to work."""
    fresh = replace(rotation, attempt=0, refusals=0, refusals_since=None, wake_at=now)
    return fresh if rotation.in_progress else replace(fresh, health=IN_DOUBT, verify_at=now)


def advance(
    rotation: Rotation,
    outcome: Outcome,
    *,
    now: float,
    jitter: float,
    failure: Failure | None = None,
    from_start: bool = False,
) -> Rotation:
    """What follows from `outcome` of the present step. `jitter` is in [0, 1); `from_start`: a function's retry."""
    if outcome is Outcome.DONE:
        return _done(rotation, now, keep_attempt=from_start)
    if rotation.step is Step.RETIRE:
        return _retire_later(rotation, failure, now, jitter)
    if rotation.rehearsal:
        return _ended(rotation, failure)
    attempt = rotation.attempt + 1
    again = _not_before_budget(rotation, now, now + backoff(attempt, jitter))
    step = Step.CREATE if from_start else rotation.step
    following = replace(rotation, step=step, attempt=attempt, failure=failure, wake_at=again)
    if rotation.step is Step.REPAIR:
        return following
    if rotation.step is Step.TEST and outcome is Outcome.REFUSED and not from_start:
        return following if attempt < TEST_ATTEMPTS else _repair(following, now)
    in_doubt = rotation.step in _IN_DOUBT and not from_start
    exhausted = outcome is Outcome.AGAIN and attempt >= FUNCTION_ATTEMPTS
    closed = again >= (rotation.window_end or 0.0)
    if outcome is Outcome.REFUSED or ((exhausted or closed) and not in_doubt):
        return give_up(following, due=rotation.due, now=now)
    return following


def verified(rotation: Rotation, health: str | None, *, now: float, again: float | None) -> Rotation:
    """At rest, after the published credential was checked; the next check is at `again`. No health: it works."""
    seen = rotation.verified if health is not None else now
    return settle(replace(rotation, health=health, verified=seen, verify_at=again))


def postponed(rotation: Rotation, obstacle: str | None) -> Rotation:
    """At rest to the next window. `obstacle` is why this one could not be used, where a person has to act."""
    if obstacle is not None and rotation.retiring is None:
        rotation = replace(rotation, failure=Failure(Step.CREATE, "RotationPostponed", obstacle))
    return settle(rotation)


def give_up(rotation: Rotation, *, due: float | None, now: float) -> Rotation:
    """The rotation is failed: it waits for its next window, which begins at `due`."""
    next_try = due if due is not None and due > now else now + REATTEMPT
    return replace(rotation, due=due, window_end=None, wake_at=next_try)


def finished(
    *,
    retiring: str | None,
    retire_at: float | None,
    due: float | None,
    now: float | None = None,
    verify_at: float | None = None,
) -> Rotation:
    """The labels have moved: what is left is the old credential, at `retire_at` (None: not before its next turn).

    `now` is when the new credential was seen to work; None where a rotation function saw it.
    """
    idle = Rotation(due=due, verified=now, verify_at=verify_at)
    if retiring is None or retire_at is None:
        return settle(idle)
    return settle(replace(idle, step=Step.RETIRE, retiring=retiring, retire_at=retire_at))


def abandoned(rotation: Rotation, *, due: float | None, now: float) -> Rotation:
    """Somebody put another value, took AWSPENDING away, or cancelled: nothing more is run for this token.

    Where the target may have been changed by then, the published credential is checked, and set anew if need be.
    """
    rotation = replace(rotation, due=due)
    if not rotation.in_progress:
        return settle(rotation)
    if rotation.step in (*_IN_DOUBT, Step.REPAIR) and not rotation.rehearsal:
        rotation = replace(rotation, health=IN_DOUBT, verify_at=now)
    return _ended(rotation, None)


def settle(rotation: Rotation) -> Rotation:
    """At rest: wake for whatever comes first, the schedule, the end of the grace period, or the next check."""
    instants = [instant for instant in (rotation.due, rotation.retire_at, rotation.verify_at) if instant is not None]
    return replace(rotation, wake_at=min(instants, default=None))


def backoff(attempt: int, jitter: float, most: float = _BACKOFF_MOST) -> float:
    """Seconds to wait after the `attempt`-th failure: exponential, with jitter over the upper half."""
    ceiling = min(most, _BACKOFF_FIRST * 2.0 ** min(attempt, 30))
    return ceiling / 2.0 * (1.0 + jitter)


def _done(rotation: Rotation, now: float, *, keep_attempt: bool) -> Rotation:
    if rotation.step is Step.RETIRE:
        rest = replace(rotation, retiring=None, retire_at=None, attempt=0, failure=None)
        return replace(rest, step=Step.CREATE, wake_at=now) if rest.token else settle(replace(rest, step=Step.IDLE))
    if rotation.rehearsal:
        return _ended(rotation, None)
    if rotation.step is Step.REPAIR:  # AWSCURRENT works again; the pending value is kept for the next attempt
        return give_up(replace(rotation, step=Step.SET, failure=_first(rotation)), due=rotation.due, now=now)
    attempt = rotation.attempt if keep_attempt else 0  # a function's attempts are counted over all its steps
    return replace(rotation, step=NEXT[rotation.step], attempt=attempt, failure=None, wake_at=now)


def _repair(rotation: Rotation, now: float) -> Rotation:
    return replace(rotation, step=Step.REPAIR, attempt=0, window_end=None, wake_at=now)


def _first(rotation: Rotation) -> Failure:
    """Why the rotation failed that is repaired: what stopped the repair for a while is over."""
    failure = rotation.failure
    if failure is not None and failure.step is not Step.REPAIR:
        return failure
    return Failure(Step.TEST, "TargetRefused", "The target refused the new credential; the current one was set again.")


def _not_before_budget(rotation: Rotation, now: float, again: float) -> float:
    """When to go on: not before another login may be refused."""
    since = rotation.refusals_since
    return again if since is None or logins_left(rotation, now) else max(again, since + _HOUR)


def _ended(rotation: Rotation, failure: Failure | None) -> Rotation:
    """Without its token; an old credential still waits for the end of its grace period."""
    step = Step.IDLE if rotation.retiring is None else Step.RETIRE
    rest = replace(rotation, step=step, token=None, rehearsal=False, attempt=0, window_end=None, failure=failure)
    return settle(rest)


def _retire_later(rotation: Rotation, failure: Failure | None, now: float, jitter: float) -> Rotation:
    """The old credential is not ended yet. A waiting rotation does not wait for it: its set replaces the old one."""
    if rotation.token is not None:
        rest = replace(rotation, retiring=None, retire_at=None, attempt=0, failure=failure)
        return replace(rest, step=Step.CREATE, wake_at=now)
    attempt = rotation.attempt + 1
    later = now + backoff(attempt, jitter, _RETIRE_MOST)
    return settle(replace(rotation, attempt=attempt, failure=failure, retire_at=later))
