"""openssl and keywheel with the same keys: each takes what the other signed, encrypted, agreed on and wrapped.

What openssl 3.0 does not know, ML-DSA, is judged by an implementation in plain Python.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65, ML_DSA_87

from keywheel.keys import ciphertext
from tests.conformance.server import refusal
from tests.known_answers.bench import OAEP_SHA256, Bench

SIGN, ENCRYPT, MAC, AGREE = "SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"
MESSAGE = bytes(range(256)) * 5
OAEP_SHA1 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1")
OAEP = {"RSAES_OAEP_SHA_1": OAEP_SHA1, "RSAES_OAEP_SHA_256": OAEP_SHA256}
RSA = [f"RSASSA_{kind}_SHA_{bits}" for kind in ("PSS", "PKCS1_V1_5") for bits in (256, 384, 512)]
# How openssl makes a private key of a spec, and what it signs with.
MADE = {
    **{f"RSA_{bits}": ("RSA", f"rsa_keygen_bits:{bits}") for bits in (2048, 3072, 4096)},
    "ECC_NIST_P256": ("EC", "ec_paramgen_curve:P-256"),
    "ECC_NIST_P384": ("EC", "ec_paramgen_curve:P-384"),
    "ECC_NIST_P521": ("EC", "ec_paramgen_curve:P-521"),
    "ECC_SECG_P256K1": ("EC", "ec_paramgen_curve:secp256k1"),
    "ECC_NIST_EDWARDS25519": ("ED25519",),
}
SIGNING = [
    *((f"RSA_{bits}", algorithm) for bits in (2048, 3072, 4096) for algorithm in RSA),
    ("ECC_NIST_P256", "ECDSA_SHA_256"),
    ("ECC_NIST_P384", "ECDSA_SHA_384"),
    ("ECC_NIST_P521", "ECDSA_SHA_512"),
    ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
    ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
]
ML_DSA: dict[str, Any] = {"ML_DSA_44": ML_DSA_44, "ML_DSA_65": ML_DSA_65, "ML_DSA_87": ML_DSA_87}


class Keys:
    """Private keys that openssl made: in a file, and imported."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._files: dict[str, str] = {}

    def file(self, spec: str) -> str:
        """The file of the key of a spec, as PKCS #8 in DER."""
        if spec not in self._files:
            algorithm, *options = MADE[spec]
            chosen = [word for option in options for word in ("-pkeyopt", option)]
            made = self.bench.openssl("genpkey", "-algorithm", algorithm, *chosen, "-outform", "DER")
            self._files[spec] = self.bench.file(self.bench.openssl("pkcs8", "-topk8", "-nocrypt", "-inform", "DER",
                                                                   "-outform", "DER", stdin=made))  # fmt: skip
        return self._files[spec]

    def imported(self, spec: str, usage: str) -> str:
        """The id of the same key in the server."""
        return self.bench.imported(spec, usage, Path(self.file(spec)).read_bytes())

    def public(self, spec: str) -> bytes:
        """Its public half, as openssl writes it."""
        return self.bench.openssl("pkey", "-in", self.file(spec), "-inform", "DER", "-pubout", "-outform", "DER")


@pytest.fixture(scope="module")
def keys(bench: Bench) -> Keys:
    """Made once."""
    return Keys(bench)


def hashing(algorithm: str) -> list[str]:
    """The options of `openssl dgst` for a signing algorithm."""
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if "PSS" in algorithm else []
    return [f"-sha{algorithm[-3:]}", *pss]


def signed_by_openssl(keys: Keys, spec: str, algorithm: str) -> bytes:
    """The signature of the message by openssl."""
    bench, key = keys.bench, keys.file(spec)
    if algorithm.startswith("ED25519"):  # `dgst` knows no algorithm that hashes by itself
        return bench.openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-keyform", "DER",
                             "-in", bench.file(MESSAGE))  # fmt: skip
    return bench.openssl("dgst", *hashing(algorithm), "-sign", key, "-keyform", "DER", bench.file(MESSAGE))


