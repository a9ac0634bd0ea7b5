"""A duration on the command line: `45m`, `12h`, `30d`."""

from __future__ import annotations

import re
from typing import Any

import click

_FORM = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Duration(click.ParamType[int]):
    """Reads a number and a unit (s, m, h, d, w) as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _FORM.fullmatch(str(value))
        if match is None:
            self.fail("a duration must look like 45m, 12h or 30d", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


def duration(seconds: int) -> str:
    """As `Duration` reads it, in the largest unit that holds it."""
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"
