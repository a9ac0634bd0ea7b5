"""A sensitive value never prints itself, whatever is done with it."""

from __future__ import annotations

import copy
import hmac
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, cast

import msgspec
import pytest
import structlog

from keywheel.sensitive import Sensitive

PLAIN = "hunter2-the-password"
VALUES: list[Sensitive[Any]] = [Sensitive(PLAIN), Sensitive(PLAIN.encode())]


@dataclass(frozen=True)
class Holder:
    """Something with a sensitive field."""

    name: str
    secret: Sensitive[str]


def logged(value: object) -> str:
    stream = io.StringIO()
    log = logging.getLogger("tests.sensitive")
    log.addHandler(logging.StreamHandler(stream))
    log.error("%s %r", value, value, extra={"value": value})
    log.handlers.clear()
    return stream.getvalue()


def logged_by_structlog(value: object) -> str:
    stream = io.StringIO()
    processors = [structlog.processors.JSONRenderer()]
    structlog.wrap_logger(structlog.PrintLogger(stream), processors=processors).error(
        "event", value=value, many=[value]
    )
    return stream.getvalue()


def traced(value: Sensitive[Any]) -> str:
    def fail(secret: Sensitive[Any]) -> None:
        holder = Holder("a", secret)
        raise LookupError(secret, holder)

    try:
        fail(value)
    except LookupError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError("unreachable")


PRINTS: dict[str, Callable[[Sensitive[Any]], str]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": format,
    "format with a width": lambda value: f"{value:>40}",
    "f-string": lambda value: f"{value} {value!r} {value!s} {value=}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031 - this way of printing, too
    "in a list": lambda value: str([value]),
    "in a dict": lambda value: str({"a": value}),
    "in a dataclass": lambda value: str(Holder("a", value)),
    "in an exception": lambda value: str(LookupError(value)) + repr(LookupError(value)),
    "in a traceback with locals": traced,
    "logging": logged,
    "structlog": logged_by_structlog,
    "json with a default": lambda value: json.dumps({"a": value}, default=str),
}


@pytest.mark.parametrize("way", PRINTS)
@pytest.mark.parametrize("value", VALUES, ids=["str", "bytes"])
def test_it_does_not_print_itself(value: Sensitive[Any], way: str) -> None:
    """By any way of printing; a sign stands in its place."""
    text = PRINTS[way](value)
    assert "hunter2" not in text
    assert "Sensitive(" in text


LEAVES: dict[str, Callable[[Sensitive[Any]], object]] = {
    "pickle": pickle.dumps,
    "json": json.dumps,
    "msgspec": msgspec.json.encode,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "hash": hash,
    "a dict of a dataclass": lambda value: asdict(Holder("a", value)),
    "iteration": lambda value: list(cast(Any, value)),
    "concatenation": lambda value: cast(Any, value) + "",
    "its attributes": vars,
}


@pytest.mark.parametrize("way", LEAVES)
@pytest.mark.parametrize("value", VALUES, ids=["str", "bytes"])
def test_it_does_not_leave_by(value: Sensitive[Any], way: str) -> None:
    """What would write it somewhere, or make another thing of it, fails and does not quote it."""
    with pytest.raises(TypeError) as caught:
        LEAVES[way](value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("plain", [PLAIN, PLAIN.encode(), "", b""])
def test_it_gives_its_value_when_asked(plain: Any) -> None:
    """As it is."""
    assert Sensitive(plain).reveal() == plain


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (Sensitive("a"), Sensitive("a"), True),
        (Sensitive("a"), Sensitive("b"), False),
        (Sensitive("a"), Sensitive("aa"), False),
        (Sensitive("é"), Sensitive("é"), True),
        (Sensitive(b"\xff"), Sensitive(b"\xff"), True),
        (Sensitive(""), Sensitive(""), True),
        (Sensitive("a"), "a", False),
        (Sensitive("a"), None, False),
    ],
)
def test_it_compares_by_value_with_its_like_alone(one: object, other: object, equal: bool) -> None:
    """A plain string is never equal to it, so that nobody is tempted to keep one."""
    assert ((one == other), (one != other)) == (equal, not equal)


def test_it_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of a guess is right does not show in the time."""
    asked: list[tuple[bytes, bytes]] = []

    def spied(one: bytes, other: bytes) -> bool:
        asked.append((one, other))
        return True

    monkeypatch.setattr(hmac, "compare_digest", spied)
    assert Sensitive("a") == Sensitive("b")
    assert asked == [(b"a", b"b")]


@pytest.mark.parametrize(("plain", "true"), [("", False), (b"", False), ("a", True), (b"\0", True)])
def test_it_is_true_when_there_is_something(plain: Any, true: bool) -> None:
    """As its value is."""
    assert bool(Sensitive(plain)) is true