def openssl_takes(bench: Bench, public: bytes, algorithm: str, message: bytes, signature: bytes) -> bool:
    """Whether openssl takes a signature, given nothing but the public key."""
    key, given, what = bench.file(public), bench.file(signature), bench.file(message)
    if algorithm.startswith("ED25519"):
        return bench.openssl_takes("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key, "-keyform", "DER",
                                   "-sigfile", given, "-in", what)  # fmt: skip
    return bench.openssl_takes(
        "dgst", *hashing(algorithm), "-verify", key, "-keyform", "DER", "-signature", given, what
    )


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_each_takes_the_others_signatures(keys: Keys, spec: str, algorithm: str) -> None:
    """With the same key, by every algorithm; and neither takes one of another message."""
    bench, kms = keys.bench, keys.bench.kms
    key_id = keys.imported(spec, SIGN)
    assert bench.public(key_id) == keys.public(spec)
    this = {"KeyId": key_id, "SigningAlgorithm": algorithm}
    theirs = signed_by_openssl(keys, spec, algorithm)
    assert kms.verify(Message=MESSAGE, Signature=theirs, **this)["SignatureValid"] is True
    assert refusal(kms.verify, Message=MESSAGE + b".", Signature=theirs, **this) == ("KMSInvalidSignatureException", "")
    ours = [kms.sign(Message=MESSAGE, **this)["Signature"]]
    if not algorithm.startswith("ED25519"):
        digest = hashlib.new(f"sha{algorithm[-3:]}", MESSAGE).digest()
        assert kms.verify(Message=digest, MessageType="DIGEST", Signature=theirs, **this)["SignatureValid"] is True
        ours.append(kms.sign(Message=digest, MessageType="DIGEST", **this)["Signature"])
    for signature in ours:
        assert openssl_takes(bench, keys.public(spec), algorithm, MESSAGE, signature)
        assert not openssl_takes(bench, keys.public(spec), algorithm, MESSAGE + b".", signature)


