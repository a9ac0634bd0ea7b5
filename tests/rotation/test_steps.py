"""What steps.py promises: the order of the calls, each step twice, and what is refused before a target is spoken to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keywheel.errors import Fenced, LoginRefused, SecretMalformed, TargetRefused, TargetUnavailable
from keywheel.rotation.machine import Step
from keywheel.rotation.steps import CURRENT, PENDING, PREVIOUS, Terms, run_step
from keywheel.rotator import CLONE_SUFFIX, Credential, Strategy
from keywheel.sensitive import Sensitive
from keywheel.strategies import AlternatingUsers, SingleUser
from tests.support.memory_store import NEW_PASSWORD, MemoryStore
from tests.support.memory_target import HOST, PORT, MemoryTarget

SECRET, MASTER = "app-secret", "master-secret"
RUNNING = [Step.CREATE, Step.SET, Step.TEST, Step.FINISH]
WITH_VALUE = [Step.SET, Step.TEST]


class World:
    """A secret in rotation, its superuser's secret, and their target."""

    def __init__(self, strategy: Callable[[MemoryTarget], Strategy] = SingleUser) -> None:
        self.target = MemoryTarget()
        self.strategy = strategy(self.target)
        self.store = MemoryStore()
        self.old = self.with_master(self.target.new_user("app", "old-password"))
        self.store.held = {SECRET: {CURRENT: "old", PENDING: "new"}, MASTER: {CURRENT: "m"}}
        self.store.values = {(SECRET, "old"): self.old, (SECRET, "new"): None, (MASTER, "m"): self.target.superuser}

    @staticmethod
    def with_master(credential: Credential) -> Credential:
        return Credential({**credential.fields, "masterarn": MASTER}, credential.password)

    @property
    def labels(self) -> dict[str, str]:
        return self.store.held[SECRET]

    @property
    def pending(self) -> Credential:
        pending = self.store.get(SECRET, "new")
        assert pending is not None
        return pending

    def change(self, version: str, **fields: Any) -> None:
        """The value of a version, with other fields; `password` too."""
        old = self.store.get(SECRET, version)
        assert old is not None
        password = fields.pop("password", old.password.reveal())
        kept = {name: value for name, value in {**old.fields, **fields}.items() if value is not None}
        self.store.values[SECRET, version] = Credential(kept, Sensitive(password))

    def run(self, *steps: Step, token: str = "new", may_have_landed: bool = True) -> None:
        for step in steps:
            run_step(self.strategy, self.store, SECRET, token, step, Terms(may_have_landed=may_have_landed))

    def calls_of(self, step: Step, **options: Any) -> list[str]:
        """What the target is asked in one step."""
        self.target.calls.clear()
        self.run(step, **options)
        return self.target.calls


@pytest.fixture
def world() -> World:
    """A single user."""
    return World()


@pytest.fixture
def pair() -> World:
    """Alternating users."""
    return World(AlternatingUsers)


@pytest.fixture(params=[SingleUser, AlternatingUsers])
def any_world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


# --- the whole of it -----------------------------------------------------------------------------------------------


def test_the_steps_of_a_single_user_in_order(world: World) -> None:
    """One value is written, one password is set, one login proves each of the two."""
    world.run(*RUNNING, may_have_landed=False)
    world.run(Step.RETIRE, token="old")
    assert world.store.calls == ["draw 20 without '\"\\", "put new", "promote new"]
    assert world.target.calls == ["set_password app", "accepts app", "accepts app"]
    assert world.target.passwords["app"] == NEW_PASSWORD
    assert world.labels == {CURRENT: "new", PREVIOUS: "old"}


