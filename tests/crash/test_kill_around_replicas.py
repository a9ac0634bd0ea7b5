"""kill -9 of the whole server before and after every transaction that changes a multi-Region key, on both stores."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from keywheel.arn import Scope
from keywheel.config import load_settings
from keywheel.credentials import read_credentials
from keywheel.keys.keyring import Key
from keywheel.keys.root.unseal import load_root_key
from keywheel.sensitive import Sensitive
from keywheel.server import build
from tests.crash.process import Process

ACCOUNT, HERE, THERE = "123456789012", "us-east-1", "eu-west-1"
SETTLE_SECONDS = 30.0


@dataclass
class Site:
    """A data directory and its store."""

    data: Path
    database: str

    def start(self, point: int | None) -> Process:
        """The server with a fuse in its API process."""
        arguments = ["--data", str(self.data), "--database", self.database, "--process", "api"]
        arguments += ["--record", str(self.data / "points"), "--only", "change"]
        arguments += [] if point is None else ["--point", str(point)]
        return Process("tests.crash.fused_server", arguments, self.data / "fused.log")

    def client(self, url: str, region: str) -> Any:
        """A client of KMS that sends each request once."""
        access_key_id, secret = read_credentials(self.data / "credentials")
        return boto3.client(
            "kms",
            endpoint_url=url,
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret.reveal(),
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
        )

    def keys(self, key_id: str) -> list[Key]:
        """The keys of both Regions as they are at rest, after each has opened what any of them sealed."""
        settings = load_settings({"data": str(self.data), "database": self.database}, {})
        house = build(settings, load_root_key(settings.root_key_path, lambda: Sensitive("")))
        keys, now = house.keys, house.rooms.clock.now()
        try:
            with house.rooms.database.read() as tx:
                here = keys.find(tx, Scope(ACCOUNT, HERE), key_id, now=now)
                related = keys.regions.related(tx, here)
                regions = (related.primary, *related.replicas)
                found = [keys.find(tx, Scope(ACCOUNT, region), key_id, now=now) for region in regions]
                blobs = [keys.ciphers.encrypt(tx, key, Sensitive(b"x")) for key in found]
                for key in found:
                    assert {keys.ciphers.decrypt(tx, key, blob).plaintext.reveal() for blob in blobs} == {b"x"}
            return found
        finally:
            house.close()


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Site:
    """An initialised data directory on each kind of store."""
    data = tmp_path / "data"
    command = [sys.executable, "-m", "keywheel", "init", "--data", str(data), "--database", database_url]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Site(data, database_url)


def _live(site: Site, url: str, made: list[str]) -> None:
    """The life of a multi-Region key."""
    here, there = site.client(url, HERE), site.client(url, THERE)
    made.append(here.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"])
    key = made[0]
    here.replicate_key(KeyId=key, ReplicaRegion=THERE, Tags=[{"TagKey": "a", "TagValue": "b"}])
    made.append("replica")
    here.rotate_key_on_demand(KeyId=key)
    made.append("rotation")
    here.update_primary_region(KeyId=key, PrimaryRegion=THERE)
    made.append("primary")
    there.rotate_key_on_demand(KeyId=key)


def test_no_half_replica_is_left_by_a_kill(site: Site) -> None:
    """The keys of both Regions agree at every instant, and what was answered is there."""
    server = site.start(None)
    try:
        _live(site, server.url(), [])
        assert server.stop() == 0
    finally:
        server.kill()
    points = (site.data / "points").read_text(encoding="utf-8").splitlines()
    assert len(points) == 8, points  # before and after each of four
    seen = {_killed_at(site, number, name) for number, name in enumerate(points)}
    # SQLite commits several requests at once: a kill after the last one's own work may come before that.
    assert seen - {(2, 3, THERE)} == {(1, 1, HERE), (2, 1, HERE), (2, 2, HERE), (2, 2, THERE)}


def _killed_at(site: Site, point: int, name: str) -> tuple[int, int, str]:
    """How many keys there are, which material they use, and where the primary is."""
    made: list[str] = []
    server = site.start(point)
    try:
        with suppress(BotoCoreError, ClientError):
            _live(site, server.url(), made)
        assert server.died_within(SETTLE_SECONDS), f"no death at {name}"
    finally:
        server.kill()
    found = site.keys(made[0])
    primary, *replicas = found
    assert (primary.multi_region, {key.multi_region for key in replicas}) in (
        ("PRIMARY", {"REPLICA"}),
        ("PRIMARY", set()),
    )
    assert {key.state for key in found} == {"Enabled"}
    assert len({key.material_id for key in found}) == 1
    assert all(key.tags == {"a": "b"} for key in found if key.region == THERE)
    assert "replica" not in made or replicas
    assert "rotation" not in made or primary.generation > 1
    assert "primary" not in made or primary.region == THERE
    return len(found), primary.generation, primary.region
