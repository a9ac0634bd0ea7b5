"""What the engine does when a step does not succeed: again, later, or a person's turn; and that nothing is lost."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from keywheel.clock import from_epoch, to_epoch
from keywheel.errors import InvalidRequest, TargetRefused
from keywheel.rotation.machine import FUNCTION_ATTEMPTS, REATTEMPT, Step
from keywheel.rotator import Credential
from keywheel.secrets.labels import CURRENT, PENDING, PREVIOUS
from keywheel.testing import captured_log
from tests.support.account import ALTERNATING_USERS, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget

BOTH = pytest.mark.parametrize(
    ("name", "function"), [("app", SINGLE_USER), ("pair", ALTERNATING_USERS)], ids=["single-user", "alternating-users"]
)


def fail(account: Account, target: MemoryTarget, name: str = "app", **options: str) -> None:
    """Rotate with a target that says no, so that the engine gives up."""
    target.refuses = True
    account.rotated(name, SINGLE_USER, **options)
    assert account.rotation(name).failed


# --- no answer -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_target_that_is_away_for_a_moment_delays_the_rotation(
    account: Account, target: MemoryTarget, name: str, function: str
) -> None:
    """The first retry that finds it succeeds, with the value that was written down before."""
    target.down = True
    version = account.rotated(name, function)
    written = account.text(name, version=version)
    assert account.rotation(name).step is Step.SET
    target.down = False
    account.sleep(name)
    assert account.labels(name)[CURRENT] == version
    assert account.text(name) == written
    assert target.accepts(account.credential(name))
    assert account.events(name) == ["RotationStarted", "StepRetried", "RotationSucceeded"]


def test_retries_come_slower_and_slower_and_do_not_end_with_the_window(account: Account, target: MemoryTarget) -> None:
    """The target may have got the value, so the rotation is never given up; AWSCURRENT is untouched meanwhile."""
    before = account.text("app")
    target.down = True
    account.rotated("app", SINGLE_USER)
    account.pass_time(hours=3)
    journal = account.journal("app")
    retries = [note.at for note in journal if note.event == "StepRetried"]
    gaps = [later - sooner for sooner, later in pairwise(retries)]
    assert all(1.0 <= gap <= 300.0 for gap in gaps)
    assert all(later >= sooner for sooner, later in pairwise(gaps[:7]))
    assert (journal[-1].event, journal[-1].step, journal[-1].code) == ("StepRetried", "set", "TargetUnavailable")
    assert "memory.test:7 does not answer" in (journal[-1].reason or "")
    assert account.text("app") == before
    target.down = False
    account.pass_time(hours=1)
    assert target.accepts(account.credential("app"))
    assert account.text("app") != before


def test_a_target_that_is_away_is_tried_with_one_rotation_at_a_time(account: Account, target: MemoryTarget) -> None:
    """The other slots there are for engines that reach it; once one got through, all are used again."""
    names = [f"user-{number}" for number in range(8)]
    for name in names:
        account.create(name, target.new_user(name, "password"))
        account.rotated(name, SINGLE_USER)
    target.down = True
    for name in names:
        account.rotate(name)
    assert account.engine.tick() == 4
    for _ in range(2):
        account.clock.advance(timedelta(minutes=5))
        assert account.engine.tick() == 1
    target.down = False
    account.clock.advance(timedelta(minutes=5))
    assert [account.engine.tick() for _ in range(4)] == [1, 4, 3, 0]
    assert all(target.accepts(account.credential(name)) for name in names)


def test_a_failed_rotation_blocks_and_stays_visible(account: Account, target: MemoryTarget) -> None:
    """Its row says what is wrong; RotateSecret is refused with AWS's text."""
    fail(account, target)
    rotation = account.rotation("app")
    assert rotation.failure is not None
    assert (rotation.failure.step, rotation.failure.code) == (Step.SET, "TargetRefused")
    assert rotation.wake_at == to_epoch(account.clock.now()) + REATTEMPT
    with pytest.raises(InvalidRequest, match="That rotation will be reattempted"):
        account.rotate("app")