def test_the_steps_of_alternating_users_in_order(pair: World) -> None:
    """The clone gets its rights before its password; the user of AWSCURRENT is not touched before its retirement."""
    pair.run(*RUNNING, may_have_landed=False)
    assert pair.target.calls == ["clone_user app_clone", "set_password app_clone", "accepts app_clone"]
    assert pair.target.accepts(pair.old)
    assert pair.calls_of(Step.RETIRE, token="old") == ["accepts app", "lock_user app", "accepts app"]
    assert not pair.target.accepts(pair.old)
    assert pair.labels == {CURRENT: "new", PREVIOUS: "old"}


def test_users_take_turns(pair: World) -> None:
    """The third password is the first user's again, whose lock it ends."""
    pair.run(*RUNNING)
    pair.run(Step.RETIRE, token="old")
    pair.labels[PENDING] = "newer"
    pair.run(*RUNNING, token="newer")
    newer = pair.store.get(SECRET, "newer")
    assert newer is not None
    assert newer.username == "app"
    assert pair.target.accepts(newer)


@pytest.mark.parametrize("step", [*RUNNING, Step.RETIRE])
def test_a_step_that_is_run_twice_ends_the_same_way(any_world: World, step: Step) -> None:
    """A crash after the effect, before it was written down, does no harm."""
    any_world.run(*RUNNING[: RUNNING.index(step)] if step in RUNNING else RUNNING)
    token = "new" if step in RUNNING else "old"
    any_world.run(step, token=token)
    target, store = any_world.target, any_world.store
    once = dict(target.passwords), dict(any_world.labels), dict(store.values)
    any_world.run(step, token=token)
    assert (dict(target.passwords), dict(any_world.labels), dict(store.values)) == once


# --- who may run a step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", RUNNING)
@pytest.mark.parametrize("labels", [{CURRENT: "old"}, {CURRENT: "old", PENDING: "another"}])
def test_a_version_that_is_not_pending_is_not_rotated(world: World, step: Step, labels: dict[str, str]) -> None:
    """The rotation was abandoned or overtaken: nothing is written, and no target is spoken to."""
    world.store.held[SECRET] = labels
    with pytest.raises(Fenced):
        world.run(step)
    assert (world.store.calls, world.target.calls) == ([], [])


@pytest.mark.parametrize("step", RUNNING)
def test_a_version_that_is_current_already_is_done(world: World, step: Step) -> None:
    """The answer to finish was lost: every step of this token succeeds and does nothing."""
    world.run(*RUNNING)
    world.store.calls.clear()
    assert world.calls_of(step) == []
    assert world.store.calls == []


@pytest.mark.parametrize("step", RUNNING)
def test_a_secret_without_a_current_value_is_refused(world: World, step: Step) -> None:
    """There is nothing to make the next value from."""
    del world.labels[CURRENT]
    with pytest.raises(SecretMalformed, match="no value under AWSCURRENT"):
        world.run(step)
    assert world.target.calls == []


@pytest.mark.parametrize("step", WITH_VALUE)
def test_a_pending_version_without_a_value_is_refused(world: World, step: Step) -> None:
    """Set and test never make up a value that is not written down."""
    with pytest.raises(SecretMalformed, match="no value under AWSPENDING"):
        world.run(step)
    assert world.target.calls == []


# --- create --------------------------------------------------------------------------------------------------------


def test_a_pending_value_that_is_there_is_kept(any_world: World) -> None:
    """It may be live on the target already, so another one is never drawn."""
    any_world.run(Step.CREATE)
    kept = any_world.pending
    any_world.store.calls.clear()
    any_world.run(Step.CREATE)
    assert any_world.store.calls == []
    assert any_world.pending == kept


def test_a_new_value_differs_in_the_password_alone(world: World) -> None:
    """Host, port, and keys that keywheel does not know are the current ones."""
    world.change("old", colour="green")
    world.run(Step.CREATE)
    assert world.pending.fields == {**world.old.fields, "colour": "green"}
    assert world.pending.password == Sensitive(NEW_PASSWORD)


