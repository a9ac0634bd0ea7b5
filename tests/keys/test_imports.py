"""Import of key material, encrypted by OpenSSL's own library as a caller would."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keywheel.errors import CallerError, UnsupportedOperation, ValidationFailed
from keywheel.keys import algorithms, ciphertext
from keywheel.keys.errors import (
    ExpiredImportToken,
    IncorrectKeyMaterial,
    InvalidCiphertext,
    InvalidImportToken,
    KeyInvalidState,
    KeyNotFound,
)
from keywheel.keys.imports import Import, Parameters
from keywheel.keys.keyring import Key
from tests.keys.ring import Ring

KEEPS, EXPIRES = "KEY_MATERIAL_DOES_NOT_EXPIRE", "KEY_MATERIAL_EXPIRES"
NEW, EXISTING = "NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"
ALGORITHMS = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]
MATERIAL, OTHER = os.urandom(32), os.urandom(32)


def encrypted(public: bytes, material: bytes, algorithm: str) -> bytes:
    """Material as a caller encrypts it."""
    key = load_der_public_key(public)
    assert isinstance(key, rsa.RSAPublicKey)
    digest = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    oaep = padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)
    if algorithm.startswith("RSAES"):
        return key.encrypt(material, oaep)
    ephemeral = os.urandom(32)
    return key.encrypt(ephemeral, oaep) + aes_key_wrap_with_padding(ephemeral, material)


@dataclass
class Desk:
    """Where material is imported."""

    ring: Ring
    algorithm: str = ALGORITHMS[1]

    def parameters(self, key: Key, spec: str = "RSA_2048") -> Parameters:
        return self.ring.keys.imports.parameters(self.ring.find(key), self.algorithm, spec, self.ring.now)

    def send(self, key: Key, parameters: Parameters, material: bytes, **given: Any) -> str | None:
        """Import material by parameters that were got before."""
        given = {"expiration_model": KEEPS, **given}
        blob = given.pop("blob", None) or encrypted(parameters.public, material, self.algorithm)
        work = Import(parameters.token, blob, **given)
        imports = self.ring.keys.imports
        return self.ring.change(key, lambda tx, found: imports.import_material(tx, found, work, self.ring.now))

    def put(self, key: Key, material: bytes = MATERIAL, **given: Any) -> str | None:
        return self.send(key, self.parameters(key), material, **given)

    def delete(self, key: Key, material_id: str | None = None) -> str | None:
        imports = self.ring.keys.imports
        return self.ring.change(key, lambda tx, found: imports.delete_material(tx, found, material_id))

    def sweep(self) -> list[Key]:
        return self.ring.write(lambda tx: self.ring.keys.imports.expire_due(tx, self.ring.now))

    def states(self, key: Key) -> list[tuple[str | None, str | None]]:
        listed = self.ring.use(
            key, lambda tx, found: self.ring.keys.rotation.entries(tx, found, everything=True, most=100)
        )
        return [(entry.import_state, entry.material_state) for entry in listed]


@pytest.fixture
def desk(ring: Ring) -> Desk:
    """On each kind of store."""
    return Desk(ring)


@pytest.fixture
def swift(quick: Ring) -> Desk:
    """On SQLite."""
    return Desk(quick)


# --- import --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["RSA_2048", "RSA_3072", "RSA_4096"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_material_is_imported(quick: Ring, algorithm: str, spec: str) -> None:
    """By each wrapping algorithm and key; the key is enabled then."""
    desk, key = Desk(quick, algorithm), quick.make(origin="EXTERNAL")
    assert (key.state, key.material_id, key.expiration_model) == ("PendingImport", None, None)
    parameters = desk.parameters(key, spec)
    assert parameters.valid_to == quick.now + timedelta(hours=24)
    assert len(parameters.token) <= 6144
    assert desk.send(key, parameters, MATERIAL) == ciphertext.material_id(key.key_id, 1)
    there = quick.find(key)
    assert (there.state, there.material_id) == ("Enabled", ciphertext.material_id(key.key_id, 1))
    assert (there.expiration_model, there.expires) == (KEEPS, None)
    assert quick.decrypt(quick.encrypt(key, b"x")) == b"x"


def test_the_imported_material_is_what_is_used(swift: Desk) -> None:
    """A MAC of it is that of the standard library."""
    import hmac

    key = swift.ring.make("HMAC_256", "GENERATE_VERIFY_MAC", "EXTERNAL")
    assert swift.put(key) is None
    assert swift.ring.mac(key, b"x", "HMAC_SHA_256") == hmac.digest(MATERIAL, b"x", "sha256")


@pytest.mark.parametrize(
    ("spec", "usage", "make"),
    [
        ("RSA_2048", "SIGN_VERIFY", lambda: rsa.generate_private_key(65537, 2048)),
        ("ECC_NIST_P256", "SIGN_VERIFY", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", lambda: ec.generate_private_key(ec.SECP256K1())),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", lambda: algorithms.generate("ECC_NIST_EDWARDS25519")),
        ("ML_DSA_44", "SIGN_VERIFY", lambda: algorithms.generate("ML_DSA_44")),
    ],
)
def test_a_key_pair_is_imported(quick: Ring, spec: str, usage: str, make: Callable[[], Any]) -> None:
    """As PKCS #8; its public half is told. It can be deleted and come again, and no other one can."""
    desk, private = Desk(quick, ALGORITHMS[3]), make()
    key = quick.make(spec, usage, "EXTERNAL")
    assert desk.put(key, algorithms.private_der(private)) is None
    assert quick.public(key) == algorithms.public_der(private.public_key())
    algorithm = quick.find(key).algorithms[-1]
    signature = quick.sign(key, b"x", algorithm)
    assert desk.delete(key) is None
    with pytest.raises(KeyInvalidState, match="is pending import"):
        quick.sign(key, b"x", algorithm)
    with pytest.raises(IncorrectKeyMaterial):
        desk.put(key, algorithms.private_der(make()))
    desk.put(key, algorithms.private_der(private))
    quick.verify(key, b"x", signature, algorithm)


