"""The strategies: in which order a target's verbs are called. Written once, for all targets.

Each is a table of what a step may find and what it then does; what the steps share stands above them. None of them
holds any state, and each may be run again at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from keywheel.errors import LoginRefused, SecretMalformed, TargetRefused
from keywheel.rotator import (
    CLONE_SUFFIX,
    CloningTarget,
    Context,
    Credential,
    FencedTarget,
    LockingTarget,
    SessionsTarget,
    Target,
)
from keywheel.sensitive import Sensitive


def _same_fields(pending: Credential, current: Credential, *, username: str) -> None:
    """Every field but the password is the current one's, and the user is `username`."""
    for key in sorted({*pending.fields, *current.fields}):
        expected = username if key == "username" else current.fields.get(key)
        if pending.fields.get(key) != expected:
            raise SecretMalformed(
                f"{key} in the pending secret JSON differs from what this rotation would have made",
                hint="Remove AWSPENDING with UpdateSecretVersionStage and rotate again.",
            )


def _checked_superuser(context: Context) -> Credential | None:
    """The superuser, refused when it belongs to another host than the secret it is to change."""
    superuser = context.superuser()
    if superuser is not None and superuser.text("host") != context.current.text("host"):
        raise SecretMalformed("host in the superuser's secret JSON differs from host in the rotated secret")
    return superuser


def _new_password(target: Target, context: Context) -> Sensitive[str]:
    return context.new_password(length=target.PASSWORD_LENGTH, exclude_characters=target.EXCLUDE_CHARACTERS)


def works(target: Target, credential: Credential, context: Context) -> bool:
    """Whether the target accepts `credential`, asked within the budget of refused logins.

    Raises:
        TargetUnavailable, TargetRefused: as `Target.accepts`; or too many were refused.
    """
    context.logins.ask()
    answer = target.accepts(credential)
    if not answer:
        context.logins.was_refused()
    return answer


def _set_by(target: Target, credential: Credential, actors: Iterable[Credential], context: Context) -> None:
    """Set the password as the first of `actors` that gets in.

    Raises:
        LoginRefused: none of them does.
    """
    for actor in actors:
        context.logins.ask()
        try:
            target.set_password(credential, by=actor, fence=context.fence)
        except LoginRefused:
            context.logins.was_refused()
            continue
        return
    raise LoginRefused(
        f"{target.place(credential)} refuses every credential that is known of user {credential.username}, "
        f"and the superuser's where there is one."
    )


def _bar(target: Target, credential: Credential, superuser: Credential | None, context: Context) -> None:
    """Let nothing land any more that was sent before this claim, where the target can do that.

    Without a superuser there is nothing to do: who changes its own password needs the one that the change replaces. A
    superuser that is refused leaves it at that, for it is refused to the others as well.
    """
    if superuser is not None and isinstance(target, FencedTarget):
        with suppress(LoginRefused):
            target.bar(credential, by=superuser, fence=context.fence)


def _test(target: Target, pending: Credential, context: Context) -> None:
    if not works(target, pending, context):
        raise TargetRefused(f"{target.place(pending)} refuses the pending credential of user {pending.username}.")


def _prove_dead(target: Target, old: Credential, context: Context) -> None:
    if works(target, old, context):
        raise TargetRefused(
            f"{target.place(old)} still accepts the old password of user {old.username}.",
            hint="Does the target check passwords at all (such as `trust` in pg_hba.conf)?",
        )


def _end_sessions(target: Target, user: Credential, by: Credential, context: Context) -> None:
    """End what an old password still has open, where the secret's owner asks for that."""
    if context.ends_sessions:
        if not isinstance(target, SessionsTarget):
            raise TargetRefused(f"{target.place(user)} cannot end sessions; remove the tag that asks for it.")
        target.end_sessions(user, by=by)


