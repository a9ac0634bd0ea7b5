"""Bodies from AWS's own service models: right ones, and ones spoiled in every way that JSON and the models know.

An operation is named by its `X-Amz-Target`.
"""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StructureShape

MODELS = {
    f"{model.metadata['targetPrefix']}.": model
    for model in map(botocore.session.get_session().get_service_model, ("secretsmanager", "kms"))
}
OPERATIONS: list[str] = sorted(prefix + name for prefix, model in MODELS.items() for name in model.operation_names)
CANARY = "kwcanary7f3a"  # in every secret value that is sent: it must stand in no log
_SECRET = {"SecretString", "SecretBinary"}
_ODD_TEXTS = (
    "", " ", "\0", "a\0b", "\u202e\u2066evil", "\ufeffx", "\u2028", "\U0010ffff", "é́́́", "İ", "ß" * 40,
    "../../etc/passwd",
    "'; DROP TABLE secrets; --", "%s%n{0}", "arn:aws:secretsmanager:us-east-1:123456789012:secret:", "arn:", "-", "/",
    "AWSCURRENT", "AWSPENDING", "rate(0 days)", "cron(0 0 * * ? *)", "9" * 400, "{", "\\", "\x7f", "\n\r\t",
)  # fmt: skip
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1.5, -0.0, 1e308, "", "1", "true", [], {}, [[]],
    [None], {"": None}, [{}], {"a": []},
)  # fmt: skip
# Written into a body in the place of a value: what json.dumps never writes.
_ODD_TOKENS = (
    "NaN", "-Infinity", "1e999999", "-1e999999", "1" + "0" * 4000, "0x10", "01", "+1", ".5", "1.", "tru", "undefined",
    "'x'",
    '"\\ud800"', '"\\udc00\\ud800"', '"\\x41"', '"\\u00"', '"unended', '"a\tb"', '"\\u0000"', "[" * 2000 + "]" * 2000,
    '{"a":' * 900 + "1" + "}" * 900, "[" * 50_000, "/**/1", "", ",",
)  # fmt: skip
# Finding the primes of an RSA key takes seconds.
_QUICK_SPECS = ("SYMMETRIC_DEFAULT", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "HMAC_256", "ML_KEM_768", "ML_DSA_44")
# What the keys that there are can do, so that some requests are carried out.
_LIKELY = {
    "SigningAlgorithm": "ECDSA_SHA_256",
    "MacAlgorithm": "HMAC_SHA_256",
    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
}
Draw = random.Random


@dataclass
class Names:
    """What is there, or may be: secrets by their names, keys by their ids and aliases, and ciphertexts."""

    secrets: list[str]
    keys: list[str] = field(default_factory=lambda: ["alias/fuzz"])
    ciphertexts: list[str] = field(default_factory=list)


def shape_of(operation: str) -> StructureShape:
    """The operation's request."""
    prefix, _, name = operation.rpartition(".")
    shape: StructureShape = MODELS[f"{prefix}."].operation_model(name).input_shape
    return shape


def document(draw: Draw, operation: str, names: Names) -> dict[str, Any]:
    """A document that keeps every constraint of the model, with some of the members that may be left out."""
    shape = shape_of(operation)
    made: dict[str, Any] = _valid(draw, shape, "", names)
    return made


def _valid(draw: Draw, shape: Shape, member: str, names: Names) -> Any:
    if isinstance(shape, StructureShape):
        kept = [each for each in shape.members if each in shape.required_members or draw.random() < 0.35]
        return {each: _valid(draw, shape.members[each], each, names) for each in kept}
    if isinstance(shape, ListShape):
        count = draw.randint(max(shape.metadata.get("min", 0), 1), 3)
        return [_valid(draw, shape.member, member, names) for _ in range(count)]
    if shape.type_name == "string":
        return _text(draw, shape, member, names)
    if isinstance(shape, MapShape):
        return {draw.choice("abc"): draw.choice("xyz") for _ in range(draw.randrange(3))}
    if shape.type_name == "timestamp":
        return draw.choice([0, 1.5, 2e9, -1, 1e300])
    if member == "CiphertextBlob" and names.ciphertexts and draw.random() < 0.8:
        return draw.choice(names.ciphertexts)
    if shape.type_name == "blob":
        return base64.b64encode(CANARY.encode() + draw.randbytes(draw.randrange(64))).decode()
    if shape.type_name in ("integer", "long"):
        return draw.randint(shape.metadata.get("min", 0), min(shape.metadata.get("max", 100), 2**40))
    return draw.random() < 0.5