@pytest.mark.parametrize(
    ("spec", "usage", "material"),
    [
        (None, None, b"x" * 31),
        (None, None, b"x" * 33),
        ("HMAC_384", "GENERATE_VERIFY_MAC", b"x" * 32),
        ("ECC_NIST_P256", "SIGN_VERIFY", b"x" * 32),
        ("ECC_NIST_P256", "SIGN_VERIFY", algorithms.private_der(ec.generate_private_key(ec.SECP384R1()))),
        ("ECC_NIST_P256", "SIGN_VERIFY", algorithms.public_der(ec.generate_private_key(ec.SECP256R1()).public_key())),
        ("RSA_2048", "SIGN_VERIFY", algorithms.private_der(ec.generate_private_key(ec.SECP256R1()))),
        ("RSA_3072", "SIGN_VERIFY", algorithms.private_der(rsa.generate_private_key(65537, 2048))),
    ],
    ids=range(8),  # the keys are others each time
)
def test_material_of_another_spec_is_refused(quick: Ring, spec: str | None, usage: str | None, material: bytes) -> None:
    """And the key waits for the right one; nothing of the material is in the message."""
    desk, key = Desk(quick, ALGORITHMS[3]), quick.make(spec, usage, "EXTERNAL")
    with pytest.raises(IncorrectKeyMaterial) as caught:
        desk.put(key, material)
    assert material.hex() not in caught.value.message
    assert quick.find(key).state == "PendingImport"


# --- tokens --------------------------------------------------------------------------------------------------------


def test_a_token_is_good_for_a_day(swift: Desk) -> None:
    """And then it is said that it is too old."""
    key = swift.ring.make(origin="EXTERNAL")
    parameters = swift.parameters(key)
    swift.ring.wait(hours=24, seconds=-1)
    swift.send(key, parameters, MATERIAL)
    swift.ring.wait(seconds=1)
    with pytest.raises(ExpiredImportToken):
        swift.send(key, parameters, MATERIAL)


def test_a_token_is_its_keys(swift: Desk) -> None:
    """Not another one's, and not another installation's."""
    key, other = (swift.ring.make(origin="EXTERNAL") for _ in range(2))
    with pytest.raises(InvalidImportToken):
        swift.send(key, swift.parameters(other), MATERIAL)


