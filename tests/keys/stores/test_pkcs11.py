"""On a live token of SoftHSM2."""

from __future__ import annotations

import hmac
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute

from keywheel.errors import DecryptionFailure, KeyStoreError, KeyUnavailable, UnsupportedOperation, ValidationFailed
from keywheel.keys import algorithms
from keywheel.keys.algorithms import CURVES, MACS, SCHEMES
from keywheel.keys.specs import OAEP_1, OAEP_256
from keywheel.keys.stores.pkcs11 import TokenKeyStore
from keywheel.keys.stores.token import BadPin, Module, Token
from keywheel.sensitive import Sensitive
from keywheel.testing import ManualClock
from tests.support.tokens import LABEL, LIBRARY, SoftToken

ID = b"\x01" + bytes(range(16)) + b"\0\0\0\1"
OTHER = b"\x01" + bytes(range(16)) + b"\0\0\0\2"
REST = timedelta(seconds=1)


class Bench:
    """A token, its library in this process, and the store on it."""

    def __init__(self, token: SoftToken) -> None:
        self.token = token
        self.clock = ManualClock()
        self.module = Module(LIBRARY, self.clock)
        self.logins = 0
        self.store = self.another()

    def another(self, pin: Sensitive[str] | None = None, label: str = LABEL) -> TokenKeyStore:
        def ask() -> Sensitive[str]:
            self.logins += 1
            return pin or self.token.pin

        return TokenKeyStore(Token(self.module, label, ask))

    def restart(self) -> None:
        """What a new process would begin with."""
        self.store.close()
        self.module.reset()
        self.module = Module(LIBRARY, self.clock)
        self.store = self.another()

    def objects(self, identifier: bytes) -> list[pkcs11.Object]:
        """What the token holds under an id, as another program sees it that has the PIN, too."""
        session = self.module.token(LABEL).open()  # logged in already: that holds for the whole process
        return list(session.get_objects({Attribute.ID: identifier}))


@pytest.fixture
def bench(soft_token: SoftToken) -> Iterator[Bench]:
    bench = Bench(soft_token)
    yield bench
    bench.store.close()
    bench.module.reset()


def test_what_is_encrypted_opens_under_the_same_key_and_context_only(bench: Bench) -> None:
    """And nothing of it may be changed or cut."""
    handle, other = bench.store.create(ID), bench.store.create(OTHER)
    sealed = bench.store.encrypt(handle, ID, b"plain", b"context")
    assert bench.store.decrypt(handle, ID, sealed, b"context") == b"plain"
    assert bench.store.encrypt(handle, ID, b"plain", b"context") != sealed
    with pytest.raises(DecryptionFailure):
        bench.store.decrypt(handle, ID, sealed, b"another")
    with pytest.raises(DecryptionFailure):
        bench.store.decrypt(other, OTHER, sealed, b"context")
    for at in range(len(sealed)):
        spoiled = bytearray(sealed)
        spoiled[at] ^= 1
        with pytest.raises(DecryptionFailure):
            bench.store.decrypt(handle, ID, bytes(spoiled), b"context")
        with pytest.raises(DecryptionFailure):
            bench.store.decrypt(handle, ID, sealed[:at], b"context")
    with pytest.raises(KeyStoreError):
        bench.store.encrypt(handle, OTHER, b"plain", b"")


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4096, 6000])
def test_any_length(bench: Bench, size: int) -> None:
    """From nothing to more than KMS takes."""
    handle, plaintext = bench.store.create(ID), os.urandom(size)
    assert bench.store.decrypt(handle, ID, bench.store.encrypt(handle, ID, plaintext, b""), b"") == plaintext


