"""The drift sentinel: does the published credential of a secret at rest still work? If not, set it anew, or say so.

It looks where somebody asked for it: on its round (`every`), after a rotation was stopped half-way, after a worker
lost its lease at the target, and after the store was restored from a backup. Nothing is set anew that was never seen
to work: a value that somebody put by hand is only reported.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime

import structlog

from keywheel.clock import to_epoch
from keywheel.errors import KeywheelError, TargetError, TargetUnavailable
from keywheel.rotation import machine
from keywheel.rotation.machine import IN_DOUBT, Rotation, Step
from keywheel.rotation.steps import Terms, current_works, run_step
from keywheel.rotation.store import LedgerStore
from keywheel.rotator import Strategy

_log = structlog.get_logger("keywheel.sentinel")

DETECTED, REPAIRED, RECOVERED = "DriftDetected", "CredentialRepaired", "DriftEnded"
REFUSED = "CurrentRefused"


@dataclass(frozen=True, slots=True)
class Round:
    """How often the sentinel looks (seconds; None: only when asked), and whether it may set a credential anew."""

    every: float | None = None
    repairs: bool = True


ON_REQUEST = Round()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check makes of a rotation at rest, and the journal's word for it where that is news."""

    rotation: Rotation
    event: str | None


def may_repair(rotation: Rotation, published: float | None) -> bool:
    """Whether the value under AWSCURRENT, which was written at `published`, is one that worked before."""
    seen = rotation.verified is not None and published is not None and rotation.verified >= published
    return seen or rotation.health == IN_DOUBT


def check(
    rotation: Rotation,
    strategy: Strategy | None,
    store: LedgerStore,
    terms: Terms,
    now: datetime,
    rounds: Round,
) -> Finding:
    """Look, and where the published credential does not work, set it anew if that may be done."""
    at = to_epoch(now)
    again = None if rounds.every is None else at + rounds.every * (0.9 + 0.2 * random.random())  # noqa: S311
    if strategy is None:  # a rotation function's: nobody here can log in with it
        return Finding(machine.verified(rotation, rotation.health, now=at, again=None), None)
    try:
        health, repaired = _look(rotation, strategy, store, terms, may=rounds.repairs)
    except TargetUnavailable as error:
        soon = machine.backoff(rotation.attempt + 1, random.random())  # noqa: S311 - spreads retries
        waiting = machine.verified(rotation, rotation.health or error.code, now=at, again=at + max(soon, 30.0))
        return Finding(waiting, None)
    except KeywheelError as error:
        health, repaired = error.code if isinstance(error, TargetError) else type(error).__name__, False
    found = machine.verified(rotation, health, now=at, again=again)
    if health is not None or repaired:
        _log.warning("sentinel.drift", secret=store.arn, health=health, repaired=repaired)
    return Finding(found, _event(rotation.health, health, repaired=repaired))


def _look(
    rotation: Rotation, strategy: Strategy, store: LedgerStore, terms: Terms, *, may: bool
) -> tuple[str | None, bool]:
    """What is wrong, None if nothing is any more; and whether the credential was set anew."""
    if current_works(strategy, store, store.arn, terms):
        return None, False
    if not may or not may_repair(rotation, store.published()):
        return REFUSED, False
    run_step(strategy, store, store.arn, "", Step.REPAIR, terms)
    return None, True


def _event(before: str | None, after: str | None, *, repaired: bool) -> str | None:
    if repaired:
        return REPAIRED
    if after is not None:
        return DETECTED if after != before else None
    return RECOVERED if before not in (None, IN_DOUBT, TargetUnavailable.code) else None
