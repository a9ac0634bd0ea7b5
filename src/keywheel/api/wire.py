"""AWS JSON 1.1: a body becomes a request; a response or an error becomes a body.

The constraints stand in one place, the generated shapes. msgspec checks them while it decodes. Only a body that it
refuses is walked a second time, along the same shapes, to word the answer as AWS words it (aws-contract 0.9). First
come the JSON types, as at AWS: a member of the wrong type is SerializationException, whatever else is wrong.

Unknown members are ignored, and `null` is an absent member. No answer quotes a sensitive member. Only sensitive text
may hold a NUL character: it is stored as ciphertext, while PostgreSQL's text takes none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Struct, inspect

from keywheel.api.kms import shapes as kms
from keywheel.api.secretsmanager import shapes as secretsmanager
from keywheel.errors import (
    CallerError,
    InvalidParameter,
    KeyStoreError,
    KeyUnavailable,
    SerializationFailed,
    ValidationFailed,
)

S = TypeVar("S", bound=Struct)

EMPTY: Final = b"{}"
# One item of a list can fail on its own, so that a small body could ask for a huge answer.
MOST_ERRORS_TOLD: Final = 100

_ENCODER: Final = msgspec.json.Encoder()
_NUL: Final = b"\\u0000"  # JSON has no other way to write it
_REFUSED_LATER: Final = frozenset({"Name"})  # by the ledger, in AWS's words
# What msgspec raises for bytes that are no JSON, no UTF-8, too deep, or not of the shape.
_REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Service:
    """How one of the two services is signed for, and how it words what goes wrong (aws-contract 0.1, 0.7)."""

    signed_for: frozenset[str]
    modeled_errors: frozenset[str]
    text: str
    """The member that holds an error's text in the service's own model; other errors use `message`."""
    internal_error: str
    bad_text: type[CallerError]
    """What a character is refused with that no text may hold."""
    forms: bool = False
    """Whether it speaks the query protocol: forms and XML (sts/query.py)."""


SECRETS_MANAGER: Final = Service(
    frozenset({"secretsmanager"}), secretsmanager.MODELED_ERRORS, "Message", "InternalServiceError", InvalidParameter
)
KMS: Final = Service(frozenset({"kms"}), kms.MODELED_ERRORS, "message", "KMSInternalException", ValidationFailed)
STS: Final = Service(frozenset({"sts"}), frozenset(), "message", "InternalFailure", ValidationFailed, forms=True)


def decode(body: bytes, shape: type[S], service: Service = SECRETS_MANAGER) -> S:
    """The request in `body`; an empty body counts as `{}`.

    Raises: SerializationFailed, ValidationFailed; the service's own error for a NUL character.
    """
    try:
        request: S = _decoder(shape).decode(body or EMPTY)
    except _REFUSALS:
        pass  # and leave the handler: msgspec's error quotes the body, so ours must not carry it as its context
    else:
        if _NUL in body:
            named = _first_with_nul(msgspec.to_builtins(request), _structure(shape))
            if named is not None:
                raise service.bad_text(f"{named} can't hold a NUL character.")
        return request
    raise _refusal(body or EMPTY, shape)


@functools.cache  # one for each request shape there is
def _decoder(shape: type[Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def encode(response: Struct | None) -> bytes:
    """The body of a response. An operation without an output shape answers `{}`, which every SDK accepts."""
    return EMPTY if response is None else _ENCODER.encode(response)


def error_code(error: Exception, service: Service = SECRETS_MANAGER) -> str:
    """The AWS code of any error; what is not the caller's to mend is an internal error."""
    if isinstance(error, KeyUnavailable) and error.code in service.modeled_errors:
        return error.code
    return error.code if isinstance(error, CallerError) else service.internal_error


def error_body(error: Exception, service: Service = SECRETS_MANAGER) -> bytes:
    """The body of an error. An error of our own says nothing of itself."""
    code = error_code(error, service)
    told = error.message if isinstance(error, CallerError | KeyStoreError) else "An error occurred on the server side."
    return _ENCODER.encode({"__type": code, service.text if code in service.modeled_errors else "message": told})


