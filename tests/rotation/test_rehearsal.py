"""RotateImmediately=false: the configuration is tested with the current value, and nothing is left of the test."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keywheel.errors import InvalidRequest
from keywheel.rotation.machine import Step
from keywheel.rotator import Credential
from keywheel.secrets.labels import CURRENT, PENDING, PREVIOUS
from tests.support.account import ALTERNATING_USERS, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget

BOTH = pytest.mark.parametrize(
    ("name", "function"), [("app", SINGLE_USER), ("pair", ALTERNATING_USERS)], ids=["single-user", "alternating-users"]
)


@BOTH
def test_a_test_logs_in_with_the_current_value_and_changes_nothing(
    account: Account, target: MemoryTarget, name: str, function: str
) -> None:
    """Only testSecret is run: one login, and everything is as it was."""
    before = account.labels(name), account.versions(name), dict(target.passwords)
    account.rotated(name, function, immediately=False)
    assert target.calls == [f"accepts {name}"]
    assert (account.labels(name), account.versions(name), dict(target.passwords)) == before
    assert account.events(name) == ["TestRotationStarted", "TestRotationSucceeded"]
    assert not account.rotation(name).in_progress


def test_the_temporary_version_holds_a_copy_of_the_current_value(account: Account, target: MemoryTarget) -> None:
    """Under AWSPENDING, and under the token of the call, as long as the test lasts."""
    version = account.rotate("app", SINGLE_USER, immediately=False)
    assert target.calls == []
    assert account.labels("app")[PENDING] == version
    assert account.text("app", version=version) == account.text("app")
    account.engine.tick()
    assert version not in account.versions("app")


def test_the_rotation_is_configured_and_scheduled(account: Account) -> None:
    """The test does not rotate; the schedule does."""
    account.rotated("app", SINGLE_USER, days=10, immediately=False)
    described = account.describe("app")
    assert (described.rotation_enabled, described.last_rotated_date) == (True, None)
    assert described.next_rotation_date is not None
    account.pass_time(days=11)
    assert account.events("app")[2:] == ["RotationStarted", "RotationSucceeded"]


@pytest.mark.parametrize(
    ("how", "code"), [("down", "TargetUnavailable"), ("refused", "TargetRefused"), ("malformed", "SecretMalformed")]
)
def test_a_test_that_fails_is_journaled_and_blocks_nothing(
    account: Account, target: MemoryTarget, how: str, code: str
) -> None:
    """The call had succeeded; the reason is in the journal, and the secret may be rotated at once."""
    if how == "down":
        target.down = True
    elif how == "refused":
        target.passwords["app"] = "changed by somebody"
    else:
        account.put("app", "{}")
    before = account.labels("app"), account.versions("app")
    account.rotated("app", SINGLE_USER, immediately=False)
    note = account.journal("app")[-1]
    assert (note.event, note.step, note.code) == ("TestRotationFailed", "test", code)
    assert note.reason
    assert (account.labels("app"), account.versions("app")) == before
    rotation = account.rotation("app")
    assert (rotation.in_progress, rotation.failed, rotation.step) == (False, False, Step.IDLE)
    assert rotation.failure is not None
    account.rotate("app")


def test_a_failed_test_leaves_the_schedule_as_configured(account: Account, target: MemoryTarget) -> None:
    """The next window is used; by then somebody may have put things right."""
    target.down = True
    account.rotated("app", SINGLE_USER, days=10, immediately=False)
    target.down = False
    account.pass_time(days=11)
    assert account.events("app")[-1] == "RotationSucceeded"


def test_a_secret_without_a_value_is_configured_and_not_tested(account: Account, target: MemoryTarget) -> None:
    """There is nothing to log in with, and no event says that there was."""
    account.create("empty", None)
    account.rotated("empty", SINGLE_USER, days=10, immediately=False)
    assert account.describe("empty").rotation_enabled is True
    assert (account.labels("empty"), account.events("empty"), target.calls) == ({}, [], [])


def test_a_test_is_not_started_while_a_rotation_is_not_complete(account: Account) -> None:
    """The in-progress rule holds for it as for every RotateSecret."""
    account.rotate("app", SINGLE_USER)
    with pytest.raises(InvalidRequest, match="isn't complete"):
        account.rotate("app", immediately=False)


@pytest.mark.parametrize("who", ["cancelled", "put", "label"])
def test_a_test_that_is_ended_by_a_person_leaves_nothing_behind(
    account: Account, target: MemoryTarget, who: str
) -> None:
    """The temporary version goes with the test, whoever ended it, and blocks no later rotation."""
    version = account.rotate("app", SINGLE_USER, days=10, immediately=False)
    if who == "cancelled":
        account.cancel("app")
    elif who == "put":
        account.put("app", account.credential("app"))
    else:
        account.move("app", PENDING, away_from=version)
    account.engine.tick()
    assert version not in account.versions("app")
    assert PENDING not in account.labels("app")
    assert target.calls == []
    account.rotated("app")
    assert account.events("app")[-1] == "RotationSucceeded"


@pytest.mark.parametrize("label", [CURRENT, "kept"])
def test_a_temporary_version_that_somebody_gave_a_label_is_kept(account: Account, label: str) -> None:
    """No label ever names a version that does not exist."""
    version = account.rotate("app", SINGLE_USER, immediately=False)
    account.move("app", label, to=version, away_from=account.labels("app").get(label))
    account.engine.tick()
    assert account.labels("app")[label] == version
    assert account.text("app", label=label)
    assert PENDING not in account.labels("app")


def test_a_test_in_the_grace_period_forgets_no_old_credential(account: Account, target: MemoryTarget) -> None:
    """The idle user is locked at the end of its grace period, as if there had been no test."""
    account.tag("pair", "keywheel:grace-period", "1h")
    account.rotated("pair", ALTERNATING_USERS)
    account.rotated("pair", immediately=False)
    old = account.credential("pair", PREVIOUS)
    assert target.accepts(old)
    account.clock.advance(timedelta(hours=1))
    account.engine.tick()
    assert not target.accepts(old)
    assert account.rotation("pair").step is Step.IDLE


def test_a_test_does_not_rotate_a_secret_that_is_due_today(account: Account, target: MemoryTarget) -> None:
    """RotateImmediately=false waits for an instant that is ahead, even in a window that is open now."""
    account.wait_until(account.clock.now().replace(hour=23, minute=59, second=30))
    account.rotated("app", SINGLE_USER, expression="cron(0 0 * * ? *)", immediately=False)
    assert (account.rotation("app").wake_at or 0.0) > account.clock.now().timestamp()
    assert target.calls == ["accepts app"]
    account.pass_time(days=1, seconds=30)
    assert account.events("app")[-1] == "RotationSucceeded"


def test_days_on_a_secret_that_was_never_rotated_count_from_the_configuration(account: Account) -> None:
    """An old value does not make a secret overdue on the day on which somebody said: not immediately."""
    account.clock.advance(timedelta(days=400))
    account.rotated("app", SINGLE_USER, days=30, immediately=False)
    account.pass_time(days=29)
    assert account.events("app") == ["TestRotationStarted", "TestRotationSucceeded"]
    account.pass_time(days=2)
    assert account.events("app")[-1] == "RotationSucceeded"


def test_a_pending_copy_is_tested_with_the_superuser_of_the_secret_left_alone(
    account: Account, target: MemoryTarget
) -> None:
    """A test needs no superuser, so one that cannot be read does not fail it."""
    user = account.credential("pair")
    account.put("pair", Credential({**user.fields, "masterarn": "gone"}, user.password))
    account.rotated("pair", ALTERNATING_USERS, immediately=False)
    assert account.events("pair")[-1] == "TestRotationSucceeded"
