"""SQL of what the keys of a multi-Region key have in common, and of the imported material that each Region has."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from keywheel.db.statement import Row, Statement
from keywheel.db.tables import kms_key as k
from keywheel.db.tables import regional_material as m


class RegionalMaterial(NamedTuple):
    """Imported material that a Region has."""

    generation: int
    region: str
    description: str | None
    expires: float | None


def as_material(row: Row) -> RegionalMaterial:
    """The material of a row."""
    return RegionalMaterial._make(row)


_one = and_(m.c.key_id == bindparam("key_id"), m.c.generation == bindparam("generation"))
_here = and_(_one, m.c.region == bindparam("region"))

# --- keys

related = Statement(select(k.c.region, k.c.multi_region).where(k.c.key_id == bindparam("key_id")).order_by(k.c.region))
set_generation = Statement(
    update(k).where(k.c.key_id == bindparam("row_key")).values(generation=bindparam("generation"))
)

# --- imported material

materials = Statement(
    select(*(m.c[name] for name in RegionalMaterial._fields)).where(m.c.key_id == bindparam("key_id"))
)
expirable = Statement(
    select(m.c.key_id, m.c.region).where(m.c.expires <= bindparam("now")).order_by(m.c.expires).limit(bindparam("most"))
)
insert_material = Statement(insert(m).values({c.name: bindparam(c.name) for c in m.c}))
delete_material = Statement(delete(m).where(_here))
delete_everywhere = Statement(delete(m).where(_one))
delete_region = Statement(delete(m).where(m.c.key_id == bindparam("key_id"), m.c.region == bindparam("region")))
