"""What listing.py promises of its tokens, on each store: its own are understood, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keywheel.errors import InvalidNextToken
from keywheel.secrets import listing
from keywheel.secrets.filters import Filter
from keywheel.secrets.listing import Order
from tests.secrets.house import HERE, ORDERS, REFUSED, THERE, House


@pytest.mark.parametrize(
    "other",
    [
        {"scope": THERE},
        {"filters": [Filter("name", ("s", "t"))]},
        {"filters": []},
        {"sort_by": "changed"},
        {"descending": True},
        {"include_deleted": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_token_of_another_query_is_refused(house: House, other: dict[str, Any]) -> None:
    """Scope, filters, order and options belong to the token."""
    house.create("s1", "s2")
    query: dict[str, Any] = {"filters": [Filter("name", ("s",))], "most": 1}
    spoken = house.page(**query).token
    with pytest.raises(InvalidNextToken, match=REFUSED):
        house.page(**{**query, **other}, token=spoken)


def test_a_token_names_no_secret_value_and_fits_the_model(house: House) -> None:
    """A NextToken has at most 4096 characters of the URL-safe alphabet, also for the longest name."""
    house.create("n" * 512, "o")
    spoken = house.page(sort_by="name", most=1).token
    assert spoken is not None
    assert len(spoken) <= 4096
    assert spoken.replace("-", "").replace("_", "").rstrip("=").isalnum()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.text() | st.binary().map(bytes.hex) | st.text("AZaz09-_=+/", max_size=60), st.sampled_from(ORDERS))
@example("[" * 4096, "created")
@example("W1tb" * 1024, "name")
def test_garbage_is_refused_as_a_token(house: House, garbage: str, order: Order) -> None:
    """Whatever the text, the answer is InvalidNextToken and never a crash."""
    with pytest.raises(InvalidNextToken, match=REFUSED):
        house.page(token=garbage, sort_by=order)


@pytest.mark.parametrize("order", ORDERS)
def test_a_token_with_one_character_changed_is_refused(house: House, order: Order) -> None:
    """A spoiled token is noticed wherever the damage is."""
    house.create("s1", "s2")
    spoken = house.page(sort_by=order, most=1).token
    assert spoken is not None
    for place in range(len(spoken)):
        for changed in (spoken[:place] + spoken[place + 1 :], spoken[:place] + "-" + spoken[place:]):
            with pytest.raises(InvalidNextToken, match=REFUSED):
                house.page(sort_by=order, token=changed)


@pytest.mark.parametrize(
    ("order", "position"),
    [
        ("created", ("text", 1)),
        ("created", (True, 1)),
        ("created", (1, 1)),
        ("created", (None, 1)),
        ("created", (1.0, 2**63)),
        ("created", (1.0, -1)),
        ("created", (1.0, 1.5)),
        ("created", (1.0, 1, 1)),
        ("name", (1.0, 1)),
        ("name", ("a\x00b", 1)),
        ("name", (["a"], 1)),
    ],
)
def test_a_forged_position_is_refused(house: House, order: Order, position: Any) -> None:
    """A token whose digest is right is checked all the same before the store sees it."""
    bookmark = listing._Bookmark(listing._POSITIONS[order], HERE, (), order, False, False)
    with pytest.raises(InvalidNextToken, match=REFUSED):
        house.page(sort_by=order, token=bookmark.write(position))
