"""The HTTP connection: uvicorn's, with a limit on how long a client may take to send the head of a request.

uvicorn ends a connection that is idle *between* requests. One that never finishes its first head, or trickles it,
would stay for ever; here it is closed after `HEAD_SECONDS`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0


class Connection(HttpToolsProtocol):
    """A connection that waits for heads no longer than it must."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head has begun; on a kept connection this is where waiting starts."""
        super().on_message_begin()
        if self._patience is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._arrived()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._close)

    def _arrived(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
