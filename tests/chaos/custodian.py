"""The custodian: rotates the root key, re-encrypts secrets, rotates keys by the command line, and is killed at it.

It sees no fault coming: its commands run into those that happen, and some are ended by SIGKILL themselves.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import psycopg

from tests.chaos.site import MAC, SIGNING, SYMMETRIC, Site
from tests.support.keywheel_server import KEYWHEEL, clean_environment

ROOT = ("root", "rotate", "--timeout", "100")
REENCRYPT = ("keys", "reencrypt", "--all")
_KILLED = 0.5  # of the commands
_LATEST_KILL = 6.0  # seconds after it was begun
_PATIENCE = 150.0
_BY_ITSELF = SYMMETRIC[len(SYMMETRIC) // 2 :]
# 90 days have passed for these keys: the next sweep of any engine rotates them.
_PASSED = """
    UPDATE kms_key SET rotation_period = 90, next_rotation = extract(epoch FROM clock_timestamp()) - 1
    WHERE key_id IN (SELECT key_id FROM kms_alias WHERE name IN ({names})) RETURNING key_id"""


class Custodian:
    """Threads that give commands until they are told to stop.

    Args:
        pause: seconds between two commands.
        root_pause: seconds between two rotations of the root key.
    """

    def __init__(self, site: Site, *, seed: int, pause: float, root_pause: float) -> None:
        self.came_to: Counter[str] = Counter()
        """Every command, and what came of it."""
        self.refusals: Counter[str] = Counter()
        self._site = site
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._seed = seed
        self._kinds: tuple[tuple[float, list[tuple[str, ...]]], ...] = (
            (root_pause, [ROOT]),
            (pause, [REENCRYPT, ("keys", "rotate")]),
        )
        self._pool = ThreadPoolExecutor(len(self._kinds))
        self._running: list[Future[None]] = []

    def start(self) -> None:
        """Begin."""
        for pause, commands in self._kinds:
            draw = random.Random(f"{self._seed} {commands}")
            self._running.append(self._pool.submit(self._run, pause, commands, draw))

    def stop(self) -> None:
        """Kill what is running, and end. What went wrong in a thread is raised here."""
        self._over.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def _run(self, pause: float, commands: list[tuple[str, ...]], draw: random.Random) -> None:
        if commands == [ROOT]:
            self._command(ROOT, None, draw)  # before anything was killed: there is nobody to wait for
        for command in itertools.cycle(commands):
            if self._over.wait(pause * draw.uniform(0.5, 1.5)):
                break
            if command == ("keys", "rotate"):
                self._let_time_pass()
                command = (*command, draw.choice(SIGNING + MAC))  # noqa: PLW2901  # that one of them
            self._command(command, draw.uniform(0.3, _LATEST_KILL) if draw.random() < _KILLED else None, draw)

    def _let_time_pass(self) -> None:
        names = ", ".join(f"'{name}'" for name in _BY_ITSELF)
        with suppress(psycopg.Error):
            self._site.asked_store(_PASSED.format(names=names))

    def _command(self, command: tuple[str, ...], killed_after: float | None, draw: random.Random) -> None:
        end = time.monotonic() + (_PATIENCE if killed_after is None else killed_after)
        environment = {**clean_environment(), **self._site.environment(draw.choice(self._site.replicas))}
        process = subprocess.Popen(
            [KEYWHEEL, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None and time.monotonic() < end and not self._over.is_set():
            time.sleep(0.05)
        was_running = process.poll() is None
        process.kill()
        told = process.communicate()[1]
        outcome = "killed" if was_running else "done" if process.returncode == 0 else "refused"
        with self._lock:
            self.came_to[f"{' '.join(command[:2])} {outcome}"] += 1
            if outcome == "refused":
                self.refusals[(told.strip().splitlines() or [""])[0][:160]] += 1
