"""What becomes of a key when its alias has left it: stages, as a table. Pure: the instant is passed in.

    grace ──(grace)──▶ disabled ──(delete_after, unused)──▶ deleting

Each arrow is optional, and is looked at again when the rules change. A key is not led on while something needs it: an
alias, a secret of this house, or a person who enabled it again; then it is looked at every day. Whoever tries to use a
disabled key starts its watch anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from keywheel.keys import states
from keywheel.rotation.keys.rules import Rules

LOOKED_AT_AGAIN = 86_400.0  # seconds


class Stage(StrEnum):
    """How far a former key is on its way out."""

    GRACE = "grace"
    DISABLED = "disabled"
    DELETING = "deleting"


class Held(StrEnum):
    """Why a former key is not led on."""

    ALIAS = "AliasNamesIt"
    SECRETS = "SecretsNeedIt"
    ENABLED = "EnabledAgain"
    STATE = "StateForbidsIt"
    POLICY = "PolicyForbidsIt"


class Deed(StrEnum):
    """What is to be done to it."""

    NOTHING = "nothing"
    DISABLE = "disable"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Former:
    """A key that an alias has left. Instants are seconds since the epoch."""

    key_id: str
    stage: Stage
    since: float
    """When the stage began."""
    missed: float | None = None
    """When somebody last tried to use it while it was disabled."""
    held: Held | None = None
    wake_at: float | None = None


def leave(key_id: str, now: float) -> Former:
    """A key whose alias has just moved away."""
    return Former(key_id, Stage.GRACE, now, wake_at=now)


def deed_at(former: Former, rules: Rules) -> tuple[Deed, float | None]:
    """The next thing to be done to a former key, and when; None when never."""
    if former.stage is Stage.GRACE and rules.grace is not None:
        return Deed.DISABLE, former.since + rules.grace
    if former.stage is Stage.DISABLED and rules.delete_after is not None:
        return Deed.DELETE, max(former.since, former.missed or former.since) + rules.delete_after
    return Deed.NOTHING, None


def holder(deed: Deed, state: str, *, named: bool, needed: bool, forbidden: bool = False) -> Held | None:
    """Why a key in `state` must not come to that now; None when it may."""
    if named:
        return Held.ALIAS
    if needed:
        return Held.SECRETS
    if forbidden:
        return Held.POLICY
    return Held.ENABLED if deed is Deed.DELETE and state == states.ENABLED else None


def hold(former: Former, held: Held, now: float) -> Former:
    """Looked at again later."""
    return replace(former, held=held, wake_at=now + LOOKED_AT_AGAIN)


def enter(former: Former, stage: Stage, rules: Rules, now: float) -> Former:
    """In the next stage."""
    entered = replace(former, stage=stage, since=now, held=None, missed=None)
    return replace(entered, wake_at=deed_at(entered, rules)[1])
