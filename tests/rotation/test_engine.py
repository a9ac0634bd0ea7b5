"""Rotations from RotateSecret to the end: what the call does, what the engine does, and what people do meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keywheel.clock import to_epoch
from keywheel.errors import InvalidParameter, InvalidRequest, LimitExceeded, ResourceNotFound
from keywheel.rotation.machine import Step
from keywheel.rotator import Credential
from keywheel.secrets.labels import CURRENT, PENDING, PREVIOUS
from keywheel.testing import ManualClock
from tests.support.account import ALTERNATING_USERS, SINGLE_USER, Account, token
from tests.support.memory_target import MemoryTarget
from tests.support.servers import PostgresServer
from tests.support.stores import BuildHouse

IN_PROGRESS = "A previous rotation isn't complete. That rotation will be reattempted."
BOTH = pytest.mark.parametrize(
    ("name", "function"), [("app", SINGLE_USER), ("pair", ALTERNATING_USERS)], ids=["single-user", "alternating-users"]
)


def once(deed: Callable[[], object], verb: str) -> Callable[[str], None]:
    """For `target.meanwhile`: do it at the first call of `verb`."""
    done: list[str] = []

    def meanwhile(called: str) -> None:
        if called == verb and not done:
            done.append(called)
            deed()

    return meanwhile


# --- RotateSecret --------------------------------------------------------------------------------------------------


def test_rotate_secret_answers_without_speaking_to_the_target(account: Account, target: MemoryTarget) -> None:
    """The call leaves a version without a value under AWSPENDING, named by its token, and nothing else."""
    before = account.labels("app")
    version = token()
    assert account.rotate("app", SINGLE_USER, version=version) == version
    assert target.calls == []
    assert account.labels("app") == {**before, PENDING: version}
    with pytest.raises(ResourceNotFound):
        account.text("app", version=version)


@BOTH
def test_a_rotation_makes_the_pending_version_current(
    account: Account, target: MemoryTarget, name: str, function: str
) -> None:
    """Its value works on the target, the one before is AWSPREVIOUS, and nothing is pending."""
    old = account.labels(name)[CURRENT]
    version = account.rotated(name, function)
    assert account.labels(name) == {CURRENT: version, PREVIOUS: old}
    assert target.accepts(account.credential(name))
    assert account.events(name) == ["RotationStarted", "RotationSucceeded"]


@BOTH
def test_rotations_follow_one_another(account: Account, target: MemoryTarget, name: str, function: str) -> None:
    """Each one leaves a credential that works and is not the one before."""
    account.rotated(name, function)
    for _ in range(3):
        before = account.text(name)
        account.rotated(name)
        assert target.accepts(account.credential(name))
        assert account.text(name) != before
        assert account.rotation(name).step is Step.IDLE


def test_a_single_user_has_one_live_password(account: Account, target: MemoryTarget) -> None:
    """The old one is proved dead at once."""
    account.rotated("app", SINGLE_USER)
    assert not target.accepts(account.credential("app", PREVIOUS))
    assert account.rotation("app").step is Step.IDLE
    assert [note.event for note in account.journal("app")][-1] == "OldCredentialRetired"


def test_the_date_of_the_last_rotation_is_that_of_its_success(account: Account) -> None:
    """It is absent before, and not set by a start."""
    account.rotate("app", SINGLE_USER)
    assert account.describe("app").last_rotated_date is None
    account.clock.advance(timedelta(seconds=5))
    account.engine.tick()
    assert account.describe("app").last_rotated_date == to_epoch(account.clock.now())


def test_the_same_token_again_is_the_same_rotation(account: Account) -> None:
    """While it runs and when it is done, the call returns its version and starts nothing."""
    version = account.rotate("app", SINGLE_USER)
    assert account.rotate("app", version=version) == version
    account.engine.tick()
    assert account.rotate("app", version=version) == version
    account.engine.tick()
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]


def test_another_token_is_refused_while_a_rotation_is_not_complete(account: Account) -> None:
    """With AWS's text; the running rotation is not disturbed."""
    version = account.rotate("app", SINGLE_USER)
    before = account.entry("app")
    with pytest.raises(InvalidRequest) as raised:
        account.rotate("app")
    assert raised.value.message == IN_PROGRESS
    assert account.entry("app") == before
    account.engine.tick()
    assert account.labels("app")[CURRENT] == version


