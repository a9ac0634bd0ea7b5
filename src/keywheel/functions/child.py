"""The process that runs a rotation function once, by AWS Lambda's contract for Python.

It runs under the function's own interpreter, so it needs nothing but the standard library. One line of JSON comes in on
standard input: what to run, on which event, with which credentials. That pipe stays open as long as whoever asked
lives and has not given up: at its end the whole process group is killed. The answer is one line of JSON to the
descriptor that the only argument names.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, BinaryIO

# Of Linux: prctl(2), capset(2).
_NO_NEW_PRIVILEGES, _AMBIENT, _CLEAR_ALL, _CAPABILITIES_3 = 38, 47, 4, 0x20080522
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # landlock(7), the same on every architecture
_RIGHTS_OF_FILES = 0b100_0000_0000_0111  # execute, write, read, truncate
_LONGEST = 8_000  # characters of an error's text that go back
_DEEPEST = 20  # frames of a stack trace that are written down


class Context:
    """What a handler is given beside its event: the documented attributes of Lambda's context object."""

    function_version = "$LATEST"
    memory_limit_in_mb = "128"
    identity = None
    client_context = None

    def __init__(self, task: dict[str, Any]) -> None:
        self.aws_request_id: str = task["request_id"]
        self.function_name: str = task["name"]
        self.invoked_function_arn: str = task["arn"]
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = f"[{self.function_version}]{self.aws_request_id.replace('-', '')}"
        self._deadline: float = task["deadline"]

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still take."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


class HandlerMissing(Exception):
    """There is no such handler. The arguments are Lambda's word for it, and the text."""


def main() -> None:
    """Run the function, answer, and end."""
    _give_up_privileges()
    answer_to = int(sys.argv[1])
    os.set_inheritable(answer_to, False)
    asked = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    task = json.loads(asked.readline())
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()
    _hide(task["hidden"], [task["directory"], os.environ["TMPDIR"]])
    os.environ.update(task["credentials"])
    sys.path[0] = task["directory"]
    logging.basicConfig(format="[%(levelname)s]\t%(message)s")
    answer = _run(task)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    line = json.dumps(answer).encode() + b"\n"
    while line:
        line = line[os.write(answer_to, line) :]
    os._exit(0)  # what the function left running is of no use any more


def _give_up_privileges() -> None:
    """Keep no capability of the server, which may have some to change users, and gain none by a set-user-id program.

    Raises:
        OSError: that was not done; then nothing is run.
    """
    import ctypes

    kernel = ctypes.CDLL(None, use_errno=True)
    done = kernel.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.geteuid() != 0:
        header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
        done |= kernel.prctl(_AMBIENT, _CLEAR_ALL, 0, 0, 0) | kernel.capset(header, none)
    if done != 0:
        raise OSError(ctypes.get_errno(), "The privileges cannot be given up")


def _hide(hidden: list[str], shown: list[str]) -> None:
    """Keep this process and those that it starts from the paths `hidden`, but for `shown`, by the kernel's Landlock.

    Landlock allows and never forbids, so everything beside what is hidden is allowed. An older kernel cannot do it.

    Raises:
        OSError: that was not done; then nothing is run.
    """
    import ctypes

    kernel = ctypes.CDLL(None, use_errno=True)
    version = kernel.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1 or not hidden:
        return
    rights = (1 << {1: 13, 2: 14}.get(version, 15)) - 1
    ruleset = kernel.syscall(_CREATE_RULESET, ctypes.byref(ctypes.c_uint64(rights)), 8, 0)
    for path in [*_beside("/", {os.path.realpath(each) for each in hidden}), *shown]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # it went away, or is nothing for us anyway
            continue
        allowed = rights if stat.S_ISDIR(os.fstat(place).st_mode) else rights & _RIGHTS_OF_FILES
        rule = (ctypes.c_uint32 * 3)(allowed, 0, place)
        kernel.syscall(_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
        os.close(place)
    if ruleset < 0 or kernel.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "The files of the server cannot be hidden")
    os.close(ruleset)


def _beside(directory: str, hidden: set[str]) -> Iterator[str]:
    """Everything in a directory that is not hidden, and of what holds something hidden the rest. No symbolic links."""
    try:
        entries = list(os.scandir(directory))
    except OSError:  # it may be passed through and not be looked into
        return
    for entry in entries:
        if entry.path in hidden or entry.is_symlink():
            continue
        if any(each.startswith(entry.path + "/") for each in hidden):
            yield from _beside(entry.path, hidden)
        else:
            yield entry.path


def _end_with(asked: BinaryIO) -> None:
    """Kill this process and those that it started when nobody waits for them any more."""
    asked.read()
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _run(task: dict[str, Any]) -> dict[str, str]:
    try:
        _handler(task["handler"])(task["event"], Context(task))
    except HandlerMissing as error:
        kind, text = error.args
    except SystemExit as error:
        kind, text = "Runtime.ExitError", f"Runtime exited with exit status {error.code}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the function's answer
        traceback.print_exc(limit=-_DEEPEST)
        kind, text = type(error).__name__, str(error)
    else:
        return {}
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition(" ")[0]  # not half a word, which nobody would recognise
    return {"errorType": kind, "errorMessage": text}


def _handler(name: str) -> Any:
    module, _, function = name.rpartition(".")
    try:
        found = importlib.import_module(module.replace("/", "."))
    except ImportError as error:
        raise HandlerMissing("Runtime.ImportModuleError", f"Unable to import module '{module}': {error}") from None
    except SyntaxError as error:
        text = f"Syntax error in module '{module}': {error.msg} (line {error.lineno})"
        raise HandlerMissing("Runtime.UserCodeSyntaxError", text) from None
    if not callable(getattr(found, function, None)):
        raise HandlerMissing("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module}'")
    return getattr(found, function)


if __name__ == "__main__":
    main()
