"""A campaign: spoiled requests one after the other, with ordinary ones between them that must be answered rightly."""

from __future__ import annotations

import base64
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
from tests.fuzz.documents import CANARY, MODELS, Draw, Names
from tests.fuzz.envelopes import Envelope, Key, envelope, signed

LONGEST = 10.0  # seconds that an answer may take
ORDINARY_EVERY, CREATED_EVERY = 10, 20
_POOL = 40
CODES = {shape.error_code for model in MODELS.values() for shape in model.error_shapes} | {
    kind.code for kind in CallerError.__subclasses__()
}
INTERNAL = {
    *("InternalServiceError", "InternalServiceErrorException", "InternalFailure"),
    *("KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException"),
}
_KEYS = (
    *(("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),) * 3,
    *(("ECC_NIST_P256", "SIGN_VERIFY"), ("ECC_NIST_P384", "KEY_AGREEMENT"), ("HMAC_256", "GENERATE_VERIFY_MAC")),
)
_LIFE = 9  # steps of an ordinary life


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
    names = Names([f"fuzz-{number}" for number in range(_POOL)], [f"alias/fuzz-{number}" for number in range(4)])
    traffic = Ordinary(link, ordinary, found)
    for number in range(count):
        if number % ORDINARY_EVERY == 0:
            traffic.one(number)
            continue
        if number % CREATED_EVERY == 1:  # something must be there for a request to do anything to
            new = {"Name": draw.choice(names.secrets), "SecretString": CANARY, "ClientRequestToken": str(uuid.uuid4())}
            _ask(link, key, "secretsmanager.CreateSecret", new, found, number)
        elif number % CREATED_EVERY == 1 + CREATED_EVERY // 2:
            _new_key(draw, link, key, names, found, number)
        else:
            _one(link, envelope(draw, key, names), found, number)
    link.close()
    return found


def _new_key(draw: Draw, link: Link, key: Key, names: Names, found: Findings, number: int) -> None:
    """A key, with an alias, and a ciphertext of it if it makes any."""
    spec, usage = draw.choice(_KEYS)
    made = _ask(link, key, "TrentService.CreateKey", {"KeySpec": spec, "KeyUsage": usage}, found, number)
    if "KeyMetadata" not in made:
        return
    key_id = made["KeyMetadata"]["KeyId"]
    names.keys = [*names.keys[-_POOL:], f"alias/fuzz-{draw.randrange(4)}", key_id]
    alias = {"AliasName": names.keys[-2], "TargetKeyId": key_id}
    _ask(link, key, "TrentService.CreateAlias", alias, found, number)
    if usage == "ENCRYPT_DECRYPT":
        plaintext = {"KeyId": key_id, "Plaintext": base64.b64encode(CANARY.encode()).decode()}
        blob = _ask(link, key, "TrentService.Encrypt", plaintext, found, number)["CiphertextBlob"]
        names.ciphertexts = [*names.ciphertexts[-_POOL:], blob]


def _ask(link: Link, key: Key, operation: str, members: dict[str, Any], found: Findings, number: int) -> dict[str, Any]:
    """The document that answers a right request."""
    body = _one(link, Envelope(signed(key, operation, json.dumps(members).encode()), "creation"), found, number)
    document: dict[str, Any] = json.loads(body or b"{}")
    return document


def _one(link: Link, sent: Envelope, found: Findings, number: int) -> bytes:
    begun = time.perf_counter()
    try:
        status, headers, body = link.ask(sent.raw)
    except OSError as error:
        found.wrong.append(f"#{number} {sent.kind}: {error!r}")
        return b""
    found.slowest = max(found.slowest, time.perf_counter() - begun)
    found.kinds[sent.kind] += 1
    code, fault = judged(status, headers, body)
    found.answered[code] += 1
    if status == 200 and sent.refused:
        fault = "carried out"
    if fault is not None:
        found.wrong.append(f"#{number} {sent.kind}: {fault} {status} {body[:200]!r}")
    return body


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
    """The life of secrets and keys as an application leads it; each answer is known beforehand."""

    def __init__(self, link: Link, key: Key, found: Findings) -> None:
        self._link, self._key, self._found = link, key, found
        self._value, self._name = "", ""
        self._key_id, self._ciphertext = "", ""

    def one(self, number: int) -> None:
        """The next step of a life: create, get, put, get, list; a key, encrypt, decrypt; delete."""
        self._found.ordinary += 1
        step = self._found.ordinary % _LIFE
        if step == 1:
            self._name, self._value = f"ordinary/{uuid.uuid4().hex}", f"{CANARY}-{uuid.uuid4().hex}"
        elif step == 3:
            self._value = f"{CANARY}-{uuid.uuid4().hex}"
        new = {"SecretString": self._value, "ClientRequestToken": str(uuid.uuid4())}
        id_ = {"SecretId": self._name}
        operation, members = (
            ("secretsmanager.DeleteSecret", {**id_, "ForceDeleteWithoutRecovery": True}),
            ("secretsmanager.CreateSecret", {"Name": self._name, **new}),
            ("secretsmanager.GetSecretValue", id_),
            ("secretsmanager.PutSecretValue", {**id_, **new}),
            ("secretsmanager.GetSecretValue", id_),
            ("secretsmanager.ListSecrets", {"MaxResults": 5}),
            ("TrentService.CreateKey", {}),
            ("TrentService.Encrypt", {"KeyId": self._key_id, "Plaintext": _base64(self._value)}),
            ("TrentService.Decrypt", {"CiphertextBlob": self._ciphertext}),
        )[step]
        try:
            status, _, body = self._link.ask(signed(self._key, operation, json.dumps(members).encode()))
        except OSError as error:
            self._found.wrong.append(f"#{number} ordinary {operation}: {error!r}")
            return
        if status != 200 or not self._right(operation, json.loads(body)):
            self._found.wrong.append(f"#{number} ordinary {operation}: {status}")

    def _right(self, operation: str, answer: Any) -> bool:
        """Whether it is the answer that was to be; what a later step needs of it is kept."""
        match operation.rpartition(".")[2]:
            case "GetSecretValue":
                return bool(answer["SecretString"] == self._value)
            case "CreateKey":
                self._key_id = answer["KeyMetadata"]["KeyId"]
            case "Encrypt":
                self._ciphertext = answer["CiphertextBlob"]
            case "Decrypt":
                return bool(answer["Plaintext"] == _base64(self._value))
        return True


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def lifecycle(port: int, key: Key) -> Sequence[str]:
    """One whole life of a secret and a key, after everything; what went wrong."""
    found, link = Findings(0), Link(port)
    traffic = Ordinary(link, key, found)
    for number in range(_LIFE):
        traffic.one(number)
    link.close()
    return found.wrong
