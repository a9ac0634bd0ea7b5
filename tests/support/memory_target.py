"""A target in memory, for tests to which a real server would add nothing. It passes the `TargetContract`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from keywheel.errors import LoginRefused, PasswordRejected, SecretMalformed, TargetRefused, TargetUnavailable
from keywheel.rotator import NO_FENCE, Credential, Fence
from keywheel.sensitive import Sensitive

HOST, PORT = "memory.test", 7


class MemoryTarget:
    """Users and their passwords, behind switches for outages and refusals.

    * `passwords`: who can log in; None: nobody by that name, until the next `set_password`.
    * `down`: nobody answers. `refuses`: every change is refused, before any effect.
    * `loses_reply_to`: the verb that is carried out, and whose answer is lost.
    * `rejects`: the password policy. `meanwhile`: called as each verb begins, with its name.
    * `calls`: each verb with the user it was about, as `set_password app`.
    """

    ENGINES: ClassVar[tuple[str, ...]] = ("memory",)
    EXCLUDE_CHARACTERS: ClassVar[str] = "'\"\\"
    PASSWORD_LENGTH: ClassVar[int] = 20
    USERNAME_LIMIT: ClassVar[int] = 30

    def __init__(self) -> None:
        self.passwords: dict[str, str | None] = {"admin": "admin-password"}
        self.rights: dict[str, str] = {}
        self.calls: list[str] = []
        self.down = False
        self.refuses = False
        self.loses_reply_to = ""
        self.rejects: Callable[[str], bool] = lambda _: False
        self.meanwhile: Callable[[str], None] = lambda _: None

    # --- what tests use

    @property
    def superuser(self) -> Credential:
        """Who may change every user."""
        return self.credential("admin", "admin-password")

    def credential(self, username: str, password: str) -> Credential:
        """A credential of this target, whether it works or not."""
        return Credential({"engine": "memory", "host": HOST, "port": PORT, "username": username}, Sensitive(password))

    def new_user(self, username: str, password: str) -> Credential:
        """A user that can log in."""
        self.passwords[username] = password
        return self.credential(username, password)

    # --- the verbs

    def place(self, credential: Credential) -> str:
        if credential.text("engine") not in self.ENGINES:
            raise SecretMalformed("engine in secret JSON must be set to 'memory'")
        return f"{credential.text('host')}:{credential.number('port', PORT)}"

    def accepts(self, credential: Credential) -> bool:
        self._begin("accepts", credential, credential.username)
        answer = self._logs_in(credential)
        self._answer("accepts")
        return answer

    def set_password(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        fence.seconds()
        self._begin("set_password", by, credential.username)
        self._authorize(by, credential.username)
        password = credential.password.reveal()
        if self.rejects(password):
            raise PasswordRejected(f"{self.place(credential)} refuses the password by its policy.")
        if credential.username not in self.passwords:
            raise TargetRefused(f"{self.place(credential)} knows no user {credential.username}.")
        self.passwords[credential.username] = password
        self._answer("set_password")

    def clone_user(self, original: Credential, clone: Credential, *, by: Credential) -> None:
        self._begin("clone_user", by, clone.username)
        self._authorize(by, clone.username)
        self.passwords.setdefault(clone.username, None)
        self.rights[clone.username] = original.username
        self._answer("clone_user")

    def lock_user(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        fence.seconds()
        self._begin("lock_user", by, credential.username)
        self._authorize(by, credential.username)
        self.passwords[credential.username] = None
        self._answer("lock_user")

    # --- inside

    def _begin(self, verb: str, at: Credential, username: str) -> None:
        self.calls.append(f"{verb} {username}")
        self.meanwhile(verb)
        if self.down or self.place(at) != f"{HOST}:{PORT}":
            raise TargetUnavailable(f"{self.place(at)} does not answer.")

    def _answer(self, verb: str) -> None:
        if verb == self.loses_reply_to:
            raise TargetUnavailable("The connection was lost before the answer came.")

    def _logs_in(self, credential: Credential) -> bool:
        return self.passwords.get(credential.username) == credential.password.reveal()

    def _authorize(self, by: Credential, username: str) -> None:
        if self.refuses:
            raise TargetRefused(f"{self.place(by)} is closed for changes.")
        if not self._logs_in(by):
            raise LoginRefused(f"{self.place(by)} refuses the login of {by.username}.")
        if by.username not in ("admin", username):
            raise TargetRefused(f"{by.username} may not change {username}.")
