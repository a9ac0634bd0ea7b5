"""The old credential's end: after its grace period, never before, proved, and tried for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keywheel.clock import from_epoch
from keywheel.errors import TargetRefused
from keywheel.rotation.machine import Step
from keywheel.rotation.rules import grace_of
from keywheel.secrets.labels import CURRENT, PREVIOUS
from tests.support.account import ALTERNATING_USERS, SCOPE, SINGLE_USER, Account, function_arn
from tests.support.memory_target import MemoryTarget

GRACE = "keywheel:grace-period"


def last(account: Account, name: str) -> str:
    return account.journal(name)[-1].event


# --- how long ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("0s", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("36500d", timedelta(days=36_500)),
        ("36501d", None),
        ("9" * 200 + "d", None),
        ("never", None),
        ("", timedelta(1)),
        ("d", timedelta(1)),
        ("7", timedelta(1)),
        ("7w", timedelta(1)),
        ("-7d", timedelta(1)),
        ("1.5h", timedelta(1)),
        ("７d", timedelta(1)),
        ("soon", timedelta(1)),
    ],
)
def test_the_grace_period_is_the_tag_or_else_the_strategys(
    account: Account, tag: str, expected: timedelta | None
) -> None:
    """A number and a unit, or `never`; what is neither counts as no tag, and what is too long as never."""
    account.tag("app", GRACE, tag)
    with account.rooms.database.read() as tx:
        secret = account.rooms.secrets.find(tx, SCOPE, "app")
    assert grace_of(secret, timedelta(1)) == expected


def test_a_grace_period_that_nobody_can_count_stops_no_rotation(account: Account, target: MemoryTarget) -> None:
    """A tag may hold anything; AWSCURRENT is more important."""
    account.tag("app", GRACE, "9" * 200 + "d")
    account.rotated("app", SINGLE_USER)
    assert target.accepts(account.credential("app"))
    assert account.rotation("app").step is Step.IDLE


# --- single user ---------------------------------------------------------------------------------------------------


def test_a_single_users_old_password_is_proved_dead_at_once(account: Account, target: MemoryTarget) -> None:
    """By a login that is refused."""
    account.rotated("app", SINGLE_USER)
    assert target.calls[-1] == "accepts app"
    assert last(account, "app") == "OldCredentialRetired"


def test_a_single_users_grace_period_delays_the_proof(account: Account, target: MemoryTarget) -> None:
    """The change itself ended the old password; with a tag it is looked at later."""
    account.tag("app", GRACE, "2h")
    account.rotated("app", SINGLE_USER)
    calls = len(target.calls)
    account.clock.advance(timedelta(hours=2) - timedelta(seconds=1))
    account.engine.tick()
    assert len(target.calls) == calls
    account.clock.advance(timedelta(seconds=1))
    account.engine.tick()
    assert last(account, "app") == "OldCredentialRetired"


def test_an_old_password_that_lives_on_is_told_and_looked_at_again(account: Account, target: MemoryTarget) -> None:
    """The target checks no passwords at all, say: the rotation has succeeded, and the journal says what is wrong."""
    accepts = target._logs_in
    target._logs_in = lambda credential: True  # type: ignore[method-assign] # a target that lets everybody in
    version = account.rotated("app", SINGLE_USER)
    assert account.events("app") == ["RotationStarted", "RotationSucceeded", "RetirementDelayed"]
    failure = account.rotation("app").failure
    assert failure is not None
    assert (failure.step, failure.code) == (Step.RETIRE, "TargetRefused")
    assert account.labels("app")[CURRENT] == version
    target._logs_in = accepts  # type: ignore[method-assign] # as above
    account.sleep("app")
    assert last(account, "app") == "OldCredentialRetired"
    assert account.rotation("app").failure is None


# --- alternating users ---------------------------------------------------------------------------------------------


def test_alternating_users_are_not_locked_by_default(account: Account, target: MemoryTarget) -> None:
    """The idle user's password lives until its next turn."""
    account.rotated("pair", ALTERNATING_USERS)
    assert account.rotation("pair").wake_at is None
    account.pass_time(days=400)
    assert target.accepts(account.credential("pair", PREVIOUS))
    assert not [call for call in target.calls if call.startswith("lock_user")]


def test_the_idle_user_is_locked_after_the_grace_period_and_not_before(account: Account, target: MemoryTarget) -> None:
    """To the second; the current user logs in all the while."""
    account.tag("pair", GRACE, "12h")
    account.rotated("pair", ALTERNATING_USERS)
    for passing, works in ((timedelta(hours=12) - timedelta(seconds=1), True), (timedelta(seconds=1), False)):
        account.clock.advance(passing)
        account.engine.tick()
        assert target.accepts(account.credential("pair", PREVIOUS)) is works
        assert target.accepts(account.credential("pair"))
    assert last(account, "pair") == "OldCredentialRetired"


def test_a_locked_user_comes_back_at_its_turn(account: Account, target: MemoryTarget) -> None:
    """Its next password ends the lock."""
    account.tag("pair", GRACE, "0s")
    for _ in range(4):
        account.rotated("pair", ALTERNATING_USERS)
        assert target.accepts(account.credential("pair"))
        assert not target.accepts(account.credential("pair", PREVIOUS))


def test_a_grace_period_outlives_the_engine(account: Account, target: MemoryTarget) -> None:
    """It is a timer in the store: another engine ends the old credential."""
    account.tag("pair", GRACE, "7d")
    account.rotated("pair", ALTERNATING_USERS)
    account.clock.advance(timedelta(days=7))
    assert account.house.engine("engine-2").tick() == 1
    assert not target.accepts(account.credential("pair", PREVIOUS))


