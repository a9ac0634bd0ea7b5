"""Callers that are broken, careless or hostile: always the AWS error or a clean close, and the server serves on."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.model import ListShape, Shape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keywheel.api.connections import HEAD_SECONDS
from tests.conformance.conftest import REQUEST_SECONDS
from tests.conformance.server import Answer, Server, Wire, fresh_region, refusal, token
from tests.conformance.test_model_coverage import MODEL, OPERATIONS, valid

BODY_LIMIT = 1_048_576
SERIALIZATION = (400, "SerializationException")


def served(server: Server) -> bool:
    """Whether the server answers a request as it should."""
    return server.post("ListSecrets", {"MaxResults": 1}).status == 200


def outcome(answer: Answer) -> tuple[int, str]:
    """The status and the code of an error."""
    return answer.status, answer.error[0]


# --- bodies that are no document -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"}",
        b"[]",
        b"null",
        b'"text"',
        b"1",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"{'SecretId': 'x'}",
        b'{"SecretId": "x",}',
        b'{"SecretId": x}',
        b'{"SecretId": "\xff\xfe"}',
        b'{"SecretId": "\xed\xa0\x80"}',
        b'{"SecretId": "\\ud800"}',
        b'{"SecretId": "a\x00b"}',
        b'{"SecretId": "a\nb"}',
        b'{"SecretId": NaN}',
        b'{"SecretId": "x", "Deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"SecretId": "x", "Deep": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 1_000_000,
        b"\x00" * 1000,
        bytes(range(256)),
        b"SecretId=x&Action=DescribeSecret",
    ],
    ids=lambda body: repr(body[:32]),
)
def test_a_body_that_is_no_document_is_a_serialization_error(server: Server, body: bytes) -> None:
    """Malformed JSON, another JSON type, invalid UTF-8, control characters, a thousandfold depth."""
    assert outcome(server.post("DescribeSecret", body)) == SERIALIZATION


@pytest.mark.parametrize(
    ("operation", "member", "text"),
    [
        ("ListSecrets", "MaxResults", "1e400"),
        ("ListSecrets", "MaxResults", "-1e400"),
        ("ListSecrets", "MaxResults", "1.5"),
        ("ListSecrets", "MaxResults", "9" * 5000),
        ("ListSecrets", "MaxResults", "9223372036854775808"),
        ("ListSecrets", "MaxResults", "true"),
        ("ListSecrets", "MaxResults", '"5"'),
        ("DeleteSecret", "RecoveryWindowInDays", "9223372036854775808"),
        ("DeleteSecret", "RecoveryWindowInDays", "1e19"),
        ("DeleteSecret", "ForceDeleteWithoutRecovery", '"true"'),
        ("DeleteSecret", "ForceDeleteWithoutRecovery", "1"),
        ("PutSecretValue", "SecretBinary", '"not base64!"'),
        ("PutSecretValue", "SecretBinary", '"AAA"'),
        ("PutSecretValue", "SecretString", "{}"),
        ("PutSecretValue", "SecretString", "1"),
        ("PutSecretValue", "VersionStages", '"AWSCURRENT"'),
        ("PutSecretValue", "VersionStages", "[1]"),
        ("TagResource", "Tags", '[["Key"]]'),
        ("TagResource", "Tags", '{"Key": "k"}'),
        ("RotateSecret", "RotationRules", "[]"),
    ],
)
def test_a_member_of_another_type_is_refused(server: Server, operation: str, member: str, text: str) -> None:
    """As SerializationException, or where it is a number out of bounds as ValidationException; nothing is done."""
    body = f'{{"SecretId": "nothing", "Tags": [], "ClientRequestToken": "{token()}", "{member}": {text}}}'
    answer = server.post(operation, body.encode())
    assert outcome(answer) in (SERIALIZATION, (400, "ValidationException"))


# --- NUL characters --------------------------------------------------------------------------------------------------


def text_members(shape: Shape) -> Iterator[tuple[str, Any]]:
    """Each text member of a request with a function that puts a value into it."""
    if isinstance(shape, StructureShape):
        for member, kind in shape.members.items():
            for path, put in text_members(kind):
                yield f"{member}{path}", lambda value, member=member, put=put: {member: put(value)}
    elif isinstance(shape, ListShape):
        for path, put in text_members(shape.member):
            yield f"[]{path}", lambda value, put=put: [put(value)]
    elif shape.type_name == "string":
        yield (
            "",
            lambda value, shape=shape: (value * max(shape.metadata.get("min", 1), 1))[
                : shape.metadata.get("max", 2048)
            ],
        )


TEXTS = [
    pytest.param(operation, put, id=f"{operation}.{path}")
    for operation in OPERATIONS
    for path, put in text_members(MODEL.operation_model(operation).input_shape)
]


@pytest.mark.parametrize(("operation", "put"), TEXTS)
def test_a_nul_character_is_a_callers_error_wherever_it_stands(
    server: Server, api: Any, name: str, operation: str, put: Any
) -> None:
    """PostgreSQL's text takes none, so every text but a secret value refuses it; SQLite's store does the same."""
    api.create_secret(Name=name, SecretString="v")
    shape = MODEL.operation_model(operation).input_shape
    least = {**valid(shape), "ClientRequestToken": token()}
    least |= {"SecretId": name} if "SecretId" in shape.members else {}
    for value in ("\x00", "x\x00"):
        answer = server.post(operation, {**least, **put(value)})
        assert answer.status == 400 or put("x") in ({"SecretString": "x"}, {"SecretId": name})
        assert answer.status in (200, 400)
    assert "v" in api.get_secret_value(SecretId=name)["SecretString"] or operation in ("PutSecretValue", "UpdateSecret")


@pytest.mark.parametrize("label", ["\x1f", "a\x1fb", "a\nb", "\x7f"])
def test_a_label_holds_no_control_character(api: Any, name: str, label: str) -> None:
    """Neither put nor moved: labels are told apart by one."""
    version = api.create_secret(Name=name, SecretString="v")["VersionId"]
    move = {"SecretId": name, "VersionStage": label, "MoveToVersionId": version}
    assert refusal(api.update_secret_version_stage, **move)[0] == "InvalidParameterException"
    put = {"SecretId": name, "SecretString": "w", "VersionStages": [label]}
    assert refusal(api.put_secret_value, **put)[0] == "InvalidParameterException"
    assert api.get_secret_value(SecretId=name)["VersionStages"] == ["AWSCURRENT"]


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"SecretString": "x" * 65_536}, ""),
        ({"SecretString": "é" * 32_768}, ""),
        ({"SecretString": "\N{GRINNING FACE}" * 16_384}, ""),
        ({"SecretBinary": bytes(65_536)}, ""),
        ({"SecretString": "x" * 65_537}, "ValidationException"),
        ({"SecretString": "é" * 65_537}, "ValidationException"),
        ({"SecretBinary": bytes(65_537)}, "ValidationException"),
        ({"SecretString": "é" * 32_768 + "x"}, "InvalidParameterException"),
        ({"SecretString": "é" * 65_536}, "InvalidParameterException"),
        ({"SecretString": "\N{GRINNING FACE}" * 65_536}, "InvalidParameterException"),
        ({"SecretString": ""}, "ValidationException"),
        ({"SecretBinary": b""}, "ValidationException"),
    ],
    ids=[
        "65,536 bytes", "of two each", "of four each", "65,536 bytes of binary", "65,537 characters",
        "65,537 characters of two bytes", "65,537 bytes of binary", "65,537 bytes", "65,536 characters of two bytes",
        "65,536 characters of four bytes", "no character", "no byte",
    ],
)  # fmt: skip
def test_a_value_has_up_to_65536_bytes(api: Any, name: str, value: dict[str, Any], code: str) -> None:
    """Counted in characters first, as the model does, then in bytes of UTF-8; a refused one leaves nothing behind."""
    if code:
        assert code == refusal(api.create_secret, Name=name, **value)[0]
        assert refusal(api.describe_secret, SecretId=name)[0] == "ResourceNotFoundException"
        return
    api.create_secret(Name=name, **value)
    read = api.get_secret_value(SecretId=name)
    assert value == {member: read[member] for member in value}


@pytest.mark.parametrize("size", [BODY_LIMIT, BODY_LIMIT + 1, 3 * BODY_LIMIT, 7 * BODY_LIMIT])
def test_a_body_over_the_limit_is_413_and_a_close(server: Server, size: int) -> None:
    """The client gets to read the answer, though it still sends; within the limit the member counts."""
    answer = server.post("PutSecretValue", b'{"SecretId": "x", "SecretString": "' + b"x" * (size - 37) + b'"}')
    if size <= BODY_LIMIT:
        assert outcome(answer) == (400, "ValidationException")
    else:
        assert outcome(answer) == (413, "RequestEntityTooLargeException")
        assert answer.headers["connection"] == "close"
    assert served(server)


def test_a_body_without_an_end_is_cut_off(server: Server) -> None:
    """However fast it comes: the connection is closed before a hundred megabytes are sent."""
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    sent = 0
    with server.wire() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):
            while sent < 100_000_000:
                connection.send(chunk)
                sent += len(chunk)
    assert sent < 100_000_000
    assert served(server)


# --- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 100 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHo\x00st: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: " + b"x" * 2_000_000,
        b"POST " + b"/" * 2_000_000,
        b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000,
    ],
    ids=lambda head: repr(head[:48]),
)
def test_what_is_not_http_ends_with_400_or_a_close(server: Server, head: bytes) -> None:
    """Other protocols, lengths that contradict each other, heads without an end."""
    with server.wire(timeout=HEAD_SECONDS + 10) as connection:
        try:
            connection.send(head)
            connection.socket.shutdown(socket.SHUT_WR)
            answer = connection.socket.makefile("rb").read()
        except OSError:
            answer = b""  # it hung up while we were sending
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert served(server)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 400),
        ("PUT", "/", 400),
        ("DELETE", "/", 400),
        ("OPTIONS", "/", 400),
        ("PROPFIND", "/", 400),
        ("HEAD", "/", 400),
        ("POST", "/x", 404),
        ("POST", "//", 404),
        ("POST", "/%2e%2e/", 404),
        ("POST", "/%00", 404),
        ("GET", "/healthz", 404),
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("HEAD", "/health", 200),
    ],
)
def test_another_method_or_path_has_an_answer(server: Server, method: str, path: str, status: int) -> None:
    """Only POST / is the protocol; the two probes need no signature."""
    with server.wire() as connection:
        connection.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        found, body = connection.reply(to=method)
    assert status == found
    assert method == "HEAD" or status != 400 or json.loads(body)["__type"] == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_a_signed_request_of_another_method_is_an_unknown_operation(server: Server, method: str) -> None:
    """Whatever its target says."""
    answer = server.post("ListSecrets", {}, method=method)
    assert outcome(answer) == (400, "UnknownOperationException")


def test_a_chunked_body_is_a_body(server: Server) -> None:
    """Cut in any way."""
    raw = server.bytes_of(server.signed("ListSecrets", {"MaxResults": 1}))
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    with server.wire() as connection:
        connection.send(b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]))
        for byte in body:
            connection.send(b"1\r\n%c\r\n" % byte)
        connection.send(b"0\r\n\r\n")
        assert connection.reply()[0] == 200


def test_a_request_may_come_byte_by_byte(server: Server) -> None:
    """As long as it comes in time."""
    raw = server.bytes_of(server.signed("ListSecrets", {"MaxResults": 1}))
    with server.wire() as connection:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in raw:
            connection.send(bytes([byte]))
        assert connection.reply()[0] == 200


def test_a_client_that_asks_may_go_on(server: Server) -> None:
    """Expect: 100-continue."""
    raw = server.bytes_of(server.signed("ListSecrets", {"MaxResults": 1}))
    head, _, body = raw.partition(b"\r\n\r\n")
    with server.wire() as connection:
        connection.send(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert connection.reply()[0] == 100
        connection.send(body)
        assert connection.reply()[0] == 200


def test_a_websocket_is_not_offered(server: Server) -> None:
    """A request to upgrade is a request like any other."""
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    with server.wire() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
        assert connection.reply()[0] == 400


def test_requests_on_top_of_each_other_are_answered_in_order(server: Server, api: Any, name: str) -> None:
    """Reads and writes alike: each answer belongs to its request."""
    api.create_secret(Name=name, SecretString="v")
    requests = []
    for number in range(30):
        requests.append(server.signed("PutSecretValue", put_of(name, str(number))))
        requests.append(server.signed("GetSecretValue", {"SecretId": name}))
        requests.append(server.signed("DescribeSecret", {"SecretId": f"{name}/{number}"}))
    with server.wire() as connection:
        connection.send(b"".join(map(server.bytes_of, requests)))
        answers = [connection.reply() for _ in requests]
    assert [status for status, _ in answers] == [200, 200, 400] * 30
    assert [str(number) for number in range(30)] == [json.loads(body)["SecretString"] for _, body in answers[1::3]]


def put_of(name: str, value: str) -> dict[str, str]:
    return {"SecretId": name, "SecretString": value, "ClientRequestToken": token()}


def test_bytes_behind_a_request_are_no_part_of_it(server: Server) -> None:
    """A Content-Length that is too small leaves a rest, which is not HTTP."""
    raw = server.bytes_of(server.signed("ListSecrets", {"MaxResults": 1}))
    with server.wire() as connection:
        connection.send(raw + b"garbage garbage\r\n\r\n")
        first = connection.reply()
        assert first[0] == 200 or b"Invalid HTTP request" in first[1]
        assert first[0] == 400 or connection.reply()[0] == 400
        assert connection.closed()
    assert served(server)


def test_200_parallel_connections_are_served(server: Server, api: Any, name: str) -> None:
    """Each with a write of its own and a read of another's."""
    arrived = threading.Barrier(200)

    def caller(number: int) -> tuple[int, int]:
        put = server.signed("CreateSecret", {**put_of(name, "v"), "Name": f"{name}/{number}"})
        get = server.signed("GetSecretValue", {"SecretId": name})
        with server.wire() as connection:
            arrived.wait()
            connection.send(server.bytes_of(put) + server.bytes_of(get))
            return connection.reply()[0], connection.reply()[0]

    api.create_secret(Name=name, SecretString="v")
    with ThreadPoolExecutor(200) as pool:
        assert {(200, 200)} == set(pool.map(caller, range(200)))
    assert served(server)


