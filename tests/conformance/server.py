"""A running server as its callers see it: boto3 clients, HTTP requests signed by botocore, and bare sockets.

What no API makes (access keys, KMS keys) is made in the store beside the running server, as the CLI does it.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import secrets
import socket
import string
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from keywheel.access.access_keys import Role, new_access_key
from keywheel.arn import Scope
from keywheel.config import load_settings
from keywheel.credentials import read_credentials
from keywheel.keys.root.unseal import load_root_key
from keywheel.sensitive import Sensitive
from keywheel.server import House, build
from tests.support.keywheel_server import ACCOUNT, REGION, KeywheelServer

T = TypeVar("T")

TARGET = "secretsmanager."
# Each request is sent once, and whatever it holds: it is the server that refuses.
_BARE = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60, parameter_validation=False)


@dataclass(frozen=True)
class Pair:
    """Both halves of an access key."""

    access_key_id: str
    secret: str


@dataclass(frozen=True)
class Answer:
    """An HTTP response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's document."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[str, str]:
        """The code and the text of an error, wherever its service puts it."""
        document = self.json
        return document["__type"], document.get("Message", document.get("message"))


class Wire:
    """A bare connection, whose answers are read one after another."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.send = connection.sendall
        self._answers = connection.makefile("rb")

    def reply(self, *, to: str = "POST") -> tuple[int, bytes]:
        """Status and body of the next answer."""
        version, status, _ = self._answers.readline().split(b" ", 2)
        assert version == b"HTTP/1.1"
        length = 0
        while (line := self._answers.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return int(status), self._answers.read(0 if status == b"100" or to == "HEAD" else length)

    def closed(self) -> bool:
        """Whether the server has ended the connection, and sent nothing more."""
        try:
            return self._answers.read(1) == b""
        except ConnectionResetError:
            return True


class Server:
    """One server, and one store under it."""

    def __init__(self, process: KeywheelServer, database_url: str | None) -> None:
        self.process = process
        self.url = process.url
        self.data = process.data
        self.database_url = database_url
        self.admin = pair_in(process.data / "credentials")
        self.client = functools.cache(self._client)
        self._session = boto3.Session()

    # --- speaking to it

    def _client(
        self, region: str = REGION, pair: Pair | None = None, service: str = "secretsmanager", **options: Any
    ) -> Any:
        pair = pair or self.admin
        return self._session.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=pair.access_key_id,
            aws_secret_access_key=pair.secret,
            config=_BARE,
            **options,
        )

    def signed(
        self,
        operation: str,
        body: Mapping[str, Any] | bytes = b"{}",
        *,
        region: str = REGION,
        pair: Pair | None = None,
        service: str = "secretsmanager",
        shift: dt.timedelta = dt.timedelta(0),
        headers: Mapping[str, str] | None = None,
        prefix: str = TARGET,
        path: str = "/",
        method: str = "POST",
    ) -> AWSRequest:
        """A request of an operation, signed by botocore. `shift` is how wrong the signer's clock is."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": prefix + operation, **(headers or {})}
        request = AWSRequest(method, self.url + path, headers=named, data=data)
        pair = pair or self.admin
        with clock_shifted_by(shift):
            SigV4Auth(Credentials(pair.access_key_id, pair.secret), service, region).add_auth(request)
        return request

    def send(self, request: AWSRequest) -> Answer:
        """Send a request as it stands."""
        prepared = request.prepare()
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            path = prepared.url.removeprefix(self.url) or "/"
            connection.request(prepared.method, path, prepared.body, dict(prepared.headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def post(self, operation: str, body: Mapping[str, Any] | bytes = b"{}", **options: Any) -> Answer:
        """Sign and send."""
        return self.send(self.signed(operation, body, **options))

    @contextmanager
    def wire(self, timeout: float = 30.0) -> Iterator[Wire]:
        """A bare connection."""
        place = urlsplit(self.url)
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=timeout) as connection:
            yield Wire(connection)

    def bytes_of(self, request: AWSRequest) -> bytes:
        """A signed request as it goes over the wire."""
        prepared = request.prepare()
        headers = {"Host": urlsplit(self.url).netloc, **dict(prepared.headers)}
        if "Transfer-Encoding" not in headers:
            headers["Content-Length"] = str(len(prepared.body or b""))
        lines = [f"{prepared.method} / HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + (prepared.body or b"")

    def rotation(self, name: str, region: str = REGION) -> dict[str, Any]:
        """What `keywheel.ListRotations` tells of a secret; empty while it has nothing to tell."""
        token: str | None = None
        while True:
            page = self.post("ListRotations", {"NextToken": token} if token else {}, prefix="keywheel.", region=region)
            for entry in page.json["Rotations"]:
                if entry["Name"] == name:
                    found: dict[str, Any] = entry
                    return found
            token = page.json.get("NextToken")
            if token is None:
                return {}

    # --- beside it

    @contextmanager
    def house(self) -> Iterator[House]:
        """The rooms over the same store, in this process."""
        settings = load_settings({"data": str(self.data), "database": self.database_url}, {})
        house = build(settings, load_root_key(settings.root_key_path, lambda: Sensitive("")))
        try:
            yield house
        finally:
            house.close()

    def access_key(self, role: Role, *, account: str = ACCOUNT, user: str = "tester") -> Pair:
        """A new access key."""
        access_key_id, secret = new_access_key()
        with self.house() as house:
            now = house.rooms.clock.now()
            house.rooms.database.write(
                lambda tx: house.access_keys.create(
                    tx, account=account, name=user, role=role, now=now, access_key_id=access_key_id, secret=secret
                )
            )
        return Pair(access_key_id, secret.reveal())

    def kms_key(self, *, region: str = REGION, alias: str | None = None) -> str:
        """A new key for secrets; its ARN."""
        with self.house() as house:
            now = house.rooms.clock.now()

            def work(tx: Any) -> str:
                key = house.keys.create(tx, Scope(ACCOUNT, region), description="a test's", now=now)
                if alias is not None:
                    house.keys.name(tx, key, alias)
                return key.arn

            return house.rooms.database.write(work)


def pair_in(credentials: Path) -> Pair:
    """The access key in an AWS credentials file."""
    access_key_id, secret = read_credentials(credentials)
    return Pair(access_key_id, secret.reveal())


@contextmanager
def clock_shifted_by(shift: dt.timedelta) -> Iterator[None]:
    """Botocore signs as if its clock were wrong by `shift`."""

    def now(*, remove_tzinfo: bool = True) -> dt.datetime:
        instant = dt.datetime.now(dt.UTC) + shift
        return instant.replace(tzinfo=None) if remove_tzinfo else instant

    with patch("botocore.auth.get_current_datetime", now):
        yield


def refusal(call: Callable[..., Any], /, **members: Any) -> tuple[str, str]:
    """The code and the text of the error that a boto3 call raises. Every client error is HTTP 400."""
    try:
        answer = call(**members)
    except ClientError as error:
        response: Any = error.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400, response
        return response["Error"]["Code"], response["Error"]["Message"]
    raise AssertionError(f"it was not refused: {answer}")


def until(ask: Callable[[], T | None], *, seconds: float = 30.0) -> T:
    """The first answer of `ask` that is true."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.03)
    return answer


def token() -> str:
    """A ClientRequestToken."""
    return str(uuid.uuid4())


def fresh(prefix: str = "secret") -> str:
    """A name that no other test uses."""
    return f"{prefix}/{uuid.uuid4().hex}"


def fresh_region() -> str:
    """A Region that no other test uses."""
    return "test-" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(12)) + "-1"


def stages(api: Any, name: str) -> dict[str, set[str]]:
    """VersionIdsToStages, to be compared without regard to order."""
    found: dict[str, list[str]] = api.describe_secret(SecretId=name).get("VersionIdsToStages", {})
    return {version: set(labels) for version, labels in found.items()}
