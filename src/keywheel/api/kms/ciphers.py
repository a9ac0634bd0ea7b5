"""Encryption, decryption and data keys. A plaintext is in no log and no entry of the audit ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keywheel.access.door import Caller, authorize
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import find, missed, permit, refuse_recipient, used
from keywheel.api.kms.stores import random_of
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.errors import ValidationFailed
from keywheel.keys.ciphers import DataKey, DataKeyPair, Destination, Source
from keywheel.keys.errors import DryRunOperation
from keywheel.keys.keyring import Key
from keywheel.sensitive import Sensitive

R = TypeVar("R")

_SYMMETRIC = "SYMMETRIC_DEFAULT"
_BYTES = {"AES_128": 16, "AES_256": 32}
_NO_CIPHERTEXT = (
    "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"
)


def encrypt(rooms: Rooms, caller: Caller, request: s.EncryptRequest) -> s.EncryptResponse:
    """Encrypt a few kilobytes under a key."""
    algorithm = request.encryption_algorithm or _SYMMETRIC
    plaintext, context = Sensitive(request.plaintext), request.encryption_context or {}

    def work(tx: Tx, key: Key) -> bytes:
        return rooms.keys.ciphers.encrypt(tx, key, plaintext, context, algorithm)

    key, blob = _with_key(rooms, caller, request, "Encrypt", work)
    return s.EncryptResponse(ciphertext_blob=blob, key_id=key.arn, encryption_algorithm=algorithm)


def decrypt(rooms: Rooms, caller: Caller, request: s.DecryptRequest) -> s.DecryptResponse:
    """Open a ciphertext. That of a symmetric key says itself which key made it."""
    refuse_recipient(request.recipient)
    algorithm, context = request.encryption_algorithm or _SYMMETRIC, request.encryption_context or {}
    with rooms.database.point() as tx:
        if _ignores_ciphertext(request):
            find(rooms, tx, caller, "Decrypt", _named(request.key_id, "KeyId"), aliases=True, request=request)
            raise DryRunOperation
        blob = _given(request.ciphertext_blob)
        key = _source(rooms, tx, caller, "Decrypt", request.key_id, blob, algorithm, request)
        opened = rooms.keys.ciphers.decrypt(tx, key, blob, context, algorithm)
    used(rooms, key, "Decrypt", dry_run=request.dry_run)
    return s.DecryptResponse(
        key_id=key.arn,
        plaintext=opened.plaintext.reveal(),
        encryption_algorithm=algorithm,
        key_material_id=opened.material_id,
    )


def re_encrypt(rooms: Rooms, caller: Caller, request: s.ReEncryptRequest) -> s.ReEncryptResponse:
    """Encrypt anew under another key, context or algorithm; the plaintext stays inside."""
    from_algorithm = request.source_encryption_algorithm or _SYMMETRIC
    to_algorithm = request.destination_encryption_algorithm or _SYMMETRIC
    with rooms.database.point() as tx:
        if _ignores_ciphertext(request):
            named = _named(request.source_key_id, "SourceKeyId")
            find(rooms, tx, caller, "ReEncryptFrom", named, aliases=True, request=request)
            find(rooms, tx, caller, "ReEncryptTo", request.destination_key_id, aliases=True, request=request)
            raise DryRunOperation
        blob = _given(request.ciphertext_blob)
        source = _source(rooms, tx, caller, "ReEncryptFrom", request.source_key_id, blob, from_algorithm, request)
        destination = find(rooms, tx, caller, "ReEncryptTo", request.destination_key_id, aliases=True, request=request)
        made = rooms.keys.ciphers.re_encrypt(
            tx,
            Source(source, blob, request.source_encryption_context or {}, from_algorithm),
            Destination(destination, request.destination_encryption_context or {}, to_algorithm),
        )
    used(rooms, source, "ReEncrypt", dry_run=request.dry_run)
    used(rooms, destination, "ReEncrypt", dry_run=False)
    return s.ReEncryptResponse(
        ciphertext_blob=made.blob,
        source_key_id=source.arn,
        key_id=destination.arn,
        source_encryption_algorithm=from_algorithm,
        destination_encryption_algorithm=to_algorithm,
        source_key_material_id=made.source_material_id,
        destination_key_material_id=made.destination_material_id,
    )


# --- data keys


def generate_data_key(rooms: Rooms, caller: Caller, request: s.GenerateDataKeyRequest) -> s.GenerateDataKeyResponse:
    """A new data key: in plain, and under a key."""
    refuse_recipient(request.recipient)
    key, made = _data_key(rooms, caller, request, "GenerateDataKey")
    return s.GenerateDataKeyResponse(
        ciphertext_blob=made.blob, plaintext=made.plaintext.reveal(), key_id=key.arn, key_material_id=made.material_id
    )


def generate_data_key_without_plaintext(
    rooms: Rooms, caller: Caller, request: s.GenerateDataKeyWithoutPlaintextRequest
) -> s.GenerateDataKeyWithoutPlaintextResponse:
    """A new data key, under a key only."""
    key, made = _data_key(rooms, caller, request, "GenerateDataKeyWithoutPlaintext")
    return s.GenerateDataKeyWithoutPlaintextResponse(
        ciphertext_blob=made.blob, key_id=key.arn, key_material_id=made.material_id
    )


def generate_data_key_pair(
    rooms: Rooms, caller: Caller, request: s.GenerateDataKeyPairRequest
) -> s.GenerateDataKeyPairResponse:
    """A new key pair: its private half in plain, and under a key."""
    refuse_recipient(request.recipient)
    key, made = _data_key_pair(rooms, caller, request, "GenerateDataKeyPair")
    return s.GenerateDataKeyPairResponse(
        private_key_ciphertext_blob=made.blob,
        private_key_plaintext=made.private.reveal(),
        public_key=made.public,
        key_id=key.arn,
        key_pair_spec=request.key_pair_spec,
        key_material_id=made.material_id,
    )


def generate_data_key_pair_without_plaintext(
    rooms: Rooms, caller: Caller, request: s.GenerateDataKeyPairWithoutPlaintextRequest
) -> s.GenerateDataKeyPairWithoutPlaintextResponse:
    """A new key pair, its private half under a key only."""
    key, made = _data_key_pair(rooms, caller, request, "GenerateDataKeyPairWithoutPlaintext")
    return s.GenerateDataKeyPairWithoutPlaintextResponse(
        private_key_ciphertext_blob=made.blob,
        public_key=made.public,
        key_id=key.arn,
        key_pair_spec=request.key_pair_spec,
        key_material_id=made.material_id,
    )


def generate_random(rooms: Rooms, caller: Caller, request: s.GenerateRandomRequest) -> s.GenerateRandomResponse:
    """Random bytes."""
    authorize(caller, "kms:GenerateRandom", "*", {})
    refuse_recipient(request.recipient)
    if request.number_of_bytes is None:
        raise ValidationFailed("NumberOfBytes is required.")
    if request.custom_key_store_id is not None:
        found = random_of(rooms, caller, request.custom_key_store_id, request.number_of_bytes)
        return s.GenerateRandomResponse(plaintext=found.reveal())
    return s.GenerateRandomResponse(plaintext=rooms.keys.ciphers.random(request.number_of_bytes).reveal())


# --- inside

_DataKeyRequest = s.GenerateDataKeyRequest | s.GenerateDataKeyWithoutPlaintextRequest
_PairRequest = s.GenerateDataKeyPairRequest | s.GenerateDataKeyPairWithoutPlaintextRequest


def _with_key(
    rooms: Rooms,
    caller: Caller,
    request: s.EncryptRequest | _DataKeyRequest | _PairRequest,
    operation: str,
    work: Callable[[Tx, Key], R],
) -> tuple[Key, R]:
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, operation, request.key_id, aliases=True, request=request)
        made = work(tx, key)
    used(rooms, key, operation, dry_run=request.dry_run)
    return key, made


def _data_key(rooms: Rooms, caller: Caller, request: _DataKeyRequest, operation: str) -> tuple[Key, DataKey]:
    if (request.key_spec is None) == (request.number_of_bytes is None):
        raise ValidationFailed("Please specify either number of bytes or key spec.")
    length = request.number_of_bytes or _BYTES[request.key_spec or "AES_256"]
    context = request.encryption_context or {}

    def work(tx: Tx, key: Key) -> DataKey:
        return rooms.keys.ciphers.generate_data_key(tx, key, context, length, operation)

    return _with_key(rooms, caller, request, operation, work)


def _data_key_pair(rooms: Rooms, caller: Caller, request: _PairRequest, operation: str) -> tuple[Key, DataKeyPair]:
    context, spec = request.encryption_context or {}, request.key_pair_spec

    def work(tx: Tx, key: Key) -> DataKeyPair:
        return rooms.keys.ciphers.generate_data_key_pair(tx, key, context, spec, operation)

    return _with_key(rooms, caller, request, operation, work)


def _source(
    rooms: Rooms,
    tx: Tx,
    caller: Caller,
    action: str,
    key_id: str | None,
    blob: bytes,
    algorithm: str,
    request: s.DecryptRequest | s.ReEncryptRequest,
) -> Key:
    """The key that opens a ciphertext: the one that is named, else the one that the ciphertext names."""
    if key_id is not None:
        return find(rooms, tx, caller, action, key_id, aliases=True, request=request)
    if algorithm != _SYMMETRIC:
        raise ValidationFailed("A KeyId is required to decrypt with an asymmetric KMS key.")
    key = rooms.keys.of_ciphertext(tx, caller.scope, blob, now=rooms.clock.now())
    permit(rooms, tx, caller, action, key, request, changing=False)
    if not key.enabled:
        missed(rooms, key, action)
    return key


def _ignores_ciphertext(request: s.DecryptRequest | s.ReEncryptRequest) -> bool:
    return bool(request.dry_run) and "IGNORE_CIPHERTEXT" in (request.dry_run_modifiers or ())


def _given(blob: bytes | None) -> bytes:
    if blob is None:
        raise ValidationFailed(_NO_CIPHERTEXT)
    return blob


def _named(key_id: str | None, member: str) -> str:
    if key_id is None:
        raise ValidationFailed(f"{member} is required when the ciphertext is ignored.")
    return key_id
