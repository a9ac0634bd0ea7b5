"""A crash before and after every effect of a rotation behind an alias, and workers that overtake one another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keywheel.clock import to_epoch
from keywheel.errors import KeyStoreError
from keywheel.keys import states
from keywheel.keys.keyring import Draft
from keywheel.rotation.keys import rows
from keywheel.rotation.keys.driver import LEASE, KeyDriver
from keywheel.rotation.keys.machine import Step
from keywheel.rotation.keys.rules import Rules
from keywheel.testing import Crash, Fuse
from tests.rotation.keys.conftest import DAY, SCOPE, KeyAccount

RULES = Rules(lead=3600, grace=DAY, delete_after=DAY, restricted=True, together=True)
MAC = "GENERATE_VERIFY_MAC"


def drive(account: KeyAccount, driver: KeyDriver, name: str) -> None:
    """A rotation from its beginning to the deletion of the former key."""
    now = account.clock.now()
    account.database.write(lambda tx: account.rotations.start(tx, SCOPE, name, now))
    for pause in (0, 1, 24, 24):
        account.clock.advance(timedelta(hours=pause))
        while driver.turn():
            pass


def fused(account: KeyAccount, fuse: Fuse) -> KeyDriver:
    return KeyDriver(fuse.around("store", account.database), fuse.around("keys", account.keys), account.clock)


def assert_no_orphan(account: KeyAccount) -> None:
    """Every key is named by an alias, or was, or is on its way out."""
    with account.database.read() as tx:
        named = {alias.key_id for alias in account.keys.aliases.page(tx, SCOPE, most=1000)}
        entries = rows.page(tx, SCOPE, after="", most=1000)
        left = {each.former.key_id for entry in entries for each in account.rotations.formers(tx, SCOPE, entry.name)}
    for key in account.all():
        assert key.key_id in named | left or key.state == states.PENDING_DELETION


def points_of_a_rotation(account: KeyAccount) -> list[str]:
    account.create("alias/measured", "HMAC_256", MAC)
    account.schedule("alias/measured", RULES)
    fuse = Fuse()
    driver = fused(account, fuse)
    with fuse.recording() as points:
        drive(account, driver, "alias/measured")
    return list(points)


def test_a_crash_at_any_effect_leaves_one_current_key_and_no_orphan(account: KeyAccount) -> None:
    """And the alias answers all the while, and each grant is there once."""
    points = points_of_a_rotation(account)
    assert {"before keys.draft", "after keys.draft", "after store.write"} <= set(points)
    for number in range(len(points)):
        name = f"alias/k{number}"
        before = account.create(name, "HMAC_256", MAC)
        account.grant(before.key_id, "ann")
        account.grant(before.key_id, "ann")
        account.schedule(name, RULES)
        fuse = Fuse()
        driver = fused(account, fuse)
        with fuse.blow_at(number), pytest.raises(Crash):
            drive(account, driver, name)
        assert account.mac(name)
        account.pass_days(3, step=0.25)
        assert account.mac(name)
        events = account.events(name)
        assert events.count("KeyCreated") == events.count("KeyRotationSucceeded") == 1, points[number]
        assert account.key(name).key_id != before.key_id
        assert account.granted(name) == ["ann", "ann"], points[number]
        assert account.key(before.key_id).state == states.PENDING_DELETION
        assert_no_orphan(account)


def test_a_worker_that_was_overtaken_changes_nothing(account: KeyAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """It made the material; another one has made the key meanwhile."""
    account.create("alias/k", "HMAC_256", MAC)
    draft = account.keys.draft

    def slow(*members: Any, **named: Any) -> Draft:
        monkeypatch.setattr(account.keys, "draft", draft)
        made = draft(*members, **named)
        account.clock.advance(LEASE + timedelta(seconds=1))
        assert account.run() > 0
        return made

    monkeypatch.setattr(account.keys, "draft", slow)
    account.rotate("alias/k")
    assert account.events("alias/k").count("KeyCreated") == 1
    assert account.run() == 0
    assert len(account.all()) == 2
    assert account.mac("alias/k")


def test_a_key_store_that_is_away_is_waited_for(account: KeyAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same key, and the former one goes on."""
    account.create("alias/k", "HMAC_256", MAC)
    draft = account.keys.draft

    def away(*_: object, **__: object) -> Draft:
        raise KeyStoreError("The key store does not answer.")

    monkeypatch.setattr(account.keys, "draft", away)
    account.rotate("alias/k")
    entry = account.entry("alias/k")
    assert (entry.rotation.step, entry.rotation.attempt) == (Step.CREATE, 1)
    account.clock.advance(timedelta(minutes=10))
    account.run()
    assert account.entry("alias/k").rotation.attempt == 2
    assert account.mac("alias/k")
    monkeypatch.setattr(account.keys, "draft", draft)
    account.clock.advance(timedelta(minutes=10))
    account.run()
    assert account.key("alias/k").key_id == entry.rotation.new_key


def test_a_claim_is_one_workers(account: KeyAccount) -> None:
    """Until its end."""
    account.create("alias/k", "HMAC_256", MAC)
    now = account.clock.now()
    account.database.write(lambda tx: account.rotations.start(tx, SCOPE, "alias/k", now))
    at, until = to_epoch(now), to_epoch(now + LEASE)
    first = account.database.write(lambda tx: rows.claim(tx, at, until, only_begun=False))
    assert first is not None
    assert account.database.write(lambda tx: rows.claim(tx, at, until, only_begun=False)) is None
    again = account.database.write(lambda tx: rows.claim(tx, until, until + 1, only_begun=False))
    assert again is not None
    assert again.serial > first.serial
