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
from typing import Any, Protocol

import structlog

from keywheel.access.audit.log import AuditLog
from keywheel.access.audit.stream import AuditUnavailable
from keywheel.access.door import Door, authorize
from keywheel.access.sigv4 import Request
from keywheel.api import key_sets, wire
from keywheel.api.audited import Call, entry_of
from keywheel.api.key_sets import KeySet
from keywheel.api.operations import TABLE, Operation, operation_of_form, resource_of
from keywheel.api.rooms import Rooms
from keywheel.api.secretsmanager.finding import admit, member_facts
from keywheel.api.sts import query
from keywheel.errors import CallerError, RequestTimeout, RequestTooLarge, UnknownOperation

_log = structlog.get_logger("keywheel.api")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Answer = tuple[int, bytes, str | None]
"""The status, the body and, for an error, its code."""
_THREADS = 32
_LARGE = 16_384  # a body that takes longer to read than the event loop may be held up
_HEARD_OUT = 16  # how many times the limit of a body is read before the connection is cut
_PROBES = ("/health", "/ready")
_NOT_READY = b"the store or the audit ledger cannot be reached\n"
_JSON = (b"content-type", b"application/x-amz-json-1.1")
_XML = (b"content-type", b"text/xml")
_FORM = b"application/x-www-form-urlencoded"


