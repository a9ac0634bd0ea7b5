"""A campaign: spoiled requests one after the other, with ordinary ones between them that must be answered rightly."""

from __future__ import annotations

import json
import random
import socket
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from keywheel.errors import CallerError
from tests.fuzz.documents import CANARY, MODEL
from tests.fuzz.envelopes import Envelope, Key, envelope, signed

LONGEST = 10.0  # seconds that an answer may take
ORDINARY_EVERY, CREATED_EVERY = 10, 20
_POOL = 40
CODES = {shape.error_code for shape in MODEL.error_shapes} | {kind.code for kind in CallerError.__subclasses__()}
INTERNAL = {"InternalServiceError", "InternalServiceErrorException", "InternalFailure"}


@dataclass
class Findings:
    """What a campaign saw. `wrong` holds each answer that should not be, with the number of its request."""

    seed: int
    answered: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    ordinary: int = 0


class Link:
    """A connection that is made anew when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer.

        Raises: OSError: none within `LONGEST`.
        """
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=LONGEST)
        try:
            self._socket.sendall(raw)
            status, headers, body = _read(self._socket)
        except OSError:
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return status, headers, body

    def close(self) -> None:
        """Close it, if it is open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _read(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        body += _more(connection)
    if len(body) > length:
        raise ConnectionError("more than one answer")
    return int(first.split(" ")[1]), headers, body


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 18)
    if not part:
        raise ConnectionError("closed without an answer")
    return part


def campaign(port: int, key: Key, ordinary: Key, *, count: int, seed: int) -> Findings:
    """Send `count` requests drawn from `seed`; every tenth is an ordinary one of another Region."""
    draw, link, found = random.Random(seed), Link(port), Findings(seed)
    names = [f"fuzz-{number}" for number in range(_POOL)]
    traffic = Ordinary(link, ordinary, found)
    for number in range(count):
        if number % ORDINARY_EVERY == 0:
            traffic.one(number)
            continue
        if number % CREATED_EVERY == 1:  # something must be there for a request to do anything to
            new = {"Name": draw.choice(names), "SecretString": CANARY, "ClientRequestToken": str(uuid.uuid4())}
            _one(link, Envelope(signed(key, "CreateSecret", json.dumps(new).encode()), "creation"), found, number)
        else:
            _one(link, envelope(draw, key, names), found, number)
    link.close()
    return found


def _one(link: Link, sent: Envelope, found: Findings, number: int) -> None:
    begun = time.perf_counter()
    try:
        status, headers, body = link.ask(sent.raw)
    except OSError as error:
        found.wrong.append(f"#{number} {sent.kind}: {error!r}")
        return
    found.slowest = max(found.slowest, time.perf_counter() - begun)
    found.kinds[sent.kind] += 1
    code, fault = judged(status, headers, body)
    found.answered[code] += 1
    if status == 200 and sent.refused:
        fault = "carried out"
    if fault is not None:
        found.wrong.append(f"#{number} {sent.kind}: {fault} {status} {body[:200]!r}")


def judged(status: int, headers: dict[str, str], body: bytes) -> tuple[str, str | None]:
    """The code of an answer (`200` for one that is no error), and what is not as AWS JSON has it."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return str(status), "no JSON"
    if "x-amzn-requestid" not in headers or headers.get("content-type") != "application/x-amz-json-1.1":
        return str(status), "a header is missing"
    if status == 200:
        return "200", None if isinstance(document, dict) else "no document"
    code = document.get("__type", "")
    if status >= 500 or code in INTERNAL:
        return code, "a fault of the server"
    if code not in CODES or not isinstance(document.get("Message", document.get("message")), str):
        return code, "not of the form"
    return code, None if headers.get("x-amzn-errortype") == code else "the header names another code"


class Ordinary:
    """The life of secrets as an application leads it; each answer is known beforehand."""

    def __init__(self, link: Link, key: Key, found: Findings) -> None:
        self._link, self._key, self._found = link, key, found
        self._value, self._name = "", ""

    def one(self, number: int) -> None:
        """The next step of a life: create, get, put, get, list, delete."""
        self._found.ordinary += 1
        step = self._found.ordinary % 6
        if step == 1:
            self._name, self._value = f"ordinary/{uuid.uuid4().hex}", f"{CANARY}-{uuid.uuid4().hex}"
        elif step == 3:
            self._value = f"{CANARY}-{uuid.uuid4().hex}"
        new = {"SecretString": self._value, "ClientRequestToken": str(uuid.uuid4())}
        id_ = {"SecretId": self._name}
        operation, members = (
            ("DeleteSecret", {**id_, "ForceDeleteWithoutRecovery": True}),
            ("CreateSecret", {"Name": self._name, **new}),
            ("GetSecretValue", id_),
            ("PutSecretValue", {**id_, **new}),
            ("GetSecretValue", id_),
            ("ListSecrets", {"MaxResults": 5}),
        )[step]
        try:
            status, _, body = self._link.ask(signed(self._key, operation, json.dumps(members).encode()))
        except OSError as error:
            self._found.wrong.append(f"#{number} ordinary {operation}: {error!r}")
            return
        right = status == 200 and (operation != "GetSecretValue" or json.loads(body)["SecretString"] == self._value)
        if not right:
            self._found.wrong.append(f"#{number} ordinary {operation}: {status}")


def lifecycle(port: int, key: Key) -> Sequence[str]:
    """One whole life of a secret, after everything; what went wrong."""
    found, link = Findings(0), Link(port)
    traffic = Ordinary(link, key, found)
    for number in range(6):
        traffic.one(number)
    link.close()
    return found.wrong
