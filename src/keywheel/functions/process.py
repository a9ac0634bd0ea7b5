"""One process for one invocation: started clean, watched until its answer, its end or its deadline, and then killed.

* It is given no more than it is told: its own environment, directory, session and process group; of our descriptors
  none but its standard streams and the pipe for its answer; no secret in an argument.
* It ends with us: its standard input stays open for as long as we live and want its answer (child.py).
* However it ends, whatever is left of its process group is killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

_LOOK_SECONDS = 0.25
_MOST_ANSWER, _MOST_OUTPUT = 65_536, 32_768
CHILD = Path(__file__).with_name("child.py")


class End(Enum):
    """Why nothing is waited for any more."""

    ANSWERED = auto()
    ENDED = auto()  # without an answer
    TIMED_OUT = auto()
    LOST = auto()  # the rotation is somebody else's now


@dataclass(frozen=True, slots=True)
class Start:
    """How a process is started. `user` is whom it runs as, where that is somebody else."""

    python: str
    directory: str
    environment: Mapping[str, str]
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. `status` is its exit status, or the negative number of the signal that killed it."""

    end: End
    status: int
    answer: Mapping[str, Any]
    output: str


def run(start: Start, task: Mapping[str, Any], *, deadline: float, holds: Callable[[], bool]) -> Ended:
    """Run child.py on `task` until `deadline` (by the monotonic clock), as long as `holds()`.

    Raises:
        OSError: it cannot be started.
    """
    answer_from, answer_to = os.pipe()
    try:
        process = _start(start, answer_to)
    except BaseException:
        os.close(answer_from)
        raise
    finally:
        os.close(answer_to)
    watched = _Watched(process, answer_from)
    try:
        with suppress(BrokenPipeError):  # it ended at once
            watched.write(json.dumps(task).encode() + b"\n")
        end = watched.wait(deadline, holds)
    finally:
        watched.kill()
    return Ended(end, process.returncode, watched.answer(), watched.output())


def _start(start: Start, answer_to: int) -> subprocess.Popen[bytes]:
    as_user: dict[str, Any] = {} if start.user is None else _as_user(start.user)
    return subprocess.Popen(  # noqa: S603 - the interpreter is the settings', the rest our own
        [start.python, "-s", "-B", str(CHILD), str(answer_to)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=start.directory,
        env=dict(start.environment),
        pass_fds=(answer_to,),
        start_new_session=True,
        umask=0o077,
        **as_user,
    )


def _as_user(user: str) -> dict[str, Any]:
    import pwd

    found = pwd.getpwnam(user)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


class _Watched:
    """A process, and what has been heard of it."""

    def __init__(self, process: subprocess.Popen[bytes], answer_from: int) -> None:
        self._process = process
        self._answer_from = answer_from
        self._heard = {answer_from: bytearray(), self._output_from: bytearray()}
        self._cut = False
        for descriptor in self._heard:
            os.set_blocking(descriptor, False)

    @property
    def _output_from(self) -> int:
        assert self._process.stdout is not None  # it was started with a pipe
        return self._process.stdout.fileno()

    def write(self, line: bytes) -> None:
        """Tell it what to do; it takes no more than a pipe holds."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    def wait(self, deadline: float, holds: Callable[[], bool]) -> End:
        """Listen until there is nothing to wait for."""
        with selectors.DefaultSelector() as selector:
            for descriptor in self._heard:
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0.0:
                    return End.TIMED_OUT
                if not holds():
                    return End.LOST
                for key, _ in selector.select(min(left, _LOOK_SECONDS)):
                    if not self._listen(key.fd):
                        selector.unregister(key.fd)
                if b"\n" in self._heard[self._answer_from]:
                    return End.ANSWERED
                if self._has_ended():
                    self._listen(self._answer_from)
                    return End.ANSWERED if b"\n" in self._heard[self._answer_from] else End.ENDED

    def kill(self) -> None:
        """End it with everything that it started, and hear its last words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # where we may not kill it, it does so itself
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet, so its number is nobody else's
        self._process.wait()
        self._listen(self._output_from)
        self._process.stdout.close()
        os.close(self._answer_from)

    def answer(self) -> Mapping[str, Any]:
        """What it answered; nothing where it did not, or not what was agreed."""
        line, _, _ = bytes(self._heard[self._answer_from]).partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def output(self) -> str:
        """The end of what it printed: of a line that was cut, nothing."""
        _, output = self._heard.values()
        text = bytes(output).decode("utf-8", "replace")
        return text.partition("\n")[2] if self._cut else text

    def _listen(self, descriptor: int) -> bool:
        """Take what is there; False at the end of the pipe."""
        heard = self._heard[descriptor]
        while True:
            try:
                chunk = os.read(descriptor, 65_536)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            heard += chunk
            if descriptor == self._answer_from:
                del heard[_MOST_ANSWER:]
                return True
            if len(heard) > _MOST_OUTPUT:
                self._cut = True
                del heard[:-_MOST_OUTPUT]
            if len(chunk) < 65_536:
                return True

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