@dataclass(frozen=True, slots=True)
class SingleUser:
    """One user, whose password is changed in place.

    Between set and finish, AWSCURRENT names a password that is already dead: the three steps run in one breath, and
    clients read the secret again when a login is refused.
    """

    NAME: ClassVar[str] = "single-user"
    AWS_NAME: ClassVar[str] = "SingleUser"
    GRACE: ClassVar[timedelta | None] = timedelta(0)  # the change itself ended the old password: prove it at once

    target: Target

    def create(self, context: Context) -> Credential:
        return context.current.replace(password=_new_password(self.target, context))

    def check(self, pending: Credential, context: Context) -> None:
        _same_fields(pending, context.current, username=context.current.username)

    def set(self, pending: Credential, context: Context) -> None:
        superuser = _checked_superuser(context)
        if context.may_have_landed:
            _bar(self.target, pending, superuser, context)
            if works(self.target, pending, context):
                return
        known = [] if context.previous is None else [context.previous]
        _set_by(self.target, pending, self._actors([context.current, *known], superuser, context), context)

    def test(self, pending: Credential, context: Context) -> None:
        _test(self.target, pending, context)

    def retire(self, old: Credential, context: Context) -> None:
        _prove_dead(self.target, old, context)
        _end_sessions(self.target, context.current, _checked_superuser(context) or context.current, context)

    def repair(self, known: Sequence[Credential], context: Context) -> bool:
        current = context.current
        if works(self.target, current, context):
            return False
        superuser = _checked_superuser(context)
        _bar(self.target, current, superuser, context)
        actors = self._actors(known, superuser, context)
        if superuser is not None:  # who is sure to get in goes first: guesses cost refused logins
            actors = [superuser, *actors[:-1]]
        _set_by(self.target, current, actors, context)
        _test(self.target, current, context)
        return True

    @staticmethod
    def _actors(known: Sequence[Credential], superuser: Credential | None, context: Context) -> list[Credential]:
        """Who may change the password, in order: the user itself by each password that is known, then the superuser."""
        current = context.current
        actors: list[Credential] = []
        for credential in known:
            actor = current.replace(password=credential.password)  # its host and TLS are the current one's
            if credential.username == current.username and actor not in actors:
                actors.append(actor)
        return actors if superuser is None else [*actors, superuser]


@dataclass(frozen=True, slots=True)
class AlternatingUsers:
    """Two users with the same rights take turns: the one that AWSCURRENT does not name gets the new password.

    AWSCURRENT works at every instant. The idle user's password lives on until its next turn, or, with a grace period
    set, until the engine locks it.
    """

    NAME: ClassVar[str] = "alternating-users"
    AWS_NAME: ClassVar[str] = "MultiUser"
    GRACE: ClassVar[timedelta | None] = None

    target: CloningTarget

    def create(self, context: Context) -> Credential:
        password = _new_password(self.target, context)
        return context.current.replace(password=password, username=self._other(context.current.username))

    def check(self, pending: Credential, context: Context) -> None:
        _same_fields(pending, context.current, username=self._other(context.current.username))

    def set(self, pending: Credential, context: Context) -> None:
        superuser = self._superuser(context)
        name = pending.username.removesuffix(CLONE_SUFFIX)
        original, clone = (
            pending.replace(password=pending.password, username=user) for user in (name, name + CLONE_SUFFIX)
        )
        self.target.clone_user(original, clone, by=superuser)
        if context.may_have_landed:
            _bar(self.target, pending, superuser, context)
            if works(self.target, pending, context):
                return
        self.target.set_password(pending, by=superuser, fence=context.fence)

    def test(self, pending: Credential, context: Context) -> None:
        _test(self.target, pending, context)

    def retire(self, old: Credential, context: Context) -> None:
        if old.username == context.current.username:
            raise SecretMalformed("username of the old credential is the current one's, which is never locked")
        if not isinstance(self.target, LockingTarget):
            raise TargetRefused(f"{self.target.place(old)} cannot lock a user; remove the grace period.")
        if works(self.target, old, context):
            self.target.lock_user(old, by=self._superuser(context), fence=context.fence)
            _prove_dead(self.target, old, context)
        if context.ends_sessions:
            _end_sessions(self.target, old, self._superuser(context), context)

    def repair(self, known: Sequence[Credential], context: Context) -> bool:
        if works(self.target, context.current, context):
            return False
        superuser = self._superuser(context)
        _bar(self.target, context.current, superuser, context)
        _set_by(self.target, context.current, [superuser], context)
        _test(self.target, context.current, context)
        return True

    def _other(self, username: str) -> str:
        """The other user of the pair."""
        if username.endswith(CLONE_SUFFIX):
            return username.removesuffix(CLONE_SUFFIX)
        clone = username + CLONE_SUFFIX
        if len(clone.encode()) > self.target.USERNAME_LIMIT:
            raise SecretMalformed(
                f"username is too long: with {CLONE_SUFFIX} it passes {self.target.USERNAME_LIMIT} bytes"
            )
        return clone

    @staticmethod
    def _superuser(context: Context) -> Credential:
        superuser = _checked_superuser(context)
        if superuser is None:
            raise SecretMalformed("masterarn key is missing from secret JSON")
        return superuser
