"""What is put right about keys when the clock was put back: see `timekeeper`. Each statement may be run twice.

Nothing was written after now; what says so is dated now, and what is planned is planned from now.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, update

from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import alias_rotation as r
from keywheel.db.tables import enforcement as e
from keywheel.db.tables import former_key as f
from keywheel.db.tables import kms_key as k
from keywheel.rotation.keys.formers import Stage
from keywheel.rotation.keys.machine import Step

_DAY = 86_400.0
_LONGEST_DELETION = 30 * _DAY
_now: Any = bindparam("now")
_resting = r.c.step == Step.REST.value
_under_way = r.c.step.not_in([Step.REST.value, Step.ANNOUNCE.value])
_period: Any = k.c.rotation_period * _DAY

_cut = Statement(update(r).where(_under_way, r.c.wake_at > bindparam("end")).values(wake_at=bindparam("end")))
_dated = (
    Statement(update(r).where(r.c.rotated > _now).values(rotated=_now)),
    Statement(update(r).where(r.c.configured > _now).values(configured=_now)),
    Statement(update(r).where(_resting, r.c.wake_at > _now).values(due=None, wake_at=_now)),
    Statement(
        update(r)
        .where(and_(r.c.step == Step.ANNOUNCE.value, r.c.wake_at > _now + r.c.lead))
        .values(wake_at=_now + r.c.lead)
    ),
    Statement(update(f).where(f.c.moved > _now).values(moved=_now)),
    Statement(update(f).where(f.c.since > _now).values(since=_now)),
    Statement(update(f).where(f.c.missed > _now).values(missed=_now)),
    Statement(update(f).where(f.c.stage != Stage.DELETING.value, f.c.wake_at > _now).values(wake_at=_now)),
    Statement(update(k).where(k.c.deletion > _now + _LONGEST_DELETION).values(deletion=_now + _LONGEST_DELETION)),
    Statement(update(k).where(k.c.next_rotation > _now + _period).values(next_rotation=_now + _period)),
    Statement(update(k).where(k.c.last_used > _now).values(last_used=_now)),
    Statement(update(e).where(e.c.wake_at > _now).values(wake_at=_now)),
)


def cut_waits(tx: Tx, end: float) -> None:
    """No claim ends later than `end`."""
    _cut.run(tx, end=end)


def date_anew(tx: Tx, now: float) -> None:
    """Nothing was written after `now`."""
    for statement in _dated:
        statement.run(tx, now=now)
