"""A secret that is replicated, and the few calls that the tests of replicas make."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import uuid4

from sqlalchemy import delete

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import backing_key, kms_key
from keywheel.keys.keyring import Key, Keys
from keywheel.secrets import rows
from keywheel.secrets.labels import CURRENT, Labels
from keywheel.secrets.ledger import Draft, Secrets
from keywheel.secrets.replicas import Replicas
from keywheel.secrets.rows import Replica, Secret, Version
from keywheel.secrets.values import Value
from keywheel.sensitive import Sensitive

R = TypeVar("R")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
HOME, AWAY, FAR = "eu-west-1", "us-east-1", "ap-south-1"
NAME = "prod/db"


@dataclass
class House:
    """A store with one secret at home, and the few calls that the tests make."""

    database: Database
    account: str = field(default_factory=lambda: f"{uuid4().int % 10**12:012}")

    def __post_init__(self) -> None:
        self.keys = Keys(Sensitive(os.urandom(32)))
        self.secrets = Secrets(self.keys)
        self.replicas = Replicas(self.secrets)
        self.write(self.keys.bind)
        self.first = self.create(HOME, "first")

    def write(self, work: Callable[[Tx], R]) -> R:
        return self.database.write(work)

    def scope(self, region: str) -> Scope:
        return Scope(self.account, region)

    def create(self, region: str, text: str | None, name: str = NAME) -> str:
        """A new secret; the token of its first version."""
        token, value = str(uuid4()), None if text is None else Value.of_text(text)
        self.write(lambda tx: self.secrets.create(tx, self.scope(region), Draft(name), NOW, token=token, value=value))
        return token

    def do(self, work: Callable[[Tx, Secret], R], region: str = HOME) -> R:
        """Write with the locked secret of a Region, as a request does."""
        return self.write(lambda tx: work(tx, self.secrets.find(tx, self.scope(region), NAME, lock=True)))

    def look(self, work: Callable[[Tx, Secret], R], region: str = HOME) -> R:
        """Read with the secret of a Region."""
        with self.database.read() as tx:
            return work(tx, self.secrets.find(tx, self.scope(region), NAME))

    def secret(self, region: str = HOME) -> Secret:
        return self.look(lambda _, secret: secret, region)

    def exists(self, region: str) -> bool:
        with self.database.read() as tx:
            return rows.secret_by_name.first(tx, account=self.account, region=region, name=NAME) is not None

    def add(self, *regions: str, key: Key | None = None, overwrite: bool = False, to: str = HOME) -> list[Replica]:
        wanted = [(region, None if key is None else key.arn) for region in regions]
        return self.do(lambda tx, secret: self.replicas.add(tx, secret, wanted, overwrite=overwrite, now=NOW), to)

    def remove(self, *regions: str) -> list[Replica]:
        return self.do(lambda tx, secret: self.replicas.remove(tx, secret, regions, NOW))

    def stop(self, replica: Secret) -> Secret:
        return self.write(lambda tx: self.replicas.stop(tx, replica, LATER))

    def put(self, text: str, *stages: str, token: str | None = None, now: datetime = LATER) -> str:
        given, value = token or str(uuid4()), Value.of_text(text)
        self.do(lambda tx, secret: self.secrets.put(tx, secret, given, value, stages, now))
        return given

    def describe(self, **columns: object) -> None:
        """Change metadata of the primary."""
        self.do(lambda tx, secret: self.secrets.set(tx, secret, LATER, **columns))

    def reserve(self) -> str:
        token = str(uuid4())
        self.do(lambda tx, secret: self.secrets.reserve(tx, secret, token, LATER))
        return token

    def relabel(self, after: Labels) -> None:
        self.do(lambda tx, secret: self.secrets.relabel(tx, secret, after, LATER))

    def touch(self, region: str) -> None:
        """The value of a Region was read."""
        self.do(lambda tx, secret: self.secrets.touch(tx, secret.id, self.first, NOW), region)

    def purge(self) -> None:
        self.do(lambda tx, secret: self.secrets.purge(tx, secret, NOW))

    def labels(self, region: str = HOME) -> Labels:
        return self.look(self.secrets.labels, region)

    def version(self, version_id: str, region: str = HOME) -> Version:
        found = self.look(lambda tx, secret: self.secrets.version(tx, secret, version_id), region)
        assert found is not None
        return found

    def versions(self, region: str = HOME) -> set[str]:
        return self.look(lambda tx, secret: {row[0] for row in rows.versions.all(tx, secret_id=secret.id)}, region)

    def open(self, version: Version, region: str = HOME) -> Value | None:
        return self.look(lambda tx, secret: self.secrets.open(tx, secret, version), region)

    def text(self, region: str = HOME, *, label: str = CURRENT) -> str:
        """What GetSecretValue answers in a Region."""
        with self.database.read() as tx:
            reading = self.secrets.vault.read(tx, self.scope(region), NAME, version_id=None, label=label, now=NOW)
        return reading.value.text().reveal()

    def status(self, region: str = HOME) -> list[tuple[Replica, float | None]]:
        return self.look(self.replicas.status, region)

    def key(self, region: str) -> Key:
        return self.write(lambda tx: self.keys.create(tx, self.scope(region), description="ours", now=NOW))

    def lose(self, key: Key) -> None:
        """The key and its material are gone."""
        self.write(lambda tx: Statement(delete(kms_key).where(kms_key.c.key_id == key.key_id)).run(tx))
        self.write(lambda tx: Statement(delete(backing_key).where(backing_key.c.key_id == key.key_id)).run(tx))
