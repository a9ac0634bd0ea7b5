"""What checks.py promises: the dangers of a policy are found before it is put on something."""

from __future__ import annotations

from typing import Any

import pytest

from keywheel.access import checks
from keywheel.access.checks import BROAD_ACCESS, LOCKED_OUT, read_secret_policy
from keywheel.access.documents import GRAMMARS, Kind
from keywheel.access.policy import compile_policy
from keywheel.access.principals import Principal
from tests.support.policies import (
    ACCOUNT,
    ALICE,
    ALLOW,
    BOB,
    DENY,
    GONE,
    OTHER,
    ROLE,
    ROOT,
    SESSION,
    document,
    statement,
)

INVALID_JSON, UNSUPPORTED_PRINCIPAL = GRAMMARS[Kind.RESOURCE].invalid_json, GRAMMARS[Kind.RESOURCE].principal


def is_public(**changes: Any) -> bool:
    """Whether a policy that allows anyone, with these changes, is public."""
    return checks.is_public(read_secret_policy(document(statement(ALLOW, Principal="*", **changes))))


def locks_out(caller: str = ALICE, **changes: Any) -> bool:
    """Whether a policy that denies everyone, with these changes, locks the caller out."""
    return checks.locks_out(read_secret_policy(document(statement(DENY, **changes))), Principal.of(caller))


# --- public ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        pytest.param({"Principal": "*"}, True, id="anyone"),
        pytest.param({"Principal": {"AWS": "*"}}, True, id="any principal of AWS"),
        pytest.param({"Principal": {"AWS": [ROOT, "*"]}}, True, id="anyone, among others"),
        pytest.param({"Principal": GONE, "NotPrincipal": {"AWS": ROOT}}, True, id="anyone but an account"),
        pytest.param({"Principal": {"AWS": OTHER}}, False, id="another account"),
        pytest.param({"Principal": {"Service": "lambda.amazonaws.com"}}, False, id="a service"),
        pytest.param({"Effect": "Deny", "Principal": "*"}, False, id="a denial for anyone"),
    ],
)
def test_a_policy_that_allows_anyone_is_public(elements: dict[str, Any], expected: bool) -> None:
    """Only an Allow can be public, and only for anyone."""
    assert expected == checks.is_public(read_secret_policy(document(statement(ALLOW, **elements))))


def test_one_public_statement_makes_a_policy_public() -> None:
    """A denial beside it is not weighed against it."""
    read = read_secret_policy(document(ALLOW, DENY, statement(ALLOW, Principal="*")))
    assert checks.is_public(read)


@pytest.mark.parametrize(
    ("operator", "key", "values"),
    [
        ("StringEquals", "aws:PrincipalOrgID", "o-a1b2c3d4e5"),
        ("stringequals", "AWS:principalorgid", ["o-a1b2c3d4e5", "o-f6g7h8i9j0"]),
        ("ForAnyValue:StringLike", "aws:PrincipalOrgPaths", "o-a1b2c3d4e5/r-ab12/*"),
        ("StringEquals", "aws:PrincipalAccount", [ACCOUNT, OTHER]),
        ("StringEqualsIgnoreCase", "aws:SourceAccount", ACCOUNT),
        ("ArnLike", "aws:PrincipalArn", f"arn:aws:iam::{ACCOUNT}:role/*"),
        ("ArnEquals", "aws:SourceArn", f"arn:aws:lambda:*:{ACCOUNT}:function:*"),
        ("ArnLike", "aws:SourceArn", "arn:aws:s3:::a-bucket"),
        ("StringEquals", "aws:SourceVpc", "vpc-1a2b3c4d"),
        ("StringEquals", "aws:SourceVpce", "vpce-1a2b3c4d"),
        ("StringEquals", "aws:userid", "AIDAJQABLZS4A3QDU576Q"),
        ("IpAddress", "aws:SourceIp", ["203.0.113.0/24", "198.51.100.7", "2001:db8::/32"]),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8"),
    ],
)
def test_a_condition_with_fixed_values_keeps_a_policy_from_being_public(operator: str, key: str, values: Any) -> None:
    """Accounts, organisations, sources and networks that are named."""
    assert not is_public(Condition={operator: {key: values}})


