"""Rotations behind aliases, by a clock that is moved: a new key takes the name, and nothing made before is lost."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keywheel.clock import from_epoch
from keywheel.keys import states
from keywheel.keys.errors import KeyDisabled, KeyInvalidSignature, KeyInvalidState, KeyNotFound
from keywheel.keys.imports import Import
from keywheel.rotation.keys.formers import Held, Stage
from keywheel.rotation.keys.machine import Step
from keywheel.rotation.keys.rules import Rules
from tests.rotation.keys.conftest import DAY, SCOPE, KeyAccount

MONTHLY = Rules(expression="cron(0 0 1 * ? *)")
SIGN, MAC, AGREE, ENCRYPT, KEM = (
    *("SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCRYPT_DECRYPT", "ENCAPSULATE_DECAPSULATE"),
)
_ALLOW = '{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "kms:*", "Resource": "*"}'
POLICY = f'{{"Version": "2012-10-17", "Statement": [{_ALLOW}]}}'


def test_an_rsa_key_is_rotated_each_month_of_a_year(account: KeyAccount) -> None:
    """Twelve new keys; what each signed verifies by its id; the alias always names an enabled one."""
    first = account.create("alias/signing", "RSA_2048", SIGN)
    account.schedule("alias/signing", MONTHLY)
    signatures = {first.key_id: account.sign("alias/signing")}
    for _ in range(365):
        account.pass_days(1)
        key = account.key("alias/signing")
        assert key.enabled
        if key.key_id not in signatures:
            signatures[key.key_id] = account.sign("alias/signing")
    assert len(signatures) == 13
    started = [from_epoch(note.at) for note in account.journal("alias/signing") if note.event == "KeyRotationStarted"]
    assert started == [datetime(2026, month, 1, tzinfo=UTC) for month in range(2, 13)] + [
        datetime(2027, 1, 1, tzinfo=UTC)
    ]
    for key_id, signature in signatures.items():
        account.verify(key_id, signature)
    with pytest.raises(KeyInvalidSignature):
        account.verify("alias/signing", signatures[first.key_id])
    assert {former.former.key_id for former in account.formers("alias/signing")} | {
        account.key("alias/signing").key_id
    } == {key.key_id for key in account.all()}


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("HMAC_256", MAC),
        ("ECC_NIST_P256", SIGN),
        ("ECC_NIST_P256", AGREE),
        ("ECC_NIST_EDWARDS25519", SIGN),
        ("ECC_SECG_P256K1", SIGN),
        ("ML_DSA_65", SIGN),
        ("ML_KEM_768", KEM),
        ("RSA_2048", ENCRYPT),
        ("SYMMETRIC_DEFAULT", ENCRYPT),
    ],
)
def test_every_kind_of_key_can_be_rotated(account: KeyAccount, spec: str, usage: str) -> None:
    """The new key is of the same kind, says the same of itself, and was tested."""
    before = account.create("alias/a/b", spec, usage, description="what for", tags={"team": "blue"}, policy=POLICY)
    account.rotate("alias/a/b")
    after = account.key("alias/a/b")
    assert after.key_id != before.key_id
    assert (after.spec, after.usage, after.description, after.tags) == (spec, usage, "what for", {"team": "blue"})
    assert account.policy(after.key_id) == POLICY
    assert account.events("alias/a/b") == ["KeyRotationStarted", "KeyCreated", "KeyTested", "KeyRotationSucceeded"]
    assert account.key(before.key_id).enabled


def test_the_new_key_has_the_grants_of_the_former_one(account: KeyAccount) -> None:
    """As they stand when the alias moves, whatever happened since they were copied first."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(lead=7 * DAY))
    ended = account.grant(before.key_id, "ann", name="n")
    account.grant(before.key_id, "bob")
    account.rotate("alias/k")
    after = account.entry("alias/k").rotation.new_key or ""
    assert account.granted(after) == account.granted(before.key_id) == ["ann", "bob"]
    account.write(lambda tx, key: account.keys.grants.delete(tx, key, ended.grant_id), before.key_id)
    account.grant(before.key_id, "eve")
    account.grant(after, "own")
    account.pass_days(7)
    assert account.key("alias/k").key_id == after
    assert account.granted(after) == ["bob", "eve", "own"]
    assert account.granted(before.key_id) == ["bob", "eve"]


