"""`keywheel keys reencrypt` and what `keywheel keys show` counts, on a running server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from keywheel.arn import Scope
from keywheel.clock import SystemClock
from keywheel.config import load_settings
from keywheel.keys.root.unseal import load_root_key
from keywheel.sensitive import Sensitive
from keywheel.server import build
from tests.cli.conftest import Place
from tests.support.keywheel_server import ACCOUNT


def kms(place: Place) -> Any:
    return place.server.client("kms", region=place.region)


def new_key(place: Place, **members: Any) -> str:
    key_id: str = kms(place).create_key(**members)["KeyMetadata"]["KeyId"]
    return key_id


def versions(place: Place, key: str) -> dict[int, int]:
    """How many versions each backing key wraps."""
    return {each["generation"]: each["versions"] for each in place.json("keys", "show", key)["backing_keys"]}


def fill(place: Place, name: str, key: str | None, values: int) -> dict[str, str]:
    """A secret with some versions, most of them without a label: their values."""
    members = {} if key is None else {"KmsKeyId": key}
    first = place.client.create_secret(Name=name, SecretString="value 0", **members)["VersionId"]
    found = {first: "value 0"}
    for number in range(1, values):
        text = f"value {number}"
        found[place.client.put_secret_value(SecretId=name, SecretString=text)["VersionId"]] = text
    return found


def read(place: Place, name: str, values: dict[str, str]) -> dict[str, str]:
    return {
        version: place.client.get_secret_value(SecretId=name, VersionId=version)["SecretString"] for version in values
    }


def test_what_depends_on_a_key_is_counted(place: Place) -> None:
    """Per backing key, with the secrets that use it; and it is said what cannot be known."""
    key = new_key(place)
    kms(place).create_alias(AliasName="alias/counted", TargetKeyId=key)
    fill(place, "a", key, 3)
    kms(place).rotate_key_on_demand(KeyId=key)
    fill(place, "b", "alias/counted", 2)
    shown = place.json("keys", "show", key)
    assert [(each["generation"], each["current"], each["versions"]) for each in shown["backing_keys"]] == [
        (1, False, 3),
        (2, True, 2),
    ]
    assert shown["backing_keys"][1]["material_id"] == shown["material_id"]
    assert shown["secrets"] == 2
    text = place.text("keys", "show", key)
    assert "5 versions of secrets under it; 2 secrets of its Region use it." in text
    assert "nobody can know of them" in text


def test_the_default_key_and_other_kinds(place: Place) -> None:
    """The default key's secrets name no key; a key that encrypts no secret has no such table."""
    fill(place, "a", None, 2)
    shown = place.json("keys", "show", "alias/aws/secretsmanager")
    assert ([each["versions"] for each in shown["backing_keys"]], shown["secrets"]) == ([2], 1)
    signing = new_key(place, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    assert place.json("keys", "show", signing)["backing_keys"] == []
    assert "backing key" not in place.text("keys", "show", signing).lower()


def test_versions_move_under_current_material(place: Place) -> None:
    """By the key's id or alias, all of it or one generation, or first without doing it."""
    key = new_key(place)
    kms(place).create_alias(AliasName="alias/moved", TargetKeyId=key)
    values = fill(place, "s", key, 4)
    kms(place).rotate_key_on_demand(KeyId=key)
    tried = place.text("keys", "reencrypt", "--key", "alias/moved", "--dry-run")
    assert tried.startswith("4 versions would be moved; 0 under the current material already;")
    assert versions(place, key) == {1: 4, 2: 0}
    assert place.json("keys", "reencrypt", "--key", key, "--from-generation", "2")["moved"] == 0
    done = place.json("keys", "reencrypt", "--key", key)
    assert (done["moved"], done["current"], done["left"], done["dry_run"]) == (4, 0, [], False)
    assert done["examined"] == done["total"]
    assert versions(place, key) == {1: 0, 2: 4}
    assert read(place, "s", values) == values
    assert place.json("keys", "reencrypt", "--key", key)["moved"] == 0


def test_all_secrets_of_every_region_at_once(place: Place) -> None:
    """Also those of a Region that the command was not told of."""
    key = new_key(place)
    fill(place, "s", key, 2)
    kms(place).rotate_key_on_demand(KeyId=key)
    elsewhere = "eu-central-1" if place.region != "eu-central-1" else "eu-west-2"
    done = place.server.keywheel("keys", "reencrypt", "--all", "--json", "--region", elsewhere)
    assert done.returncode in (0, 1), done.stderr  # another test's secrets may be kept back by their keys
    assert versions(place, key) == {1: 0, 2: 2}


def test_what_is_left_is_told(place: Place) -> None:
    """With the secret, the version and the reason, and an exit code."""
    key = new_key(place)
    (version,) = fill(place, "s", key, 1)
    kms(place).rotate_key_on_demand(KeyId=key)
    kms(place).disable_key(KeyId=key)
    (left,) = place.json("keys", "reencrypt", "--key", key, code=1)["left"]
    assert (left["version_id"], ":secret:s-" in left["secret"], key in left["reason"]) == (version, True, True)
    text = place.text("keys", "reencrypt", "--key", key, code=1)
    assert "1 version left." in text
    assert version in text
    kms(place).enable_key(KeyId=key)
    assert place.json("keys", "reencrypt", "--key", key)["moved"] == 1


@pytest.mark.parametrize(
    "arguments", [[], ["--all", "--key", "alias/x"], ["--all", "--from-generation", "1"], ["--key", "alias/none"]]
)
def test_it_must_be_said_what_is_meant(place: Place, arguments: list[str]) -> None:
    """One key that exists, or all."""
    place.run("keys", "reencrypt", *arguments, code=1 if arguments == ["--key", "alias/none"] else 2)


def test_a_key_is_left_for_good(place: Place) -> None:
    """A new key for its secrets, the versions moved, nothing left under the former one, and it is deleted."""
    former, present = new_key(place), new_key(place)
    values = {name: fill(place, name, former, 5) for name in ("a", "b")}
    kms(place).rotate_key_on_demand(KeyId=former)
    for name in values:
        place.client.update_secret(SecretId=name, KmsKeyId=present)
    assert place.json("keys", "show", former)["secrets"] == 0
    assert sum(versions(place, former).values()) == 6  # those without a label
    assert place.json("keys", "reencrypt", "--key", former)["moved"] == 6
    assert versions(place, former) == {1: 0, 2: 0}
    kms(place).schedule_key_deletion(KeyId=former, PendingWindowInDays=7)
    sweep(place, timedelta(days=8))
    with pytest.raises(ClientError, match="NotFoundException"):
        kms(place).describe_key(KeyId=former)
    for name, expected in values.items():
        assert read(place, name, expected) == expected


def sweep(place: Place, later: timedelta) -> None:
    """What the engine does once a minute, at another time."""
    settings = load_settings({"data": str(place.server.data)}, {})
    house = build(settings, load_root_key(settings.root_key_path, lambda: Sensitive("")))
    try:
        now = SystemClock().now() + later
        purged = house.rooms.database.write(lambda tx: house.keys.lifecycle.purge_due(tx, now))
        assert Scope(ACCOUNT, place.region) in {key.scope for key in purged}
    finally:
        house.close()
