"""`keywheel keys`, on the data directory of a running server."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Place


def test_a_key_protects_secrets_at_once(place: Place) -> None:
    """A running server takes its id, its ARN or its alias as KmsKeyId."""
    made = place.json("keys", "create", "--alias", "alias/billing", "--description", "for bills")
    for number, key in enumerate((made["key_id"], made["arn"], "alias/billing")):
        place.run("secrets", "create", f"s{number}", "--generate", "--kms-key-id", key)
        place.run("secrets", "get", f"s{number}", "--reveal")
    versions = place.client.list_secret_version_ids(SecretId="s2")["Versions"]
    assert versions[0]["KmsKeyIds"] == [made["arn"]]


def test_keys_are_listed(place: Place) -> None:
    """Those of one account and Region; the default key is there once it was needed."""
    made = place.json("keys", "create", "--description", "for bills")
    place.run("secrets", "create", "s", "--generate")
    keys = place.json("keys", "list")["keys"]
    assert [(key["manager"], key["description"]) for key in keys] == [
        ("CUSTOMER", "for bills"),
        ("AWS", "Default key that protects my secrets"),
    ]
    assert keys[0]["arn"] == made["arn"]
    assert place.text("keys", "list", "--account", "210987654321").startswith("0 keys in account 210987654321")


@pytest.mark.parametrize("alias", ["billing", "alias/", "alias/aws/mine", "alias/with space"])
def test_an_alias_has_awss_form(place: Place, alias: str) -> None:
    """Names under alias/aws/ are not for customers."""
    assert b"--alias must look like" in place.run("keys", "create", "--alias", alias, code=1).stderr
    assert place.json("keys", "list") == {"keys": []}


def test_an_alias_names_one_key(place: Place) -> None:
    """It is not moved, and no second key is made."""
    place.run("keys", "create", "--alias", "alias/billing")
    assert b"already" in place.run("keys", "create", "--alias", "alias/billing", code=1).stderr
    assert len(place.json("keys", "list")["keys"]) == 1


def test_the_material_is_not_shown(place: Place) -> None:
    """A key has an ARN, and nothing else leaves the database."""
    made = place.json("keys", "create")
    assert set(made) == {"key_id", "arn", "alias", "description"}
    assert set(json.loads(place.run("keys", "list", "--json").stdout)["keys"][0]) == {
        "key_id", "arn", "manager", "description", "created"
    }  # fmt: skip