# --- slow and silent clients -----------------------------------------------------------------------------------------


def test_a_body_that_does_not_come_ends_with_408(server: Server) -> None:
    """None of it, a part of it, byte by byte, or the last chunk missing: the connection is closed, nothing is done."""
    raw = server.bytes_of(server.signed("ListSecrets", {"MaxResults": 1}))
    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    beginnings = [
        raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
        raw[:-1],
        head + b"Content-Length: 1000\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nxxxxx\r\n",
        head + b"Content-Length: 5000000\r\n\r\n" + b"x" * 2_000_000,
    ]
    with ExitStack() as stack:
        connections = [stack.enter_context(server.wire()) for _ in beginnings]
        began = time.monotonic()
        for connection, beginning in zip(connections, beginnings, strict=True):
            connection.send(beginning)
        assert served(server)
        while time.monotonic() - began < REQUEST_SECONDS - 0.5:
            connections[2].send(b"x")
            time.sleep(0.1)
        for connection in connections:
            status, body = connection.reply()
            assert (status, json.loads(body)["__type"]) == (408, "RequestTimeoutException")
            assert connection.closed()
        assert time.monotonic() - began < REQUEST_SECONDS + 3
    assert served(server)


def test_a_client_that_leaves_in_the_middle_leaves_no_trace(server: Server, name: str) -> None:
    """In its head, in its body, or before it reads the answer; what it asked for is done wholly or not at all."""
    raw = server.bytes_of(server.signed("CreateSecret", {**put_of(name, "v"), "Name": name}))
    for end in (10, len(raw) // 2, len(raw) - 1):
        for _ in range(5):
            with server.wire() as connection:
                connection.send(raw[:end])
    assert server.post("DescribeSecret", {"SecretId": name}).error[0] == "ResourceNotFoundException"
    with server.wire() as connection:
        connection.send(raw)
    end_of_waiting = time.monotonic() + 10
    while server.post("GetSecretValue", {"SecretId": name}).status != 200:
        assert time.monotonic() < end_of_waiting
    assert served(server)


@pytest.fixture(scope="module", autouse=True)
def lingering(server: Server) -> Iterator[dict[str, Wire]]:
    """Connections that are opened with the first test of this file, and looked at with its last ones."""
    with ExitStack() as stack:
        found = {kind: stack.enter_context(server.wire(60)) for kind in ("silent", "trickling", "between", "after")}
        over = threading.Event()
        found["trickling"].send(b"POST / HTTP/1.1\r\n")
        for kind, operation in {"between": "ListSecrets", "after": "DescribeSecret"}.items():
            found[kind].send(server.bytes_of(server.signed(operation, {"SecretId": "x"})))
            assert found[kind].reply()[0] in (200, 400)
            found[kind].send(b"\r\n")  # which HTTP allows before a request

        def trickle() -> None:
            with suppress(OSError):
                while not over.wait(0.5):
                    found["trickling"].send(b"X")

        thread = threading.Thread(target=trickle)
        thread.start()
        began = time.monotonic()
        yield found
        over.set()
        thread.join()
        assert time.monotonic() - began < 600


# --- anything at all -------------------------------------------------------------------------------------------------


def documents(shape: Shape) -> st.SearchStrategy[Any]:
    """Values of a shape, most of them near its bounds, some of another kind altogether."""
    return st.one_of(_right(shape), _right(shape), _right(shape), ANYTHING)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
KNOWN = ["full", "empty", "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS", "us-east-1", "eu-west-1", "rate(4 hours)",
         "cron(0 8 * * ? *)", "default", "name", "!x", "x" * 32, "alias/aws/secretsmanager", "3h",
         "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user",
         "arn:aws:secretsmanager:us-east-1:123456789012:secret:full-aaaaaa", "", "é", "\x00", "\ud800"]  # fmt: skip


def _right(shape: Shape) -> st.SearchStrategy[Any]:
    if isinstance(shape, StructureShape):
        members = {member: documents(kind) for member, kind in shape.members.items()}
        needed = {member: members.pop(member) for member in shape.required_members}
        return st.fixed_dictionaries(needed, optional=members)
    if isinstance(shape, ListShape):
        return st.lists(documents(shape.member), max_size=4)
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 64)
    return {
        "string": st.sampled_from([*KNOWN, *shape.metadata.get("enum", [])])
        | st.text(min_size=min(low, 40), max_size=min(high, 80)),
        "boolean": st.booleans(),
        "integer": st.integers(low - 2, high + 2) | st.integers(),
        "long": st.integers(-3, 40) | st.integers(),
        "blob": st.binary(max_size=64).map(lambda data: base64.b64encode(data).decode()),
    }[shape.type_name]


