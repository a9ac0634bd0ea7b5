"""The connection: what is answered at once, what goes uvicorn's way, and how long it waits. The transport is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from keywheel.api import connections
from keywheel.api.app import App, Headers
from keywheel.api.connections import Connection

SOON = 0.2


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None:
        """Nothing is read from it."""

    resume_reading = pause_reading


class Answers(App):
    """Answers at once what asks for `quick`, and everything else in a call, when it is let go."""

    def __init__(self) -> None:
        self.at_once_bodies: list[bytes] = []
        self.called_bodies: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def at_once(self, headers: Headers, body: bytes, client: str | None) -> tuple[int, Headers, bytes] | None:
        if dict(headers).get(b"x-amz-target") != b"quick":
            return None
        self.at_once_bodies.append(body)
        return 200, [(b"content-length", b"%d" % len(body))], body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.called_bodies.append(body)
        await self.may_answer.wait()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Exchange:
    """A connection between a transport and an app."""

    def __init__(self) -> None:
        self.app, self.transport = Answers(), Transport()
        config = uvicorn.Config(
            self.app, http=Connection, interface="asgi3", lifespan="off", log_config=None, proxy_headers=False
        )
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        self.connection = Connection(config=config, server_state=state, app_state={})
        self.connection.timeout_keep_alive = SOON  # type: ignore[assignment] # typed as whole seconds
        self.connection.connection_made(self.transport)

    async def send(self, *chunks: bytes) -> None:
        """Chunks as they come from the network, and time for what follows from them."""
        for chunk in chunks:
            self.connection.data_received(chunk)
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def answers(self) -> bytes:
        """All that was answered."""
        return b"".join(self.transport.written)


def request(body: bytes, *extra: bytes, target: bytes = b"quick", line: bytes = b"POST / HTTP/1.1") -> bytes:
    """A request."""
    headers = (b"x-amz-target: " + target, b"content-length: %d" % len(body), *extra)
    return b"\r\n".join((line, *headers, b"", body))


def exchange(work: Callable[[Exchange], Coroutine[Any, Any, None]]) -> None:
    """Do `work` on a new exchange."""

    async def main() -> None:
        await work(Exchange())

    asyncio.run(main())


def test_a_quick_request_is_answered_in_one_write() -> None:
    """With the server's own headers, and without a call of the app."""

    async def work(it: Exchange) -> None:
        it.connection.data_received(request(b"one"))
        assert it.transport.written == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 3\r\n\r\none"]
        assert it.app.called_bodies == []

    exchange(work)


def test_requests_in_one_chunk_are_answered_in_order() -> None:
    """Each by itself."""

    async def work(it: Exchange) -> None:
        await it.send(request(b"one") + request(b"two") + request(b"three", target=b"slow"))
        assert [it.app.at_once_bodies, it.app.called_bodies] == [[b"one", b"two"], [b"three"]]
        assert [answer[-3:] for answer in it.answers.split(b"HTTP/1.1 ")[1:]] == [b"one", b"two", b"ree"]

    exchange(work)


def test_a_quick_request_waits_for_the_one_before_it() -> None:
    """Answers never overtake each other."""

    async def work(it: Exchange) -> None:
        it.app.may_answer.clear()
        await it.send(request(b"one", target=b"slow") + request(b"two"))
        assert it.answers == b""
        it.app.may_answer.set()
        await it.send()
        assert [it.app.called_bodies, it.app.at_once_bodies] == [[b"one", b"two"], []]
        assert it.answers.index(b"one") < it.answers.index(b"two")

    exchange(work)


USUAL_WAY = {
    "an operation that is not quick": [request(b"body", target=b"slow")],
    "a body in parts": [request(b"body")[:-2], b"dy"],
    "a body that comes later": [request(b"body")[:-4], b"body"],
    "a client that closes": [request(b"body", b"connection: close")],
    "another version of HTTP": [request(b"body", line=b"POST / HTTP/1.0")],
    "another path": [request(b"body", line=b"POST /x HTTP/1.1")],
    "a query": [request(b"body", line=b"POST /?x HTTP/1.1")],
    "another method": [request(b"body", line=b"PUT / HTTP/1.1")],
    "a client that waits to be told to go on": [request(b"body", b"expect: 100-continue")],
}


@pytest.mark.parametrize("name", USUAL_WAY)
def test_what_is_not_simple_goes_the_usual_way(name: str) -> None:
    """The app is called, and gets the whole body."""

    async def work(it: Exchange) -> None:
        await it.send(*USUAL_WAY[name])
        assert [it.app.at_once_bodies, it.app.called_bodies] == [[], [b"body"]]
        assert b"201 Created" in it.answers

    exchange(work)


def test_a_client_that_does_not_read_is_not_answered_at_once() -> None:
    """Its answers would pile up in memory; uvicorn waits until it reads."""

    async def work(it: Exchange) -> None:
        it.connection.pause_writing()
        await it.send(request(b"body"))
        assert (it.app.called_bodies, it.answers) == ([b"body"], b"")
        it.connection.resume_writing()
        await it.send()
        assert b"201 Created" in it.answers

    exchange(work)


def test_a_connection_is_closed_when_it_was_idle_for_long_enough() -> None:
    """After an answer at once as after any other; a request in time puts it off."""

    async def work(it: Exchange) -> None:
        for _ in range(4):
            await it.send(request(b"body"))
            await asyncio.sleep(SOON * 0.6)
        assert not it.transport.closed
        await asyncio.sleep(SOON * 2)
        assert it.transport.closed

    exchange(work)


@pytest.mark.parametrize("before", [[], [request(b"body")]], ids=["the first", "a later one"])
def test_a_head_that_does_not_end_is_not_waited_for(before: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a little more of it comes."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", SOON)

    async def work(it: Exchange) -> None:
        await it.send(*before, b"POST / HTTP/1.1\r\n")
        for _ in range(4):
            assert not it.transport.closed
            await it.send(b"x")
            await asyncio.sleep(SOON * 0.2)
        await asyncio.sleep(SOON)
        assert it.transport.closed

    exchange(work)


def test_an_answer_that_takes_long_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has done its part."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", SOON)

    async def work(it: Exchange) -> None:
        it.app.may_answer.clear()
        await it.send(request(b"body", target=b"slow"))
        await asyncio.sleep(SOON * 3)
        assert not it.transport.closed
        it.connection.connection_lost(None)

    exchange(work)


def test_an_idle_connection_is_closed_when_the_server_stops() -> None:
    """It has no answer to wait for."""

    async def work(it: Exchange) -> None:
        await it.send(request(b"body"))
        it.connection.shutdown()
        assert it.transport.closed

    exchange(work)
