"""What listing.py promises of the pages of secrets, on each store."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from keywheel.arn import Scope
from keywheel.errors import InvalidParameter
from keywheel.secrets.filters import Filter
from keywheel.secrets.listing import Listing, Order, Page
from tests.secrets.house import HERE, ORDERS, START, THERE, House, follow, minute

NAMES = ["b", "A", "a", "B", "_x", "a-b", "a.b", "ab", "a/b", "aB", "10", "9", "Zz", "é".encode().hex()]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("most", [1, 3, 14, 15])
def test_names_are_in_the_order_of_code_points(house: House, most: int, descending: bool) -> None:
    """By name: the same order on each store, whatever the language of the database, on pages of any size."""
    house.create(*NAMES)
    expected = sorted(NAMES, reverse=descending)
    found = house.pages(sort_by="name", descending=descending, most=most)
    assert [expected[start : start + most] for start in range(0, len(expected), most)] == found


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_each_order_is_that_of_its_column(house: House, order: Order, descending: bool) -> None:
    """By creation, change, name and access, one secret on a page; what was never accessed comes before the rest."""
    house.create("d", "c", "b", "a")
    house.change("d", lambda tx, secret: house.secrets.set(tx, secret, minute(10), description="new"))
    for days, name in enumerate(["b", "d"]):
        house.read(name, START + timedelta(days=days))
    expected = {"created": "dcba", "changed": "cbad", "name": "abcd", "accessed": "cabd"}[order]
    found = house.pages(sort_by=order, descending=descending, most=1)
    assert [[name] for name in (reversed(expected) if descending else expected)] == found


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", ["created", "changed", "accessed"])
def test_secrets_of_the_same_instant_are_each_listed_once(house: House, order: Order, descending: bool) -> None:
    """Ties are parted by the order of creation."""
    names = [f"s{number}" for number in range(7)]
    house.create(*names, at=lambda _: START)
    found = house.pages(sort_by=order, descending=descending, most=2)
    assert (names[::-1] if descending else names) == [name for page in found for name in page]


def test_without_options_the_oldest_secret_comes_first(house: House) -> None:
    """The default order is that of creation."""
    house.create("b", "a")
    expected = [["b", "a"]]
    assert expected == house.pages()


def test_an_empty_scope_has_one_empty_page(house: House) -> None:
    """Secrets of another Region or account are not listed."""
    house.create("elsewhere", scope=THERE)
    house.create("somebody-elses", scope=Scope("222222222222", HERE.region))
    assert Page([], None) == house.page()


@pytest.mark.parametrize(("include_deleted", "expected"), [(False, ["a", "c"]), (True, ["a", "b", "c"])])
def test_what_is_marked_for_deletion_is_listed_when_asked_for(
    house: House, include_deleted: bool, expected: list[str]
) -> None:
    """A secret in its recovery window shows only with `include_deleted`."""
    house.create("a", "b", "c")
    house.change("b", lambda tx, secret: house.secrets.delete(tx, secret, window=timedelta(days=7), now=START))
    found = house.pages(include_deleted=include_deleted, most=1)
    assert [[name] for name in expected] == found


def test_a_filtered_listing_has_full_pages_and_no_empty_last_one(house: House) -> None:
    """Matches far apart are brought together; the last match ends the listing."""
    names = [f"{'hit' if number % 40 == 0 else 'miss'}-{number}" for number in range(200)]
    house.create(*names)
    expected = [["hit-0", "hit-40"], ["hit-80", "hit-120"], ["hit-160"]]
    assert expected == house.pages(filters=[Filter("name", ("hit",))], most=2)


def test_a_scan_is_bounded_and_goes_on_by_its_token(house: House) -> None:
    """A call reads no more rows than its bound; a page may then be empty and still have a token."""
    house.listing = Listing(most_scanned=10)
    house.create(*[f"miss-{number}" for number in range(25)], "hit-1", "hit-2")
    expected = [[], [], ["hit-1", "hit-2"]]
    assert expected == house.pages(filters=[Filter("name", ("hit",))], most=2)


def test_a_listing_that_ends_at_its_bound_has_no_token(house: House) -> None:
    """A token means that there is more to read."""
    house.listing = Listing(most_scanned=10)
    expected = [f"s{number}" for number in range(10)]
    house.create(*expected)
    assert [expected] == house.pages(filters=[Filter("name", ("s",))])


def test_an_incomplete_filter_is_refused(house: House) -> None:
    """The listing passes on what the filters say."""
    with pytest.raises(InvalidParameter):
        house.page(filters=[Filter("name")])


def test_what_comes_and_goes_between_pages_does_not_disturb_the_rest(house: House) -> None:
    """A page begins after a position, not after a count: nothing is told twice, nothing is skipped."""
    house.create("b", "d", "f", "h")
    first = house.page(sort_by="name", most=2)
    house.create("a", "e", at=lambda number: minute(10 + number))
    house.change("b", lambda tx, secret: house.secrets.purge(tx, secret, minute(20)))
    house.change("d", lambda tx, secret: house.secrets.purge(tx, secret, minute(20)))
    second = house.page(sort_by="name", token=first.token)
    expected = [["b", "d"], ["e", "f", "h"]]
    assert expected == [[secret.name for secret in page.items] for page in (first, second)]


@pytest.mark.parametrize("order", ORDERS)
def test_any_walk_gives_what_one_page_gives(house: House, order: Order) -> None:
    """Page sizes may change from call to call, with deleted secrets and filters in between."""
    chance = random.Random(7)
    house.create(*[f"{chance.choice('ab')}{number}" for number in range(60)], at=lambda _: minute(chance.randrange(9)))
    for name in house.pages()[0][::7]:
        house.change(name, lambda tx, secret: house.secrets.delete(tx, secret, window=timedelta(7), now=START))
    query: dict[str, Any] = {"sort_by": order, "filters": [Filter("name", ("a",))]}
    expected = house.page(**query).items
    house.listing = Listing(most_scanned=13)
    walk = follow(lambda at: house.page(token=at, most=chance.randrange(1, 9), **query))
    assert expected == [secret for page in walk for secret in page.items]
