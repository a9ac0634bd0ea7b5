"""Checks of the database and of the root key that opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from keywheel.cli.asking import root_source
from keywheel.cli.checks import root
from keywheel.cli.checks.finding import Finding, Grade, failed, guarded, ok, skipped
from keywheel.cli.house import check_schema, open_store
from keywheel.config import Settings
from keywheel.db.statement import Tx
from keywheel.keys.keyring import Keys
from keywheel.keys.root.ring import RootRing

# What makes an answered commit survive a loss of power: the question, the answers that do, and what to do else.
_DURABLE = {
    "sqlite": (
        ("PRAGMA journal_mode", ("wal",), "Another program has changed it: `PRAGMA journal_mode=WAL` sets it back."),
        ("PRAGMA synchronous", ("2", "3"), "This keywheel should set it itself: please report this."),
    ),
    "postgresql": (
        ("SHOW fsync", ("on",), "Set fsync = on in postgresql.conf."),
        ("SHOW full_page_writes", ("on",), "Set full_page_writes = on in postgresql.conf."),
        ("SHOW synchronous_commit", ("on", "remote_write", "remote_apply"), "Set synchronous_commit = on."),
    ),
}


class Store:
    """The examination of the store. `root` is the root key when it opens the database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.root: RootRing | None = None

    def examine(self) -> Iterator[Finding]:
        """The database answers, has this program's schema, keeps what it answered, and belongs to the root key."""
        opened = False
        for finding in guarded("database", self._database):
            opened = opened or finding.grade is Grade.OK
            yield finding
        yield from guarded("root key", self._root_key) if opened else [skipped("root key", "the database is not open")]

    def _database(self) -> Iterator[Finding]:
        with closing(open_store(self._settings)) as database, database.read() as tx:
            yield ok("database", f"schema {check_schema(tx)}, {tx.dialect}")
            yield _durability(tx)

    def _root_key(self) -> Iterator[Finding]:
        source = root_source(self._settings)
        ring = source.ring()
        with closing(open_store(self._settings)) as database:
            with database.point() as tx:
                Keys(ring).check(tx)
            self.root = ring
            yield ok("root key", f"opens the database; it comes from {root.provider(source)}")
            yield from guarded(root.SUBJECT, lambda: root.rotation(source, ring, database))


def _durability(tx: Tx) -> Finding:
    good, bad = [], {}
    for question, durable, advice in _DURABLE[tx.dialect]:
        answer, name = str(tx.execute(question, {}).fetchone()[0]), question.partition(" ")[2]
        if answer in durable:
            good.append(f"{name}={answer}")
        else:
            bad[f"{name}={answer}"] = advice
    if bad:
        return failed("durability", f"A loss of power may lose commits: {', '.join(bad)}.", " ".join(bad.values()))
    return ok("durability", ", ".join(good))