REQUESTS = st.sampled_from(OPERATIONS).flatmap(
    lambda operation: st.tuples(st.just(operation), documents(MODEL.operation_model(operation).input_shape))
)


@pytest.fixture(scope="module")
def playground(server: Server) -> str:
    """A Region with a secret that has a value, and one that has none."""
    region = fresh_region()
    server.client(region).create_secret(Name="full", SecretString="v")
    server.client(region).create_secret(Name="empty")
    return region


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS)
def test_no_request_is_a_fault_of_the_server(server: Server, playground: str, request: tuple[str, Any]) -> None:
    """Requests generated from the model, right, almost right and wrong: an answer or a caller's error, never a 500."""
    operation, document = request
    answer = server.post(operation, json.dumps(document).encode(), region=playground)
    assert answer.status in (200, 400), (operation, document, answer)
    assert answer.status == 200 or answer.error[0] != "UnknownOperationException"


def test_whatever_was_left_behind_is_whole(server: Server, playground: str) -> None:
    """Every secret that the requests above made or changed can be described, and read where it has a value."""
    api = server.client(playground)
    for page in api.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True):
        for entry in page["SecretList"]:
            _check_whole(api, entry)


def _check_whole(api: Any, entry: dict[str, Any]) -> None:
    described = api.describe_secret(SecretId=entry["ARN"])
    assert entry.get("SecretVersionsToStages") == described.get("VersionIdsToStages")
    if "DeletedDate" in entry:
        return
    for version, labels in described.get("VersionIdsToStages", {}).items():
        read = api.get_secret_value(SecretId=entry["ARN"], VersionId=version)
        assert set(labels) == set(read["VersionStages"])


