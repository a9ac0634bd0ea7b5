"""The tests that every target passes; the test file of a rotator inherits them."""

from __future__ import annotations

import logging
import secrets
import string
import traceback
import unittest
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import ClassVar

from keywheel.errors import (
    Fenced,
    LoginRefused,
    SecretMalformed,
    StaleEpoch,
    TargetError,
    TargetRefused,
    TargetUnavailable,
)
from keywheel.rotator import (
    CLONE_SUFFIX,
    NO_FENCE,
    CloningTarget,
    Credential,
    Fence,
    FencedTarget,
    LockingTarget,
    Logins,
    SessionsTarget,
    Strategy,
    Target,
)
from keywheel.sensitive import Sensitive
from keywheel.strategies import AlternatingUsers, SingleUser
from keywheel.testing.fuse import Crash, Fuse
from keywheel.testing.network import LOOPBACK, closed_port

_NO_OVERLAP = timedelta(0)


@dataclass
class ManualContext:
    """A `keywheel.rotator.Context` that holds what it is given."""

    current: Credential
    previous: Credential | None = None
    may_have_landed: bool = False
    admin: Credential | None = None
    """What `superuser` returns."""
    fence: Fence = NO_FENCE
    logins: Logins = field(default_factory=Logins)
    ends_sessions: bool = False

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        allowed = [c for c in string.ascii_letters + string.digits + string.punctuation if c not in exclude_characters]
        return Sensitive("".join(secrets.choice(allowed) for _ in range(length)))

    def superuser(self) -> Credential | None:
        return self.admin


@dataclass
class _Rotation:
    """What outlives a crash: the labels, and the step to do next."""

    context: ManualContext
    pending: Credential
    step: str = "set"

    def run(self, strategy: Strategy, *, until: str = "end") -> None:
        """Go on from `step`, as the engine would, as far as `until`."""
        while self.step not in (until, "end"):
            self.step = getattr(self, f"_{self.step}")(strategy)

    def _set(self, strategy: Strategy) -> str:
        strategy.check(self.pending, self.context)
        strategy.set(self.pending, self.context)
        return "test"

    def _test(self, strategy: Strategy) -> str:
        strategy.test(self.pending, self.context)
        self.context.previous, self.context.current = self.context.current, self.pending
        return "retire"

    def _retire(self, strategy: Strategy) -> str:
        assert self.context.previous is not None
        strategy.retire(self.context.previous, self.context)
        return "end"


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """All that any logger is told meanwhile, down to DEBUG, as text."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]  # a sink
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def error_of(call: Callable[[], object], expected: type[TargetError] = TargetError) -> TargetError:
    """The error that `call` raises, which must be of that class."""
    try:
        call()
    except expected as error:
        return error
    raise AssertionError(f"no {expected.__name__} was raised")


def told_by(error: BaseException) -> str:
    """Everything an error tells: its texts, its attributes, its chain, and the variables a crash report would print."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    hint = error.hint() if isinstance(error, TargetError) else ""
    chain = [f"{vars(link)!r}" for link in (error, error.__cause__, error.__context__) if link is not None]
    return "\n".join([*report.format(), repr(error), hint, *chain])


