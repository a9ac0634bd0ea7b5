"""Checks of the targets: does the system that a secret is used on accept its current credential, from this machine.

Only built-in rotators know how to ask; a rotation function is its own affair. The values stay in this process.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from keywheel.arn import Scope
from keywheel.cli.checks.finding import Finding, failed, ok, skipped, warning
from keywheel.clock import SystemClock
from keywheel.errors import TargetError
from keywheel.rotation import rows
from keywheel.rotation.rows import Overview
from keywheel.rotation.steps import CURRENT
from keywheel.rotation.store import LedgerStore
from keywheel.rotator import Credential, Strategy
from keywheel.server import House

_AT_A_TIME = 8
_PAGE = 200


@dataclass(frozen=True, slots=True)
class _Patient:
    """A secret whose target is asked."""

    overview: Overview
    strategy: Strategy

    @property
    def subject(self) -> str:
        return f"target of {self.overview.name}"


def targets(house: House, scope: Scope) -> Iterator[Finding]:
    """Every rotation's target in `scope` can be asked, and accepts the current credential."""
    patients, others = _patients(house, scope)
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="doctor") as pool:
        yield from pool.map(lambda patient: _ask(house, patient), patients)
    for name in others:
        yield skipped(f"target of {name}", "is rotated by a function, which alone knows how to ask")
    if not patients and not others:
        yield ok("targets", f"no rotation is on in account {scope.account}, {scope.region}")


def _patients(house: House, scope: Scope) -> tuple[list[_Patient], list[str]]:
    """Whose targets to ask, and the names of those that only a function can ask."""
    patients, others = [], []
    for overview in _overviews(house, scope):
        if not overview.enabled or overview.function is None:
            continue
        strategy = house.rooms.runners.built_in(overview.function, scope)
        if strategy is None:
            others.append(overview.name)
        else:
            patients.append(_Patient(overview, strategy))
    return patients, others


def _overviews(house: House, scope: Scope) -> Iterator[Overview]:
    after = ""
    while True:
        with house.rooms.database.point() as tx:
            page = rows.overview(tx, scope.account, scope.region, after=after, most=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].name


def _ask(house: House, patient: _Patient) -> Finding:
    target, subject = patient.strategy.target, patient.subject
    try:
        current = _current(house, patient)
        if current is None:
            return failed(subject, "The secret has no value under AWSCURRENT.", "Put one with PutSecretValue.")
        place = target.place(current)
        accepted = target.accepts(current)
    except TargetError as error:
        return failed(subject, f"{error.message} ({error.code})", error.hint())
    if accepted:
        return ok(subject, f"{place} accepts the current credential of user {current.username}")
    detail = f"{place} refuses the current credential of user {current.username}."
    rotation = patient.overview.entry.rotation
    if rotation.in_progress and not rotation.failed:
        return warning(subject, detail, "A rotation is under way: look again when it is over.")
    return failed(subject, detail, "Put a value that works with PutSecretValue, or give the secret a `masterarn`.")


def _current(house: House, patient: _Patient) -> Credential | None:
    rooms = house.rooms
    with rooms.database.point() as tx:
        secret = rooms.secrets.by_id(tx, patient.overview.entry.secret_id)
    if secret is None:
        return None
    store = LedgerStore(rooms.database, rooms.secrets, secret, SystemClock().now())
    version = store.labels(secret.arn).get(CURRENT)
    return None if version is None else store.get(secret.arn, version)
