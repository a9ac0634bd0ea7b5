"""The head of a blob, and an encryption context as bytes."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.errors import DecryptionFailure
from keywheel.keys import ciphertext

KEY_ID = "01234567-89ab-cdef-0123-456789abcdef"
MULTI_REGION_ID = "mrk-0123456789abcdef0123456789abcdef"
IDS = st.uuids().map(str) | st.uuids().map(lambda given: f"mrk-{given.hex}")
CONTEXTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


@given(key_id=IDS, generation=st.integers(0, 2**32 - 1), body=st.binary(min_size=1, max_size=50))
def test_a_blob_says_which_backing_key_opens_it(key_id: str, generation: int, body: bytes) -> None:
    """Head and body come apart again, and the head names the key and the generation."""
    head, rest = ciphertext.split(ciphertext.head(key_id, generation) + body)
    assert (ciphertext.backing_key(head), rest) == ((key_id, generation), body)


def test_the_head_has_the_documented_form() -> None:
    """What is on disk is read by later versions, too."""
    assert ciphertext.head(KEY_ID, 2).hex() == "01" + KEY_ID.replace("-", "") + "00000002"
    assert ciphertext.head(MULTI_REGION_ID, 2).hex() == "02" + MULTI_REGION_ID.removeprefix("mrk-") + "00000002"


@given(one=st.tuples(IDS, st.integers(0, 9)), other=st.tuples(IDS, st.integers(0, 9)))
def test_each_backing_key_has_an_id_of_its_own(one: tuple[str, int], other: tuple[str, int]) -> None:
    """64 hexadecimal digits, the same each time."""
    assert re.fullmatch(r"[0-9a-f]{64}", ciphertext.material_id(*one))
    assert (ciphertext.material_id(*one) == ciphertext.material_id(*other)) == (one == other)


def test_a_material_id_has_the_documented_form() -> None:
    """Callers write it down."""
    head = "01" + KEY_ID.replace("-", "") + "00000001"
    expected = hashlib.sha256(b"keywheel key material" + bytes.fromhex(head)).hexdigest()
    assert ciphertext.material_id(KEY_ID, 1) == expected


@pytest.mark.parametrize("length", range(22))
def test_a_blob_that_is_too_short_is_refused(length: int) -> None:
    """Also one that is nothing but a head."""
    with pytest.raises(DecryptionFailure, match=r"^The ciphertext is not in a format that keywheel knows\.$"):
        ciphertext.split(ciphertext.head(KEY_ID, 1)[:length])


@pytest.mark.parametrize("first", [0, 3, 255])
def test_a_blob_of_another_format_is_refused(first: int) -> None:
    """Whatever follows."""
    with pytest.raises(DecryptionFailure, match=r"^The ciphertext is not in a format that keywheel knows\.$"):
        ciphertext.split(bytes([first]) + ciphertext.head(KEY_ID, 1)[1:] + b"body")


@given(context=CONTEXTS, order=st.randoms())
def test_the_order_of_a_context_does_not_matter(context: dict[str, str], order: Any) -> None:
    """It is the same for the same pairs."""
    pairs = list(context.items())
    order.shuffle(pairs)
    assert ciphertext.context_bytes(dict(pairs)) == ciphertext.context_bytes(context)


@given(one=CONTEXTS, other=CONTEXTS)
def test_different_contexts_are_different_bytes(one: dict[str, str], other: dict[str, str]) -> None:
    """No pair can be read as another, or as two."""
    assert (ciphertext.context_bytes(one) == ciphertext.context_bytes(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "bc"}, {"ab": "c"}),
        ({"a": "b", "c": "d"}, {"a": "d", "c": "b"}),
        ({"a": ""}, {"": "a"}),
        ({"a": "b\x00c"}, {"a": "b", "\x00c": ""}),
        ({"a": "\u00e9"}, {"a": "e\u0301"}),
        ({}, {"": ""}),
    ],
)
def test_contexts_that_look_alike_are_different_bytes(one: dict[str, str], other: dict[str, str]) -> None:
    """Where the same letters are divided differently, say."""
    assert ciphertext.context_bytes(one) != ciphertext.context_bytes(other)


def test_a_context_has_the_documented_form() -> None:
    """Length and text, by key: blobs on disk were authenticated with it."""
    assert ciphertext.context_bytes({"b": "é", "a": ""}).hex() == "000000016100000000000000016200000002c3a9"
