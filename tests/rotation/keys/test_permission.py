"""The engine and the policies of the keys that it rotates behind aliases: it needs no Allow, and a Deny is a Deny."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from keywheel.access.templates import default_key_policy
from keywheel.errors import AccessDenied
from keywheel.keys import states
from keywheel.rotation.keys.enforcement import Action, Enforcement
from keywheel.rotation.keys.formers import Held, Stage
from keywheel.rotation.keys.machine import Step
from keywheel.rotation.keys.rows import Bound
from keywheel.rotation.keys.rules import Rules
from tests.rotation.keys.conftest import DAY, SCOPE, KeyAccount
from tests.rotation.keys.test_regions import EU, at, change, everywhere, named

ENGINE = {"Service": "keywheel.internal"}
MAC, SIGN = "GENERATE_VERIFY_MAC", "SIGN_VERIFY"


def denying(*actions: str, **members: Any) -> str:
    """The default policy, and a Deny."""
    document = json.loads(default_key_policy(SCOPE.account))
    deny = {"Sid": "No", "Effect": "Deny", "Principal": ENGINE, "Action": list(actions), "Resource": "*"}
    document["Statement"].append(deny | members)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("spec", "usage", "action"),
    [
        ("HMAC_256", MAC, "kms:UpdateAlias"),
        ("HMAC_256", MAC, "kms:GenerateMac"),
        ("HMAC_256", MAC, "kms:VerifyMac"),
        ("ECC_NIST_P256", SIGN, "kms:Sign"),
        ("ECC_NIST_P256", "KEY_AGREEMENT", "kms:DeriveSharedSecret"),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "kms:Decrypt"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", "kms:Decapsulate"),
    ],
)
def test_a_deny_refuses_the_rotation_before_a_key_is_made(
    account: KeyAccount, spec: str, usage: str, action: str
) -> None:
    """Whoever asks for it is told which statement; so is the journal, where the schedule asks."""
    key = account.create("alias/k", spec, usage)
    account.schedule("alias/k", Rules(expression="rate(1 day)"))
    account.write(lambda tx, found: account.keys.lifecycle.put_policy(tx, found, denying(action)), key.key_id)
    reason = f"The policy of the key {key.arn} denies {action} to keywheel.internal (No)."
    with pytest.raises(AccessDenied) as refused:
        account.rotate("alias/k")
    assert refused.value.message == reason
    account.pass_days(1)
    failure = account.entry("alias/k").rotation.failure
    assert failure is not None
    assert (failure.step, failure.code, failure.reason) == (Step.REST, "AccessDeniedException", reason)
    assert len(account.all()) == 1


@pytest.mark.parametrize(
    "members",
    [
        {"Action": "kms:*", "Principal": "*", "Condition": {"Bool": {"aws:PrincipalIsAWSService": "false"}}},
        {"Action": "kms:*", "Principal": {"Service": "lambda.amazonaws.com"}},
        {"Action": ["kms:Encrypt", "kms:ReplicateKey"]},
    ],
)
def test_a_deny_that_spares_the_engine_does_not_concern_it(account: KeyAccount, members: dict[str, Any]) -> None:
    """The new key has that policy, too."""
    policy = denying(**members)
    before = account.create("alias/k", "HMAC_256", MAC, policy=policy)
    account.rotate("alias/k")
    assert account.key("alias/k").key_id != before.key_id
    assert account.policy("alias/k") == policy


def test_a_deny_that_comes_while_the_new_key_is_announced_keeps_the_alias_where_it_is(account: KeyAccount) -> None:
    """And the new key is discarded, of whose policy nobody is asked."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(lead=3600))
    account.rotate("alias/k")
    policy = denying("kms:UpdateAlias", "kms:ScheduleKeyDeletion")
    account.write(lambda tx, found: account.keys.lifecycle.put_policy(tx, found, policy), before.key_id)
    account.clock.advance(timedelta(hours=2))
    account.run()
    assert account.key("alias/k").key_id == before.key_id
    states_now = {key.state for key in account.all() if key.key_id != before.key_id}
    assert states_now == {states.PENDING_DELETION}


def test_a_former_key_stays_where_its_policy_says_so(account: KeyAccount) -> None:
    """Each stage has an action of its own."""
    before = account.create("alias/k", "HMAC_256", MAC)
    account.schedule("alias/k", Rules(grace=DAY, delete_after=DAY))
    account.rotate("alias/k")
    put = account.keys.lifecycle.put_policy
    account.write(lambda tx, key: put(tx, key, denying("kms:DisableKey")), before.key_id)
    account.pass_days(3)
    (former,) = account.formers("alias/k")
    assert (former.former.stage, former.former.held) == (Stage.GRACE, Held.POLICY)
    account.write(lambda tx, key: put(tx, key, denying("kms:ScheduleKeyDeletion")), before.key_id)
    account.pass_days(4)
    (former,) = account.formers("alias/k")
    assert (former.former.stage, former.former.held) == (Stage.DISABLED, Held.POLICY)
    account.write(lambda tx, key: put(tx, key, default_key_policy(SCOPE.account)), before.key_id)
    account.pass_days(2)
    assert account.key(before.key_id).state == states.PENDING_DELETION


def test_a_former_key_that_must_not_be_restricted_keeps_its_name(account: KeyAccount) -> None:
    """To restrict it is to put a policy."""
    before = account.create("alias/k", "HMAC_256", MAC, policy=denying("kms:PutKeyPolicy"))
    account.schedule("alias/k", Rules(restricted=True))
    account.rotate("alias/k")
    assert account.key("alias/k").key_id == before.key_id
    account.schedule("alias/k", Rules())
    account.rotate("alias/k")
    assert account.key("alias/k").key_id != before.key_id


def test_the_policy_of_one_region_holds_the_alias_in_all(account: KeyAccount) -> None:
    """No Region goes ahead of another."""
    before = everywhere(account, "alias/k")
    put = account.keys.lifecycle.put_policy
    change(account, EU, before.key_id, lambda tx, key: put(tx, key, denying("kms:UpdateAlias")))
    account.rotate("alias/k")
    assert named(account, "alias/k") == {before.key_id}
    failure = account.entry("alias/k").rotation.failure
    assert failure is not None
    assert f"The policy of the key {at(account, EU, before.key_id).arn} denies kms:UpdateAlias" in failure.reason


def test_a_key_that_must_not_rotate_is_told_by_the_enforcement(account: KeyAccount) -> None:
    """In place or behind its alias."""
    account.create("alias/a", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", policy=denying("kms:EnableKeyRotation"))
    account.create("alias/b", "HMAC_256", MAC, policy=denying("kms:UpdateAlias"))
    bound = Bound(SCOPE.account, SCOPE.region, "", "", 30)
    verdicts = Enforcement(account.keys).enforce(account.database, bound, account.clock.now(), dry_run=False)
    assert [verdict.action for verdict in verdicts] == [Action.NONE, Action.NONE]
    assert {verdict.obstacle and verdict.obstacle.code for verdict in verdicts} == {"AccessDeniedException"}
