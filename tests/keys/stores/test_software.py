"""The software key store: a backing key never leaves it in clear, and opens only what it made."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.errors import DecryptionFailure, KeyStoreError
from keywheel.keys import algorithms
from keywheel.keys.specs import SPECS
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


# --- MACs ----------------------------------------------------------------------------------------------------------

# RFC 4231, test cases 1, 2, 3, 6: key, data, and the four MACs.
RFC_4231 = [
    (
        "0b" * 20,
        b"Hi There".hex(),
        "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4"
        "be9d914eeb61f1702e696c203a126854",
    ),
    (
        b"Jefe".hex(),
        b"what do ya want for nothing?".hex(),
        "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd"
        "caeab1a34d4a6b4b636e070a38bce737",
    ),
    (
        "aa" * 20,
        "dd" * 50,
        "7fb3cb3588c6c1f6ffa9694d7d6ad2649365b0c1f65d69d1ec8333ea",
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
        "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807"
        "b946a337bee8942674278859e13292fb",
    ),
    (
        "aa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First".hex(),
        "95e9a0db962095adaebe9b2d6f0dbce2d499f112f2d2b7273fa6870e",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
        "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e52"
        "95e64f73f63f0aec8b915a985d786598",
    ),
]


@pytest.mark.parametrize(("key", "data", "sha224", "sha256", "sha384", "sha512"), RFC_4231)
def test_a_mac_is_that_of_the_rfc(key: str, data: str, sha224: str, sha256: str, sha384: str, sha512: str) -> None:
    """By each hash."""
    store = software()
    handle = store.wrap(bytes.fromhex(key), LABEL)
    for bits, expected in (("224", sha224), ("256", sha256), ("384", sha384), ("512", sha512)):
        assert store.mac(handle, LABEL, bytes.fromhex(data), f"HMAC_SHA_{bits}").hex() == expected


def test_a_mac_key_is_bound_to_its_label() -> None:
    """Like any backing key."""
    store = software()
    handle = store.create_mac_key(32, LABEL)
    with pytest.raises(KeyStoreError):
        store.mac(handle, b"another label", b"x", "HMAC_SHA_256")


# --- key pairs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [name for name, spec in SPECS.items() if spec.served and spec.kind == "asymmetric"])
def test_a_pair_is_one_of_its_spec(spec: str) -> None:
    """The public half in the clear, the private half bound to its label."""
    store = software()
    pair = store.create_pair(spec, LABEL)
    private = store._load_private(pair.handle, LABEL)
    assert algorithms.fits(spec, private)
    assert algorithms.public_der(private.public_key()) == pair.public
    with pytest.raises(KeyStoreError):
        store._load_private(pair.handle, b"another label")
    with pytest.raises(KeyStoreError):
        software()._load_private(pair.handle, LABEL)


def test_a_pair_of_one_spec_fits_no_other() -> None:
    """Which is what imported material is checked by."""
    made = {name: algorithms.generate(name) for name in ("RSA_2048", "RSA_3072", *algorithms.CURVES, "ML_DSA_44")}
    for name, private in made.items():
        assert [other for other in made if algorithms.fits(other, private)] == [name]


def test_the_loaded_keys_are_bounded() -> None:
    """A server with many keys does not grow without end."""
    store = software()
    assert store._private.cache_info().maxsize == store._cipher.cache_info().maxsize == 1024


# --- imported material ---------------------------------------------------------------------------------------------


def test_material_is_known_again_by_its_owner() -> None:
    """Whatever label it has now; not other material, and not for another owner."""
    store = software()
    handle = store.wrap(b"x" * 32, LABEL)
    fingerprint = store.fingerprint(handle, LABEL, b"owner")
    moved = store.rebind(handle, LABEL, b"another label")
    assert store.recognises(moved, b"another label", fingerprint, b"owner")
    assert not store.recognises(store.wrap(b"y" * 32, LABEL), LABEL, fingerprint, b"owner")
    with pytest.raises(KeyStoreError):
        store.recognises(moved, b"another label", fingerprint, b"another owner")


def test_a_fingerprint_tells_nothing() -> None:
    """Of the same material it is another one each time."""
    store = software()
    handle = store.wrap(b"x" * 32, LABEL)
    assert store.fingerprint(handle, LABEL, b"o") != store.fingerprint(handle, LABEL, b"o")
    assert hashlib.sha256(b"x" * 32).digest() not in store.fingerprint(handle, LABEL, b"o")
