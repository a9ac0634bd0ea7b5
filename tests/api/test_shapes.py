"""The generated shapes against the model that they came from, which is the only judge here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec
import pytest
from botocore.loaders import Loader
from rich.pretty import pretty_repr

from keywheel.api import wire
from keywheel.api.secretsmanager import shapes
from keywheel.errors import ValidationFailed
from tools import generate_shapes

MODEL = Loader().load_service_model("secretsmanager", "service-2")
OPERATIONS = sorted(MODEL["operations"])
WITH_RESPONSE = [name for name in OPERATIONS if "output" in MODEL["operations"][name]]
PATTERNED = {"DurationType": "2h", "RegionType": "eu-west-1"}  # the other patterns are content with letters
SECRET = "S3cr3t"
SAMPLES: dict[str, Any] = {"blob": "UzNjcjN0", "boolean": False, "timestamp": 1.5}  # the blob is the secret, too


def sample(name: str, *, full: bool) -> Any:
    """A valid value of the model's shape; a structure has all its members, or only the required ones."""
    shape = MODEL["shapes"][name]
    match shape["type"]:
        case "structure":
            members = shape["members"] if full else shape.get("required", [])
            return {member: sample(shape["members"][member]["shape"], full=full) for member in members}
        case "list":
            return [sample(shape["member"]["shape"], full=full)]
        case "map":
            return {sample(shape["key"]["shape"], full=full): sample(shape["value"]["shape"], full=full)}
        case "integer" | "long":
            return shape.get("min", 7)
        case "string" if shape.get("sensitive"):
            return SECRET.ljust(shape.get("min", 0), "x")
        case "string":
            return shape.get("enum", [PATTERNED.get(name) or "s" * max(shape.get("min", 0), 1)])[0]
        case other:
            return SAMPLES[other]


# --- the file ----------------------------------------------------------------------------------------------------