@pytest.mark.parametrize(
    ("operator", "key", "values"),
    [
        ("StringNotEquals", "aws:PrincipalOrgID", "o-a1b2c3d4e5"),
        ("StringEqualsIfExists", "aws:SourceAccount", ACCOUNT),
        ("ForAllValues:StringEquals", "aws:PrincipalAccount", ACCOUNT),
        ("StringLike", "aws:SourceAccount", "*"),
        ("StringLike", "aws:PrincipalOrgID", "o-*"),
        ("StringLike", "aws:PrincipalAccount", [ACCOUNT, "1234*"]),
        ("StringEquals", "aws:SourceAccount", "${aws:PrincipalAccount}"),
        ("ArnLike", "aws:SourceArn", "arn:aws:lambda:*:*:function:*"),
        ("ArnLike", "aws:SourceArn", "arn:aws:s3:::a-bucke?"),
        ("StringEquals", "aws:SourceAccount", ""),
        ("StringLike", "aws:userid", "AROAJQABLZS4A3QDU576Q:*"),
        ("IpAddress", "aws:SourceIp", "0.0.0.0/0"),
        ("IpAddress", "aws:SourceIp", ["0.0.0.0/1", "128.0.0.0/1"]),
        ("IpAddress", "aws:SourceIp", ["203.0.113.0/24", "::/0"]),
        ("NotIpAddress", "aws:SourceIp", "203.0.113.0/24"),
        ("StringEquals", "aws:SourceIp", "203.0.113.7"),
        ("Bool", "aws:SecureTransport", "true"),
        ("Null", "aws:SourceVpc", "false"),
        ("StringEquals", "secretsmanager:VersionStage", "AWSCURRENT"),
        ("StringEquals", "aws:PrincipalTag/team", "shop"),
    ],
)
def test_a_condition_that_anyone_can_meet_leaves_a_policy_public(operator: str, key: str, values: Any) -> None:
    """Negations, wildcards, policy variables, wide networks, and keys that say nothing of who asks."""
    assert is_public(Condition={operator: {key: values}})


def test_one_keeping_condition_is_enough() -> None:
    """All conditions of a statement must hold, so the narrowest decides."""
    assert not is_public(
        Condition={"Bool": {"aws:SecureTransport": "true"}, "StringEquals": {"aws:SourceVpc": "vpc-1"}}
    )


# --- lock-out --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "principal",
    ["*", {"AWS": "*"}, {"AWS": ALICE}, {"AWS": ACCOUNT}, {"AWS": ROOT}, {"AWS": [BOB, ALICE]}],
)
def test_a_denial_that_means_the_caller_locks_out(principal: Any) -> None:
    """By name, by account, or with everyone."""
    assert locks_out(Principal=principal)


@pytest.mark.parametrize(
    "principal",
    [{"AWS": BOB}, {"AWS": OTHER}, {"AWS": f"arn:aws:iam::{OTHER}:user/alice"}, {"Service": "lambda.amazonaws.com"}],
)
def test_a_denial_that_means_others_does_not_lock_out(principal: Any) -> None:
    """Another user, another account's namesake, a service."""
    assert not locks_out(Principal=principal)


@pytest.mark.parametrize(
    ("spared", "expected"),
    [
        pytest.param({"AWS": ALICE}, False, id="the caller"),
        pytest.param({"AWS": [ROOT, ALICE]}, False, id="the caller and the account"),
        pytest.param({"AWS": BOB}, True, id="another user"),
        pytest.param({"AWS": ROOT}, True, id="the account alone"),
        pytest.param("*", False, id="everyone"),
    ],
)
def test_a_denial_for_all_others_spares_whom_it_names(spared: Any, expected: bool) -> None:
    """NotPrincipal has to name the user: naming the account does not spare its users."""
    assert expected == locks_out(Principal=GONE, NotPrincipal=spared)