def test_each_stage_of_the_way_out_comes_in_its_time(account: KeyAccount) -> None:
    """Enabled for the grace period, disabled, watched, scheduled for deletion, gone."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(grace=30 * DAY, delete_after=60 * DAY, deletion_window=7))
    account.rotate("alias/k")
    account.pass_days(29)
    assert account.key(before.key_id).enabled
    account.pass_days(1)
    assert account.key(before.key_id).state == states.DISABLED
    account.pass_days(59)
    assert account.key(before.key_id).state == states.DISABLED
    account.pass_days(1)
    assert account.key(before.key_id).state == states.PENDING_DELETION
    account.pass_days(8)
    with pytest.raises(KeyNotFound):
        account.key(before.key_id)
    assert account.events("alias/k")[-2:] == ["FormerKeyDisabled", "FormerKeyDeletionScheduled"]
    assert account.run() == 0


def test_whoever_still_tries_to_use_a_disabled_key_puts_its_deletion_off(account: KeyAccount) -> None:
    """Counted from the last attempt."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(grace=0, delete_after=10 * DAY))
    account.rotate("alias/k")
    account.pass_days(9)
    account.write(lambda tx, key: account.rotations.miss(tx, key, "VerifyMac", account.clock.now()), before.key_id)
    account.pass_days(9)
    assert account.key(before.key_id).state == states.DISABLED
    account.pass_days(2)
    assert account.key(before.key_id).state == states.PENDING_DELETION
    assert "FormerKeyMissed" in account.events("alias/k")


def test_a_grace_period_can_be_changed_while_it_runs(account: KeyAccount) -> None:
    """The former keys go by the rules of now."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.rotate("alias/k")
    account.pass_days(100, step=50)
    assert account.key(before.key_id).enabled
    account.schedule("alias/k", Rules(grace=30 * DAY))
    account.run()
    assert account.key(before.key_id).state == states.DISABLED


def test_a_key_that_another_alias_names_is_not_disabled(account: KeyAccount) -> None:
    """It is looked at every day, until the alias is gone."""
    before = account.create("alias/k", "HMAC_256", MAC)
    now = account.clock.now()
    account.write(lambda tx, key: account.keys.aliases.create(tx, "alias/other", key, now), before.key_id)
    account.schedule("alias/k", Rules(grace=DAY))
    account.rotate("alias/k")
    account.pass_days(5)
    assert account.key(before.key_id).enabled
    assert account.formers("alias/k")[0].former.held is Held.ALIAS
    assert account.events("alias/k").count("FormerKeyHeld") == 1
    account.database.write(lambda tx: account.keys.aliases.delete(tx, SCOPE, "alias/other"))
    account.pass_days(1)
    assert account.formers("alias/k")[0].former.stage is Stage.DISABLED


def test_all_aliases_of_a_key_can_move_together(account: KeyAccount) -> None:
    """In one transaction."""
    before = account.create("alias/k", "HMAC_256", MAC)
    now = account.clock.now()
    account.write(lambda tx, key: account.keys.aliases.create(tx, "alias/other", key, now), before.key_id)
    account.schedule("alias/k", Rules(together=True))
    account.rotate("alias/k")
    assert account.key("alias/other").key_id == account.key("alias/k").key_id != before.key_id


def test_a_new_key_is_published_before_it_is_used(account: KeyAccount) -> None:
    """For the lead, unless it is urgent."""
    before = account.create("alias/k", "ECC_NIST_P256", SIGN)
    account.schedule("alias/k", Rules(lead=DAY, published=True))
    account.rotate("alias/k")
    assert account.entry("alias/k").rotation.step is Step.ANNOUNCE
    with account.database.read() as tx:
        published = account.rotations.published(tx, SCOPE, "alias/k", account.clock.now())
    assert [key.key_id for key in published] == [before.key_id, account.entry("alias/k").rotation.new_key]
    assert account.key("alias/k").key_id == before.key_id
    account.pass_days(1)
    assert account.key("alias/k").key_id == published[1].key_id
    account.rotate("alias/k", urgent=True)
    assert account.key("alias/k").key_id not in {key.key_id for key in published}


def test_what_was_changed_during_the_lead_is_not_lost(account: KeyAccount) -> None:
    """The new key says what the one before it says when the alias moves."""
    before = account.create("alias/k", "ECC_NIST_P256", SIGN, tags={"team": "blue"})
    account.schedule("alias/k", Rules(lead=DAY))
    account.rotate("alias/k")
    account.write(lambda tx, key: account.keys.lifecycle.tag(tx, key, [("team", "red")]), before.key_id)
    account.write(lambda tx, key: account.keys.lifecycle.put_policy(tx, key, POLICY), before.key_id)
    account.pass_days(1)
    after = account.key("alias/k")
    assert after.key_id != before.key_id
    assert after.tags == {"team": "red"}
    assert account.policy(after.key_id) == POLICY


def test_a_restricted_former_key_forbids_what_makes_something_new(account: KeyAccount) -> None:
    """By its key policy; the next key's policy does not have that."""
    before = account.create("alias/k", "ECC_NIST_P256", SIGN, policy=POLICY)
    account.schedule("alias/k", Rules(restricted=True))
    now = account.clock.now()
    account.rotate("alias/k")
    policy = account.policy(before.key_id) or ""
    assert '"Deny"' in policy
    assert '"kms:Sign"' in policy
    assert '"kms:Verify"' not in policy
    assert account.policy("alias/k") == POLICY
    account.write(lambda tx, key: account.keys.aliases.update(tx, SCOPE, "alias/k", key, now), before.key_id)
    account.rotate("alias/k")
    assert json.loads(account.policy("alias/k") or "") == json.loads(POLICY)


