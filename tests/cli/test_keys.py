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
    assert [(key["manager"], key["description"], key["aliases"]) for key in keys] == [
        ("CUSTOMER", "for bills", []),
        ("AWS", "Default key that protects my secrets", ["alias/aws/secretsmanager"]),
    ]
    assert keys[0]["arn"] == made["arn"]
    assert [(key["spec"], key["usage"], key["state"], key["rotation_days"]) for key in keys] == [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "Enabled", None),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "Enabled", 365),
    ]
    line = place.text("keys", "list").splitlines()[2]
    for word in ("alias/aws/secretsmanager", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "Enabled", "every 365 days"):
        assert word in line
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
    members = {
        "key_id", "arn", "aliases", "manager", "description", "spec", "usage", "algorithms", "state", "origin",
        "created", "material_id", "rotation_days", "next_rotation", "expires", "deletion", "last_used",
        "last_operation",
    }  # fmt: skip
    assert set(json.loads(place.run("keys", "list", "--json").stdout)["keys"][0]) == members
    assert set(place.json("keys", "show", made["key_id"])) == members | {"backing_keys", "secrets"}


def test_one_key_is_shown(place: Place) -> None:
    """By its id, its ARN or its alias; what has no value is a dash."""
    kms = place.server.client("kms", region=place.region)
    made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Description="signs bills")["KeyMetadata"]
    kms.create_alias(AliasName="alias/signing", TargetKeyId=made["KeyId"])
    for name in (made["KeyId"], made["Arn"], "alias/signing"):
        shown = place.json("keys", "show", name)
        assert (shown["arn"], shown["aliases"], shown["algorithms"]) == (
            made["Arn"],
            ["alias/signing"],
            ["ECDSA_SHA_256"],
        )
    kms.schedule_key_deletion(KeyId=made["KeyId"], PendingWindowInDays=7)
    lines = dict(line.split("  ", 1) for line in place.text("keys", "show", "alias/signing").splitlines())
    told = {name.strip(): text.strip() for name, text in lines.items()}
    assert (told["state"], told["rotation"], told["description"]) == ("PendingDeletion", "–", "signs bills")
    assert told["deletion"].endswith("UTC, in 6 d")
    assert b"does not exist" in place.run("keys", "show", "00000000-0000-4000-8000-000000000000", code=1).stderr
    assert b"not found" in place.run("keys", "show", "alias/nobodys", code=1).stderr
