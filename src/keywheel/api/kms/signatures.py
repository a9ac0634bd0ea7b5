"""Signatures, MACs, shared secrets and public keys: what asymmetric and HMAC keys do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from keywheel.access.door import Caller
from keywheel.api.kms import shapes as s
from keywheel.api.kms.finding import find, refuse_recipient, used
from keywheel.api.kms.keys import ALGORITHMS, old_spec
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.keys.keyring import Key
from keywheel.keys.signatures import Encapsulated
from keywheel.sensitive import Sensitive

R = TypeVar("R")


def sign(rooms: Rooms, caller: Caller, request: s.SignRequest) -> s.SignResponse:
    """Sign a message, or its digest."""

    def work(tx: Tx, key: Key) -> bytes:
        return rooms.keys.signatures.sign(
            tx, key, request.message, request.signing_algorithm, request.message_type or "RAW"
        )

    key, signature = _with_key(rooms, caller, request, "Sign", work)
    return s.SignResponse(key_id=key.arn, signature=signature, signing_algorithm=request.signing_algorithm)


def verify(rooms: Rooms, caller: Caller, request: s.VerifyRequest) -> s.VerifyResponse:
    """Say that a signature is good; a bad one is an error."""

    def work(tx: Tx, key: Key) -> None:
        rooms.keys.signatures.verify(
            tx, key, request.message, request.signature, request.signing_algorithm, request.message_type or "RAW"
        )

    key, _ = _with_key(rooms, caller, request, "Verify", work)
    return s.VerifyResponse(key_id=key.arn, signature_valid=True, signing_algorithm=request.signing_algorithm)


def generate_mac(rooms: Rooms, caller: Caller, request: s.GenerateMacRequest) -> s.GenerateMacResponse:
    """The MAC of a message."""

    def work(tx: Tx, key: Key) -> bytes:
        return rooms.keys.signatures.generate_mac(tx, key, request.message, request.mac_algorithm)

    key, mac = _with_key(rooms, caller, request, "GenerateMac", work)
    return s.GenerateMacResponse(mac=mac, mac_algorithm=request.mac_algorithm, key_id=key.arn)


def verify_mac(rooms: Rooms, caller: Caller, request: s.VerifyMacRequest) -> s.VerifyMacResponse:
    """Say that a MAC is good; a bad one is an error."""

    def work(tx: Tx, key: Key) -> None:
        rooms.keys.signatures.verify_mac(tx, key, request.message, request.mac, request.mac_algorithm)

    key, _ = _with_key(rooms, caller, request, "VerifyMac", work)
    return s.VerifyMacResponse(key_id=key.arn, mac_valid=True, mac_algorithm=request.mac_algorithm)


def derive_shared_secret(
    rooms: Rooms, caller: Caller, request: s.DeriveSharedSecretRequest
) -> s.DeriveSharedSecretResponse:
    """The secret that a key shares with the holder of another public key's private half."""
    refuse_recipient(request.recipient)

    def work(tx: Tx, key: Key) -> Sensitive[bytes]:
        return rooms.keys.signatures.derive(tx, key, request.public_key, request.key_agreement_algorithm)

    key, secret = _with_key(rooms, caller, request, "DeriveSharedSecret", work)
    return s.DeriveSharedSecretResponse(
        key_id=key.arn,
        shared_secret=secret.reveal(),
        key_agreement_algorithm=request.key_agreement_algorithm,
        key_origin=key.origin,
    )


def encapsulate(rooms: Rooms, caller: Caller, request: s.EncapsulateRequest) -> s.EncapsulateResponse:
    """A new secret, and the ciphertext of which only the key can get it again."""

    def work(tx: Tx, key: Key) -> Encapsulated:
        return rooms.keys.signatures.encapsulate(tx, key, request.encapsulation_algorithm)

    key, made = _with_key(rooms, caller, request, "Encapsulate", work)
    return s.EncapsulateResponse(
        key_id=key.arn,
        shared_secret=made.secret.reveal(),
        shared_secret_ciphertext_blob=made.ciphertext,
        encapsulation_algorithm=request.encapsulation_algorithm,
    )


def decapsulate(rooms: Rooms, caller: Caller, request: s.DecapsulateRequest) -> s.DecapsulateResponse:
    """The secret of a ciphertext that `encapsulate` made."""

    def work(tx: Tx, key: Key) -> Sensitive[bytes]:
        return rooms.keys.signatures.decapsulate(
            tx, key, request.shared_secret_ciphertext_blob, request.encapsulation_algorithm
        )

    key, secret = _with_key(rooms, caller, request, "Decapsulate", work)
    return s.DecapsulateResponse(
        key_id=key.arn, shared_secret=secret.reveal(), encapsulation_algorithm=request.encapsulation_algorithm
    )


def get_public_key(rooms: Rooms, caller: Caller, request: s.GetPublicKeyRequest) -> s.GetPublicKeyResponse:
    """The public half of a key, and what it is good for."""
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, "GetPublicKey", request.key_id, aliases=True, request=request)
        public = rooms.keys.signatures.public_key(tx, key)
    algorithms: dict[str, Any] = {ALGORITHMS[key.usage]: list(key.algorithms)}
    return s.GetPublicKeyResponse(
        key_id=key.arn,
        public_key=public,
        customer_master_key_spec=old_spec(key),
        key_spec=key.spec,
        key_usage=key.usage,
        **algorithms,
    )


def _with_key(
    rooms: Rooms, caller: Caller, request: Any, operation: str, work: Callable[[Tx, Key], R]
) -> tuple[Key, R]:
    with rooms.database.point() as tx:
        key = find(rooms, tx, caller, operation, request.key_id, aliases=True, request=request)
        made = work(tx, key)
    used(rooms, key, operation, dry_run=request.dry_run)
    return key, made