def _text(draw: Draw, shape: Shape, member: str, names: Names) -> str:
    if member in ("KeySpec", "KeyPairSpec", "CustomerMasterKeySpec") and draw.random() < 0.95:
        quick = [spec for spec in _QUICK_SPECS if spec in shape.metadata["enum"]]
        return str(draw.choice(quick or shape.metadata["enum"]))
    if member in _LIKELY and draw.random() < 0.8:
        return _LIKELY[member]
    if shape.metadata.get("enum"):
        return str(draw.choice(shape.metadata["enum"]))
    known: dict[str, Callable[[], str]] = {
        "SecretId": lambda: draw.choice(names.secrets),
        "Name": lambda: draw.choice(names.secrets),
        "KeyId": lambda: draw.choice(names.keys),
        "SourceKeyId": lambda: draw.choice(names.keys),
        "DestinationKeyId": lambda: draw.choice(names.keys),
        "TargetKeyId": lambda: draw.choice(names.keys),
        "AliasName": lambda: f"alias/fuzz-{draw.randrange(4)}",
        "Policy": lambda: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*"}]}',
        "SecretString": lambda: CANARY + "".join(draw.choices(string.printable, k=draw.randrange(64))),
        "ClientRequestToken": lambda: str(uuid.UUID(int=draw.getrandbits(128))),
        "VersionStages": lambda: draw.choice(["AWSCURRENT", "AWSPENDING", "blue"]),
        "VersionStage": lambda: draw.choice(["AWSCURRENT", "AWSPREVIOUS", "blue"]),
        "ScheduleExpression": lambda: draw.choice(["rate(4 hours)", "cron(0 8 1 * ? *)", "rate(10 days)"]),
        "RotationLambdaARN": lambda: "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user",
        "ResourcePolicy": lambda: '{"Version":"2012-10-17","Statement":[]}',
    }
    if member in known and draw.random() < 0.9:
        return known[member]()
    least: int = max(shape.metadata.get("min", 1), 1)
    return draw.choice("xyzw") * least


# --- spoiled -------------------------------------------------------------------------------------------------------


def body(draw: Draw, operation: str, names: Names) -> bytes:
    """A body of the operation, right or spoiled in one of the ways below."""
    made = document(draw, operation, names)
    return draw.choice(_WAYS)(draw, operation, made)


