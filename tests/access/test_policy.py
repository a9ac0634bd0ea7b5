"""What policy.py promises: a statement applies to what it says and to nothing else, and doubt never allows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.access.documents import Kind
from keywheel.access.policy import Findings, Policy, compile_policy, compiled, request
from keywheel.access.principals import Bond, Principal
from keywheel.errors import MalformedPolicyDocument
from tests.support.policies import ACCOUNT, ALICE, ALLOW, BOB, DENY, GONE, ROLE, ROOT, SESSION, document, statement

SECRET = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:prod/db-AbCdEf"
GET, PUT = "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"
READ = {"Effect": "Allow", "Action": GET, "Resource": "*"}


def identity(*statements: Any, **changes: Any) -> Policy:
    """The policy of an identity."""
    return compile_policy(document(*statements, **changes), Kind.IDENTITY, "p")


def says(policy: Policy, action: str = GET, resource: str = SECRET, who: str = ALICE, **context: str) -> str:
    """Which statement of the policy decides, and how."""
    known = {name.replace("__", "/").replace("_", ":"): value for name, value in context.items()}
    found = policy.examine(request(Principal.of(who), action, resource, known))
    if found.denied is not None:
        return f"denied by {found.denied.statement}"
    return "nothing" if found.allowed is None else f"allowed by {found.allowed.statement}"


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"Action": GET}, True),
        ({"Action": "SECRETSMANAGER:getsecretvalue"}, True),
        ({"Action": "secretsmanager:Get*"}, True),
        ({"Action": "secretsmanager:*Value"}, True),
        ({"Action": "secretsmanager:Get?ecretValue"}, True),
        ({"Action": "secretsmanager:GetSecret"}, False),
        ({"Action": "secretsmanager:GetSecretValue?"}, False),
        ({"Action": "*"}, True),
        ({"Action": ["kms:*", PUT]}, False),
        ({"Action": ["kms:*", GET]}, True),
        ({"Action": GONE, "NotAction": GET}, False),
        ({"Action": GONE, "NotAction": "secretsmanager:*"}, False),
        ({"Action": GONE, "NotAction": ["kms:*", PUT]}, True),
        ({"Resource": SECRET}, True),
        ({"Resource": SECRET.lower()}, False),
        ({"Resource": SECRET[:-6] + "??????"}, True),
        ({"Resource": [SECRET + "x", SECRET.replace("prod", "*")]}, True),
        ({"Resource": SECRET.replace("eu-west-1", "us-*")}, False),
        ({"Resource": GONE, "NotResource": SECRET}, False),
        ({"Resource": GONE, "NotResource": SECRET.replace("prod", "dev")}, True),
        ({"Condition": {}}, True),
        ({"Condition": {"StringEquals": {"aws:username": "alice"}}}, True),
        ({"Condition": {"StringEquals": {"aws:username": "bob"}}}, False),
        ({"Condition": {"StringEquals": {"AWS:UserName": ["bob", "alice"]}, "Null": {"aws:x": "true"}}}, True),
        ({"Condition": {"StringEquals": {"aws:username": "alice"}, "Null": {"aws:x": "false"}}}, False),
        ({"Condition": {"StringEquals": {"aws:username": "alice", "aws:userid": "a"}}}, False),
    ],
)
def test_a_statement_applies_to_what_it_says(elements: dict[str, Any], expected: bool) -> None:
    """To allow and to deny alike."""
    for effect, answer in (("Allow", "allowed by statement 1"), ("Deny", "denied by statement 1")):
        policy = identity(statement(READ, Effect=effect, **elements))
        assert (answer if expected else "nothing") == says(policy, aws_username="alice")


def test_the_first_deny_decides_and_is_named() -> None:
    """Wherever the Allow stands."""
    policy = identity(READ, READ | {"Effect": "Deny", "Sid": "Never"}, READ | {"Effect": "Deny"}, READ)
    assert says(policy) == "denied by Never"
    assert policy.examine(request(Principal.of(ALICE), GET, SECRET, {})).denied.policy == "p"  # type: ignore[union-attr] # it was denied


def test_the_closest_allow_is_found() -> None:
    """Of an account, a role and the session itself."""

    def bond(*principals: str) -> Bond:
        allows = [statement(ALLOW, Principal={"AWS": name}) for name in principals]
        policy = compile_policy(document(*allows), Kind.RESOURCE)
        return policy.examine(request(Principal.of(SESSION, ROLE), GET, SECRET, {})).bond

    assert bond(BOB) is Bond.NONE
    assert bond(ROOT) is Bond.ACCOUNT
    assert bond(ROOT, ROLE) is Bond.ROLE
    assert bond(ROLE, SESSION, ROOT) is Bond.DIRECT


@pytest.mark.parametrize(
    ("elements", "context", "allowed", "denied"),
    [
        pytest.param({"Resource": f"{SECRET[:-14]}${{aws:username}}/*"}, {}, False, False, id="an unknown variable"),
        pytest.param(
            {"Resource": GONE, "NotResource": f"{SECRET[:-14]}${{aws:username}}/*"}, {}, False, True,
            id="not an unknown variable",
        ),
        pytest.param(
            {"Condition": {"StringNotEquals": {"aws:PrincipalTag/team": "${aws:ResourceTag/team}"}}},
            {"aws_principaltag__team": "shop"}, False, True, id="not equal to an unknown variable",
        ),
        pytest.param(
            {"Condition": {"StringNotEquals": {"aws:PrincipalTag/team": "${aws:ResourceTag/team}"}}}, {}, True, True,
            id="a key that is missing",
        ),
        pytest.param(
            {"Condition": {"NumericNotEquals": {"aws:x": "7"}}}, {"aws_x": "seven"}, False, True, id="another kind",
        ),
    ],
)  # fmt: skip
def test_doubt_denies_and_does_not_allow(
    elements: dict[str, Any], context: dict[str, str], allowed: bool, denied: bool
) -> None:
    """What is undecided makes a Deny apply, and an Allow not."""
    resource = SECRET.replace("prod/db", "bob/db")
    allow, deny = (identity(statement(READ, Effect=effect, **elements)) for effect in ("Allow", "Deny"))
    assert allowed is (says(allow, resource=resource, **context) != "nothing")
    assert denied is (says(deny, resource=resource, **context) != "nothing")


def test_several_values_where_one_is_asked_for_deny_and_do_not_allow() -> None:
    """Two keys of an encryption context that differ in case only are such."""
    for effect, expected in (("Allow", None), ("Deny", "statement 1")):
        policy = identity(statement(READ, Effect=effect, Condition={"StringEquals": {"kms:EncryptionContext:a": "1"}}))
        found = policy.examine(request(Principal.of(ALICE), GET, SECRET, {"kms:encryptioncontext:a": ("1", "2")}))
        where = found.denied or found.allowed
        assert expected == (None if where is None else where.statement)


def test_variables_need_the_version_that_has_them() -> None:
    """In the older one they are texts."""
    home = statement(READ, Resource=SECRET.replace("prod", "${aws:username}"))
    assert says(identity(home), resource=SECRET.replace("prod", "alice"), aws_username="alice") != "nothing"
    for version in (GONE, "2008-10-17"):
        old = identity(home, Version=version)
        assert says(old, resource=SECRET.replace("prod", "alice"), aws_username="alice") == "nothing"
        assert says(old, resource=SECRET.replace("prod", "${aws:username}")) != "nothing"


@pytest.mark.parametrize("elements", [{"Action": GONE}, {"Resource": GONE}, {"Action": GONE, "Resource": GONE}])
def test_a_statement_of_a_key_without_action_or_resource_has_no_effect(elements: dict[str, Any]) -> None:
    """KMS takes it, and takes it for nothing; a secret's policy does not take it."""
    text = document(statement(DENY, Action="*") | {}, statement(DENY, **elements))
    assert len(compile_policy(text, Kind.KEY).denies) == 1
    with pytest.raises(MalformedPolicyDocument):
        compile_policy(text, Kind.RESOURCE)


