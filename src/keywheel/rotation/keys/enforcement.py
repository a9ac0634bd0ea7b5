"""Every key of an account under rotation: which can be, which is already, and which cannot be and why.

A symmetric encryption key whose material was made here rotates in place, which nobody notices; also more often than
AWS KMS's 90 days, because a new key behind the alias would be the greater change. Every other key is followed by a new
one behind its alias. All the aliases of a key move together, so that those that named one key go on to name one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import structlog

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import CallerError, KeyStoreError, ValidationFailed
from keywheel.keys import states
from keywheel.keys.keyring import Key, Keys
from keywheel.keys.specs import SYMMETRIC
from keywheel.rotation import permission
from keywheel.rotation.keys import former_rows, rows
from keywheel.rotation.keys.aliases import AliasRotations
from keywheel.rotation.keys.obstacles import Obstacle, obstacle
from keywheel.rotation.keys.rows import Bound, Entry
from keywheel.rotation.keys.rules import Rules, longest_gap

_log = structlog.get_logger("keywheel.keys")

SHORTEST, LONGEST = 1, 365  # days
AGAIN = timedelta(hours=1)  # how often a standing order looks for new keys
PAGE = 100
_ALIASES = 100
_DAY = 86_400.0
_YEAR = 365

_NO_ALIAS = Obstacle("NoAlias", "No alias names it: whoever uses it knows its id, which would not change.")
_FORMER = Obstacle("FormerKey", "Its alias has left it.")
_REPLICA = Obstacle("MultiRegion", "It is a replica: its primary is rotated.")


class Action(StrEnum):
    """What becomes of a key."""

    KEPT = "kept"
    AUTOMATIC = "automatic"
    ALIAS = "alias"
    EXEMPT = "exempt"
    """It needs no rotation by its owner: it is on its way out, or AWS's part."""
    NONE = "none"
    """It cannot be rotated as it is."""


class Verdict(NamedTuple):
    """What is to be done with a key: by which alias, or why not."""

    key: Key
    action: Action
    alias: str | None = None
    obstacle: Obstacle | None = None


def judge(key: Key, aliases: Sequence[Entry | str], days: int, now: float, *, is_former: bool = False) -> Verdict:
    """What is to be done with a key, whose aliases are given by their rotation, or by their name where they have none.

    Pure.
    """
    if key.manager != "CUSTOMER":
        if days >= _YEAR:
            return Verdict(key, Action.KEPT)
        return Verdict(key, Action.EXEMPT, obstacle=obstacle(key, new_material=False))
    if key.state in (states.PENDING_DELETION, states.PENDING_REPLICA_DELETION):
        return Verdict(key, Action.EXEMPT, obstacle=obstacle(key, new_material=False))
    if key.multi_region == states.REPLICA:
        return Verdict(key, Action.EXEMPT, obstacle=_REPLICA)
    if is_former and not aliases:
        return Verdict(key, Action.EXEMPT, obstacle=_FORMER)
    if key.spec == SYMMETRIC and key.origin == states.AWS_KMS:
        return _in_place(key, days)
    found = obstacle(key, new_material=any(isinstance(each, Entry) and each.rules.new_material for each in aliases))
    if found is not None:
        return Verdict(key, Action.NONE, obstacle=found)
    if not aliases:
        return Verdict(key, Action.NONE, obstacle=_NO_ALIAS)
    names = {each.name if isinstance(each, Entry) else each: each for each in aliases}
    for name, each in sorted(names.items()):
        gap = longest_gap(each.rules, now) if isinstance(each, Entry) else None
        if gap is not None and gap <= days * _DAY:
            return Verdict(key, Action.KEPT, name)
    chosen = next((name for name, each in sorted(names.items()) if isinstance(each, Entry)), min(names))
    return Verdict(key, Action.ALIAS, chosen)


def _in_place(key: Key, days: int) -> Verdict:
    found = obstacle(key, new_material=False)
    if found is not None:
        return Verdict(key, Action.NONE, obstacle=found)
    if key.rotation_period is not None and key.rotation_period <= days:
        return Verdict(key, Action.KEPT)
    return Verdict(key, Action.AUTOMATIC)


