"""What commands print: tables for people, one JSON document for programs, times in UTC.

Nothing here ever prints a secret value. Text that somebody else chose is printed without its control characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from keywheel.clock import from_epoch

if TYPE_CHECKING:
    from rich.console import Console

Cell = str | tuple[str, str]
"""The text of a cell, or the text and its style."""

NOTHING = "–"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_WIDE = 500  # columns, where there is no terminal to fit

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one document of a command."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """Tell a person something beside the output."""
    click.echo(text, err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table; without colours where there is no terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    drawn = Table(
        box=box.SIMPLE_HEAD if out.is_terminal else None, pad_edge=False, show_edge=False, header_style="bold"
    )
    for column in columns:
        drawn.add_column(column.upper(), overflow="fold")
    for row in rows:
        cells = [(cell, "") if isinstance(cell, str) else cell for cell in row]
        drawn.add_row(*(Text(printable(text) or NOTHING, style=style) for text, style in cells))
    out.print(drawn)


def console(*, stderr: bool = False) -> Console:
    """Where rich draws."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def printable(text: str) -> str:
    """`text` without what could move a terminal's cursor or recolour it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def count(number: int, noun: str) -> str:
    """`1 secret`, `2 secrets`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def iso(seconds: float | None) -> str | None:
    """An instant for a program: `2026-01-31T08:15:00Z`."""
    return None if seconds is None else f"{from_epoch(seconds):%Y-%m-%dT%H:%M:%SZ}"


def moment(seconds: float | None, now: float, zone: str = " UTC") -> str:
    """An instant for a person: `2026-01-31 08:15 UTC, in 3 h`. Where a heading names the zone, it may be left out."""
    if seconds is None:
        return NOTHING
    return f"{from_epoch(seconds):%Y-%m-%d %H:%M}{zone}, {relative(seconds, now)}"


def exact(seconds: float) -> str:
    """An instant for a person who compares it with a log: `2026-01-31 08:15:00.250 UTC`."""
    return f"{from_epoch(seconds):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def relative(seconds: float, now: float) -> str:
    """How far an instant is from now, to one unit: `in 3 h`, `5 min ago`."""
    distance = abs(seconds - now)
    for size, unit in _UNITS:
        if distance >= size:
            count = f"{int(distance // size)} {unit}"
            return f"in {count}" if seconds > now else f"{count} ago"
    return "now"
