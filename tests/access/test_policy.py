"""What policy.py promises: resource policies are read whole, and their three dangers are found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.access import policy
from keywheel.access.policy import (
    BROAD_ACCESS,
    INVALID_JSON,
    LOCKED_OUT,
    SYNTAX_ERROR,
    UNSUPPORTED_PRINCIPAL,
    UNSUPPORTED_SERVICE,
    Choice,
    Condition,
    Statement,
)
from keywheel.errors import MalformedPolicyDocument

ACCOUNT, OTHER = "123456789012", "210987654321"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE, BOB = f"arn:aws:iam::{ACCOUNT}:user/alice", f"arn:aws:iam::{ACCOUNT}:user/bob"
ROLE, SESSION = f"arn:aws:iam::{ACCOUNT}:role/team/turner", f"arn:aws:sts::{ACCOUNT}:assumed-role/turner/now"
ALLOW: dict[str, Any] = {
    "Effect": "Allow",
    "Principal": {"AWS": ROOT},
    "Action": "secretsmanager:GetSecretValue",
    "Resource": "*",
}
DENY = ALLOW | {"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:*"}
GONE = object()


def statement(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A statement with elements changed, added, or taken away by GONE."""
    return {name: value for name, value in (base | changes).items() if value is not GONE}


def document(*statements: Any, **changes: Any) -> str:
    """The text of a policy."""
    return json.dumps(statement({"Version": "2012-10-17", "Statement": list(statements)}, **changes))


def refusal(text: str) -> str:
    """The message with which a policy is refused."""
    with pytest.raises(MalformedPolicyDocument) as caught:
        policy.parse_policy(text)
    return caught.value.message


def is_public(**changes: Any) -> bool:
    """Whether a policy that allows anyone, with these changes, is public."""
    return policy.is_public(policy.parse_policy(document(statement(ALLOW, Principal="*", **changes))))


def locks_out(caller: str = ALICE, **changes: Any) -> bool:
    """Whether a policy that denies everyone, with these changes, locks the caller out."""
    return policy.locks_out(policy.parse_policy(document(statement(DENY, **changes))), caller, ACCOUNT)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_statement_is_read_whole() -> None:
    """Every element that a decision needs, single values and lists alike."""
    read = policy.parse_policy(
        document(
            statement(
                ALLOW,
                Sid="ForTheShop",
                Principal={"AWS": [ALICE, OTHER], "Service": "lambda.amazonaws.com"},
                Action=["secretsmanager:Get*", "secretsmanager:DescribeSecret"],
                Condition={
                    "Bool": {"aws:SecureTransport": True},
                    "NumericLessThanIfExists": {"aws:MultiFactorAuthAge": 9},
                },
            )
        )
    )
    expected = Statement(
        allows=True,
        principals=Choice((ALICE, OTHER, "lambda.amazonaws.com"), negated=False),
        actions=Choice(("secretsmanager:Get*", "secretsmanager:DescribeSecret"), negated=False),
        resources=Choice(("*",), negated=False),
        conditions=(
            Condition("bool", "aws:securetransport", ("true",), binding=True),
            Condition("numericlessthan", "aws:multifactorauthage", ("9",), binding=False),
        ),
    )
    assert (expected,) == read


def test_the_not_forms_are_read_as_negated() -> None:
    """NotPrincipal, NotAction and NotResource mean all others."""
    nots = {"NotPrincipal": {"AWS": ALICE}, "NotAction": "secretsmanager:Get*", "NotResource": "arn:aws:s3:::a"}
    plain = dict.fromkeys(("Principal", "Action", "Resource"), GONE)
    (read,) = policy.parse_policy(document(statement(DENY, **plain, **nots)))
    assert (read.principals.negated, read.actions.negated, read.resources.negated) == (True, True, True)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(document(ALLOW), id="a list of one"),
        pytest.param(document(Statement=ALLOW), id="one statement without a list"),
        pytest.param(document(ALLOW, DENY), id="two statements"),
        pytest.param(document(ALLOW, Version=GONE), id="no version"),
        pytest.param(document(ALLOW, Version="2008-10-17"), id="the old version"),
        pytest.param(document(ALLOW, Id="key-default-1"), id="an id"),
        pytest.param(document(statement(ALLOW, Sid="Enable IAM users")), id="a Sid with spaces"),
        pytest.param(document(statement(ALLOW, Condition={})), id="an empty condition"),
        pytest.param(document(statement(ALLOW, Condition={"bool": {"aws:SecureTransport": "true"}})), id="lower case"),
        pytest.param(document(statement(ALLOW, Condition={"Null": {"aws:SourceVpc": "false"}})), id="Null"),
        pytest.param(document(statement(ALLOW, Action="*")), id="every action"),
        pytest.param("  " + document(ALLOW) + "\n", id="white space around"),
    ],
)
def test_the_grammar_of_policies_is_accepted(text: str) -> None:
    """What the IAM guide's grammar allows is not refused."""
    policy.parse_policy(text)


