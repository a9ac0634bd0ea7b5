"""Parent and children: fork, watch, start again, stop."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import structlog

from keywheel.errors import KeywheelError

_log = structlog.get_logger("keywheel.server")
_ENDING = (signal.SIGTERM, signal.SIGINT)
_RESTART_SECONDS = 1.0  # a child that dies at once is not started more often than this
_HOPELESS_DEATHS, _HOPELESS_SECONDS = 8, 30.0  # so many deaths of one child in so short a time
_STOP_SECONDS = 40.0  # how long a child may take to end before it is killed


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running."""

    name: str
    run: Callable[[], None]


def on_terminate(stop: Callable[[], None]) -> None:
    """Call `stop` when this process is asked to end.

    A signal interrupts the main thread wherever it is, be it inside the very lock that `stop` needs (an Event's, say).
    So `stop` is called in a thread of its own, and one that takes no lock to start.
    """

    def handler(_signal: int, _frame: FrameType | None) -> None:
        _thread.start_new_thread(stop, ())

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a child leaves Ctrl-C to its parent
            signal.signal(number, handler)


def supervise(children: list[Child], *, ready: Callable[[], None]) -> int:
    """Run every child until SIGTERM or SIGINT, starting again those that die; the exit code."""
    stopping = threading.Event()
    on_terminate(stopping.set)
    # The write end stays open in the parent alone: a child reads its end to learn that the parent is gone.
    alive_read, alive_write = os.pipe()
    running = {_fork(child, alive_read, alive_write): child for child in children}
    deaths: dict[str, list[float]] = {}
    ready()
    while not stopping.is_set():
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in running:
            child = running.pop(ended)
            _log.error("server.child-died", child=child.name, status=status)
            if _is_hopeless(deaths.setdefault(child.name, [])):
                _log.error("server.gave-up", child=child.name)
                _stop(running)
                return 1
            stopping.wait(_RESTART_SECONDS)
            if not stopping.is_set():
                running[_fork(child, alive_read, alive_write)] = child
        else:
            stopping.wait(0.2)
    return _stop(running)


def _is_hopeless(deaths: list[float]) -> bool:
    """Note a death; whether there were too many of late for another start to help. Then our watcher must know."""
    now = time.monotonic()
    deaths[:] = [*(death for death in deaths if now - death < _HOPELESS_SECONDS), now]
    return len(deaths) >= _HOPELESS_DEATHS


def _fork(child: Child, alive_read: int, alive_write: int) -> int:
    # A signal that comes meanwhile waits for the child's own handlers instead of the parent's, which it inherits.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        return pid
    code = 1
    try:
        os.close(alive_write)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C reaches the parent, which asks us to end
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        threading.Thread(target=_outlive_nobody, args=(alive_read,), name="parent-watch", daemon=True).start()
        child.run()
        code = 0
    except BaseException as error:  # noqa: BLE001 - the child's last word
        told = error.message if isinstance(error, KeywheelError) else ""
        _log.error("server.child-failed", child=child.name, error=type(error).__name__, message=told)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _outlive_nobody(alive_read: int) -> None:
    while os.read(alive_read, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(running: dict[int, Child]) -> int:
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _STOP_SECONDS
    code = 0
    while running:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in running:
            running.pop(ended)
            if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGTERM):
                code = 1
        elif time.monotonic() > end:
            for pid, child in running.items():
                _log.error("server.child-killed", child=child.name)
                os.kill(pid, signal.SIGKILL)
            return 1
        else:
            time.sleep(0.02)
    return code
