"""What grants.py promises: a grant allows what it names, to its grantee, under its constraints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.access.grants import Grant
from keywheel.access.policy import request
from keywheel.access.principals import Principal
from tests.support.policies import ACCOUNT, ALICE, BOB, ROLE, ROOT, SESSION

KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GRANT = Grant("f" * 64, ALICE, frozenset({"Decrypt", "DescribeKey"}))


def allows(grant: Grant, *, who: str = ALICE, action: str = "kms:Decrypt", context: Any = (), **facts: str) -> bool:
    """Whether the grant allows a request."""
    known = {name.replace("_", ":"): value for name, value in facts.items()}
    return grant.allows(request(Principal.of(who), action, KEY, known), dict(context))


@pytest.mark.parametrize(
    ("grantee", "who", "expected"),
    [
        (ALICE, ALICE, True),
        (ALICE, BOB, False),
        (SESSION, SESSION, True),
        (ROLE, SESSION, True),
        (ROLE.replace("turner", "other"), SESSION, False),
        (ROOT, ALICE, False),
        ("lambda.amazonaws.com", "lambda.amazonaws.com", True),
        ("lambda.amazonaws.com", "events.amazonaws.com", False),
    ],
)
def test_only_the_grantee_is_meant(grantee: str, who: str, expected: bool) -> None:
    """A role means its sessions; an account means nobody else."""
    assert expected is allows(replace(GRANT, grantee=grantee), who=who)


@pytest.mark.parametrize(
    ("action", "expected"),
    [("kms:Decrypt", True), ("kms:DescribeKey", True), ("kms:Encrypt", False), ("secretsmanager:Decrypt", False)],
)
def test_only_its_operations_are_meant(action: str, expected: bool) -> None:
    """By their names."""
    assert expected is allows(GRANT, action=action)


@pytest.mark.parametrize(
    ("constraint", "context", "expected"),
    [
        ({"equals": {"a": "1"}}, {"a": "1"}, True),
        ({"equals": {"a": "1"}}, {"a": "1", "b": "2"}, False),
        ({"equals": {"a": "1"}}, {"A": "1"}, False),
        ({"equals": {"a": "1"}}, {}, False),
        ({"subset": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"subset": {"a": "1"}}, {"a": "1"}, True),
        ({"subset": {"a": "1"}}, {"b": "2"}, False),
        ({"subset": {"a": "x"}}, {"a": "X"}, False),
        ({"equals": {"a": "1"}, "subset": {"b": "2"}}, {"a": "1"}, False),
    ],
)
def test_constraints_on_the_encryption_context(constraint: Any, context: Any, expected: bool) -> None:
    """Exactly as they are written; not for DescribeKey, which has none."""
    assert expected is allows(replace(GRANT, **constraint), context=context)
    assert allows(replace(GRANT, **constraint), action="kms:DescribeKey")


def test_a_source_is_asked_for() -> None:
    """Where the grant is constrained to one."""
    one = replace(GRANT, source_arn=KEY)
    assert not allows(one)
    assert not allows(one, aws_sourcearn=KEY + "x")
    assert allows(one, aws_sourcearn=KEY)
    assert allows(replace(one, operations=frozenset({"RetireGrant"})), action="kms:RetireGrant")


CONTEXTS = st.dictionaries(st.sampled_from("abA"), st.sampled_from("xy"), max_size=3)
CONSTRAINED = st.builds(
    lambda operations, equals, subset, source: Grant("f" * 64, ALICE, operations, equals, subset, source),
    st.frozensets(st.sampled_from(["Decrypt", "Encrypt", "DescribeKey"]), min_size=1),
    st.none() | CONTEXTS.filter(bool),
    st.none() | CONTEXTS.filter(bool),
    st.sampled_from([None, None, KEY]),
)


@given(CONSTRAINED, CONSTRAINED, CONTEXTS, st.sampled_from(["Decrypt", "Encrypt", "DescribeKey"]), st.booleans())
def test_what_a_covered_grant_allows_the_covering_one_allows(
    wide: Grant, narrow: Grant, context: dict[str, str], operation: str, sourced: bool
) -> None:
    """Whatever is asked, in whatever context."""
    known = {"aws_sourcearn": KEY} if sourced else {}
    if wide.covers(narrow) and allows(narrow, action=f"kms:{operation}", context=context, **known):
        assert allows(wide, action=f"kms:{operation}", context=context, **known)


@given(CONSTRAINED, CONSTRAINED, CONSTRAINED)
def test_covering_is_handed_down(first: Grant, second: Grant, third: Grant) -> None:
    """A chain of grants gets no wider."""
    assert first.covers(first)
    if first.covers(second) and second.covers(third):
        assert first.covers(third)


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        ({}, {}, True),
        ({}, {"operations": frozenset({"Decrypt"})}, True),
        ({}, {"operations": frozenset({"Decrypt", "Encrypt"})}, False),
        ({}, {"equals": {"a": "1"}}, True),
        ({"equals": {"a": "1"}}, {}, False),
        ({"equals": {"a": "1"}}, {"equals": {"a": "1"}}, True),
        ({"equals": {"a": "1"}}, {"equals": {"a": "1", "b": "2"}}, False),
        ({"equals": {"a": "1"}}, {"subset": {"a": "1"}}, False),
        ({"subset": {"a": "1"}}, {}, False),
        ({"subset": {"a": "1"}}, {"subset": {"a": "1"}}, True),
        ({"subset": {"a": "1"}}, {"subset": {"a": "1", "b": "2"}}, True),
        ({"subset": {"a": "1"}}, {"subset": {"b": "2"}}, False),
        ({"subset": {"a": "1"}}, {"equals": {"a": "1", "b": "2"}}, True),
        ({"subset": {"a": "1"}}, {"equals": {"b": "2"}}, False),
        ({"source_arn": KEY}, {}, False),
        ({"source_arn": KEY}, {"source_arn": KEY}, True),
    ],
)
def test_a_grant_made_by_a_grant_is_no_wider(parent: Any, child: Any, expected: bool) -> None:
    """Neither in what it lets one do, nor in when."""
    assert expected is replace(GRANT, **parent).covers(replace(GRANT, grantee=BOB, **child))
