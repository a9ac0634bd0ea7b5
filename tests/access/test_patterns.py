"""What patterns.py promises: wildcards and variables match what the IAM guide says, and never take long."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keywheel.access.patterns import (
    Matcher,
    Variable,
    Wild,
    arn_glob,
    filled,
    glob,
    matcher,
    read_pattern,
    resource_glob,
)

ACCOUNT = "123456789012"
SECRET = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:prod/db-AbCdEf"
BUILDS = {"glob": glob, "resource": resource_glob, "arn": arn_glob}


def made(*texts: str, build: str = "glob", fold: bool = False, variables: bool = True) -> Matcher:
    """A matcher of patterns."""
    return matcher([read_pattern(t, wild=True, variables=variables) for t in texts], BUILDS[build], fold=fold)


def naive(pattern: str, text: str, build: str) -> bool:
    """Whether `pattern` matches, tried in every possible way."""
    ends = {i for i, (_, after) in enumerate(pairwise(pattern + ":")) if after == ":"}

    @cache
    def from_(i: int, j: int, component: int) -> bool:
        if i == len(pattern):
            return j == len(text)
        crosses = build == "glob" or (build == "resource" and i in ends) or (build == "arn" and component == 5)
        if pattern[i] == "*":
            if from_(i + 1, j, component):
                return True
            return j < len(text) and (crosses or text[j] != ":") and from_(i, j + 1, component)
        if j == len(text):
            return False
        if pattern[i] == "?":
            alone = build == "glob" or (build == "arn" and component == 5)
            return (alone or text[j] != ":") and from_(i + 1, j + 1, component)
        colon = pattern[i] == ":" and component < 5
        return pattern[i] == text[j] and from_(i + 1, j + 1, component + colon)

    return from_(0, 0, 0)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """A pattern, and a text that has a good chance to match."""
    pattern = draw(st.text("ab:*?", max_size=10)).replace("**", "*").replace("**", "*")
    put_in = {"*": st.text("ab:", max_size=3), "?": st.sampled_from("ab:")}
    near = "".join(draw(put_in[c]) if c in put_in else c for c in pattern)
    return pattern, draw(st.just(near) | st.text("ab:", max_size=12))


@given(pairs(), st.sampled_from(["glob", "resource"]))
@example(("*:a*b:*", "b:b:aab:a"), "resource")
@example(("a*:b*a:?", "ab:a:bba:b"), "resource")
@example(("*:b*a", ":baa"), "resource")
@example(("b*a", "baa"), "resource")
@example(("*a*a*", "ba"), "glob")
def test_a_pattern_matches_as_trying_everything_does(pair: tuple[str, str], build: str) -> None:
    """The quick way of matching agrees with the plain one."""
    pattern, text = pair
    assert naive(pattern, text, build) == made(pattern, build=build).matches(text, {})


@given(
    st.lists(st.text("ab*?", max_size=4), min_size=6, max_size=7).map(":".join),
    st.lists(st.text("ab", max_size=3), min_size=5, max_size=8).map(":".join),
)
@example("a:a:a:a:a:a*:b", "a:a:a:a:a:ab:a:b")
@example("a:a:a:a:a:?b", "a:a:a:a:a::b")
@example("a:a:a:a:*b:b", "a:a:a:a:a:b:b")
def test_an_arn_pattern_matches_as_trying_everything_does(pattern: str, text: str) -> None:
    """Component by component."""
    single = pattern.replace("**", "*").replace("**", "*")
    assert naive(single, text, "arn") == made(single, build="arn").matches(text, {})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", True),
        (SECRET, True),
        (SECRET.lower(), False),
        (f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:prod/*", True),
        (f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:prod/db-??????", True),
        (f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:prod/db-?????", False),
        (f"arn:aws:secretsmanager:*:{ACCOUNT}:secret:*", True),
        (f"arn:aws:secretsmanager:eu-*:{ACCOUNT}:*", True),
        ("arn:aws:secretsmanager:*", True),
        ("arn:aws:secretsmanager:*:prod/db-AbCdEf", True),
        ("arn:aws:secretsmanager:*:secret:prod/db-AbCdEf", True),
        ("arn:aws:secretsmanager:e*t-1:123456789012:secret:prod/db-AbCdEf", True),
        ("arn:aws:secretsmanager:e*f", False),
        (f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:dev/*", False),
    ],
)
def test_the_resource_element(pattern: str, expected: bool) -> None:
    """A star within a segment stays in it; one that ends a segment goes on."""
    assert expected is made(pattern, build="resource").matches(SECRET, {})


def test_the_iam_guides_example_of_arns_and_strings() -> None:
    """StringLike crosses colons where ArnLike does not."""
    pattern = "arn:aws:someservice:*:111122223333:finance/*"
    text = "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"
    assert made(pattern).matches(text, {}) is True
    assert made(pattern, build="arn").matches(text, {}) is False
    assert made(pattern, build="arn").matches("arn:aws:someservice:x:111122223333:finance/a:b", {}) is True


def test_case_is_folded_where_it_is_asked_for() -> None:
    """Exact values, wildcards and variables alike."""
    folding = made("Secretsmanager:GET*", "KMS:Sign", "x-${aws:username}", fold=True)
    assert folding.matches("secretsmanager:getsecretvalue", {})
    assert folding.matches("kms:sign", {})
    assert folding.matches("x-alice", {"aws:username": "ALICE"})
    assert not made("KMS:Sign").matches("kms:sign", {})


@pytest.mark.parametrize(
    ("text", "context", "expected"),
    [
        ("home/${aws:username}/*", {"aws:username": "alice"}, ("home/", "alice", "/", Wild.ANY)),
        ("${AWS:UserName}", {"aws:username": "a*c"}, ("a*c",)),
        ("${aws:userid, 'anonymous'}", {}, ("anonymous",)),
        ("${aws:userid,'anonymous'}", {"aws:userid": "AIDA"}, ("AIDA",)),
        ("${aws:PrincipalTag/cost center}", {"aws:principaltag/cost center": "7"}, ("7",)),
        ("${*}${?}${$}", {}, ("*?$",)),
        ("$5 {a}", {}, ("$5 {a}",)),
        ("${aws:username}", {}, None),
        ("${aws:TagKeys}", {"aws:tagkeys": ("a", "b")}, None),
        ("${aws:TagKeys}", {"aws:tagkeys": ("a",)}, ("a",)),
    ],
)
def test_variables_are_replaced(text: str, context: dict[str, str], expected: object) -> None:
    """By what the request says; what is put in has no wildcards."""
    assert expected == filled(read_pattern(text, wild=True, variables=True), context)


def test_what_is_put_in_for_a_variable_is_literal() -> None:
    """A user who is called * is not everybody."""
    home = made(f"arn:aws:secretsmanager:*:{ACCOUNT}:secret:home/${{aws:username}}/*", build="resource")
    mine = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:home/*/x-AbCdEf"
    theirs = mine.replace("*", "bob")
    assert home.matches(mine, {"aws:username": "*"}) is True
    assert home.matches(theirs, {"aws:username": "*"}) is False
    assert home.matches(theirs, {}) is None


@pytest.mark.parametrize(
    "text", ["${", "a${aws:username", "${}", "${username}", "${aws:a b,}", "${ aws:x y 'd'}", "${a:*}"]
)
def test_what_is_no_variable_is_refused(text: str) -> None:
    """A policy must not mean less than it says."""
    with pytest.raises(ValueError, match="no policy variable"):
        read_pattern(text, wild=True, variables=True)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("${aws:username}", "${aws:username}", True),
        ("${aws:username}", "alice", False),
        ("${*}", "${anything}", True),
        ("${", "${", True),
    ],
)
def test_the_old_version_has_no_variables(text: str, value: str, expected: bool) -> None:
    """There they are texts, with wildcards in them."""
    assert expected is made(text, variables=False).matches(value, {"aws:username": "alice"})


def test_without_wildcards_stars_are_stars() -> None:
    """As in StringEquals."""
    assert read_pattern("a*b?", wild=False, variables=True) == ("a*b?",)
    assert read_pattern("${aws:a}*", wild=False, variables=True) == (Variable("aws:a", None), "*")


@pytest.mark.parametrize("build", ["glob", "resource"])
def test_no_pattern_takes_long(build: str) -> None:
    """A thousand wildcards that nearly match are decided at once; trying everything would outlast the test run."""
    assert made("*a" * 1000 + "*b", build=build).matches("a" * 2000, {}) is False
    assert made("*:a" * 1000 + "*:b", build=build).matches(":a" * 1500, {}) is False
