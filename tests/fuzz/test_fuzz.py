"""A part of the fuzzing in every test run; `make fuzz` does twenty times as much."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from keywheel.sensitive import Sensitive
from tests.fuzz.__main__ import SEED
from tests.fuzz.campaign import CODES, judged
from tests.fuzz.documents import OPERATIONS, Names
from tests.fuzz.envelopes import Key, envelope
from tests.fuzz.run import abuse
from tests.support.keywheel_server import KeywheelServer

COUNTS = {"sqlite": 4000, "postgresql": 1000}


@pytest.mark.parametrize("store", COUNTS)
def test_no_request_and_no_garbage_brings_the_server_out_of_step(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """No fault, no hang, no leak, no value in the log; ordinary requests are answered rightly all the while."""
    url = None if store == "sqlite" else request.getfixturevalue("postgresql_url")
    with KeywheelServer(tmp_path, url) as server:
        told = abuse(server, count=COUNTS[store], seed=SEED)
    print(told)
    assert told.wrong == []
    assert told.findings.answered["200"] > 0
    assert len(told.findings.kinds) > 10


def test_the_same_seed_draws_the_same_bodies() -> None:
    """So that a failure can be looked at again: only signatures and their times differ."""
    key = Key("AKIAEXAMPLE", Sensitive("secret"), "127.0.0.1:1", "fuzz-1")
    one, other = (random.Random(7) for _ in range(2))
    for _ in range(300):
        first, second = envelope(one, key, Names(["a"])), envelope(other, key, Names(["a"]))
        assert (first.kind, len(OPERATIONS)) == (second.kind, len(OPERATIONS))
        if first.kind == "signed":
            assert first.raw.partition(b"\r\n\r\n")[2] == second.raw.partition(b"\r\n\r\n")[2]


def answer(code: str) -> tuple[dict[str, str], bytes]:
    """An error as the server words it."""
    headers = {"x-amzn-requestid": "1", "content-type": "application/x-amz-json-1.1", "x-amzn-errortype": code}
    return headers, json.dumps({"__type": code, "Message": "m"}).encode()


@pytest.mark.parametrize(
    "code", ["InternalServiceError", "InternalFailure", "KMSInternalException", "SomethingElse", ""]
)
def test_a_wrong_answer_is_found(code: str) -> None:
    """A fault of the server in either spelling, with any status, and codes that nobody knows."""
    assert judged(400, *answer(code))[1] is not None
    assert judged(500, *answer("ValidationException"))[1] is not None
    assert judged(400, *answer("ValidationException"))[1] is None


def test_an_answer_of_another_form_is_found() -> None:
    """No JSON, no text, no id of the request, two codes."""
    headers, body = answer("ValidationException")
    assert "ValidationException" in CODES
    assert judged(400, headers, b"oops")[1] is not None
    assert judged(400, headers, b'{"__type": "ValidationException"}')[1] is not None
    assert (
        judged(400, {name: text for name, text in headers.items() if name != "x-amzn-requestid"}, body)[1] is not None
    )
    assert judged(400, headers | {"x-amzn-errortype": "Other"}, body)[1] is not None
