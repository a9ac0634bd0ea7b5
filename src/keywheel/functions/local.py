"""Rotation functions that this server runs itself: one process for one invocation, with the rights for one secret.

1. An invocation acts in a session of its own: of the function's role, narrowed to the one secret, to the secrets that
   the function's settings let it read, and to GetRandomPassword. The session is as long as the step may take, and is
   revoked when the invocation ends.
2. Nothing of the server's environment is passed on. The session's credentials go through a pipe.
3. A function's own error, its exit and its time-out are its failure. Where it was killed, nothing is known.
4. What it prints, and the text of its errors, are told without what is secret, and shortened (veil.py).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import structlog

from keywheel.access import authorize, facts, templates
from keywheel.access.authorize import Authority, Lock
from keywheel.access.documents import Kind
from keywheel.access.identities import FUNCTIONS_ROLE, Identities, Identity, Sort
from keywheel.access.policy import compiled, request
from keywheel.access.principals import Principal
from keywheel.access.sessions import Issued, Sessions
from keywheel.arn import Arn, Scope, function_name
from keywheel.clock import Clock
from keywheel.config import RotationFunction
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import (
    CallerError,
    ConfigurationError,
    Fenced,
    FunctionFailed,
    KeywheelError,
    MalformedPolicyDocument,
    TargetUnavailable,
)
from keywheel.functions import handlers
from keywheel.functions.process import End, Ended, Start, run
from keywheel.functions.veil import WITHHELD, shortened, veiled

_log = structlog.get_logger("keywheel.function")

SERVICE = "lambda.amazonaws.com"  # whom the trust policy of a function's role names
_SPARE_SECONDS = 60
_SHORTEST_SESSION = 1
_TEXT, _LINE, _LINES = 400, 400, 50
_ANY = "arn:aws:secretsmanager:us-east-1:000000000000:secret:a-name-of-usual-length-AbCdEf"
_PATH = "/usr/local/bin:/usr/bin:/bin"
Known = Callable[[], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Site:
    """Where functions run.

    `address`: the API's, as they reach it. `scratch`: where the directory of each invocation is made. `hidden`: files
    and directories of the server that they must not see.
    """

    address: str
    scratch: Path
    hidden: tuple[str, ...] = ()


class LocalFunctions:
    """The functions of the settings, by name. `here`: this machine runs them, and not only knows their names."""

    def __init__(
        self,
        functions: Mapping[str, RotationFunction],
        database: Database,
        sessions: Sessions,
        clock: Clock,
        site: Site | None,
        *,
        here: bool = True,
    ) -> None:
        self.names = frozenset(functions)
        self._functions = functions
        self._database = database
        self._sessions = sessions
        self._clock = clock
        self._site = site
        self._here = here

    def check(self, name: str) -> None:
        """Return if the function can be run, as far as can be told without running it.

        Raises:
            ConfigurationError: it cannot; it says why.
        """
        function = self._functions[name]
        try:
            compiled(templates.of_invocation(_ANY, tuple(function.reads)), Kind.SESSION)
        except MalformedPolicyDocument as error:
            raise ConfigurationError(
                f"functions.{name}: reads is not what a policy may name: {error.message}"
            ) from None
        if self._here:
            handlers.check(name, function)

    def invoke(self, function: str, event: Mapping[str, str], *, known: Known, holds: Callable[[], bool]) -> None:
        """Run the function on `event` and wait for its end, as long as `holds()`.

        `known` gives what must never be told, and is asked only when there is something to tell.

        Raises:
            TargetUnavailable: it was killed. How far it came is not known.
            FunctionFailed: it ended with an error, or without a word, or took too long, or could not begin.
            Fenced: the rotation is somebody else's now.
        """
        arn = Arn.parse(function)
        name = "" if arn is None else function_name(function, Scope(arn.account, arn.region)) or ""
        place, failed = self._functions[name], f"Error when executing lambda {function} during {event['Step']} step"
        if self._site is None:
            raise FunctionFailed(f"{failed}: this engine was not told where the API is.")
        call = _Call(function, name, place, event, str(uuid4()))
        issued = self._issue(call, failed)
        scratch = mkdtemp(prefix=f"{name}-", dir=None if place.user else self._scratch())
        try:
            ended = self._run(call, issued, self._site, scratch, holds)
        except (OSError, KeyError) as error:  # no such program, or no such user
            raise FunctionFailed(f"{failed}: it could not be started ({type(error).__name__}).") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            self._revoke(issued)
        secret = _once(lambda: [*known(), issued.secret.reveal(), issued.token.reveal()])
        _tell(call, ended, secret)
        _judge(call, ended, failed, secret)

    # --- its session

    def _issue(self, call: _Call, failed: str) -> Issued:
        now, seconds = self._clock.now(), int(call.place.timeout) + _SPARE_SECONDS
        policy = templates.of_invocation(call.event["SecretId"], call.place.reads)

        def issue(tx: Tx) -> Issued:
            role = self._role(tx, call, failed)
            return self._sessions.issue(
                tx, role, call.name, seconds=seconds, now=now, policy=policy, shortest=_SHORTEST_SESSION
            )

        try:
            return self._database.write(issue)
        except CallerError as error:  # its role or its session policy is not what it should be
            raise FunctionFailed(f"{failed}: {error.message}") from None

    def _role(self, tx: Tx, call: _Call, failed: str) -> Identity:
        name = call.place.role or FUNCTIONS_ROLE
        role = Identities().get(tx, call.account, Sort.ROLE, name)
        if role.trust is None:
            return role  # the house's own
        service = Principal.of(SERVICE)
        asked = request(service, "sts:AssumeRole", role.arn, facts.principal_facts(service))
        lock = Lock(role.account, compiled(role.trust, Kind.TRUST, "the role's trust policy"))
        if not authorize.assume(Authority(service, ()), asked, lock).allowed:
            raise FunctionFailed(
                f"{failed}: the trust policy of the role {name} does not admit {SERVICE}.",
                hint="`keywheel access roles trust` gives the role another.",
            )
        return role

    def _revoke(self, issued: Issued) -> None:
        try:
            self._database.write(lambda tx: Sessions.revoke(tx, issued.access_key_id))
        except KeywheelError as error:  # it ends by itself a little later
            _log.error("function.session", error=type(error).__name__)

    # --- its process

    def _scratch(self) -> Path:
        assert self._site is not None  # invoke has looked
        self._site.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._site.scratch

    def _run(self, call: _Call, issued: Issued, site: Site, scratch: str, holds: Callable[[], bool]) -> Ended:
        place, hidden = call.place, site.hidden
        if place.user is not None:
            shutil.chown(scratch, place.user)
        deadline = time.monotonic() + place.timeout
        task: dict[str, Any] = {
            "arn": call.arn,
            "name": call.name,
            "request_id": call.request_id,
            "handler": place.handler,
            "directory": place.directory,
            "deadline": deadline,
            "event": call.event,
            "hidden": list(hidden),
            "credentials": {
                "AWS_ACCESS_KEY_ID": issued.access_key_id,
                "AWS_SECRET_ACCESS_KEY": issued.secret.reveal(),
                "AWS_SESSION_TOKEN": issued.token.reveal(),
            },
        }
        environment = _environment(call, site.address, scratch)
        start = Start(handlers.python_of(place), place.directory, environment, place.user)
        return run(start, task, deadline=deadline, holds=holds)


@dataclass(frozen=True, slots=True)
class _Call:
    """One invocation."""

    arn: str
    name: str
    place: RotationFunction
    event: Mapping[str, str]
    request_id: str

    @property
    def account(self) -> str:
        return self.event["SecretId"].split(":")[4]

    @property
    def region(self) -> str:
        return self.event["SecretId"].split(":")[3]


def _environment(call: _Call, address: str, scratch: str) -> dict[str, str]:
    """All that the function's process has, but the credentials. Without the two files, an SDK looks for no others."""
    place = call.place
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **place.environment,
        "HOME": scratch,
        "TMPDIR": scratch,
        "AWS_REGION": call.region,
        "AWS_DEFAULT_REGION": call.region,
        "AWS_ENDPOINT_URL": address,
        "SECRETS_MANAGER_ENDPOINT": address,
        "AWS_LAMBDA_FUNCTION_NAME": call.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "LAMBDA_TASK_ROOT": place.directory,
        "_HANDLER": place.handler,
    }


