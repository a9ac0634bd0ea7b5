"""The vectors beside this file, their bytes decoded."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

_TEXTS = frozenset({"source", "key", "algorithm"})
_HERE = Path(__file__).parent


def wycheproof(section: str) -> list[dict[str, Any]]:
    """A section of wycheproof.json."""
    listed = json.loads((_HERE / "wycheproof.json").read_text(encoding="utf-8"))[section]
    return [_decoded(vector) for vector in listed]


def named(vector: dict[str, Any]) -> str:
    """What a vector is called in a test's name."""
    return f"{vector.get('source') or vector['key'] + ' ' + vector['algorithm']}"


def _decoded(vector: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [_decoded(case) for case in value]
        if isinstance(value, list)
        else base64.b64decode(value)
        if isinstance(value, str) and name not in _TEXTS
        else value
        for name, value in vector.items()
    }
