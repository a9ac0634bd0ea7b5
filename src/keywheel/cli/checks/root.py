"""Checks of the root key beside that it opens the database: what it is made from, and how its rotation stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keywheel.cli.checks.finding import Finding, ok, warning
from keywheel.clock import from_epoch
from keywheel.db.database import Database
from keywheel.keys.root.ring import RootRing
from keywheel.keys.root.rotation import RootRotation, Rotation
from keywheel.keys.root.source import RootSource

SUBJECT = "root key rotation"
_GO_ON = "`keywheel root rotate` goes on with it; `--cancel` gives it up as long as nothing is wrapped anew."


def provider(source: RootSource) -> str:
    """Where the root key comes from, in words.

    Raises:
        KeyStoreError: its file is none.
    """
    made = {"file": "its file", "passphrase": "a passphrase", "token": "a PKCS #11 token"}
    return made.get(source.kind, source.kind)


def rotation(source: RootSource, ring: RootRing, database: Database) -> Iterator[Finding]:
    """No rotation of the root key is left half done."""
    standing = RootRotation(database, ring, ())
    state = standing.state()
    late = [] if state is None or state.ended is not None else standing.lagging(state.current)
    yield judge(state, late, current=ring.current, next_file=str(source.next_path) if source.has_next() else None)


def judge(state: Rotation | None, late: Sequence[str], *, current: str | None, next_file: str | None) -> Finding:
    """What is to be said of the last rotation. Pure.

    `late`: processes that do not know the new root key. `current`: the root key under which everything is.
    """
    if state is not None and state.ended is None:
        begun = f"{from_epoch(state.since):%Y-%m-%d %H:%M} UTC"
        detail = f"From {state.former} to {state.current}, begun {begun}, is not done."
        if late:
            detail += f" It waits for: {', '.join(late)}."
        return warning(SUBJECT, detail, _GO_ON)
    if next_file is not None and state is not None and state.current == current:
        detail = f"The database is done, and {next_file} has not taken the place of the first file."
        return warning(SUBJECT, detail, "`keywheel root rotate` puts it there, where the files are its own to move.")
    if next_file is not None:
        detail = f"{next_file} is there, and no rotation was begun."
        return warning(SUBJECT, detail, "Run `keywheel root rotate`, or take the file away.")
    return ok(SUBJECT, "never" if state is None else f"the last one is done: {state.current}")
