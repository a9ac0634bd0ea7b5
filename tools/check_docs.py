"""The documentation agrees with the code: links lead somewhere, and what must be documented is. A line for each breach.

* every relative link in a Markdown file names a file that is there;
* docs/operations/settings.md names every setting;
* docs/guide/compatibility.md names every operation that answers UnsupportedOperationException;
* every rotator has its page in docs/rotators/, and the page names every function name it is chosen by;
* every error class that a rotation can end with is explained in docs/operations/failures.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from keywheel import errors
from keywheel.config import Settings
from keywheel.rotation.built_in import built_in

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_UNSUPPORTED = ("AssociateCrossAccountReplica", "DisassociateCrossAccountReplica")


def main() -> int:
    """Print the breaches; 1 when there are any."""
    breaches = [*_links(), *_settings(), *_operations(), *_rotators(), *_failures()]
    for line in breaches:
        print(line)
    return min(len(breaches), 1)


def _text(name: str) -> str:
    path = ROOT / "docs" / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _links() -> Iterator[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        page = ROOT / name
        if not page.is_file():
            continue
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                yield f"{name}: the link {target} leads nowhere"


def _missing(page: str, words: Iterator[str] | list[str] | tuple[str, ...]) -> Iterator[str]:
    text = _text(page)
    yield from (f"docs/{page}: does not name `{word}`" for word in words if f"`{word}`" not in text)


def _settings() -> Iterator[str]:
    return _missing("operations/settings.md", Settings.__struct_fields__)


def _operations() -> Iterator[str]:
    return _missing("guide/compatibility.md", _UNSUPPORTED)


def _rotators() -> Iterator[str]:
    for name, strategy in built_in().items():
        file = type(strategy.target).__module__.rpartition(".")[2]
        yield from _missing(f"rotators/{file}.md", [name])


def _failures() -> Iterator[str]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TargetError)]
    return _missing("operations/failures.md", [kind.code for kind in kinds if kind is not errors.TargetError])


if __name__ == "__main__":
    sys.exit(main())
