"""The audit log of one process: what is told to it is in the ledger before it returns."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from keywheel.access.audit import entries
from keywheel.access.audit.entries import Entry
from keywheel.access.audit.stream import AuditUnavailable, Checkpoint, Sign, Stream, StreamTaken
from keywheel.clock import Clock
from keywheel.errors import ConfigurationError

_NODE_LENGTH = 8
_NAMESAKES = 100
_log = structlog.get_logger("keywheel.audit")

Publish = Callable[[Checkpoint, str], object]
"""Keeps a checkpoint, with its line, where the other machines see it."""


class AuditLog:
    """A stream, its checkpoints by the clock, and a switch that stops the server when nothing can be written."""

    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        *,
        every: float,
        durable: bool,
        publish: Publish | None = None,
    ) -> None:
        self.waits = durable
        """Whether `record` waits for the disk."""
        self._stream = stream
        self._clock = clock
        self._every = every
        self._publish = publish
        self._second, self._time = -1, ""
        self._ending = threading.Event()
        self._signer = threading.Thread(target=self._sign_on, name="audit-checkpoints", daemon=True)
        self._signer.start()

    def time(self) -> str:
        """The present second, as entries have it."""
        now = self._clock.now()
        second = int(now.timestamp())
        if second != self._second:
            self._second, self._time = second, now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._time

    def record(self, entry: Entry) -> int:
        """Write an entry; its sequence.

        Raises:
            AuditUnavailable: it is not written.
        """
        return self._stream.append(partial(entries.line, entry), durable=self.waits)

    def check(self) -> None:
        """Nothing, when entries can be written. Before anything is done that will need one.

        Raises:
            AuditUnavailable: they cannot.
        """
        if not self._stream.usable():
            raise AuditUnavailable("The audit ledger is full, so nothing is served.")

    def checkpoint(self) -> None:
        """Sign what is new.

        Raises:
            AuditUnavailable: the signature cannot be written.
        """
        made = self._stream.checkpoint(self.time())
        if made is not None and self._publish is not None:
            self._publish(*made)

    def close(self) -> None:
        """Sign what is new for the last time, and let go of the files."""
        self._ending.set()
        self._signer.join()
        with suppress(AuditUnavailable):
            self.checkpoint()
        self._stream.close()

    def _sign_on(self) -> None:
        while not self._ending.wait(self._every):
            try:
                self.checkpoint()
            except Exception as error:  # noqa: BLE001 - the store or the disk is away; the next one signs it all
                _log.error("audit.checkpoint", error=type(error).__name__)


def open_stream(directory: Path, process: str, sign: Sign) -> Stream:
    """The stream of a process in a ledger; of several processes that are called the same, each gets one of its own.

    Raises:
        ConfigurationError: it cannot be written.
    """
    node = node_name(directory)
    for number in range(1, _NAMESAKES):
        suffix = "" if number == 1 else f"-{number}"
        with suppress(StreamTaken):
            return Stream(directory, f"{node}-{process}{suffix}", sign)
    raise ConfigurationError(f"Too many processes write to {directory}.")


def node_name(directory: Path) -> str:
    """The name of a ledger's directory, made on first use: streams of different machines never have the same name."""
    path = directory / "node"
    with suppress(FileExistsError), path.open("x", encoding="ascii") as file:
        file.write(uuid.uuid4().hex[:8])
    for _ in range(50):
        name = path.read_text(encoding="ascii")
        if len(name) == _NODE_LENGTH:
            return name
        time.sleep(0.01)  # another process is writing it
    raise ConfigurationError(f"{path} is spoiled; remove it.")


def public_key_path(directory: Path) -> Path:
    """Where a ledger's public key is."""
    return directory / "public-key.pem"