def test_a_rotation_in_the_grace_period_retires_the_old_credential_first(
    account: Account, target: MemoryTarget
) -> None:
    """It is the next turn of that user; nothing is left behind, and AWSCURRENT works all the while."""
    account.tag("pair", GRACE, "7d")
    account.rotated("pair", ALTERNATING_USERS)
    account.clock.advance(timedelta(hours=1))
    version = account.rotate("pair")
    target.calls.clear()
    account.engine.tick()
    assert target.calls[:3] == ["accepts pair", "lock_user pair", "accepts pair"]
    assert account.labels("pair")[CURRENT] == version
    assert target.accepts(account.credential("pair"))
    assert target.accepts(account.credential("pair", PREVIOUS))
    assert from_epoch(account.rotation("pair").retire_at or 0.0) == account.clock.now() + timedelta(days=7)


def test_a_retirement_that_fails_does_not_hold_up_a_rotation(account: Account, target: MemoryTarget) -> None:
    """The rotation replaces the old credential by itself; the journal does not claim that it was retired."""
    account.tag("pair", GRACE, "7d")
    account.rotated("pair", ALTERNATING_USERS)

    def may_not_lock(verb: str) -> None:
        if verb == "lock_user":
            raise TargetRefused("The superuser may not lock.")

    target.meanwhile = may_not_lock
    version = account.rotated("pair")
    assert account.labels("pair")[CURRENT] == version
    events = [note.event for note in account.journal("pair") if note.step == "retire"]
    assert events == ["RotationStarted", "RetirementLeftToRotation"]


def test_a_retirement_is_tried_for_ever_and_stays_visible(account: Account, target: MemoryTarget) -> None:
    """At least once an hour; the row says what stands in the way, and AWSCURRENT is not touched."""
    account.tag("pair", GRACE, "1h")
    version = account.rotated("pair", ALTERNATING_USERS)
    target.down = True
    account.pass_time(days=3)
    rotation = account.rotation("pair")
    assert (rotation.step, rotation.in_progress) == (Step.RETIRE, False)
    assert rotation.failure is not None
    assert rotation.failure.code == "TargetUnavailable"
    tried = [note.at for note in account.journal("pair") if note.event == "RetirementDelayed"]
    assert len(tried) > 72
    assert account.labels("pair")[CURRENT] == version
    target.down = False
    account.sleep("pair")
    assert not target.accepts(account.credential("pair", PREVIOUS))
    assert account.rotation("pair").failure is None


def test_a_schedule_goes_on_while_a_retirement_is_overdue(account: Account, target: MemoryTarget) -> None:
    """An old credential that cannot be ended is no reason to keep the present one too long."""
    account.tag("pair", GRACE, "1h")
    account.rotated("pair", ALTERNATING_USERS, days=1)
    target.passwords["admin"] = "changed by somebody"
    account.pass_time(hours=3)
    assert last(account, "pair") == "RetirementDelayed"
    target.passwords["admin"] = "admin-password"
    account.pass_time(days=2)
    assert account.events("pair").count("RotationSucceeded") >= 2


def test_a_password_that_somebody_went_back_to_is_not_retired(account: Account, target: MemoryTarget) -> None:
    """AWSCURRENT was moved back in the grace period: its user is not locked, and nothing is overdue."""
    account.tag("pair", GRACE, "1h")
    first = account.labels("pair")[CURRENT]
    second = account.rotated("pair", ALTERNATING_USERS)
    account.move("pair", CURRENT, to=first, away_from=second)
    account.pass_time(hours=2)
    assert target.accepts(account.credential("pair"))
    assert account.rotation("pair").failure is None


def test_cancelling_does_not_forget_the_old_credential(account: Account, target: MemoryTarget) -> None:
    """Rotation is off; what was to be ended still is."""
    account.tag("pair", GRACE, "1h")
    account.rotated("pair", ALTERNATING_USERS)
    account.cancel("pair")
    account.pass_time(hours=2)
    assert not target.accepts(account.credential("pair", PREVIOUS))


def test_an_overdue_retirement_stays_visible_when_rotation_is_cancelled(account: Account, target: MemoryTarget) -> None:
    """Turning rotation off puts nothing right."""
    account.tag("pair", GRACE, "1h")
    account.rotated("pair", ALTERNATING_USERS)
    target.down = True
    account.pass_time(hours=2)
    before = account.rotation("pair").failure
    account.cancel("pair")
    assert account.rotation("pair").failure == before is not None


def test_another_rotator_does_not_pretend_to_have_retired_the_old_credential(
    account: Account, target: MemoryTarget
) -> None:
    """The function was changed in the grace period to one that is not built in: it is overdue, and says why."""
    account.tag("pair", GRACE, "1h")
    account.rotated("pair", ALTERNATING_USERS)
    secrets, now = account.rooms.secrets, account.clock.now()
    account.rooms.database.write(
        lambda tx: secrets.set(tx, secrets.find(tx, SCOPE, "pair"), now, rotation_function=function_arn("elsewhere"))
    )
    account.pass_time(hours=2)
    failure = account.rotation("pair").failure
    assert failure is not None
    assert (failure.code, "not the secret's any more" in failure.reason) == ("TargetRefused", True)
    assert target.accepts(account.credential("pair", PREVIOUS))
