"""Invoke a rotation function through an endpoint that speaks Lambda's Invoke: AWS's own, or a local host.

`POST /2015-03-31/functions/<ARN>/invocations`. A function's own error comes as HTTP 200 with `X-Amz-Function-Error`;
its text may hold anything, so only the fact is kept, never the text. A request is sent once: the engine repeats the
step, the transport never does, or a slow step would run twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx2

from keywheel.access.sigv4 import Request, sign
from keywheel.arn import Arn
from keywheel.clock import Clock
from keywheel.errors import FunctionFailed, TargetUnavailable
from keywheel.sensitive import Sensitive

# A function may run for 900 seconds; the client waits a little longer.
_READ_SECONDS = 910.0
_CONNECT_SECONDS = 5.0
_CHECK_SECONDS = 10.0
_UNAVAILABLE = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class LambdaCredentials:
    """Who invokes the functions."""

    access_key_id: str
    secret_access_key: Sensitive[str]


class LambdaEndpoint:
    """An endpoint that speaks Invoke."""

    def __init__(self, url: str, credentials: LambdaCredentials | None, clock: Clock) -> None:
        self._url = url.rstrip("/")
        self._credentials = credentials
        self._clock = clock
        timeout = httpx2.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        self._client = httpx2.Client(timeout=timeout, trust_env=False, follow_redirects=False)

    def can_invoke(self, function: str) -> bool:
        """Whether the function exists and may be invoked, asked by a dry run that runs nothing."""
        try:
            response = self._post(function, b"{}", "DryRun", timeout=_CHECK_SECONDS)
        except httpx2.HTTPError:
            return False
        return response.status_code == 204

    def invoke(self, function: str, event: dict[str, str]) -> None:
        """Run the function on `event` and wait for its end.

        Raises:
            TargetUnavailable: the endpoint did not answer, or is too busy. Whether the function ran is not known.
            FunctionFailed: the function ended with an error, or may not be invoked.
        """
        step = event["Step"]
        try:
            response = self._post(function, json.dumps(event).encode(), "RequestResponse", timeout=None)
        except httpx2.HTTPError as error:
            raise TargetUnavailable(
                f"The Lambda endpoint did not answer during {step} ({type(error).__name__}).",
                hint="Check --lambda-endpoint, and that it is up.",
            ) from None
        if response.status_code in _UNAVAILABLE:
            raise TargetUnavailable(f"The Lambda endpoint answered {response.status_code} during {step}.")
        if response.status_code != 200 or "x-amz-function-error" in response.headers:
            raise FunctionFailed(f"Error when executing lambda {function} during {step} step")

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _post(self, function: str, body: bytes, kind: str, *, timeout: float | None) -> httpx2.Response:
        path = f"/2015-03-31/functions/{quote(function, safe='')}/invocations"
        parsed = urlsplit(self._url)
        headers = [
            (b"host", parsed.netloc.encode()),
            (b"content-type", b"application/json"),
            (b"x-amz-invocation-type", kind.encode()),
        ]
        if self._credentials is not None:
            arn = Arn.parse(function)
            headers += sign(
                Request("POST", (parsed.path + path).encode(), "", headers, body),
                access_key_id=self._credentials.access_key_id,
                secret=self._credentials.secret_access_key,
                region=arn.region if arn is not None else "",
                service="lambda",
                now=self._clock.now(),
            )
        limit = httpx2.USE_CLIENT_DEFAULT if timeout is None else httpx2.Timeout(timeout)
        return self._client.post(self._url + path, content=body, headers=headers, timeout=limit)