class Beside(Protocol):
    """What is served at the paths that are not the API's."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        ...

    def close(self) -> None:
        """End."""
        ...


class Disconnected(Exception):
    """The client went away."""


class App:
    """The ASGI application."""

    def __init__(
        self,
        rooms: Rooms,
        door: Door,
        audit: AuditLog | None,
        *,
        body_limit: int,
        request_seconds: float,
        beside: Beside | None = None,
    ) -> None:
        self._rooms = rooms
        self._beside = beside
        self._door = door
        self._audit = audit
        self._body_limit = body_limit
        self._request_seconds = request_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="api")
        self._inline = rooms.database.inline_reads
        self._waits = audit is not None and audit.waits
        self._writer = rooms.database.writer or self._threads
        self._key_sets: dict[str, tuple[float, asyncio.Future[KeySet | None]]] = {}
        # Ids of requests look like UUIDs; those of one process differ in the last part, which counts.
        self._ids = map(f"{str(uuid.uuid4())[:24]}{{:012x}}".format, itertools.count(uuid.uuid4().node))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        if scope["path"].startswith(key_sets.PREFIX) and scope["method"] in ("GET", "HEAD"):
            await self._key_set(scope, send)
            return
        if scope["path"] != "/":
            if self._beside is not None and scope["path"] not in _PROBES:
                await self._beside(scope, receive, send)
            else:
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

    def at_once(self, headers: Headers, body: bytes, client: str | None) -> tuple[int, Headers, bytes] | None:
        """The answer to `POST /` where it takes no more than a look into a local file; None for everything else."""
        operation = _operation(headers, body)
        if operation is None or not self._inline or self._waits or len(body) > _LARGE or not operation.is_quick(body):
            return None
        if operation.late and self._rooms.keys.custom.in_use:  # the key may be behind a network
            return None
        request_id = next(self._ids)
        call = Call(operation, Request("POST", b"/", b"", headers, body), request_id, client)
        status, answer, code = self._answer(call)
        return status, _headers(answer, request_id, code), answer

    def close(self) -> None:
        """Let the threads end what they do."""
        self._threads.shutdown()
        if self._beside is not None:
            self._beside.close()

    async def _operation(self, scope: MutableMapping[str, Any], body: bytes, request_id: str) -> Answer:
        operation = _operation(scope["headers"], body) if scope["method"] == "POST" else None
        request = Request(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body)
        call = Call(operation, request, request_id, (scope.get("client") or (None,))[0])
        loop = asyncio.get_running_loop()
        if not self._inline or len(body) > _LARGE:
            return await loop.run_in_executor(self._threads, self._answer, call)
        try:  # refused before it waits for anything
            self._admit(call)
            where = self._writer if operation is not None and operation.writes else self._threads
            answer = await loop.run_in_executor(where, self._carried_out, call)
        except Exception as error:  # noqa: BLE001 - as in _answer
            answer = self._refused(error, call)
        # Told when it is durable, and before it is answered.
        if self._waits:
            return await loop.run_in_executor(self._threads, self._told, call, answer)
        return self._told(call, answer)

    def _answer(self, call: Call) -> Answer:
        """Nothing is raised: whatever happens, the caller gets an answer."""
        try:
            self._admit(call)
            answer = self._carried_out(call)
        except Exception as error:  # noqa: BLE001 - every error has its answer
            answer = self._refused(error, call)
        return self._told(call, answer)

    def _admit(self, call: Call) -> None:
        """Find out what is to be done, for whom, with which members; and refuse what may not be."""
        if self._audit is not None:
            self._audit.check()
        operation = call.operation
        if operation is None:
            call.caller = self._door.authenticate(call.request, client=call.client)
            raise UnknownOperation("The requested operation is not known: see X-Amz-Target.")
        service, body = operation.service, call.request.body
        caller = call.caller = self._door.authenticate(call.request, service.signed_for, client=call.client)
        if service.forms:
            members = call.members = query.decode(body, operation.request)
        else:
            members = call.members = wire.decode(body, operation.request, service)
        if not operation.late:
            authorize(caller, operation.action, resource_of(members, caller), member_facts(members))
        elif not (operation.quick or service.forms or service is wire.KMS):
            admit(self._rooms, caller, members)

    def _carried_out(self, call: Call) -> Answer:
        if call.operation is None or call.caller is None:
            raise AssertionError("a call that was not admitted")
        call.result = call.operation.handler(self._rooms, call.caller, call.members)
        if call.operation.service.forms and call.result is not None:
            return 200, query.encode(call.operation.action.partition(":")[2], call.result, call.request_id), None
        return 200, wire.encode(call.result), None

    def _told(self, call: Call, answer: Answer) -> Answer:
        """The answer, once its entry is in the audit ledger; without that there is none."""
        if self._audit is None:
            return answer
        try:
            self._audit.record(entry_of(call, answer, self._audit.time()))
        except AuditUnavailable as error:
            return self._refused(error, call)
        return answer

    @staticmethod
    def _refused(error: Exception, call: Call) -> Answer:
        service = wire.SECRETS_MANAGER if call.operation is None else call.operation.service
        if service.forms:
            status, body, code = query.refused(error, call.request_id)
        else:
            status = error.status if isinstance(error, CallerError) else 500
            body, code = wire.error_body(error, service), wire.error_code(error, service)
        if isinstance(error, CallerError):
            call.message = error.message
            return status, body, code
        frames = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        action = "" if call.operation is None else call.operation.action
        _log.error("api.fault", action=action, error=type(error).__name__, at=frames, request_id=call.request_id)
        return status, body, code

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
            await _plain(send, 200 if ready else 503, b"ready\n" if ready else _NOT_READY)
        else:
            await _plain(send, 404, b"keywheel serves the AWS Secrets Manager and AWS KMS protocols at POST /\n")

    async def _key_set(self, scope: MutableMapping[str, Any], send: Send) -> None:
        known = [value for name, value in scope["headers"] if name == b"if-none-match"]
        try:
            found = key_sets.answer(await self._known_key_set(scope["path"]), known)
        except Exception as error:  # noqa: BLE001 - the store is away, say: whoever verifies keeps what he has
            _log.error("api.key-set", error=type(error).__name__)
            await _plain(send, 503, _NOT_READY)
            return
        status, headers, body = found
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body if scope["method"] == "GET" else b""})

    async def _known_key_set(self, path: str) -> KeySet | None:
        """The key set at `path`, looked up once in a while for all who ask. What is not there is looked for anew."""
        if not key_sets.is_path(path):
            return None
        loop = asyncio.get_running_loop()
        since, found = self._key_sets.get(path, (0.0, None))
        if found is None or loop.time() - since >= key_sets.KEPT_SECONDS or _has_failed(found):
            if len(self._key_sets) >= key_sets.MOST_KEPT:
                self._key_sets.clear()
            found = loop.run_in_executor(self._threads, key_sets.look_up, self._rooms, path)
            self._key_sets[path] = loop.time(), found
        return await asyncio.shield(found)  # others may wait for it, too

    def _is_ready(self) -> bool:
        try:
            if self._audit is not None:
                self._audit.check()
            with self._rooms.database.point() as tx:
                tx.execute("SELECT 1", {})
        except Exception:  # noqa: BLE001 - any reason at all means: not ready
            return False
        return True


def _has_failed(looked_up: asyncio.Future[KeySet | None]) -> bool:
    if not looked_up.done():
        return False
    return looked_up.cancelled() or looked_up.exception() is not None or looked_up.result() is None


def _operation(headers: Headers, body: bytes) -> Operation | None:
    form = False
    for name, value in headers:
        if name == b"x-amz-target":
            return TABLE.get(value)
        form = form or (name == b"content-type" and value.startswith(_FORM))
    return operation_of_form(body) if form else None


def _headers(body: bytes, request_id: str, code: str | None) -> Headers:
    headers = [
        _XML if body[:1] == b"<" else _JSON,
        (b"content-length", b"%d" % len(body)),
        (b"x-amzn-requestid", request_id.encode()),
    ]
    if code is not None:
        headers.append((b"x-amzn-errortype", code.encode()))
    return headers


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