def check_days(days: int) -> None:
    """Nothing, where keys can be kept under rotation within so many days.

    Raises:
        ValidationFailed: they cannot.
    """
    if not SHORTEST <= days <= LONGEST:
        raise ValidationFailed(f"The bound must be {SHORTEST} to {LONGEST} days.")


class Enforcement:
    """Brings keys under rotation."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._rotations = AliasRotations(keys)

    def verdict(self, tx: Tx, key: Key, days: int, now: float) -> Verdict:
        """What is to be done with a key."""
        named = self._keys.aliases.page(tx, key.scope, key=key, most=_ALIASES)
        aliases = [rows.get(tx, key.scope, alias.name) or alias.name for alias in named]
        return judge(key, aliases, days, now, is_former=former_rows.has(tx, key.scope, key.key_id))

    def apply(self, tx: Tx, key_id: str, scope: Scope, days: int, now: datetime) -> Verdict:
        """Do it, in `Database.write`.

        Raises:
            CallerError, KeyStoreError: it was refused.
        """
        key = self._keys.find(tx, scope, key_id, now=now, lock=True)
        verdict = self.verdict(tx, key, days, to_epoch(now))
        if verdict.action is Action.AUTOMATIC:
            permission.require(key, self._keys.lifecycle.policy(tx, key), "EnableKeyRotation")
            self._keys.rotation.enable(tx, key, days, now, shortest=SHORTEST)
        elif verdict.action is Action.ALIAS and verdict.alias is not None:
            entry = rows.get(tx, scope, verdict.alias)
            rules = Rules(together=True) if entry is None else entry.rules
            self._rotations.schedule(tx, scope, verdict.alias, replace(rules, expression=_every(days)), now)
        return verdict

    # --- standing orders

    def turn(self, database: Database, now: datetime) -> None:
        """Carry out the standing orders that are due."""
        until = to_epoch(now + AGAIN)
        while (bound := database.write(lambda tx: rows.claim_bound(tx, to_epoch(now), until))) is not None:
            self._carry_out(database, bound, now)

    def _carry_out(self, database: Database, bound: Bound, now: datetime) -> None:
        done = dict.fromkeys(Action, 0)
        for verdict in self.enforce(database, bound, now, dry_run=False):
            done[verdict.action] += 1
        if done[Action.AUTOMATIC] or done[Action.ALIAS]:
            _log.info("keys.enforced", automatic=done[Action.AUTOMATIC], alias=done[Action.ALIAS])

    def enforce(self, database: Database, bound: Bound, now: datetime, *, dry_run: bool) -> list[Verdict]:
        """What was done with each key, or would be."""
        scope = Scope(bound.account, bound.region)
        verdicts: list[Verdict] = []
        after: str | None = None
        while True:
            with database.read() as tx:
                page = self._keys.page(tx, scope, after=after, most=PAGE)
                found = [self.verdict(tx, key, bound.days, to_epoch(now)) for key in page if _is_meant(key, bound)]
            verdicts += [each if dry_run else self._done(database, each, bound.days, now) for each in found]
            if len(page) < PAGE:
                return verdicts
            after = page[-1].key_id

    def _done(self, database: Database, verdict: Verdict, days: int, now: datetime) -> Verdict:
        if verdict.action not in (Action.AUTOMATIC, Action.ALIAS):
            return verdict
        key = verdict.key
        try:
            return database.write(lambda tx: self.apply(tx, key.key_id, key.scope, days, now))
        except CallerError as error:
            return Verdict(key, Action.NONE, obstacle=Obstacle(error.code, error.message))
        except KeyStoreError as error:
            return Verdict(key, Action.NONE, obstacle=Obstacle(type(error).__name__, error.message))


def _is_meant(key: Key, bound: Bound) -> bool:
    return not bound.tag_key or key.tags.get(bound.tag_key) == bound.tag_value


def _every(days: int) -> str:
    return "rate(1 day)" if days == 1 else f"rate({days} days)"
