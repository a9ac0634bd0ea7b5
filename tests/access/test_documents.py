"""What documents.py promises: policies are read whole, and what is no policy is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.access.checks import findings, read_secret_policy
from keywheel.access.conditions import Condition
from keywheel.access.documents import GRAMMARS, Choice, Kind, Statement, read_document
from keywheel.access.principals import Principal
from keywheel.errors import MalformedPolicyDocument
from tests.support.policies import ACCOUNT, ALICE, ALLOW, DENY, GONE, OTHER, ROLE, ROOT, SESSION, document, statement

INVALID_JSON, SYNTAX_ERROR = GRAMMARS[Kind.RESOURCE].invalid_json, GRAMMARS[Kind.RESOURCE].syntax
UNSUPPORTED_PRINCIPAL, UNSUPPORTED_SERVICE = GRAMMARS[Kind.RESOURCE].principal, GRAMMARS[Kind.RESOURCE].service


def refusal(text: str, kind: Kind = Kind.RESOURCE) -> str:
    """The message with which a policy is refused."""
    with pytest.raises(MalformedPolicyDocument) as caught:
        read_document(text, kind)
    return caught.value.message


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_statement_is_read_whole() -> None:
    """Every element that a decision needs, single values and lists alike."""
    read = read_secret_policy(
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
        sid="ForTheShop",
        allows=True,
        principals=Choice((ALICE, OTHER, "lambda.amazonaws.com"), negated=False),
        actions=Choice(("secretsmanager:Get*", "secretsmanager:DescribeSecret"), negated=False),
        resources=Choice(("*",), negated=False),
        conditions=(
            Condition("bool", "aws:securetransport", ("true",)),
            Condition("numericlessthan", "aws:multifactorauthage", ("9",), if_exists=True),
        ),
    )
    assert (expected,) == read.statements


def test_the_not_forms_are_read_as_negated() -> None:
    """NotPrincipal, NotAction and NotResource mean all others."""
    nots = {"NotPrincipal": {"AWS": ALICE}, "NotAction": "secretsmanager:Get*", "NotResource": "arn:aws:s3:::a"}
    plain = dict.fromkeys(("Principal", "Action", "Resource"), GONE)
    (read,) = read_secret_policy(document(statement(DENY, **plain, **nots))).statements
    choices = (read.principals, read.actions, read.resources)
    assert [choice is not None and choice.negated for choice in choices] == [True, True, True]


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
    read_secret_policy(text)


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
    (read,) = read_document(
        document(statement(ALLOW, Condition={form.format(operator): {"aws:a": "b"}})), Kind.RESOURCE
    ).statements
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
    read_secret_policy(document(statement(ALLOW, Principal=principal)))


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
    findings(text, Principal.of(ALICE))


# --- kinds -----------------------------------------------------------------------------------------------------------

READ = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
TRUST = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"}


@pytest.mark.parametrize(
    ("kind", "text", "detail"),
    [
        (Kind.IDENTITY, document(READ), None),
        (Kind.IDENTITY, document(ALLOW), "Statement 1 must have neither Principal nor NotPrincipal."),
        (Kind.IDENTITY, document(READ, Id="x"), "The policy has an unknown element 'Id'."),
        (Kind.IDENTITY, document(READ | {"Sid": "a b"}), "A Sid must have only letters and digits."),
        (Kind.IDENTITY, document(READ | {"Sid": "a"}, READ | {"Sid": "a"}), "Each Sid must stand once."),
        (Kind.IDENTITY, document(TRUST), "Statement 1 must have neither Principal nor NotPrincipal."),
        (Kind.IDENTITY, document(READ).ljust(20_000), None),
        (Kind.SESSION, document(READ), None),
        (Kind.SESSION, document(READ).ljust(2_049), "It has more than 2048 characters."),
        (Kind.RESOURCE, document(ALLOW).ljust(20_480), None),
        (Kind.RESOURCE, document(ALLOW).ljust(20_481), "It has more than 20480 characters."),
        (Kind.KEY, document(ALLOW, Id="key-default-1").ljust(32_768), None),
        (Kind.KEY, document(ALLOW).ljust(32_769), "It has more than 32768 characters."),
        (Kind.KEY, document(statement(ALLOW, Principal={"AWS": "alice"})), "one or more invalid principals."),
        (Kind.KEY, document(statement(ALLOW, Principal=GONE)), "must have either Principal or NotPrincipal."),
        (Kind.TRUST, document(TRUST), None),
        (Kind.TRUST, document(TRUST | {"Resource": "*"}), "Statement 1 must have neither Resource nor NotResource."),
    ],
)
def test_each_kind_has_its_grammar(kind: Kind, text: str, detail: str | None) -> None:
    """Principals, resources, identifiers and sizes."""
    if detail is None:
        assert read_document(text, kind).kind is kind
    else:
        assert refusal(text, kind).endswith(detail)


@pytest.mark.parametrize(
    "resource", ["arn:*", "arn:aws:*:eu-west-1:1:x", "arn:a*s:kms:eu:1:x", "arn:aws:kms", "prod/db"]
)
def test_a_resource_names_its_partition_and_service(resource: str) -> None:
    """No wildcard stands for them."""
    assert refusal(document(statement(ALLOW, Resource=resource))).endswith("Resource has a value of another form.")


def test_a_condition_key_stands_once() -> None:
    """Also in another case, by which the two would be one."""
    twice = {"StringEquals": {"aws:userid": "a", "AWS:UserId": "b"}}
    assert refusal(document(statement(ALLOW, Condition=twice))).endswith("a condition key stands twice.")
