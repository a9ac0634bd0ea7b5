"""Whether an answer is one that the service model knows: its members, their JSON types, their enumerations."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "blob": (str,), "boolean": (bool,), "integer": (int,), "long": (int,), "timestamp": (int, float),
}  # fmt: skip


def check(http_response: AWSResponse, model: OperationModel, **_: Any) -> None:
    """A handler of botocore's `after-call`: hold a good answer to the model's output shape."""
    if http_response.status_code == 200:
        document = json.loads(http_response.content)
        if model.output_shape is None:
            assert document == {}
        else:
            list(conforms(model.output_shape, document, model.name))


def members(shape: Shape | None, path: str) -> Iterator[str]:
    """Each member that an answer of the shape may have."""
    if isinstance(shape, ListShape):
        yield from members(shape.member, path)
    elif isinstance(shape, StructureShape):
        for member, kind in shape.members.items():
            yield f"{path}.{member}"
            yield from members(kind, f"{path}.{member}")


def conforms(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """The members that `value` has; fails where it is none of the shape. `path` says where it stands."""
    assert value is not None, path
    if isinstance(shape, StructureShape):
        assert type(value) is dict, path
        assert set(shape.required_members) <= set(value) <= set(shape.members), path
        for member, inner in value.items():
            yield f"{path}.{member}"
            yield from conforms(shape.members[member], inner, f"{path}.{member}")
    elif isinstance(shape, ListShape):
        assert type(value) is list, path
        for item in value:
            yield from conforms(shape.member, item, path)
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from conforms(shape.key, key, path)
            yield from conforms(shape.value, item, path)
    else:
        assert type(value) in JSON_TYPES[shape.type_name], path
        if shape.type_name == "blob":
            base64.b64decode(value, validate=True)
        if "enum" in shape.metadata:
            assert value in shape.metadata["enum"], path