def _tell(call: _Call, ended: Ended, secret: Known) -> None:
    """The end of what the function printed, in the server's log."""
    if not ended.output.strip():
        return
    lines = [line for line in _veiled(ended.output, secret).splitlines() if line.strip()]
    for line in lines[-_LINES:]:
        _log.info(
            "function.output",
            function=call.name,
            request_id=call.request_id,
            step=call.event["Step"],
            line=shortened(line, _LINE),
        )


def _judge(call: _Call, ended: Ended, failed: str, secret: Known) -> None:
    """What the end of the process says about the step."""
    hint = f"The server's log has what it printed, under request_id {call.request_id}."
    if ended.end is End.LOST:
        raise Fenced(f"The rotation was lost while {call.name} ran.")
    if ended.end is End.TIMED_OUT:
        raise FunctionFailed(f"{failed}: Task timed out after {call.place.timeout:.2f} seconds", hint=hint)
    if ended.end is End.ENDED and ended.status < 0:
        raise TargetUnavailable(f"{failed}: its process was killed by signal {-ended.status}.", hint=hint)
    if ended.end is End.ENDED:
        raise FunctionFailed(f"{failed}: Runtime exited with exit status {ended.status}", hint=hint)
    if ended.answer:
        kind, text = (str(ended.answer.get(member, "")) for member in ("errorType", "errorMessage"))
        told = shortened(_veiled(f"{kind}: {text}", secret), _TEXT)
        raise FunctionFailed(f"{failed}: {told}", hint=hint)


def _veiled(text: str, secret: Known) -> str:
    try:
        return veiled(text, secret())
    except Exception:  # noqa: BLE001 - what is secret could not be found out, so nothing is told
        return WITHHELD


def _once(known: Known) -> Known:
    found: list[Iterable[str]] = []

    def ask() -> Iterable[str]:
        if not found:
            found.append(list(known()))
        return found[0]

    return ask
