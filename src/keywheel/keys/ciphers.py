"""Encrypt, decrypt, re-encrypt, data keys: what callers of AWS KMS do with encryption keys.

Each method refuses what the key's state, usage or spec does not allow. Why a ciphertext does not open is never said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, UnsupportedOperation, ValidationFailed
from keywheel.keys import algorithms, ciphertext, rows, specs, states
from keywheel.keys.errors import IncorrectKey, InvalidCiphertext, InvalidKeyUsage
from keywheel.keys.materials import Materials
from keywheel.keys.rows import Key
from keywheel.keys.specs import ENCRYPT, SPECS, SYMMETRIC
from keywheel.sensitive import Sensitive

_OTHER_KEY = "The key ID in the request does not identify a CMK that can perform this operation."
_NO_CONTEXT: Mapping[str, str] = MappingProxyType({})


class Opened(NamedTuple):
    """A plaintext, and the key material that opened it, where that has an id."""

    plaintext: Sensitive[bytes]
    material_id: str | None


class Source(NamedTuple):
    """What is re-encrypted."""

    key: Key
    blob: bytes
    context: Mapping[str, str] = _NO_CONTEXT
    algorithm: str = SYMMETRIC


class Destination(NamedTuple):
    """Under what it is encrypted again."""

    key: Key
    context: Mapping[str, str] = _NO_CONTEXT
    algorithm: str = SYMMETRIC


class ReEncrypted(NamedTuple):
    """The new ciphertext, and the key materials of the old one and of the new one."""

    blob: bytes
    source_material_id: str | None
    destination_material_id: str | None


class DataKey(NamedTuple):
    """A data key in plain and encrypted."""

    plaintext: Sensitive[bytes]
    blob: bytes
    material_id: str | None


class DataKeyPair(NamedTuple):
    """A data key pair: its private half as PKCS #8 in plain and encrypted, its public half as SubjectPublicKeyInfo."""

    private: Sensitive[bytes]
    blob: bytes
    public: bytes
    material_id: str | None


def require_usage(key: Key, operation: str, usage: str) -> None:
    """Nothing, when the key's state and usage allow `operation`.

    Raises:
        KeyDisabled, KeyInvalidState: the state does not.
        InvalidKeyUsage: it is for another usage.
    """
    states.check(operation, key.state, key.origin, key.arn)
    if key.usage != usage:
        raise InvalidKeyUsage(f"{key.arn} key usage is {key.usage} which is not valid for {operation}.")


