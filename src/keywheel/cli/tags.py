"""A tag on the command line: `KEY=VALUE`."""

from __future__ import annotations

from typing import Any

import click


class Tag(click.ParamType[tuple[str, str]]):
    """Reads `KEY=VALUE` as a pair; the value may be empty and may hold further equals signs."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, separator, rest = str(value).partition("=")
        if not key or not separator:
            self.fail("a tag must look like KEY=VALUE", param, ctx)
        return key, rest