@pytest.mark.parametrize(
    "operator",
    [
        "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
        "StringNotLike", "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals",
        "NumericGreaterThan", "NumericGreaterThanEquals", "DateEquals", "DateNotEquals", "DateLessThan",
        "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals", "Bool", "BinaryEquals", "IpAddress",
        "NotIpAddress", "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{}", "{}IfExists", "ForAnyValue:{}", "ForAllValues:{}IfExists"])
def test_every_condition_operator_is_known(operator: str, form: str) -> None:
    """Each of the IAM guide's operators, with IfExists and for sets of values."""
    (read,) = policy.parse_policy(document(statement(ALLOW, Condition={form.format(operator): {"aws:a": "b"}})))
    assert [operator.lower()] == [condition.operator for condition in read.conditions]


@pytest.mark.parametrize(
    "principal",
    [
        "*",
        {"AWS": "*"},
        {"AWS": ACCOUNT},
        {"AWS": ROOT},
        {"AWS": [ALICE, ROLE, SESSION]},
        {"AWS": f"arn:aws:sts::{ACCOUNT}:federated-user/carol"},
        {"AWS": f"arn:aws-us-gov:iam::{ACCOUNT}:user/a/path/to=the+user,dan@example.com"},
        {"Service": "lambda.amazonaws.com"},
        {"Service": ["elasticmapreduce.cn-north-1.amazonaws.com.cn", "rds.amazonaws.com"]},
        {"Federated": f"arn:aws:iam::{ACCOUNT}:saml-provider/corp"},
        {"Federated": "cognito-identity.amazonaws.com"},
    ],
)
def test_every_kind_of_principal_is_known(principal: Any) -> None:
    """Anyone, accounts, users, roles, sessions, services and identity providers."""
    policy.parse_policy(document(statement(ALLOW, Principal=principal)))


# --- refusing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", "no", "{'Version': 1}", '{"Statement": NaN}', '{"Statement": -Infinity}', "\ufeff{}", "[" * 20_000],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    """The message is AWS's."""
    assert refusal(text) == INVALID_JSON


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("[]", "The policy must be an object."),
        (document(ALLOW, Version="2019-10-19"), "Version must be 2012-10-17."),
        (document(ALLOW, Version=[]), "Version must be 2012-10-17."),
        (document(ALLOW, Id=1), "Id must be a string."),
        (document(ALLOW, version="2012-10-17"), "The policy has an unknown element 'version'."),
        (document(), "There must be a Statement."),
        (document(Statement=GONE), "Statement 1 must be an object."),
        (document(ALLOW, "x"), "Statement 2 must be an object."),
        (document(statement(ALLOW, Efect="Allow")), "Statement 1 has an unknown element 'Efect'."),
        (document(statement(ALLOW, Effect="AllowSomething")), "Statement 1: Effect must be Allow or Deny."),
        (document(statement(ALLOW, Effect="allow")), "Statement 1: Effect must be Allow or Deny."),
        (document(statement(ALLOW, Effect=GONE)), "Statement 1: Effect must be Allow or Deny."),
        (document(statement(ALLOW, Sid=1)), "Statement 1: Sid must be a string."),
        (document(statement(ALLOW, Principal=GONE)), "Statement 1 must have either Principal or NotPrincipal."),
        (document(statement(ALLOW, NotPrincipal="*")), "Statement 1 must have either Principal or NotPrincipal."),
        (document(statement(ALLOW, Action=GONE)), "Statement 1 must have either Action or NotAction."),
        (document(statement(ALLOW, NotAction="*")), "Statement 1 must have either Action or NotAction."),
        (document(statement(ALLOW, Resource=GONE)), "Statement 1 must have either Resource or NotResource."),
        (document(statement(ALLOW, Action=[])), "Statement 1: Action must be a string or a list of strings."),
        (document(statement(ALLOW, Action=["*", 1])), "Statement 1: Action must be a string or a list of strings."),
        (document(statement(ALLOW, Action="GetSecretValue")), "Statement 1: Action has a value of another form."),
        (document(statement(ALLOW, Resource="prod/db")), "Statement 1: Resource has a value of another form."),
        (document(statement(ALLOW, Principal=ROOT)), 'Statement 1: a principal must be "*" or an object.'),
        (document(statement(ALLOW, Principal={})), 'Statement 1: a principal must be "*" or an object.'),
        (document(statement(ALLOW, Principal={"AWS": 1})), "the principals must be a string or a list of strings."),
        (document(statement(ALLOW, Condition=[])), "Statement 1: Condition must be an object."),
        (document(statement(ALLOW, Condition={"StringIs": {}})), "Statement 1: 'StringIs' is no condition."),
        (document(statement(ALLOW, Condition={"NullIfExists": {}})), "Statement 1: 'NullIfExists' is no condition."),
        (document(statement(ALLOW, Condition={"Bool": "x"})), "Statement 1: 'Bool' is no condition."),
        (document(statement(ALLOW, Condition={"Bool": {"a": None}})), "values must be a string or a list of strings."),
        (document(statement(ALLOW, Condition={"Bool": {"a": []}})), "values must be a string or a list of strings."),
        ('{"Statement": [], "Statement": []}', "A key stands twice in one object."),
        (document(ALLOW).replace('"Resource"', '"Effect": "Deny", "Resource"'), "A key stands twice in one object."),
    ],
)
def test_a_syntax_error_is_refused_and_named(text: str, detail: str) -> None:
    """The message is AWS's, and then says where and what."""
    message = refusal(text)
    assert message.startswith(SYNTAX_ERROR)
    assert message.endswith(detail)


