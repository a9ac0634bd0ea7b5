"""What keys do: on our server, on moto's, and as the bare call of the cryptographic library in this process.

The library's rate is the limit of one core. Its case counts what an operation cannot do without: a fresh nonce where
there is one, and the cipher; no request, no signature to verify, no key to find, nobody to be told.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

import boto3
from botocore.config import Config
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.benchmarks.load import Sample, drive
from tests.benchmarks.subjects import Subject
from tests.benchmarks.throughput import CONNECTIONS, Case
from tests.benchmarks.workloads import REGION, gets

DIFFERENT = 100  # requests of one operation that are sent in turn
_SIGNERS = 4  # connections that sign while others read
_READERS = 4
_BATCH = 16  # calls of the library between two looks at the clock
_P256, _PSS = "ECDSA_SHA_256", "RSASSA_PSS_SHA_256"
# Specs and usages of the keys that are made on each server.
_KEYS = {
    "symmetric": ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    "p256": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "rsa": ("RSA_2048", "SIGN_VERIFY"),
    "mac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
}
OPERATIONS = {
    "encrypt": "Encrypt",
    "decrypt": "Decrypt",
    "datakey": "GenerateDataKey",
    "sign-p256": "Sign",
    "sign-rsa": "Sign",
    "verify": "Verify",
    "mac": "GenerateMac",
}


class Keyed:
    """A server with a key of each kind, and the members of the requests for each of `OPERATIONS`."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        kms = _client(subject)
        keys = {
            kind: kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
            for kind, (spec, usage) in _KEYS.items()
        }
        contexts = [{"customer": str(4711 + number)} for number in range(DIFFERENT)]
        messages = [os.urandom(32) for _ in range(DIFFERENT)]
        under = [{"KeyId": keys["symmetric"], "EncryptionContext": context} for context in contexts]
        p256 = {"KeyId": keys["p256"], "SigningAlgorithm": _P256}
        rsa_key = {"KeyId": keys["rsa"], "SigningAlgorithm": _PSS}
        blobs = [
            kms.encrypt(Plaintext=message, **members)["CiphertextBlob"]
            for members, message in zip(under, messages, strict=True)
        ]
        signatures = [kms.sign(Message=message, **p256)["Signature"] for message in messages]
        self._members: dict[str, list[dict[str, Any]]] = {
            "encrypt": [
                {**members, "Plaintext": _text(message)} for members, message in zip(under, messages, strict=True)
            ],
            "decrypt": [
                {"CiphertextBlob": _text(blob), "EncryptionContext": context}
                for blob, context in zip(blobs, contexts, strict=True)
            ],
            "datakey": [{**members, "KeySpec": "AES_256"} for members in under],
            "sign-p256": [{**p256, "Message": _text(message)} for message in messages],
            "sign-rsa": [{**rsa_key, "Message": _text(message)} for message in messages],
            "verify": [
                {**p256, "Message": _text(message), "Signature": _text(signature)}
                for message, signature in zip(messages, signatures, strict=True)
            ],
            "mac": [
                {"KeyId": keys["mac"], "MacAlgorithm": "HMAC_SHA_256", "Message": _text(message)}
                for message in messages
            ],
        }

    def measure(self, operation: str, seconds: float, connections: int = CONNECTIONS) -> Sample:
        """One operation for so long."""
        subject = self.subject
        requests = subject.signer.key_requests(OPERATIONS[operation], self._members[operation], subject.port)
        return drive(subject.port, requests, connections=connections, seconds=seconds, cpu=subject.cpu)

    def readers(self, stored: int, seconds: float, beside: str | None) -> Sample:
        """GetSecretValue, while a process of its own keeps the server busy with the operation `beside`, if any."""
        requests = self.subject.signer.requests("GetSecretValue", gets(stored), self.subject.port)
        read = partial(drive, self.subject.port, requests, connections=_READERS, seconds=seconds)
        if beside is None:
            return read()
        fork = get_context("fork")
        other = fork.Process(target=self.measure, args=(beside, seconds + 0.2, _SIGNERS), daemon=True)
        other.start()
        time.sleep(0.1)  # until it is at work
        sample = read()
        other.join()
        return sample


def cases(ours: Keyed, moto: Keyed, seconds: float) -> dict[str, Case]:
    """Every case by its name, `operation server`."""
    found: dict[str, Case] = {}
    for operation, call in library().items():
        found[f"{operation} sqlite"] = partial(ours.measure, operation, seconds)
        found[f"{operation} moto"] = partial(moto.measure, operation, seconds)
        found[f"{operation} library"] = partial(_called, call, seconds)
    return found


@dataclass(frozen=True, slots=True)
class _Symmetric:
    """AES-256-GCM, as a symmetric encryption key uses it."""

    cipher: AESGCM
    context: bytes

    def encrypt(self, plaintext: bytes) -> bytes:
        """With a nonce of its own."""
        nonce = os.urandom(12)
        return nonce + self.cipher.encrypt(nonce, plaintext, self.context)

    def decrypt(self, blob: bytes) -> bytes:
        """The other way."""
        return self.cipher.decrypt(blob[:12], blob[12:], self.context)

    def data_key(self) -> bytes:
        """A new key, encrypted."""
        return self.encrypt(os.urandom(32))


def library() -> dict[str, Callable[[], object]]:
    """The bare call of each operation."""
    message, digest = os.urandom(32), hashes.SHA256()
    symmetric = _Symmetric(AESGCM(os.urandom(32)), os.urandom(37))
    p256, rsa_key = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    ecdsa, pss = ec.ECDSA(digest), padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
    keyed = hmac.HMAC(os.urandom(32), digest)

    def mac() -> bytes:
        fresh = keyed.copy()
        fresh.update(message)
        return fresh.finalize()

    return {
        "encrypt": partial(symmetric.encrypt, message),
        "decrypt": partial(symmetric.decrypt, symmetric.encrypt(message)),
        "datakey": symmetric.data_key,
        "sign-p256": partial(p256.sign, message, ecdsa),
        "sign-rsa": partial(rsa_key.sign, message, pss, digest),
        "verify": partial(p256.public_key().verify, p256.sign(message, ecdsa), message, ecdsa),
        "mac": mac,
    }


def _called(call: Callable[[], object], seconds: float) -> Sample:
    """A call of the library, again and again in one thread."""
    took: list[float] = []
    used = time.process_time()
    begun = now = time.perf_counter()
    while now < begun + seconds:
        before = now
        for _ in range(_BATCH):
            call()
        now = time.perf_counter()
        took.append((now - before) / _BATCH)
    used = time.process_time() - used
    slow = sorted(took)[len(took) * 99 // 100]
    return Sample(len(took) * _BATCH, 0, now - begun, median(took), slow, cpu=used, own_cpu=used)


def _client(subject: Subject) -> Any:
    return boto3.client(
        "kms",
        endpoint_url=f"http://127.0.0.1:{subject.port}",
        region_name=REGION,
        aws_access_key_id=subject.signer.access_key_id,
        aws_secret_access_key=subject.signer.secret.reveal(),
        config=Config(retries={"total_max_attempts": 1}),
    )


def _text(data: bytes) -> str:
    return b64encode(data).decode()