def test_a_change_of_the_schedule_is_refused_while_a_rotation_is_not_complete(account: Account) -> None:
    """As AWS refuses it; what was configured stays."""
    account.rotate("app", SINGLE_USER, days=10)
    with pytest.raises(InvalidRequest, match="isn't complete"):
        account.rotate("app", days=20, immediately=False)
    rules = account.describe("app").rotation_rules
    assert rules is not None
    assert rules.automatically_after_days == 10


def test_a_secret_without_a_function_cannot_be_rotated(account: Account) -> None:
    """And is not configured by the attempt."""
    with pytest.raises(InvalidRequest, match="No Lambda rotation function ARN is associated"):
        account.rotate("app", days=10)
    assert account.describe("app").rotation_enabled is None
    assert PENDING not in account.labels("app")


def test_rules_that_are_not_valid_configure_nothing(account: Account) -> None:
    """The whole call is one transaction."""
    with pytest.raises(InvalidParameter):
        account.rotate("app", SINGLE_USER, expression="rate(1 hour)")
    assert account.describe("app").rotation_lambda_arn is None
    assert PENDING not in account.labels("app")


def test_what_a_call_leaves_out_is_as_it_was(account: Account) -> None:
    """A second call may name neither function nor rules."""
    account.rotated("app", SINGLE_USER, days=30, duration="3h")
    account.rotated("app")
    described = account.describe("app")
    assert described.rotation_rules is not None
    assert (described.rotation_rules.automatically_after_days, described.rotation_rules.duration) == (30, "3h")
    assert (described.rotation_lambda_arn or "").endswith(SINGLE_USER)


def test_a_pending_label_beside_the_current_one_blocks_nothing(account: Account) -> None:
    """AWSPENDING on the version that is AWSCURRENT means that nothing is under way."""
    account.move("app", PENDING, to=account.labels("app")[CURRENT])
    version = account.rotated("app", SINGLE_USER)
    assert account.labels("app")[CURRENT] == version


def test_a_pending_label_that_somebody_left_blocks_until_it_is_removed(account: Account) -> None:
    """It stands for a rotation that is not complete, whoever put it there."""
    account.put("app", "a value", PENDING)
    with pytest.raises(InvalidRequest, match="isn't complete"):
        account.rotate("app", SINGLE_USER)
    account.move("app", PENDING, away_from=account.labels("app")[PENDING])
    account.rotated("app", SINGLE_USER)
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]


def test_a_secret_with_no_room_for_a_label_is_not_rotated(account: Account) -> None:
    """Twenty labels are the most; the call says so, and nothing is configured."""
    account.put("app", "a value", *(f"label-{n}" for n in range(19)))
    with pytest.raises(LimitExceeded):
        account.rotate("app", SINGLE_USER)
    assert account.describe("app").rotation_enabled is None


def test_a_secret_with_room_for_one_label_is_rotated(account: Account, target: MemoryTarget) -> None:
    """AWSPENDING takes the room, and AWSPREVIOUS has it afterwards."""
    account.put("app", "a value", *(f"label-{n}" for n in range(18)))
    version = account.rotated("app", SINGLE_USER)
    assert account.labels("app")[CURRENT] == version
    assert len(account.labels("app")) == 20


def test_a_secret_without_a_value_fails_to_rotate_until_it_has_one(account: Account) -> None:
    """The rotation is abandoned when the first value is put, and the next one succeeds."""
    account.create("empty", None)
    account.rotated("empty", SINGLE_USER, days=30)
    assert account.events("empty") == ["RotationStarted", "RotationFailed"]
    value = account.credential("app")
    account.clock.advance(timedelta(days=5))
    account.put("empty", value)
    assert account.events("empty")[-1] == "RotationAbandoned"
    assert account.labels("empty").keys() == {CURRENT}
    assert account.rotation("empty").due is not None
    assert (account.rotation("empty").due or 0.0) >= to_epoch(account.clock.now() + timedelta(days=29))
    account.rotated("empty")
    assert account.events("empty")[-1] == "RotationSucceeded"