# --- the end ---------------------------------------------------------------------------------------------------------


def memory(server: Server) -> int:
    """The resident memory of the server's processes, in bytes."""
    group = server.process.pid
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += int(fields[21]) * 4096
    return total


def test_memory_does_not_grow_without_bound(server: Server) -> None:
    """Of hundreds of large bad requests and of as many connections little is left."""
    large = b'{"SecretId": "' + b"x" * 900_000 + b'"}'

    def abuse(_: int) -> None:
        server.post("DescribeSecret", large)
        server.post("ListSecrets", {"NextToken": "x" * 4096, "Unknown": ["y" * 1000] * 500})
        with server.wire() as connection:
            connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)

    def abuse_100_times() -> int:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(abuse, range(100)))
        return memory(server)

    abuse_100_times()  # what is reached once is kept
    before = abuse_100_times()
    assert abuse_100_times() - before < 32_000_000
    assert served(server)


@pytest.mark.parametrize("kind", ["silent", "trickling", "between", "after"])
def test_a_connection_that_never_asks_is_closed(server: Server, lingering: dict[str, Wire], kind: str) -> None:
    """Without a byte, with a head that never ends, and after an answer with a line that begins no request."""
    connection = lingering[kind]
    began = time.monotonic()
    assert connection.closed()
    assert time.monotonic() - began < HEAD_SECONDS + 5


def test_the_server_still_serves(server: Server, api: Any, name: str) -> None:
    """After all of this: it has not been started again, and writes and reads."""
    assert server.process.alive
    api.create_secret(Name=name, SecretString="v")
    assert api.get_secret_value(SecretId=name)["SecretString"] == "v"
