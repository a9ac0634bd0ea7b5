"""A whole server is killed in the middle of many rotations behind aliases, again and again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError

from keywheel.cli.address import Address
from keywheel.cli.client import Client
from keywheel.credentials import read_credentials
from tests.support.keywheel_server import REGION, KeywheelServer

ALIASES = [f"alias/k{number}" for number in range(24)]
_PATIENCE = 90.0


@contextmanager
def client_of(server: KeywheelServer) -> Iterator[Client]:
    access_key_id, secret = read_credentials(server.data / "credentials")
    with Client(Address(server.url, REGION, access_key_id, secret)) as client:
        yield client


def succeeded(client: Client) -> int:
    listed = client.pages("keywheel.ListAliasRotations", "AliasRotations")
    return sum("LastRotated" in each and each["Step"] == "rest" for each in listed)


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    """One new key for each alias, no key that nothing names, and whenever the server is there, the alias answers."""
    with KeywheelServer(tmp_path, environment={"KEYWHEEL_LEASE_SECONDS": "10"}) as server:
        kms = server.client("kms")
        before = {name: _new_key(kms, name) for name in ALIASES}
        left = []
        for wave in range(3):
            left.append(_killed_while(server, ALIASES[wave::3], before=8 * wave))
            server.start()
            kms = server.client("kms")
            for name in ALIASES:
                _use(kms, name)
        assert any(left), "it was never killed in the middle"
        with client_of(server) as client:
            _waited_for(client, len(ALIASES))
        after = {name: kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] for name in ALIASES}
        assert not set(after.values()) & set(before.values())
        assert {key["KeyId"] for key in kms.list_keys()["Keys"]} == {*after.values(), *before.values()}
        with client_of(server) as client:
            for name in ALIASES:
                events = client.call("keywheel.ListAliasRotationEvents", AliasName=name)["Events"]
                assert Counter(each["Event"] for each in events) == dict.fromkeys(
                    ("KeyRotationStarted", "KeyCreated", "KeyTested", "KeyRotationSucceeded"), 1
                )


def _use(kms: Any, name: str) -> None:
    kms.sign(KeyId=name, Message=b"message", SigningAlgorithm="RSASSA_PSS_SHA_256")


def _new_key(kms: Any, name: str) -> str:
    key_id: str = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=name, TargetKeyId=key_id)
    return key_id


def _killed_while(server: KeywheelServer, names: list[str], *, before: int) -> int:
    """Let aliases rotate while somebody uses one, and kill the server when the first has moved; how many had not."""
    kms, stop, refused = server.client("kms"), threading.Event(), []

    def use() -> None:
        while not stop.is_set():
            try:
                _use(kms, ALIASES[-1])
            except BotoCoreError:
                return  # it is killed
            except Exception as error:  # noqa: BLE001 - told by the assertion below
                refused.append(error)
                return

    user = threading.Thread(target=use)
    user.start()
    with client_of(server) as client:
        for name in names:
            client.call("keywheel.StartAliasRotation", AliasName=name)
        done = _waited_for(client, before + 1)
        server.kill()
    stop.set()
    user.join()
    assert refused == []
    return before + len(names) - done


def _waited_for(client: Client, wanted: int) -> int:
    end = time.monotonic() + _PATIENCE
    while (done := succeeded(client)) < wanted:
        assert time.monotonic() < end
        time.sleep(0.01)
    return done
