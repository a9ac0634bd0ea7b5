"""Which keys can be brought under rotation, how, and why the others cannot; and standing orders."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keywheel.keys import states
from keywheel.keys.keyring import Key
from keywheel.rotation.keys import rows
from keywheel.rotation.keys.enforcement import AGAIN, Action, Enforcement, judge
from keywheel.rotation.keys.machine import Rotation
from keywheel.rotation.keys.rows import Bound, Entry
from keywheel.rotation.keys.rules import Rules
from tests.rotation.keys.conftest import SCOPE, KeyAccount

NOW = 1_768_000_000.0
ORDER = Bound(SCOPE.account, SCOPE.region, "", "", 30)


def key(**members: Any) -> Key:
    plain = dict.fromkeys(Key._fields) | {
        "account": SCOPE.account,
        "region": SCOPE.region,
        "key_id": "k",
        "manager": "CUSTOMER",
        "spec": "RSA_2048",
        "usage": "SIGN_VERIFY",
        "origin": "AWS_KMS",
        "state": "Enabled",
        "tags_json": "{}",
    }
    return Key(**(plain | members))  # type: ignore[arg-type] # of a row, as the test says


def entry(name: str, **rules: Any) -> Entry:
    return Entry(SCOPE, name, NOW, Rules(**rules), Rotation(), 1)


SYMMETRIC = {"spec": "SYMMETRIC_DEFAULT", "usage": "ENCRYPT_DECRYPT"}


@pytest.mark.parametrize(
    ("found", "aliases", "expected"),
    [
        (key(), [], (Action.NONE, None, "NoAlias")),
        (key(), ["alias/b", "alias/a"], (Action.ALIAS, "alias/a", None)),
        (key(), ["alias/a", entry("alias/b")], (Action.ALIAS, "alias/b", None)),
        (key(), [entry("alias/a", expression="rate(30 days)")], (Action.KEPT, "alias/a", None)),
        (key(), [entry("alias/a", expression="rate(31 days)")], (Action.ALIAS, "alias/a", None)),
        (key(), [entry("alias/a", expression="cron(0 0 1 1 ? 2027)")], (Action.ALIAS, "alias/a", None)),
        (key(state=states.DISABLED), ["alias/a"], (Action.NONE, None, "Disabled")),
        (key(state=states.PENDING_DELETION), ["alias/a"], (Action.EXEMPT, None, "PendingDeletion")),
        (key(state=states.PENDING_IMPORT), ["alias/a"], (Action.NONE, None, "PendingImport")),
        (key(multi_region="PRIMARY"), ["alias/a"], (Action.ALIAS, "alias/a", None)),
        (key(multi_region="REPLICA"), ["alias/a"], (Action.EXEMPT, None, "MultiRegion")),
        (key(origin="EXTERNAL"), ["alias/a"], (Action.NONE, None, "ImportedMaterial")),
        (key(origin="EXTERNAL"), [entry("alias/a", new_material=True)], (Action.ALIAS, "alias/a", None)),
        (key(**SYMMETRIC), [], (Action.AUTOMATIC, None, None)),
        (key(**SYMMETRIC, rotation_period=30), [], (Action.KEPT, None, None)),
        (key(**SYMMETRIC, rotation_period=31), [], (Action.AUTOMATIC, None, None)),
        (key(**SYMMETRIC, multi_region="PRIMARY"), [], (Action.AUTOMATIC, None, None)),
        (key(**SYMMETRIC, multi_region="REPLICA"), [], (Action.EXEMPT, None, "MultiRegion")),
        (key(**SYMMETRIC, state=states.DISABLED), [], (Action.NONE, None, "Disabled")),
        (key(**SYMMETRIC, origin="EXTERNAL"), ["alias/a"], (Action.NONE, None, "ImportedMaterial")),
        (key(**SYMMETRIC, origin="AWS_CLOUDHSM"), ["alias/a"], (Action.ALIAS, "alias/a", None)),
        (key(**SYMMETRIC, origin="EXTERNAL_KEY_STORE"), ["alias/a"], (Action.NONE, None, "ExternalKeyStore")),
        (key(**SYMMETRIC, manager="AWS"), ["alias/aws/x"], (Action.EXEMPT, None, "AwsManaged")),
    ],
)
def test_every_key_has_its_verdict(
    found: Key, aliases: list[Entry | str], expected: tuple[Action, str | None, str | None]
) -> None:
    """Within 30 days."""
    verdict = judge(found, aliases, 30, NOW)
    assert (verdict.action, verdict.alias, verdict.obstacle and verdict.obstacle.code) == expected


def test_a_former_key_is_not_brought_back(account: KeyAccount) -> None:
    """Nothing is done to it, and it counts as led out."""
    account.create("alias/k", "HMAC_256", "GENERATE_VERIFY_MAC")
    account.rotate("alias/k")
    former = account.formers("alias/k")[0].former.key_id
    found = Enforcement(account.keys).enforce(account.database, ORDER, account.clock.now(), dry_run=True)
    verdicts = {each.key.key_id: (each.action, each.obstacle and each.obstacle.code) for each in found}
    assert verdicts[former] == (Action.EXEMPT, "FormerKey")


def test_a_bound_shorter_than_awss_rotates_in_place(account: KeyAccount) -> None:
    """And what older material encrypted still decrypts."""
    made = account.create("alias/k", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    Enforcement(account.keys).enforce(account.database, ORDER, account.clock.now(), dry_run=False)
    account.clock.advance(timedelta(days=31))
    now = account.clock.now()
    rotated = account.database.write(lambda tx: account.keys.rotation.rotate_due(tx, now))
    assert [(each.key_id, each.generation) for each in rotated] == [(made.key_id, 2)]


def test_a_standing_order_finds_new_keys(account: KeyAccount) -> None:
    """Every hour."""
    enforcement = Enforcement(account.keys)
    account.database.write(lambda tx: rows.put_bound(tx, ORDER, account.epoch()))
    enforcement.turn(account.database, account.clock.now())
    made = account.create("alias/k", "HMAC_256", "GENERATE_VERIFY_MAC")
    enforcement.turn(account.database, account.clock.now())
    with account.database.read() as tx:
        assert rows.get(tx, SCOPE, "alias/k") is None
    account.clock.advance(AGAIN)
    enforcement.turn(account.database, account.clock.now())
    assert account.entry("alias/k").rules == Rules(expression="rate(30 days)", together=True)
    account.pass_days(30)
    assert account.key("alias/k").key_id != made.key_id


def test_the_rules_that_a_person_gave_are_kept(account: KeyAccount) -> None:
    """Only the schedule is tightened."""
    account.create("alias/k", "HMAC_256", "GENERATE_VERIFY_MAC")
    account.schedule("alias/k", Rules(expression="rate(300 days)", grace=5, restricted=True))
    Enforcement(account.keys).enforce(account.database, ORDER, account.clock.now(), dry_run=False)
    assert account.entry("alias/k").rules == Rules(expression="rate(30 days)", grace=5, restricted=True)