@pytest.mark.parametrize(
    ("elements", "complaint"),
    [
        ({"Condition": {"NumericEquals": {"aws:x": "seven"}}}, "Statement 2: 'seven' is no number."),
        ({"Resource": "arn:aws:kms:${aws:RequestedRegion}:1:key/x"}, "before the fifth colon of an ARN."),
        ({"Resource": "arn:aws:kms:eu:${aws:PrincipalAccount}:key/x"}, "before the fifth colon of an ARN."),
        ({"Resource": "arn:aws:kms:eu:1:key/${x"}, "Statement 2: '${x' is no policy variable."),
    ],
)
def test_what_does_not_compile_is_refused_and_named(elements: dict[str, Any], complaint: str) -> None:
    """With the syntax error of its kind of policy."""
    with pytest.raises(MalformedPolicyDocument) as caught:
        identity(READ, statement(READ, **elements))
    assert caught.value.message.startswith("Syntax errors in policy. Statement 2: ")
    assert caught.value.message.endswith(complaint)


def test_a_variable_may_be_all_that_follows_the_account() -> None:
    """Of an ARN."""
    policy = identity(statement(READ, Resource=f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:${{aws:x}}"))
    assert says(policy, aws_x="secret:prod/db-AbCdEf") != "nothing"


def test_a_policy_is_compiled_once() -> None:
    """The same text is the same policy."""
    text = document(READ)
    assert compiled(text, Kind.IDENTITY, "p") is compiled(" ".join(text.split(" ")), Kind.IDENTITY, "p")


# --- properties ------------------------------------------------------------------------------------------------------

ACTIONS = st.sampled_from(["*", "kms:*", "kms:Sign", "secretsmanager:Get*", GET, PUT, "secretsmanager:?etSecretValue"])
RESOURCES = st.sampled_from(["*", SECRET, SECRET.replace("prod", "*"), SECRET.replace("prod", "${aws:username}")])
PRINCIPALS = st.sampled_from(["*", ALICE, BOB, ROOT, ROLE, SESSION])
CONDITIONS = st.sampled_from(
    [
        {},
        {"StringEquals": {"aws:username": "alice"}},
        {"StringNotEqualsIfExists": {"aws:username": ["alice", "${aws:userid}"]}},
        {"ForAllValues:StringLike": {"aws:TagKeys": "a*"}},
        {"NumericLessThan": {"secretsmanager:RecoveryWindowInDays": 9}},
        {"Null": {"aws:userid": True}, "Bool": {"aws:SecureTransport": "false"}},
    ]
)


@st.composite
def statements(draw: st.DrawFn, effect: str | None = None) -> dict[str, Any]:
    """Any statement of a secret's policy."""

    def either(name: str, values: Any) -> dict[str, Any]:
        return {draw(st.sampled_from([name, f"Not{name}"])): values}

    return {
        "Effect": effect or draw(st.sampled_from(["Allow", "Deny"])),
        **either("Principal", {"AWS": draw(st.lists(PRINCIPALS, min_size=1, max_size=2))}),
        **either("Action", draw(st.lists(ACTIONS, min_size=1, max_size=2))),
        **either("Resource", draw(RESOURCES)),
        "Condition": draw(CONDITIONS),
    }


CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "aws:username": st.sampled_from(["alice", "prod"]),
        "aws:userid": st.just("AIDA"),
        "aws:tagkeys": st.sampled_from([(), ("a",), ("ab", "b")]),
        "aws:securetransport": st.just("false"),
        "secretsmanager:recoverywindowindays": st.sampled_from(["7", "30", "x"]),
    },
)
REQUESTS = st.builds(
    request,
    st.sampled_from([Principal.of(ALICE), Principal.of(SESSION, ROLE), Principal.of("lambda.amazonaws.com")]),
    st.sampled_from([GET, PUT, "kms:Sign"]),
    st.sampled_from([SECRET, SECRET.replace("prod", "alice")]),
    CONTEXTS,
)
MANY = st.lists(statements(), min_size=1, max_size=4)