def test_a_token_that_was_changed_is_refused(swift: Desk) -> None:
    """Wherever: its end cannot be put off, nor its algorithm exchanged."""
    key = swift.ring.make(origin="EXTERNAL")
    parameters = swift.parameters(key)
    blob = encrypted(parameters.public, MATERIAL, swift.algorithm)
    for place in (*range(12), 50, len(parameters.token) - 1):
        spoiled = bytearray(parameters.token)
        spoiled[place] ^= 1
        with pytest.raises((InvalidImportToken, ExpiredImportToken)):
            swift.send(key, parameters._replace(token=bytes(spoiled)), MATERIAL, blob=blob)
    for length in (0, 1, 10, 11, 40, len(parameters.token) - 1):
        with pytest.raises(InvalidImportToken):
            swift.send(key, parameters._replace(token=parameters.token[:length]), MATERIAL, blob=blob)
    swift.send(key, parameters, MATERIAL)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_material_that_is_not_encrypted_to_the_token_is_refused(quick: Ring, algorithm: str) -> None:
    """Nor what is encrypted by another algorithm, or nothing at all."""
    desk, key = Desk(quick, algorithm), quick.make(origin="EXTERNAL")
    parameters, others = desk.parameters(key), desk.parameters(key)
    good = encrypted(parameters.public, MATERIAL, algorithm)
    wrong = [encrypted(parameters.public, MATERIAL, each) for each in ALGORITHMS if each != algorithm]
    stranger = encrypted(others.public, MATERIAL, algorithm)
    for blob in (*wrong, stranger, good[:-1], bytes([good[0] ^ 1]) + good[1:], b"x"):
        with pytest.raises(InvalidCiphertext) as caught:
            desk.send(key, parameters, MATERIAL, blob=blob)
        assert caught.value.message == ""
    assert quick.find(key).state == "PendingImport"


@pytest.mark.parametrize(("algorithm", "spec"), [("RSAES_PKCS1_V1_5", "RSA_2048"), ("SM2PKE", "SM2")])
def test_a_wrapping_that_is_not_served_is_refused(swift: Desk, algorithm: str, spec: str) -> None:
    """By its name."""
    key = swift.ring.make(origin="EXTERNAL")
    with pytest.raises(UnsupportedOperation, match=algorithm):
        swift.ring.keys.imports.parameters(key, algorithm, spec, swift.ring.now)


def test_an_rsa_key_does_not_fit_in_rsa(swift: Desk) -> None:
    """It needs a wrapping algorithm of two steps."""
    key = swift.ring.make("RSA_2048", "SIGN_VERIFY", "EXTERNAL")
    with pytest.raises(ValidationFailed, match="RSAES_OAEP_SHA_256 is not valid for key spec RSA_2048"):
        swift.parameters(key)


def test_a_key_of_our_own_material_takes_none(swift: Desk) -> None:
    """In the words of AWS KMS."""
    key, external = swift.ring.make(), swift.ring.make(origin="EXTERNAL")
    parameters = swift.parameters(external)
    for call in (
        lambda: swift.parameters(key),
        lambda: swift.send(key, parameters, MATERIAL),
        lambda: swift.delete(key),
    ):
        with pytest.raises(UnsupportedOperation) as caught:
            call()
        assert caught.value.message == f"{key.arn} origin is AWS_KMS which is not valid for this operation."


# --- expiry --------------------------------------------------------------------------------------------------------