# --- CancelRotateSecret --------------------------------------------------------------------------------------------


def test_cancelling_stops_a_rotation_and_leaves_the_labels(account: Account, target: MemoryTarget) -> None:
    """Rotation is off, the version of the cancelled rotation is told, and the engine does nothing more."""
    version = account.rotate("app", SINGLE_USER, days=30)
    before = account.labels("app")
    assert account.cancel("app") == version
    account.pass_time(days=40)
    assert account.labels("app") == before
    assert target.calls == []
    described = account.describe("app")
    assert (described.rotation_enabled, described.next_rotation_date) == (False, None)
    assert described.rotation_rules is not None
    assert account.events("app") == ["RotationStarted", "RotationCancelled"]


def test_cancelling_fences_the_worker_that_is_under_way(account: Account, target: MemoryTarget) -> None:
    """What it was doing when the call came is not written down."""
    account.rotate("app", SINGLE_USER)
    target.meanwhile = once(lambda: account.cancel("app"), "set_password")
    account.engine.tick()
    assert account.events("app") == ["RotationStarted", "RotationCancelled"]
    assert not account.rotation("app").in_progress
    assert account.labels("app").keys() == {CURRENT, PENDING}


def test_a_cancelled_rotation_is_resumed_by_removing_its_label(account: Account, target: MemoryTarget) -> None:
    """As AWS documents it: the label blocks, then RotateSecret turns rotation on again."""
    account.rotate("app", SINGLE_USER)
    version = account.cancel("app")
    with pytest.raises(InvalidRequest, match="isn't complete"):
        account.rotate("app")
    account.move("app", PENDING, away_from=version)
    account.rotated("app")
    assert account.describe("app").rotation_enabled is True
    assert target.accepts(account.credential("app"))


def test_cancelling_what_is_not_under_way_turns_the_schedule_off(account: Account) -> None:
    """There is no version to tell."""
    account.rotated("app", SINGLE_USER, days=1)
    assert account.cancel("app") is None
    account.pass_time(days=3)
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]
    assert account.rotation("app").wake_at is None


def test_a_secret_that_was_never_rotated_cannot_be_cancelled(account: Account) -> None:
    """It has no rotation to turn off."""
    with pytest.raises(InvalidRequest):
        account.cancel("app")
    assert account.describe("app").rotation_enabled is None


# --- people, meanwhile ---------------------------------------------------------------------------------------------


def test_a_value_put_by_hand_abandons_the_rotation(account: Account, target: MemoryTarget) -> None:
    """AWSPENDING is removed, the journal says so, and the schedule counts from the new value."""
    account.rotate("app", SINGLE_USER, days=30)
    account.clock.advance(timedelta(days=10))
    by_hand = account.put("app", target.new_user("app", "by hand"))
    account.engine.tick()
    assert account.labels("app")[CURRENT] == by_hand
    assert PENDING not in account.labels("app")
    assert account.events("app") == ["RotationStarted", "RotationAbandoned"]
    next_rotation = account.describe("app").next_rotation_date
    assert next_rotation == to_epoch(account.clock.now().replace(hour=23, minute=59, second=59) + timedelta(days=30))
    assert target.calls == []


@pytest.mark.parametrize("verb", ["set_password", "accepts"])
def test_a_value_put_by_hand_fences_the_worker_that_is_under_way(
    account: Account, target: MemoryTarget, verb: str
) -> None:
    """Whatever step it is at, it moves no label any more."""
    account.rotate("app", SINGLE_USER)
    target.meanwhile = once(lambda: account.put("app", "by hand"), verb)
    account.engine.tick()
    assert account.text("app") == "by hand"
    assert account.events("app") == ["RotationStarted", "RotationAbandoned"]


