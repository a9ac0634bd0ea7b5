"""A sealed value opens with its data key and its context, and in no other way."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.errors import DecryptionFailure
from keywheel.keys.envelope import seal, unseal
from keywheel.sensitive import Sensitive

KEY = Sensitive(os.urandom(32))
CONTEXT = b"a context"
SEALED = seal(b"a value", KEY, CONTEXT)


@given(value=st.binary(max_size=200), context=st.binary(max_size=50))
def test_what_was_sealed_opens_again(value: bytes, context: bytes) -> None:
    """Every value, the empty one too, under every context."""
    assert unseal(seal(value, KEY, context), KEY, context) == value


def test_a_large_value_opens_again() -> None:
    """One of the largest that Secrets Manager takes."""
    value = os.urandom(65_536)
    assert unseal(seal(value, KEY, CONTEXT), KEY, CONTEXT) == value


@pytest.mark.parametrize("place", range(len(SEALED)))
def test_a_change_of_any_byte_is_refused(place: int) -> None:
    """Of the format, the nonce, the ciphertext or the tag."""
    for flip in (0x01, 0x80, 0xFF):
        spoiled = bytearray(SEALED)
        spoiled[place] ^= flip
        with pytest.raises(DecryptionFailure):
            unseal(bytes(spoiled), KEY, CONTEXT)


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_a_part_of_it_is_refused(length: int) -> None:
    """However much is missing."""
    with pytest.raises(DecryptionFailure):
        unseal(SEALED[:length], KEY, CONTEXT)


def test_what_is_added_is_refused() -> None:
    """At the end."""
    with pytest.raises(DecryptionFailure):
        unseal(SEALED + b"\0", KEY, CONTEXT)


@pytest.mark.parametrize("context", [b"", b"a contex", b"a context ", b"A context"])
def test_another_context_is_refused(context: bytes) -> None:
    """However like it is."""
    with pytest.raises(DecryptionFailure):
        unseal(SEALED, KEY, context)


def test_another_data_key_is_refused() -> None:
    """Though it has the right length."""
    with pytest.raises(DecryptionFailure):
        unseal(SEALED, Sensitive(os.urandom(32)), CONTEXT)


def test_the_same_value_is_never_sealed_to_the_same_bytes() -> None:
    """Nobody who sees two of them learns that they are equal."""
    assert len({seal(b"a value", KEY, CONTEXT) for _ in range(100)}) == 100


def test_a_sealed_value_does_not_hold_the_value() -> None:
    """Not in clear."""
    assert b"a value" not in SEALED


def test_the_error_does_not_hold_the_value() -> None:
    """Nor what was thought to be its key."""
    with pytest.raises(DecryptionFailure) as caught:
        unseal(SEALED, KEY, b"")
    assert caught.value.message == "The stored value cannot be opened with its data key."
    assert caught.value.__cause__ is None