def test_material_expires(desk: Desk) -> None:
    """On the second, whether the sweep has come or not; the same material brings the key back."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    end = ring.now + timedelta(days=10)
    desk.put(key, expiration_model=None, valid_to=end)
    there = ring.find(key)
    assert (there.expiration_model, there.expires) == (EXPIRES, end.timestamp())
    blob = ring.encrypt(key, b"x")
    ring.wait(days=10, seconds=-1)
    assert (desk.sweep(), ring.decrypt(blob)) == ([], b"x")
    ring.wait(seconds=1)
    with pytest.raises(KeyInvalidState, match="is pending import"):
        ring.decrypt(blob)
    (swept,) = desk.sweep()
    assert swept == ring.find(key)
    assert (swept.state, swept.expires, swept.expiration_model) == ("PendingImport", None, None)
    with ring.database.read() as tx:
        assert bytes(tx.execute("SELECT sealed FROM backing_key", ()).fetchone()[0]) == b""
    assert desk.sweep() == []
    with pytest.raises(IncorrectKeyMaterial):
        desk.put(key, OTHER)
    desk.put(key)
    assert ring.decrypt(blob) == b"x"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"expiration_model": None}, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"),
        ({"expiration_model": EXPIRES}, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"),
        ({"expiration_model": KEEPS, "days": 1}, "must not be set"),
        ({"expiration_model": EXPIRES, "days": 0}, "in the future, and at most 365 days ahead"),
        ({"expiration_model": EXPIRES, "days": 366}, "in the future, and at most 365 days ahead"),
    ],
)
def test_an_expiry_that_does_not_fit_is_refused(swift: Desk, given: dict[str, Any], text: str) -> None:
    """A date is given when it expires, and only then."""
    key, now = swift.ring.make(origin="EXTERNAL"), swift.ring.now
    end = now + timedelta(days=given["days"]) if "days" in given else None
    with pytest.raises(ValidationFailed, match=text):
        swift.put(key, expiration_model=given["expiration_model"], valid_to=end)


# --- deletion of material ------------------------------------------------------------------------------------------


def test_material_is_deleted_and_comes_back(desk: Desk) -> None:
    """Only the same; what it encrypted opens again."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    made = desk.put(key, description="first")
    blob = ring.encrypt(key, b"x")
    assert desk.delete(key) == made
    assert (ring.find(key).state, desk.states(key)) == ("PendingImport", [("PENDING_IMPORT", "CURRENT")])
    assert desk.delete(key) == made
    with pytest.raises(KeyInvalidState):
        ring.decrypt(blob)
    for given in ({}, {"import_type": EXISTING}, {"import_type": EXISTING, "material_id": made}):
        with pytest.raises(IncorrectKeyMaterial):
            desk.put(key, OTHER, **given)
    with pytest.raises(IncorrectKeyMaterial):
        desk.put(key, import_type=NEW)
    with pytest.raises(IncorrectKeyMaterial):
        desk.put(key, import_type=EXISTING, material_id="0" * 64)
    assert desk.put(key, import_type=EXISTING, material_id=made) == made
    assert ring.decrypt(blob) == b"x"
    with pytest.raises(KeyNotFound):
        desk.delete(key, "0" * 64)
    with pytest.raises(ValidationFailed, match="KeyMaterialId must not be specified"):
        desk.put(key, OTHER, import_type=NEW, material_id=made)


def test_a_key_without_material_has_nothing_to_delete(swift: Desk) -> None:
    """And no error is made of it."""
    key = swift.ring.make(origin="EXTERNAL")
    assert swift.delete(key) is None
    assert swift.ring.find(key) == key


def test_a_deletion_that_is_cancelled_leaves_a_key_without_material_pending(desk: Desk) -> None:
    """One that has its material is disabled; enabling it is all it needs."""
    ring = desk.ring
    without, having = (ring.make(origin="EXTERNAL") for _ in range(2))
    desk.put(having)
    for key in (without, having):
        ring.schedule(key)
    assert (ring.cancel(without).state, ring.cancel(having).state) == ("PendingImport", "Disabled")
    assert ring.enable(having).enabled
    ring.schedule(having)
    desk.delete(having)
    assert ring.find(having).state == "PendingDeletion"
    assert ring.cancel(having).state == "PendingImport"


def test_a_disabled_key_stays_disabled_when_material_comes_again(desk: Desk) -> None:
    """Whoever disabled it must enable it."""
    key = desk.ring.make(origin="EXTERNAL")
    desk.put(key)
    desk.ring.disable(key)
    desk.put(key)
    assert desk.ring.find(key).state == "Disabled"


# --- more material -------------------------------------------------------------------------------------------------