@pytest.mark.parametrize("spec", ["RSA_2048", "RSA_3072", "RSA_4096"])
@pytest.mark.parametrize(("algorithm", "options"), OAEP.items())
def test_each_opens_what_the_other_encrypted(keys: Keys, spec: str, algorithm: str, options: tuple[str, ...]) -> None:
    """And not as if it were encrypted by the other algorithm."""
    bench, kms = keys.bench, keys.bench.kms
    this = {"KeyId": keys.imported(spec, ENCRYPT), "EncryptionAlgorithm": algorithm}
    theirs = bench.encrypted(keys.public(spec), b"attack at dawn", options)
    assert kms.decrypt(CiphertextBlob=theirs, **this)["Plaintext"] == b"attack at dawn"
    other = "RSAES_OAEP_SHA_1" if algorithm.endswith("256") else "RSAES_OAEP_SHA_256"
    mistaken = refusal(kms.decrypt, CiphertextBlob=theirs, **{**this, "EncryptionAlgorithm": other})
    assert mistaken == ("InvalidCiphertextException", "")
    ours = kms.encrypt(Plaintext=b"attack at dusk", **this)["CiphertextBlob"]
    chosen = [word for option in options for word in ("-pkeyopt", option)]
    key = ("-inkey", keys.file(spec), "-keyform", "DER")
    assert bench.openssl("pkeyutl", "-decrypt", *key, *chosen, "-in", bench.file(ours)) == b"attack at dusk"


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
def test_both_agree_on_one_secret(keys: Keys, spec: str) -> None:
    """A key of the server's own and one of openssl's."""
    bench = keys.bench
    ours = bench.key(spec, AGREE)
    secret = bench.kms.derive_shared_secret(KeyId=ours, KeyAgreementAlgorithm="ECDH", PublicKey=keys.public(spec))
    peer = ("-peerkey", bench.file(bench.public(ours)), "-peerform", "DER")
    assert secret["SharedSecret"] == bench.openssl(
        "pkeyutl", "-derive", "-inkey", keys.file(spec), "-keyform", "DER", *peer
    )


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_both_make_one_mac(bench: Bench, bits: int) -> None:
    """With an imported key."""
    material = bytes(range(bits // 8))
    key_id = bench.imported(f"HMAC_{bits}", MAC, material)
    made = bench.kms.generate_mac(KeyId=key_id, Message=MESSAGE, MacAlgorithm=f"HMAC_SHA_{bits}")["Mac"]
    option = ("-mac", "HMAC", "-macopt", f"hexkey:{material.hex()}")
    assert made == bench.openssl("dgst", f"-sha{bits}", *option, "-binary", stdin=MESSAGE)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_SECG_P256K1"])
def test_openssl_signs_with_a_data_key_pair(bench: Bench, spec: str) -> None:
    """The private half that a caller gets is one that openssl reads, and belongs to the public half."""
    wrapping = bench.key("SYMMETRIC_DEFAULT", ENCRYPT)
    pair = bench.kms.generate_data_key_pair(KeyId=wrapping, KeyPairSpec=spec)
    key = bench.file(pair["PrivateKeyPlaintext"])
    assert bench.openssl("pkey", "-in", key, "-inform", "DER", "-pubout", "-outform", "DER") == pair["PublicKey"]
    signature = bench.openssl("dgst", "-sha256", "-sign", key, "-keyform", "DER", bench.file(MESSAGE))
    assert openssl_takes(bench, pair["PublicKey"], "ECDSA_SHA_256", MESSAGE, signature)


# --- symmetric encryption, read by its documented format --------------------------------------------------------------


def multiplied(x: int, y: int) -> int:
    """The product in the field of GHASH (NIST SP 800-38D, 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = (y >> 1) ^ (0xE1 << 120 if y & 1 else 0)
    return product


def tag_of(bench: Bench, key: bytes, nonce: bytes, data: bytes, body: bytes) -> bytes:
    """The tag of AES-GCM; of openssl it needs AES alone."""

    def aes(block: bytes) -> int:
        made = bench.openssl("enc", "-aes-256-ecb", "-nopad", "-K", key.hex(), stdin=block)
        return int.from_bytes(made)

    padded = b"".join(part + bytes(-len(part) % 16) for part in (data, body))
    blocks = padded + (len(data) * 8).to_bytes(8) + (len(body) * 8).to_bytes(8)
    subkey, state = aes(bytes(16)), 0
    for place in range(0, len(blocks), 16):
        state = multiplied(state ^ int.from_bytes(blocks[place : place + 16]), subkey)
    return (state ^ aes(nonce + b"\0\0\0\1")).to_bytes(16)


def test_a_ciphertext_is_aes_gcm_over_the_documented_bytes(bench: Bench) -> None:
    """Format, key id, generation, nonce, body, tag; the head and the context are what the tag covers."""
    material = bytes(range(32))
    key_id = bench.imported("SYMMETRIC_DEFAULT", ENCRYPT, material)
    context = {"purpose": "test", "größe": "1"}
    blob = bench.kms.encrypt(KeyId=key_id, Plaintext=b"attack at dawn", EncryptionContext=context)["CiphertextBlob"]
    head, nonce, body, tag = blob[:21], blob[21:33], blob[33:-16], blob[-16:]
    assert head == b"\1" + bytes.fromhex(key_id.replace("-", "")) + (1).to_bytes(4)
    counter = (nonce + b"\0\0\0\2").hex()
    opened = bench.openssl("enc", "-d", "-aes-256-ctr", "-K", material.hex(), "-iv", counter, stdin=body)
    assert opened == b"attack at dawn"
    # Each pair's key and value with their lengths, in the order of the keys.
    pairs = b"".join(
        len(text).to_bytes(4) + text for text in ("größe".encode(), b"1", b"purpose", b"test")
    )  # fmt: skip
    assert ciphertext.context_bytes(context) == pairs
    assert tag == tag_of(bench, material, nonce, head + pairs, body)


# --- ML-DSA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ML_DSA)
def test_another_implementation_takes_ml_dsa(bench: Bench, spec: str) -> None:
    """Signatures of messages and of representatives made outside; and the server takes that one's."""
    scheme, kms = ML_DSA[spec], bench.kms
    this = {"KeyId": bench.key(spec, SIGN), "SigningAlgorithm": "ML_DSA_SHAKE_256"}
    raw = bench.public(this["KeyId"])[22:]  # behind the SubjectPublicKeyInfo's algorithm
    mu = scheme.prehash_external_mu(raw, MESSAGE)
    for given in ({"Message": MESSAGE}, {"Message": mu, "MessageType": "EXTERNAL_MU"}):
        signature = kms.sign(**given, **this)["Signature"]
        assert scheme.verify(raw, MESSAGE, signature)
        assert not scheme.verify(raw, MESSAGE + b".", signature)
        assert not scheme.verify(raw, MESSAGE, signature, ctx=b"x")
        assert kms.verify(Message=mu, MessageType="EXTERNAL_MU", Signature=signature, **this)["SignatureValid"] is True


@pytest.mark.parametrize("spec", ML_DSA)
def test_the_signatures_of_another_implementation_are_taken(bench: Bench, spec: str) -> None:
    """With its private key, imported as a seed. What it signed with a context is not taken."""
    scheme, kms, seed = ML_DSA[spec], bench.kms, bytes(range(32))
    public, private = scheme.key_derive(seed)
    identifier = 17 + list(ML_DSA).index(spec)  # of 2.16.840.1.101.3.4.3
    pkcs8 = bytes.fromhex(f"3034020100300b06096086480165030403{identifier:02x}04228020") + seed
    key_id = bench.imported(spec, SIGN, pkcs8)
    assert bench.public(key_id)[22:] == public
    this = {"KeyId": key_id, "SigningAlgorithm": "ML_DSA_SHAKE_256", "Message": MESSAGE}
    assert kms.verify(Signature=scheme.sign(private, MESSAGE), **this)["SignatureValid"] is True
    other = scheme.sign(private, MESSAGE, ctx=b"x")
    assert refusal(kms.verify, Signature=other, **this) == ("KMSInvalidSignatureException", "")
