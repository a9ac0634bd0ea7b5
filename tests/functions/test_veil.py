"""What is told of a text that a function wrote."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from keywheel.functions.veil import HIDDEN, WITHHELD, shortened, veiled

VALUE = """it's "a\\b" & <ü/+ 1>"""


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        repr(VALUE)[1:-1],
        json.dumps(VALUE),
        json.dumps({"inner": json.dumps({"password": VALUE})}),
        quote(VALUE),
        quote(VALUE, safe=""),
        quote_plus(VALUE),
        VALUE.replace("'", "''"),
        base64.b64encode(VALUE.encode()).decode(),
    ],
)
def test_a_value_is_hidden_however_it_is_quoted(form: str) -> None:
    """As a literal, in JSON, in an address, in SQL."""
    told = veiled(f"before {form} after", [VALUE])
    assert HIDDEN in told
    assert "it" not in told.replace("after", "").replace("before", "").replace("inner", "")
    assert told.startswith("before ")
    assert told.endswith(" after")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("password=hunter2Hunter2Hunter2!", HIDDEN),
        ("key 9Xh'Qp)vB2$Lw8!kZr4", f"key {HIDDEN}"),
        ("arn:aws:secretsmanager:us-east-1:123456789012:secret:app-AbCd12", None),
        ("botocore.errorfactory.ResourceNotFoundException: no", None),
        ("version ea271130-d3f8-4645-a780-edd5772a5e47.", None),
        ("User: arn:aws:sts::123456789012:assumed-role/turner1/Mine is not authorized", None),
        ("", None),
    ],
)
def test_a_word_that_looks_drawn_is_hidden(text: str, told: str | None) -> None:
    """Names, ARNs and identifiers are told."""
    assert veiled(text, []) == (text if told is None else told)


def test_the_longer_of_two_values_is_hidden_first() -> None:
    """No rest of it stays."""
    assert veiled("a secrets-and-more", ["secrets", "secrets-and-more"]) == f"a {HIDDEN}"


def test_a_value_too_short_to_be_looked_for_withholds_the_text() -> None:
    """It might stand anywhere."""
    assert veiled("port 5432", ["54"]) == WITHHELD
    assert veiled("", ["54"]) == ""


def test_a_long_text_is_cut_after_it_was_veiled() -> None:
    """On one line."""
    assert shortened("a\n b\tc", 10) == "a b c"
    assert shortened("x" * 11, 10) == "x" * 9 + "…"
