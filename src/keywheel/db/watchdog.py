"""The watchdog: a server that takes a statement and never answers is hung up on.

libpq waits for an answer for ever. A frozen server keeps its connections alive, so the kernel's timeouts do not help.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg

from keywheel.db.bell import hang_up

_Connection = psycopg.Connection[tuple[Any, ...]]


class Watchdog:
    """Ends every wait for an answer that lasts longer than `seconds`, from a thread of its own."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[int, tuple[float, _Connection]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def watching(self, connection: _Connection) -> _Wait:
        """A context in which `connection` waits for one answer."""
        return _Wait(self, connection)

    def begin(self, connection: _Connection) -> None:
        """A wait begins."""
        self._waits[id(connection)] = (time.monotonic() + self._seconds, connection)
        if self._thread is None:
            self._start()

    def end(self, connection: _Connection) -> None:
        """It has ended. Once this returns, the connection is not touched any more."""
        with self._lock:
            del self._waits[id(connection)]

    def close(self) -> None:
        """Watch no longer."""
        self._closing.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        while not self._closing.wait(self._seconds / 10.0):
            now = time.monotonic()
            with self._lock:
                for deadline, connection in list(self._waits.values()):
                    if deadline < now:
                        hang_up(connection)


class _Wait:
    __slots__ = ("_connection", "_watchdog")

    def __init__(self, watchdog: Watchdog, connection: _Connection) -> None:
        self._watchdog = watchdog
        self._connection = connection

    def __enter__(self) -> None:
        self._watchdog.begin(self._connection)

    def __exit__(self, *_: object) -> None:
        self._watchdog.end(self._connection)
