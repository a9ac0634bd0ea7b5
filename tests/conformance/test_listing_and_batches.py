"""ListSecrets, its filters and pages, and BatchGetSecretValue (aws-contract 0.11, A17, A18)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.server import Server, fresh, fresh_region, refusal, token, until

BOTH_OR_NEITHER = (
    "InvalidParameterException",
    "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
)
RESULTS_WITHOUT_FILTERS = (
    "InvalidParameterException",
    "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.",
)


@pytest.fixture(scope="module")
def full(server: Server) -> Any:
    """A client in a Region with secrets to look for."""
    api = server.client(fresh_region())
    make(api, "prod/db", "The primary database of Payments", team="pay", Stage="prod")
    make(api, "prod/cache", "A cache", team="web")
    make(api, "Prod/other", "primary school", owner="Pay")
    make(api, "test/db", "", team="payroll")
    make(api, "appBetaKey9", "unrelated")
    make(api, "prod-AppBeta/x", "mixed")
    return api


def make(api: Any, name: str, description: str, **tags: str) -> None:
    tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
    api.create_secret(Name=name, Description=description, SecretString=f"value of {name}", Tags=tagged)


def names(answer: dict[str, Any]) -> list[str]:
    return [entry["Name"] for entry in answer["SecretList"]]


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([("name", ["prod"])], {"prod/db", "prod/cache", "prod-AppBeta/x"}),
        ([("name", ["PROD"])], set()),
        ([("name", ["prod/db", "test"])], {"prod/db", "test/db"}),
        ([("name", ["prod"]), ("name", ["prod/d"])], {"prod/db"}),
        ([("name", ["!prod"])], {"Prod/other", "test/db", "appBetaKey9"}),
        ([("name", ["db"])], set()),
        ([("description", ["prim"])], {"prod/db", "Prod/other"}),
        ([("description", ["PAYMENTS database"])], {"prod/db"}),
        ([("description", ["database payments"])], {"prod/db"}),
        ([("description", ["database school"])], set()),
        ([("description", ["primary"]), ("description", ["school"])], {"Prod/other"}),
        ([("tag-key", ["te"])], {"prod/db", "prod/cache", "test/db"}),
        ([("tag-key", ["Te"])], set()),
        ([("tag-key", ["!team"])], {"Prod/other", "appBetaKey9", "prod-AppBeta/x"}),
        ([("tag-value", ["pay"])], {"prod/db", "test/db"}),
        ([("tag-value", ["Pay"])], {"Prod/other"}),
        ([("tag-key", ["team"]), ("tag-value", ["pay"])], {"prod/db", "test/db"}),
        ([("primary-region", ["us-"])], set()),
        ([("owning-service", ["rds"])], set()),
        ([("all", ["payments"])], {"prod/db"}),
        ([("all", ["beta"])], {"appBetaKey9", "prod-AppBeta/x"}),
        ([("all", ["web"])], {"prod/cache"}),
        ([("all", ["owner"])], {"Prod/other"}),
        ([("name", ["prod"]), ("all", ["!cache"])], {"prod/db", "prod-AppBeta/x"}),
    ],
)
def test_filters_find(full: Any, filters: list[tuple[str, list[str]]], expected: set[str]) -> None:
    """Values of one filter are alternatives, several filters all hold, `!` negates; prefixes, and case, by key."""
    given = [{"Key": key, "Values": values} for key, values in filters]
    assert expected == set(names(full.list_secrets(Filters=given)))
    assert expected == {entry["Name"] for entry in full.batch_get_secret_value(Filters=given)["SecretValues"]}


@pytest.mark.parametrize(
    "filters",
    [
        [{"Key": "nothing", "Values": ["x"]}],
        [{"Key": "name"}],
        [{"Values": ["x"]}],
        [{"Key": "name", "Values": []}],
        [{"Key": "name", "Values": ["x"] * 11}],
        [{"Key": "name", "Values": ["x" * 513]}],
        [{"Key": "name", "Values": ["a*"]}],
        [{"Key": "name", "Values": ["x"]}] * 11,
    ],
)
def test_a_filter_that_is_not_one_is_refused(full: Any, filters: list[dict[str, Any]]) -> None:
    """As a parameter or by the constraints of the model."""
    code, _ = refusal(full.list_secrets, Filters=filters)
    assert code in ("InvalidParameterException", "ValidationException")


def test_the_primary_region_is_found_on_both_sides(server: Server, region: str) -> None:
    """A secret that is not replicated has none."""
    api, elsewhere = server.client(region), fresh_region()
    api.create_secret(Name="alone")
    api.create_secret(Name="replicated", AddReplicaRegions=[{"Region": elsewhere}])
    wanted = [{"Key": "primary-region", "Values": [region]}]
    for client in (api, server.client(elsewhere)):
        assert names(client.list_secrets(Filters=wanted)) == ["replicated"]


# --- orders and pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ({}, "bca"),
        ({"SortOrder": "asc"}, "bca"),
        ({"SortOrder": "desc"}, "acb"),
        ({"SortBy": "created-date"}, "bca"),
        ({"SortBy": "name"}, "abc"),
        ({"SortBy": "name", "SortOrder": "desc"}, "cba"),
        ({"SortBy": "last-changed-date"}, "cab"),
        ({"SortBy": "last-accessed-date", "SortOrder": "desc", "MaxResults": 1}, "b"),
    ],
)
def test_secrets_are_listed_in_the_order_asked_for(server: Server, sort: dict[str, Any], expected: str) -> None:
    """By the date of creation unless something else is said."""
    api = server.client(fresh_region())
    for name in "bca":
        api.create_secret(Name=name, SecretString="v")
    api.update_secret(SecretId="b", Description="changed last")
    api.get_secret_value(SecretId="b")
    until(lambda: api.describe_secret(SecretId="b").get("LastAccessedDate"))
    assert expected == "".join(names(api.list_secrets(**sort)))


def test_pages_tell_every_secret_once(server: Server, region: str) -> None:
    """With boto3's paginator, whatever the page size."""
    api = server.client(region)
    expected = [f"s{number:02}" for number in range(23)]
    for name in expected:
        api.create_secret(Name=name)
    for size in (1, 10, 23, 100):
        pages = list(api.get_paginator("list_secrets").paginate(MaxResults=size, SortBy="name"))
        assert expected == [name for page in pages for name in names(page)]
        assert -(-23 // size) == len(pages)
    ten = api.list_secrets(MaxResults=10, SortBy="name")
    api.delete_secret(SecretId="s10")
    api.create_secret(Name="s05x")
    rest = api.list_secrets(MaxResults=100, SortBy="name", NextToken=ten["NextToken"])
    assert expected[11:] == names(rest)


def test_an_empty_region_lists_nothing(server: Server, region: str) -> None:
    """SecretList is there, and no token."""
    answer = server.client(region).list_secrets()
    assert answer["SecretList"] == []
    assert "NextToken" not in answer


@pytest.mark.parametrize("garbage", ["x", "é", "%00", "AAAA", "x" * 4096, "bnVsbA==", "\x00"])
def test_a_token_that_is_none_is_refused(full: Any, garbage: str) -> None:
    """InvalidNextTokenException wherever pages are told; a NUL is refused one way or the other."""
    full.create_secret(Name=(secret := fresh()), SecretString="v")
    calls: list[tuple[Any, dict[str, Any]]] = [
        (full.list_secrets, {}),
        (full.list_secret_version_ids, {"SecretId": secret}),
        (full.list_resource_policies, {"SecretId": secret}),
        (full.batch_get_secret_value, {"Filters": [{"Key": "name", "Values": ["x"]}]}),
    ]
    codes = {refusal(call, NextToken=garbage, **members)[0] for call, members in calls}
    full.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    assert codes <= {"InvalidNextTokenException"} | ({"InvalidParameterException"} if garbage == "\x00" else set())


def test_a_token_belongs_to_its_query(full: Any, server: Server) -> None:
    """Another filter, order or Region refuses it."""
    more = {"NextToken": full.list_secrets(MaxResults=1)["NextToken"]}
    others: list[tuple[Any, dict[str, Any]]] = [
        (full.list_secrets, {"SortOrder": "desc"}),
        (full.list_secrets, {"SortBy": "name"}),
        (full.list_secrets, {"IncludePlannedDeletion": True}),
        (full.list_secrets, {"Filters": [{"Key": "name", "Values": ["p"]}]}),
        (server.client().list_secrets, {}),
    ]
    for call, members in others:
        assert refusal(call, **members, **more)[0] == "InvalidNextTokenException"


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_tells_what_cannot_be_read_beside_what_can(api: Any, name: str) -> None:
    """Current values only; each failure has the code and text that GetSecretValue has, in an answer that succeeds."""
    arns = {}
    for kind in ("text", "binary", "empty", "gone"):
        value: dict[str, Any] = {
            "text": {"SecretString": "t"},
            "binary": {"SecretBinary": b"\x00"},
            "gone": {"SecretString": "g"},
        }
        arns[kind] = api.create_secret(Name=f"{name}/{kind}", **value.get(kind, {}))["ARN"]
    api.put_secret_value(SecretId=arns["text"], SecretString="newer")
    api.delete_secret(SecretId=arns["gone"])
    missing = f"{name}/missing"
    asked = [arns["text"], f"{name}/binary", arns["empty"], arns["gone"], missing]
    answer = api.batch_get_secret_value(SecretIdList=asked)
    values = {entry["Name"]: entry for entry in answer["SecretValues"]}
    assert {f"{name}/text", f"{name}/binary"} == set(values)
    text, binary = values[f"{name}/text"], values[f"{name}/binary"]
    assert ("newer", arns["text"], ["AWSCURRENT"]) == (text["SecretString"], text["ARN"], text["VersionStages"])
    assert binary["SecretBinary"] == b"\x00"
    assert {"VersionId", "CreatedDate"} <= set(text)
    for entry in answer["Errors"]:
        expected = refusal(api.get_secret_value, SecretId=entry["SecretId"])
        assert expected == (entry["ErrorCode"], entry["Message"])
    assert asked[2:] == [entry["SecretId"] for entry in answer["Errors"]]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, BOTH_OR_NEITHER),
        ({"SecretIdList": ["x"], "Filters": [{"Key": "name", "Values": ["x"]}]}, BOTH_OR_NEITHER),
        ({"SecretIdList": ["x"], "MaxResults": 5}, RESULTS_WITHOUT_FILTERS),
    ],
)
def test_a_batch_is_asked_for_by_ids_or_by_filters(
    api: Any, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    """With AWS's texts."""
    assert expected == refusal(api.batch_get_secret_value, **members)


@pytest.mark.parametrize("ids", [[], ["x"] * 21, [""]])
def test_a_batch_has_1_to_20_ids(api: Any, ids: list[str]) -> None:
    """By the constraints of the model."""
    assert refusal(api.batch_get_secret_value, SecretIdList=ids)[0] == "ValidationException"


def test_a_batch_by_filters_pages(full: Any) -> None:
    """MaxResults at a time, every secret once."""
    wanted = [{"Key": "name", "Values": ["prod", "test"]}]
    seen: list[str] = []
    more: dict[str, str] = {}
    for _ in range(10):
        page = full.batch_get_secret_value(Filters=wanted, MaxResults=2, **more)
        assert len(page["SecretValues"]) <= 2
        seen += [entry["SecretString"] for entry in page["SecretValues"]]
        if "NextToken" not in page:
            break
        more = {"NextToken": page["NextToken"]}
    assert {f"value of {name}" for name in ("prod/db", "prod/cache", "prod-AppBeta/x", "test/db")} == set(seen)
    assert len(seen) == 4


def test_a_secret_is_read_once_in_a_batch(api: Any, name: str) -> None:
    """Whatever the number of times it is named."""
    version = token()
    api.create_secret(Name=name, SecretString="v", ClientRequestToken=version)
    answer = api.batch_get_secret_value(SecretIdList=[name, name])
    assert [version] == [entry["VersionId"] for entry in answer["SecretValues"]]
