"""The software key store: a backing key never leaves it in clear, and opens only what it made."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.errors import DecryptionFailure, KeyStoreError
from keywheel.keys.stores.base import KeyStore
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.sensitive import Sensitive

LABEL, CONTEXT = b"a label", b"a context"
STORE: KeyStore = SoftwareKeyStore(Sensitive(os.urandom(32)))
HANDLE = STORE.create(LABEL)
CIPHERTEXT = STORE.encrypt(HANDLE, LABEL, b"a data key", CONTEXT)


def software() -> SoftwareKeyStore:
    """A store with a root key of its own."""
    return SoftwareKeyStore(Sensitive(os.urandom(32)))


@given(plaintext=st.binary(max_size=100), context=st.binary(max_size=50))
def test_what_was_encrypted_is_decrypted(plaintext: bytes, context: bytes) -> None:
    """By the same backing key under the same context."""
    assert STORE.decrypt(HANDLE, LABEL, STORE.encrypt(HANDLE, LABEL, plaintext, context), context) == plaintext


def test_a_store_with_the_same_root_key_decrypts() -> None:
    """After a restart, and on another machine."""
    root = os.urandom(32)
    one, other = SoftwareKeyStore(Sensitive(root)), SoftwareKeyStore(Sensitive(root))
    handle = one.create(LABEL)
    assert other.decrypt(handle, LABEL, one.encrypt(handle, LABEL, b"x", CONTEXT), CONTEXT) == b"x"


@pytest.mark.parametrize("place", range(len(CIPHERTEXT)))
def test_a_change_of_any_byte_of_the_ciphertext_is_refused(place: int) -> None:
    """As of one that belongs to another key."""
    spoiled = bytearray(CIPHERTEXT)
    spoiled[place] ^= 0x01
    with pytest.raises(DecryptionFailure):
        STORE.decrypt(HANDLE, LABEL, bytes(spoiled), CONTEXT)


@pytest.mark.parametrize("length", range(len(CIPHERTEXT)))
def test_a_part_of_the_ciphertext_is_refused(length: int) -> None:
    """However much is missing."""
    with pytest.raises(DecryptionFailure):
        STORE.decrypt(HANDLE, LABEL, CIPHERTEXT[:length], CONTEXT)


@pytest.mark.parametrize("place", range(len(HANDLE)))
def test_a_change_of_any_byte_of_a_handle_is_refused(place: int) -> None:
    """As under another root key."""
    spoiled = bytearray(HANDLE)
    spoiled[place] ^= 0x01
    with pytest.raises(KeyStoreError):
        STORE.encrypt(bytes(spoiled), LABEL, b"x", CONTEXT)


@pytest.mark.parametrize("length", range(len(HANDLE)))
def test_a_part_of_a_handle_is_refused(length: int) -> None:
    """However much is missing."""
    with pytest.raises(KeyStoreError):
        STORE.encrypt(HANDLE[:length], LABEL, b"x", CONTEXT)


def test_another_label_is_refused() -> None:
    """A wrapped backing key cannot be passed off as that of another key."""
    with pytest.raises(KeyStoreError):
        STORE.decrypt(HANDLE, b"another label", CIPHERTEXT, CONTEXT)


def test_another_context_is_refused() -> None:
    """It is authenticated."""
    with pytest.raises(DecryptionFailure):
        STORE.decrypt(HANDLE, LABEL, CIPHERTEXT, b"another context")


def test_another_backing_key_is_refused() -> None:
    """Of the same store and with the same label."""
    with pytest.raises(DecryptionFailure):
        STORE.decrypt(STORE.create(LABEL), LABEL, CIPHERTEXT, CONTEXT)


def test_another_root_key_is_refused() -> None:
    """The store says that it is the root key, so that nobody looks for the error elsewhere."""
    with pytest.raises(KeyStoreError, match="root key does not open"):
        software().decrypt(HANDLE, LABEL, CIPHERTEXT, CONTEXT)


def test_a_key_that_was_refused_once_is_refused_again() -> None:
    """No failure is remembered as a success."""
    for _ in range(2):
        with pytest.raises(KeyStoreError):
            STORE.encrypt(HANDLE, b"another label", b"x", CONTEXT)


def test_wrap_and_unwrap_are_inverse_under_one_label() -> None:
    """Under another one they are not."""
    store = software()
    wrapped = store.wrap(b"material", LABEL)
    assert store.unwrap(wrapped, LABEL) == b"material"
    assert b"material" not in wrapped
    with pytest.raises(KeyStoreError):
        store.unwrap(wrapped, b"another label")