def test_a_disabled_key_is_not_followed_by_an_enabled_one(account: KeyAccount) -> None:
    """Somebody has disabled it; the schedule tries again until somebody has enabled it."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(expression="rate(1 day)"))
    account.write(account.keys.lifecycle.disable, before.key_id)
    account.pass_days(2)
    with pytest.raises(KeyInvalidState):
        account.rotate("alias/k")
    entry = account.entry("alias/k")
    assert entry.rotation.failure is not None
    assert entry.rotation.failure.code == "KMSInvalidStateException"
    assert [key.key_id for key in account.all()] == [before.key_id]
    account.write(lambda tx, key: account.keys.lifecycle.enable(tx, key, account.clock.now()), before.key_id)
    account.pass_days(2)
    assert account.key("alias/k").key_id != before.key_id
    assert account.entry("alias/k").rotation.failures == 0


def test_an_alias_that_somebody_moves_meanwhile_stays_where_he_moved_it(account: KeyAccount) -> None:
    """The new key is deleted, and the next attempt sets out from where the alias is."""
    account.create("alias/k", "HMAC_256", MAC)
    theirs = account.create("alias/theirs", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(lead=DAY))
    account.rotate("alias/k")
    new = account.entry("alias/k").rotation.new_key or ""
    now = account.clock.now()
    account.write(lambda tx, key: account.keys.aliases.update(tx, SCOPE, "alias/k", key, now), theirs.key_id)
    account.pass_days(1)
    assert account.key("alias/k").key_id == theirs.key_id
    assert account.key(new).state == states.PENDING_DELETION
    assert account.events("alias/k")[-2:] == ["KeyRotationFailed", "KeyDiscarded"]
    account.pass_days(2)
    assert account.formers("alias/k")[0].former.key_id == theirs.key_id


def test_a_rotation_that_nobody_scheduled_is_given_up_some_day(account: KeyAccount) -> None:
    """Each attempt leaves at most a key that is pending deletion."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(lead=3600))
    account.rotate("alias/k")
    account.write(account.keys.lifecycle.disable, before.key_id)
    account.pass_days(30)
    assert account.entry("alias/k").rotation.wake_at is None
    assert account.run() == 0
    assert [key.key_id for key in account.all()] == [before.key_id]


