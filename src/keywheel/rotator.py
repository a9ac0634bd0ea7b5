"""THE CONTRACT of a rotator: targets, strategies, credentials. An author of a rotator reads this file only.

A *target* is one system whose credential changes: a few verbs, each idempotent, each with three answers: it
worked, it was refused (`TargetRefused`), or nothing is known (`TargetUnavailable`). A *strategy* says in which order
the verbs are called; the strategies are written once, for all targets, in `strategies.py`. An optional ability of a
target is an extra protocol, never a flag.

A file in `keywheel/rotators/` holds one target. It declares

* `TARGET`: the class of the target, made without arguments;
* `AWS_NAME`: the name of AWS's template family, such as `RDSPostgreSQL`, or None.

From the file's name and the target's abilities follow the names a user chooses it by:
`keywheel-<file>-single-user`, `keywheel-<file>-alternating-users`, and AWS's own
`SecretsManager<AWS_NAME>RotationSingleUser` / `…MultiUser`.

Rules every verb keeps:

* What changes the target is done under a `Fence`, which is asked right before the change is sent. A target that can
  keep the fence's epoch beside the user does so, and is a `FencedTarget`: a worker that slept past its lease is then
  refused by the target itself.
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
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Protocol, runtime_checkable

from keywheel.errors import Fenced, SecretMalformed, TargetUnavailable
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


# --- the right to change a target ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fence:
    """A worker's right to change a target: the epoch of its rotation, and how long the rotation is still its own.

    Every claim of a rotation has a greater epoch than all before it, also after the store was restored from a backup.
    Epoch 0 is that of a host which keeps no epochs, such as AWS: nothing is stored or compared then.
    """

    epoch: int = 0
    left: Callable[[], float] = lambda: math.inf
    """Seconds that are left of the lease, by a clock that counts while the machine sleeps."""

    def seconds(self) -> float:
        """How long what is sent now may take, and each pause in it: the change has then landed, or never will, in time.

        Raises:
            Fenced: the lease is over.
        """
        left = self.left()
        if left <= 0.0:
            raise Fenced("The lease of this worker is over; it may not change the target any more.")
        return min(TIMEOUT, left / 3.0)


NO_FENCE = Fence()


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

    def set_password(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        """Make `credential` work. `by` is who logs in to do it: the user itself, or a superuser.

        Raises:
            TargetUnavailable: nothing is known about the outcome.
            TargetRefused: definitely not done (`PasswordRejected`: because of the value itself).
            Fenced: `fence` is over; definitely not done.
        """
        ...


@runtime_checkable
class FencedTarget(Target, Protocol):
    """Keeps the epoch of the last change beside each user, and refuses every change of an older one.

    Its `set_password` and `lock_user`, done by a superuser, compare and store the epoch in one step with the change.
    Done by the user itself, the change is authenticated with the very password that it replaces. Both bound, by the
    target's own clock, how long after the fence was asked the change may land.
    """

    def bar(self, credential: Credential, *, by: Credential, fence: Fence) -> None:
        """From now on nothing lands that an older epoch sent to change `credential`'s user. `by` is a superuser.

        What does not work afterwards will not begin to work by itself: only then is a probe an answer.

        Raises:
            TargetUnavailable, TargetRefused, Fenced: as `set_password`.
            StaleEpoch: the target has seen a newer epoch.
        """
        ...


@runtime_checkable
class CloningTarget(Target, Protocol):
    """Can give a second user the rights of a first, as alternating users need."""

    USERNAME_LIMIT: ClassVar[int]
    """The longest user name, in bytes of UTF-8."""

    def clone_user(self, original: Credential, clone: Credential, *, by: Credential) -> None:
        """Let the user of `clone` exist and have the same rights as that of `original`, both ways; `by` is a superuser.

        Called at every rotation, so that rights granted or revoked since are the same again. A new clone cannot log
        in before `set_password`. Both credentials say where the users are; their passwords mean nothing here.

        Raises:
            TargetUnavailable, TargetRefused: as `set_password`.
        """
        ...


@runtime_checkable
class LockingTarget(Target, Protocol):
    """Can make a user unable to log in by password until its next `set_password`."""

    def lock_user(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        """No password of `credential`'s user works any more; `by` is a superuser. Done already: nothing happens.

        Raises:
            TargetUnavailable, TargetRefused, Fenced: as `set_password`.
        """
        ...


@runtime_checkable
class SessionsTarget(Target, Protocol):
    """Can end the sessions that a user still has: on most systems they outlive the password they began with."""

    def end_sessions(self, credential: Credential, *, by: Credential) -> int:
        """End every session of `credential`'s user but our own; how many there were. `by` is a superuser.

        Raises:
            TargetUnavailable, TargetRefused: as `set_password`.
        """
        ...


# --- what a strategy is given ---------------------------------------------------------------------------------------


class Logins:
    """Counts the logins that a target refused, so that looking for the one that works never locks a user out."""

    def __init__(self, left: int | None = None) -> None:
        self._left = left
        self.asked = 0
        self.refused = 0

    def ask(self) -> None:
        """Before a login that may be refused.

        Raises:
            TargetUnavailable: no more may be refused for now, so nothing more is asked.
        """
        if self._left is not None and self.refused >= self._left:
            raise TargetUnavailable(
                "So many logins were refused that one more might lock the user out of the target.",
                hint="The rotation waits before it asks again. `keywheel why` tells what was found.",
            )
        self.asked += 1

    def was_refused(self) -> None:
        """After one that was refused."""
        self.refused += 1


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

    @property
    def fence(self) -> Fence:
        """Under which the target may be changed."""
        ...

    @property
    def logins(self) -> Logins:
        """Where refused logins are counted."""
        ...

    @property
    def ends_sessions(self) -> bool:
        """Whether retiring a credential also ends the sessions that it opened."""
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

    def repair(self, known: Sequence[Credential], context: Context) -> bool:
        """Make the current credential work again where it does not; whether anything had to be done. Idempotent.

        `known` are the other credentials that were kept: one of them may be what works now, and let us in.

        Raises:
            TargetRefused: it does not work, and nobody may change that.
            TargetUnavailable: nothing is known.
        """
        ...
