"""How staging labels move: the rules of Secrets Manager, row by row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keywheel.errors import InvalidParameter, LimitExceeded
from keywheel.secrets.labels import (
    CURRENT,
    LIMIT,
    PENDING,
    PREVIOUS,
    Labels,
    drop_pending,
    in_progress,
    move,
    obstacle,
    of,
    promote,
    put,
    reserve,
)

BEFORE: Labels = {CURRENT: "b", PREVIOUS: "a", "blue": "b", "green": "a"}
ROTATING: Labels = {CURRENT: "b", PREVIOUS: "a", PENDING: "c"}
FINISHED: Labels = {CURRENT: "b", PREVIOUS: "a", PENDING: "b"}  # by a function that leaves the label behind
FULL: Labels = {CURRENT: "b", PREVIOUS: "a", **{f"label-{n}": "b" for n in range(LIMIT - 2)}}


# --- PutSecretValue ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([CURRENT], {CURRENT: "v"}),
        (["blue"], {CURRENT: "v", "blue": "v"}),
        ([PENDING], {CURRENT: "v", PENDING: "v"}),
        ([CURRENT, "blue", "green"], {CURRENT: "v", "blue": "v", "green": "v"}),
    ],
)
def test_the_first_value_becomes_current(stages: list[str], expected: Labels) -> None:
    """Whatever labels were asked for; there is nothing that could be AWSPREVIOUS."""
    assert put({}, "v", stages) == expected


@pytest.mark.parametrize(
    ("before", "stages", "expected"),
    [
        pytest.param(
            BEFORE, [CURRENT], {CURRENT: "v", PREVIOUS: "b", "blue": "b", "green": "a"}, id="current-moves-previous-too"
        ),
        pytest.param(
            BEFORE,
            [CURRENT, "blue"],
            {CURRENT: "v", PREVIOUS: "b", "blue": "v", "green": "a"},
            id="previous-is-set-beside-others",
        ),
        pytest.param(BEFORE, ["blue"], {**BEFORE, "blue": "v"}, id="a-named-label-is-taken"),
        pytest.param(BEFORE, ["red"], {**BEFORE, "red": "v"}, id="a-new-label-is-attached"),
        pytest.param(BEFORE, ["blue", "green"], {**BEFORE, "blue": "v", "green": "v"}, id="every-named-label-is-taken"),
        pytest.param(BEFORE, [PENDING], {**BEFORE, PENDING: "v"}, id="pending-leaves-current"),
        pytest.param(BEFORE, [PREVIOUS], {**BEFORE, PREVIOUS: "v"}, id="previous-can-be-taken"),
        pytest.param(
            BEFORE,
            [CURRENT, PREVIOUS],
            {CURRENT: "v", PREVIOUS: "b", "blue": "b", "green": "a"},
            id="previous-follows-current-whatever-is-asked",
        ),
        pytest.param(ROTATING, [PENDING], {**ROTATING, PENDING: "v"}, id="pending-is-taken"),
        pytest.param(ROTATING, [CURRENT], {CURRENT: "v", PREVIOUS: "b"}, id="a-new-current-abandons-the-rotation"),
        pytest.param(
            ROTATING,
            [CURRENT, PENDING],
            {CURRENT: "v", PREVIOUS: "b", PENDING: "v"},
            id="pending-goes-with-current-when-asked",
        ),
        pytest.param(FINISHED, [CURRENT], {CURRENT: "v", PREVIOUS: "b"}, id="pending-evaporates"),
        pytest.param(
            {**FINISHED, "blue": "b"}, [CURRENT], {CURRENT: "v", PREVIOUS: "b", "blue": "b"}, id="custom-labels-stay"
        ),
    ],
)
def test_a_value_that_is_put(before: Labels, stages: list[str], expected: Labels) -> None:
    """A new version gets exactly the labels that are named, and AWSPREVIOUS follows AWSCURRENT."""
    assert put(before, "v", stages) == expected


def test_a_value_that_fills_the_pending_version_keeps_it_pending() -> None:
    """A rotation function writes under AWSPENDING, or at once under AWSCURRENT: that abandons nothing."""
    assert put(ROTATING, "c", [PENDING]) == ROTATING
    assert put(ROTATING, "c", [CURRENT]) == {CURRENT: "c", PREVIOUS: "b", PENDING: "c"}


def test_a_secret_without_a_value_loses_its_pending_version_to_the_first_value() -> None:
    """A rotation of an empty secret is abandoned by the value that somebody puts."""
    assert put({PENDING: "c"}, "v", [CURRENT]) == {CURRENT: "v"}


# --- UpdateSecretVersionStage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "label", "to", "remove_from", "expected"),
    [
        pytest.param(
            {**ROTATING, "blue": "b"},
            CURRENT,
            "c",
            "b",
            {CURRENT: "c", PREVIOUS: "b", PENDING: "c", "blue": "b"},
            id="the-new-current-keeps-pending",
        ),
        pytest.param(
            BEFORE, CURRENT, "a", "b", {CURRENT: "a", PREVIOUS: "b", "blue": "b", "green": "a"}, id="a-rollback-swaps"
        ),
        pytest.param(FINISHED, CURRENT, "a", "b", {CURRENT: "a", PREVIOUS: "b"}, id="pending-evaporates"),
        pytest.param(BEFORE, CURRENT, "b", "b", BEFORE, id="to-where-it-is"),
        pytest.param(BEFORE, CURRENT, "b", None, BEFORE, id="to-where-it-is-unasked"),
        pytest.param(BEFORE, "blue", "a", "b", {**BEFORE, "blue": "a"}, id="a-custom-label-moves"),
        pytest.param(BEFORE, "red", "a", None, {**BEFORE, "red": "a"}, id="a-new-label-is-attached"),
        pytest.param(
            BEFORE, "blue", None, "b", {CURRENT: "b", PREVIOUS: "a", "green": "a"}, id="a-custom-label-is-removed"
        ),
        pytest.param(ROTATING, PENDING, None, "c", {CURRENT: "b", PREVIOUS: "a"}, id="pending-is-removed"),
        pytest.param(
            BEFORE, PREVIOUS, None, "a", {CURRENT: "b", "blue": "b", "green": "a"}, id="previous-can-be-removed"
        ),
        pytest.param(ROTATING, PREVIOUS, "c", "a", {**ROTATING, PREVIOUS: "c"}, id="previous-can-be-moved"),
    ],
)
def test_a_label_that_is_moved(
    before: Labels, label: str, to: str | None, remove_from: str | None, expected: Labels
) -> None:
    """One label goes to one version or away; AWSPREVIOUS and AWSPENDING follow AWSCURRENT."""
    assert move(before, label, to=to, remove_from=remove_from) == expected


@pytest.mark.parametrize(
    ("label", "to", "remove_from", "message"),
    [
        (
            CURRENT,
            "a",
            None,
            "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to "
            "version b, so you must explicitly reference that version in RemoveFromVersionId.",
        ),
        (
            "blue",
            "a",
            None,
            "The parameter RemoveFromVersionId can't be empty. Staging label blue is currently attached to "
            "version b, so you must explicitly reference that version in RemoveFromVersionId.",
        ),
        (
            "blue",
            None,
            None,
            "The parameter RemoveFromVersionId can't be empty. Staging label blue is currently attached to "
            "version b, so you must explicitly reference that version in RemoveFromVersionId.",
        ),
        ("blue", "a", "a", "Staging label blue isn't attached to version a, which RemoveFromVersionId references."),
        ("red", "a", "b", "Staging label red isn't attached to version b, which RemoveFromVersionId references."),
        ("red", None, "b", "Staging label red isn't attached to version b, which RemoveFromVersionId references."),
        ("red", None, None, "Staging label red isn't attached to any version of the secret."),
        (
            CURRENT,
            None,
            "b",
            "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.",
        ),
    ],
)
def test_a_move_that_is_refused_says_why(label: str, to: str | None, remove_from: str | None, message: str) -> None:
    """With AWS's text where it is known."""
    with pytest.raises(InvalidParameter) as raised:
        move(BEFORE, label, to=to, remove_from=remove_from)
    assert raised.value.message == message


