"""The keys of one store, with a clock, and short ways to use them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.keys.ciphers import Opened
from keywheel.keys.keyring import Key, Keys
from keywheel.keys.rotation import Status
from keywheel.sensitive import Sensitive

T = TypeVar("T")

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE, THERE, THEIRS = Scope("1" * 12, "eu-west-1"), Scope("1" * 12, "us-east-1"), Scope("2" * 12, "eu-west-1")


class Ring:
    """Every call finds the key anew, as a request does, in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.root = Sensitive(os.urandom(32))
        self.keys = Keys(self.root)
        self.now = START
        database.write(self.keys.bind)

    def restart(self) -> None:
        """Forget all that is remembered in memory."""
        self.keys = Keys(self.root)

    def wait(self, **duration: float) -> None:
        """Let time pass."""
        self.now += timedelta(**duration)

    # --- keys

    def make(self, spec: str | None = None, usage: str | None = None, origin: str = "AWS_KMS", **given: Any) -> Key:
        """A new key."""
        draft = self.keys.draft(spec, usage, origin)
        scope = given.pop("scope", HERE)
        return self.database.write(
            lambda tx: self.keys.create(tx, scope, description="", now=self.now, draft=draft, **given)
        )

    def find(self, key: Key | str, scope: Scope = HERE) -> Key:
        """A key as it stands."""
        key_id = key if isinstance(key, str) else key.key_id
        with self.database.read() as tx:
            return self.keys.find(tx, scope, key_id, now=self.now, aliases=True)

    def change(self, key: Key, work: Callable[[Tx, Key], T]) -> T:
        """Do something to a locked key."""

        def transaction(tx: Tx) -> T:
            return work(tx, self.keys.find(tx, key.scope, key.key_id, now=self.now, lock=True))

        return self.database.write(transaction)

    def use(self, key: Key | str, work: Callable[[Tx, Key], T]) -> T:
        """Read with a key."""
        key_id = key if isinstance(key, str) else key.key_id
        with self.database.read() as tx:
            return work(tx, self.keys.find(tx, HERE, key_id, now=self.now, aliases=True))

    def write(self, work: Callable[[Tx], T]) -> T:
        """Do something that finds its keys itself."""
        return self.database.write(work)

    # --- the life of a key

    def enable(self, key: Key) -> Key:
        return self.change(key, lambda tx, found: self.keys.lifecycle.enable(tx, found, self.now))

    def disable(self, key: Key) -> Key:
        return self.change(key, self.keys.lifecycle.disable)

    def schedule(self, key: Key, days: int | None = None) -> Key:
        return self.change(key, lambda tx, found: self.keys.lifecycle.schedule_deletion(tx, found, days, self.now))

    def cancel(self, key: Key) -> Key:
        return self.change(key, self.keys.lifecycle.cancel_deletion)

    def rotate(self, key: Key) -> Key:
        return self.change(key, lambda tx, found: self.keys.rotation.on_demand(tx, found, self.now))

    def status(self, key: Key) -> Status:
        """How a key rotates by itself."""
        with self.database.read() as tx:
            return self.keys.rotation.status(tx, key)

    # --- what a key does

    def encrypt(self, key: Key | str, plaintext: bytes, context: dict[str, str] | None = None, **given: Any) -> bytes:
        secret = Sensitive(plaintext)
        return self.use(key, lambda tx, found: self.keys.ciphers.encrypt(tx, found, secret, context or {}, **given))

    def open(self, key: Key | str, blob: bytes, context: dict[str, str] | None = None, **given: Any) -> Opened:
        return self.use(key, lambda tx, found: self.keys.ciphers.decrypt(tx, found, blob, context or {}, **given))

    def decrypt(self, blob: bytes, context: dict[str, str] | None = None) -> bytes:
        """The plaintext of a ciphertext that names its key."""
        with self.database.read() as tx:
            key = self.keys.of_ciphertext(tx, HERE, blob, now=self.now)
            return self.keys.ciphers.decrypt(tx, key, blob, context or {}).plaintext.reveal()

    def sign(self, key: Key | str, message: bytes, algorithm: str, message_type: str = "RAW") -> bytes:
        return self.use(key, lambda tx, it: self.keys.signatures.sign(tx, it, message, algorithm, message_type))

    def verify(self, key: Key, message: bytes, signature: bytes, algorithm: str, message_type: str = "RAW") -> None:
        self.use(key, lambda tx, it: self.keys.signatures.verify(tx, it, message, signature, algorithm, message_type))

    def mac(self, key: Key, message: bytes, algorithm: str) -> bytes:
        return self.use(key, lambda tx, found: self.keys.signatures.generate_mac(tx, found, message, algorithm))

    def public(self, key: Key) -> bytes:
        return self.use(key, self.keys.signatures.public_key)