def _right(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    return json.dumps(made).encode()


def _wrong_type(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    _place(draw, made, operation, draw.choice(_ODD_VALUES))
    return json.dumps(made).encode()


def _odd_text(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    _place(draw, made, operation, draw.choice(_ODD_TEXTS))
    return json.dumps(made, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")


def _missing(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    for member in draw.sample(sorted(made), min(len(made), draw.randint(1, 2))):
        del made[member]
    return json.dumps(made).encode()


def _unknown(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    made[draw.choice(["secretId", "Unknown", "", "__proto__", "\0", "SecretId "])] = draw.choice(_ODD_VALUES)
    return json.dumps(made).encode()


def _twice(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    pairs = list(made.items()) or [("SecretId", "x")]
    pairs.append((draw.choice(pairs)[0], draw.choice([*_ODD_VALUES, "y"])))
    draw.shuffle(pairs)
    return b"{" + b",".join(json.dumps(k).encode() + b":" + json.dumps(v).encode() for k, v in pairs) + b"}"


def _border(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    """A member, at any depth, one under, at, or one over a bound of the model."""
    bounded = list(_bounded(shape_of(operation), lambda value: value))
    if bounded:
        member, kind, inside = draw.choice(bounded)
        bound = kind.metadata[draw.choice(sorted({"min", "max"} & set(kind.metadata)))] + draw.randint(-1, 1)
        made |= inside(_sized(draw, member, kind, bound))
    return json.dumps(made, ensure_ascii=False).encode()


def _bounded(shape: Shape, inside: Callable[[Any], Any]) -> Iterator[tuple[str, Shape, Callable[[Any], Any]]]:
    """Each member with a bound, and what makes a document of a value for it."""
    for member, kind in shape.members.items() if isinstance(shape, StructureShape) else ():
        within = partial(_inside, inside, member)
        if {"min", "max"} & set(kind.metadata):
            yield member, kind, within
        item = kind.member if isinstance(kind, ListShape) else kind
        wrapped = partial(_item, within) if isinstance(kind, ListShape) else within
        if isinstance(kind, ListShape) and {"min", "max"} & set(item.metadata):
            yield member, item, wrapped
        yield from _bounded(item, wrapped)


def _inside(outer: Callable[[Any], Any], member: str, value: Any) -> Any:
    return outer({member: value})


def _item(outer: Callable[[Any], Any], value: Any) -> Any:
    return outer([value])


def _sized(draw: Draw, member: str, kind: Shape, size: int) -> Any:
    size = min(size, 300_000) if kind.type_name != "long" else size
    if isinstance(kind, ListShape):
        return [_valid(draw, kind.member, member, Names(["x"]))] * max(size, 0)
    if kind.type_name == "string":
        return (draw.choice(["x", "é", "\U0001f511", "-"]) * max(size, 0))[: max(size, 0)]
    if kind.type_name == "blob":
        return base64.b64encode(b"x" * max(size, 0)).decode()
    return size


def _huge(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    _place(draw, made, operation, draw.choice(["x", "é", '"', "\\"]) * draw.choice([2049, 65_537, 300_000]))
    return json.dumps(made).encode()


def _odd_token(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    _place(draw, made, operation, "@@")
    return json.dumps(made).encode().replace(b'"@@"', draw.choice(_ODD_TOKENS).encode())


def _odd_bytes(draw: Draw, operation: str, made: dict[str, Any]) -> bytes:
    """Bytes changed, cut off, put before or behind; other encodings of the same text."""
    raw = json.dumps(made).encode()
    at = draw.randrange(len(raw) + 1)
    return draw.choice(
        [
            raw[:at],
            raw[:at] + draw.randbytes(draw.randint(1, 8)) + raw[at:],
            raw[:at] + draw.choice([b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\x1b", b"\\"]) + raw[at + 1 :],
            b"\xef\xbb\xbf" + raw,
            raw.decode().encode("utf-16"),
            raw + raw,
            b" " * 5000 + raw,
            b"[" + raw + b"]",
            b"",
            draw.randbytes(draw.randrange(200)),
        ]
    )


_WAYS: tuple[Callable[[Draw, str, dict[str, Any]], bytes], ...] = (
    _right, _right, _right, _wrong_type, _wrong_type, _odd_text, _odd_text, _missing, _unknown, _twice, _border,
    _border, _huge, _odd_token, _odd_token, _odd_bytes,
)  # fmt: skip


def _place(draw: Draw, made: dict[str, Any], operation: str, value: Any) -> None:
    """Put the value in the place of some member, at any depth. A long text for a secret keeps its mark."""
    members = shape_of(operation).members
    member = draw.choice(sorted(members)) if members else "SecretId"
    inner, kind = made.get(member), members.get(member)
    if isinstance(inner, dict) and inner and draw.random() < 0.6:
        inner[draw.choice(sorted(inner))] = value
    elif isinstance(inner, list) and inner and draw.random() < 0.6:
        if isinstance(inner[0], dict) and inner[0] and draw.random() < 0.6:
            inner[0][draw.choice(sorted(inner[0]))] = value
        else:
            inner[0] = value
    elif isinstance(kind, ListShape) and isinstance(value, str) and draw.random() < 0.3:
        made[member] = [value]
    else:
        made[member] = CANARY + value if member in _SECRET and isinstance(value, str) and value != "@@" else value
