"""The engine, and the policy of a key that it needs: `keywheel.internal` needs no Allow, and a Deny is a Deny."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keywheel.access.documents import Kind
from keywheel.access.policy import compile_policy
from keywheel.access.templates import default_key_policy
from keywheel.db.statement import Tx
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
