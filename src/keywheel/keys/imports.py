"""Import of key material: parameters, import, expiry, deletion.

An import token is the private half of a wrapping key under the root key, bound to the key it was made for, to the
algorithm and to the hour of its end. Nothing is kept of it here. Material that a key had once can only come back as the
same bytes; a symmetric key can be given more material, which becomes current by a rotation.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from typing import NamedTuple

from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, KeyStoreError, UnsupportedOperation, ValidationFailed
from keywheel.keys import ciphertext, rows, states
from keywheel.keys.errors import (
    ExpiredImportToken,
    IncorrectKeyMaterial,
    InvalidCiphertext,
    InvalidImportToken,
    KeyInvalidState,
    KeyNotFound,
)
from keywheel.keys.materials import Materials, update_key
from keywheel.keys.regions import material as regional
from keywheel.keys.regions import rows as regional_rows
from keywheel.keys.rotation import earliest, waiting_material
from keywheel.keys.rows import Key, Material
from keywheel.keys.specs import OAEP_1, OAEP_256, SYMMETRIC
from keywheel.keys.stores.base import Received, Wrapping

WRAPPING_SPECS = ("RSA_2048", "RSA_3072", "RSA_4096")
WRAPPING_ALGORITHMS = (OAEP_1, OAEP_256, "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
EXPIRES, KEEPS = "KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"
NEW, EXISTING = "NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"
_TOKEN_LIFE = timedelta(hours=24)
_LONGEST = timedelta(days=365)
_FORMAT = 1
_HEAD = struct.Struct(">BBd")  # format, algorithm, end


class Parameters(NamedTuple):
    """What material is encrypted with, and the token that comes back with it."""

    public: bytes
    token: bytes
    valid_to: datetime


class Import(NamedTuple):
    """Encrypted material, and what is said about it."""

    token: bytes
    encrypted: bytes
    expiration_model: str | None = None
    valid_to: datetime | None = None
    import_type: str | None = None
    description: str | None = None
    material_id: str | None = None


# --- pure rules


def expiry(model: str | None, valid_to: datetime | None, now: datetime) -> float | None:
    """When imported material expires; None when it does not.

    Raises:
        ValidationFailed: the model and the date do not go together, or the date is not within a year.
    """
    if model == KEEPS:
        if valid_to is not None:
            raise ValidationFailed(f"A validTo date must not be set if the ExpirationModel is {KEEPS}")
        return None
    if valid_to is None:
        raise ValidationFailed(f"A validTo date must be set if the ExpirationModel is {EXPIRES}")
    if not now < valid_to <= now + _LONGEST:
        raise ValidationFailed("The validTo date must be in the future, and at most 365 days ahead.")
    return to_epoch(valid_to)


def complete(key: Key, materials: list[Material]) -> bool:
    """Whether every material that the key needs is there: the current one and those before it."""
    needed = [material for material in materials if material.generation <= key.generation]
    return bool(needed) and all(material.sealed for material in needed)


class Imports:
    """Imported material of every key."""

    def __init__(self, materials: Materials) -> None:
        self._materials = materials
        self._store = materials.store

    # --- parameters

    def parameters(self, key: Key, algorithm: str, wrapping_spec: str, now: datetime) -> Parameters:
        """A new wrapping key for material of `key`, and its token. Slow; writes nothing.

        Raises:
            UnsupportedOperation: the key takes no imported material, or the algorithm is not served.
            KeyInvalidState: not in this state.
            ValidationFailed: the algorithm cannot wrap material of such a key.
        """
        states.check("GetParametersForImport", key.state, key.origin, key.arn)
        if algorithm not in WRAPPING_ALGORITHMS or wrapping_spec not in WRAPPING_SPECS:
            raise UnsupportedOperation(f"Wrapping with {algorithm} and {wrapping_spec} is not supported.")
        if key.spec.startswith(("RSA_", "ML_")) and algorithm in (OAEP_1, OAEP_256):
            raise ValidationFailed(f"WrappingAlgorithm {algorithm} is not valid for key spec {key.spec}.")
        end = now + _TOKEN_LIFE
        head = _HEAD.pack(_FORMAT, WRAPPING_ALGORITHMS.index(algorithm), to_epoch(end))
        pair = self._store.create_pair(wrapping_spec, _token_label(head, key))
        return Parameters(pair.public, head + pair.handle, end)

    @staticmethod
    def _wrapping(token: bytes, key: Key, now: datetime) -> Wrapping:
        if len(token) <= _HEAD.size:
            raise InvalidImportToken
        head = token[: _HEAD.size]
        form, algorithm, end = _HEAD.unpack(head)
        if form != _FORMAT or algorithm >= len(WRAPPING_ALGORITHMS):
            raise InvalidImportToken
        if not to_epoch(now) < end:  # also where it is no number; a token with another end does not open below
            raise ExpiredImportToken("The import token has expired. Call GetParametersForImport again.")
        return Wrapping(token[_HEAD.size :], _token_label(head, key), WRAPPING_ALGORITHMS[algorithm])

    # --- import

    def import_material(self, tx: Tx, key: Key, given: Import, now: datetime) -> str | None:
        """Import material; its id, where the key is a symmetric one.

        Raises:
            UnsupportedOperation, KeyInvalidState: the key takes no imported material, or not now; or it is a replica,
                which takes no material but its primary's.
            InvalidImportToken, ExpiredImportToken: the token is not the key's, or too old.
            InvalidCiphertext: the material is not encrypted to the token's public key.
            IncorrectKeyMaterial: it is not what the key needs, or not what it had before.
            ValidationFailed: as by `expiry`, or what is said about it does not fit the key.
        """
        states.check("ImportKeyMaterial", key.state, key.origin, key.arn)
        self._store.ring.hold(tx)
        expires = expiry(given.expiration_model, given.valid_to, now)
        if key.spec != SYMMETRIC and (given.import_type or given.material_id or given.description):
            raise ValidationFailed(
                "ImportType, KeyMaterialId and KeyMaterialDescription are only valid for symmetric encryption keys."
            )
        if regional.is_kept_by_region(key):
            regional.lock(tx, key)
        materials = self._materials.of(tx, key)
        wanted = given.import_type or (EXISTING if materials else NEW)
        if wanted == NEW and key.multi_region is not None:
            states.require_primary(key.multi_region, key.arn)
        if wanted == NEW and given.material_id is not None:
            raise ValidationFailed(f"KeyMaterialId must not be specified if the ImportType is {NEW}")
        received, label = self._receive(key, given, now)
        known = next((each for each in materials if self._is(key, each, received, label)), None)
        if wanted == NEW:
            generation = self._add(tx, key, materials, known, received, label, given.description, expires, now)
        else:
            generation = self._restore(tx, key, known, received, label, given, expires)
        key = key._replace(generation=max(key.generation, 1))
        self._settle(tx, key)
        return ciphertext.material_id(key.key_id, generation) if key.spec == SYMMETRIC else None

    def _receive(self, key: Key, given: Import, now: datetime) -> tuple[Received, bytes]:
        label = b"received " + ciphertext.head(key.key_id, 0)
        try:
            return self._store.receive(key.spec, given.encrypted, self._wrapping(given.token, key, now), label), label
        except KeyStoreError:  # not this key's token, or a spoiled one
            raise InvalidImportToken from None
        except DecryptionFailure:
            raise InvalidCiphertext from None

    def _is(self, key: Key, material: Material, received: Received, label: bytes) -> bool:
        owner = ciphertext.head(key.key_id, 0)
        return material.fingerprint is not None and self._store.recognises(
            received.handle, label, material.fingerprint, owner
        )

    def _add(
        self,
        tx: Tx,
        key: Key,
        materials: list[Material],
        known: Material | None,
        received: Received,
        label: bytes,
        description: str | None,
        expires: float | None,
        now: datetime,
    ) -> int:
        if known is not None or (materials and key.spec != SYMMETRIC):
            raise IncorrectKeyMaterial("Other key material than what was imported before is needed.")
        generation = 1 + max((each.generation for each in materials), default=0)
        waiting = waiting_material(key, materials)
        if waiting is not None and key.generation:
            new, pending = (ciphertext.material_id(key.key_id, number) for number in (generation, waiting.generation))
            raise KeyInvalidState(
                f"New key material (id: {new}) cannot be imported into KMS key {key.key_id}, because another key "
                f"material (id: {pending}) is pending rotation."
            )
        for dropped in materials:  # it was deleted while it waited, so nothing was ever encrypted with it
            if dropped.generation > key.generation:
                rows.delete_backing_key.run(tx, key_id=key.key_id, generation=dropped.generation)
                regional.forget(tx, key.key_id, dropped.generation)
        self._materials.insert(
            tx,
            key.key_id,
            generation,
            self._store.rebind(received.handle, label, ciphertext.head(key.key_id, generation)),
            now,
            public=received.public,
            fingerprint=self._store.fingerprint(received.handle, label, ciphertext.head(key.key_id, 0)),
        )
        self._say(tx, key, generation, description, expires)
        return generation

    def _restore(
        self,
        tx: Tx,
        key: Key,
        known: Material | None,
        received: Received,
        label: bytes,
        given: Import,
        expires: float | None,
    ) -> int:
        generation = 0 if known is None else known.generation
        if known is None or given.material_id not in (None, ciphertext.material_id(key.key_id, generation)):
            raise IncorrectKeyMaterial("The same key material is needed that was imported before.")
        sealed = self._store.rebind(received.handle, label, ciphertext.head(key.key_id, generation))
        rows.material_update("sealed").run(tx, row_key=key.key_id, row_generation=generation, sealed=sealed)
        self._say(tx, key, generation, known.description if given.description is None else given.description, expires)
        return generation

    @staticmethod
    def _say(tx: Tx, key: Key, generation: int, description: str | None, expires: float | None) -> None:
        """Write down what was said about a material that the key has got."""
        if regional.is_kept_by_region(key):
            regional.give(tx, key, generation, description=description, expires=expires)
            return
        rows.material_update("description", "expires").run(
            tx, row_key=key.key_id, row_generation=generation, description=description, expires=expires
        )

    def _settle(self, tx: Tx, key: Key) -> Key:
        """Write what the materials of a key make of it: its state, and when the first of them expires."""
        materials = self._materials.of(tx, key)
        state = key.state
        if state in (states.ENABLED, states.DISABLED, states.PENDING_IMPORT):
            there = complete(key, materials)
            back = states.ENABLED if state == states.PENDING_IMPORT else state
            state = back if there else states.PENDING_IMPORT
        return update_key(tx, key, state=state, generation=key.generation, expires=earliest(materials, key.generation))

    # --- the end of material

    def delete_material(self, tx: Tx, key: Key, material_id: str | None = None) -> str | None:
        """Destroy imported material, the current one when none is named; its id, where the key is a symmetric one.

        Raises:
            UnsupportedOperation, KeyInvalidState: the key has no imported material, or not now.
            KeyNotFound: it has no such material.
        """
        states.check("DeleteImportedKeyMaterial", key.state, key.origin, key.arn)
        if regional.is_kept_by_region(key):
            regional.lock(tx, key)
        ids = {ciphertext.material_id(key.key_id, each.generation): each for each in self._materials.of(tx, key)}
        if material_id is not None and material_id not in ids:
            raise KeyNotFound(f"Key material {material_id} is not associated with {key.arn}.")
        wanted = material_id or ciphertext.material_id(key.key_id, key.generation)
        if wanted in ids:
            self._destroy(tx, key, ids[wanted].generation)
            self._settle(tx, key)
        return wanted if wanted in ids and key.spec == SYMMETRIC else None

    def expire_due(self, tx: Tx, now: datetime, *, most: int = 100) -> list[Key]:
        """Destroy the materials that have expired; their keys as they are afterwards."""
        due = {row[0] for row in rows.expirable.all(tx, now=to_epoch(now), most=most)}
        due |= {row[0] for row in regional_rows.expirable.all(tx, now=to_epoch(now), most=most)}
        changed: list[Key] = []
        for key_id in sorted(due):
            for key in [rows.as_key(row) for row in rows.lock_keys.all(tx, key_id=key_id)]:
                expired = [
                    each.generation
                    for each in self._materials.of(tx, key)
                    if each.expires is not None and each.expires <= to_epoch(now)
                ]
                for generation in expired:
                    self._destroy(tx, key, generation)
                if expired:
                    changed.append(self._settle(tx, key))
        return changed

    def _destroy(self, tx: Tx, key: Key, generation: int) -> None:
        """Take a material away from the key. It is gone for good where no other Region has it."""
        if regional.is_kept_by_region(key) and not regional.take(tx, key, generation):
            return
        rows.material_update("sealed", "expires").run(
            tx, row_key=key.key_id, row_generation=generation, sealed=b"", expires=None
        )
        self._materials.forget(key.key_id, generation)


def _token_label(head: bytes, key: Key) -> bytes:
    return b"import token " + head + key.arn.encode()
