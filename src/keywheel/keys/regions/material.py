"""What the keys of one multi-Region key have in common, and what each Region has of its own.

1. The keys of all its Regions have one id. One of them is the primary, every other is a replica of it.
2. The material is kept once, by that id: what one Region's key encrypts, another one's decrypts. All of them use the
   same current material: a rotation is one transaction over all Regions.
3. Imported material is the exception of AWS KMS: each Region must be given the same material, which expires there by a
   date of its own. It is kept once all the same; rows tell which Region has it. It is destroyed when none has.
4. How the key rotates is kept at the primary. Everything else (state, policy, tags, aliases, description) is each
   Region's own.
5. The primary is deleted last: its waiting period begins when its last replica is gone.

Whoever changes several Regions locks the keys of all, in the order of the Regions.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.keys import rows, states
from keywheel.keys.regions import rows as regional_rows
from keywheel.keys.rows import Key, Material


def is_kept_by_region(key: Key) -> bool:
    """Whether each Region has the key's material or not."""
    return key.multi_region is not None and key.origin == states.EXTERNAL


def lock(tx: Tx, key: Key) -> list[Key]:
    """The keys of all Regions, which no other transaction changes meanwhile."""
    return [rows.as_key(row) for row in rows.lock_keys.all(tx, key_id=key.key_id)]


def primary(tx: Tx, key: Key) -> Key:
    """The key that a key's rotation is set at: the primary of a replica, and every other key itself."""
    if key.multi_region != states.REPLICA:
        return key
    regions = (row[0] for row in regional_rows.related.all(tx, key_id=key.key_id) if row[1] == states.PRIMARY)
    row = rows.key.first(tx, account=key.account, region=next(regions), key_id=key.key_id)
    if row is None:
        raise AssertionError("a replica without its primary")
    return rows.as_key(row)


def has_replicas(tx: Tx, key: Key) -> bool:
    """Whether there are others beside a primary, in whatever state."""
    return key.multi_region == states.PRIMARY and any(
        row[1] == states.REPLICA for row in regional_rows.related.all(tx, key_id=key.key_id)
    )


def use_generation(tx: Tx, key: Key, generation: int) -> Key:
    """Have every Region use the backing key `generation`."""
    regional_rows.set_generation.run(tx, row_key=key.key_id, generation=generation)
    return key._replace(generation=generation)


# --- imported material


def of(tx: Tx, key: Key, materials: list[Material]) -> list[Material]:
    """The materials of a key as its Region has them."""
    found = (regional_rows.as_material(row) for row in regional_rows.materials.all(tx, key_id=key.key_id))
    here = {each.generation: each for each in found if each.region == key.region}
    return [
        material._replace(description=had.description, expires=had.expires)
        if (had := here.get(material.generation)) is not None
        else material._replace(sealed=b"", description=None, expires=None)
        for material in materials
    ]


def is_everywhere(tx: Tx, key: Key, generation: int) -> bool:
    """Whether every Region has been given a material."""
    found = (regional_rows.as_material(row) for row in regional_rows.materials.all(tx, key_id=key.key_id))
    having = {each.region for each in found if each.generation == generation}
    return having >= {row[0] for row in regional_rows.related.all(tx, key_id=key.key_id)}


def give(tx: Tx, key: Key, generation: int, *, description: str | None, expires: float | None) -> None:
    """The key's Region has a material now."""
    where = {"key_id": key.key_id, "generation": generation, "region": key.region}
    regional_rows.delete_material.run(tx, **where)
    regional_rows.insert_material.run(tx, **where, description=description, expires=expires)


def take(tx: Tx, key: Key, generation: int) -> bool:
    """The key's Region has a material no more; whether no Region has it now.

    A material that waits for a rotation goes away everywhere when its primary loses it.
    """
    if key.multi_region == states.PRIMARY and generation > key.generation:
        forget(tx, key.key_id, generation)
    else:
        regional_rows.delete_material.run(tx, key_id=key.key_id, generation=generation, region=key.region)
    return generation not in {row[0] for row in regional_rows.materials.all(tx, key_id=key.key_id)}


def forget(tx: Tx, key_id: str, generation: int) -> None:
    """No Region has a material any more."""
    regional_rows.delete_everywhere.run(tx, key_id=key_id, generation=generation)


# --- the end


def leave(tx: Tx, key: Key, now: datetime) -> None:
    """What the end of one Region's key means to the others, which are locked: that key's row is gone by now."""
    regional_rows.delete_region.run(tx, key_id=key.key_id, region=key.region)
    left = lock(tx, key)
    if is_kept_by_region(key) and left:
        having = {row[0] for row in regional_rows.materials.all(tx, key_id=key.key_id)}
        for row in rows.materials.all(tx, key_id=key.key_id):
            if row[0] not in having:
                rows.material_update("sealed").run(tx, row_key=key.key_id, row_generation=row[0], sealed=b"")
    if len(left) == 1 and left[0].state == states.PENDING_REPLICA_DELETION:
        last = left[0]
        deletion = to_epoch(now + timedelta(days=last.deletion_window or 0))
        rows.key_update("deletion", "state").run(
            tx,
            row_account=last.account,
            row_region=last.region,
            row_key=last.key_id,
            state=states.PENDING_DELETION,
            deletion=deletion,
        )
