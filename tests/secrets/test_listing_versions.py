"""What listing.py promises of versions and labels, on each store."""

from __future__ import annotations

from typing import Any

import pytest

from keywheel.clock import epoch_day, to_epoch
from keywheel.errors import InvalidNextToken
from keywheel.secrets import listing, rows
from keywheel.secrets.listing import Page, VersionEntry
from tests.secrets.house import HERE, REFUSED, START, House, follow, minute, token


def test_a_version_is_listed_with_its_labels_dates_and_key(house: House) -> None:
    """Each entry says the id, the labels, when it was made and read, and the key unless that is the default."""
    house.create("s")
    house.put("s", 1)
    key = house.db.write(lambda tx: house.keys.create(tx, HERE, description="mine", now=START))
    house.change("s", lambda tx, secret: house.secrets.set(tx, secret, START, kms_key_id=key.key_id))
    house.put("s", 2, "AWSCURRENT", "blue")
    house.change("s", lambda tx, secret: house.secrets.touch(tx, secret.id, token(1), minute(3)))
    expected = [
        VersionEntry(token(1), to_epoch(minute(1)), epoch_day(START), None, ["AWSPREVIOUS"]),
        VersionEntry(token(2), to_epoch(minute(2)), None, key.arn, ["AWSCURRENT", "blue"]),
    ]
    assert Page(expected, None) == house.versions("s")


@pytest.mark.parametrize(("include_deprecated", "expected"), [(False, [2, 3]), (True, [1, 2, 3])])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_only_versions_with_a_value_are_listed(
    house: House, include_deprecated: bool, expected: list[int], most: int
) -> None:
    """The place that a rotation reserved is not listed; versions without labels only when asked for, on any page."""
    house.create("s")
    for number in (1, 2, 3):
        house.put("s", number, at=START if number < 3 else None)
    house.change("s", lambda tx, secret: house.secrets.reserve(tx, secret, token(4), minute(4)))
    pages = list(
        follow(lambda at: house.versions("s", include_deprecated=include_deprecated, most=most, token=at)),
    )
    assert [token(number) for number in expected] == [entry.version_id for page in pages for entry in page.items]
    assert -(-len(expected) // most) == len(pages)


def test_a_deprecated_version_has_no_labels(house: House) -> None:
    """A version that lost its last label is listed without any."""
    house.create("s")
    for number in (1, 2, 3):
        house.put("s", number)
    found = house.versions("s", include_deprecated=True).items
    expected = [[], ["AWSPREVIOUS"], ["AWSCURRENT"]]
    assert expected == [entry.labels for entry in found]


@pytest.mark.parametrize("other", [{"name": "t"}, {"include_deprecated": True}], ids=["secret", "option"])
def test_a_token_of_another_versions_query_is_refused(house: House, other: dict[str, Any]) -> None:
    """The secret and the option belong to the token."""
    house.create("s", "t")
    for name in ("s", "t"):
        house.put(name, 1)
        house.put(name, 2)
    spoken = house.versions("s", most=1).token
    with pytest.raises(InvalidNextToken, match=REFUSED):
        house.versions(**{"name": "s", **other}, token=spoken)
    with pytest.raises(InvalidNextToken, match=REFUSED):
        house.page(token=spoken)


@pytest.mark.parametrize("position", [("a", "b"), (1.0, 2), (1.0, "a\x00"), (1.0,)])
def test_a_forged_position_among_versions_is_refused(house: House, position: Any) -> None:
    """A token whose digest is right is checked all the same before the store sees it."""
    house.create("s")
    arn = house.page().items[0].arn
    bookmark = listing._Bookmark(listing._VERSION_POSITIONS, arn, False)
    with pytest.raises(InvalidNextToken, match=REFUSED):
        house.versions("s", token=bookmark.write(position))


def test_labels_name_every_labelled_version_also_without_a_value(house: House) -> None:
    """DescribeSecret shows the place that a rotation reserved."""
    house.create("s")
    house.put("s", 1, "AWSCURRENT", "blue", "Blue")
    house.put("s", 2)
    house.change("s", lambda tx, secret: house.secrets.reserve(tx, secret, token(3), minute(3)))
    expected = {token(1): ["AWSPREVIOUS", "Blue", "blue"], token(2): ["AWSCURRENT"], token(3): ["AWSPENDING"]}
    assert expected == house.change("s", house.listing.labels_of)


@pytest.mark.parametrize("count", [0, 1, 3, rows.LABELS_OF, rows.LABELS_OF + 1])
def test_labels_of_many_secrets_are_those_of_each(house: House, count: int) -> None:
    """One question for a page answers what a question for each secret would."""
    names = [f"s{number}" for number in range(count)]
    house.create(*names)
    for name in names[1:4]:
        house.put(name, 1, "AWSCURRENT", name)
    found = [secret for page in follow(lambda at: house.page(token=at)) for secret in page.items]
    with house.db.read() as tx:
        expected = {secret.id: house.listing.labels_of(tx, secret) for secret in found}
        assert expected == house.listing.labels_of_each(tx, found)