def test_a_missed_rotation_is_made_up_for_once(account: KeyAccount) -> None:
    """The server was off for three months."""
    account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", MONTHLY)
    account.clock.advance(timedelta(days=100))
    account.run()
    assert account.events("alias/k").count("KeyRotationSucceeded") == 1
    assert account.entry("alias/k").rotation.due == datetime(2026, 5, 1, tzinfo=UTC).timestamp()


def test_nothing_begins_and_nothing_ends_by_a_clock_that_is_doubted(account: KeyAccount) -> None:
    """What was asked for goes on."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.create("alias/asked", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(expression="rate(1 day)", grace=DAY))
    account.rotate("alias/k")
    account.clock.advance(timedelta(days=400))
    now = account.clock.now()
    account.database.write(lambda tx: account.rotations.start(tx, SCOPE, "alias/asked", now))
    while account.driver.turn(trusted=False):
        pass
    assert account.key(before.key_id).enabled
    assert account.events("alias/k").count("KeyRotationSucceeded") == 1
    assert account.events("alias/asked").count("KeyRotationSucceeded") == 1
    account.run()
    assert account.events("alias/k").count("KeyRotationSucceeded") == 2
    with pytest.raises(KeyDisabled):
        account.mac(before.key_id)


def test_what_is_unscheduled_is_rotated_no_more(account: KeyAccount) -> None:
    """Its former keys go their way all the same."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(expression="rate(10 days)", grace=15 * DAY))
    account.pass_days(10)
    now = account.clock.now()
    account.database.write(lambda tx: account.rotations.unschedule(tx, SCOPE, "alias/k", now))
    account.pass_days(30)
    assert account.events("alias/k").count("KeyRotationSucceeded") == 1
    assert account.key(before.key_id).state == states.DISABLED


def test_the_schedule_of_an_alias_ends_with_it(account: KeyAccount) -> None:
    """Another alias of the same name is not rotated by it, however the first one went."""
    account.create("alias/k", "HMAC_256", MAC)
    doomed = account.create("alias/doomed", "HMAC_256", MAC)
    for name in ("alias/k", "alias/doomed"):
        account.schedule(name, Rules(expression="rate(10 days)"))
    now = account.clock.now()
    account.database.write(lambda tx: account.keys.aliases.delete(tx, SCOPE, "alias/k"))
    account.database.write(lambda tx: account.rotations.end(tx, SCOPE, "alias/k", now))
    account.write(lambda tx, key: account.keys.lifecycle.schedule_deletion(tx, key, 7, now), doomed.key_id)
    account.pass_days(15)
    for name in ("alias/k", "alias/doomed"):
        again = account.create(name, "HMAC_256", MAC)
        account.pass_days(15)
        assert account.key(name).key_id == again.key_id
        assert account.entry(name).rules.expression is None


@pytest.mark.parametrize(("spec", "usage", "length"), [("SYMMETRIC_DEFAULT", ENCRYPT, 32), ("HMAC_256", MAC, 32)])
def test_a_key_with_imported_material_is_followed_only_where_that_is_allowed(
    account: KeyAccount, spec: str, usage: str, length: int
) -> None:
    """By one whose material is made here."""
    now = account.clock.now()
    draft = account.keys.draft(spec, usage, "EXTERNAL")
    before = account.database.write(lambda tx: account.keys.create(tx, SCOPE, description="", now=now, draft=draft))
    given = account.keys.imports.parameters(before, "RSAES_OAEP_SHA_256", "RSA_3072", now)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    encrypted = load_der_public_key(given.public).encrypt(os.urandom(length), scheme)  # type: ignore[union-attr] # an RSA key
    wanted = Import(given.token, encrypted, "KEY_MATERIAL_DOES_NOT_EXPIRE", None, None, None, None)
    account.write(lambda tx, key: account.keys.imports.import_material(tx, key, wanted, now), before.key_id)
    account.write(lambda tx, key: account.keys.aliases.create(tx, "alias/k", key, now), before.key_id)
    with pytest.raises(KeyInvalidState, match="imported"):
        account.rotate("alias/k")
    account.schedule("alias/k", Rules(new_material=True))
    account.rotate("alias/k")
    after = account.key("alias/k")
    assert (after.origin, after.spec, after.state) == ("AWS_KMS", spec, states.ENABLED)
    assert after.key_id != before.key_id