@pytest.mark.parametrize(
    ("principal", "expected"),
    [(ROLE, True), (SESSION, True), (f"arn:aws:iam::{OTHER}:role/turner", False), (ALICE, False), (ACCOUNT, True)],
)
def test_a_role_means_its_sessions(principal: str, expected: bool) -> None:
    """The role's path does not stand in the session's ARN."""
    assert expected == locks_out(SESSION, Principal={"AWS": principal})


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"Action": "*"}, True),
        ({"Action": "secretsmanager:*"}, True),
        ({"Action": "SecretsManager:putresourcepolicy"}, True),
        ({"Action": "secretsmanager:DeleteResourcePolicy"}, True),
        ({"Action": ["secretsmanager:GetSecretValue", "secretsmanager:Get*"]}, True),
        ({"Action": "secretsmanager:???ResourcePolicy"}, True),
        ({"Action": ["secretsmanager:GetSecretValue", "secretsmanager:Put?ecretValue"]}, False),
        ({"Action": "kms:*"}, False),
        ({"Action": GONE, "NotAction": "secretsmanager:GetSecretValue"}, True),
        ({"Action": GONE, "NotAction": "secretsmanager:*ResourcePolicy"}, False),
        ({"Action": GONE, "NotAction": ["secretsmanager:Put*", "secretsmanager:Delete*"]}, True),
    ],
)
def test_a_denial_of_a_call_that_manages_the_policy_locks_out(elements: dict[str, Any], expected: bool) -> None:
    """Put, Delete and GetResourcePolicy, each by name or by a pattern, in any case."""
    assert expected == locks_out(**elements)


def test_a_conditional_denial_does_not_lock_out() -> None:
    """The caller can meet the condition; an empty one is none."""
    assert not locks_out(Condition={"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}})
    assert locks_out(Condition={})


def test_what_is_allowed_locks_nobody_out() -> None:
    """Within an account the caller's own rights decide, so a policy needs no Allow for its author."""
    assert not locks_out(Effect="Allow", Principal={"AWS": BOB})


# --- findings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (document(ALLOW), []),
        ("{", [("SYNTAX", INVALID_JSON)]),
        (document(statement(ALLOW, Principal={"AWS": "alice"})), [("SYNTAX", UNSUPPORTED_PRINCIPAL)]),
        (document(statement(ALLOW, Principal="*")), [("PUBLIC_ACCESS", BROAD_ACCESS)]),
        (document(DENY), [("LOCKOUT", LOCKED_OUT)]),
        (
            document(DENY, statement(ALLOW, Principal="*")),
            [("PUBLIC_ACCESS", BROAD_ACCESS), ("LOCKOUT", LOCKED_OUT)],
        ),
    ],
)
def test_findings_name_every_check_that_fails(text: str, expected: list[tuple[str, str]]) -> None:
    """A policy that cannot be read has that one finding."""
    assert expected == checks.findings(text, Principal.of(ALICE))


# --- keys ------------------------------------------------------------------------------------------------------------

KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PUT = {"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "kms:*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        pytest.param([PUT], False, id="by name"),
        pytest.param([PUT | {"Principal": {"AWS": ROOT}}], False, id="by the account"),
        pytest.param([PUT | {"Principal": "*"}], False, id="with everyone"),
        pytest.param([PUT | {"Principal": {"AWS": BOB}}], True, id="another user alone"),
        pytest.param([PUT | {"Principal": {"AWS": OTHER}}], True, id="another account alone"),
        pytest.param([PUT | {"Action": "kms:Encrypt"}], True, id="another action alone"),
        pytest.param([PUT | {"Resource": KEY}], False, id="this key"),
        pytest.param([PUT | {"Resource": KEY[:-1]}], True, id="another key"),
        pytest.param([PUT, PUT | {"Effect": "Deny", "Action": "kms:PutKeyPolicy"}], True, id="allowed and denied"),
        pytest.param([PUT | {"Condition": {"Bool": {"aws:SecureTransport": "true"}}}], True, id="a condition not met"),
    ],
)
def test_the_policy_of_a_key_must_let_its_author_change_it(statements: list[Any], expected: bool) -> None:
    """There is no other way to the key."""
    policy = compile_policy(document(*statements), Kind.KEY)
    assert expected == checks.locks_out_of_key(policy, Principal.of(ALICE), KEY, {})
