"""Servers that answer constant bytes: what the HTTP shell alone costs. Run as `python -m tests.benchmarks.bare KIND`.

`uvicorn` is the library that the server stands on, with one raw ASGI callable. `protocol` is the least that Python can
do, an `asyncio.Protocol` over httptools: performance.md calls it "our own bare server". Both print their port.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httptools
import uvicorn
import uvloop

# As long as a GetSecretValue reply.
BODY = b'{"constant":"' + b"x" * 360 + b'"}'
_HEADERS = [
    (b"content-type", b"application/x-amz-json-1.1"),
    (b"content-length", str(len(BODY)).encode()),
    (b"x-amzn-requestid", b"00000000-0000-0000-0000-000000000000"),
]
_REPLY = b"HTTP/1.1 200 OK\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in _HEADERS) + b"\r\n" + BODY

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def _constant(scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": BODY})


class _Protocol(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parsed as a real server would have it, and forgotten."""

    def on_body(self, body: bytes) -> None:
        """As the headers."""

    def on_message_complete(self) -> None:
        self._transport.write(_REPLY)


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    return listener


async def _serve_protocol(listener: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(_Protocol, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "uvicorn":
        config = uvicorn.Config(
            _constant, http="httptools", loop="uvloop", interface="asgi3", lifespan="off", access_log=False,
            log_config=None, server_header=False, date_header=False, proxy_headers=False,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[_listener()])
    else:
        uvloop.run(_serve_protocol(_listener()))