# --- why a body was refused, in AWS's words ----------------------------------------------------------------------


def _refusal(body: bytes, shape: type[Struct]) -> CallerError:
    """The error to answer with; a wrong JSON type is raised from further down, and so comes before all else."""
    failures = list(islice(_failures_of_structure(_document(body), _structure(shape), ""), MOST_ERRORS_TOLD))
    if not failures:  # the two readings differ: a member stands twice in the body, and the first is the bad one
        return SerializationFailed()
    errors = "error" if len(failures) == 1 else "errors"
    return ValidationFailed(f"{len(failures)} validation {errors} detected: {'; '.join(failures)}")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except _REFUSALS:
        document = None
    if not isinstance(document, dict):
        raise SerializationFailed
    return document


@functools.cache
def _structure(shape: type[Struct]) -> inspect.StructType:
    return cast("inspect.StructType", inspect.type_info(shape))


def _failures_of_structure(value: dict[str, Any], kind: inspect.StructType, path: str) -> Iterator[str]:
    for field in kind.fields:
        name = field.encode_name[0].lower() + field.encode_name[1:]
        at = f"{path}.{name}" if path else name
        yield from _failures(value.get(field.encode_name), field.type, at, required=field.required)


def _failures(value: Any, declared: inspect.Type, path: str, *, required: bool) -> Iterator[str]:
    kind, sensitive = _unwrapped(declared)
    if value is None:
        if required:
            yield _failure("Value" if sensitive else "Value null", path, "Member must not be null")
        return
    _check_json_type(value, kind)
    if isinstance(kind, inspect.StructType):
        yield from _failures_of_structure(value, kind, path)
        return
    for holds, wording in _constraints(value, kind):
        if not holds:
            yield _failure(_shown(value, kind, sensitive=sensitive), path, wording)
    if isinstance(kind, inspect.ListType):
        yield from _failures_of_items(value, kind.item_type, path)
    if isinstance(kind, inspect.DictType):
        for key, item in value.items():
            yield from _failures(item, kind.value_type, f"{path}.{key}.member", required=True)


def _failures_of_items(items: list[Any], declared: inspect.Type, path: str) -> Iterator[str]:
    """An item that is a structure fails at its own place; simple items fail together, at the list's."""
    kind, sensitive = _unwrapped(declared)
    wordings: list[str] = []
    for index, item in enumerate(items, start=1):
        if item is None or isinstance(kind, inspect.StructType):
            yield from _failures(item, declared, f"{path}.{index}.member", required=True)
            continue
        _check_json_type(item, kind)
        constraints = list(_constraints(item, kind))
        if not all(holds for holds, _ in constraints):
            wordings = [wording for _, wording in constraints]
    if wordings:
        every = f"Member must satisfy constraint: [{', '.join(wordings)}]"
        yield _failure(_shown(items, kind, sensitive=sensitive), path, every)


def _unwrapped(declared: inspect.Type) -> tuple[inspect.Type, bool]:
    """The type without its `| None` and its metadata, and whether it is sensitive."""
    if isinstance(declared, inspect.UnionType):
        return _unwrapped(next(kind for kind in declared.types if not isinstance(kind, inspect.NoneType)))
    if isinstance(declared, inspect.Metadata):
        return declared.type, bool((declared.extra or {}).get("sensitive"))
    return declared, False


def _failure(value: str, path: str, wording: str) -> str:
    return f"{value} at '{path}' failed to satisfy constraint: {wording}"


def _shown(value: Any, kind: inspect.Type, *, sensitive: bool) -> str:
    """The value as AWS quotes it: not at all if it is sensitive, or is a list of structures; of bytes, how many."""
    items = value if isinstance(value, list) else [value]
    if sensitive or any(isinstance(item, dict) for item in items):
        return "Value"
    if isinstance(kind, inspect.BytesType):
        size = len(_blob(value))
        return f"Value 'java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]'"
    text = ", ".join("null" if item is None else str(item) for item in items)
    return f"Value '[{text}]'" if isinstance(value, list) else f"Value '{text}'"


