"""The check of a key policy, as far as it goes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keywheel.access import facts
from keywheel.access.access_keys import Role
from keywheel.access.door import Caller
from keywheel.access.principals import Principal
from keywheel.access.templates import default_key_policy as default_policy
from keywheel.api.kms.policies import checked_policy
from keywheel.arn import Scope
from keywheel.errors import LimitExceeded, MalformedPolicyDocument

ACCOUNT = "123456789012"
ANN = Principal.of(f"arn:aws:iam::{ACCOUNT}:user/ann")
CALLER = Caller(
    ANN.arn, Scope(ACCOUNT, "eu-west-1"), Role.ADMINISTRATOR, "AKIAEXAMPLE", known=facts.principal_facts(ANN)
)
KEY = CALLER.scope.arn("kms", "key/11111111-1111-4111-8111-111111111111")


def policy(**changes: Any) -> str:
    """The default policy with some parts of its statement changed."""
    document = json.loads(default_policy(ACCOUNT))
    document["Statement"] = {**document["Statement"][0], **changes}
    return json.dumps(document)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Principal": "*"},
        {"Principal": {"AWS": [f"arn:aws:iam::{ACCOUNT}:user/bob", CALLER.arn]}},
        {"Principal": {"AWS": ACCOUNT}},
        {"Resource": KEY},
        {"Condition": {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}},
        {"Action": ["kms:Encrypt", "KMS:PutKeyPolicy"]},
        {"Action": "kms:Put*"},
        {"Action": "*"},
    ],
    ids=str,
)
def test_a_policy_that_keeps_its_author_is_taken(changes: dict[str, Any]) -> None:
    """By name, by the account, by anyone; actions have no case."""
    checked_policy(policy(**changes), CALLER, KEY, bypass=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"Effect": "Deny"},
        {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/bob"}},
        {"Principal": {"AWS": "arn:aws:iam::210987654321:root"}},
        {"Principal": {"Service": "s3.amazonaws.com"}},
        {"Action": "kms:Encrypt"},
        {"Resource": KEY[:-1] + "2"},
        {"Condition": {"StringEquals": {"aws:PrincipalAccount": "210987654321"}}},
    ],
    ids=str,
)
def test_a_policy_that_loses_its_author_is_refused(changes: dict[str, Any]) -> None:
    """Unless the check is bypassed."""
    with pytest.raises(MalformedPolicyDocument, match="will not allow you to update the key policy"):
        checked_policy(policy(**changes), CALLER, KEY, bypass=False)
    checked_policy(policy(**changes), CALLER, KEY, bypass=True)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "1", '{"Statement": "x"}', "[" * 30_000, '{"Statement": [null]}']
)
def test_what_is_no_policy_is_refused_in_any_case(text: str) -> None:
    """However deep it is."""
    for bypass in (False, True):
        with pytest.raises(MalformedPolicyDocument):
            checked_policy(text, CALLER, KEY, bypass=bypass)


def test_a_policy_has_32_kilobytes() -> None:
    """And not one more."""
    text = default_policy(ACCOUNT)
    checked_policy(text.ljust(32 * 1024), CALLER, KEY, bypass=False)
    with pytest.raises(LimitExceeded):
        checked_policy(text.ljust(32 * 1024 + 1), CALLER, KEY, bypass=False)
