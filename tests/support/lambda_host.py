"""A local host of rotation functions: it speaks Lambda's Invoke, over real HTTP, in a thread of this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote

Event = dict[str, str]
Function = Callable[[Event], object]

_PREFIX, _SUFFIX = "/2015-03-31/functions/", "/invocations"


class LambdaHost:
    """Functions by their ARNs, behind `url`. A context manager.

    * `events`: what each invocation was given, in order; `kinds`: the invocation types of all requests.
    * `busy`: statuses to answer with, one a request, instead of running the function (429, 500, …).
    * `lost_answers`: of how many runs from now on the connection ends before the answer.
    * `seconds`: how long each run takes before its answer.
    """

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self.functions = dict(functions)
        self.events: list[Event] = []
        self.kinds: list[str] = []
        self.busy: list[int] = []
        self.lost_answers = 0
        self.seconds = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """What `--lambda-endpoint` is given."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def steps(self) -> list[str]:
        """The step of each invocation."""
        return [event["Step"] for event in self.events]

    def invoke(self, arn: str, kind: str, body: bytes) -> tuple[int, dict[str, str], object]:
        """Status, headers and payload of one request, by Lambda's contract."""
        self.kinds.append(kind)
        function = self.functions.get(arn)
        if function is None:
            return 404, {"X-Amzn-ErrorType": "ResourceNotFoundException"}, {"Message": f"Function not found: {arn}"}
        if kind == "DryRun":
            return 204, {}, None
        if self.busy:
            return self.busy.pop(0), {}, {"Message": "Rate Exceeded."}
        event: Event = json.loads(body)
        self.events.append(event)
        time.sleep(self.seconds)
        try:
            return 200, {"X-Amz-Executed-Version": "$LATEST"}, function(event)
        except Exception as error:  # noqa: BLE001 - a function's own error is an answer
            text = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
            return 200, {"X-Amz-Function-Error": "Unhandled"}, text


def _handler_of(host: LambdaHost) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            arn = unquote(self.path.removeprefix(_PREFIX).removesuffix(_SUFFIX))
            kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
            status, headers, payload = host.invoke(arn, kind, body)
            if host.lost_answers and kind == "RequestResponse":
                host.lost_answers -= 1
                self.close_connection = True
                return
            answer = b"" if status == 204 else json.dumps(payload).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
