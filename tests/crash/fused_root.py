"""`keywheel root rotate` with a fuse: it kills its process, with SIGKILL, before or after the n-th effect.

An effect is a transaction of the store, or a file's coming into its place. Without a number the names of all effects
are written down instead.

    python -m tests.crash.fused_root --record FILE [--point N] -- rotate --data DIR …
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keywheel.cli.root import root
from keywheel.db import database
from keywheel.keys.root import rotation as root_rotation
from keywheel.testing import Fuse
from tests.crash.fused_server import FusedDatabase


def main() -> None:
    """Run the command until the fuse blows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--point", type=int)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    fuse, opened = Fuse(), database.open_database
    database.open_database = lambda url: FusedDatabase(opened(url), fuse)
    root_rotation._PAGE = 2
    for name in ("link", "replace"):
        setattr(os, name, _fused(fuse, name, getattr(os, name)))
    if given.point is not None:
        with fuse.blow_at(given.point, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            root.main(given.command, standalone_mode=False)
        return
    with fuse.recording() as points:
        root.main(given.command, standalone_mode=False)
    given.record.write_text("\n".join(points), encoding="utf-8")


def _fused(fuse: Fuse, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def between(source: object, target: object, **others: Any) -> Any:
        fuse.passes(f"before {name} {Path(str(target)).name}")
        result = call(source, target, **others)
        fuse.passes(f"after {name} {Path(str(target)).name}")
        return result

    return between


if __name__ == "__main__":
    main()
