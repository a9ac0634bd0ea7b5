"""Keys of the schema before this one: what they encrypted opens, and an AWS managed key rotates from now on."""

from __future__ import annotations

import os
import struct
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keywheel.db import migrations
from keywheel.db.database import open_database
from keywheel.db.schema import migrate, migration_engine
from keywheel.keys.keyring import DEFAULT_ALIAS
from keywheel.keys.rotation import Status
from tests.keys.ring import HERE, START, Ring
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

IDS = {"AWS": str(uuid.uuid4()), "CUSTOMER": str(uuid.uuid4())}
YEAR = 365 * 86_400.0


@pytest.fixture(params=["sqlite", "postgresql"])
def older_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store of each kind with the schema 0002."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/older.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"kw_{uuid.uuid4().hex[:12]}"
        server.execute(f"CREATE DATABASE {name}")
        url = postgres_url(server, name)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    with migration_engine(url).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    return url


def sealed(key: bytes, plaintext: bytes, authenticated: bytes) -> bytes:
    """As every keywheel has sealed: nonce, ciphertext, tag."""
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, authenticated)


def test_keys_of_the_former_schema_go_on(older_url: str) -> None:
    """Their rows and blobs are written here as the former program wrote them."""
    blobs = {}
    with closing(open_database(older_url)) as database:
        ring = Ring(database)
        for manager, key_id in IDS.items():
            backing, head = os.urandom(32), struct.pack(">B16sI", 1, uuid.UUID(key_id).bytes, 1)
            handle = sealed(ring.root.reveal(), backing, head)
            mark = "?" if older_url.startswith("sqlite") else "%s"
            for table, row in (
                ("kms_key", ("1" * 12, "eu-west-1", key_id, manager, "", START.timestamp())),
                ("backing_key", (key_id, 1, handle, START.timestamp())),
                ("kms_alias", ("1" * 12, "eu-west-1", f"alias/{manager}", key_id)),
            ):
                sql = f"INSERT INTO {table} VALUES ({', '.join(mark for _ in row)})"
                database.write(lambda tx, sql=sql, row=row: tx.execute(sql, row))  # type: ignore[misc]
            blobs[manager] = head + sealed(backing, b"a data key", head + b"")
        migrate(older_url)
    with closing(open_database(older_url)) as database:
        ring.database = database
        for manager, key_id in IDS.items():
            key = ring.find(f"alias/{manager}")
            assert (key.key_id, key.spec, key.state, key.generation) == (key_id, "SYMMETRIC_DEFAULT", "Enabled", 1)
            assert ring.decrypt(blobs[manager]) == b"a data key"
            with database.read() as tx:
                assert ring.keys.decrypt(tx, blobs[manager], b"").reveal() == b"a data key"
        managed, own = ring.find("alias/AWS"), ring.find("alias/CUSTOMER")
        assert ring.status(managed) == Status(True, 365, START.timestamp() + YEAR)
        assert ring.status(own) == Status(False, None, None)
        rotated = ring.rotate(own)
        assert ring.open(rotated, blobs["CUSTOMER"]).plaintext.reveal() == b"a data key"
        assert (
            ring.write(lambda tx: ring.keys.default(tx, HERE, now=ring.now)).key_id == ring.find(DEFAULT_ALIAS).key_id
        )
