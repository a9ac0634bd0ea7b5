"""A wire with a fault: a proxy that counts what is sent to the target, and does something to the n-th piece of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

LOOPBACK = "127.0.0.1"

Deed = Callable[[], str]
"""Called when the piece is there, before it is passed on. Answers `forward`, `cut`, or `cut reply`."""


class Wire:
    """A proxy on the loopback in front of one port."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._count: int | None = None
        self._number = -1
        self._deed: Deed | None = None
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, number: int = -1, deed: Deed | None = None) -> None:
        """Count from now on, and call `deed` at the piece of that number."""
        with self._lock:
            self._count, self._number, self._deed = 0, number, deed

    def disarm(self) -> int:
        """Only pass things on from now on; how many pieces there were."""
        with self._lock:
            count, self._count = self._count or 0, None
        return count

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        deaf = threading.Event()  # what the server says is dropped
        with client, socket.create_connection((LOOPBACK, self._upstream)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._replies, args=(server, client, deaf), daemon=True)
            back.start()
            with suppress(OSError):
                while piece := client.recv(65_536):
                    what = self._pass()
                    if what != "cut":
                        if what == "cut reply":
                            deaf.set()
                        server.sendall(piece)
                    if what == "cut reply":
                        back.join(5.0)  # until it has answered
                    if what != "forward":
                        break
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    @staticmethod
    def _replies(server: socket.socket, client: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while piece := server.recv(65_536):
                if deaf.is_set():
                    return
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)

    def _pass(self) -> str:
        with self._lock:
            if self._count is None:
                return "forward"
            number, self._count = self._count, self._count + 1
            deed = self._deed if number == self._number else None
        return "forward" if deed is None else deed()
