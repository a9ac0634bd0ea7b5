"""Parent and children: nobody is lost, nobody is left behind, and nobody is asked in vain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, cast

import pytest

from keywheel.processes import on_terminate

ROOT = Path(__file__).resolve().parents[1]
SOON = 10.0


class Family:
    """A parent with a child of each kind, in a process group of its own."""

    def __init__(self, *kinds: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supervised", *kinds],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._told: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(SOON)
        self._reader.join(SOON)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.append(json.loads(line))

    def told(self, **what: object) -> list[dict[str, Any]]:
        """Everything that was told and has these members."""
        return [line for line in list(self._told) if line.items() >= what.items()]

    def waits_for(self, count: int = 1, **what: object) -> list[dict[str, Any]]:
        """The same, when it has been told so often."""
        eventually(lambda: len(self.told(**what)) >= count)
        return self.told(**what)

    def pid_of(self, name: str, life: int = 1) -> int:
        """The process of a child, in its n-th life."""
        pid: int = self.waits_for(life, began=name)[life - 1]["pid"]
        return pid

    def code(self) -> int:
        """The exit code of the parent; everything that was told is then here."""
        code = self._process.wait(SOON)
        self._reader.join(SOON)
        return code

    def ends(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the parent to end; its exit code."""
        os.kill(self.pid, number)
        return self.code()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether there is such a process; one that ended and was not waited for does not live."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


# --- being asked to end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_is_asked_to_end_ends_its_children_first(number: signal.Signals) -> None:
    """Each ends what it does; the exit code is 0."""
    with Family("obedient", "obedient") as family:
        pids = [family.pid_of("obedient-0"), family.pid_of("obedient-1")]
        assert family.ends(number) == 0
        assert {line["ended"] for line in family.told() if "ended" in line} == {"obedient-0", "obedient-1"}
        assert not any(lives(pid) for pid in pids)


def test_ctrl_c_at_a_terminal_ends_the_children_once() -> None:
    """It reaches every process of the group; the children wait for their parent to ask."""
    with Family("obedient", "plain") as family:
        family.pid_of("obedient-0")
        family.pid_of("plain-1")
        os.killpg(family.pid, signal.SIGINT)
        assert family.code() == 0
        assert len(family.told(ended="obedient-0")) == 1
        assert family.told(event="server.child-died") == []


def test_a_parent_that_is_asked_at_once_ends_at_once() -> None:
    """A child that has only just been born does not miss it: none has to be killed."""
    for _ in range(5):
        with Family("obedient", "plain", "obedient") as family:
            family.waits_for(ready=True)
            assert family.ends() == 0
            assert family.told(event="server.child-killed") == []


def test_a_child_that_does_not_end_is_killed() -> None:
    """After a while, and the exit code tells."""
    with Family("obedient", "deaf") as family:
        family.pid_of("obedient-0")
        pid = family.pid_of("deaf-1")
        assert family.ends() == 1
        assert [line["child"] for line in family.told(event="server.child-killed")] == ["deaf-1"]
        eventually(lambda: not lives(pid))


@pytest.mark.parametrize("kinds", [("failing", "plain"), ("plain", "failing"), ("failing", "obedient")])
def test_a_child_that_ends_in_an_error_shows_in_the_exit_code(kinds: tuple[str, ...]) -> None:
    """However the others end."""
    with Family(*kinds) as family:
        for number, kind in enumerate(kinds):
            family.pid_of(f"{kind}-{number}")
        assert family.ends() == 1


def test_a_stop_may_need_a_lock_that_the_main_thread_holds() -> None:
    """A signal interrupts it anywhere; it is not stuck."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = threading.Event()
    try:
        on_terminate(stop.set)
        with cast(Any, stop)._cond:
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(SOON)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- dying ---------------------------------------------------------------------------------------------------------


def test_a_child_that_dies_is_started_again() -> None:
    """It is logged how it ended; the others are left alone."""
    with Family("obedient", "obedient") as family:
        first, other = family.pid_of("obedient-0"), family.pid_of("obedient-1")
        for life in (1, 2, 3):
            os.kill(family.pid_of("obedient-0", life), signal.SIGKILL)
        assert family.pid_of("obedient-0", 4) != first
        assert [line["status"] for line in family.told(event="server.child-died", child="obedient-0")] == [9, 9, 9]
        assert (family.ends(), len(family.told(began="obedient-1")), lives(other)) == (0, 1, False)


def test_a_child_that_cannot_begin_is_tried_again_and_says_why() -> None:
    """Not more often than after the pause; a text of keywheel's own is logged, any other error by its class only."""
    with Family("hopeless", "obedient") as family:
        began = time.monotonic()
        family.waits_for(4, began="hopeless-0")
        assert time.monotonic() - began > 0.3
        failed = family.waits_for(event="server.child-failed")[0]
        assert (failed["child"], failed["error"]) == ("hopeless-0", "ConfigurationError")
        assert failed["message"] == "The store does not answer."
        assert len(family.told(began="obedient-1")) == 1


def test_a_child_that_dies_again_and_again_ends_all() -> None:
    """So that whoever watches the parent learns of it; the others are asked to end first."""
    with Family("hopeless", "obedient") as family:
        assert family.code() == 1
        assert len(family.told(began="hopeless-0")) == 8
        assert [line["child"] for line in family.told(event="server.gave-up")] == ["hopeless-0"]
        assert len(family.told(ended="obedient-1")) == 1


def test_the_text_of_a_strange_error_is_not_logged() -> None:
    """It may hold anything."""
    with Family("failing") as family:
        family.pid_of("failing-0")
        family.ends()
        assert [(line["error"], line["message"]) for line in family.told(event="server.child-failed")] == [
            ("LookupError", "")
        ]


@contextmanager
def without_its_parent(*kinds: str) -> Iterator[tuple[Family, list[int]]]:
    """Children whose parent was killed, and their processes."""
    with Family(*kinds) as family:
        pids = [family.pid_of(f"{kind}-{number}") for number, kind in enumerate(kinds)]
        os.kill(family.pid, signal.SIGKILL)
        yield family, pids


def test_children_do_not_outlive_their_parent() -> None:
    """They are asked to end as if it had asked them: whoever has something to end does that first."""
    with without_its_parent("obedient", "plain", "obedient") as (family, pids):
        eventually(lambda: not any(lives(pid) for pid in pids))
        said = {"obedient-0", "obedient-2"}  # it may still be on its way to us
        eventually(lambda: {line["ended"] for line in family.told() if "ended" in line} == said)


def test_children_that_were_started_again_do_not_outlive_their_parent_either() -> None:
    """Nor do those that were there before them."""
    with Family("obedient", "obedient") as family:
        os.kill(family.pid_of("obedient-0"), signal.SIGKILL)
        pids = [family.pid_of("obedient-0", 2), family.pid_of("obedient-1")]
        os.kill(family.pid, signal.SIGKILL)
        eventually(lambda: not any(lives(pid) for pid in pids))
