"""Keys in the engine's loop: beside the rotations of secrets, under the same doubts, in the same ledger."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from keywheel.access.audit.log import AuditLog
from keywheel.clock import from_epoch
from keywheel.config import Settings
from keywheel.keys.errors import KeyNotFound
from keywheel.rotation.keys import journal, redating
from keywheel.rotation.keys.driver import KeyDriver
from keywheel.rotation.keys.engine import KeyEngine
from keywheel.rotation.keys.machine import Step
from keywheel.rotation.keys.rules import Rules
from keywheel.rotation.outbox import Outbox, entry_of_key
from keywheel.server import House, open_audit
from keywheel.testing import ManualClock
from tests.rotation.keys.conftest import DAY, SCOPE, KeyAccount

MAC = "GENERATE_VERIFY_MAC"


def minutes(engine: object, clock: ManualClock, count: int) -> None:
    """An engine that looks each minute."""
    for _ in range(count):
        clock.advance(timedelta(minutes=1))
        engine._sweep()  # type: ignore[attr-defined] # what an engine does each minute
        engine.tick()  # type: ignore[attr-defined] # as the loop does


def test_the_engine_rotates_what_is_due(house: House, account: KeyAccount, clock: ManualClock) -> None:
    """A tick is enough."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(expression="rate(1 hour)"))
    engine = house.engine("engine-1")
    minutes(engine, clock, 59)
    assert account.key("alias/k").key_id == before.key_id
    minutes(engine, clock, 2)
    assert account.key("alias/k").key_id != before.key_id


def test_a_clock_that_jumped_rotates_and_destroys_nothing(
    house: House, account: KeyAccount, clock: ManualClock
) -> None:
    """Until it is trusted again; then everything comes when it was due."""
    before = account.create("alias/k", "HMAC_256", MAC)
    doomed = account.create("alias/doomed", "HMAC_256", MAC)
    account.write(lambda tx, key: account.keys.lifecycle.schedule_deletion(tx, key, 7, clock.now()), doomed.key_id)
    account.schedule("alias/k", Rules(expression="rate(30 days)", grace=DAY))
    engine = house.engine("engine-1")
    minutes(engine, clock, 2)
    clock.set(clock.now() + timedelta(days=365))
    minutes(engine, clock, 10)
    assert account.key("alias/k").key_id == before.key_id
    assert account.key(doomed.key_id).deletion is not None
    minutes(engine, clock, 10)
    assert account.key("alias/k").key_id != before.key_id
    with pytest.raises(KeyNotFound):
        account.key(doomed.key_id)


def test_what_was_written_by_a_clock_that_was_ahead_is_dated_anew(account: KeyAccount, clock: ManualClock) -> None:
    """Nothing waits for a year that is not to come soon."""
    right = clock.now()
    clock.set(right + timedelta(days=365))
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(expression="cron(0 0 1 * ? *)", grace=DAY))
    account.rotate("alias/k")
    clock.set(right)
    now = account.epoch()
    for _ in range(2):
        account.database.write(lambda tx: redating.date_anew(tx, now))
    account.run()
    entry = account.entry("alias/k")
    assert entry.rotation.rotated == entry.configured == now
    assert entry.rotation.due is not None
    assert from_epoch(entry.rotation.due) == datetime(2026, 2, 1, tzinfo=right.tzinfo)
    account.pass_days(1)
    assert not account.key(before.key_id).enabled


def test_a_claim_that_a_wrong_clock_made_ends_soon(account: KeyAccount, clock: ManualClock) -> None:
    """Whoever comes next need not wait for a year."""
    right = clock.now()
    account.create("alias/k", "HMAC_256", MAC)
    clock.set(right + timedelta(days=365))
    now = clock.now()
    account.database.write(lambda tx: account.rotations.start(tx, SCOPE, "alias/k", now))
    clock.set(right)
    end = account.epoch() + 30.0
    account.database.write(lambda tx: redating.cut_waits(tx, end))
    clock.advance(timedelta(seconds=30))
    account.run()
    assert account.entry("alias/k").rotation.step is Step.REST


def test_every_event_reaches_the_audit_ledger_once(house: House, account: KeyAccount, tmp_path: Path) -> None:
    """With the alias, the key and the rotation that it belongs to."""
    account.create("alias/k", "HMAC_256", MAC)
    account.rotate("alias/k")
    audit: AuditLog = open_audit(Settings(data=str(tmp_path)), account.database, account.keys, "test")
    outbox = Outbox(account.database, audit)
    assert outbox.tell() == 4
    assert outbox.tell() == 0
    audit.close()
    ledger = "".join(path.read_text() for path in (tmp_path / "audit").rglob("*") if path.is_file())
    for event in account.events("alias/k"):
        assert ledger.count(f'"{event}"') == 1
    told = entry_of_key(1, account.journal("alias/k")[-1])
    assert told.event_source == "kms.amazonaws.com"
    assert told.additional_event_data is not None
    assert told.additional_event_data["AliasArn"] == SCOPE.arn("kms", "alias/k")


def test_many_engines_make_one_new_key_each_time(account: KeyAccount) -> None:
    """Eight threads, each as an engine of its own."""
    names = [f"alias/k{number}" for number in range(6)]
    for name in names:
        account.create(name, "HMAC_256", MAC)
        account.schedule(name, Rules(expression="rate(1 day)"))
    account.clock.advance(timedelta(days=1))
    failures: list[BaseException] = []

    def work() -> None:
        driver = KeyDriver(account.database, account.keys, account.clock)
        try:
            while driver.turn():
                pass
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    account.run()
    assert failures == []
    for name in names:
        assert Counter(account.events(name)) == dict.fromkeys(
            ("KeyRotationStarted", "KeyCreated", "KeyTested", "KeyRotationSucceeded"), 1
        )
    assert len(account.all()) == 2 * len(names)


def test_one_turn_at_a_time(account: KeyAccount) -> None:
    """Whoever looks meanwhile finds nothing to do."""
    account.create("alias/k", "HMAC_256", MAC)
    now = account.clock.now()
    account.database.write(lambda tx: account.rotations.start(tx, SCOPE, "alias/k", now))
    engine = KeyEngine(account.database, account.keys, account.clock)
    assert engine.is_due()
    with engine._turning:
        assert not engine.is_due()
        assert engine.turn(trusted=True) == 0
    assert engine.turn(trusted=True) > 0
    assert not engine.is_due()


def test_what_a_sweep_does_is_told_too(account: KeyAccount) -> None:
    """Automatic rotations and deletions, each once, although there are many."""
    for number in range(130):
        made = account.create(f"alias/k{number}", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
        account.write(lambda tx, key: account.keys.rotation.enable(tx, key, 90, account.clock.now()), made.key_id)
    doomed = account.create("alias/doomed", "HMAC_256", MAC)
    account.write(
        lambda tx, key: account.keys.lifecycle.schedule_deletion(tx, key, 7, account.clock.now()), doomed.key_id
    )
    account.clock.advance(timedelta(days=90))
    engine = KeyEngine(account.database, account.keys, account.clock)
    engine.sweep()
    engine.sweep()
    with account.database.read() as tx:
        notes = [note for _, note in journal.unaudited(tx, 1000)]
    assert Counter(note.event for note in notes) == {"RotateKey": 130, "DeleteKey": 1}
    assert {note.key_id for note in notes if note.event == "DeleteKey"} == {doomed.key_id}
    told = entry_of_key(1, notes[0])
    assert told.resources is not None
    assert told.resources[0].arn == SCOPE.arn("kms", f"key/{notes[0].key_id}")
