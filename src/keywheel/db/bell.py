"""Bells: a process that sleeps until something is due is woken when another one makes it due sooner.

A bell only shortens a sleep. Whoever is woken looks for himself; whoever is not finds the same a little later. So it
may ring for nothing and be missed: behind a proxy that pools transactions, while the store is away, or at any time.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Protocol

import psycopg

from keywheel.errors import ConfigurationError

CHANNEL = "keywheel_due"
_COMMITS_SEEN_EVERY = 0.05  # seconds; to look costs a few microseconds and no disk
_ECHO_SECONDS = 2.0  # how long a listener's own ring may take to come back
_QUIET_SECONDS = 15.0  # after so long a silence the connection is tried
_RETRY_SECONDS = 1.0
_DEAF_SECONDS = 300.0  # until a way to the server that lets no notification through is tried again

_Postgres = psycopg.Connection[tuple[Any, ...]]


class Bell(Protocol):
    """Rings until it is closed."""

    @property
    def hears(self) -> bool:
        """Whether it rings at present, as far as is known. If not, look more often."""
        ...

    def close(self) -> None:
        """Be silent."""
        ...


class CommitBell:
    """SQLite's: the file itself says that somebody has committed to it."""

    hears = True

    def __init__(self, connect: Callable[[], sqlite3.Connection], ring: Callable[[], None]) -> None:
        self._ring = ring
        self._closing = threading.Event()
        self._connection = connect()
        self._thread = threading.Thread(target=self._watch, name="bell", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        with closing(self._connection) as connection:
            before = None
            while not self._closing.wait(_COMMITS_SEEN_EVERY):
                with suppress(sqlite3.Error):
                    version = connection.execute("PRAGMA data_version").fetchone()
                    if version != before:
                        before = version
                        self._ring()

    def close(self) -> None:
        """Be silent."""
        self._closing.set()
        self._thread.join()


class NotifyBell:
    """PostgreSQL's: a connection of its own that listens. It is opened again for as long as it takes."""

    def __init__(self, connect: Callable[[], _Postgres], ring: Callable[[], None]) -> None:
        self.hears = False
        self._connect = connect
        self._ring = ring
        self._closing = threading.Event()
        self._open: _Postgres | None = None
        self._thread = threading.Thread(target=self._watch, name="bell", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closing.is_set():
            pause = _RETRY_SECONDS
            with suppress(psycopg.Error, ConfigurationError, OSError), closing(self._connect()) as connection:
                self._open = connection
                pause = _RETRY_SECONDS if self._listen(connection) else _DEAF_SECONDS
            self._open, self.hears = None, False
            self._closing.wait(pause)

    def _listen(self, connection: _Postgres) -> bool:
        """Ring for as long as the connection lives; False when nothing gets through it at all."""
        connection.execute(f"LISTEN {CHANNEL}".encode())
        connection.execute(f"NOTIFY {CHANNEL}".encode())
        if not any(True for _ in connection.notifies(timeout=_ECHO_SECONDS, stop_after=1)):
            return False
        self.hears = True
        self._ring()  # for what was missed before
        while not self._closing.is_set():
            if any(True for _ in connection.notifies(timeout=_QUIET_SECONDS, stop_after=1)):
                self._ring()
            else:
                connection.execute("SELECT 1")
        return True

    def close(self) -> None:
        """Be silent."""
        self._closing.set()
        if (connection := self._open) is not None:
            hang_up(connection)
        self._thread.join(_RETRY_SECONDS)


def hang_up(connection: _Postgres) -> None:
    """End the wait of whoever waits for the server, from another thread: they are told that the connection is lost."""
    with suppress(OSError, psycopg.Error):
        end = socket.socket(fileno=connection.fileno())
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.detach()  # the descriptor is the connection's, which closes it