def _constraints(value: Any, kind: inspect.Type) -> Iterator[tuple[bool, str]]:
    """Every constraint of the type, each with whether the value keeps it."""
    match kind:
        case inspect.StrType(min_length, max_length, pattern):
            yield from _bounds(len(value), "length", min_length, max_length)
            if pattern:
                wording = f"Member must satisfy regular expression pattern: {_bare(pattern)}"
                yield re.search(pattern, value) is not None, wording
        case inspect.BytesType(min_length, max_length):
            yield from _bounds(len(_blob(value)), "length", min_length, max_length)
        case inspect.ListType(_, min_length, max_length):
            yield from _bounds(len(value), "length", min_length, max_length)
        case inspect.IntType(ge=low, le=high):
            yield from _bounds(value, "value", low, high)
        case inspect.LiteralType(values):
            yield value in values, f"Member must satisfy enum value set: [{', '.join(map(str, values))}]"


def _bounds(measure: int, noun: str, low: int | None, high: int | None) -> Iterator[tuple[bool, str]]:
    if high is not None:
        yield measure <= high, f"Member must have {noun} less than or equal to {high}"
    if low is not None:
        yield measure >= low, f"Member must have {noun} greater than or equal to {low}"


def _bare(pattern: str) -> str:
    """The regular expression as it stands in the model, without the generator's anchors."""
    return pattern.removeprefix(r"\A(?a:").removesuffix(r")\Z")


def _blob(value: str) -> bytes:
    try:
        return msgspec.convert(value, bytes)
    except msgspec.ValidationError:
        pass
    raise SerializationFailed("Invalid base64 value")


def _first_with_nul(value: Any, declared: inspect.Type, name: str = "") -> str | None:
    """The name of the first member that holds one and must not."""
    kind, sensitive = _unwrapped(declared)
    if value is None or sensitive:
        return None
    if isinstance(kind, inspect.StructType):
        inside = (
            _first_with_nul(value.get(field.encode_name), field.type, field.encode_name)
            for field in kind.fields
            if field.encode_name not in _REFUSED_LATER
        )
    elif isinstance(kind, inspect.ListType):
        inside = (_first_with_nul(item, kind.item_type, name) for item in value)
    else:
        return name if isinstance(value, str) and "\0" in value else None
    return next(filter(None, inside), None)


# --- a member of the wrong JSON type -----------------------------------------------------------------------------

_JSON_TYPES: Final[dict[type[inspect.Type], tuple[type, str]]] = {
    inspect.StrType: (str, "a String"),
    inspect.LiteralType: (str, "a String"),
    inspect.BytesType: (str, "a Blob"),
    inspect.IntType: (int, "an Integer"),
    inspect.FloatType: (float, "a Timestamp"),
    inspect.BoolType: (bool, "a Boolean"),
    inspect.ListType: (list, "a List"),
    inspect.StructType: (dict, "a Structure"),
    inspect.DictType: (dict, "a Map"),
}
_LONG: Final = range(-(2**63), 2**63)  # no integer of the model is wider


def _check_json_type(value: Any, kind: inspect.Type) -> None:
    """Raises: SerializationFailed, in the words that AWS's services use for each mismatch."""
    json_type, wanted = _JSON_TYPES[type(kind)]
    if type(value) is json_type and (json_type is not int or value in _LONG):
        return
    if json_type is float and type(value) is int:  # JSON has one kind of number
        return
    if isinstance(value, dict):
        raise SerializationFailed("Start of structure or map found where not expected.")
    if isinstance(value, list):
        raise SerializationFailed("Start of list found where not expected")
    if json_type in (list, dict):
        raise SerializationFailed("Expected list or null" if json_type is list else "Expected null")
    raise SerializationFailed(f"{_token(value)} can not be converted to {wanted}")


def _token(value: object) -> str:
    """The name that AWS's JSON reader has for this kind of value."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    return "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