def test_the_committed_file_is_what_the_generator_writes() -> None:
    """`--check` finds nothing to change with the botocore that is installed."""
    run = subprocess.run(
        [sys.executable, generate_shapes.__file__, "--check"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_stale_file_fails_the_check_with_a_diff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` exits 1, shows both lines, and leaves the file alone."""
    stale = generate_shapes.generate().replace("Meta(ge=1, le=1000)", "Meta(ge=1, le=999)")
    monkeypatch.setattr(generate_shapes, "TARGET", tmp_path / "shapes.py")
    generate_shapes.TARGET.write_text(stale)

    assert generate_shapes.main(["--check"]) == 1

    shown = capsys.readouterr().out
    assert "-AutomaticallyRotateAfterDaysType: TypeAlias = Annotated[int, Meta(ge=1, le=999)]" in shown
    assert "+AutomaticallyRotateAfterDaysType: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]" in shown
    assert stale == generate_shapes.TARGET.read_text()


def test_a_missing_file_fails_the_check_and_is_written_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the generator has written passes its own check."""
    monkeypatch.setattr(generate_shapes, "TARGET", tmp_path / "shapes.py")
    assert [generate_shapes.main(arguments) for arguments in (["--check"], [], ["--check"])] == [1, 0, 0]


def test_a_newer_botocore_with_the_same_model_is_no_change() -> None:
    """The version in the header says what the file was made from, and is not compared."""
    generated = generate_shapes.generate()
    assert (
        generate_shapes.difference(generated.replace("# Source: botocore 1.", "# Source: botocore 0."), generated) == []
    )


def test_every_override_names_a_shape_of_the_model_and_its_reason() -> None:
    """A constraint that the model no longer has is not dropped by an entry that nobody misses."""
    for name, (dropped, reason) in generate_shapes.OVERRIDES.items():
        assert dropped <= MODEL["shapes"][name].keys()
        assert reason


# --- the tables --------------------------------------------------------------------------------------------------


def test_the_operations_are_those_of_the_model() -> None:
    """Each operation stands there with its own request, and with its response if it has one."""
    expected = {
        name: (operation["input"]["shape"], operation.get("output", {}).get("shape"))
        for name, operation in MODEL["operations"].items()
    }
    actual = {name: (req.__name__, resp and resp.__name__) for name, (req, resp) in shapes.OPERATIONS.items()}
    assert expected == actual
    assert len(actual) == 26


def test_the_modelled_errors_are_those_of_the_model() -> None:
    """Every exception of the model, and nothing else."""
    assert {name for name, shape in MODEL["shapes"].items() if shape.get("exception")} == shapes.MODELED_ERRORS


# --- the members -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True], ids=["minimal", "full"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_valid_request_is_decoded_with_all_that_it_says(operation: str, full: bool) -> None:
    """Every member of the model has a place: what was decoded is encoded again as it came."""
    request, _ = shapes.OPERATIONS[operation]
    document = sample(request.__name__, full=full)
    assert document == msgspec.json.decode(wire.encode(wire.decode(msgspec.json.encode(document), request)))


@pytest.mark.parametrize("operation", WITH_RESPONSE)
def test_a_response_says_all_that_the_model_knows(operation: str) -> None:
    """Every member of the model is written under its own name."""
    response = shapes.OPERATIONS[operation][1]
    assert response
    document = sample(response.__name__, full=True)
    assert document == msgspec.json.decode(wire.encode(msgspec.convert(document, response)))


@pytest.mark.parametrize("operation", WITH_RESPONSE)
def test_a_response_is_not_constrained(operation: str) -> None:
    """What we say ourselves is checked by nobody."""
    response = shapes.OPERATIONS[operation][1]
    assert "Meta(" not in repr(get_type_hints(response, include_extras=True))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_shape_prints_a_sensitive_member(operation: str) -> None:
    """Neither repr nor rich shows a secret value, also where it is part of another shape."""
    for shape in filter(None, shapes.OPERATIONS[operation]):
        held = msgspec.convert(sample(shape.__name__, full=True), shape)
        for text in (repr(held), str(held), f"{held}", pretty_repr(held)):
            assert SECRET not in text


# --- the constraints ---------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A member somewhere in a request: its shape, its name in AWS's messages, and a request around its value."""

    shape: str
    path: str
    around: Callable[[Any], Any]


def places(name: str, path: str = "") -> Iterator[Place]:
    """The place itself, and every place below it."""
    yield Place(name, path, lambda value: value)
    shape = MODEL["shapes"][name]
    for member, reference in shape.get("members", {}).items():
        for place in places(reference["shape"], f"{path}.{member[0].lower()}{member[1:]}".removeprefix(".")):
            yield place._replace(around=in_structure(name, member, place.around))
    if shape["type"] == "list" and MODEL["shapes"][shape["member"]["shape"]]["type"] == "structure":
        for place in places(shape["member"]["shape"], f"{path}.1.member"):
            yield place._replace(around=in_list(place.around))


def in_structure(name: str, member: str, inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: sample(name, full=False) | {member: inner(value)}


def in_list(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: [inner(value)]


def of_size(name: str, size: int) -> Any:
    """A value of the shape that is this long, or this big."""
    shape = MODEL["shapes"][name]
    match shape["type"]:
        case "integer" | "long":
            return size
        case "list":
            return [sample(shape["member"]["shape"], full=False)] * size
        case "blob":
            return msgspec.to_builtins(b"s" * size)
        case _ if name == "DurationType":
            return "h".rjust(size, "2")
        case _:
            return PATTERNED.get(name, "").rjust(size, "s")[-size:] if size else ""


def bad_values(name: str) -> Iterator[tuple[str, Any, str]]:
    """The name of each constraint of the model's shape, a value that breaks it, and AWS's words for that."""
    shape = MODEL["shapes"][name]
    noun = "value" if shape["type"] in {"integer", "long"} else "length"
    if "max" in shape:
        yield "max", of_size(name, shape["max"] + 1), f"Member must have {noun} less than or equal to {shape['max']}"
    if shape.get("min", 0) > 0:
        yield "min", of_size(name, shape["min"] - 1), f"Member must have {noun} greater than or equal to {shape['min']}"
    if "pattern" in shape:
        text = "\u0663\n".rjust(shape.get("min", 1), "a")  # a digit, but not to Java; a line end after the match
        yield "pattern", text, f"Member must satisfy regular expression pattern: {shape['pattern']}"
    if "enum" in shape:
        yield "enum", "?", f"Member must satisfy enum value set: [{', '.join(sorted(shape['enum']))}]"


def shown(name: str, value: Any) -> str:
    """How AWS quotes the value."""
    if not isinstance(value, list):
        return "Value" if MODEL["shapes"][name].get("sensitive") else f"Value '{value}'"
    return "Value" if value and isinstance(value[0], dict) else f"Value '[{', '.join(value)}]'"


def every_place() -> Iterator[tuple[str, Place]]:
    for operation in OPERATIONS:
        for place in places(MODEL["operations"][operation]["input"]["shape"]):
            if place.shape not in generate_shapes.OVERRIDES:
                yield operation, place


BREACHES = [
    pytest.param(
        operation,
        place.around(value),
        f"{shown(place.shape, value)} at '{place.path}'",
        words,
        id=f"{operation}.{place.path}-{constraint}",
    )
    for operation, place in every_place()
    for constraint, value, words in bad_values(place.shape)
]
LIMITS = [  # the samples are as short as they may be
    pytest.param(operation, place.around(of_size(place.shape, limit)), id=f"{operation}.{place.path}")
    for operation, place in every_place()
    if (limit := MODEL["shapes"][place.shape].get("max"))
]


@pytest.mark.parametrize(("operation", "document", "member", "words"), BREACHES)
def test_a_breach_of_the_model_is_refused_in_the_words_of_aws(
    operation: str, document: dict[str, Any], member: str, words: str
) -> None:
    """One step over any bound of the model is a validation error that names the member and the bound."""
    with pytest.raises(ValidationFailed) as refused:
        wire.decode(msgspec.json.encode(document), shapes.OPERATIONS[operation][0])
    assert f"{member} failed to satisfy constraint: {words}" in refused.value.message


@pytest.mark.parametrize(("operation", "document"), LIMITS)
def test_a_value_at_the_limit_is_accepted(operation: str, document: dict[str, Any]) -> None:
    """The bounds of the model are inclusive."""
    assert wire.decode(msgspec.json.encode(document), shapes.OPERATIONS[operation][0])


@pytest.mark.parametrize("token", ["", "short", "t" * 65])
def test_a_token_of_any_length_is_left_to_the_service(token: str) -> None:
    """Secrets Manager words this refusal itself, as InvalidParameterException."""
    body = msgspec.json.encode({"Name": "db", "ClientRequestToken": token})
    assert token == wire.decode(body, shapes.CreateSecretRequest).client_request_token
