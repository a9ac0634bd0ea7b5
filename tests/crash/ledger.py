"""The ledger without a server: what a crash left, read from the store; and secrets, made before one starts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keywheel.arn import Scope
from keywheel.config import load_settings
from keywheel.keys.root.unseal import load_root_key
from keywheel.secrets.ledger import Draft
from keywheel.secrets.values import Value
from keywheel.sensitive import Sensitive
from keywheel.server import House, build

SCOPE = Scope("123456789012", "us-east-1")


@contextmanager
def opened(data: Path, database: list[str]) -> Iterator[House]:
    """The rooms over the store of a data directory."""
    settings = load_settings({"data": str(data), "database": database[-1] if database else None}, {})
    house = build(settings, load_root_key(settings.root_key_path, lambda: Sensitive("")))
    try:
        yield house
    finally:
        house.close()


def create_secret(data: Path, database: list[str], name: str, value: str) -> str:
    """A new secret; its ARN."""
    with opened(data, database) as house:
        rooms = house.rooms
        now = rooms.clock.now()
        secret, _ = rooms.database.write(
            lambda tx: rooms.secrets.create(
                tx, SCOPE, Draft(name), now, token=str(uuid.uuid4()), value=Value.of_text(value)
            )
        )
        return secret.arn


def labelled_values(data: Path, database: list[str], name: str) -> dict[str, dict[str, str]]:
    """The value under each label that has one."""
    found: dict[str, dict[str, str]] = {}
    with opened(data, database) as house, house.rooms.database.read() as tx:
        secrets = house.rooms.secrets
        secret = secrets.find(tx, SCOPE, name)
        for label, version_id in secrets.labels(tx, secret).items():
            version = secrets.version(tx, secret, version_id)
            value = None if version is None else secrets.open(tx, secret, version)
            if value is not None:
                found[label] = json.loads(value.text().reveal())
    return found
