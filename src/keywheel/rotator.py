"""THE CONTRACT of a rotator: targets, strategies, credentials. An author of a rotator reads this file only.

A *target* is one system whose credential changes: a few verbs, each idempotent, each with three answers: it
worked, it was refused (`TargetRefused`), or nothing is known (`TargetUnavailable`). A *strategy* says in which order
the verbs are called; the strategies are written here once, for all targets. An optional ability of a target is an
extra protocol, never a flag.

A file in `keywheel/rotators/` holds one target. It declares

* `TARGET`: the class of the target, made without arguments;
* `AWS_NAME`: the name of AWS's template family, such as `RDSPostgreSQL`, or None.

From the file's name and the target's abilities follow the names a user chooses it by:
`keywheel-<file>-single-user`, `keywheel-<file>-alternating-users`, and AWS's own
`SecretsManager<AWS_NAME>RotationSingleUser` / `…MultiUser`.

Rules every verb keeps:

* A second call with the same arguments does no harm and ends the same way; but for a user that changed its own
  password, who cannot log in with the old one to do it again (`LoginRefused`).
* Time spent waiting for the target is bounded: `TIMEOUT` seconds for a verb, connecting included.
* No secret value stands in an error, a log line, a process argument or the text of a statement; where the target
  takes a verifier instead of a password, a verifier is sent.
* A driver's exception never leaves the target's file: it becomes one of the errors below, told apart by the driver's
  own codes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Protocol, runtime_checkable

from keywheel.errors import LoginRefused, SecretMalformed, TargetRefused
from keywheel.sensitive import Sensitive

TIMEOUT = 5.0
"""Seconds that one verb may wait for its target. The sum over one step stays below the engine's lease."""

CLONE_SUFFIX = "_clone"
"""What AWS's alternating-users templates add to a user name for the second user of the pair."""


# --- the parsed secret value ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Credential:
    """The parsed JSON of a secret value, in AWS's keys: engine, host, port, username, password, dbname, masterarn, ssl.

    Unknown keys are kept: a new version is the current one with only the password (and, for alternating users, the
    username) replaced. The password is held `Sensitive`; the other fields are not secret.
    """

    fields: Mapping[str, Any]
    password: Sensitive[str]

    @classmethod
    def parse(cls, value: Sensitive[str]) -> Credential:
        """Read a secret string.

        Raises:
            SecretMalformed: it is not a JSON object, or lacks `username` or `password`. The field is named; its
                value is not.
        """
        try:
            fields = json.loads(value.reveal())
        except ValueError:
            fields = None  # the parser's message would quote the value
        if not isinstance(fields, dict):
            raise SecretMalformed("The secret value is not a JSON object.")
        password = fields.pop("password", None)
        if not isinstance(password, str) or not password:
            raise SecretMalformed("password key is missing from secret JSON")
        if "\0" in password:
            raise SecretMalformed("password in secret JSON must not hold a NUL character")
        credential = cls(fields, Sensitive(password))
        credential.text("username")
        return credential

    def to_json(self) -> Sensitive[str]:
        """The secret string that `parse` reads back."""
        return Sensitive(json.dumps({**self.fields, "password": self.password.reveal()}))

    def replace(self, *, password: Sensitive[str], username: str | None = None) -> Credential:
        """The same credential with another password and, where given, another user."""
        fields = dict(self.fields) if username is None else {**self.fields, "username": username}
        return Credential(fields, password)

    def text(self, key: str, default: str | None = None) -> str:
        """The string field `key`.

        Raises:
            SecretMalformed: it is missing without a default, empty, or not a string.
        """
        value = self.fields.get(key, default)
        if value is None:
            raise SecretMalformed(f"{key} key is missing from secret JSON")
        if not isinstance(value, str) or not value or "\0" in value:
            raise SecretMalformed(f"{key} in secret JSON must be a non-empty string")
        return value

    def number(self, key: str, default: int) -> int:
        """The integer field `key`, which AWS's templates accept as a number or a string of digits.

        Raises:
            SecretMalformed: it is neither.
        """
        value = self.fields.get(key, default)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise SecretMalformed(f"{key} in secret JSON must be a number")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """The boolean field `key`, as a JSON boolean or the strings `true` / `false`.

        Raises:
            SecretMalformed: it is something else. (AWS's templates fall back to plain text here; we never do.)
        """
        value = self.fields.get(key, default)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if not isinstance(value, bool):
            raise SecretMalformed(f"{key} in secret JSON must be true or false")
        return value

    @property
    def username(self) -> str:
        """Who logs in."""
        return self.text("username")

    def __repr__(self) -> str:
        return f"Credential(username={self.fields.get('username')!r}, host={self.fields.get('host')!r})"


# --- targets -------------------------------------------------------------------------------------------------------


@runtime_checkable
class Target(Protocol):
    """A system whose credential *we* choose."""

    ENGINES: ClassVar[tuple[str, ...]]
    """The values of `engine` in the secret JSON that this target serves."""

    EXCLUDE_CHARACTERS: ClassVar[str]
    """Characters that a new password must not hold (AWS's template defaults)."""

    PASSWORD_LENGTH: ClassVar[int]
    """Length of a new password."""

    def place(self, credential: Credential) -> str:
        """Where the credential is used, as `host:port`: the unit of the engine's concurrency limit.

        Raises:
            SecretMalformed: a field that this target needs is missing or wrong; the field is named.
        """
        ...

    def accepts(self, credential: Credential) -> bool:
        """Log in afresh and do something trivial. True: it works. False: the target refused this credential.

        Raises:
            TargetUnavailable: the target could not be asked, so nothing is known.
            TargetRefused: it answered, but not about the credential (TLS, an address rule, a missing database).
        """
        ...

    def set_password(self, credential: Credential, *, by: Credential) -> None:
        """Make `credential` work. `by` is who logs in to do it: the user itself, or a superuser.

        Raises:
            TargetUnavailable: nothing is known about the outcome.
            TargetRefused: definitely not done (`PasswordRejected`: because of the value itself).
        """
        ...


