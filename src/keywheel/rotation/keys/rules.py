"""How an alias is rotated: when, and what becomes of the key that it leaves. Pure: no I/O and no clock; all times UTC.

1. `cron()` is EventBridge's whole grammar; `rate()` counts from the instant at which it was given.
2. With a window, each alias has an instant of its own in it, so that those that share a schedule do not all rotate at
   once.
3. A rotation that was missed (the server was off) is made up for as soon as it can be, once: unlike a password, a new
   key disturbs nobody on its way.
4. Every stage of the former key's way out is optional. As long as nothing is said, it stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise

from keywheel.clock import from_epoch, to_epoch
from keywheel.cron import Cron, parse_cron
from keywheel.errors import ValidationFailed
from keywheel.schedule import Window

_RATE = re.compile(r"rate\(([1-9][0-9]{0,4}) (hours?|days?)\)")
_HOUR, _DAY = 3_600, 86_400
_LOOKED_AT = 400  # starts of a cron expression that are compared
_LONGEST = 10 * 365 * _DAY
_BOUNDS = {  # in seconds, but for the last
    "window": (0, _DAY),
    "lead": (0, 30 * _DAY),
    "grace": (0, _LONGEST),
    "delete_after": (0, _LONGEST),
    "deletion_window": (7, 30),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What was said about an alias. Durations are seconds."""

    expression: str | None = None
    """cron() or rate(); None: rotated only when asked for."""
    window: int = 0
    """How long after the schedule's instant a rotation may begin."""
    lead: int = 0
    """How long the new key is published and proved before the alias moves to it."""
    grace: int | None = None
    """How long the former key stays enabled; None: for good."""
    delete_after: int | None = None
    """How long it is watched while disabled before it is scheduled for deletion; None: it is not."""
    deletion_window: int = 30
    """The pending window of that deletion, in days."""
    restricted: bool = False
    """Whether the former key's policy keeps everybody from making anything new with it."""
    together: bool = False
    """Whether the other aliases of the key move, too."""
    published: bool = False
    """Whether the public keys are served as a JWK Set to everybody."""
    new_material: bool = False
    """Whether a key with imported material may be followed by one whose material is made here."""


RULES = tuple(field.name for field in fields(Rules))


def check(rules: Rules, name: str, now: datetime) -> None:
    """Nothing, where an alias can be rotated by these rules.

    Raises:
        ValidationFailed, InvalidParameter: it cannot; the text says why.
    """
    for member, (least, most) in _BOUNDS.items():
        value = getattr(rules, member)
        if value is not None and not least <= value <= most:
            raise ValidationFailed(f"{member.replace('_', ' ')} must be between {least} and {most}.")
    if rules.delete_after is not None and rules.grace is None:
        raise ValidationFailed("A former key can be deleted only after it was disabled: give a grace period, too.")
    if rules.expression is None:
        return
    if next_due(rules, now, since=now, seed=name) is None:
        raise ValidationFailed("The schedule expression names no instant that is still to come.")
    if not rules.expression.startswith("rate("):
        starts = list(islice(_cron(rules.expression).starts(now), _LOOKED_AT))
        if any(later - sooner < timedelta(seconds=_HOUR) for sooner, later in pairwise(starts)):
            raise ValidationFailed("The schedule expression must leave an hour between two rotations.")


def next_due(rules: Rules, after: datetime, *, since: datetime, seed: str) -> float | None:
    """When the alias is rotated next after the instant `after`; None when it never is. `since`: the rules were given.

    Raises:
        ValidationFailed, InvalidParameter: the expression is none.
    """
    if rules.expression is None:
        return None
    if rules.expression.startswith("cron("):
        opens = next(_cron(rules.expression).starts(after), None)
    else:
        every = interval(rules.expression)
        opens = since + max(1, (after - since) // every + 1) * every
    if opens is None:
        return None
    if rules.window < 1:
        return to_epoch(opens)
    return to_epoch(Window(opens, opens + timedelta(seconds=rules.window)).due(seed))


def interval(expression: str) -> timedelta:
    """The interval of a rate().

    Raises:
        ValidationFailed: it is none.
    """
    match = _RATE.fullmatch(expression)
    if match is None:
        raise ValidationFailed(
            "The schedule expression must be cron(...), or rate(...) in hours or days as in rate(30 days)."
        )
    return timedelta(seconds=int(match[1]) * (_DAY if match[2].startswith("day") else _HOUR))


def longest_gap(rules: Rules, now: float) -> float | None:
    """The most seconds that may lie between two of the next rotations; None where there is no end to it."""
    if rules.expression is None:
        return None
    if rules.expression.startswith("rate("):
        return interval(rules.expression).total_seconds()
    starts = [from_epoch(now), *islice(_cron(rules.expression).starts(from_epoch(now)), _LOOKED_AT)]
    if len(starts) <= _LOOKED_AT:
        return None  # it ends
    return max((later - sooner).total_seconds() for sooner, later in pairwise(starts))


@lru_cache(maxsize=256)
def _cron(expression: str) -> Cron:
    return parse_cron(expression)
