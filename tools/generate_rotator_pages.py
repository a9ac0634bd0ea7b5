"""Write docs/rotators/, a page for each rotator, from the rotator's own file. `--check` only compares."""

from __future__ import annotations

import sys
from inspect import getmodule
from pathlib import Path

from keywheel.rotation.built_in import built_in
from keywheel.rotator import Strategy

PAGES = Path(__file__).resolve().parent.parent / "docs" / "rotators"
_STRATEGIES = {
    "single-user": "one user, whose password is changed in place",
    "alternating-users": "two users with the same rights take turns; needs a superuser's secret in `masterarn`",
}


def main() -> int:
    """Write the pages, or print those that are stale; 1 when there are any."""
    stale = [path for path, text in _pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(PAGES.parent.parent)} is stale: run `make docs`")
        return min(len(stale), 1)
    for path, text in _pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


def _pages() -> dict[Path, str]:
    files: dict[str, dict[str, Strategy]] = {}
    for name, strategy in built_in().items():
        file = type(strategy.target).__module__.rpartition(".")[2]
        files.setdefault(file, {})[name] = strategy
    return {PAGES / f"{file}.md": _page(file, strategies) for file, strategies in files.items()}


def _page(file: str, strategies: dict[str, Strategy]) -> str:
    target = next(iter(strategies.values())).target
    module = getmodule(type(target))
    text = (module.__doc__ or "") if module is not None else ""
    engines = ", ".join(f"`{engine}`" for engine in target.ENGINES)
    rows = [f"| `{name}` | {_STRATEGIES[strategy.NAME]} |" for name, strategy in sorted(strategies.items())]
    return "\n".join([
        f"# {file}",
        "",
        "<!-- Generated from the rotator's file; run `make docs`. -->",
        "",
        text.strip(),
        "",
        "## Function names",
        "",
        "As `RotationLambdaARN`, in the secret's own account and Region:",
        "`arn:aws:lambda:<region>:<account>:function:<name>`.",
        "",
        "| name | strategy |",
        "|---|---|",
        *rows,
        "",
        "## Passwords",
        "",
        f"{target.PASSWORD_LENGTH} characters, none of `` {target.EXCLUDE_CHARACTERS} ``.",
        f"The secret's `engine` is one of {engines}.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
