"""A client of the server: signed calls, and what a refusal means for a person.

A request is signed as every AWS client signs it, and sent once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from keywheel.cli.address import OPTIONS, Address, find_server
from keywheel.clock import Clock, SystemClock
from keywheel.config import load_settings
from keywheel.errors import ConfigurationError, KeywheelError
from keywheel.sensitive import Sensitive

if TYPE_CHECKING:
    import httpx2

_SECONDS, _CONNECT_SECONDS = 30.0, 5.0
_HINTS = {
    "AccessDeniedException": "Use an administrator's access key; `keywheel access keys list` shows each key's role.",
    "InvalidRequestException": "`keywheel secrets history NAME` shows the secret's versions and rotations.",
    "InvalidSignatureException": "Check that both machines' clocks agree and that the credentials are this server's.",
    "NotFoundException": "`keywheel keys list` shows the keys of an account and Region, with their aliases.",
    "ResourceExistsException": "Choose another name; `keywheel secrets list` shows those that are taken.",
    "ResourceNotFoundException": "`keywheel secrets list` shows the secrets of this account and Region (--region).",
    "UnknownOperationException": "The server does not know this command: is it keywheel, and of this version?",
    "UnrecognizedClientException": "Use the credentials that `keywheel init` wrote for this server (--data).",
}


class ServerRefused(KeywheelError):
    """The server answered with an error. `code` is the AWS error code, `text` the server's own words."""

    default_hint = "Correct the command and run it again."

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} ({code})", hint=hint or _HINTS.get(code))
        self.code = code
        self.text = message


class ServerAway(KeywheelError):
    """Nobody answers at the address, or not in time. What was asked may have been done."""

    default_hint = "Start it with `keywheel serve`, or name another with --endpoint-url."


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which server to ask; `command` gets a client as its first argument instead of them."""

    @functools.wraps(command)
    def run(
        endpoint_url: str | None,
        data: str | None,
        credentials_file: str | None,
        region: str | None,
        ca_bundle: str | None,
        **others: Any,
    ) -> None:
        settings = load_settings({"data": data})
        with Client(find_server(settings, endpoint_url, credentials_file, region, ca_bundle)) as client:
            command(client, **others)

    for option in reversed(OPTIONS):
        run = option(run)
    return run


class Client:
    """A connection to one server. Threads may share it."""

    def __init__(self, address: Address, clock: Clock | None = None) -> None:
        import httpx2

        self.address = address
        self._clock = clock or SystemClock()
        self._client = httpx2.Client(
            base_url=address.endpoint,
            timeout=httpx2.Timeout(_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=False,
            follow_redirects=False,
            verify=_authorities(address),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """The answer to `operation` (such as `secretsmanager.ListSecrets`); a member that is None is left out.

        Raises:
            ServerRefused: it answered with an error.
            ServerAway: it did not answer.
        """
        given = {name: value for name, value in members.items() if value is not None}
        body = json.dumps(given, default=Sensitive.reveal).encode()
        response = self._send("POST", "/", self._signed(operation, body), body)
        answer = _document(response)
        if response.status_code == 200 and answer is not None:
            return answer
        raise _refusal(response, answer or {}, self.address.endpoint)

    def pages(self, operation: str, items: str, **members: Any) -> Iterator[dict[str, Any]]:
        """What stands under `items` in every page of an answer.

        Raises:
            ServerRefused, ServerAway: as `call`.
        """
        token = None
        while True:
            answer = self.call(operation, NextToken=token, **members)
            yield from answer.get(items) or []
            token = answer.get("NextToken")
            if token is None:
                return

    def probe(self, path: str) -> tuple[int, str | None]:
        """The status of an unsigned GET, and the server's `Date`.

        Raises:
            ServerAway: it did not answer.
        """
        response = self._send("GET", path, [], b"")
        return response.status_code, response.headers.get("date")

    def _signed(self, operation: str, body: bytes) -> list[tuple[bytes, bytes]]:
        from keywheel.access.sigv4 import Request, sign

        headers = [
            (b"host", urlsplit(self.address.endpoint).netloc.encode()),
            (b"content-type", b"application/x-amz-json-1.1"),
            (b"x-amz-target", operation.encode()),
        ]
        return headers + sign(
            Request("POST", b"/", b"", headers, body),
            access_key_id=self.address.access_key_id,
            secret=self.address.secret,
            region=self.address.region,
            service="secretsmanager",
            now=self._clock.now(),
        )

    def _send(self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> httpx2.Response:
        import httpx2

        endpoint = self.address.endpoint
        try:
            return self._client.request(method, path, headers=headers, content=body)
        except httpx2.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ServerAway(
                    f"The certificate of the server at {endpoint} is not vouched for.",
                    hint="Name the authority that signed it with --ca-bundle.",
                ) from None
            raise ServerAway(f"The server at {endpoint} does not answer.") from None
        except httpx2.HTTPError as error:
            raise ServerAway(f"The server at {endpoint} did not answer ({type(error).__name__}).") from None


def _authorities(address: Address) -> Any:
    if not address.endpoint.startswith("https:"):
        return False  # nothing to verify, and building a context takes time
    import ssl

    try:
        return ssl.create_default_context(cafile=address.ca_bundle)
    except OSError as error:
        raise ConfigurationError(f"--ca-bundle cannot be read ({type(error).__name__}).") from None


def _document(response: httpx2.Response) -> dict[str, Any] | None:
    try:
        answer = response.json() if response.content else {}
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _refusal(response: httpx2.Response, answer: Mapping[str, Any], endpoint: str) -> ServerRefused:
    code = str(answer.get("__type", "")).rpartition("#")[2]
    message = answer.get("Message") or answer.get("message")
    if not code:
        return ServerRefused(
            f"HTTP {response.status_code}",
            f"{endpoint} does not answer as keywheel does.",
            hint="Check --endpoint-url.",
        )
    request_id = response.headers.get("x-amzn-requestid")
    hint = f"Look at the server's log for request {request_id}." if response.status_code >= 500 else None
    return ServerRefused(code, str(message or "The server refused."), hint=hint)