class TargetContract:
    """The tests that every target passes, against the live system. Inherit it in a `Test…` class.

    Say there

    * `target`: the target;
    * `fresh_credential()`: a working credential of a user that nobody else uses;
    * `superuser()`: the credential that may change it.
    """

    target: Target
    REQUIRED_FIELDS: ClassVar[tuple[str, ...]] = ("engine", "host")

    def fresh_credential(self) -> Credential:
        """A working credential of a new user, the `original` of its pair."""
        raise NotImplementedError

    def superuser(self) -> Credential:
        """The credential of a superuser, on the same host."""
        raise NotImplementedError

    def strategies(self, target: Target) -> Sequence[Strategy]:
        """Every strategy that can rotate `target`, which may be a stand-in for `self.target`."""
        pair = [AlternatingUsers(target)] if isinstance(target, CloningTarget) else []
        return [SingleUser(target), *pair]

    def unreachable(self, credential: Credential) -> Credential:
        """The same credential at a place where nobody answers."""
        return Credential({**credential.fields, "host": LOOPBACK, "port": closed_port()}, credential.password)

    # --- the verbs ---

    def test_a_working_credential_is_accepted_every_time(self) -> None:
        """`accepts` is True, and looking changes nothing."""
        credential = self.fresh_credential()
        assert [self.target.accepts(credential) for _ in range(2)] == [True, True]

    def test_a_wrong_password_is_a_no(self) -> None:
        """`accepts` is False, not an error, for a password that is not the user's."""
        wrong = self._with_new_password(self.fresh_credential())
        assert [self.target.accepts(wrong) for _ in range(2)] == [False, False]

    def test_a_password_set_twice_is_set_once(self) -> None:
        """`set_password` by a superuser may be repeated; the new password works and the old one does not."""
        old = self.fresh_credential()
        new = self._with_new_password(old)
        for _ in range(2):
            self.target.set_password(new, by=self.superuser())
            assert (self.target.accepts(new), self.target.accepts(old)) == (True, False)

    def test_a_user_changes_its_own_password(self) -> None:
        """`set_password` by the user itself ends the old password, which cannot do it again."""
        old = self.fresh_credential()
        new = self._with_new_password(old)
        self.target.set_password(new, by=old)
        error_of(lambda: self.target.set_password(new, by=old), LoginRefused)
        assert (self.target.accepts(new), self.target.accepts(old)) == (True, False)

    def test_a_user_cloned_twice_is_cloned_once(self) -> None:
        """`clone_user` may be repeated; the clone cannot log in before its password is set."""
        target, credential = self._cloning(), self.fresh_credential()
        clone = credential.replace(password=credential.password, username=credential.username + CLONE_SUFFIX)
        for _ in range(2):
            target.clone_user(credential, clone, by=self.superuser())
            assert (target.accepts(credential), target.accepts(clone)) == (True, False)
        target.set_password(clone, by=self.superuser())
        target.clone_user(credential, clone, by=self.superuser())
        assert (target.accepts(credential), target.accepts(clone)) == (True, True)

    def test_a_user_locked_twice_is_locked_until_its_next_password(self) -> None:
        """`lock_user` may be repeated, and `set_password` ends the lock."""
        target, credential = self.target, self.fresh_credential()
        if not isinstance(target, LockingTarget):
            raise unittest.SkipTest("this target cannot lock a user")
        for _ in range(2):
            target.lock_user(credential, by=self.superuser())
            assert not self.target.accepts(credential)
        self.target.set_password(credential, by=self.superuser())
        assert self.target.accepts(credential)

    # --- fences ---

    def test_a_worker_whose_lease_is_over_changes_nothing(self) -> None:
        """Every verb that changes something asks its fence first."""
        credential = self.fresh_credential()
        over = Fence(1, lambda: 0.0)
        changes: list[Callable[[], object]] = [
            partial(self.target.set_password, self._with_new_password(credential), by=by, fence=over)
            for by in (credential, self.superuser())
        ]
        target = self.target
        if isinstance(target, LockingTarget):
            changes.append(lambda: target.lock_user(credential, by=self.superuser(), fence=over))
        if isinstance(target, FencedTarget):
            changes.append(lambda: target.bar(credential, by=self.superuser(), fence=over))
        for change in changes:
            self._fenced(change)
        assert self.target.accepts(credential)

    def test_a_change_of_an_older_epoch_is_refused(self) -> None:
        """After a barrier, or a change, nothing of an older epoch lands; the same epoch may do it again."""
        target, credential = self._fencing(), self.fresh_credential()
        old, new = self._with_new_password(credential), self._with_new_password(credential)
        target.bar(credential, by=self.superuser(), fence=Fence(5))
        error_of(lambda: target.set_password(old, by=self.superuser(), fence=Fence(4)), StaleEpoch)
        assert (target.accepts(credential), target.accepts(old)) == (True, False)
        for _ in range(2):
            target.set_password(new, by=self.superuser(), fence=Fence(6))
        for stale in (
            lambda: target.set_password(old, by=self.superuser(), fence=Fence(5)),
            self._stale_bar(credential),
        ):
            error_of(stale, StaleEpoch)
        if isinstance(target, LockingTarget):
            error_of(lambda: target.lock_user(credential, by=self.superuser(), fence=Fence(5)), StaleEpoch)
        assert (target.accepts(new), target.accepts(old)) == (True, False)

    def test_epochs_are_kept_for_each_user(self) -> None:
        """Another user of the same target is not held up."""
        target, one, other = self._fencing(), self.fresh_credential(), self.fresh_credential()
        target.bar(one, by=self.superuser(), fence=Fence(9))
        new = self._with_new_password(other)
        target.set_password(new, by=self.superuser(), fence=Fence(1))
        assert target.accepts(new)

    def test_sessions_are_ended_with_their_credential(self) -> None:
        """`end_sessions` counts what it ended; without any it is nothing."""
        target, credential = self.target, self.fresh_credential()
        if not isinstance(target, SessionsTarget):
            raise unittest.SkipTest("this target cannot end sessions")
        with self.session(credential) as is_open:
            assert (target.end_sessions(credential, by=self.superuser()), is_open()) == (1, False)
        assert target.end_sessions(credential, by=self.superuser()) == 0

    def session(self, credential: Credential) -> AbstractContextManager[Callable[[], bool]]:
        """An open session of `credential`, and how to ask whether it is still open. For a `SessionsTarget`."""
        raise NotImplementedError

    def _fenced(self, change: Callable[[], object]) -> None:
        try:
            change()
        except Fenced:
            return
        raise AssertionError("a change was made after the end of its lease")

    def _fencing(self) -> FencedTarget:
        if not isinstance(self.target, FencedTarget):
            raise unittest.SkipTest("this target keeps no epochs")
        return self.target

    def _stale_bar(self, credential: Credential) -> Callable[[], object]:
        return lambda: self._fencing().bar(credential, by=self.superuser(), fence=Fence(5))

    # --- crashes ---

    def test_a_crash_before_or_after_any_effect_loses_no_credential(self) -> None:
        """After a crash at any point of set, test or retire, going on ends with the new credential working.

        Where a strategy promises an overlap, the credential under AWSCURRENT works even at the instant of the crash.
        """
        for strategy in self.strategies(self.target):
            for turn in range(2):
                fuse = Fuse()
                rotation, fused = self._begun(strategy, fuse, turn)
                with fuse.recording() as points:
                    rotation.run(fused)
                assert points, f"{strategy.NAME} had no effect"
                for number, point in enumerate(points):
                    self._crash_and_go_on(strategy, turn, number, f"{strategy.NAME}, turn {turn}, crash {point}")

    def _crash_and_go_on(self, strategy: Strategy, turn: int, number: int, story: str) -> None:
        fuse = Fuse()
        rotation, fused = self._begun(strategy, fuse, turn)
        with fuse.blow_at(number), suppress(Crash):
            rotation.run(fused)
        overlap = strategy.GRACE != _NO_OVERLAP
        before_retirement = rotation.step != "retire"
        if overlap:
            assert self.target.accepts(rotation.context.current), f"{story}: AWSCURRENT does not work"
        rotation.context.may_have_landed = True
        rotation.run(fused, until="retire")
        new, old = rotation.context.current, rotation.context.previous
        assert old is not None
        assert self.target.accepts(new), f"{story}: the new credential does not work"
        if overlap and before_retirement:
            assert self.target.accepts(old), f"{story}: the old credential died early"
        rotation.run(fused)
        assert self.target.accepts(new), f"{story}: the new credential was retired"
        assert not self.target.accepts(old), f"{story}: the old credential lives on"

    def _begun(self, strategy: Strategy, fuse: Fuse, turn: int) -> tuple[_Rotation, Strategy]:
        """A rotation whose pending value is written down, after `turn` complete ones; and the strategy under `fuse`."""
        stand_ins = self.strategies(fuse.around("target", self.target))
        fused = next(other for other in stand_ins if other.NAME == strategy.NAME)
        context = ManualContext(self.fresh_credential(), admin=self.superuser())
        for _ in range(turn):
            _Rotation(context, fused.create(context)).run(fused)
        return _Rotation(context, fused.create(context)), fused

    # --- answers ---

    def test_a_wrong_superuser_is_refused(self) -> None:
        """A superuser that cannot log in is a definite no, and nothing is changed."""
        credential, wrong = self.fresh_credential(), self._with_new_password(self.superuser())
        for verb in self._changes(credential, by=wrong):
            error_of(verb, TargetRefused)
        assert self.target.accepts(credential)

    def test_a_user_without_rights_is_refused(self) -> None:
        """A user who may not change another is a definite no, and nothing is changed."""
        credential, nobody = self.fresh_credential(), self.fresh_credential()
        for verb in self._changes(credential, by=nobody):
            error_of(verb, TargetRefused)
        assert self.target.accepts(credential)

    def test_a_target_that_is_down_is_unavailable(self) -> None:
        """Where nobody answers, nothing is known."""
        credential, superuser = self.unreachable(self.fresh_credential()), self.unreachable(self.superuser())
        for verb in (lambda: self.target.accepts(credential), *self._changes(credential, by=superuser)):
            error_of(verb, TargetUnavailable)

    def test_a_field_that_is_missing_or_foreign_is_named(self) -> None:
        """The error about a malformed secret names the field."""
        credential = self.fresh_credential()
        for name in self.REQUIRED_FIELDS:
            for value in (None, "", 7, "\0"):
                broken = Credential({**credential.fields, name: value}, credential.password)
                for call in (self.target.place, self.target.accepts):
                    error = error_of(partial(call, broken), SecretMalformed)
                    assert name in error.message
        foreign = Credential({**credential.fields, "engine": "abacus"}, credential.password)
        assert "engine" in error_of(lambda: self.target.place(foreign), SecretMalformed).message

    def test_no_secret_value_is_logged_raised_or_printed(self) -> None:
        """Neither logs nor errors, with all their attributes, nor any repr hold a password."""
        credential, superuser, nobody = self.fresh_credential(), self.superuser(), self.fresh_credential()
        pending, impostor = self._with_new_password(credential), self._with_new_password(superuser)
        away = self.unreachable(credential)
        failing = [*self._changes(pending, by=impostor), *self._changes(pending, by=nobody)]
        failing += [*self._changes(away, by=self.unreachable(superuser)), partial(self.target.accepts, away)]
        with captured_log() as log:
            log += [told_by(error_of(verb)) for verb in failing]
            self.target.accepts(pending)
            for verb in self._changes(pending, by=superuser):
                verb()
        log += [f"{thing!r} {thing!s}" for thing in (credential, self.target)]
        text = "\n".join(log)
        for secret in (credential, superuser, nobody, pending, impostor):
            assert secret.password.reveal() not in text, "a password is in a log line, an error or a repr"

    def _with_new_password(self, credential: Credential) -> Credential:
        password = ManualContext(credential).new_password(
            length=self.target.PASSWORD_LENGTH, exclude_characters=self.target.EXCLUDE_CHARACTERS
        )
        return credential.replace(password=password)

    def _cloning(self) -> CloningTarget:
        if not isinstance(self.target, CloningTarget):
            raise unittest.SkipTest("this target cannot clone a user")
        return self.target

    def _changes(self, credential: Credential, *, by: Credential) -> list[Callable[[], object]]:
        """Every verb that changes something, ready to be called."""
        target = self.target
        clone = credential.replace(password=credential.password, username=credential.username + CLONE_SUFFIX)
        verbs: list[Callable[[], object]] = [lambda: target.set_password(credential, by=by)]
        if isinstance(target, CloningTarget):
            verbs.append(lambda: target.clone_user(credential, clone, by=by))
        if isinstance(target, LockingTarget):
            verbs.append(lambda: target.lock_user(credential, by=by))
        if isinstance(target, FencedTarget):
            verbs.append(lambda: target.bar(credential, by=by, fence=Fence(1)))
        return verbs
