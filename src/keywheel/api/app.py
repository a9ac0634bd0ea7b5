"""One endpoint, as a raw ASGI callable. With `connections.py` the only file that knows an event loop.

`POST /` is an operation; `/health` says that the process lives, `/ready` that it can reach its store. A handler is a
plain function. Where the store is a local file, quick reads run right on the event loop and writes on the store's own
thread, where many of them become durable together; everything else runs in a pool of threads.
"""

from __future__ import annotations

import asyncio
import itertools
import traceback
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from keywheel.access.door import Caller, Door, authorize
from keywheel.access.sigv4 import Request
from keywheel.api import wire
from keywheel.api.operations import TABLE, Handler, Operation, resource_of
from keywheel.api.rooms import Rooms
from keywheel.errors import CallerError, RequestTimeout, RequestTooLarge, UnknownOperation

_log = structlog.get_logger("keywheel.api")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, bytes, str | None]
"""The status, the body and, for an error, its code."""
_THREADS = 32
_LARGE = 16_384  # a body that takes longer to read than the event loop may be held up
_HEARD_OUT = 16  # how many times the limit of a body is read before the connection is cut
_JSON = (b"content-type", b"application/x-amz-json-1.1")


class Disconnected(Exception):
    """The client went away."""


class App:
    """The ASGI application."""

    def __init__(self, rooms: Rooms, door: Door, *, body_limit: int, request_seconds: float) -> None:
        self._rooms = rooms
        self._door = door
        self._body_limit = body_limit
        self._request_seconds = request_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="api")
        self._inline = rooms.database.inline_reads
        self._writer = rooms.database.writer or self._threads
        # Ids of requests look like UUIDs; those of one process differ in the last part, which counts.
        self._ids = map(f"{str(uuid.uuid4())[:24]}{{:012x}}".format, itertools.count(uuid.uuid4().node))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        if scope["path"] != "/":
            await self._probe(scope["path"], send)
            return
        request_id = next(self._ids)
        try:
            body = await self._body(receive)
            status, answer, code = await self._operation(scope, body, request_id)
        except Disconnected:
            return
        except (RequestTooLarge, RequestTimeout) as error:
            status, answer, code = error.status, wire.error_body(error), error.code
        headers = _headers(answer, request_id, code)
        if status in (RequestTooLarge.status, RequestTimeout.status):
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def at_once(self, headers: Headers, body: bytes) -> tuple[int, Headers, bytes] | None:
        """The answer to `POST /` where it takes no more than a look into a local file; None for everything else."""
        operation = _operation(headers)
        if operation is None or not operation.quick or not self._inline or len(body) > _LARGE:
            return None
        request_id = next(self._ids)
        status, answer, code = self._answer(operation, Request("POST", b"/", b"", headers, body), request_id)
        return status, _headers(answer, request_id, code), answer

    def close(self) -> None:
        """Let the threads end what they do."""
        self._threads.shutdown()

    async def _operation(self, scope: MutableMapping[str, Any], body: bytes, request_id: str) -> Answer:
        operation = _operation(scope["headers"]) if scope["method"] == "POST" else None
        request = Request(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body)
        loop = asyncio.get_running_loop()
        if not self._inline or len(body) > _LARGE:
            return await loop.run_in_executor(self._threads, self._answer, operation, request, request_id)
        try:  # refused before it waits for anything
            handler, caller, members = self._admitted(operation, request)
            where = self._writer if operation is not None and operation.writes else self._threads
            return await loop.run_in_executor(where, self._carried_out, handler, caller, members)
        except Exception as error:  # noqa: BLE001 - as in _answer
            return self._refused(error, operation, request_id)

    def _answer(self, operation: Operation | None, request: Request, request_id: str) -> Answer:
        """Nothing is raised: whatever happens, the caller gets an answer."""
        try:
            return self._carried_out(*self._admitted(operation, request))
        except Exception as error:  # noqa: BLE001 - every error has its answer
            return self._refused(error, operation, request_id)

    def _admitted(self, operation: Operation | None, request: Request) -> tuple[Handler, Caller, Any]:
        """What is to be done, for whom, with which members."""
        caller = self._door.authenticate(request)
        if operation is None:
            raise UnknownOperation("The requested operation is not known: see X-Amz-Target.")
        members = wire.decode(request.body, operation.request)
        authorize(caller, operation.action, resource_of(members, caller), {})
        return operation.handler, caller, members

    def _carried_out(self, handler: Handler, caller: Caller, members: Any) -> Answer:
        return 200, wire.encode(handler(self._rooms, caller, members)), None

    @staticmethod
    def _refused(error: Exception, operation: Operation | None, request_id: str) -> Answer:
        if isinstance(error, CallerError):
            return error.status, wire.error_body(error), error.code
        frames = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        action = "" if operation is None else operation.action
        _log.error("api.fault", action=action, error=type(error).__name__, at=frames, request_id=request_id)
        return 500, wire.error_body(error), wire.error_code(error)

    async def _body(self, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._request_seconds):
                return await self._whole(receive)
        except TimeoutError:
            raise RequestTimeout(f"The request did not arrive within {self._request_seconds:g} seconds.") from None

    async def _whole(self, receive: Receive) -> bytes:
        """The body. Of one that is too large a part is read and dropped: a client that still sends hears no answer."""
        body, size, more = bytearray(), 0, True
        while more and size <= self._body_limit * _HEARD_OUT:
            message = await receive()
            if message["type"] != "http.request":
                raise Disconnected
            part = message.get("body", b"")
            size += len(part)
            if size <= self._body_limit:
                body += part
            more = message.get("more_body", False)
        if size > self._body_limit:
            raise RequestTooLarge(f"The request body is over the limit of {self._body_limit} bytes.")
        return bytes(body)

    async def _probe(self, path: str, send: Send) -> None:
        if path == "/health":
            await _plain(send, 200, b"live\n")
        elif path == "/ready":
            loop = asyncio.get_running_loop()
            ready = await loop.run_in_executor(self._threads, self._is_ready)
            await _plain(send, 200 if ready else 503, b"ready\n" if ready else b"the store cannot be reached\n")
        else:
            await _plain(send, 404, b"keywheel serves the AWS Secrets Manager protocol at POST /\n")

    def _is_ready(self) -> bool:
        try:
            with self._rooms.database.point() as tx:
                tx.execute("SELECT 1", {})
        except Exception:  # noqa: BLE001 - any reason at all means: not ready
            return False
        return True


def _operation(headers: Headers) -> Operation | None:
    for name, value in headers:
        if name == b"x-amz-target":
            return TABLE.get(value)
    return None


def _headers(body: bytes, request_id: str, code: str | None) -> Headers:
    headers = [_JSON, (b"content-length", b"%d" % len(body)), (b"x-amzn-requestid", request_id.encode())]
    if code is not None:
        headers.append((b"x-amzn-errortype", code.encode()))
    return headers


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