def test_rotate_secret_makes_a_failed_rotation_go_on_at_once(account: Account, target: MemoryTarget) -> None:
    """The call is refused, and the rotation that it was refused for is attempted, with the same value."""
    fail(account, target)
    version, written = account.labels("app")[PENDING], account.text("app", label=PENDING)
    target.refuses = False
    with pytest.raises(InvalidRequest, match="isn't complete"):
        account.rotate("app")
    account.engine.tick()
    assert account.labels("app")[CURRENT] == version
    assert account.text("app") == written


def test_a_failed_rotation_is_attempted_again_in_the_next_window(account: Account, target: MemoryTarget) -> None:
    """Not before, and with the same version and the same value: the target may have got it."""
    fail(account, target, expression="cron(0 8 ? * SUN *)", duration="2h")
    version, written = account.labels("app")[PENDING], account.text("app", label=PENDING)
    target.refuses = False
    calls = len(target.calls)
    account.wait_until(account.clock.now().replace(day=4, hour=7, minute=59, second=59))  # a Sunday
    account.engine.tick()
    assert len(target.calls) == calls
    account.pass_time(hours=2)
    assert account.labels("app")[CURRENT] == version
    assert account.text("app") == written
    succeeded = from_epoch(account.journal("app")[-1].at)
    assert (succeeded.weekday(), succeeded.hour) in [(6, 8), (6, 9)]


def test_a_rotation_fails_in_each_window_and_is_attempted_in_the_next(account: Account, target: MemoryTarget) -> None:
    """A window is never missed because of a failure in the one before."""
    account.rotated("app", SINGLE_USER, expression="cron(0 8 * * ? *)", duration="1h")
    target.refuses = True
    account.pass_time(days=4)
    failures = [from_epoch(note.at) for note in account.journal("app") if note.event == "RotationFailed"]
    assert [(failure.day, failure.hour) for failure in failures] == [(1, 8), (2, 8), (3, 8), (4, 8)]
    assert len({note.token for note in account.journal("app") if note.event == "RotationFailed"}) == 1


def test_a_failed_rotation_by_age_is_attempted_on_every_later_day(account: Account, target: MemoryTarget) -> None:
    """A secret that is too old does not wait another period."""
    account.rotated("app", SINGLE_USER, days=30, duration="1h")
    account.pass_time(days=29)
    target.refuses = True
    account.pass_time(days=4)
    failures = [from_epoch(note.at).date() for note in account.journal("app") if note.event == "RotationFailed"]
    assert [day.isoformat() for day in failures] == ["2026-01-31", "2026-02-01", "2026-02-02"]
    target.refuses = False
    account.pass_time(days=1)
    assert account.events("app")[-1] == "RotationSucceeded"


def test_a_failure_in_a_window_waits_for_an_instant_that_is_ahead(account: Account, target: MemoryTarget) -> None:
    """In this window or in the one that follows, although the instant of its schedule has passed meanwhile."""
    account.wait_until(account.clock.now().replace(hour=7, minute=50))
    fail(account, target, expression="cron(0 8/4 * * ? *)", duration="1h")
    wake_at = from_epoch(account.rotation("app").wake_at or 0.0)
    assert wake_at > account.clock.now()
    assert (wake_at.day, wake_at.hour) in [(1, 8), (1, 12)]


@BOTH
def test_an_answer_that_was_lost_is_found_out(account: Account, target: MemoryTarget, name: str, function: str) -> None:
    """The password was set and nobody said so: the next attempt asks, and does not set another."""
    target.loses_reply_to = "set_password"
    version = account.rotated(name, function)
    target.loses_reply_to = ""
    target.calls.clear()
    account.sleep(name)
    assert not [call for call in target.calls if call.startswith("set_password")]
    assert account.labels(name)[CURRENT] == version
    assert target.accepts(account.credential(name))


# --- a definite no -------------------------------------------------------------------------------------------------