@pytest.mark.parametrize("kind", ["aes", "hmac", "RSA_2048", "ECC_NIST_P256"])
def test_key_material_never_leaves_the_token(bench: Bench, kind: str) -> None:
    """Neither read, nor made readable, nor wrapped."""
    if kind == "aes":
        bench.store.create(ID)
    elif kind == "hmac":
        bench.store.create_mac_key(32, ID)
    else:
        bench.store.create_pair(kind, ID)
    private = [each for each in bench.objects(ID) if each[Attribute.CLASS] != pkcs11.ObjectClass.PUBLIC_KEY]
    assert len(private) == 1
    key = private[0]
    for attribute in ("SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "PRIVATE"):
        assert key[Attribute[attribute]] is True, attribute
    assert key[Attribute.EXTRACTABLE] is False
    parts = ["PRIVATE_EXPONENT", "PRIME_1", "PRIME_2"] if kind.startswith("RSA") else ["VALUE"]
    for part in parts:
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            _ = key[Attribute[part]]
    for attribute, value in (("SENSITIVE", False), ("EXTRACTABLE", True)):
        with pytest.raises(pkcs11.PKCS11Error):
            key[Attribute[attribute]] = value
    # Nor wrapped, by a key that its owner knows.
    wrapping = key.session.generate_key(pkcs11.KeyType.AES, 256, store=False)
    with pytest.raises(pkcs11.PKCS11Error):
        wrapping.wrap_key(key, mechanism=pkcs11.Mechanism.AES_KEY_WRAP)


def test_a_key_that_the_token_would_give_away_is_not_used(bench: Bench) -> None:
    """Whoever put it there under our id."""
    bench.store.check()
    session = bench.module.token(LABEL).open(rw=True)
    template = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    session.generate_key(pkcs11.KeyType.AES, 256, id=ID, store=True, template=template)
    with pytest.raises(KeyStoreError, match="does not keep this key to itself"):
        bench.store.create(ID)


def test_a_key_is_made_once_however_often_it_is_asked_for(bench: Bench) -> None:
    """Also by another process, after a crash of the first."""
    sealed = bench.store.encrypt(bench.store.create(ID), ID, b"plain", b"")
    bench.restart()
    assert bench.store.decrypt(bench.store.create(ID), ID, sealed, b"") == b"plain"
    assert len(bench.objects(ID)) == 1
    pair = bench.store.create_pair("ECC_NIST_P256", OTHER)
    bench.restart()
    assert bench.store.create_pair("ECC_NIST_P256", OTHER) == pair
    assert len(bench.objects(OTHER)) == 2


def test_a_destroyed_key_is_gone_and_may_be_destroyed_again(bench: Bench) -> None:
    """Whoever crashed in between asks again."""
    handle = bench.store.create(ID)
    sealed = bench.store.encrypt(handle, ID, b"plain", b"")
    bench.store.destroy(handle, ID)
    assert bench.objects(ID) == []
    bench.store.destroy(handle, ID)
    with pytest.raises(KeyUnavailable):
        bench.store.decrypt(handle, ID, sealed, b"")


# --- signatures, agreement, MACs


@pytest.mark.parametrize("spec", ["RSA_2048", *CURVES])
def test_signatures_verify_with_openssl_and_with_us(bench: Bench, spec: str, tmp_path: Path) -> None:
    """Of messages and of digests, by every algorithm of the spec."""
    pair = bench.store.create_pair(spec, ID)
    (tmp_path / "public.pem").write_bytes(
        serialization.load_der_public_key(pair.public).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    wanted = "RSASSA" if spec.startswith("RSA") else "ECDSA"
    for algorithm, scheme in SCHEMES.items():
        if not algorithm.startswith(wanted) or scheme.hash is None:
            continue
        message = os.urandom(100)
        signature = bench.store.sign(pair.handle, ID, message, algorithm, "RAW")
        algorithms.verify(pair.public, message, signature, algorithm, "RAW")
        (tmp_path / "message").write_bytes(message)
        (tmp_path / "signature").write_bytes(signature)
        options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if "PSS" in algorithm else []
        command = ["openssl", "dgst", f"-{scheme.hash.name}", *options]
        done = subprocess.run(
            [*command, "-verify", "public.pem", "-signature", "signature", "message"], cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 0, (algorithm, done.stdout, done.stderr)
        digest = os.urandom(scheme.hash.digest_size)
        algorithms.verify(
            pair.public, digest, bench.store.sign(pair.handle, ID, digest, algorithm, "DIGEST"), algorithm, "DIGEST"
        )
        with pytest.raises(ValidationFailed):
            bench.store.sign(pair.handle, ID, digest[1:], algorithm, "DIGEST")


def test_rsa_opens_what_was_encrypted_to_its_public_half(bench: Bench) -> None:
    """By the padding that this token has; the other one is refused in words."""
    pair = bench.store.create_pair("RSA_2048", ID)
    sealed = algorithms.encrypt_to(pair.public, b"plain", OAEP_1)
    assert bench.store.open(pair.handle, ID, sealed, OAEP_1) == b"plain"
    with pytest.raises(DecryptionFailure):
        bench.store.open(pair.handle, ID, bytes([sealed[0] ^ 1, *sealed[1:]]), OAEP_1)
    with pytest.raises(DecryptionFailure):
        bench.store.open(pair.handle, ID, sealed[1:], OAEP_1)
    with pytest.raises(UnsupportedOperation):  # of this token
        bench.store.open(pair.handle, ID, algorithms.encrypt_to(pair.public, b"plain", OAEP_256), OAEP_256)


@pytest.mark.parametrize("spec", CURVES)
def test_two_agree_on_a_secret(bench: Bench, spec: str) -> None:
    """The same as the other side computes; a point of another curve is refused."""
    pair, theirs = bench.store.create_pair(spec, ID), ec.generate_private_key(CURVES[spec])
    ours = algorithms.load_public(pair.public)
    agreed = bench.store.agree(pair.handle, ID, algorithms.public_der(theirs.public_key()))
    assert agreed == theirs.exchange(ec.ECDH(), ours)
    other = ec.generate_private_key(ec.BrainpoolP256R1())
    with pytest.raises(ValidationFailed):
        bench.store.agree(pair.handle, ID, algorithms.public_der(other.public_key()))


@pytest.mark.parametrize("algorithm", MACS)
def test_macs_of_the_same_key_are_the_same(bench: Bench, algorithm: str) -> None:
    """And of another message another one."""
    size = hmac.new(b"", b"", MACS[algorithm]).digest_size
    handle = bench.store.create_mac_key(size, ID)
    mac = bench.store.mac(handle, ID, b"message", algorithm)
    assert len(mac) == size
    assert bench.store.mac(handle, ID, b"message", algorithm) == mac
    assert bench.store.mac(handle, ID, b"massage", algorithm) != mac


@pytest.mark.parametrize("spec", ["ECC_NIST_EDWARDS25519", "ML_DSA_65"])
def test_what_tokens_do_not_make_is_said(bench: Bench, spec: str) -> None:
    """Before the token is asked."""
    with pytest.raises(UnsupportedOperation):
        bench.store.create_pair(spec, ID)


def test_many_threads_use_one_token(bench: Bench) -> None:
    """Whose library knows no threads: each gets the answer to its own question."""
    handle = bench.store.create(ID)

    def work(n: int) -> None:
        for _ in range(50):
            sealed = bench.store.encrypt(handle, ID, b"plain %d" % n, b"context %d" % n)
            assert bench.store.decrypt(handle, ID, sealed, b"context %d" % n) == b"plain %d" % n
            with pytest.raises(DecryptionFailure):
                bench.store.decrypt(handle, ID, sealed, b"context %d" % (n + 1))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [None] * 8
    assert bench.logins == 1


# --- a token that is away


def test_a_token_that_is_away_is_told_at_once_and_works_again_when_it_is_back(bench: Bench) -> None:
    """It is asked again after a second, not before."""
    handle = bench.store.create(ID)
    sealed = bench.store.encrypt(handle, ID, b"plain", b"")
    bench.token.take_away()
    for _ in range(3):
        with pytest.raises(KeyUnavailable, match="The token keywheel is not available"):
            bench.store.decrypt(handle, ID, sealed, b"")
    bench.token.put_back()
    with pytest.raises(KeyUnavailable):  # not asked again yet
        bench.store.decrypt(handle, ID, sealed, b"")
    bench.clock.advance(REST)
    assert bench.store.decrypt(handle, ID, sealed, b"") == b"plain"


def test_a_token_that_was_away_unnoticed_is_opened_anew(bench: Bench) -> None:
    """And nobody hears of it."""
    handle = bench.store.create(ID)
    sealed = bench.store.encrypt(handle, ID, b"plain", b"")
    bench.module.reset()  # every session of the library is gone
    assert bench.store.decrypt(handle, ID, sealed, b"") == b"plain"
    assert bench.logins == 2


def test_a_process_that_starts_without_the_token_finds_it_later(bench: Bench) -> None:
    """As soon as it is there."""
    handle = bench.store.create(ID)
    sealed = bench.store.encrypt(handle, ID, b"plain", b"")
    bench.token.take_away()
    bench.restart()
    with pytest.raises(KeyUnavailable):
        bench.store.decrypt(handle, ID, sealed, b"")
    bench.token.put_back()
    bench.clock.advance(REST)
    assert bench.store.decrypt(handle, ID, sealed, b"") == b"plain"


def test_nothing_is_made_or_called_destroyed_while_the_token_is_away(bench: Bench) -> None:
    """Although a token that is gone answers like an empty one."""
    handle = bench.store.create(ID)
    bench.token.take_away()
    for attempt in (
        lambda: bench.store.create(OTHER),
        lambda: bench.store.destroy(handle, ID),
        lambda: bench.store.create_pair("ECC_NIST_P256", OTHER),
        bench.store.check,
    ):
        bench.clock.advance(REST)
        with pytest.raises(KeyUnavailable):
            attempt()
    bench.token.put_back()
    bench.clock.advance(REST)
    bench.store.check()
    assert len(bench.objects(ID)) == 1
    assert bench.objects(OTHER) == []


def test_a_spoiled_ciphertext_does_not_end_the_session(bench: Bench) -> None:
    """It is not taken for a token that is away."""
    handle = bench.store.create(ID)
    for _ in range(3):
        with pytest.raises(DecryptionFailure):
            bench.store.decrypt(handle, ID, bytes(64), b"")
    assert bench.logins == 1


def test_a_refused_pin_is_never_tried_again(bench: Bench) -> None:
    """And never told."""
    wrong = Sensitive("not the PIN")
    store = bench.another(wrong)
    for _ in range(20):  # a token would be locked by fewer
        with pytest.raises(BadPin) as refused:
            store.create(ID)
        assert wrong.reveal() not in f"{refused.value} {refused.value.hint()} {refused.value!r}"
    assert bench.logins == 1
    bench.store.create(ID)


def test_a_token_that_is_away_keeps_no_other_one_of_its_library_away(bench: Bench) -> None:
    """Although the library begins anew whenever it is looked for."""
    handle = bench.store.create(ID)
    absent = bench.another(label="absent")
    for _ in range(3):
        with pytest.raises(KeyUnavailable):
            absent.create(OTHER)
        assert bench.store.encrypt(handle, ID, b"plain", b"")
        bench.clock.advance(REST)
    bench.store.close()
    bench.module.reset()
    bench.token.add("absent")
    assert absent.create(OTHER) == OTHER
    assert bench.store.encrypt(handle, ID, b"plain", b"")
    absent.close()


def test_a_token_of_another_name_is_not_there(bench: Bench) -> None:
    """Whatever else is in the slots."""
    with pytest.raises(KeyUnavailable):
        bench.another(label="another").check()
