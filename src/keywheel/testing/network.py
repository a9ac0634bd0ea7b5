"""A TCP connection that is refused, swallowed, slow, or cut before the reply."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

LOOPBACK = "127.0.0.1"


def closed_port() -> int:
    """A loopback port on which nobody listens, which therefore refuses connections."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class _Fault:
    delay: float = 0.0
    swallow: bool = False
    cut_after: int | None = None
    lose_reply_to: bytes | None = None
    silent: bool = False


class FaultProxy:
    """A TCP proxy before `host`:`port`, itself at `LOOPBACK` and `self.port`, with the faults of a network.

    A fault holds for open and new connections alike until another method changes it. A context manager.
    """

    def __init__(self, port: int, *, host: str = LOOPBACK) -> None:
        self._upstream = (host, port)
        self._fault = _Fault()
        self._links: list[_Link] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.pass_through()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def requests(self) -> list[bytes]:
        """What each connection so far has sent, oldest connection first."""
        return [bytes(link.sent) for link in self._links]

    def pass_through(self) -> None:
        """No fault."""
        self._become(_Fault())

    def refuse(self) -> None:
        """Refuse new connections, as a host where nobody listens does, and end the open ones."""
        self._close_listener()
        self.disconnect()

    def black_hole(self) -> None:
        """Take connections and bytes, forward nothing, answer nothing."""
        self._become(_Fault(swallow=True))

    def delay(self, seconds: float) -> None:
        """Hold everything back for that long, in both directions."""
        self._become(_Fault(delay=seconds))

    def cut_replies(self, after: int = 0) -> None:
        """Deliver requests; end each connection when it has got `after` more bytes of reply."""
        self._become(_Fault(cut_after=after))

    def lose_reply_to(self, request: bytes, *, silent: bool = False) -> None:
        """Deliver a request that holds these bytes, wait for its reply, and end the connection instead of giving it.

        Or stay `silent`: keep the connection open, and give neither this reply nor any other.
        """
        self._become(_Fault(lose_reply_to=request, silent=silent))

    def disconnect(self) -> None:
        """End the open connections."""
        for link in self._links:
            link.end()

    def close(self) -> None:
        """End everything."""
        self.refuse()

    def _become(self, fault: _Fault) -> None:
        self._fault = fault
        if self._listener is None:
            self._listener = socket.create_server((LOOPBACK, self.port))
            self.port = self._listener.getsockname()[1]
            self._acceptor = threading.Thread(target=self._accept, args=[self._listener], daemon=True)
            self._acceptor.start()

    def _close_listener(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in `accept`
            self._acceptor.join()
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            link = _Link(client, self._upstream, lambda: self._fault)
            self._links.append(link)
            threading.Thread(target=link.carry_requests, daemon=True).start()


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, upstream: tuple[str, int], fault: Callable[[], _Fault]) -> None:
        self.sent = bytearray()
        self._fault = fault
        self._client = client
        self._to = upstream
        self._server: socket.socket | None = None
        self._spoiled = False  # bytes were swallowed: what follows would make no sense
        self._loses_reply = False
        self._replied: tuple[_Fault, int] = (fault(), 0)

    def carry_requests(self) -> None:
        with suppress(OSError), self._client:
            while chunk := self._client.recv(65536):
                self.sent += chunk
                fault = self._fault()
                if not self._swallows(fault):
                    needle = fault.lose_reply_to
                    self._loses_reply |= needle is not None and needle in self.sent[-len(chunk) - len(needle) :]
                    self._reach_server().sendall(chunk)
        self.end()

    def end(self) -> None:
        for end in (self._client, self._server):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _reach_server(self) -> socket.socket:
        if self._server is None:
            self._server = socket.create_connection(self._to, timeout=10)
            self._server.settimeout(None)
            threading.Thread(target=self._carry_replies, args=[self._server], daemon=True).start()
        return self._server

    def _carry_replies(self, server: socket.socket) -> None:
        with suppress(OSError), server:
            while chunk := server.recv(65536):
                fault = self._fault()
                if self._swallows(fault):
                    continue
                if self._loses_reply and fault.silent:
                    continue
                if self._loses_reply:
                    break
                count = self._replied[1] if self._replied[0] is fault else 0
                if fault.cut_after is not None and count + len(chunk) > fault.cut_after:
                    self._client.sendall(chunk[: fault.cut_after - count])
                    break
                self._replied = (fault, count + len(chunk))
                self._client.sendall(chunk)
        self.end()

    def _swallows(self, fault: _Fault) -> bool:
        time.sleep(fault.delay)
        if self._spoiled and not fault.swallow:
            raise ConnectionError
        self._spoiled |= fault.swallow
        return fault.swallow