@pytest.mark.parametrize("step", [Step.CREATE])
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"engine": "abacus"}, "engine"),
        ({"engine": None}, "engine"),
        ({"host": None}, "host"),
        ({"host": 7}, "host"),
        ({"port": "x"}, "port"),
    ],
)
def test_a_current_value_that_does_not_fit_the_target_names_the_field(
    any_world: World, step: Step, fields: dict[str, Any], named: str
) -> None:
    """No value is written down, and no target is spoken to."""
    any_world.change("old", **fields)
    with pytest.raises(SecretMalformed, match=named):
        any_world.run(step)
    assert (any_world.store.calls, any_world.target.calls) == ([], [])


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("not json", "JSON object"),
        ("[]", "JSON object"),
        ('{"username": "app"}', "password"),
        ('{"password": "p"}', "username"),
        ('{"username": "", "password": "p"}', "username"),
        ('{"username": "app", "password": 7}', "password"),
    ],
)
@pytest.mark.parametrize("step", RUNNING)
def test_a_current_value_that_is_no_credential_names_the_field(
    world: World, step: Step, value: str, named: str
) -> None:
    """Whatever the step; the value itself is not quoted."""
    world.store.values[SECRET, "old"] = value
    with pytest.raises(SecretMalformed, match=named) as raised:
        world.run(step)
    assert value not in str(raised.value)


# --- set: a pending value that somebody else wrote -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"host": "evil.test"}, "host"),
        ({"port": 8}, "port"),
        ({"username": "admin"}, "username"),
        ({"masterarn": "another-secret"}, "masterarn"),
        ({"masterarn": None}, "masterarn"),
        ({"ssl": False}, "ssl"),
        ({"extra": "key"}, "extra"),
    ],
)
def test_a_pending_value_that_points_elsewhere_is_refused(any_world: World, fields: dict[str, Any], named: str) -> None:
    """Whoever may write AWSPENDING must not steer a superuser: nobody is spoken to, and the field is named."""
    any_world.run(Step.CREATE)
    any_world.change("new", **fields)
    with pytest.raises(SecretMalformed, match=named):
        any_world.run(Step.SET)
    assert any_world.target.calls == []


def test_a_pending_value_for_the_current_user_is_refused_for_alternating_users(pair: World) -> None:
    """The user of AWSCURRENT is not changed before its turn."""
    pair.run(Step.CREATE)
    pair.change("new", username="app")
    with pytest.raises(SecretMalformed, match="username"):
        pair.run(Step.SET)
    assert pair.target.calls == []


def test_a_pending_password_that_somebody_chose_is_taken(any_world: World) -> None:
    """Filling AWSPENDING by hand, with nothing but another password, is how a person chooses it."""
    any_world.run(Step.CREATE)
    any_world.change("new", password="chosen")
    any_world.run(Step.SET, Step.TEST)
    assert any_world.target.accepts(any_world.pending)


def test_a_superuser_of_another_host_is_refused(any_world: World) -> None:
    """Its password would be shown to a server that it does not belong to."""
    any_world.run(Step.CREATE)
    foreign = {**any_world.target.superuser.fields, "host": "other.test"}
    any_world.store.values[MASTER, "m"] = Credential(foreign, Sensitive("admin-password"))
    with pytest.raises(SecretMalformed, match="host in the superuser's secret"):
        any_world.run(Step.SET, may_have_landed=False)
    assert any_world.target.calls == []


@pytest.mark.parametrize(
    ("master", "named"),
    [
        (None, "names a secret that has no value"),
        ("not json", "masterarn in secret JSON"),
        ('{"username": "admin"}', "masterarn in secret JSON: password"),
    ],
)
def test_a_superuser_that_cannot_be_read_is_refused(any_world: World, master: str | None, named: str) -> None:
    """The message says that it is about `masterarn`."""
    any_world.run(Step.CREATE)
    any_world.store.values[MASTER, "m"] = master
    with pytest.raises(SecretMalformed, match=named):
        any_world.run(Step.SET, may_have_landed=False)
    assert any_world.target.calls == []


