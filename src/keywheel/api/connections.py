"""The HTTP connection: uvicorn's, and two things of our own.

A client must send the head of a request in time. uvicorn ends a connection that is idle *between* requests; one that
never finishes its first head, or trickles it, would stay for ever. Here it is closed after `HEAD_SECONDS`.

A request that arrived whole and that the app answers at once is answered right here, in one write, without the task
and the messages of an ASGI call, which cost more than the look-up itself. Whatever is less simple (a body in parts, a
client that is slow to read, a request on top of another, another HTTP version) goes uvicorn's way.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from keywheel.api.app import App, Headers

HEAD_SECONDS = 15.0


class Connection(HttpToolsProtocol):
    """A connection that waits no longer than it must."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._direct = self.app if isinstance(self.app, App) else None
        self._body: bytes | None = None  # so far, of a request that may be answered at once
        self._in_head = False
        self._until: float | None = None  # when we have waited long enough; None: it is our turn
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._until = self.loop.time() + HEAD_SECONDS
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if it is time. One timer serves every wait: it looks again before the next can end."""
        now = self.loop.time()
        end = self._until
        if end is None or now < end:
            again = now + min(HEAD_SECONDS, self.timeout_keep_alive)
            self._watch = self.loop.call_at(again if end is None else min(again, end), self._look)
        elif not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what came. A head that it leaves open is waited for; a body that it leaves open goes uvicorn's way."""
        super().data_received(data)
        if self._body is not None and not self.transport.is_closing():
            self._hand_over()
        if self._until is None and (self._in_head or self.cycle is None or self.cycle.response_complete):
            self._until = self.loop.time() + HEAD_SECONDS  # also after a line that begins no request

    def on_message_begin(self) -> None:
        """A head has begun."""
        super().on_message_begin()
        self._in_head, self._until = True, None

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._in_head, self._until = False, None
        if self._is_simple():
            self._body = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body, or all of it."""
        if self._body is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """The request is here."""
        if self._body is not None and self._direct is not None:
            answer = self._direct.at_once(self.headers, self._body, self.client[0] if self.client else None)
            if answer is not None:
                self._body = None
                self._reply(*answer)
                return
            self._hand_over()
        super().on_message_complete()

    def _hand_over(self) -> None:
        body, self._body = self._body, None
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _is_simple(self) -> bool:
        """Nothing but a `POST /` on a connection that is kept, of a client that has read what it was sent."""
        parser = self.parser
        return (
            self._direct is not None
            and self.url == b"/"
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        )

    def _reply(self, status: int, headers: Headers, body: bytes) -> None:
        lines = [STATUS_LINE[status]]
        for name, value in self.server_state.default_headers + headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n", body)
        self.transport.write(b"".join(lines))
        self.server_state.total_requests += 1
        self._until = self.loop.time() + self.timeout_keep_alive
