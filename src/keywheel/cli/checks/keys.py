"""Checks of the keys of an account and Region: their stores, their rotations, and what still needs those that go."""

from __future__ import annotations

from collections.abc import Iterator

from keywheel.arn import Scope
from keywheel.cli.checks.finding import Finding, failed, ok, warning
from keywheel.cli.output import moment
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.keys import states
from keywheel.keys.custom.rows import CustomKeyStore
from keywheel.keys.custom.states import CONNECTED, FAILED
from keywheel.keys.keyring import Key, Keys
from keywheel.rotation.keys import former_rows
from keywheel.rotation.keys.rows import Entry
from keywheel.server import House

OVERDUE_SECONDS = 300.0
_PAGE = 100
_LEAVING = (states.PENDING_DELETION, states.PENDING_REPLICA_DELETION)
_CONNECT = "`aws kms connect-custom-key-store` connects it: until then its keys cannot be used."
_KEEP = "`aws kms cancel-key-deletion` and `enable-key` keep it."


# --- custom key stores


def stores(house: House, scope: Scope) -> Iterator[Finding]:
    """Every custom key store is connected."""
    count, after = 0, None
    while True:
        with house.rooms.database.point() as tx:
            page = house.keys.custom.page(tx, scope, after=after, most=_PAGE)
        for store in page:
            count += 1
            if store.state != CONNECTED:
                yield _unconnected(store)
            else:
                yield ok(f"key store {store.name}", "connected")
        if len(page) < _PAGE:
            break
        after = page[-1].name
    if not count:
        yield ok("key stores", "no custom key store")


def _unconnected(store: CustomKeyStore) -> Finding:
    subject, why = f"key store {store.name}", "" if store.error is None else f" ({store.error})"
    if store.state == FAILED:
        return failed(subject, f"It could not be connected{why}.", f"Mend the cause. {_CONNECT}")
    return warning(subject, f"It is {store.state}{why}.", _CONNECT)


# --- rotations behind aliases


def alias_rotations(house: House, scope: Scope) -> Iterator[Finding]:
    """No alias's rotation fails or is overdue."""
    now, count, stuck, after = to_epoch(house.rooms.clock.now()), 0, 0, ""
    while True:
        with house.rooms.database.point() as tx:
            page = house.rooms.key_rotations.page(tx, scope, after=after, most=_PAGE)
        for entry in page:
            finding = judge(entry, now)
            count, stuck = count + 1, stuck + (finding is not None)
            if finding is not None:
                yield finding
        if len(page) < _PAGE:
            break
        after = page[-1].name
    if not stuck:
        yield ok("alias rotations", f"{count} known, none stuck")


def judge(entry: Entry, now: float) -> Finding | None:
    """What is wrong with an alias's rotation at the instant `now`; None when nothing is. Pure."""
    rotation, subject = entry.rotation, f"rotation of {entry.name}"
    failure = rotation.failure
    if failure is not None:
        again = "It is not tried again."
        if rotation.wake_at is not None:
            again = f"Next try: {moment(rotation.wake_at, now)}."
        detail = f"At {failure.step.value}: {failure.code}: {failure.reason} {again}"
        grade = warning if rotation.in_progress else failed
        return grade(subject, detail, f"Mend the cause; `keywheel keys rotate {entry.name}` then tries at once.")
    if rotation.wake_at is not None and rotation.wake_at < now - OVERDUE_SECONDS:
        begun = f"at {rotation.step.value}" if rotation.in_progress else "not begun"
        return failed(subject, f"Overdue since {moment(rotation.wake_at, now)}, {begun}.", "See the engine.")
    return None


# --- keys that go


def leaving(house: House, scope: Scope) -> Iterator[Finding]:
    """No key is on its way out that something still needs."""
    now, count, needed, after = to_epoch(house.rooms.clock.now()), 0, 0, None
    while True:
        with house.rooms.database.read() as tx:
            page = house.keys.page(tx, scope, after=after, most=_PAGE)
            going = [key for key in page if key.state in _LEAVING]
            found = [finding for key in going if (finding := _missed(tx, house.keys, key, now)) is not None]
        count, needed = count + len(going), needed + len(found)
        yield from found
        if len(page) < _PAGE:
            break
        after = page[-1].key_id
    if not needed:
        yield ok("keys pending deletion", f"{count}, and nothing needs them")


def _missed(tx: Tx, keys: Keys, key: Key, now: float) -> Finding | None:
    subject = f"key {key.key_id}"
    end = "when its replicas are gone" if key.deletion is None else moment(key.deletion, now)
    if former_rows.is_needed(tx, key.scope, key.arn, key.key_id):
        detail = f"It is deleted {end}, and a secret is sealed under it or names it: that value is lost then."
        return failed(subject, detail, f"{_KEEP} `keywheel keys reencrypt` moves secrets away from it.")
    named = ", ".join(alias.name for alias in keys.aliases.page(tx, key.scope, key=key, most=_PAGE))
    if named:
        return warning(subject, f"It is deleted {end}, and is named by {named}.", f"{_KEEP} Or move the alias.")
    return None
