"""What is no request at all, on bare sockets: other protocols, smuggled requests, clients that stop in the middle."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from keywheel.api.connections import HEAD_SECONDS
from tests.fuzz.campaign import LONGEST

IDLE = 1000
_HOST = b"POST / HTTP/1.1\r\nHost: x\r\n"
_SMUGGLED = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSED_OR_400: dict[str, bytes] = {
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/9.9": b"POST / HTTP/9.9\r\nHost: x\r\n\r\n",
    "length and chunks": _HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    "chunks and length": _HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    "two lengths": _HOST + b"Content-Length: 0\r\nContent-Length: 37\r\n\r\n" + _SMUGGLED,
    "a list of lengths": _HOST + b"Content-Length: 0, 37\r\n\r\n" + _SMUGGLED,
    "a signed length": _HOST + b"Content-Length: +0\r\n\r\n" + _SMUGGLED,
    "a length in hexadecimal": _HOST + b"Content-Length: 0x0\r\n\r\n" + _SMUGGLED,
    "an unknown transfer coding": _HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    "chunked and something after": _HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + _SMUGGLED,
    "a folded transfer coding": _HOST + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n" + _SMUGGLED,
    "a space before the colon": _HOST + b"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n" + _SMUGGLED,
    "a chunk size too large": _HOST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n",
    "a negative chunk size": _HOST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "a chunk longer than it says": _HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxxxx\r\n0\r\n\r\n" + _SMUGGLED,
    "a NUL in a header": b"POST / HTTP/1.1\r\nHo\x00st: x\r\n\r\n",
    "lines without CR": b"POST / HTTP/1.1\nHo st: x\n\n",
    "headers without end": b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000,
    "one header without end": b"POST / HTTP/1.1\r\nX: " + b"x" * 1_500_000,
}


def garbage(port: int, *, seed: int, rounds: int = 200) -> list[str]:
    """Send it all; what the server did with it that it should not have."""
    wrong = [f"{name}: {told}" for name, raw in CLOSED_OR_400.items() if (told := _smuggles(port, raw))]
    draw = random.Random(seed)
    for number in range(rounds):
        raw = draw.randbytes(draw.randint(1, 4000))
        if draw.random() < 0.5:  # something that begins as a request does
            raw = _HOST[: draw.randint(1, len(_HOST))] + raw
        if told := _smuggles(port, raw):
            wrong.append(f"random bytes {number}: {told}")
    return wrong


def _smuggles(port: int, raw: bytes) -> str:
    """What is wrong with what came back: a fault, more than one good answer, or nothing and no end."""
    try:
        answer = _exchange(port, raw)
    except TimeoutError:
        return "it hangs"
    if b"HTTP/1.1 5" in answer:
        return "a fault of the server"
    if b"live\n" in answer:
        return "the smuggled request was answered"
    return "" if answer == b"" or answer.startswith(b"HTTP/1.1 4") else f"answered {answer[:40]!r}"


def _exchange(port: int, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as connection:
        received = bytearray()
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        except (ConnectionResetError, BrokenPipeError):
            pass  # it hung up while we were sending
        return bytes(received)


# --- clients that do not go on ---------------------------------------------------------------------------------------


@contextmanager
def crowd(port: int, count: int = IDLE) -> Iterator[None]:
    """Connections that say nothing, as long as the context lasts."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LONGEST))
        yield


def leavers(port: int, raw: bytes) -> None:
    """Clients that go away at every stage of a request, politely or with a reset; and one that shuts its half."""
    for end in {1, 20, len(raw) // 2, len(raw) - 1, len(raw)}:
        for reset in (False, True):
            with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as connection:
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(raw[:end])


def pipelined(port: int, raw: bytes, count: int = 50) -> list[str]:
    """Requests on top of one another have as many answers; a half-closed socket still gets them."""
    with socket.create_connection(("127.0.0.1", port), timeout=LONGEST) as connection:
        connection.sendall(raw * count)
        received = b""
        with suppress(TimeoutError):
            while received.count(b"HTTP/1.1 200") < count and (part := connection.recv(65_536)):
                received += part
    answers = received.count(b"HTTP/1.1 200")
    return [] if answers == count else [f"{count} pipelined requests had {answers} answers"]


def slow(port: int, raw: bytes, working: Callable[[], bool]) -> list[str]:
    """Trickled heads, headers that never end, silence and unread answers: ended in time, and nobody else waits."""
    wrong: list[str] = []
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LONGEST)) for _ in range(24)
        ]
        silent, trickles, endless = sockets[:8], sockets[8:16], sockets[16:]
        for connection in endless:
            connection.sendall(b"POST / HTTP/1.1\r\n")
        unread = stack.enter_context(socket.socket())
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.connect(("127.0.0.1", port))
        unread.setblocking(False)
        begun, sent = time.monotonic(), 0
        while time.monotonic() - begun < HEAD_SECONDS + 3:
            for connection in trickles:
                with suppress(OSError):
                    connection.send(raw[sent : sent + 1] if sent < 60 else b"x")
            for connection in endless:
                with suppress(OSError):
                    connection.send(b"X-%d: y\r\n" % sent)
            with suppress(OSError):
                unread.send(raw * 20)
            sent += 1
            if not working():
                wrong.append("an ordinary request was not answered beside slow clients")
                break
            time.sleep(0.2)
        groups = {"silent": silent, "trickled": trickles, "endless": endless}
        wrong += [f"{name}: still open" for name, group in groups.items() if not all(map(_ended, group))]
    return wrong


def _ended(connection: socket.socket) -> bool:
    connection.settimeout(2.0)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True
