"""What may be told of a text that a function wrote. Pure.

A function's output and its errors may quote anything, so that:

1. every value that is known to be secret is replaced, in whatever form it is usually quoted;
2. a word that looks as if it were drawn at random (long, with small and capital letters and digits) is replaced, unless
   it is an ARN: it may be a password that nobody wrote down;
3. where a known value is too short to be looked for, nothing is told at all.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN, WITHHELD = "***", "(text withheld)"
_SHORTEST = 4
_WORD = re.compile(r"\S{16,}")
_DRAWN = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])")
_ARN = re.compile(r"[\"'(\[]*arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:[A-Za-z0-9/_+=.@:!*-]+[\"')\],.:;]*")


def veiled(text: str, known: Iterable[str]) -> str:
    """`text` without what is or may be secret."""
    values = {value for value in known if value}
    if any(len(value) < _SHORTEST for value in values):
        return WITHHELD if text else ""
    for form in sorted({form for value in values for form in _forms(value)}, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return _WORD.sub(_word, text)


def shortened(text: str, longest: int) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _word(found: re.Match[str]) -> str:
    word = found[0]
    return HIDDEN if _DRAWN.search(word) and not _ARN.fullmatch(word) else word


def _forms(value: str) -> set[str]:
    escaped = json.dumps(value)[1:-1]
    return {
        value,
        escaped,
        json.dumps(escaped)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        value.replace("'", "''"),
        value.replace('"', '""'),
        html.escape(value),
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        base64.b64encode(value.encode()).decode(),
    }