def test_a_rotation_waits_for_the_worker_that_was_fenced_off(account: Account, target: MemoryTarget) -> None:
    """The old worker may still be changing the target: nobody begins beside it; when it lets go, it begins at once."""
    seen: list[int] = []
    others = account.house.engine("engine-2")

    def by_hand() -> None:
        account.put("app", account.credential("app"))
        account.rotate("app")
        seen.append(others.tick())

    account.rotate("app", SINGLE_USER)
    target.meanwhile = once(by_hand, "set_password")
    account.engine.tick()
    assert seen == [0]
    target.passwords["app"] = "app-password"  # what the old worker sent has landed, and the person puts that right
    assert others.tick() == 1
    assert account.events("app")[-2:] == ["RotationStarted", "RotationSucceeded"]
    assert target.accepts(account.credential("app"))


def test_a_rotation_waits_no_longer_than_the_lease_of_a_worker_that_died(
    account: Account, target: MemoryTarget
) -> None:
    """A worker that was fenced off and never came back is waited for until its lease is over."""

    def by_hand_and_the_end_of_the_process() -> None:
        account.put("app", account.credential("app"))
        account.rotate("app")
        raise KeyboardInterrupt

    account.rotate("app", SINGLE_USER)
    target.meanwhile = once(by_hand_and_the_end_of_the_process, "set_password")
    with pytest.raises(KeyboardInterrupt):
        account.engine.tick()
    others = account.house.engine("engine-2")
    account.clock.advance(timedelta(seconds=29))
    assert others.tick() == 0
    account.clock.advance(timedelta(seconds=1))
    assert others.tick() == 1
    assert account.events("app")[-1] == "RotationSucceeded"


def test_removing_the_pending_label_abandons_the_rotation(account: Account, target: MemoryTarget) -> None:
    """The schedule is as it was; another rotation may begin."""
    version = account.rotate("app", SINGLE_USER, days=30)
    due = account.rotation("app").due
    account.move("app", PENDING, away_from=version)
    assert account.rotation("app").due == due
    account.engine.tick()
    assert account.events("app") == ["RotationStarted", "RotationAbandoned"]
    assert target.calls == []
    account.rotated("app")
    assert account.events("app")[-1] == "RotationSucceeded"


def test_a_value_put_under_the_pending_label_abandons_the_rotation(account: Account, target: MemoryTarget) -> None:
    """Its label was stolen: the engine does not touch what somebody else wrote."""
    account.rotate("app", SINGLE_USER)
    stolen = account.put("app", "a value", PENDING)
    account.engine.tick()
    assert account.labels("app")[PENDING] == stolen
    assert account.events("app") == ["RotationStarted", "RotationAbandoned"]
    assert target.calls == []


def test_a_password_that_a_person_chose_is_what_becomes_current(account: Account, target: MemoryTarget) -> None:
    """The empty pending version may be filled with the rotation's token, before the engine comes."""
    version = account.rotate("app", SINGLE_USER)
    account.put("app", target.credential("app", "chosen"), PENDING, version=version)
    account.engine.tick()
    assert account.labels("app")[CURRENT] == version
    assert account.credential("app").password.reveal() == target.passwords["app"] == "chosen"


def test_a_pending_version_that_somebody_made_current_is_finished(account: Account, target: MemoryTarget) -> None:
    """UpdateSecretVersionStage moved AWSCURRENT before the engine did, and the label AWSPENDING went."""
    version = account.rotate("app", SINGLE_USER)
    account.put("app", target.new_user("app", "chosen"), PENDING, version=version)
    account.move("app", CURRENT, to=version, away_from=account.labels("app")[CURRENT])
    account.move("app", PENDING, away_from=version)
    account.engine.tick()
    assert account.labels("app")[CURRENT] == version
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]


def test_an_empty_version_cannot_be_made_current(account: Account) -> None:
    """Moving AWSCURRENT to a pending version without a value would lose the secret."""
    version = account.rotate("app", SINGLE_USER)
    with pytest.raises(InvalidRequest, match="has no value"):
        account.move("app", CURRENT, to=version, away_from=account.labels("app")[CURRENT])
    account.engine.tick()
    assert account.labels("app")[CURRENT] == version


