"""kill -9 of the whole server in the middle of re-encryptions, while secrets are read and put, on both stores."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from keywheel.cli.address import Address
from keywheel.cli.client import Client, ServerAway, ServerRefused
from keywheel.credentials import read_credentials
from keywheel.db.database import Database, open_database
from keywheel.secrets import wrapped
from tests.support.keywheel_server import REGION, KeywheelServer

SECRETS, VERSIONS = 40, 8
KILLS = 2
_PATIENCE = 45.0
_LEASE = "being re-encrypted by somebody else"


@contextmanager
def client_of(server: KeywheelServer) -> Iterator[Client]:
    access_key_id, secret = read_credentials(server.data / "credentials")
    with Client(Address(server.url, REGION, access_key_id, secret)) as client:
        yield client


class Load:
    """Readers and writers of the secrets, who check every answer, until the server is gone."""

    def __init__(self, server: KeywheelServer, values: dict[tuple[str, str], str]) -> None:
        self._server = server
        self._values = values
        self._stop = threading.Event()
        self.wrong: list[str] = []
        self.answered = 0
        self._threads = [
            threading.Thread(target=self._run, args=(work,), daemon=True) for work in (self._read, self._put)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def runs(self) -> None:
        """Wait until there were answers."""
        end = time.monotonic() + _PATIENCE
        while self.answered < 10:
            assert time.monotonic() < end, self.wrong
            time.sleep(0.005)

    def _run(self, work: Any) -> None:
        api, chance = self._server.client(), random.Random(work.__name__)
        while not self._stop.is_set():
            try:
                work(api, chance)
                self.answered += 1
            except BotoCoreError:
                return  # it is killed
            except ClientError as error:
                self.wrong.append(str(error))
                return

    def _read(self, api: Any, chance: random.Random) -> None:
        (name, version), value = chance.choice(list(self._values.items()))
        found = api.get_secret_value(SecretId=name, VersionId=version)["SecretString"]
        if found != value:
            self.wrong.append(f"{name} {version}")

    def _put(self, api: Any, chance: random.Random) -> None:
        name, token, value = f"s{chance.randrange(SECRETS)}", str(uuid4()), uuid4().hex
        api.put_secret_value(SecretId=name, SecretString=value, ClientRequestToken=token)
        self._values[name, token] = value  # it was answered, so it stays


def test_a_server_killed_in_the_middle_has_lost_nothing(tmp_path: Path, database_url: str) -> None:
    """Every version that was answered opens to its value; the next run does the rest, and nothing is left behind."""
    values: dict[tuple[str, str], str] = {}
    with KeywheelServer(tmp_path, database_url) as server:
        api, kms = server.client(), server.client("kms")
        keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
        for number in range(SECRETS):
            name = f"s{number}"
            token, value = str(uuid4()), uuid4().hex
            members = {"KmsKeyId": keys[0]} if number % 2 else {}
            api.create_secret(Name=name, SecretString=value, ClientRequestToken=token, **members)
            values[name, token] = value
            for _ in range(VERSIONS - 1):
                token, value = str(uuid4()), uuid4().hex
                api.put_secret_value(SecretId=name, SecretString=value, ClientRequestToken=token)
                values[name, token] = value
        halves = 0
        for kill in range(KILLS):
            if kill == 1:
                for number in range(1, SECRETS, 2):
                    api.update_secret(SecretId=f"s{number}", KmsKeyId=keys[1])
            else:
                kms.rotate_key_on_demand(KeyId=keys[0])
            with Load(server, values) as load:
                load.runs()
                killer = threading.Thread(target=_kill_in_the_middle, args=(server, database_url, keys[0]), daemon=True)
                killer.start()
                _move_until_killed(server)
                killer.join()
            assert load.wrong == []
            server.start()
            api, kms = server.client(), server.client("kms")
            _all_there(server, values)
            halves += len([many for many in _counts(server, keys[0]).values() if many]) > (kill != 1)
        assert halves > 0, "it was never killed in the middle"
        done = _moved_to_the_end(server)
        assert done["left"] == []
        _all_there(server, values)
        for key in keys:
            current = server.client("kms").describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
            assert {material for material, many in _counts(server, key).items() if many} <= {current}
        assert sum(_counts(server, keys[0]).values()) == 0
        assert sum(_counts(server, keys[1]).values()) >= VERSIONS * SECRETS // 2


def _kill_in_the_middle(server: KeywheelServer, database_url: str, key: str) -> None:
    """Kill it as soon as versions have left a backing key, be others still under it or not."""
    with closing(open_database(database_url)) as database:
        before = now = _dependants(database, key)
        end = time.monotonic() + _PATIENCE
        while all(now.get(generation, 0) >= many for generation, many in before.items()):
            assert time.monotonic() < end
            now = _dependants(database, key)
        server.kill()


def _dependants(database: Database, key: str) -> dict[int, int]:
    with database.point() as tx:
        return wrapped.dependants(tx, key)


def _move_until_killed(server: KeywheelServer) -> None:
    """Re-encrypt over and over."""
    token = None
    with client_of(server) as client:
        while True:
            try:
                token = client.call("keywheel.ReencryptSecrets", NextToken=token).get("NextToken")
            except ServerAway:
                return
            except ServerRefused as error:
                if _LEASE not in error.message:
                    raise
                token = None
                time.sleep(0.01)


def _moved_to_the_end(server: KeywheelServer) -> dict[str, Any]:
    """By the command; the run that was killed may have to run out first."""
    end = time.monotonic() + _PATIENCE
    while True:
        done = server.keywheel("keys", "reencrypt", "--all", "--json")
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(done.stdout)
            return found
        assert _LEASE in done.stderr.decode(), done.stderr
        assert time.monotonic() < end
        time.sleep(0.5)


def _counts(server: KeywheelServer, key: str) -> dict[str, int]:
    shown = json.loads(server.keywheel("keys", "show", key, "--json").stdout)
    return {each["material_id"]: each["versions"] for each in shown["backing_keys"]}


def _all_there(server: KeywheelServer, values: dict[tuple[str, str], str]) -> None:
    api = server.client()
    for (name, version), value in list(values.items()):
        assert api.get_secret_value(SecretId=name, VersionId=version)["SecretString"] == value
