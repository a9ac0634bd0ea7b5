"""Secrets in several Regions, under keys that rotate, and short ways to move their versions to current material."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import select

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import secret as s
from keywheel.db.tables import version as v
from keywheel.errors import KeywheelError
from keywheel.keys import ciphertext
from keywheel.keys.keyring import Key
from keywheel.secrets import wrapped
from keywheel.secrets.ledger import Draft, Secrets
from keywheel.secrets.reencryption import Page, Reencryption, Wanted
from keywheel.secrets.replicas import Replicas
from keywheel.secrets.rows import Secret
from keywheel.secrets.values import Value
from keywheel.secrets.wrapped import FIRST
from tests.keys.ring import HERE, Ring

T = TypeVar("T")

_ALL = Statement(select(s.c.arn, v.c.version_id, v.c.binary, v.c.key_arn, v.c.data_key, v.c.sealed).join_from(s, v))
_EVERYTHING = Wanted()


class Place:
    """A store with keys and secrets."""

    def __init__(self, database: Database) -> None:
        self.ring = Ring(database)
        self.secrets = Secrets(self.ring.keys)
        self.replicas = Replicas(self.secrets)
        self.room = Reencryption(self.secrets.vault)

    @property
    def database(self) -> Database:
        return self.ring.database

    # --- secrets

    def create(self, name: str, key: Key | str | None = None, text: str | None = "first", scope: Scope = HERE) -> str:
        """A new secret; the token of its first version."""
        token = str(uuid4())
        draft = Draft(name, kms_key_id=key.arn if isinstance(key, Key) else key)
        value = None if text is None else Value.of_text(text)
        self.ring.write(lambda tx: self.secrets.create(tx, scope, draft, self.ring.now, token=token, value=value))
        return token

    def do(self, name: str, work: Callable[[Tx, Secret], T], scope: Scope = HERE) -> T:
        """Change a secret, as a request does."""
        return self.ring.write(lambda tx: work(tx, self.secrets.find(tx, scope, name, lock=True, deleted=True)))

    def put(self, name: str, text: str, *labels: str) -> str:
        token, value = str(uuid4()), Value.of_text(text)
        self.do(name, lambda tx, secret: self.secrets.put(tx, secret, token, value, labels, self.ring.now))
        return token

    def use_key(self, name: str, key: Key | str) -> None:
        """As UpdateSecret does it."""

        def work(tx: Tx, secret: Secret) -> None:
            named = key.arn if isinstance(key, Key) else key
            self.secrets.rekey(tx, self.secrets.set(tx, secret, self.ring.now, kms_key_id=named), self.ring.now)

        self.do(name, work)

    def delete(self, name: str) -> None:
        self.do(name, lambda tx, secret: self.secrets.delete(tx, secret, window=timedelta(days=7), now=self.ring.now))

    def replicate(self, name: str, region: str, key: Key | None = None) -> None:
        wanted = [(region, None if key is None else key.arn)]
        self.do(name, lambda tx, secret: self.replicas.add(tx, secret, wanted, overwrite=False, now=self.ring.now))

    # --- what there is

    def rows(self) -> list[tuple[Any, ...]]:
        with self.database.read() as tx:
            return _ALL.all(tx)

    def values(self) -> dict[tuple[str, str], str | None]:
        """The value of every version of every secret; None where its key cannot be used."""
        found: dict[tuple[str, str], str | None] = {}
        with self.database.read() as tx:
            for arn, version_id, binary, _, data_key, sealed in _ALL.all(tx):
                if sealed is not None:
                    try:
                        value = self.secrets.vault._open(tx, arn, version_id, binary, data_key, sealed)
                    except KeywheelError:
                        found[arn, version_id] = None
                    else:
                        found[arn, version_id] = value.text().reveal()
        return found

    def heads(self) -> set[tuple[str, int]]:
        """Every backing key that something depends on."""
        return {ciphertext.backing_key(bytes(row[4][:21])) for row in self.rows() if row[4] is not None}

    def counts(self, key: Key) -> dict[int, int]:
        with self.database.read() as tx:
            return wrapped.dependants(tx, key.key_id)

    def default(self, scope: Scope = HERE) -> Key:
        return self.ring.find("alias/aws/secretsmanager", scope)

    def renew(self, key: Key) -> Key:
        """New material, whoever manages the key."""
        return self.ring.change(
            key, lambda tx, found: self.ring.keys.rotation._renew(tx, found, "AUTOMATIC", self.ring.now)
        )

    # --- moving

    def move(
        self, wanted: Wanted = _EVERYTHING, *, database: Any = None, account: str = HERE.account, dry_run: bool = False
    ) -> Page:
        """Every page; what was done altogether."""
        done, after = Page(), FIRST
        while True:
            page = self.room.page(
                database or self.database, account, wanted, self.ring.now, after=after, dry_run=dry_run
            )
            done.examined += page.examined
            done.moved += page.moved
            done.current += page.current
            done.left += page.left
            if page.after is None:
                return done
            after = page.after


class Interrupted(Exception):
    """A crash, or what stands for one."""


class Meddled:
    """A store in which something happens around each transaction of whoever holds it."""

    def __init__(self, database: Database, *, before: Callable[[int], None], after: Callable[[int], None]) -> None:
        self._database = database
        self._before, self._after = before, after
        self.writes = 0

    def read(self) -> AbstractContextManager[Tx]:
        return self._database.read()

    def write(self, work: Callable[[Tx], T]) -> T:
        self.writes += 1
        self._before(self.writes)
        outcome = self._database.write(work)
        self._after(self.writes)
        return outcome


def nothing(number: int) -> None:
    """Nothing happens."""