def test_a_refusal_fails_the_rotation_at_once(account: Account, target: MemoryTarget) -> None:
    """A person acts; the reason says what was refused, and no password stands in it."""
    target.passwords["app"] = "changed by somebody"
    version = account.rotated("app", SINGLE_USER)
    note = account.journal("app")[-1]
    assert (note.event, note.step, note.code, note.attempt) == ("RotationFailed", "set", "LoginRefused", 0)
    assert "user app" in (note.reason or "")
    assert account.labels("app")[PENDING] == version
    assert account.rotation("app").failed


def test_a_refused_superuser_is_told_as_such(account: Account, target: MemoryTarget) -> None:
    """The code tells apart what a person has to put right, and the reason says how."""
    target.passwords["admin"] = "changed by somebody"
    account.rotated("pair", ALTERNATING_USERS)
    note = account.journal("pair")[-1]
    assert (note.event, note.code) == ("RotationFailed", "LoginRefused")
    assert "masterarn" in (note.reason or "")
    assert target.accepts(account.credential("pair"))


def test_a_password_that_the_policy_rejects_is_replaced_by_another(account: Account, target: MemoryTarget) -> None:
    """The next attempt draws another value under another version; what was rejected is never current."""
    rejected: list[str] = []

    def rejects(password: str) -> bool:
        rejected.append(password)
        return len(rejected) == 1

    target.rejects = rejects
    first = account.rotated("app", SINGLE_USER)
    assert account.journal("app")[-1].code == "PasswordRejected"
    assert account.rotation("app").failed
    account.sleep("app")
    second = account.labels("app")[CURRENT]
    assert second != first
    assert account.labels("app") == {CURRENT: second, PREVIOUS: account.labels("app")[PREVIOUS]}
    assert account.credential("app").password.reveal() == rejected[1] != rejected[0]
    assert target.accepts(account.credential("app"))


# --- a secret that cannot be rotated -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("no json at all", "not a JSON object"),
        ('{"username": "app"}', "password"),
        ('{"password": "x"}', "username"),
        ('{"username": "app", "password": "x"}', "engine"),
        ('{"engine": "memory", "username": "app", "password": "x"}', "host"),
        ('{"engine": "memory", "host": "h", "port": "x", "username": "app", "password": "x"}', "port"),
    ],
)
def test_a_malformed_secret_fails_with_the_name_of_the_field(
    account: Account, target: MemoryTarget, value: str, named: str
) -> None:
    """At once and before any target is spoken to; AWSCURRENT stays what it was."""
    current = account.put("app", value)
    account.rotated("app", SINGLE_USER)
    note = account.journal("app")[-1]
    assert (note.event, note.step, note.code) == ("RotationFailed", "create", "SecretMalformed")
    assert named in (note.reason or "")
    assert account.labels("app")[CURRENT] == current
    assert account.text("app") == value
    assert target.calls == []


def test_a_binary_secret_is_refused_as_malformed(account: Account) -> None:
    """It is no JSON object, whatever its bytes are."""
    account.put_binary("app", b'{"username": "app", "password": "x"}')
    account.rotated("app", SINGLE_USER)
    note = account.journal("app")[-1]
    assert (note.code, "binary" in (note.reason or "")) == ("SecretMalformed", True)


def test_a_corrected_secret_is_rotated(account: Account, target: MemoryTarget) -> None:
    """Putting the right value abandons the failed rotation; the next one succeeds."""
    account.put("app", "{}")
    account.rotated("app", SINGLE_USER)
    account.put("app", target.credential("app", "app-password"))
    account.rotated("app")
    assert account.events("app")[1:] == ["RotationFailed", "RotationAbandoned", "RotationStarted", "RotationSucceeded"]
    assert account.rotation("app").failure is None


