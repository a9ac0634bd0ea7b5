"""KmsKeyId, what is sealed again, and the dates of accesses (aws-contract A5, A14)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.server import Server, fresh, fresh_region, refusal, token, until


@pytest.fixture(scope="module")
def keys(server: Server) -> dict[str, str]:
    """Two keys of us-east-1, one with an alias, and one of another Region: their ARNs."""
    elsewhere = fresh_region()
    alias = f"alias/{fresh('key')}"
    return {
        "one": server.kms_key(),
        "two": server.kms_key(alias=alias),
        "alias": alias,
        "elsewhere": server.kms_key(region=elsewhere),
    }


def key_ids(api: Any, name: str) -> dict[str, list[str]]:
    """The KmsKeyIds of each version."""
    listed = api.list_secret_version_ids(SecretId=name, IncludeDeprecated=True)["Versions"]
    return {entry["VersionId"]: entry["KmsKeyIds"] for entry in listed}


def test_a_secret_may_name_its_key(api: Any, name: str, keys: dict[str, str]) -> None:
    """By ARN, id or alias; DescribeSecret shows what was named, and a version the key that protects it."""
    account = "arn:aws:kms:us-east-1:123456789012"
    forms = {
        keys["one"]: keys["one"],
        keys["one"].rpartition("/")[2]: keys["one"],
        keys["alias"]: keys["two"],
        f"{account}:{keys['alias']}": keys["two"],
    }
    for number, (form, arn) in enumerate(forms.items()):
        secret = f"{name}/{number}"
        version = api.create_secret(Name=secret, SecretString="v", KmsKeyId=form)["VersionId"]
        assert form == api.describe_secret(SecretId=secret)["KmsKeyId"]
        assert {version: [arn]} == key_ids(api, secret)
        assert api.get_secret_value(SecretId=secret)["SecretString"] == "v"


@pytest.mark.parametrize("spelling", ["alias/aws/secretsmanager", "", "arn:aws:kms:us-east-1:123456789012:{}"])
def test_the_default_key_is_not_shown(server: Server, api: Any, name: str, spelling: str) -> None:
    """However it is spelled."""
    form = spelling.format("alias/aws/secretsmanager")
    version = api.create_secret(Name=name, SecretString="v", KmsKeyId=form)["VersionId"]
    assert "KmsKeyId" not in api.describe_secret(SecretId=name)
    assert {version: ["DefaultEncryptionKey"]} == key_ids(api, name)


@pytest.mark.parametrize(
    "key",
    [
        "alias/nobody-made-this",
        "00000000-0000-0000-0000-000000000000",
        "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000",
        "arn:aws:kms:us-east-1:999999999999:alias/aws/secretsmanager",
        "arn:aws:s3:::bucket",
        "not-quite-alias/aws/secretsmanager",
        "$elsewhere",
        "x" * 2048,
    ],
)
def test_a_key_that_cannot_be_used_is_refused(api: Any, name: str, keys: dict[str, str], key: str) -> None:
    """With EncryptionFailure, at creation and at an update; nothing changes."""
    key = keys["elsewhere"] if key == "$elsewhere" else key
    assert refusal(api.create_secret, Name=name, SecretString="v", KmsKeyId=key)[0] == "EncryptionFailure"
    assert refusal(api.describe_secret, SecretId=name)[0] == "ResourceNotFoundException"
    api.create_secret(Name=name, SecretString="v")
    assert refusal(api.update_secret, SecretId=name, Description="d", KmsKeyId=key)[0] == "EncryptionFailure"
    described = api.describe_secret(SecretId=name)
    assert set() == {"KmsKeyId", "Description"} & set(described)
    assert api.get_secret_value(SecretId=name)["SecretString"] == "v"


def test_a_new_key_seals_current_pending_and_previous_again(api: Any, name: str, keys: dict[str, str]) -> None:
    """The other versions stay under the key they were made with; every value can still be read."""
    one = keys["one"]
    versions = {letter: token() for letter in "ABCDE"}
    api.create_secret(Name=name, SecretString="A", ClientRequestToken=versions["A"], KmsKeyId=one)
    for letter, labels in {"B": ["mine"], "C": ["AWSCURRENT"], "D": ["AWSCURRENT"], "E": ["AWSPENDING"]}.items():
        api.put_secret_value(
            SecretId=name, SecretString=letter, ClientRequestToken=versions[letter], VersionStages=labels
        )
    answer = api.update_secret(SecretId=name, KmsKeyId=keys["alias"])
    assert "VersionId" not in answer
    expected = {"A": one, "B": one, "C": keys["two"], "D": keys["two"], "E": keys["two"]}
    assert {versions[letter]: [arn] for letter, arn in expected.items()} == key_ids(api, name)
    for letter, version in versions.items():
        assert letter == api.get_secret_value(SecretId=name, VersionId=version)["SecretString"]


def test_an_empty_key_goes_back_to_the_default(api: Any, name: str, keys: dict[str, str]) -> None:
    """For the current value, and for those to come."""
    version = api.create_secret(Name=name, SecretString="v", KmsKeyId=keys["one"])["VersionId"]
    api.update_secret(SecretId=name, KmsKeyId="")
    assert "KmsKeyId" not in api.describe_secret(SecretId=name)
    assert {version: ["DefaultEncryptionKey"]} == key_ids(api, name)
    assert api.get_secret_value(SecretId=name)["SecretString"] == "v"


def test_a_new_key_and_a_new_value_come_together(api: Any, name: str, keys: dict[str, str]) -> None:
    """The value is sealed with the new key."""
    old = api.create_secret(Name=name, SecretString="v")["VersionId"]
    new = api.update_secret(SecretId=name, KmsKeyId=keys["one"], SecretString="w")["VersionId"]
    assert {old: [keys["one"]], new: [keys["one"]]} == key_ids(api, name)
    assert api.get_secret_value(SecretId=name)["SecretString"] == "w"


def test_the_last_access_is_a_midnight(api: Any, name: str) -> None:
    """Absent until a value is read; then the day of the access, for the secret and for the version."""
    old = api.create_secret(Name=name, SecretString="v")["VersionId"]
    new = api.put_secret_value(SecretId=name, SecretString="w")["VersionId"]
    assert "LastAccessedDate" not in api.describe_secret(SecretId=name)
    api.list_secret_version_ids(SecretId=name)
    assert "LastAccessedDate" not in api.describe_secret(SecretId=name)
    before = midnight()
    changed = api.describe_secret(SecretId=name)["LastChangedDate"]
    api.get_secret_value(SecretId=name)
    accessed = until(lambda: api.describe_secret(SecretId=name).get("LastAccessedDate"))
    assert accessed in (before, midnight())
    assert changed == api.describe_secret(SecretId=name)["LastChangedDate"]
    listed = {entry["VersionId"]: entry for entry in api.list_secret_version_ids(SecretId=name)["Versions"]}
    assert accessed == listed[new]["LastAccessedDate"]
    assert "LastAccessedDate" not in listed[old]


def test_a_batch_is_an_access(api: Any, name: str) -> None:
    """Of each secret that it reads."""
    api.create_secret(Name=name, SecretString="v")
    api.batch_get_secret_value(SecretIdList=[name])
    assert until(lambda: api.describe_secret(SecretId=name).get("LastAccessedDate"))


def midnight() -> datetime:
    """That begins this UTC day."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
