"""What filters.py promises: which secrets each filter lets through."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.errors import InvalidParameter
from keywheel.secrets.filters import Filter, compile_filters, matches
from keywheel.secrets.rows import SECRET_COLUMNS, Secret


def secret(name: str = "billing", *, tags: Mapping[str, str] | None = None, **columns: object) -> Secret:
    """A secret with these columns and no others."""
    given = {"id": 1, "account": "1" * 12, "region": "eu-west-1", "name": name, "arn": "arn", "created": 0.0}
    given |= {"changed": 0.0, "tags": json.dumps(tags or {}), **columns}
    return Secret(**{column: given.get(column) for column in SECRET_COLUMNS})  # type: ignore[arg-type] # many types


def passes(subject: Secret, key: str, *values: str) -> bool:
    """Whether one filter lets the secret through."""
    return matches(subject, [Filter(key, values)])


@pytest.mark.parametrize(
    ("key", "columns"),
    [
        ("name", {"name": "Prod/billing"}),
        ("tag-key", {"tags": {"Stage": "x", "Production": "x"}}),
        ("tag-value", {"tags": {"Stage": "Production"}}),
        ("primary-region", {"primary_region": "Prod-west-1"}),
        ("owning-service", {"owning_service": "Production"}),
    ],
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [("Prod", True), ("P", True), ("", True), ("prod", False), ("rod", False), ("Prod/billings", False)],
)
def test_a_value_matches_what_begins_with_it_and_case_counts(
    key: str, columns: dict[str, object], value: str, expected: bool
) -> None:
    """Names, tags, Regions and services are matched by their exact beginning."""
    assert expected == passes(secret(**columns), key, value)  # type: ignore[arg-type] # one table of many columns


@pytest.mark.parametrize("key", ["description", "tag-key", "tag-value", "primary-region", "owning-service"])
@pytest.mark.parametrize(("value", "expected"), [("a", False), ("", False), ("!a", True), ("!", True)])
def test_what_a_secret_does_not_have_matches_only_a_negated_value(key: str, value: str, expected: bool) -> None:
    """A secret without description, tags, primary Region or owning service is let through by `!` alone."""
    assert expected == passes(secret(), key, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Password", True),
        ("password", True),
        ("PASS", True),
        ("billing pass", True),
        ("pass BILL", True),
        ("  the   password ", True),
        ("word", False),
        ("password ledger", False),
        ("db:", False),
        ("(old)", True),
        ("old", False),
    ],
)
def test_each_word_of_the_value_begins_a_word_of_the_description(value: str, expected: bool) -> None:
    """Words of a description are matched by their beginnings, in any order and any case."""
    assert expected == passes(secret(description="The Password\nof the Billing database (old)"), "description", value)


@pytest.mark.parametrize(
    "columns",
    [
        {"name": "prod/credsDatabase_892"},
        {"description": "creds,database;892"},
        {"tags": {"CREDS-DATABASE": "892"}},
        {"tags": {"stage": "creds.DatabaseURL.x892y"}},
        {"owning_service": "creds", "primary_region": "Database"},
    ],
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Creds", True),
        ("cred", True),
        ("reds", False),
        ("nothing creds", True),
        ("credsDatabase#892", True),
        ("nothing", False),
        ("", True),
        ("/-", True),
        ("!creds", False),
        ("!nothing", True),
    ],
)
def test_all_looks_for_some_word_in_every_attribute(columns: dict[str, object], value: str, expected: bool) -> None:
    """`all` finds the beginning of a word in the name, the description, the tags, the Region and the service."""
    assert expected == passes(secret(**columns), "all", value)  # type: ignore[arg-type] # one table of many columns


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("credsDatabase", "database", True, id="a capital after a small letter"),
        pytest.param("HTTPServer", "server", True, id="a capitalised word after capitals"),
        pytest.param("HTTPServer", "http", True, id="capitals before a capitalised word"),
        pytest.param("myDB", "db", True, id="capitals at the end"),
        pytest.param("db2primary", "primary", True, id="letters after digits"),
        pytest.param("db2primary", "2", True, id="digits after letters"),
        pytest.param("a_b", "b", True, id="an underscore"),
        pytest.param("database", "base", False, id="no change, no word"),
        pytest.param("prod-AppBeta/x", "AppBeta", True, id="the quirk of AWS that is not kept"),
    ],
)
def test_words_of_all_end_where_the_kind_of_letter_changes(name: str, value: str, expected: bool) -> None:
    """Case, digits and punctuation part the words of `all`."""
    assert expected == passes(secret(name), "all", value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a"], ["a1", "ab"]),
        (["a", "b"], ["a1", "ab", "b1"]),
        (["!a"], ["b1", "c1"]),
        (["!a", "!b"], ["c1"]),
        (["a", "!ab"], ["a1"]),
        (["a", "!"], []),
    ],
)
def test_one_value_must_match_and_no_negated_one(values: Sequence[str], expected: list[str]) -> None:
    """The values of a filter are alternatives; its negated values all hold."""
    names = ["a1", "ab", "b1", "c1"]
    assert expected == [name for name in names if passes(secret(name), "name", *values)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], True),
        ([Filter("name", ("bill",)), Filter("tag-key", ("stage",))], True),
        ([Filter("name", ("bill",)), Filter("tag-key", ("team",))], False),
        ([Filter("tag-value", ("prod",)), Filter("tag-value", ("blue",))], True),
        ([Filter("name", ("bill",)), Filter("name", ("other",))], False),
    ],
)
def test_every_filter_must_match(filters: list[Filter], expected: bool) -> None:
    """Several filters are all to be met, also where they have the same key."""
    assert expected == matches(secret(tags={"stage": "prod", "colour": "blue"}), filters)


@pytest.mark.parametrize(
    "incomplete",
    [Filter(), Filter("name"), Filter(values=("a",)), Filter("name", ()), Filter("owner", ("a",))],
    ids=["nothing", "no values", "no key", "empty values", "unknown key"],
)
def test_a_filter_that_is_not_complete_is_refused(incomplete: Filter) -> None:
    """Key and values are needed, though the model lets them be missing."""
    with pytest.raises(InvalidParameter):
        compile_filters([Filter("name", ("a",)), incomplete])


KEYS = ["description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"]
ANY_SECRET = st.builds(
    secret,
    name=st.text(),
    tags=st.dictionaries(st.text(), st.text(), max_size=3),
    description=st.none() | st.text(),
    owning_service=st.none() | st.text(),
    primary_region=st.none() | st.text(),
)
VALUES = st.from_regex(r"[a-zA-Z0-9 :_@/+=.\-][a-zA-Z0-9 :_@/+=.\-!]{0,20}", fullmatch=True)


@given(ANY_SECRET, st.sampled_from(KEYS), VALUES)
def test_a_negated_value_lets_through_exactly_the_others(subject: Secret, key: str, value: str) -> None:
    """Whatever the key, a value and its negation part the secrets in two."""
    assert passes(subject, key, f"!{value}") is not passes(subject, key, value)


@given(st.text("abcXYZ019-_/+=.@ ", min_size=1, max_size=20), st.sampled_from(["name", "all"]))
def test_a_secret_is_found_by_its_whole_name(name: str, key: str) -> None:
    """What was written as a name finds the secret, by the name and by everything."""
    assert passes(secret(name), key, name)
