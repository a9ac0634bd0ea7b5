"""The generated shapes against the models that they came from, which are the only judges here."""

from __future__ import annotations

import base64
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
from keywheel.api.kms import shapes as kms
from keywheel.api.secretsmanager import shapes as secretsmanager
from keywheel.errors import ValidationFailed
from tools import generate_shapes

MODELS = {name: Loader().load_service_model(name, "service-2") for name in ("secretsmanager", "kms")}
SHAPES: dict[str, Any] = {"secretsmanager": secretsmanager, "kms": kms}
OPERATIONS = [(service, name) for service, model in MODELS.items() for name in sorted(model["operations"])]
WITH_RESPONSE = [(service, name) for service, name in OPERATIONS if "output" in MODELS[service]["operations"][name]]
SECRET = "S3cr3t"
SAMPLES: dict[str, Any] = {"blob": "UzNjcjN0", "boolean": False, "timestamp": 1.5}  # the blob is the secret, too
# A text that each pattern is content with, which most are with letters.
PATTERNED = {
    "DurationType": "2h",
    "RegionType": "eu-west-1",
    "AccountIdType": "123456789012",
    "BackingKeyIdType": "a" * 64,
    "CloudHsmClusterIdType": "cluster-abcdefghijk",
    "GrantConstraintSourceArnType": "arn:aws:s3:eu-west-1:123456789012:x",
    "ServicePrincipalType": "s3.amazonaws.com",
    "XksProxyAuthenticationAccessKeyIdType": "ABCDEFGHIJKLMNOPQRST",
    "XksProxyUriEndpointType": "https://example.com",
    "XksProxyUriPathType": "/kms/xks/v1",
    "XksProxyVpcEndpointServiceNameType": "com.amazonaws.vpce.eu-west-1.vpce-svc-1",
}
# Those that a longer text of the same form has to be made for in another way than with letters before it.
GROWN: dict[str, Callable[[int], str]] = {
    "DurationType": lambda size: "h".rjust(size, "2"),
    "AccountIdType": lambda size: "1" * size,
    "BackingKeyIdType": lambda size: "a" * size,
    "CloudHsmClusterIdType": lambda size: "cluster-".ljust(size, "a"),
    "GrantConstraintSourceArnType": lambda size: "arn:aws:s3:eu-west-1:123456789012:".ljust(size, "x")[:size],
    "XksProxyAuthenticationAccessKeyIdType": lambda size: "A" * size,
    "XksProxyUriEndpointType": lambda size: "https://".ljust(size, "x"),
    "XksProxyUriPathType": lambda size: ("/".ljust(size - 11, "x") + "/kms/xks/v1")[-size:],
    "XksProxyVpcEndpointServiceNameType": lambda size: "com.amazonaws.vpce.eu-west-1.vpce-svc-".ljust(size, "a")[:size],
}


def shapes_of(service: str, operation: str) -> tuple[type[msgspec.Struct], type[msgspec.Struct] | None]:
    """The request and the response of an operation."""
    found: tuple[type[msgspec.Struct], type[msgspec.Struct] | None] = SHAPES[service].OPERATIONS[operation]
    return found


def sample(service: str, name: str, *, full: bool) -> Any:
    """A valid value of the model's shape; a structure has all its members, or only the required ones."""
    shape = MODELS[service]["shapes"][name]
    match shape["type"]:
        case "structure":
            members = shape["members"] if full else shape.get("required", [])
            return {member: sample(service, shape["members"][member]["shape"], full=full) for member in members}
        case "list":
            return [sample(service, shape["member"]["shape"], full=full)]
        case "map":
            key, value = (sample(service, shape[part]["shape"], full=full) for part in ("key", "value"))
            return {key: value}
        case "integer" | "long":
            return shape.get("min", 7)
        case "string" if name in PATTERNED:
            return PATTERNED[name]
        case "string" if shape.get("sensitive"):
            return SECRET.ljust(shape.get("min", 0), "x")
        case "string":
            return shape.get("enum", ["s" * max(shape.get("min", 0), 1)])[0]
        case other:
            return SAMPLES[other]


# --- the files ---------------------------------------------------------------------------------------------------


