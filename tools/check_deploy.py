"""deploy/ is what it says, as far as can be told without running it. A line for each breach.

* YAML is YAML, and each key stands once; what is referred to is there, and what is there is referred to;
* every `keywheel` command and option in it exists, and so does every setting;
* servers run without root's rights, on a file system that cannot be written, and may end in their own time;
* no secret is in a variable, an argument or a file of the repository, and each Secret is documented;
* the image is built of dependencies that are pinned by hash, to what the tests ran with;
* systemd and nginx agree with their files, where they are installed.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from keywheel.config import Settings
from tools.deploy import compose, image, kubernetes, nginx, units
from tools.deploy.reading import unknown_settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/operations/deploying.md"


def main() -> int:
    """Print the breaches; 1 when there are any."""
    breaches = list(check(ROOT / "deploy", ROOT))
    for line in breaches:
        print(line)
    return min(len(breaches), 1)


def check(deploy: Path, root: Path) -> Iterator[str]:
    """A line for each breach in `deploy`, which belongs to the repository at `root`."""
    page = (root / PAGE).read_text(encoding="utf-8")
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "deploy": lambda: _texts(deploy),
        "Containerfile": lambda: image.check(deploy / "Containerfile", root),
        "compose.yaml": lambda: compose.check(deploy),
        "nginx.conf": lambda: nginx.check(deploy / "nginx.conf"),
        "kubernetes": lambda: kubernetes.check(deploy / "kubernetes", page),
        "systemd": lambda: units.check(deploy / "systemd"),
        "requirements": lambda: _pins(root / "requirements"),
    }
    for name, part in parts.items():
        try:
            yield from (f"{name}: {breach}" for breach in part())
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # not of the form that it has to have
            yield f"{name}: cannot be read ({type(error).__name__}: {error})"


def _texts(deploy: Path) -> Iterator[str]:
    for path in sorted(deploy.rglob("*")):
        if not path.is_file() or path.is_relative_to(deploy / "secrets") or path.suffix == ".pyc":
            continue
        text = path.read_text(encoding="utf-8")
        yield from (f"{path.name}: {breach}" for breach in unknown_settings(text))
        if path.suffix == ".toml":
            try:
                msgspec.convert(tomllib.loads(text), Settings).check()
            except ValueError as error:
                yield f"{path.name}: {error}"


def _pins(requirements: Path) -> Iterator[str]:
    """What the image installs is what the demo and the tests were run with."""
    tried = _read_pins(requirements / "demo.txt")
    for name in ("server.txt", "build.txt"):
        for pin, hashes in _read_pins(requirements / name).items():
            if tried.get(pin) != hashes:
                yield f"{name}: {pin} is not what demo.txt has; run `make requirements`"


def _read_pins(file: Path) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        words = line.removesuffix("\\").strip()
        if words.startswith("--hash="):
            next(reversed(pins.values())).add(words)
        elif words:
            pins[words] = set()
    return pins


if __name__ == "__main__":
    sys.exit(main())
