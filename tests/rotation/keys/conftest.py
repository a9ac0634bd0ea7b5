"""An account with keys behind aliases, on both stores, and an engine that is told what time it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.keys.grant_rows import KeyGrant
from keywheel.keys.grants import terms
from keywheel.keys.keyring import Key, Keys
from keywheel.rotation.keys.aliases import AliasRotations
from keywheel.rotation.keys.driver import KeyDriver
from keywheel.rotation.keys.former_rows import FormerEntry
from keywheel.rotation.keys.journal import Note
from keywheel.rotation.keys.rows import Entry
from keywheel.rotation.keys.rules import Rules
from keywheel.server import House
from keywheel.testing import ManualClock

SCOPE = Scope("123456789012", "us-east-1")
DAY = 86_400


@dataclass
class KeyAccount:
    """What a test does with keys, in words."""

    database: Database
    keys: Keys
    clock: ManualClock
    rotations: AliasRotations = field(init=False)
    driver: KeyDriver = field(init=False)

    def __post_init__(self) -> None:
        self.rotations = AliasRotations(self.keys)
        self.driver = KeyDriver(self.database, self.keys, self.clock)

    # --- keys

    def create(self, name: str, spec: str, usage: str, **members: object) -> Key:
        """A key behind the alias `name`."""
        draft = self.keys.draft(spec, usage)
        now = self.clock.now()

        def work(tx: Tx) -> Key:
            given = {"description": "", **members}
            key = self.keys.create(tx, SCOPE, now=now, draft=draft, **given)  # type: ignore[arg-type] # as the test says
            self.keys.aliases.create(tx, name, key, now)
            return key

        return self.database.write(work)

    def key(self, key_id: str) -> Key:
        """A key as it stands: by its id or its alias."""
        with self.database.read() as tx:
            return self.keys.find(tx, SCOPE, key_id, now=self.clock.now(), aliases=True)

    def policy(self, key_id: str) -> str | None:
        """A key's policy."""
        key = self.key(key_id)
        with self.database.read() as tx:
            return self.keys.lifecycle.policy(tx, key)

    def all(self) -> list[Key]:
        """Every key."""
        with self.database.read() as tx:
            return self.keys.page(tx, SCOPE, most=1000)

    def grant(self, key_id: str, user: str, name: str | None = None) -> KeyGrant:
        """A grant on a key, to a user."""
        given, now = terms(f"arn:aws:iam::{SCOPE.account}:user/{user}", ["GenerateMac"]), self.clock.now()

        def work(tx: Tx) -> KeyGrant:
            key = self.keys.find(tx, SCOPE, key_id, now=now, lock=True)
            return self.keys.grants.create(tx, key, given, issuer=SCOPE.account, now=now, name=name)

        return self.database.write(work)

    def granted(self, key_id: str) -> list[str]:
        """To which users a key has grants."""
        key = self.key(key_id)
        with self.database.read() as tx:
            return sorted(grant.grantee.partition("/")[2] for grant in self.keys.grants.page(tx, key, most=1000))

    def write(self, deed: Callable[[Tx, Key], object], key_id: str) -> None:
        """Do something to a key."""
        now = self.clock.now()
        self.database.write(lambda tx: deed(tx, self.keys.find(tx, SCOPE, key_id, now=now, lock=True)))

    def sign(self, key_id: str, message: bytes = b"message") -> bytes:
        """A signature by the first algorithm."""
        key = self.key(key_id)
        with self.database.read() as tx:
            return self.keys.signatures.sign(tx, key, message, key.algorithms[0])

    def verify(self, key_id: str, signature: bytes, message: bytes = b"message") -> None:
        """Raises: KeyInvalidSignature."""
        key = self.key(key_id)
        with self.database.read() as tx:
            self.keys.signatures.verify(tx, key, message, signature, key.algorithms[0])

    def mac(self, key_id: str) -> bytes:
        """A MAC by an HMAC_256 key."""
        key = self.key(key_id)
        with self.database.read() as tx:
            return self.keys.signatures.generate_mac(tx, key, b"message", "HMAC_SHA_256")

    # --- rotation

    def schedule(self, name: str, rules: Rules) -> Entry:
        """Put an alias under rotation."""
        now = self.clock.now()
        return self.database.write(lambda tx: self.rotations.schedule(tx, SCOPE, name, rules, now))

    def rotate(self, name: str, *, urgent: bool = False) -> Entry:
        """Begin a rotation, and do all that is due."""
        now = self.clock.now()
        self.database.write(lambda tx: self.rotations.start(tx, SCOPE, name, now, urgent=urgent))
        self.run()
        return self.entry(name)

    def run(self) -> int:
        """Do all that is due now."""
        count = 0
        while self.driver.turn():
            count += 1
            assert count < 500, "it does not come to rest"
        return count

    def pass_days(self, days: float, step: float = 1.0) -> None:
        """Let days pass, with an engine that looks at each step."""
        end = self.clock.now() + timedelta(days=days)
        while self.clock.now() < end:
            self.clock.advance(min(timedelta(days=step), end - self.clock.now()))
            self.run()
            now = self.clock.now()
            self.database.write(lambda tx, now=now: self.keys.lifecycle.purge_due(tx, now))  # type: ignore[misc] # PEP 484 has no word for it

    def entry(self, name: str) -> Entry:
        """The rotation of an alias."""
        with self.database.read() as tx:
            return self.rotations.get(tx, SCOPE, name)

    def formers(self, name: str) -> list[FormerEntry]:
        """The former keys of an alias."""
        with self.database.read() as tx:
            return self.rotations.formers(tx, SCOPE, name)

    def journal(self, name: str) -> list[Note]:
        """The journal, the oldest entry first."""
        with self.database.read() as tx:
            return self.rotations.journal(tx, SCOPE, name, most=1000)[::-1]

    def events(self, name: str) -> list[str]:
        """What happened."""
        return [note.event for note in self.journal(name)]

    def epoch(self) -> float:
        """Now."""
        return to_epoch(self.clock.now())


@pytest.fixture
def account(house: House, clock: ManualClock) -> KeyAccount:
    """An account without keys."""
    return KeyAccount(house.rooms.database, house.keys, clock)
