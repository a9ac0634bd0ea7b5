"""Rotation of a key: new material under the same id. What older material encrypted goes on decrypting.

Only symmetric encryption keys rotate so. Every other key is rotated by moving its alias to a new key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import LimitExceeded, UnsupportedOperation, ValidationFailed
from keywheel.keys import ciphertext, rows, states
from keywheel.keys.errors import Conflict, KeyInvalidState
from keywheel.keys.materials import Materials, update_key
from keywheel.keys.regions import material as regional
from keywheel.keys.rows import Key, Material
from keywheel.keys.specs import SYMMETRIC

AUTOMATIC, ON_DEMAND = "AUTOMATIC", "ON_DEMAND"
DEFAULT_PERIOD, SHORTEST_PERIOD, LONGEST_PERIOD = 365, 90, 2560  # days
_MOST_ON_DEMAND = 25
_TOO_NEAR = timedelta(minutes=20)
_DAY = 86_400.0


class Status(NamedTuple):
    """Whether a key rotates by itself; `period` in days, and the date of the next rotation, only when it does."""

    enabled: bool
    period: int | None
    next: float | None


class Entry(NamedTuple):
    """One key material of a key. What does not apply to it is None."""

    generation: int
    material_id: str
    description: str | None
    import_state: str | None
    material_state: str | None
    expiration_model: str | None
    valid_to: float | None
    rotated: float | None
    kind: str | None


# --- pure rules


def next_date(due: float | None, period: int, now: float) -> float:
    """When a key rotates after the rotation at `now` that was due at `due`. Rotations that were missed stay missed."""
    following = (now if due is None else due) + period * _DAY
    return following if following > now else now + period * _DAY


def entry(key: Key, material: Material, *, everywhere: bool = True) -> Entry:
    """What is told about a key's material. `everywhere`: every Region of the key has been given it."""
    imported = key.origin == states.EXTERNAL
    present = bool(material.sealed)
    model = "KEY_MATERIAL_DOES_NOT_EXPIRE" if material.expires is None else "KEY_MATERIAL_EXPIRES"
    return Entry(
        generation=material.generation,
        material_id=ciphertext.material_id(key.key_id, material.generation),
        description=material.description,
        import_state=("IMPORTED" if present else "PENDING_IMPORT") if imported else None,
        material_state=(
            "CURRENT"
            if material.generation == key.generation
            else "NON_CURRENT"
            if material.generation < key.generation
            else "PENDING_ROTATION"
            if everywhere
            else "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
        ),
        expiration_model=model if imported and present else None,
        valid_to=material.expires if present else None,
        rotated=material.rotated,
        kind=material.rotation,
    )


def earliest(materials: list[Material], generation: int) -> float | None:
    """When the first expires of the materials up to `generation`, which a key needs."""
    return min(
        (each.expires for each in materials if each.generation <= generation and each.expires is not None),
        default=None,
    )