# --- the limit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "deed",
    [
        lambda: put(FULL, "v", ["one more"]),
        lambda: put(FULL, "v", [CURRENT, "one more"]),
        lambda: put({}, "v", [f"label-{n}" for n in range(LIMIT)]),
        lambda: move(FULL, "one more", to="a", remove_from=None),
        lambda: reserve(FULL, "v"),
    ],
)
def test_one_label_too_many_is_refused(deed: Callable[[], Labels]) -> None:
    """A secret has at most twenty, over all its versions."""
    with pytest.raises(LimitExceeded):
        deed()


@pytest.mark.parametrize(
    "deed",
    [
        lambda: put(FULL, "v", [CURRENT]),
        lambda: put(FULL, "v", ["label-1"]),
        lambda: put({}, "v", [f"label-{n}" for n in range(LIMIT - 1)]),
        lambda: move(FULL, "label-1", to="a", remove_from="b"),
        lambda: move(FULL, "label-1", to=None, remove_from="b"),
        lambda: reserve(move(FULL, "label-1", to=None, remove_from="b"), "v"),
    ],
)
def test_twenty_labels_are_allowed(deed: Callable[[], Labels]) -> None:
    """And they may still be moved about."""
    assert len(deed()) <= LIMIT


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (BEFORE, None),
        (FINISHED, None),
        (FULL, "20 staging labels"),
        (ROTATING, "AWSPENDING is attached"),
    ],
)
def test_what_keeps_a_rotation_from_beginning_is_said(labels: Labels, words: str | None) -> None:
    """A label of somebody else, or one label too many; and what to do about it."""
    said = obstacle(labels)
    assert (said is None) if words is None else (said is not None and words in said)


