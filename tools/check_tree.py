"""What the repository must never contain, and the budgets of its files. Fails with a line for each breach."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Written in pieces, so that this file does not find itself.
FORBIDDEN = {
    "the address of a package registry": re.compile(
        "|".join((r"pypi\." + "org", "files.python" + "hosted", r"registry\.npm" + "js", r"deb\.deb" + "ian"))
    ),
    "a path of somebody's machine": re.compile(r"(?<![\w.])/(?:" + "work|home|Users|root" + r")/\w"),
    "a private key": re.compile("-----BEGIN [A-Z ]*PRIVATE " + "KEY-----"),
}
FILE_LINES = 500
FUNCTION_LINES = 50


def main() -> int:
    """Check every tracked or new file; the number of breaches."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    breaches = [line for name in listed if name and (ROOT / name).is_file() for line in _breaches(Path(name))]
    for line in breaches:
        print(line)
    return min(len(breaches), 1)


def _breaches(name: Path) -> list[str]:
    try:
        text = (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    found = [f"{name}: holds {what}" for what, pattern in FORBIDDEN.items() if pattern.search(text)]
    if name.suffix == ".py" and name.parts[0] == "src" and name.name != "shapes.py" and "versions" not in name.parts:
        found += _sizes(name, text)
    return found


def _sizes(name: Path, text: str) -> list[str]:
    found = []
    if (lines := text.count("\n")) > FILE_LINES:
        found.append(f"{name}: {lines} lines; the budget is {FILE_LINES}")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{name}:{node.lineno}: {node.name} has {length} lines; the budget is {FUNCTION_LINES}")
    return found


if __name__ == "__main__":
    sys.exit(main())
