"""How commands print: instants, tables, and text that somebody else chose."""

from __future__ import annotations

import json

import pytest

from keywheel.cli import output

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (0, "now"),
        (0.9, "now"),
        (59, "in 59 s"),
        (-60, "1 min ago"),
        (3_599, "in 59 min"),
        (3 * 3_600 + 1, "in 3 h"),
        (-86_400, "1 d ago"),
        (400 * 86_400, "in 400 d"),
    ],
)
def test_a_distance_in_time_has_one_unit(distance: float, expected: str) -> None:
    """The largest unit that fits, cut off, not rounded."""
    assert expected == output.relative(NOW + distance, NOW)


def test_instants_are_utc_whatever_the_machine_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time zone of the machine changes nothing."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert output.iso(NOW) == "2023-11-14T22:13:20Z"
    assert output.moment(NOW, NOW - 7_200) == "2023-11-14 22:13 UTC, in 2 h"
    assert output.exact(NOW + 0.25) == "2023-11-14 22:13:20.250 UTC"


def test_no_instant_is_a_dash_for_people_and_null_for_programs() -> None:
    """What has no date is not given one."""
    assert (output.moment(None, NOW), output.iso(None)) == (output.NOTHING, None)


def test_a_table_elsewhere_than_on_a_terminal_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """No colours, no frame, no word cut off; markup in a cell is text."""
    long = "x" * 200
    output.table(("name", "why"), [(("[red]a[/red]", "red"), long)])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert [line.split() for line in printed.splitlines()] == [["NAME", "WHY"], ["[red]a[/red]", long]]


def test_text_of_others_cannot_move_the_cursor() -> None:
    """Control characters, escape sequences and line breaks are shown as what they are: not printable."""
    assert output.printable("a\x1b[2Jb\nc\u202ed") == "a\ufffd[2Jb\ufffdc\ufffdd"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output holds the document, and a note goes elsewhere."""
    output.print_json({"a": "ü"})
    output.note("by the way")
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"a": "ü"}
    assert printed.err == "by the way\n"