def test_a_superuser_that_does_not_exist_is_refused(any_world: World) -> None:
    """The error of the store is told as one of `masterarn`."""
    any_world.run(Step.CREATE)
    del any_world.store.held[MASTER]
    with pytest.raises(SecretMalformed, match="masterarn in secret JSON: There is no secret"):
        any_world.run(Step.SET)


def test_alternating_users_need_a_superuser(pair: World) -> None:
    """Nobody else may make a clone; the missing key is named."""
    pair.change("old", masterarn=None)
    pair.run(Step.CREATE)
    with pytest.raises(SecretMalformed, match="masterarn"):
        pair.run(Step.SET)


# --- set: who logs in ----------------------------------------------------------------------------------------------


def test_a_value_that_has_landed_is_not_sent_again(any_world: World) -> None:
    """After a crash the target is asked first: the answer may have been lost."""
    any_world.run(Step.CREATE, Step.SET)
    assert not [call for call in any_world.calls_of(Step.SET) if call.startswith("set_password")]


def test_a_value_that_was_drawn_a_moment_ago_is_sent_without_asking(world: World) -> None:
    """A failed login that is certain to fail is spared."""
    world.run(Step.CREATE)
    assert world.calls_of(Step.SET, may_have_landed=False) == ["set_password app"]


@pytest.mark.parametrize(
    ("live", "has_master"),
    [("old-password", False), ("older-password", False), ("lost-password", True)],
    ids=["current", "previous", "superuser"],
)
def test_whoever_can_still_log_in_sets_the_password(world: World, live: str, has_master: bool) -> None:
    """The current credential, else the previous one, else the superuser."""
    if not has_master:
        world.change("old", masterarn=None)
    older = world.old.replace(password=Sensitive("older-password"))
    world.store.values[SECRET, "older"] = older
    world.labels[PREVIOUS] = "older"
    world.target.passwords["app"] = live
    world.run(Step.CREATE, Step.SET, Step.TEST)
    assert world.target.passwords["app"] == NEW_PASSWORD


def test_nobody_who_can_log_in_is_a_refusal_that_changes_nothing(world: World) -> None:
    """Every candidate was refused; the message names the user and no password."""
    world.change("old", masterarn=None)
    world.target.passwords["app"] = "lost-password"
    world.run(Step.CREATE)
    with pytest.raises(TargetRefused, match="user app") as raised:
        world.run(Step.SET)
    assert world.target.passwords["app"] == "lost-password"
    assert not [word for word in ("lost-password", "old-password", NEW_PASSWORD) if word in str(raised.value)]


def test_the_previous_credential_of_another_user_does_not_act(world: World) -> None:
    """What was alternating before does not lend its other user."""
    world.change("old", masterarn=None)
    world.store.values[SECRET, "older"] = world.target.new_user("other", "other-password")
    world.labels[PREVIOUS] = "older"
    world.target.passwords["app"] = "lost-password"
    world.run(Step.CREATE)
    with pytest.raises(TargetRefused):
        world.run(Step.SET)


def test_a_previous_value_that_is_broken_is_left_out(any_world: World) -> None:
    """An old value that nobody can read stops no rotation."""
    any_world.store.values[SECRET, "older"] = "not json"
    any_world.labels[PREVIOUS] = "older"
    any_world.run(*RUNNING)
    assert any_world.labels == {CURRENT: "new", PREVIOUS: "old"}


def test_a_superuser_that_is_refused_is_a_refusal(pair: World) -> None:
    """The superuser's own secret is out of date: a person acts."""
    pair.target.passwords["admin"] = "changed"
    pair.run(Step.CREATE)
    with pytest.raises(LoginRefused):
        pair.run(Step.SET)


# --- answers pass through ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [*WITH_VALUE, Step.RETIRE])
def test_a_target_that_is_down_is_no_answer(any_world: World, step: Step) -> None:
    """Neither yes nor no: the error says that nothing is known."""
    any_world.run(*RUNNING if step is Step.RETIRE else [Step.CREATE])
    any_world.target.down = True
    with pytest.raises(TargetUnavailable):
        any_world.run(step, token="old" if step is Step.RETIRE else "new")