def test_going_back_to_the_previous_version_is_left_alone(account: Account, target: MemoryTarget) -> None:
    """A rollback by UpdateSecretVersionStage is no new value: the engine neither undoes it nor stumbles over it."""
    first = account.labels("app")[CURRENT]
    second = account.rotated("app", SINGLE_USER)
    target.passwords["app"] = "app-password"
    account.move("app", CURRENT, to=first, away_from=second)
    account.engine.tick()
    assert account.labels("app") == {CURRENT: first, PREVIOUS: second}
    account.rotated("app")
    assert target.accepts(account.credential("app"))


def test_a_deleted_secret_is_not_rotated(account: Account, target: MemoryTarget) -> None:
    """Not even when it was under way."""
    account.rotate("app", SINGLE_USER, days=1)
    account.delete("app")
    account.pass_time(days=3)
    assert target.calls == []
    assert account.events("app") == ["RotationStarted"]


def test_a_deletion_fences_the_worker_that_is_under_way(account: Account, target: MemoryTarget) -> None:
    """It writes nothing to a secret that is marked."""
    account.rotate("app", SINGLE_USER)
    target.meanwhile = once(lambda: account.delete("app"), "set_password")
    account.engine.tick()
    assert account.labels("app").keys() == {CURRENT, PENDING}
    assert account.rotation("app").wake_at is None


def test_a_restored_secret_goes_on_with_its_rotation(account: Account, target: MemoryTarget) -> None:
    """With the same pending value, which the target may have got before the deletion."""
    account.rotate("app", SINGLE_USER)
    target.meanwhile = once(lambda: account.delete("app"), "accepts")
    account.engine.tick()
    account.clock.advance(timedelta(days=2))
    account.restore("app")
    account.engine.tick()
    assert target.accepts(account.credential("app"))
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]


def test_a_restored_secret_keeps_its_schedule(account: Account) -> None:
    """A secret that was not under way is not rotated by being restored."""
    account.rotated("app", SINGLE_USER, days=30)
    due = account.rotation("app").due
    account.delete("app")
    account.restore("app")
    account.engine.tick()
    assert account.rotation("app").wake_at == due
    assert account.events("app") == ["RotationStarted", "RotationSucceeded"]


def test_a_purged_secret_takes_its_rotation_with_it(account: Account, target: MemoryTarget) -> None:
    """The worker that is under way writes nothing, and nothing is left to wake for."""
    account.rotate("app", SINGLE_USER)
    target.meanwhile = once(lambda: account.delete("app", force=True), "set_password")
    account.engine.tick()
    with pytest.raises(ResourceNotFound):
        account.describe("app")
    account.pass_time(days=2)
    assert [call for call in target.calls if call == "set_password app"] == ["set_password app"]


# --- real PostgreSQL -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["keywheel-postgres-single-user", "SecretsManagerRDSPostgreSQLRotationSingleUser"])
def test_a_live_postgresql_password_is_rotated(
    build_house: BuildHouse, clock: ManualClock, postgres: PostgresServer, function: str
) -> None:
    """The new password logs in and the old one is refused, under either name of the rotator."""
    account = live(build_house, clock)
    old = postgres.new_user()
    account.create("live", old)
    for _ in range(2):
        account.rotated("live", function)
        new = account.credential("live")
        assert logs_in(postgres, new)
        assert not logs_in(postgres, old)
        old = new


def test_live_postgresql_users_take_turns(
    build_house: BuildHouse, clock: ManualClock, postgres: PostgresServer
) -> None:
    """AWSCURRENT and AWSPREVIOUS both log in after each turn."""
    account = live(build_house, clock)
    master = account.create("live-master", postgres.superuser)
    user = postgres.new_user()
    account.create("live", Credential({**user.fields, "masterarn": master}, user.password))
    names = []
    for _ in range(3):
        account.rotated("live", "keywheel-postgres-alternating-users")
        assert [logs_in(postgres, account.credential("live", label)) for label in (CURRENT, PREVIOUS)] == [True, True]
        names.append(account.credential("live").username)
    assert names == [user.username + "_clone", user.username, user.username + "_clone"]


def live(build_house: BuildHouse, clock: ManualClock) -> Account:
    return Account(build_house(None), clock)


def logs_in(server: PostgresServer, credential: Credential) -> bool:
    import psycopg

    try:
        server.connect(credential.username, credential.password.reveal()).close()
    except psycopg.OperationalError:
        return False
    return True