@pytest.mark.parametrize(
    ("principal", "message"),
    [
        ({"AWS": "alice"}, UNSUPPORTED_PRINCIPAL),
        ({"AWS": "AIDAJQABLZS4A3QDU576Q"}, UNSUPPORTED_PRINCIPAL),
        ({"AWS": "12345678901"}, UNSUPPORTED_PRINCIPAL),
        ({"AWS": "١٢٣٤٥٦٧٨٩٠١٢"}, UNSUPPORTED_PRINCIPAL),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:group/admins"}, UNSUPPORTED_PRINCIPAL),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"}, UNSUPPORTED_PRINCIPAL),
        ({"AWS": "arn:aws:iam::*:root"}, UNSUPPORTED_PRINCIPAL),
        ({"AWS": [ALICE, ""]}, UNSUPPORTED_PRINCIPAL),
        ({"Federated": "*"}, UNSUPPORTED_PRINCIPAL),
        ({"CanonicalUser": "a" * 64}, UNSUPPORTED_PRINCIPAL),
        ({"*": "*"}, UNSUPPORTED_PRINCIPAL),
        ({"Service": "*"}, UNSUPPORTED_SERVICE),
        ({"Service": "lambda"}, UNSUPPORTED_SERVICE),
        ({"Service": "lambda.example.com"}, UNSUPPORTED_SERVICE),
        ({"AWS": ALICE, "Service": "lambda.amazonaws.com.evil"}, UNSUPPORTED_SERVICE),
    ],
)
def test_an_invalid_principal_is_refused(principal: Any, message: str) -> None:
    """A principal of another form, or of a kind that a secret's policy cannot name."""
    assert message == refusal(document(statement(ALLOW, Principal=principal)))


WORDS = st.sampled_from([*ALLOW, "Statement", "Condition", "AWS", "Bool", "Allow", "*", "x"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text() | WORDS
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner))


@given(st.text() | ANYTHING.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is sent, the answer is a policy or MalformedPolicyDocument."""
    policy.findings(text, ALICE, ACCOUNT)


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
    assert expected == policy.is_public(policy.parse_policy(document(statement(ALLOW, **elements))))


def test_one_public_statement_makes_a_policy_public() -> None:
    """A denial beside it is not weighed against it."""
    read = policy.parse_policy(document(ALLOW, DENY, statement(ALLOW, Principal="*")))
    assert policy.is_public(read)


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
        ("IpAddress", "aws:SourceIp", "everywhere"),
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
    assert expected == policy.findings(text, ALICE, ACCOUNT)