@pytest.mark.parametrize("step", [Step.CREATE, Step.FINISH])
def test_a_target_that_is_down_does_not_matter_where_it_is_not_asked(any_world: World, step: Step) -> None:
    """Create and finish speak to the store alone."""
    any_world.target.down = True
    any_world.run(step)
    assert any_world.target.calls == []


def test_a_pending_value_that_does_not_work_fails_the_test(any_world: World) -> None:
    """The labels do not move on a set that was not what it said."""
    any_world.run(Step.CREATE)
    any_world.target.passwords[any_world.pending.username] = "something else"
    with pytest.raises(TargetRefused, match=f"{HOST}:{PORT} refuses the pending credential"):
        any_world.run(Step.TEST)
    assert any_world.labels == {CURRENT: "old", PENDING: "new"}


# --- retire --------------------------------------------------------------------------------------------------------


def test_an_old_password_that_still_works_is_not_retired(world: World) -> None:
    """A single user's old password died when the new one was set; if it lives, somebody has to look."""
    world.run(Step.CREATE, Step.FINISH)
    with pytest.raises(TargetRefused, match="still accepts the old password"):
        world.run(Step.RETIRE, token="old")


def test_a_password_that_somebody_went_back_to_is_not_old(any_world: World) -> None:
    """AWSCURRENT was moved back to it: it is not ended, and its rotation does not hang for ever."""
    any_world.run(*RUNNING)
    any_world.target.passwords["app"] = "old-password"
    any_world.store.held[SECRET] = {CURRENT: "old", PREVIOUS: "new"}
    assert any_world.calls_of(Step.RETIRE, token="old") == []
    assert any_world.target.accepts(any_world.old)


def test_a_password_that_was_put_again_is_not_old(any_world: World) -> None:
    """The same user and password, under another version."""
    any_world.run(*RUNNING)
    any_world.target.passwords["app"] = "old-password"
    any_world.store.values[SECRET, "again"] = any_world.old
    any_world.labels[CURRENT] = "again"
    assert any_world.calls_of(Step.RETIRE, token="old") == []


def test_the_user_of_the_current_credential_is_never_locked(pair: World) -> None:
    """Somebody put another password of the same user: its old one is not worth a lock."""
    pair.run(*RUNNING)
    pair.store.values[SECRET, "by hand"] = pair.old.replace(password=Sensitive("by-hand"))
    pair.labels[CURRENT] = "by hand"
    pair.target.passwords["app"] = "by-hand"
    with pytest.raises(SecretMalformed, match="never locked"):
        pair.run(Step.RETIRE, token="old")
    assert pair.target.passwords["app"] == "by-hand"


def test_an_old_version_that_is_gone_has_nothing_to_retire(any_world: World) -> None:
    """Its value was removed, so nobody can prove anything about it."""
    any_world.run(*RUNNING)
    any_world.store.values[SECRET, "old"] = None
    assert any_world.calls_of(Step.RETIRE, token="old") == []


def test_a_retirement_asks_for_no_label(any_world: World) -> None:
    """The old version may have lost its labels to a person, and the next rotation may be pending."""
    any_world.run(*RUNNING)
    any_world.store.held[SECRET] = {CURRENT: "new", PENDING: "newer"}
    any_world.run(Step.RETIRE, token="old")
    assert not any_world.target.accepts(any_world.old)


def test_a_clone_of_a_name_that_is_too_long_is_refused(pair: World) -> None:
    """A name that the target would cut off is somebody else's."""
    pair.change("old", username="a" * (MemoryTarget.USERNAME_LIMIT - len(CLONE_SUFFIX) + 1))
    with pytest.raises(SecretMalformed, match="username is too long"):
        pair.run(Step.CREATE)
    assert pair.target.calls == []