@runtime_checkable
class CloningTarget(Target, Protocol):
    """Can give a second user the rights of a first, as alternating users need."""

    USERNAME_LIMIT: ClassVar[int]
    """The longest user name, in bytes of UTF-8."""

    def clone_user(self, original: str, clone: str, *, by: Credential) -> None:
        """Let `clone` exist and have the same rights as `original`, both ways; `by` is a superuser.

        Called at every rotation, so that rights granted or revoked since are the same again. A new clone cannot log
        in before `set_password`.

        Raises:
            TargetUnavailable, TargetRefused: as `set_password`.
        """
        ...


@runtime_checkable
class LockingTarget(Target, Protocol):
    """Can make a user unable to log in by password until its next `set_password`."""

    def lock_user(self, credential: Credential, *, by: Credential) -> None:
        """No password of `credential`'s user works any more; `by` is a superuser. Done already: nothing happens.

        Raises:
            TargetUnavailable, TargetRefused: as `set_password`.
        """
        ...


# --- what a strategy is given ---------------------------------------------------------------------------------------


class Context(Protocol):
    """What a step may know. The engine, the Lambda host and the tests each make one."""

    @property
    def current(self) -> Credential:
        """The credential under AWSCURRENT."""
        ...

    @property
    def previous(self) -> Credential | None:
        """The credential under AWSPREVIOUS, where there is one that can be read."""
        ...

    @property
    def may_have_landed(self) -> bool:
        """False only when this very run wrote the pending value down and no target has been spoken to since."""
        ...

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        """A random password by AWS's GetRandomPassword rules."""
        ...

    def superuser(self) -> Credential | None:
        """The credential that the current one's `masterarn` names; None where it names none.

        Raises:
            SecretMalformed: there is a `masterarn`, and it cannot be read or does not hold a credential.
        """
        ...


class Strategy(Protocol):
    """In which order a target's verbs are called. One object serves every secret; it holds no state."""

    NAME: ClassVar[str]
    AWS_NAME: ClassVar[str]
    GRACE: ClassVar[timedelta | None]
    """How long after finish the old credential is retired by default. None: not before its next turn."""

    @property
    def target(self) -> Target:
        """Whose credential it rotates."""
        ...

    def create(self, context: Context) -> Credential:
        """The pending credential. Speaks to no target."""
        ...

    def check(self, pending: Credential, context: Context) -> None:
        """Refuse a pending value that this strategy would not have made.

        Whoever may write AWSPENDING must not steer a superuser to another host or user.

        Raises:
            SecretMalformed: it points elsewhere; the field is named.
        """
        ...

    def set(self, pending: Credential, context: Context) -> None:
        """Make `pending` work on the target. Idempotent."""
        ...

    def test(self, pending: Credential, context: Context) -> None:
        """Log in with `pending`.

        Raises:
            TargetRefused: it does not work.
            TargetUnavailable: nothing is known.
        """
        ...

    def retire(self, old: Credential, context: Context) -> None:
        """End the life of `old`, which AWSCURRENT no longer names, and prove that it is dead. Idempotent.

        Raises:
            TargetRefused: it still works and cannot be ended.
            TargetUnavailable: nothing is known.
        """
        ...


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


def _test(target: Target, pending: Credential) -> None:
    if not target.accepts(pending):
        raise TargetRefused(f"{target.place(pending)} refuses the pending credential of user {pending.username}.")


def _prove_dead(target: Target, old: Credential) -> None:
    if target.accepts(old):
        raise TargetRefused(
            f"{target.place(old)} still accepts the old password of user {old.username}.",
            hint="Does the target check passwords at all (such as `trust` in pg_hba.conf)?",
        )


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
        if context.may_have_landed and self.target.accepts(pending):
            return
        for actor in self._actors(context):
            try:
                self.target.set_password(pending, by=actor)
            except LoginRefused:
                continue
            return
        raise TargetRefused(
            f"{self.target.place(pending)} refuses the pending, the current and the previous credential "
            f"of user {pending.username}, and the superuser's where there is one.",
            hint=LoginRefused.default_hint,
        )

    def test(self, pending: Credential, context: Context) -> None:
        _test(self.target, pending)

    def retire(self, old: Credential, context: Context) -> None:
        _prove_dead(self.target, old)

    @staticmethod
    def _actors(context: Context) -> list[Credential]:
        """Who may change the password, in order: the user itself, then the superuser."""
        current, previous = context.current, context.previous
        actors = [current]
        if previous is not None and previous.username == current.username:
            actors.append(current.replace(password=previous.password))  # its host and TLS are the current one's
        superuser = _checked_superuser(context)
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
        original = pending.username.removesuffix(CLONE_SUFFIX)
        self.target.clone_user(original, original + CLONE_SUFFIX, by=superuser)
        if context.may_have_landed and self.target.accepts(pending):
            return
        self.target.set_password(pending, by=superuser)

    def test(self, pending: Credential, context: Context) -> None:
        _test(self.target, pending)

    def retire(self, old: Credential, context: Context) -> None:
        if old.username == context.current.username:
            raise SecretMalformed("username of the old credential is the current one's, which is never locked")
        if not isinstance(self.target, LockingTarget):
            raise TargetRefused(f"{self.target.place(old)} cannot lock a user; remove the grace period.")
        if self.target.accepts(old):
            self.target.lock_user(old, by=self._superuser(context))
        _prove_dead(self.target, old)

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