def test_the_committed_files_are_what_the_generator_writes() -> None:
    """`--check` finds nothing to change with the botocore that is installed."""
    run = subprocess.run(
        [sys.executable, generate_shapes.__file__, "--check"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("service", generate_shapes.SERVICES, ids=lambda service: service.name)
def test_a_stale_file_fails_the_check_with_a_diff(
    service: generate_shapes.Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`--check` exits 1, shows both lines, and leaves the file alone."""
    monkeypatch.setattr(generate_shapes, "API", tmp_path)
    generate_shapes.main([])
    right = service.target.read_text()
    bounds = next(line for line in right.splitlines() if "Meta(ge=1, le=10" in line)
    stale = right.replace(bounds, bounds.replace("le=10", "le=99"))
    service.target.write_text(stale)

    assert generate_shapes.main(["--check"]) == 1

    shown = capsys.readouterr().out
    assert f"-{bounds.replace('le=10', 'le=99')}" in shown
    assert f"+{bounds}" in shown
    assert f"{service.name}/shapes.py is stale" in shown
    assert stale == service.target.read_text()


def test_a_missing_file_fails_the_check_and_is_written_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the generator has written passes its own check."""
    monkeypatch.setattr(generate_shapes, "API", tmp_path)
    assert [generate_shapes.main(arguments) for arguments in (["--check"], [], ["--check"])] == [1, 0, 0]


def test_a_newer_botocore_with_the_same_model_is_no_change() -> None:
    """The version in the header says what the file was made from, and is not compared."""
    generated = generate_shapes.generate(generate_shapes.SERVICES[0])
    assert (
        generate_shapes.difference(generated.replace("# Source: botocore 1.", "# Source: botocore 0."), generated) == []
    )


def test_every_override_names_a_shape_of_a_model_and_its_reason() -> None:
    """A constraint that the model no longer has is not dropped by an entry that nobody misses."""
    shapes = MODELS["kms"]["shapes"] | MODELS["secretsmanager"]["shapes"]
    for name, (dropped, reason) in generate_shapes.OVERRIDES.items():
        assert dropped <= shapes[name].keys()
        assert reason


# --- the tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("service", "count"), [("secretsmanager", 26), ("kms", 56)])
def test_the_operations_are_those_of_the_model(service: str, count: int) -> None:
    """Each operation stands there with its own request, and with its response if it has one."""
    expected = {
        name: (operation["input"]["shape"], operation.get("output", {}).get("shape"))
        for name, operation in MODELS[service]["operations"].items()
    }
    table = SHAPES[service].OPERATIONS.items()
    actual = {name: (request.__name__, response and response.__name__) for name, (request, response) in table}
    assert expected == actual
    assert len(actual) == count


@pytest.mark.parametrize("service", MODELS)
def test_the_modelled_errors_are_those_of_the_model(service: str) -> None:
    """Every exception of the model, and nothing else."""
    shapes = MODELS[service]["shapes"]
    assert {name for name, shape in shapes.items() if shape.get("exception")} == SHAPES[service].MODELED_ERRORS


# --- the members -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True], ids=["minimal", "full"])
@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_a_valid_request_is_decoded_with_all_that_it_says(service: str, operation: str, full: bool) -> None:
    """Every member of the model has a place: what was decoded is encoded again as it came."""
    request, _ = shapes_of(service, operation)
    document = sample(service, request.__name__, full=full)
    assert document == msgspec.json.decode(wire.encode(wire.decode(msgspec.json.encode(document), request)))


@pytest.mark.parametrize(("service", "operation"), WITH_RESPONSE)
def test_a_response_says_all_that_the_model_knows(service: str, operation: str) -> None:
    """Every member of the model is written under its own name."""
    _, response = shapes_of(service, operation)
    assert response
    document = sample(service, response.__name__, full=True)
    assert document == msgspec.json.decode(wire.encode(msgspec.convert(document, response)))


@pytest.mark.parametrize(("service", "operation"), WITH_RESPONSE)
def test_a_response_is_not_constrained(service: str, operation: str) -> None:
    """What we say ourselves is checked by nobody."""
    _, response = shapes_of(service, operation)
    assert "Meta(" not in repr(get_type_hints(response, include_extras=True))


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_no_shape_prints_a_sensitive_member(service: str, operation: str) -> None:
    """Neither repr nor rich shows a secret value, also where it is part of another shape."""
    for shape in filter(None, shapes_of(service, operation)):
        members = MODELS[service]["shapes"][shape.__name__]["members"].values()
        if service == "kms" and not any(MODELS[service]["shapes"][m["shape"]].get("sensitive") for m in members):
            continue  # other blobs of KMS, such as ciphertexts, are no secret, and the sample of all is one
        held = msgspec.convert(sample(service, shape.__name__, full=True), shape)
        for text in (repr(held), str(held), f"{held}", pretty_repr(held)):
            assert SECRET not in text


# --- the constraints ---------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A member somewhere in a request: its shape, its name in AWS's messages, and a request around its value."""

    service: str
    shape: str
    path: str
    around: Callable[[Any], Any]

    @property
    def model(self) -> dict[str, Any]:
        """The shape as the model has it."""
        found: dict[str, Any] = MODELS[self.service]["shapes"][self.shape]
        return found


def places(service: str, name: str, path: str = "") -> Iterator[Place]:
    """The place itself, and every place below it."""
    yield Place(service, name, path, lambda value: value)
    shapes = MODELS[service]["shapes"]
    for member, reference in shapes[name].get("members", {}).items():
        for place in places(service, reference["shape"], f"{path}.{member[0].lower()}{member[1:]}".removeprefix(".")):
            yield place._replace(around=in_structure(service, name, member, place.around))
    if shapes[name]["type"] == "list" and shapes[shapes[name]["member"]["shape"]]["type"] == "structure":
        for place in places(service, shapes[name]["member"]["shape"], f"{path}.1.member"):
            yield place._replace(around=in_list(place.around))


def in_structure(service: str, name: str, member: str, inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: sample(service, name, full=False) | {member: inner(value)}


def in_list(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: [inner(value)]


def of_size(place: Place, size: int) -> Any:
    """A value of the shape that is this long, or this big."""
    shape, name = place.model, place.shape
    match shape["type"]:
        case "integer" | "long":
            return size
        case "list":
            return [sample(place.service, shape["member"]["shape"], full=False)] * size
        case "blob":
            return msgspec.to_builtins(b"s" * size)
        case _ if name in GROWN:
            return GROWN[name](size)
        case _:
            return PATTERNED.get(name, "").rjust(size, "s")[-size:] if size else ""


def bad_values(place: Place) -> Iterator[tuple[str, Any, str]]:
    """The name of each constraint of the model's shape, a value that breaks it, and AWS's words for that."""
    shape = place.model
    noun = "value" if shape["type"] in {"integer", "long"} else "length"
    if "max" in shape:
        yield "max", of_size(place, shape["max"] + 1), f"Member must have {noun} less than or equal to {shape['max']}"
    if shape.get("min", 0) > 0:
        words = f"Member must have {noun} greater than or equal to {shape['min']}"
        yield "min", of_size(place, shape["min"] - 1), words
    if "pattern" in shape:
        text = "\u0663\n".rjust(shape.get("min", 1), "a")  # a digit, but not to Java; a line end after the match
        yield "pattern", text, f"Member must satisfy regular expression pattern: {shape['pattern']}"
    if "enum" in shape:
        yield "enum", "?", f"Member must satisfy enum value set: [{', '.join(sorted(shape['enum']))}]"


def shown(place: Place, value: Any) -> str:
    """How AWS quotes the value."""
    if place.model["type"] == "blob" and not place.model.get("sensitive"):
        size = len(base64.b64decode(value))
        return f"Value 'java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]'"
    if not isinstance(value, list):
        return "Value" if place.model.get("sensitive") else f"Value '{value}'"
    return "Value" if value and isinstance(value[0], dict) else f"Value '[{', '.join(value)}]'"


def every_place() -> Iterator[tuple[str, str, Place]]:
    for service, operation in OPERATIONS:
        for place in places(service, MODELS[service]["operations"][operation]["input"]["shape"]):
            if place.shape not in generate_shapes.OVERRIDES:
                yield service, operation, place


BREACHES = [
    pytest.param(
        service,
        operation,
        place.around(value),
        f"{shown(place, value)} at '{place.path}'",
        words,
        id=f"{service}.{operation}.{place.path}-{constraint}",
    )
    for service, operation, place in every_place()
    for constraint, value, words in bad_values(place)
]
LIMITS = [  # the samples are as short as they may be
    pytest.param(service, operation, place.around(of_size(place, limit)), id=f"{service}.{operation}.{place.path}")
    for service, operation, place in every_place()
    if (limit := place.model.get("max"))
]


@pytest.mark.parametrize(("service", "operation", "document", "member", "words"), BREACHES)
def test_a_breach_of_the_model_is_refused_in_the_words_of_aws(
    service: str, operation: str, document: dict[str, Any], member: str, words: str
) -> None:
    """One step over any bound of the model is a validation error that names the member and the bound."""
    with pytest.raises(ValidationFailed) as refused:
        wire.decode(msgspec.json.encode(document), shapes_of(service, operation)[0])
    assert f"{member} failed to satisfy constraint: {words}" in refused.value.message


@pytest.mark.parametrize(("service", "operation", "document"), LIMITS)
def test_a_value_at_the_limit_is_accepted(service: str, operation: str, document: dict[str, Any]) -> None:
    """The bounds of the model are inclusive."""
    assert wire.decode(msgspec.json.encode(document), shapes_of(service, operation)[0])


@pytest.mark.parametrize("token", ["", "short", "t" * 65])
def test_a_token_of_any_length_is_left_to_the_service(token: str) -> None:
    """Secrets Manager words this refusal itself, as InvalidParameterException."""
    body = msgspec.json.encode({"Name": "db", "ClientRequestToken": token})
    assert token == wire.decode(body, secretsmanager.CreateSecretRequest).client_request_token