def test_more_material_waits_for_a_rotation(desk: Desk) -> None:
    """What is encrypted until then, and after it, opens by the material that is named."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    first = desk.put(key)
    with pytest.raises(KeyInvalidState) as caught:
        ring.rotate(key)
    assert caught.value.message == f"No available key material pending rotation for the key: {key.arn}."
    second = desk.put(key, OTHER, import_type=NEW, description="second")
    assert desk.states(key) == [("IMPORTED", "CURRENT"), ("IMPORTED", "PENDING_ROTATION")]
    assert ring.find(key).material_id == first
    old = ring.encrypt(key, b"old")
    with pytest.raises(KeyInvalidState) as caught:
        desk.put(key, os.urandom(32), import_type=NEW)
    assert caught.value.message == (
        f"New key material (id: {ciphertext.material_id(key.key_id, 3)}) cannot be imported into KMS key {key.key_id},"
        f" because another key material (id: {second}) is pending rotation."
    )
    rotated = ring.rotate(key)
    assert (rotated.material_id, rotated.on_demand) == (second, 1)
    assert desk.states(key) == [("IMPORTED", "NON_CURRENT"), ("IMPORTED", "CURRENT")]
    new = ring.encrypt(key, b"new")
    opened = [ring.open(key, blob) for blob in (old, new)]
    assert [(one.plaintext.reveal(), one.material_id) for one in opened] == [(b"old", first), (b"new", second)]


def test_a_key_needs_all_its_material(desk: Desk) -> None:
    """Not that which only waits."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    first = desk.put(key)
    second = desk.put(key, OTHER, import_type=NEW)
    desk.delete(key, second)
    assert ring.find(key).enabled
    assert desk.put(key, OTHER) == second
    ring.rotate(key)
    blob = ring.encrypt(key, b"x")
    desk.delete(key, first)
    assert ring.find(key).state == "PendingImport"
    with pytest.raises(KeyInvalidState):
        ring.decrypt(blob)
    assert desk.put(key) == first
    assert ring.decrypt(blob) == b"x"


def test_material_that_waited_in_vain_is_replaced(desk: Desk) -> None:
    """Its id is not given to the next one."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    desk.put(key)
    dropped = desk.put(key, OTHER, import_type=NEW)
    desk.delete(key, dropped)
    third = desk.put(key, os.urandom(32), import_type=NEW)
    assert third not in (dropped, None)
    assert ring.rotate(key).material_id == third
    assert desk.states(key) == [("IMPORTED", "NON_CURRENT"), ("IMPORTED", "CURRENT")]


def test_a_ciphertext_that_names_material_which_is_away_is_an_invalid_one(desk: Desk) -> None:
    """Only a forged one can: the material was deleted before anything was encrypted with it."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    desk.put(key)
    desk.delete(key, desk.put(key, OTHER, import_type=NEW))
    forged = ciphertext.head(key.key_id, 2) + ring.encrypt(key, b"x")[21:]
    with pytest.raises(InvalidCiphertext):
        ring.decrypt(forged)


def test_material_that_expired_while_it_waited_is_not_rotated_to(desk: Desk) -> None:
    """Nor does its end touch the key."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    first = desk.put(key)
    desk.put(key, OTHER, import_type=NEW, expiration_model=EXPIRES, valid_to=ring.now + timedelta(days=1))
    assert ring.find(key).expires is None
    ring.wait(days=1)
    for _ in range(2):
        with pytest.raises(KeyInvalidState, match="No available key material pending rotation"):
            ring.rotate(key)
        desk.sweep()
    assert (ring.find(key).state, ring.find(key).material_id) == ("Enabled", first)


def test_a_rotation_takes_the_expiry_along(desk: Desk) -> None:
    """The key ends with the first of its materials that does."""
    ring, key = desk.ring, desk.ring.make(origin="EXTERNAL")
    end = ring.now + timedelta(days=5)
    desk.put(key)
    desk.put(key, OTHER, import_type=NEW, expiration_model=EXPIRES, valid_to=end)
    assert ring.rotate(key).expires == end.timestamp()
    ring.wait(days=5)
    assert ring.find(key).state == "PendingImport"


@pytest.mark.parametrize(
    "given", [{"import_type": NEW}, {"material_id": "0" * 64}, {"description": "x"}, {"import_type": EXISTING}]
)
def test_what_is_said_of_symmetric_material_is_said_of_no_other(swift: Desk, given: dict[str, Any]) -> None:
    """Other keys have one material for ever."""
    key = swift.ring.make("HMAC_256", "GENERATE_VERIFY_MAC", "EXTERNAL")
    error: type[CallerError] = ValidationFailed
    with pytest.raises(error, match="only valid for symmetric encryption keys"):
        swift.put(key, **given)