class Ciphers:
    """Encryption with the keys of every account and Region."""

    def __init__(self, materials: Materials) -> None:
        self._materials = materials
        self._store = materials.store

    def encrypt(
        self,
        tx: Tx,
        key: Key,
        plaintext: Sensitive[bytes],
        context: Mapping[str, str] = _NO_CONTEXT,
        algorithm: str = SYMMETRIC,
    ) -> bytes:
        """`plaintext` under a key.

        Raises:
            KeyDisabled, KeyInvalidState, InvalidKeyUsage: the key is not for that, or not now.
            ValidationFailed: it is too long.
        """
        return self._encrypt(tx, key, "Encrypt", plaintext, context, algorithm)

    def _encrypt(
        self,
        tx: Tx,
        key: Key,
        operation: str,
        plaintext: Sensitive[bytes],
        context: Mapping[str, str],
        algorithm: str,
    ) -> bytes:
        require_usage(key, operation, ENCRYPT)
        SPECS[key.spec].require(algorithm, key.usage)
        specs.require_plaintext(key.spec, algorithm, len(plaintext.reveal()))
        if algorithm == SYMMETRIC:
            return self._seal(tx, key, plaintext.reveal(), ciphertext.context_bytes(context))
        _refuse_context(context)
        return algorithms.encrypt_to(self._materials.public(tx, key), plaintext.reveal(), algorithm)

    def _seal(self, tx: Tx, key: Key, plaintext: bytes, context: bytes) -> bytes:
        handle, head = self._materials.current(tx, key)
        store = self._materials.store_for(tx, key.store_id)
        return head + store.encrypt(handle, head, plaintext, head + context)

    def decrypt(
        self, tx: Tx, key: Key, blob: bytes, context: Mapping[str, str] = _NO_CONTEXT, algorithm: str = SYMMETRIC
    ) -> Opened:
        """The plaintext of a ciphertext that was made under the key.

        Raises:
            KeyDisabled, KeyInvalidState, InvalidKeyUsage: the key is not for that, or not now.
            IncorrectKey: it was made under another key.
            InvalidCiphertext: it does not open.
        """
        return self._decrypt(tx, key, "Decrypt", blob, context, algorithm)

    def _decrypt(
        self, tx: Tx, key: Key, operation: str, blob: bytes, context: Mapping[str, str], algorithm: str
    ) -> Opened:
        if algorithm == SYMMETRIC:
            if key.spec != SYMMETRIC:
                raise IncorrectKey(_OTHER_KEY)
            states.check(operation, key.state, key.origin, key.arn)
            return self._open(tx, key, blob, ciphertext.context_bytes(context))
        require_usage(key, operation, ENCRYPT)
        SPECS[key.spec].require(algorithm, key.usage)
        _refuse_context(context)
        handle, label = self._materials.current(tx, key)
        try:
            return Opened(Sensitive(self._store.open(handle, label, blob, algorithm)), None)
        except DecryptionFailure:
            raise InvalidCiphertext from None

    def _open(self, tx: Tx, key: Key, blob: bytes, context: bytes) -> Opened:
        try:
            head, body = ciphertext.split(blob)
            key_id, generation = ciphertext.backing_key(head)
            if key_id == key.key_id:
                handle = self._materials.handle(tx, head)
                store = self._materials.store_for(tx, key.store_id)
                plaintext = Sensitive(store.decrypt(handle, head, body, head + context))
                return Opened(plaintext, ciphertext.material_id(key_id, generation))
        except DecryptionFailure:
            raise InvalidCiphertext from None
        if rows.key_states.first(tx, key_id=key_id) is None:  # no key's: a spoiled head
            raise InvalidCiphertext
        raise IncorrectKey(_OTHER_KEY)

    def re_encrypt(self, tx: Tx, source: Source, destination: Destination) -> ReEncrypted:
        """A ciphertext under another key, context or algorithm; its plaintext stays here.

        Raises:
            KeyDisabled, KeyInvalidState, InvalidKeyUsage, IncorrectKey, InvalidCiphertext: as by `decrypt`.
            ValidationFailed: as by `encrypt`.
        """
        opened = self._decrypt(tx, source.key, "ReEncrypt", source.blob, source.context, source.algorithm)
        blob = self._encrypt(
            tx, destination.key, "ReEncrypt", opened.plaintext, destination.context, destination.algorithm
        )
        return ReEncrypted(blob, opened.material_id, destination.key.material_id)

    def generate_data_key(
        self, tx: Tx, key: Key, context: Mapping[str, str], length: int, operation: str = "GenerateDataKey"
    ) -> DataKey:
        """A new data key of `length` bytes under a symmetric encryption key.

        Raises:
            KeyDisabled, KeyInvalidState, InvalidKeyUsage: the key is not for that, or not now.
        """
        _require_symmetric(key, operation)
        plaintext = os.urandom(length)
        blob = self._seal(tx, key, plaintext, ciphertext.context_bytes(context))
        return DataKey(Sensitive(plaintext), blob, key.material_id)

    def generate_data_key_pair(
        self, tx: Tx, key: Key, context: Mapping[str, str], pair_spec: str, operation: str = "GenerateDataKeyPair"
    ) -> DataKeyPair:
        """A new key pair of `pair_spec`, its private half under a symmetric encryption key. Slow for RSA.

        Raises:
            KeyDisabled, KeyInvalidState, InvalidKeyUsage: the key is not for that, or not now.
            UnsupportedOperation: there are no such pairs here.
        """
        _require_symmetric(key, operation)
        spec = SPECS.get(pair_spec)
        if spec is None or spec.kind != "asymmetric":
            raise ValidationFailed(f"There is no key pair spec {pair_spec}.")
        specs.require_served(pair_spec)
        if key.origin not in (states.AWS_KMS, states.EXTERNAL):
            raise UnsupportedOperation(f"{key.arn} origin is {key.origin} which is not valid for this operation.")
        private = algorithms.generate(pair_spec)
        encoded = Sensitive(algorithms.private_der(private))
        blob = self._seal(tx, key, encoded.reveal(), ciphertext.context_bytes(context))
        return DataKeyPair(encoded, blob, algorithms.public_der(private.public_key()), key.material_id)

    @staticmethod
    def random(length: int) -> Sensitive[bytes]:
        """So many random bytes."""
        return Sensitive(os.urandom(length))


def _require_symmetric(key: Key, operation: str) -> None:
    require_usage(key, operation, ENCRYPT)
    if key.spec != SYMMETRIC:
        raise InvalidKeyUsage(f"{key.arn} key spec is {key.spec} which is not valid for {operation}.")


def _refuse_context(context: Mapping[str, str]) -> None:
    if context:
        raise ValidationFailed("An encryption context is only supported with symmetric encryption keys.")
