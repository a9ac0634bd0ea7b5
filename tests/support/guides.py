"""The commands that a page of the documentation shows, and what it says they print."""

from __future__ import annotations

import re
from pathlib import Path


def commands(page: Path, *, skip: int = 0) -> list[tuple[str, str]]:
    """Each command of the page's console blocks with what it prints, behind the first `skip` blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    found = []
    for block in blocks[skip:]:
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = shown.splitlines()
            last = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
            found.append(("\n".join(lines[: last + 1]), "\n".join(lines[last + 1 :])))
    return found
