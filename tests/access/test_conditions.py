"""What conditions.py promises: every operator compares as the IAM guide says, and doubt never allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.access.conditions import OPERATORS, compile_condition, condition
from keywheel.access.patterns import Context

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:turn"


def holds(name: str, values: Any, given_: Any, *, others: dict[str, str] | None = None) -> bool | None:
    """Whether a condition on aws:Key holds when the request has `given_` there; None for a request without it."""
    listed = (values,) if isinstance(values, str) else tuple(values)
    one = condition(name, "aws:Key", listed)
    assert one is not None
    context: dict[str, Any] = dict(others or {})
    if given_ is not None:
        context["aws:key"] = given_
    return compile_condition(one, variables=True).holds(context)


@pytest.mark.parametrize(
    ("name", "values", "value", "expected"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a*", "a*", True),
        ("StringEquals", "", "", True),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", "a", "a", False),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", ["a", "b"], "c", True),
        ("StringEqualsIgnoreCase", "Straße", "sTRAßE", True),
        ("StringEqualsIgnoreCase", "a", "b", False),
        ("StringNotEqualsIgnoreCase", "A", "a", False),
        ("StringNotEqualsIgnoreCase", ["A", "b"], "c", True),
        ("StringLike", "a*d", "abcd", True),
        ("StringLike", "a?d", "abcd", False),
        ("StringLike", "A*", "abcd", False),
        ("StringLike", ["x*", "*d"], "abcd", True),
        ("StringNotLike", "a*", "abcd", False),
        ("StringNotLike", ["x*", "y*"], "abcd", True),
        ("NumericEquals", "7", "7.0", True),
        ("NumericEquals", ["6", "7"], "7", True),
        ("NumericNotEquals", "7", "7", False),
        ("NumericNotEquals", "7", "8", True),
        ("NumericLessThan", "7", "6.9", True),
        ("NumericLessThan", "7", "7", False),
        ("NumericLessThanEquals", "7", "7", True),
        ("NumericGreaterThan", "-7", "-6", True),
        ("NumericGreaterThan", "10", "9", False),
        ("NumericGreaterThanEquals", "9007199254740993", "9007199254740992", False),
        ("DateEquals", "2026-11-21", "2026-11-21T00:00:00Z", True),
        ("DateEquals", "2026-11-21T01:00:00+01:00", "2026-11-21T00:00:00Z", True),
        ("DateEquals", "1795219200", "2026-11-21T00:00:00Z", True),
        ("DateNotEquals", "2026", "2026-01-01T00:00:00Z", False),
        ("DateLessThan", "2026-11-21T00:00:00.5Z", "2026-11-21T00:00:00Z", True),
        ("DateLessThan", "2026-11-21", "2026-11-21T00:00:00Z", False),
        ("DateLessThanEquals", "2026-11", "2026-11-01T00:00:00Z", True),
        ("DateGreaterThan", "2026-11-21T00:00:00-00:30", "2026-11-21T00:29:59Z", False),
        ("DateGreaterThan", "2020-01-01T00:00:01Z", "1795219200", True),
        ("DateGreaterThanEquals", "2026-11-21T00:00Z", "2026-11-21T00:00:00Z", True),
        ("Bool", "true", "true", True),
        ("Bool", "TRUE", "true", True),
        ("Bool", "false", "true", False),
        ("Bool", ["true", "false"], "false", True),
        ("BinaryEquals", "QmluYXJ5", "QmluYXJ5", True),
        ("BinaryEquals", "QmluYXJ5", "QmluYXJ6", False),
        ("IpAddress", "203.0.113.0/24", "203.0.113.255", True),
        ("IpAddress", "203.0.113.0/24", "203.0.114.0", False),
        ("IpAddress", "203.0.113.7", "203.0.113.7", True),
        ("IpAddress", ["203.0.113.0/24", "2001:DB8:1234:5678::/64"], "2001:db8:1234:5678::1", True),
        ("IpAddress", "203.0.113.0/24", "2001:db8::1", False),
        ("IpAddress", "203.0.113.0/24", "::ffff:203.0.113.9", True),
        ("NotIpAddress", "203.0.113.0/24", "203.0.113.255", False),
        ("NotIpAddress", ["203.0.113.0/24", "198.51.100.0/24"], "192.0.2.1", True),
        ("ArnEquals", ARN, ARN, True),
        ("ArnEquals", "arn:aws:lambda:*:123456789012:function:*", ARN, True),
        ("ArnLike", "arn:aws:lambda:eu-west-?:*:function:turn", ARN, True),
        ("ArnLike", "arn:aws:lambda:*:function:turn:*", ARN, False),
        ("ArnLike", "*", ARN, True),
        ("ArnLike", ARN, "no ARN", False),
        ("ArnNotEquals", ARN, ARN, False),
        ("ArnNotLike", "arn:aws:lambda:*:*:function:other", ARN, True),
        ("Null", "true", "a", False),
        ("Null", "false", "a", True),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", ["true", "false"], None, True),
        ("Null", "true", (), True),
    ],
)  # fmt: skip
def test_each_operator_compares_as_documented(name: str, values: Any, value: Any, expected: bool) -> None:
    """Values are alternatives; of a negated operator none may match."""
    assert expected is holds(name, values, value)
    assert expected is holds(name.upper(), values, value), "names of operators have no case"
    if name != "Null":
        assert expected is holds(name + "IfExists", values, value)
        assert expected is holds(name, values, (value,)), "one value of a key that may have several"


NEGATED = sorted(name for name, (_, negated) in OPERATORS.items() if negated)
SAMPLE = {"numeric": "7", "date": "2026", "bool": "true", "binary": "aa==", "ip": "10.0.0.1", "notip": "10.0.0.1"}


def sample(name: str) -> str:
    """A value that the operator takes."""
    return next((value for start, value in SAMPLE.items() if name.startswith(start)), ARN)


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() - {"null"}))
def test_a_request_without_the_key(name: str) -> None:
    """It matches nothing: a plain test fails, a negated one holds, IfExists holds."""
    value = sample(name)
    assert holds(name, value, None) is (name in NEGATED)
    assert holds(f"{name}ifexists", value, None) is True
    assert holds(f"ForAllValues:{name}", value, None) is True
    assert holds(f"ForAnyValue:{name}", value, None) is False
    assert holds(f"ForAnyValue:{name}IfExists", value, None) is True


def test_the_negated_operators_are_the_documented_ones() -> None:
    """Eight of them."""
    expected = ["arnnotequals", "arnnotlike", "datenotequals", "notipaddress", "numericnotequals", "stringnotequals",
                "stringnotequalsignorecase", "stringnotlike"]  # fmt: skip
    assert expected == NEGATED


@pytest.mark.parametrize(
    ("name", "values", "given_values", "expected"),
    [
        ("ForAllValues:StringEquals", ["a", "b", "c"], ("a", "b"), True),
        ("ForAllValues:StringEquals", ["a", "b", "c"], ("a", "d"), False),
        ("ForAllValues:StringEquals", "a", (), True),
        ("ForAllValues:StringEquals", "a", "", True),
        ("ForAnyValue:StringEquals", ["a", "b", "c"], ("d", "b"), True),
        ("ForAnyValue:StringEquals", ["a", "b", "c"], ("d", "e"), False),
        ("ForAnyValue:StringEquals", "a", (), False),
        ("ForAnyValue:StringEquals", "", "", False),
        ("ForAnyValue:StringLike", "x*", ("a", "xy"), True),
        ("ForAllValues:StringNotEquals", ["a", "b"], ("c", "d"), True),
        ("ForAllValues:StringNotEquals", ["a", "b"], ("c", "b"), False),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ("a", "c"), True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], ("a", "b"), False),
        ("ForAllValues:StringEquals", "a", "a", True),
        ("ForAnyValue:NumericLessThan", "5", ("9", "4"), True),
        ("ForAllValues:NumericLessThan", "5", ("9", "4"), False),
    ],
)
def test_sets_of_values(name: str, values: Any, given_values: Any, expected: bool) -> None:
    """ForAllValues and ForAnyValue, as in the tables of the IAM guide."""
    assert expected is holds(name, values, given_values)


@pytest.mark.parametrize(
    ("name", "values", "value", "expected"),
    [
        pytest.param("StringEquals", "a", ("a", "b"), None, id="several values, plain operator"),
        pytest.param("StringNotEquals", "a", ("c", "b"), None, id="several values, negated operator"),
        pytest.param("NumericEquals", "7", "seven", False, id="no number"),
        pytest.param("NumericNotEquals", "7", "seven", None, id="no number, negated"),
        pytest.param("DateNotEquals", "2026", "2026-13", None, id="no date, negated"),
        pytest.param("NotIpAddress", "10.0.0.0/8", "here", None, id="no address, negated"),
        pytest.param("StringEquals", "${aws:username}", "a", False, id="an unknown variable"),
        pytest.param("StringNotEquals", "${aws:username}", "a", None, id="an unknown variable, negated"),
        pytest.param("StringNotEquals", ["a", "${aws:username}"], "a", False, id="another value matches"),
        pytest.param("ForAllValues:StringNotEquals", "${aws:username}", ("a",), None, id="all, unknown"),
        pytest.param("ForAnyValue:NumericNotEquals", "7", ("seven", "8"), True, id="any, one of them known"),
    ],
)
def test_doubt_is_said(name: str, values: Any, value: Any, expected: bool | None) -> None:
    """What cannot be compared does not match, and its negation is undecided."""
    assert expected is holds(name, values, value)


def test_variables_in_values() -> None:
    """In String and Arn operators."""
    user = {"aws:username": "alice", "aws:principalaccount": "123456789012"}
    assert holds("StringEquals", "${aws:username}", "alice", others=user)
    assert holds("StringEqualsIgnoreCase", "${aws:username}", "ALICE", others=user)
    assert holds("StringLike", "home/${aws:username}/*", "home/alice/x", others=user)
    assert not holds("StringNotLike", "home/${aws:username}/*", "home/alice/x", others=user)
    assert holds("ArnLike", "arn:aws:lambda:*:${aws:PrincipalAccount}:function:*", ARN, others=user)
    assert holds("StringEquals", "${aws:userid, 'nobody'}", "nobody", others=user)
    assert holds("StringEquals", "a${*}", "a*")
    assert holds("ArnEquals", "${aws:SourceArn}", ARN, others={"aws:sourcearn": ARN})
    assert not holds("ArnEquals", "${aws:SourceArn}", ARN, others={"aws:sourcearn": "turn"})


def test_the_name_of_a_key_has_no_case() -> None:
    """As written, or not."""
    one = condition("StringEquals", "AWS:PrincipalTag/Team", ("shop",))
    assert one is not None
    context: Context = {"aws:principaltag/team": "shop"}
    assert compile_condition(one, variables=True).holds(context) is True


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("NumericEquals", "seven", "no number"),
        ("NumericEquals", "1e5", "no number"),
        ("NumericEquals", "", "no number"),
        ("NumericEquals", "١", "no number"),
        ("NumericEquals", "${aws:number}", "no number"),
        ("DateEquals", "yesterday", "no date"),
        ("DateEquals", "2026-02-30", "no date"),
        ("DateEquals", "2026-01-01T25:00Z", "no date"),
        ("DateEquals", "2026-01-01T00:00+99:00", "no date"),
        ("DateEquals", "2026-01-01T00:00+24:00", "no date"),
        ("DateEquals", "2026-01-01T00:00+00:60", "no date"),
        ("DateEquals", "2026-01-01T00:00+23:59", None),
        ("DateEquals", "0000", "no date"),
        ("Bool", "yes", "neither true nor false"),
        ("Null", "maybe", "neither true nor false"),
        ("BinaryEquals", "%%", "not in base 64"),
        ("IpAddress", "everywhere", "no range of addresses"),
        ("NotIpAddress", "10.0.0.0/33", "no range of addresses"),
        ("ArnLike", "turner", "no ARN"),
        ("ArnNotEquals", "arn:aws:iam::1:", None),
        ("ArnNotEquals", "arn:aws:iam::*", "no ARN"),
        ("StringEquals", "${nonsense", "no policy variable"),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, value: str, complaint: str | None) -> None:
    """Rather than never matching, which would keep a Deny from denying."""
    one = condition(name, "aws:Key", (value,))
    assert one is not None
    if complaint is None:
        compile_condition(one, variables=True)
    else:
        with pytest.raises(ValueError, match=complaint):
            compile_condition(one, variables=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "String",
        "StringEqual",
        "IfExists",
        "NullIfExists",
        "ForAll:StringEquals",
        "ForAllValues:",
        "StringEqualsIfExistsIfExists",
    ],
)
def test_an_unknown_operator_is_none(name: str) -> None:
    """It is not taken for something near."""
    assert condition(name, "aws:Key", ("a",)) is None


VALUES = st.text("ab*?${}:1.", max_size=6) | st.sampled_from(["7", "2026", "true", "10.0.0.1", ARN, "aa=="])
GIVEN = st.none() | VALUES | st.lists(VALUES, max_size=3).map(tuple)


@given(st.sampled_from(sorted(OPERATORS)), st.sampled_from(["", "foranyvalue:", "forallvalues:"]), VALUES, GIVEN)
def test_any_condition_is_refused_or_answers(name: str, over: str, value: str, given_: Any) -> None:
    """Whatever is compared with whatever."""
    one = condition(over + name, "aws:key", (value,))
    assert one is not None
    try:
        test = compile_condition(one, variables=True)
    except ValueError:
        return
    assert test.holds({} if given_ is None else {"aws:key": given_}) in (True, False, None)


@given(st.sampled_from([n for n in NEGATED if "not" in n]), st.lists(VALUES, min_size=1, max_size=3), VALUES)
def test_a_negated_operator_is_the_opposite(name: str, values: list[str], value: str) -> None:
    """Of the plain one, for a value that can be compared."""
    plain = name.replace("not", "", 1)
    try:
        answers = holds(plain, values, value), holds(name, values, value)
    except ValueError:
        return
    assert answers in [(True, False), (False, True), (False, None)]
