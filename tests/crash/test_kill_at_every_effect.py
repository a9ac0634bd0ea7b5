"""kill -9 of the whole server before and after every effect of a rotation, for every strategy, on both stores."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from keywheel.rotation.built_in import built_in
from keywheel.rotator import Credential
from keywheel.strategies import AlternatingUsers
from tests.crash.process import Process, client
from tests.support.servers import PostgresServer

SETTLE_SECONDS = 30.0
STRATEGIES = sorted({strategy.NAME for name, strategy in built_in().items() if name.startswith("keywheel-postgres-")})


@dataclass
class Site:
    """A data directory, its store, and the live target."""

    data: Path
    database: list[str]
    postgres: PostgresServer

    def start(self) -> Process:
        """The ordinary server."""
        arguments = ["serve", "--data", str(self.data), "--port", "0", *self.database]
        return Process("keywheel", arguments, self.data / "server.log")

    def start_fused(self, process: str, point: int | None) -> Process:
        """The server with a fuse in one of its processes."""
        arguments = [
            "--data",
            str(self.data),
            "--process",
            process,
            "--record",
            str(self.data / "points"),
            *self.database,
        ]
        if point is not None:
            arguments += ["--point", str(point)]
        return Process("tests.crash.fused_server", arguments, self.data / "fused.log")

    def works(self, secret: dict[str, str]) -> bool:
        """Whether a credential logs in on the target."""
        try:
            self.postgres.connect(secret["username"], secret["password"]).close()
        except Exception:  # noqa: BLE001 - whatever the reason, it does not log in
            return False
        return True


@pytest.fixture
def site(database_url: str, tmp_path: Path, postgres: PostgresServer) -> Site:
    """An initialised data directory on each kind of store."""
    data = tmp_path / "data"
    database = ["--database", database_url]
    subprocess.run(
        [sys.executable, "-m", "keywheel", "init", "--data", str(data), *database],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return Site(data, database, postgres)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_server_killed_at_any_effect_of_a_rotation_completes_it_after_the_restart(site: Site, strategy: str) -> None:
    """After each kill, AWSCURRENT or a labelled value logs in; after the restart the rotation completes by itself."""
    points = {process: _record(site, strategy, process) for process in ("api", "engine")}
    assert any("target.set_password" in point for point in points["engine"]), points
    assert any("finish" in point or "_save" in point for point in points["engine"]), points
    for process, names in points.items():
        for number, name in enumerate(names):
            _kill_and_recover(site, strategy, process, number, name)
    print(
        f"{strategy}: killed at {len(points['api'])} points of the API, {len(points['engine'])} of the engine; 0 lost"
    )


def _record(site: Site, strategy: str, process: str) -> list[str]:
    """The points that an undisturbed rotation passes, in order."""
    name = _new_secret(site, strategy)
    server = site.start_fused(process, None)
    try:
        api = client(server.url(), site.data)
        _rotate(api, name, strategy, str(uuid.uuid4()))
        _wait_until_complete(api, name)
        time.sleep(0.5)  # the retirement that follows the last label
        assert server.stop() == 0
    finally:
        server.kill()
    return (site.data / "points").read_text(encoding="utf-8").splitlines()


def _kill_and_recover(site: Site, strategy: str, process: str, number: int, point: str) -> None:
    where = f"{process} {number} ({point})"
    name = _new_secret(site, strategy)
    token = str(uuid.uuid4())
    server = site.start_fused(process, number)
    before: dict[str, str] = {}
    try:
        # It may die before it answers, even while it starts; and then another program may get its port and answer.
        with suppress(BotoCoreError, ClientError, AssertionError, KeyError):
            api = client(server.url(), site.data)
            before = json.loads(api.get_secret_value(SecretId=name)["SecretString"])
            _rotate(api, name, strategy, token)
        assert server.died_within(SETTLE_SECONDS), f"no death at {where}"
    finally:
        server.kill()
    _check_nothing_lost(site, name, strategy, where)
    _recover(site, strategy, name, token, before, where)


def _check_nothing_lost(site: Site, name: str, strategy: str, where: str) -> None:
    """While the server is dead: a labelled value logs in; with alternating users, AWSCURRENT does."""
    labelled = _values_at_rest(site, name)
    working = sorted(label for label, value in labelled.items() if site.works(value))
    assert working, f"no known value logs in after the kill at {where}"
    if strategy == AlternatingUsers.NAME:
        assert "AWSCURRENT" in working, f"AWSCURRENT does not log in after the kill at {where}: {working}"


def _recover(site: Site, strategy: str, name: str, token: str, before: dict[str, str], where: str) -> None:
    server = site.start()
    try:
        api = client(server.url(), site.data)
        _rotate(api, name, strategy, token)  # as an SDK whose reply was lost; the same token starts nothing twice
        _wait_until_complete(api, name)
        now = api.get_secret_value(SecretId=name)
        value = json.loads(now["SecretString"])
        assert now["VersionId"] == token, where
        assert site.works(value), f"AWSCURRENT does not log in after the restart: {where}"
        if before and strategy != AlternatingUsers.NAME:
            assert not site.works(before), f"the old password still logs in: {where}"
    finally:
        server.kill()


def _rotate(api: Any, name: str, strategy: str, token: str) -> None:
    function = f"arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-{strategy}"
    answer = api.rotate_secret(SecretId=name, ClientRequestToken=token, RotationLambdaARN=function)
    assert answer["VersionId"] == token


def _wait_until_complete(api: Any, name: str) -> None:
    end = time.monotonic() + SETTLE_SECONDS
    stages: Any = None
    while time.monotonic() < end:
        stages = api.describe_secret(SecretId=name)["VersionIdsToStages"]
        if not any("AWSPENDING" in labels for labels in stages.values()):
            return
        time.sleep(0.05)
    raise AssertionError(f"the rotation is not complete: {stages}")


def _new_secret(site: Site, strategy: str) -> str:
    """A user on the target and its secret, with a superuser's beside it where the strategy needs one."""
    from tests.crash.ledger import create_secret

    user = f"u{uuid.uuid4().hex[:12]}"
    site.postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'first password'")
    fields: dict[str, Any] = dict(site.postgres.superuser.fields) | {"username": user, "password": "first password"}
    if strategy == AlternatingUsers.NAME:
        superuser: Credential = site.postgres.superuser
        fields["masterarn"] = create_secret(site.data, site.database, f"{user}-superuser", superuser.to_json().reveal())
    create_secret(site.data, site.database, user, json.dumps(fields))
    return user


def _values_at_rest(site: Site, name: str) -> dict[str, dict[str, str]]:
    """Every labelled value, read from the store while no server runs."""
    from tests.crash.ledger import labelled_values

    return labelled_values(site.data, site.database, name)