def examined(asked: Any, *given_: Any) -> Findings:
    """What a secret's policy of these statements says."""
    return compile_policy(document(*given_), Kind.RESOURCE).examine(asked)


@given(REQUESTS, MANY, statements("Allow"))
def test_another_allow_never_takes_anything_away(asked: Any, before: list[Any], more: Any) -> None:
    """Neither does it undo a Deny, nor does it loosen a bond."""
    old, new = examined(asked, *before), examined(asked, *before, more)
    assert old.denied == new.denied
    assert old.bond <= new.bond


@given(REQUESTS, MANY, statements("Deny"))
def test_another_deny_never_gives_anything(asked: Any, before: list[Any], more: Any) -> None:
    """It leaves what was, or denies."""
    old, new = examined(asked, *before), examined(asked, *before, more)
    assert new == old or new.denied is not None


@given(REQUESTS, MANY)
def test_a_deny_wins_wherever_it_stands(asked: Any, given_: list[Any]) -> None:
    """The order of statements decides nothing but who is named."""
    forth, back = examined(asked, *given_), examined(asked, *reversed(given_))
    assert (forth.denied is None, forth.bond) == (back.denied is None, back.bond)
    assert forth.denied is None or forth.allowed is None


@given(REQUESTS, statements())
def test_an_allow_applies_to_no_more_than_a_deny(asked: Any, given_: Any) -> None:
    """The same words mean at least as much where they forbid."""
    allow, deny = (examined(asked, given_ | {"Effect": effect}) for effect in ("Allow", "Deny"))
    assert allow.allowed is None or deny.denied is not None


@given(REQUESTS, MANY)
def test_writing_a_policy_otherwise_changes_nothing(asked: Any, given_: list[Any]) -> None:
    """A list of one for a single value, another order of elements, white space."""

    def respelled(one: dict[str, Any]) -> dict[str, Any]:
        listed = {k: v if isinstance(v, list | dict) or k == "Effect" else [v] for k, v in one.items()}
        return dict(reversed(listed.items()))

    text = json.dumps({"Statement": [respelled(one) for one in given_], "Version": "2012-10-17", "Id": "x"}, indent=3)
    assert examined(asked, *given_) == compile_policy(text, Kind.RESOURCE).examine(asked)
