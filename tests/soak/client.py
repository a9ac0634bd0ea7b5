"""One connection that sends signed requests one after the other, and measures each."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks.workloads import Signer

SILENCE = 30.0  # seconds without a reply: the server hangs


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when, since the run began; how long; and the error's code, if it was refused."""

    operation: str
    at: float
    took: float
    code: str | None


class Client:
    """A keep-alive connection. What it was told is in `asked`."""

    def __init__(self, port: int, signer: Signer, since: Callable[[], float], *, silence: float = SILENCE) -> None:
        self._port = port
        self._signer = signer
        self._since = since
        self._silence = silence
        self.asked: list[Asked] = []
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=self._silence)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")

    def close(self) -> None:
        """Close the connection."""
        self._replies.close()
        self._socket.close()

    def ask(self, operation: str, **members: Any) -> Any:
        """Send a request; the answer's document.

        Raises: OSError: no whole answer within `silence` seconds.
        """
        return self.call(f"secretsmanager.{operation}", members)

    def call(self, target: str, members: dict[str, Any], *, service: str = "secretsmanager") -> Any:
        """As `ask`, of an operation by its whole name."""
        request = self._signer.request(target, members, self._port, datetime.now(UTC), service=service)
        at, begun = self._since(), time.perf_counter()
        self._socket.sendall(request)
        status, closes, body = self._reply()
        took = time.perf_counter() - begun
        document = json.loads(body)
        self.asked.append(Asked(target.partition(".")[2], at, took, None if status == 200 else document["__type"]))
        if closes:  # uvicorn ends a connection after so many requests
            self.close()
            self._open()
        return document

    def _reply(self) -> tuple[int, bool, bytes]:
        status = int((self._replies.readline() or b"- 0 the connection was closed").split(b" ")[1])
        if status == 0:
            raise ConnectionError("the server closed the connection instead of answering")
        length, closes = 0, False
        while (line := self._replies.readline().strip().lower()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
            closes |= name == b"connection" and value.strip() == b"close"
        return status, closes, self._replies.read(length)
