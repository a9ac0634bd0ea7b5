"""Project Wycheproof's vectors through what is composed here: algorithms by their names in KMS, imports, formats.

The library runs the whole project itself. The selection has one vector of each kind; what KMS has no name for (a PSS
salt of another length, an ECDSA signature as two numbers, an OAEP label, an ML-DSA context) must not be taken.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem

from keywheel.errors import DecryptionFailure
from keywheel.keys import algorithms
from keywheel.keys.algorithms import CURVES, DIGEST, EXTERNAL_MU, RAW
from keywheel.keys.errors import KeyInvalidSignature
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.sensitive import Sensitive
from tests.conformance.server import refusal
from tests.known_answers.bench import Bench
from tests.known_answers.vectors import named, wycheproof

LABEL = b"a test's"
SIGN, ENCRYPT, MAC, AGREE = "SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"
_SEEDS: dict[str, Any] = {"ML_KEM_768": mlkem.MLKEM768PrivateKey, "ML_KEM_1024": mlkem.MLKEM1024PrivateKey}


def forms(vector: dict[str, Any]) -> list[tuple[str, bytes]]:
    """The message types in which a message can be given, and what is given."""
    given = [(RAW, vector["message"])]
    digest = algorithms.SCHEMES[vector["algorithm"]].hash
    if digest is not None:
        given.append((DIGEST, hashlib.new(digest.name, vector["message"]).digest()))
    if "mu" in vector:
        given.append((EXTERNAL_MU, vector["mu"]))
    return given


@pytest.mark.parametrize("vector", wycheproof("verify"), ids=named)
def test_a_signature_verifies_or_not(vector: dict[str, Any]) -> None:
    """Of the message, and of whatever KMS takes in its place."""
    for message_type, message in forms(vector):
        given = vector["public"], message, vector["signature"], vector["algorithm"], message_type
        if vector["valid"]:
            algorithms.verify(*given)
        else:
            with pytest.raises(KeyInvalidSignature):
                algorithms.verify(*given)


@pytest.mark.parametrize("vector", wycheproof("sign"), ids=named)
def test_a_signature_is_the_published_one(bench: Bench, vector: dict[str, Any]) -> None:
    """PKCS #1 v1.5 has one signature for each message. The key is imported."""
    key_id = bench.imported(vector["key"], SIGN, vector["private"])
    this = {"KeyId": key_id, "SigningAlgorithm": vector["algorithm"]}
    for message_type, message in forms(vector):
        given = {"Message": message, "MessageType": message_type, **this}
        assert bench.kms.sign(**given)["Signature"] == vector["signature"]
        assert bench.kms.verify(Signature=vector["signature"], **given)["SignatureValid"] is True


@pytest.mark.parametrize("vector", wycheproof("agree"), ids=named)
def test_a_shared_secret_is_the_published_one(bench: Bench, vector: dict[str, Any]) -> None:
    """The x coordinate, as long as the curve's field; and no secret with a point of another curve or of none."""
    number = int.from_bytes(vector["private"])
    private = algorithms.private_der(ec.derive_private_key(number, CURVES[vector["key"]]))
    key_id = bench.imported(vector["key"], AGREE, private)
    asked = {"KeyId": key_id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": vector["public"]}
    if "secret" in vector:
        assert bench.kms.derive_shared_secret(**asked)["SharedSecret"] == vector["secret"]
    else:
        assert refusal(bench.kms.derive_shared_secret, **asked)[0] == "ValidationException"


@pytest.mark.parametrize("vector", wycheproof("mac"), ids=named)
def test_a_mac_is_the_published_one(bench: Bench, vector: dict[str, Any]) -> None:
    """With an imported key."""
    algorithm = vector["key"].replace("_", "_SHA_")
    asked = {"KeyId": bench.imported(vector["key"], MAC, vector["material"]), "MacAlgorithm": algorithm}
    made = bench.kms.generate_mac(Message=vector["message"], **asked)["Mac"]
    assert (made == vector["mac"]) is vector["valid"]
    given = {"Message": vector["message"], "Mac": vector["mac"], **asked}
    if vector["valid"]:
        assert bench.kms.verify_mac(**given)["MacValid"] is True
    else:
        assert refusal(bench.kms.verify_mac, **given)[0] == "KMSInvalidMacException"


@pytest.mark.parametrize("vector", wycheproof("open"), ids=named)
def test_a_ciphertext_opens_or_not(bench: Bench, vector: dict[str, Any]) -> None:
    """RSA-OAEP with an imported key. What was encrypted with a label is none of KMS."""
    key_id = bench.imported(vector["key"], ENCRYPT, vector["private"])
    for case in vector["cases"]:
        asked = {"KeyId": key_id, "EncryptionAlgorithm": vector["algorithm"], "CiphertextBlob": case["ciphertext"]}
        if "plaintext" in case:
            assert bench.kms.decrypt(**asked)["Plaintext"] == case["plaintext"]
        else:
            assert refusal(bench.kms.decrypt, **asked) == ("InvalidCiphertextException", "")


@pytest.mark.parametrize("vector", wycheproof("unwrap"), ids=named)
def test_wrapped_material_is_unwrapped(bench: Bench, vector: dict[str, Any]) -> None:
    """RSA_AES_KEY_WRAP: AES key wrap with padding, its key by OAEP. Padding that is not right is refused."""
    key_id = bench.waiting("HMAC_256", MAC)
    parameters = bench.parameters(key_id, "RSA_AES_KEY_WRAP_SHA_256")
    sent = bench.encrypted(parameters["PublicKey"], vector["ephemeral"]) + vector["wrapped"]
    if "material" not in vector:
        refused = refusal(bench.send, key_id=key_id, parameters=parameters, wrapped=sent)
        assert refused[0] == "InvalidCiphertextException"
        return
    bench.send(key_id, parameters, sent)
    made = bench.kms.generate_mac(KeyId=key_id, Message=b"x", MacAlgorithm="HMAC_SHA_256")["Mac"]
    by_openssl = bench.openssl(
        "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{vector['material'].hex()}", "-binary", stdin=b"x"
    )
    assert made == by_openssl


@pytest.mark.parametrize("vector", wycheproof("decapsulate"), ids=named)
def test_a_secret_is_decapsulated(vector: dict[str, Any]) -> None:
    """ML-KEM from the seed. A ciphertext of another length is no ciphertext."""
    store = SoftwareKeyStore(Sensitive(os.urandom(32)))
    private = _SEEDS[vector["key"]].from_seed_bytes(vector["seed"])
    handle = store.wrap(algorithms.private_der(private), LABEL)
    if "secret" in vector:
        assert store.decapsulate(handle, LABEL, vector["ciphertext"]) == vector["secret"]
    else:
        with pytest.raises(DecryptionFailure):
            store.decapsulate(handle, LABEL, vector["ciphertext"])


@pytest.mark.parametrize("vector", wycheproof("decrypt"), ids=named)
def test_aes_gcm_opens_or_not(vector: dict[str, Any]) -> None:
    """As a key store seals: nonce, body, tag."""
    store = SoftwareKeyStore(Sensitive(os.urandom(32)))
    handle = store.wrap(vector["material"], LABEL)
    if "plaintext" in vector:
        assert store.decrypt(handle, LABEL, vector["sealed"], vector["context"]) == vector["plaintext"]
    else:
        with pytest.raises(DecryptionFailure):
            store.decrypt(handle, LABEL, vector["sealed"], vector["context"])
