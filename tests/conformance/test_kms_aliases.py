"""Aliases over the wire: names that move from one key to another."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.conformance.server import Server, fresh_region, refusal
from tests.conformance.test_kms_keys import new
from tests.support.keywheel_server import ACCOUNT, REGION


def arn(alias: str) -> str:
    """The ARN of an alias of the account."""
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"


@pytest.fixture
def alias() -> str:
    """A name that no other test uses."""
    return f"alias/Some_name-{uuid.uuid4()}/of/it"


def test_an_alias_points_to_one_key_and_moves(kms: Any, alias: str) -> None:
    """Encryption by the name follows; what was encrypted before is opened still, for the ciphertext names its key."""
    first, second = new(kms), new(kms)
    kms.create_alias(AliasName=alias, TargetKeyId=first["KeyId"])
    old = kms.encrypt(KeyId=alias, Plaintext=b"x")
    (entry,) = kms.list_aliases(KeyId=first["KeyId"])["Aliases"]
    assert (entry["AliasName"], entry["AliasArn"], entry["TargetKeyId"]) == (alias, arn(alias), first["KeyId"])
    assert entry["CreationDate"] == entry["LastUpdatedDate"]

    kms.update_alias(AliasName=alias, TargetKeyId=second["Arn"])
    new_one = kms.encrypt(KeyId=arn(alias), Plaintext=b"x")
    assert (old["KeyId"], new_one["KeyId"]) == (first["Arn"], second["Arn"])
    assert kms.decrypt(CiphertextBlob=old["CiphertextBlob"])["KeyId"] == first["Arn"]
    assert refusal(kms.decrypt, CiphertextBlob=old["CiphertextBlob"], KeyId=alias)[0] == "IncorrectKeyException"
    assert kms.list_aliases(KeyId=first["KeyId"])["Aliases"] == []
    (moved,) = kms.list_aliases(KeyId=second["Arn"])["Aliases"]
    assert moved["CreationDate"] == entry["CreationDate"] < moved["LastUpdatedDate"]

    kms.delete_alias(AliasName=alias)
    missing = ("NotFoundException", f"Alias {arn(alias)} is not found.")
    assert refusal(kms.describe_key, KeyId=alias) == missing
    assert refusal(kms.delete_alias, AliasName=alias) == missing
    assert refusal(kms.update_alias, AliasName=alias, TargetKeyId=first["KeyId"]) == missing
    kms.create_alias(AliasName=alias, TargetKeyId=first["KeyId"])


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        (
            "billing",
            "ValidationException",
            'Alias must start with the prefix "alias/". Please see '
            "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
        ),
        (
            "alias/with:colon",
            "ValidationException",
            "alias/with:colon contains invalid characters for an alias",
        ),
        (
            "alias/with space",
            "ValidationException",
            "1 validation error detected: Value 'alias/with space' at 'aliasName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
        ),
        (
            "alias/" + "x" * 251,
            "ValidationException",
            f"1 validation error detected: Value 'alias/{'x' * 251}' at 'aliasName' failed to satisfy constraint: "
            "Member must have length less than or equal to 256",
        ),
        ("alias/aws/mine", "NotAuthorizedException", None),
    ],
    ids=["prefix", "colon", "space", "long", "reserved"],
)
def test_an_alias_has_awss_form(kms: Any, name: str, code: str, text: str | None) -> None:
    """Whatever is done with it."""
    key_id = new(kms)["KeyId"]
    for call, members in (
        (kms.create_alias, {"TargetKeyId": key_id}),
        (kms.update_alias, {"TargetKeyId": key_id}),
        (kms.delete_alias, {}),
    ):
        refused = refusal(call, AliasName=name, **members)
        assert refused[0] == code
        assert text is None or refused[1] == text


def test_a_name_is_taken_once(kms: Any, alias: str) -> None:
    """By another key, and by the same one; case matters."""
    key = new(kms)["KeyId"]
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    for other in (key, new(kms)["KeyId"]):
        assert refusal(kms.create_alias, AliasName=alias, TargetKeyId=other) == (
            "AlreadyExistsException",
            f"An alias with the name {arn(alias)} already exists",
        )
    kms.create_alias(AliasName=alias.upper().replace("ALIAS/", "alias/"), TargetKeyId=key)


def test_an_alias_points_to_no_alias(kms: Any, alias: str) -> None:
    """Nor to nothing."""
    key = new(kms)["KeyId"]
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    for target in (alias, arn(alias)):
        refused = ("ValidationException", "Aliases must refer to keys. Not aliases")
        assert refusal(kms.create_alias, AliasName=alias + "2", TargetKeyId=target) == refused
        assert refusal(kms.update_alias, AliasName=alias, TargetKeyId=target) == refused
    nobodys = str(uuid.uuid4())
    assert refusal(kms.create_alias, AliasName=alias + "2", TargetKeyId=nobodys)[0] == "NotFoundException"


def test_an_alias_moves_to_keys_of_its_kind_and_usage(kms: Any, alias: str) -> None:
    """Another spec of the same kind will do."""
    p256, p384, mac = (
        new(kms, KeySpec=spec, KeyUsage=usage)["KeyId"]
        for spec, usage in (
            ("ECC_NIST_P256", "SIGN_VERIFY"),
            ("ECC_NIST_P384", "SIGN_VERIFY"),
            ("HMAC_256", "GENERATE_VERIFY_MAC"),
        )
    )
    agrees = new(kms, KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyId"]
    kms.create_alias(AliasName=alias, TargetKeyId=p256)
    kms.update_alias(AliasName=alias, TargetKeyId=p384)
    for target in (mac, agrees, new(kms)["KeyId"]):
        assert refusal(kms.update_alias, AliasName=alias, TargetKeyId=target)[0] == "ValidationException"
    assert kms.list_aliases(KeyId=p384)["Aliases"][0]["AliasName"] == alias


def test_an_alias_leaves_a_key_on_its_way_out_and_does_not_go_to_one(kms: Any, alias: str) -> None:
    """So that a name can be saved."""
    leaving, staying = new(kms), new(kms)
    kms.create_alias(AliasName=alias, TargetKeyId=leaving["KeyId"])
    kms.schedule_key_deletion(KeyId=leaving["KeyId"])
    kms.update_alias(AliasName=alias, TargetKeyId=staying["KeyId"])
    refused = ("KMSInvalidStateException", f"{leaving['Arn']} is pending deletion.")
    assert refusal(kms.update_alias, AliasName=alias, TargetKeyId=leaving["KeyId"]) == refused


def test_a_key_has_up_to_50_aliases(server: Server) -> None:
    """They are listed by pages in the order of their names, all or those of a key."""
    kms = server.client(service="kms", region=fresh_region())
    key, other = new(kms)["KeyId"], new(kms)["KeyId"]
    names = [f"alias/{number:02}" for number in range(50)]
    for name in names:
        kms.create_alias(AliasName=name, TargetKeyId=key)
    kms.create_alias(AliasName="alias/other", TargetKeyId=other)
    refused = refusal(kms.create_alias, AliasName="alias/one-more", TargetKeyId=key)
    assert refused[0] == "LimitExceededException"
    assert refusal(kms.update_alias, AliasName="alias/other", TargetKeyId=key)[0] == "LimitExceededException"
    pages = list(kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 20}))
    assert [entry["AliasName"] for page in pages for entry in page["Aliases"]] == [*names, "alias/other"]
    assert [page["Truncated"] for page in pages] == [True, True, False]
    assert len(kms.list_aliases(KeyId=key)["Aliases"]) == 50
    assert refusal(kms.list_aliases, KeyId=key, Marker=pages[0]["NextMarker"])[0] == "InvalidMarkerException"
    assert refusal(kms.list_aliases, KeyId="alias/00")[0] == "NotFoundException"


def test_the_key_of_secrets_is_awss(server: Server) -> None:
    """It is made when it is first needed, under a name of its own, and its owner does not change it."""
    region = fresh_region()
    server.client(region=region).create_secret(Name="s", SecretString="v")
    kms = server.client(service="kms", region=region)
    (entry,) = kms.list_aliases()["Aliases"]
    assert entry["AliasName"] == "alias/aws/secretsmanager"
    key = kms.describe_key(KeyId="alias/aws/secretsmanager")["KeyMetadata"]
    assert (key["KeyManager"], key["KeyId"]) == ("AWS", entry["TargetKeyId"])
    for call in (kms.disable_key, kms.schedule_key_deletion, kms.enable_key_rotation):
        assert refusal(call, KeyId=key["KeyId"])[0] == "AccessDeniedException"
    assert refusal(kms.create_alias, AliasName="alias/mine", TargetKeyId=key["KeyId"])[0] == "AccessDeniedException"