# --- rotation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, None),
        ({CURRENT: "b"}, None),
        (FINISHED, None),
        (ROTATING, "c"),
        ({PENDING: "c"}, "c"),
        ({CURRENT: "b", PREVIOUS: "c", PENDING: "c"}, "c"),
    ],
)
def test_a_rotation_is_not_complete_while_pending_is_apart_from_current(labels: Labels, expected: str | None) -> None:
    """Beside AWSCURRENT, or nowhere, AWSPENDING says nothing."""
    assert in_progress(labels) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (ROTATING, {CURRENT: "c", PREVIOUS: "b"}),
        ({**ROTATING, "blue": "b", "green": "c"}, {CURRENT: "c", PREVIOUS: "b", "blue": "b", "green": "c"}),
        ({CURRENT: "c", PREVIOUS: "b", PENDING: "c"}, {CURRENT: "c", PREVIOUS: "b"}),
        ({CURRENT: "c", PREVIOUS: "b"}, {CURRENT: "c", PREVIOUS: "b"}),
        ({CURRENT: "b", PENDING: "another"}, {CURRENT: "c", PREVIOUS: "b", PENDING: "another"}),
    ],
)
def test_finishing_makes_current_what_was_pending(labels: Labels, expected: Labels) -> None:
    """Once or twice, the labels end the same way; another's AWSPENDING is left alone."""
    assert promote(labels, "c") == expected
    assert promote(promote(labels, "c"), "c") == expected


def test_only_the_own_pending_label_is_dropped() -> None:
    """AWSPENDING of another version belongs to somebody else."""
    assert drop_pending(ROTATING, "c") == {CURRENT: "b", PREVIOUS: "a"}
    assert drop_pending(ROTATING, "b") == ROTATING


def test_the_labels_of_a_version_are_sorted() -> None:
    """So that answers do not differ from one call to the next."""
    assert of(BEFORE, "b") == [CURRENT, "blue"]
    assert of(BEFORE, "unknown") == []


def test_no_function_changes_what_it_is_given() -> None:
    """Each gives new labels, so whoever compares before and after can."""
    before = dict(ROTATING)
    deeds: list[Callable[[], Labels]] = [
        lambda: put(before, "v", [CURRENT, "blue"]),
        lambda: move(before, CURRENT, to="c", remove_from="b"),
        lambda: move(before, PENDING, to=None, remove_from="c"),
        lambda: promote(before, "c"),
        lambda: drop_pending(before, "c"),
    ]
    for deed in deeds:
        deed()
        assert before == ROTATING