@pytest.mark.parametrize(
    ("master", "named"),
    [("arn:aws:secretsmanager:us-east-1:123456789012:secret:gone-AbCdEf", "masterarn"), ("broken", "masterarn")],
)
def test_a_superuser_that_cannot_be_read_fails_the_rotation(
    account: Account, target: MemoryTarget, master: str, named: str
) -> None:
    """The reason says that it is the superuser's secret."""
    account.create("broken", "{}")
    user = account.credential("pair")
    account.put("pair", Credential({**user.fields, "masterarn": master}, user.password))
    account.rotated("pair", ALTERNATING_USERS)
    note = account.journal("pair")[-1]
    assert (note.event, note.code) == ("RotationFailed", "SecretMalformed")
    assert named in (note.reason or "")
    assert target.accepts(account.credential("pair"))


def test_a_superuser_whose_secret_is_deleted_fails_the_rotation(account: Account) -> None:
    """A secret that is marked for deletion lends nobody its password."""
    account.delete("master")
    account.rotated("pair", ALTERNATING_USERS)
    assert account.journal("pair")[-1].code == "SecretMalformed"


def test_a_pending_value_that_points_elsewhere_fails_the_rotation(account: Account, target: MemoryTarget) -> None:
    """Whoever filled AWSPENDING does not get the superuser to log in elsewhere."""
    version = account.rotate("pair", ALTERNATING_USERS)
    pending = account.credential("pair")
    account.put("pair", Credential({**pending.fields, "host": "evil.test"}, pending.password), PENDING, version=version)
    account.engine.tick()
    note = account.journal("pair")[-1]
    assert (note.event, note.step, note.code) == ("RotationFailed", "set", "SecretMalformed")
    assert target.calls == []


# --- our own defects, and secrecy ----------------------------------------------------------------------------------


def test_a_defect_in_a_rotator_is_told_without_its_text(account: Account, target: MemoryTarget) -> None:
    """Its text may quote a value, so neither the journal nor the log keeps it."""

    def defect(verb: str) -> None:
        raise RuntimeError(f"the password is {account.credential('app').password.reveal()}")

    target.meanwhile = defect
    account.rotated("app", SINGLE_USER)
    for _ in range(FUNCTION_ATTEMPTS - 1):
        account.sleep("app")
    failures = [note for note in account.journal("app") if note.code is not None]
    assert len(failures) == FUNCTION_ATTEMPTS
    assert {(note.code, note.reason) for note in failures} == {
        ("RuntimeError", "An unexpected error; the server's log says where.")
    }


def test_no_password_is_logged_or_journaled(
    account: Account, target: MemoryTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by a success, not by a failure of any kind."""
    seen = [account.credential("app").password.reveal(), account.credential("pair").password.reveal()]
    with captured_log() as log:
        account.rotated("app", SINGLE_USER)
        seen.append(account.credential("app").password.reveal())
        target.down = True
        account.rotated("app")
        seen.append(account.credential("app", PENDING).password.reveal())
        target.down = False
        target.meanwhile = lambda verb: (_ for _ in ()).throw(TargetRefused(f"{verb} is refused"))
        account.rotated("pair", ALTERNATING_USERS)
        seen.append(account.credential("pair", PENDING).password.reveal())
    told = [capsys.readouterr().out, capsys.readouterr().err, *log]
    told += [f"{note!r}" for name in ("app", "pair") for note in account.journal(name)]
    assert [password for password in seen if any(password in text for text in told)] == []


def test_a_rotation_under_way_survives_a_store_that_fails_once(
    account: Account, target: MemoryTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that could not be written down is worked out again when the lease is over."""
    write = account.rooms.database.write
    calls: list[int] = []

    def fails_at_the_third(work: object) -> object:
        calls.append(1)
        if len(calls) == 3:  # 1: the claim; 2: the value; 3: that it was set
            raise OSError("the disk is full")
        return write(work)  # type: ignore[arg-type] # passed on as it is

    version = account.rotate("app", SINGLE_USER)
    monkeypatch.setattr(account.rooms.database, "write", fails_at_the_third)
    account.engine.tick()
    assert account.labels("app")[PENDING] == version
    account.clock.advance(timedelta(seconds=31))
    account.engine.tick()
    assert account.labels("app")[CURRENT] == version
    assert target.accepts(account.credential("app"))