class KeyRotation:
    """The rotations of every key."""

    def __init__(self, materials: Materials) -> None:
        self._materials = materials

    @staticmethod
    def _require(key: Key, operation: str) -> None:
        refused = states.refusal(operation, states.ENABLED, key.origin)
        if refused is None and key.spec != SYMMETRIC:
            raise UnsupportedOperation
        states.check(operation, key.state, key.origin, key.arn)

    @staticmethod
    def _require_own(key: Key) -> None:
        """A replica rotates with its primary, and in no other way."""
        if key.multi_region is not None:
            states.require_primary(key.multi_region, key.arn)

    # --- automatic

    def enable(self, tx: Tx, key: Key, days: int | None, now: datetime, *, shortest: int = SHORTEST_PERIOD) -> Key:
        """Rotate the key every `days` days, a year when None, from now on. AWS KMS takes no period under `shortest`.

        Raises:
            AccessDenied: it is an AWS managed key.
            UnsupportedOperation: keys of this spec or origin do not rotate by themselves, or it is a replica.
            KeyDisabled, KeyInvalidState: not in this state.
            ValidationFailed: the period is too short or too long.
        """
        states.require_customer(key.manager, key.arn)
        self._require(key, "EnableKeyRotation")
        self._require_own(key)
        period = DEFAULT_PERIOD if days is None else days
        if not shortest <= period <= LONGEST_PERIOD:
            raise ValidationFailed(f"The rotation period must be {shortest} to {LONGEST_PERIOD} days.")
        return update_key(tx, key, rotation_period=period, next_rotation=to_epoch(now) + period * _DAY)

    def disable(self, tx: Tx, key: Key) -> Key:
        """Let the key rotate by itself no more.

        Raises:
            AccessDenied, UnsupportedOperation, KeyDisabled, KeyInvalidState: as by `enable`.
        """
        states.require_customer(key.manager, key.arn)
        self._require(key, "DisableKeyRotation")
        self._require_own(key)
        return update_key(tx, key, rotation_period=None, next_rotation=None)

    @staticmethod
    def status(tx: Tx, key: Key) -> Status:
        """Whether the key rotates by itself. A key that is pending deletion does not, and other specs never do.

        A replica rotates as its primary does.

        Raises:
            UnsupportedOperation: keys of this origin do not rotate by themselves.
        """
        states.check("GetKeyRotationStatus", key.state, key.origin, key.arn)
        leaving = key.state in (states.PENDING_DELETION, states.PENDING_REPLICA_DELETION)
        rotates = key if leaving else regional.primary(tx, key)
        if leaving or rotates.rotation_period is None:
            return Status(False, None, None)
        return Status(True, rotates.rotation_period, rotates.next_rotation)

    def rotate_due(self, tx: Tx, now: datetime, *, most: int = 100) -> list[Key]:
        """Rotate the keys that are due; they as they are afterwards. A disabled key waits until it is enabled."""
        due = [rows.as_key(row) for row in rows.rotatable.all(tx, now=to_epoch(now), most=most)]
        return [self.catch_up(tx, key, now) for key in due]

    def catch_up(self, tx: Tx, key: Key, now: datetime) -> Key:
        """Rotate the key at once, when it is due."""
        instant = to_epoch(now)
        if key.rotation_period is None or key.next_rotation is None or key.next_rotation > instant:
            return key
        key = self._renew(tx, key, AUTOMATIC, now)
        following = next_date(key.next_rotation, key.rotation_period or DEFAULT_PERIOD, instant)
        return update_key(tx, key, next_rotation=following)

    # --- on demand

    def on_demand(self, tx: Tx, key: Key, now: datetime) -> Key:
        """Rotate the key now; imported material that waits for it becomes the current one.

        Raises:
            AccessDenied, UnsupportedOperation: such keys are not rotated on demand.
            KeyDisabled, KeyInvalidState: not in this state, or no material waits.
            LimitExceeded: it was rotated on demand as often as may be.
            Conflict: it is about to rotate by itself.
        """
        states.require_customer(key.manager, key.arn)
        self._require(key, "RotateKeyOnDemand")
        self._require_own(key)
        if key.on_demand >= _MOST_ON_DEMAND:
            raise LimitExceeded(
                "The on-demand rotations limit has been reached for the given keyId. "
                f"No more on-demand rotations can be performed for this key: {key.arn}"
            )
        if key.next_rotation is not None and key.next_rotation <= to_epoch(now + _TOO_NEAR):
            raise Conflict(f"An automatic rotation of {key.arn} is due within 20 minutes.")
        key = (
            self._take_imported(tx, key, now) if key.origin == states.EXTERNAL else self._renew(tx, key, ON_DEMAND, now)
        )
        return update_key(tx, key, on_demand=key.on_demand + 1)

    def _renew(self, tx: Tx, key: Key, kind: str, now: datetime) -> Key:
        generation = key.generation + 1
        handle, _ = self._materials.make(key.spec, ciphertext.head(key.key_id, generation))
        self._materials.insert(tx, key.key_id, generation, handle, now, rotated=to_epoch(now), rotation=kind)
        return self._use(tx, key, generation)

    @staticmethod
    def _use(tx: Tx, key: Key, generation: int) -> Key:
        """Have the key use other material from now on, in every Region."""
        if key.multi_region is not None:
            return regional.use_generation(tx, key, generation)
        return update_key(tx, key, generation=generation)

    def _take_imported(self, tx: Tx, key: Key, now: datetime) -> Key:
        others = [each for each in regional.lock(tx, key) if each.region != key.region]
        waiting = [waiting_material(each, self._materials.of(tx, each)) for each in (key, *others)]
        here = waiting[0]
        if here is None or not all(_is_there(each, to_epoch(now)) for each in waiting):
            raise KeyInvalidState(f"No available key material pending rotation for the key: {key.arn}.")
        generation = here.generation
        rows.material_update("rotated", "rotation").run(
            tx, row_key=key.key_id, row_generation=generation, rotated=to_epoch(now), rotation=ON_DEMAND
        )
        key = self._use(tx, key, generation)
        for each in (key, *others):
            update_key(tx, each, expires=earliest(self._materials.of(tx, each), generation))
        return key._replace(expires=earliest(self._materials.of(tx, key), generation))

    # --- telling

    def entries(self, tx: Tx, key: Key, *, everything: bool = False, after: int = 0, most: int) -> list[Entry]:
        """At most `most` of the key's materials behind the generation `after`: those that came by a rotation, or all.

        Raises:
            UnsupportedOperation: keys of this origin have no rotations, or all of the material is asked for of a key
                whose spec has none.
        """
        states.check("ListKeyRotations", key.state, key.origin, key.arn)
        if everything:
            self._require(key, "ListKeyRotations")
        found = [
            material
            for material in self._materials.of(tx, key)
            if material.generation > after and (everything or material.rotation is not None)
        ]
        return [entry(key, each, everywhere=self._is_everywhere(tx, key, each)) for each in found[:most]]

    @staticmethod
    def _is_everywhere(tx: Tx, key: Key, material: Material) -> bool:
        waits = material.generation > key.generation and regional.is_kept_by_region(key)
        return not waits or regional.is_everywhere(tx, key, material.generation)


def waiting_material(key: Key, materials: list[Material]) -> Material | None:
    """The imported material that becomes current by the next rotation; None when there is none."""
    return next((each for each in materials if each.generation > key.generation and each.sealed), None)


def _is_there(material: Material | None, now: float) -> bool:
    return material is not None and (material.expires is None or material.expires > now)
