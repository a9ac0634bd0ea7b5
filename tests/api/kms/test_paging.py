"""Markers, whatever is done to them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.api.kms.paging import Bookmarks
from keywheel.keys.errors import InvalidMarker

QUERY = ("ListKeys", "123456789012", ["SELF"])


@given(st.text())
def test_a_marker_says_where_it_was_written(position: str) -> None:
    """Any text can be a position; the marker keeps to the characters that the model allows."""
    marks = Bookmarks(str, *QUERY)
    marker = marks.write(position)
    assert marks.read(marker) == position
    assert marker.isascii()
    assert marker.isprintable()


def test_no_marker_is_the_beginning() -> None:
    """And the first position, 0 or an empty name, is another thing."""
    assert Bookmarks(str, *QUERY).read(None) is None
    numbers = Bookmarks(int, *QUERY)
    assert (numbers.read(None), numbers.read(numbers.write(0))) == (None, 0)


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_was_not_written_here_is_no_marker(text: str) -> None:
    """Never an error of ours."""
    with pytest.raises(InvalidMarker):
        Bookmarks(str, *QUERY).read(text)
    with pytest.raises(InvalidMarker):
        Bookmarks(int, *QUERY).read(text)


@given(st.data())
def test_a_spoiled_marker_is_refused(data: st.DataObject) -> None:
    """At whichever character."""
    marks = Bookmarks(str, *QUERY)
    marker = marks.write("alias/b")
    at = data.draw(st.integers(0, len(marker) - 1))
    other = data.draw(st.characters(max_codepoint=255).filter(lambda character: character != marker[at]))
    with pytest.raises(InvalidMarker):
        marks.read(marker[:at] + other + marker[at + 1 :])


@pytest.mark.parametrize("query", [("ListAliases", *QUERY[1:]), (*QUERY[:2], []), QUERY[:2]])
def test_a_marker_belongs_to_its_query(query: tuple[object, ...]) -> None:
    """Not to another operation, account or option; nor to a listing that counts."""
    marker = Bookmarks(str, *QUERY).write("x")
    with pytest.raises(InvalidMarker):
        Bookmarks(str, *query).read(marker)
    with pytest.raises(InvalidMarker):
        Bookmarks(int, *QUERY).read(marker)


@pytest.mark.parametrize(("there", "most"), [(0, 1), (1, 1), (3, 3), (4, 3), (10, 3)])
def test_a_page_has_a_marker_where_there_is_more(there: int, most: int) -> None:
    """One more than the page holds was asked for, and tells."""
    marks = Bookmarks(int, *QUERY)
    page = marks.page(list(range(there))[: most + 1], most, lambda item: item)
    assert list(page.items) == list(range(min(there, most)))
    assert page.truncated is (there > most)
    assert page.marker == (marks.write(most - 1) if there > most else None)
