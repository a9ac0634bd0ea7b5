"""The engine, and the policy of a key that it needs: `keywheel.internal` needs no Allow, and a Deny is a Deny."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keywheel.access.documents import Kind
from keywheel.access.policy import compile_policy
from keywheel.access.templates import default_key_policy
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied
from keywheel.keys.keyring import Key
from keywheel.rotation.outbox import entry_of
from keywheel.secrets.labels import CURRENT
from tests.support.account import SCOPE, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget

ENGINE = {"Service": "keywheel.internal"}


def policy(**deny: Any) -> str:
    """The default policy of a key, and a Deny."""
    document = json.loads(default_key_policy(SCOPE.account))
    document["Statement"].append({"Sid": "No", "Effect": "Deny", "Resource": "*", **deny})
    return json.dumps(document)


def under_key(account: Account, target: MemoryTarget, text: str) -> Key:
    """A key with that policy, and the secret `own` under it."""
    keys, now = account.rooms.keys, account.clock.now()
    key = account.rooms.database.write(lambda tx: keys.create(tx, SCOPE, description="", now=now))
    account.create("own", target.new_user("own", "own-password"), key=key.arn)
    put(account, key, text)
    return key


def put(account: Account, key: Key, text: str) -> None:
    compile_policy(text, Kind.KEY)

    def work(tx: Tx) -> None:
        found = account.rooms.keys.find(tx, SCOPE, key.key_id, now=account.clock.now(), lock=True)
        account.rooms.keys.lifecycle.put_policy(tx, found, text)

    account.rooms.database.write(work)


@pytest.mark.parametrize(
    ("deny", "action", "step"),
    [
        ({"Principal": ENGINE, "Action": "kms:Decrypt"}, "kms:Decrypt", "create"),
        ({"Principal": ENGINE, "Action": "kms:GenerateDataKey"}, "kms:GenerateDataKey", "create"),
        ({"Principal": "*", "Action": "kms:*", "Condition": {"StringLike": {"kms:ViaService": "secretsmanager.*"}}},
         "kms:Decrypt", "create"),
    ],
)  # fmt: skip
def test_a_deny_of_the_key_s_policy_fails_the_rotation(
    account: Account, target: MemoryTarget, deny: dict[str, Any], action: str, step: str
) -> None:
    """At once and with the reason; when the policy spares the engine, the next attempt succeeds."""
    key = under_key(account, target, policy(**deny))
    version = account.rotated("own", SINGLE_USER)
    note = account.journal("own")[-1]
    assert (note.event, note.code, note.step) == ("RotationFailed", "KeyForbidden", step)
    assert f"The policy of the key {key.arn} denies {action} to keywheel.internal (No)." in (note.reason or "")
    assert account.rotation("own").failed
    put(account, key, default_key_policy(SCOPE.account))
    account.sleep("own")
    assert account.labels("own")[CURRENT] == version
    assert target.accepts(account.credential("own"))


@pytest.mark.parametrize(
    "deny",
    [
        {"Principal": "*", "Action": "kms:*", "Condition": {"Bool": {"aws:PrincipalIsAWSService": "false"}}},
        {"NotPrincipal": ENGINE, "Action": "kms:Decrypt"},
        {"Principal": ENGINE, "Action": "kms:ScheduleKeyDeletion"},
        {"Principal": {"Service": "lambda.amazonaws.com"}, "Action": "kms:*"},
    ],
)
def test_a_deny_that_spares_the_engine_does_not_concern_it(
    account: Account, target: MemoryTarget, deny: dict[str, Any]
) -> None:
    """It is a service, and has a name."""
    under_key(account, target, policy(**deny))
    version = account.rotated("own", SINGLE_USER)
    with account.rooms.database.read() as tx:
        secret = account.rooms.secrets.find(tx, SCOPE, "own")
        assert account.rooms.secrets.labels(tx, secret)[CURRENT] == version


def test_the_engine_needs_no_allow(account: Account, target: MemoryTarget) -> None:
    """A policy that admits one user alone says nothing of it."""
    only = {"AWS": SCOPE.arn("iam", "user/admin").replace("us-east-1", "")}
    statement = {"Effect": "Allow", "Principal": only, "Action": "kms:*", "Resource": "*"}
    under_key(account, target, json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    version = account.rotated("own", SINGLE_USER)
    with account.rooms.database.read() as tx:
        secret = account.rooms.secrets.find(tx, SCOPE, "own")
        assert account.rooms.secrets.labels(tx, secret)[CURRENT] == version


def test_the_ledger_says_that_the_engine_acted(account: Account) -> None:
    """As a service, by its name."""
    account.rotated("app", SINGLE_USER)
    for note in account.journal("app"):
        identity = entry_of(1, note).user_identity
        assert (identity.type, identity.invoked_by) == ("AWSService", "keywheel.internal")


def replicated(account: Account, target: MemoryTarget, text: str) -> Key:
    """The secret `own`, replicated to another Region under a key of that Region with that policy."""
    keys, now, there = account.rooms.keys, account.clock.now(), Scope(SCOPE.account, "eu-west-1")
    key = account.rooms.database.write(lambda tx: keys.create(tx, there, description="", now=now))
    account.create("own", target.new_user("own", "own-password"))

    def work(tx: Tx) -> None:
        secret = account.rooms.secrets.find(tx, SCOPE, "own", lock=True)
        account.rooms.replicas.add(tx, secret, [("eu-west-1", key.arn)], overwrite=False, now=now)
        found = keys.find(tx, there, key.key_id, now=now, lock=True)
        keys.lifecycle.put_policy(tx, found, text)

    account.rooms.database.write(work)
    return key


def status(account: Account) -> tuple[str, str | None]:
    """How the replica of `own` stands, and why."""
    with account.rooms.database.read() as tx:
        ((replica, _),) = account.rooms.replicas.status(tx, account.rooms.secrets.find(tx, SCOPE, "own"))
    return replica.status, replica.message


@pytest.mark.parametrize("is_rotated", [True, False])
def test_a_deny_of_a_replica_s_key_fails_the_replica(account: Account, target: MemoryTarget, is_rotated: bool) -> None:
    """With the reason, whoever wrote the value; the primary's change stands, and the next one tries again."""
    key = replicated(account, target, policy(Principal=ENGINE, Action="kms:GenerateDataKey"))
    assert status(account) == ("InSync", None)
    if is_rotated:
        account.rotated("own", SINGLE_USER)
        assert account.events("own")[-1] == "RotationSucceeded"
    else:
        account.put("own", "another")
    state, reason = status(account)
    assert state == "Failed"
    assert reason == f"The policy of the key {key.arn} denies kms:GenerateDataKey to keywheel.internal (No)."
    there = Scope(SCOPE.account, "eu-west-1")

    def spare(tx: Tx) -> None:
        found = account.rooms.keys.find(tx, there, key.key_id, now=account.clock.now(), lock=True)
        account.rooms.keys.lifecycle.put_policy(tx, found, default_key_policy(SCOPE.account))

    account.rooms.database.write(spare)
    account.put("own", "the next")
    assert status(account) == ("InSync", None)


def test_what_the_primary_s_key_denies_is_not_copied(account: Account, target: MemoryTarget) -> None:
    """To copy a value is to read it."""
    key = under_key(account, target, policy(Principal=ENGINE, Action="kms:Decrypt"))
    now = account.clock.now()

    def work(tx: Tx) -> None:
        secret = account.rooms.secrets.find(tx, SCOPE, "own", lock=True)
        account.rooms.replicas.add(tx, secret, [("eu-west-1", None)], overwrite=False, now=now)

    account.rooms.database.write(work)
    reason = f"The policy of the key {key.arn} denies kms:Decrypt to keywheel.internal (No)."
    assert status(account) == ("Failed", reason)


@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey"])
def test_a_rehearsal_is_refused_to_whoever_asks_for_it(account: Account, target: MemoryTarget, action: str) -> None:
    """With the same reason, and nothing is pending."""
    under_key(account, target, policy(Principal=ENGINE, Action=action))
    with pytest.raises(AccessDenied, match=f"denies {action} to keywheel.internal"):
        account.rotate("own", SINGLE_USER, immediately=False, days=30)
    assert set(account.labels("own")) == {CURRENT}
