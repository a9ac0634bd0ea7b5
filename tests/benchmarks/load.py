"""The load: requests made beforehand, over raw keep-alive connections, from one thread around one epoll.

It looks at no more of a reply than it must to know where it ends, so that it is not slower than what it measures; the
benchmark prints its own ceiling beside the results. A server that closes its connections is given new ones, and the
time that takes is the server's.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

_SILENCE = 30.0  # seconds without any reply: the server hangs
_MOST = 1 << 18


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement saw. Times are seconds; `cpu` is the server's, `own_cpu` the generator's."""

    replies: int
    refused: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    own_cpu: float
    first_refusal: bytes = b""

    @property
    def rate(self) -> float:
        """Replies in a second."""
        return self.replies / self.seconds

    @property
    def cpu_each(self) -> float:
        """CPU seconds of the server for one reply."""
        return self.cpu / self.replies


class _Connection:
    """One request after the other."""

    __slots__ = ("_port", "part", "sent", "socket")

    def __init__(self, port: int) -> None:
        self._port = port
        self.part = b""  # of a reply that is not complete
        self.sent = 0.0
        self.open()

    def open(self) -> None:
        """A new connection, the first or in place of one that the server closed."""
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes, now: float) -> None:
        """Send the next request."""
        self.sent = now
        self.socket.send(request)  # it is small, and nothing else is in the buffer: it goes at once and whole


def _end(reply: bytes) -> int:
    """Where the head of a complete reply ends; 0 as long as more is to come. Spelled for speed."""
    head = reply.find(b"\r\n\r\n")
    if head < 0:
        return 0
    length = reply.find(b"ontent-length: ", 0, head)
    if length < 0:
        length = reply.find(b"ontent-Length: ", 0, head)
    body = int(reply[length + 15 : reply.find(b"\r", length)])
    return head if len(reply) >= head + 4 + body else 0


class _Drive:
    """One measurement: every connection is kept busy until the time is over or the requests are used up."""

    def __init__(self, port: int, requests: Iterator[bytes], connections: int) -> None:
        self._requests = requests
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self.took: list[float] = []
        self.refusals: list[bytes] = []
        for _ in range(connections):
            self._register(_Connection(port))

    def _register(self, connection: _Connection) -> None:
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)

    def run(self, seconds: float) -> float:
        """How long it took until the last reply."""
        busy = 0
        begun = time.perf_counter()
        for connection in self._connections.values():
            busy += self._next(connection, begun)
        deadline = begun + seconds
        while busy:
            events = self._epoll.poll(_SILENCE)
            if not events:
                raise TimeoutError("the server does not answer")
            for descriptor, _ in events:
                busy -= self._serve(self._connections[descriptor], descriptor, deadline)
        return time.perf_counter() - begun

    def _next(self, connection: _Connection, now: float) -> bool:
        request = next(self._requests, None)
        if request is None:
            return False
        connection.send(request, now)
        return True

    def _serve(self, connection: _Connection, descriptor: int, deadline: float) -> bool:
        """Take what came and send the next request; True when this connection has done its work."""
        reply = connection.socket.recv(_MOST)
        if not reply:
            raise ConnectionError("the server closed a connection in the middle of a reply")
        if connection.part:
            reply = connection.part + reply
        head = _end(reply)
        if not head:
            connection.part = reply
            return False
        connection.part = b""
        now = time.perf_counter()
        self.took.append(now - connection.sent)
        if reply[9:12] != b"200":
            self.refusals.append(reply)
        if reply.find(b"onnection: close", 0, head) > 0:
            self._renew(connection, descriptor)
        return now >= deadline or not self._next(connection, now)

    def _renew(self, connection: _Connection, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        del self._connections[descriptor]
        connection.socket.close()
        connection.open()
        self._register(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()


def drive(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    once: bool = False,
    cpu: Callable[[], float] = lambda: 0.0,
) -> Sample:
    """Send `requests` in turn for `seconds`, again from the first unless each may be sent `once` only.

    `cpu` tells the CPU seconds that the server has used.
    """
    run = _Drive(port, iter(requests) if once else cycle(requests), connections)
    try:
        before, own_before = cpu(), time.process_time()
        seconds = run.run(seconds)
        own, used = time.process_time() - own_before, cpu() - before
    finally:
        run.close()
    took = sorted(run.took)
    return Sample(
        replies=len(took),
        refused=len(run.refusals),
        seconds=seconds,
        p50=took[len(took) // 2],
        p99=took[len(took) * 99 // 100],
        cpu=used,
        own_cpu=own,
        first_refusal=run.refusals[0] if run.refusals else b"",
    )
