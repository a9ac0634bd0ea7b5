"""A published credential that does not work is found, explained and set anew: after a refused test, a stop, a drift."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.rotation import rows
from keywheel.rotation.machine import LOGIN_BUDGET, Step
from keywheel.rotation.sentinel import REFUSED
from keywheel.secrets.labels import PENDING
from tests.support.account import ALTERNATING_USERS, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget


def spoil(target: MemoryTarget, user: str, *, when: str = "accepts") -> None:
    """From now on, whenever a verb begins, somebody has changed the password beside us."""

    def meanwhile(verb: str) -> None:
        if verb == when:
            target.passwords[user] = "changed by somebody"

    target.meanwhile = meanwhile


# --- a new password that is refused --------------------------------------------------------------------------------


def test_a_new_password_that_is_refused_is_taken_back(account: Account, target: MemoryTarget) -> None:
    """AWSCURRENT works again before the rotation is called failed; the pending value is kept for the next attempt."""
    before = account.text("pair")
    spoil(target, "pair")
    version = account.rotated("pair", SINGLE_USER)
    account.sleep("pair")
    target.meanwhile = lambda _: None  # whoever did that stops before the last test
    target.passwords["pair"] = "changed by somebody"
    account.sleep("pair")
    assert account.events("pair") == ["RotationStarted", "StepRetried", "StepRetried", "RollbackStarted", "RolledBack"]
    rotation = account.rotation("pair")
    assert (rotation.failed, rotation.step) == (True, Step.SET)
    assert rotation.failure is not None
    assert (rotation.failure.step, rotation.failure.code) == (Step.TEST, "TargetRefused")
    assert account.text("pair") == before
    assert target.accepts(account.credential("pair"))
    assert account.labels("pair")[PENDING] == version


def test_without_anybody_who_may_set_it_the_rotation_is_stuck_and_keeps_everything(
    account: Account, target: MemoryTarget
) -> None:
    """It goes on trying within the budget of refused logins, and ends well when a person restores a known password."""
    spoil(target, "app")
    version = account.rotated("app", SINGLE_USER)
    for _ in range(6):
        account.sleep("app")
    rotation = account.rotation("app")
    assert rotation.stuck
    assert rotation.refusals <= LOGIN_BUDGET
    assert account.labels("app")[PENDING] == version
    target.meanwhile = lambda _: None
    target.passwords["app"] = "app-password"
    account.pass_time(hours=3)
    assert not account.rotation("app").stuck
    assert target.accepts(account.credential("app"))


def test_alternating_users_have_nothing_to_take_back(account: Account, target: MemoryTarget) -> None:
    """AWSCURRENT names the other user, who was not touched."""
    spoil(target, "pair_clone")
    account.rotated("pair", ALTERNATING_USERS)
    for _ in range(2):
        account.sleep("pair")
    assert account.rotation("pair").failed
    assert "set_password pair" not in target.calls
    assert target.accepts(account.credential("pair"))


# --- the budget of refused logins ----------------------------------------------------------------------------------


def test_looking_for_the_password_that_works_does_not_lock_the_user_out(account: Account, target: MemoryTarget) -> None:
    """However often it is tried, the target refuses no more logins in an hour than the budget says."""
    spoil(target, "app")
    account.rotated("app", SINGLE_USER)
    account.pass_time(minutes=59)
    asked = [call for call in target.calls if call in ("accepts app", "set_password app")]
    assert len(asked) <= LOGIN_BUDGET + 1  # the first one changed the password


# --- a rotation that is stopped half-way ---------------------------------------------------------------------------


def test_a_rotation_cancelled_after_its_set_leaves_a_credential_that_works(
    account: Account, target: MemoryTarget
) -> None:
    """The target has the new password, the reply was lost, and somebody cancels: AWSCURRENT is set again."""
    target.loses_reply_to = "set_password"
    before = account.text("app")
    account.rotated("app", SINGLE_USER)
    target.loses_reply_to = ""
    assert not target.accepts(account.credential("app"))
    account.cancel("app")
    account.pass_time(minutes=1)
    assert account.text("app") == before
    assert target.accepts(account.credential("app"))
    assert account.events("app")[-1] == "CredentialRepaired"
    assert account.rotation("app").health is None


# --- drift ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(account: Account) -> Account:
    """An account whose sentinel goes its round every day."""
    settings = msgspec.structs.replace(account.house.settings, sentinel_seconds=86_400.0)
    account.engine = replace(account.house, settings=settings).engine("engine-1")
    return account


def test_a_password_changed_beside_us_is_set_again(watched: Account, target: MemoryTarget) -> None:
    """The superuser sets what AWSCURRENT publishes; it was seen to work before."""
    watched.rotated("pair", SINGLE_USER)
    target.passwords["pair"] = "changed by somebody"
    watched.pass_time(days=2)
    assert target.accepts(watched.credential("pair"))
    assert watched.events("pair")[-1] == "CredentialRepaired"


def test_going_back_to_the_previous_password_is_found_and_mended_without_a_superuser(
    watched: Account, target: MemoryTarget
) -> None:
    """The user itself gets in with it."""
    watched.rotated("app", SINGLE_USER)
    target.passwords["app"] = "app-password"
    watched.pass_time(days=2)
    assert target.accepts(watched.credential("app"))


def test_a_password_that_nobody_knows_is_reported_once_and_its_end_as_well(
    watched: Account, target: MemoryTarget
) -> None:
    """Nothing can be done; everything is kept, and the journal is not flooded."""
    watched.rotated("app", SINGLE_USER)
    right = target.passwords["app"]
    target.passwords["app"] = "changed by somebody"
    watched.pass_time(days=4)
    assert watched.events("app").count("DriftDetected") == 1
    assert watched.rotation("app").health == "LoginRefused"
    target.passwords["app"] = right
    watched.pass_time(days=2)
    assert watched.events("app")[-1] == "DriftEnded"
    assert watched.rotation("app").health is None


def test_a_value_put_by_hand_is_reported_and_never_forced_on_the_target(watched: Account, target: MemoryTarget) -> None:
    """It was never seen to work."""
    watched.rotated("pair", SINGLE_USER)
    password = target.passwords["pair"]
    value = watched.text("pair").replace(str(password), "put by hand")
    watched.clock.advance(timedelta(minutes=1))
    watched.put("pair", value)
    watched.pass_time(days=2)
    assert target.passwords["pair"] == password
    assert watched.rotation("pair").health == REFUSED


def test_a_target_that_is_away_tells_nothing(watched: Account, target: MemoryTarget) -> None:
    """Unknown is an answer: the check is made again, and the journal says nothing of it."""
    watched.rotated("app", SINGLE_USER)
    target.down = True
    watched.pass_time(days=2)
    assert "DriftDetected" not in watched.events("app")
    target.down = False
    watched.pass_time(days=1)
    assert watched.rotation("app").health is None


def test_a_check_comes_before_a_rotation_that_is_due_at_the_same_time(account: Account, target: MemoryTarget) -> None:
    """What works is known before it is changed."""
    account.rotated("app", SINGLE_USER, expression="cron(0 8 * * ? *)", duration="1h")
    due = account.rotation("app").due
    assert due is not None

    def mark(tx: Tx) -> None:
        entry = account.entry("app")
        rows.save(tx, replace(entry, rotation=replace(entry.rotation, verify_at=due)))

    account.rooms.database.write(mark)
    target.calls.clear()
    account.sleep("app")
    assert target.calls[:2] == ["accepts app", "set_password app"]


def test_secrets_that_were_there_before_the_sentinel_get_their_round(account: Account, target: MemoryTarget) -> None:
    """Spread over it, not all at once, and whether they have a schedule or not."""
    account.rotated("app", SINGLE_USER)
    with account.rooms.database.read() as tx:
        assert rows.next_wake(tx) is None
    now = to_epoch(account.clock.now())
    assert account.rooms.database.write(lambda tx: rows.plan_checks(tx, now, 100.0)) == 1
    wake_at = account.rotation("app").wake_at
    assert wake_at is not None
    assert now <= wake_at < now + 100.0
    target.calls.clear()
    account.sleep("app")
    assert target.calls == ["accepts app"]
