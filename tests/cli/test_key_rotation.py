"""Rotations behind aliases, by `keywheel keys`, boto3 and a client that fetches the JWK Set, on a running server."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2
import pytest
from cryptography.exceptions import InvalidSignature

from tests.cli.conftest import Place
from tests.support import jwks
from tests.support.keywheel_server import ACCOUNT

MESSAGE = b"signed before the switch"
_PSS = "RSASSA_PSS_SHA_256"


def kms(place: Place) -> Any:
    return place.server.client("kms", region=place.region)


def new_key(place: Place, alias: str | None, **members: Any) -> str:
    client = kms(place)
    key_id: str = client.create_key(**members)["KeyMetadata"]["KeyId"]
    if alias is not None:
        client.create_alias(AliasName=alias, TargetKeyId=key_id)
    return key_id


def named(place: Place, alias: str) -> str:
    key_id: str = kms(place).describe_key(KeyId=alias)["KeyMetadata"]["KeyId"]
    return key_id


def fetch(place: Place, alias: str, **headers: str) -> httpx2.Response:
    url = f"{place.server.url}/jwks/{ACCOUNT}/{place.region}/{alias}"
    return httpx2.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        ("RSA_2048", _PSS),
        ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_P521", "ECDSA_SHA_512"),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
        ("ML_DSA_44", "ML_DSA_SHAKE_256"),
    ],
)
def test_what_was_signed_before_the_switch_still_verifies(place: Place, spec: str, algorithm: str) -> None:
    """By the former key's id, and by the JWK Set that everybody may fetch."""
    client, alias = kms(place), "alias/jwt/signing"
    before = new_key(place, alias, KeySpec=spec, KeyUsage="SIGN_VERIFY", Tags=[{"TagKey": "a", "TagValue": "b"}])
    signed = client.sign(KeyId=alias, Message=MESSAGE, SigningAlgorithm=algorithm)
    place.run("keys", "schedule", alias, "--cron", "0 0 1 * ? *", "--grace", "30d", "--publish")
    rotated = place.json("keys", "rotate", alias, "--urgent")
    assert rotated["succeeded"] == 1
    after = named(place, alias)
    assert after != before
    assert client.list_resource_tags(KeyId=after)["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
    assert client.verify(KeyId=before, Message=MESSAGE, Signature=signed["Signature"], SigningAlgorithm=algorithm)[
        "SignatureValid"
    ]
    again = client.sign(KeyId=alias, Message=MESSAGE, SigningAlgorithm=algorithm)
    answer = fetch(place, alias)
    assert answer.headers["content-type"] == "application/jwk-set+json"
    found = answer.json()["keys"]
    assert [key["kid"] for key in found] == [after, before]
    for key, signature in zip(found, (again["Signature"], signed["Signature"]), strict=True):
        jwks.verify(key, signature, MESSAGE)
        with pytest.raises(InvalidSignature):
            jwks.verify(key, signature, MESSAGE + b".")
    assert json.loads(place.text("keys", "jwks", alias))["keys"] == found
    same = fetch(place, alias, if_none_match=answer.headers["etag"])
    assert (same.status_code, same.content) == (304, b"")
    assert "max-age=300" in same.headers["cache-control"]


def test_a_key_set_is_nobodys_who_did_not_publish_it(place: Place) -> None:
    """What is not published, what does not exist and what is no path look alike."""
    new_key(place, "alias/quiet", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    place.run("keys", "rotate", "alias/quiet")
    answers = {(one.status_code, one.content) for one in (fetch(place, "alias/quiet"), fetch(place, "alias/none"))}
    assert answers == {(404, b'{"keys":[]}')}
    assert fetch(place, "alias/../x").status_code == 404
    assert len(json.loads(place.text("keys", "jwks", "alias/quiet"))["keys"]) == 2


def test_a_compromised_key_leaves_the_key_set_when_it_is_disabled(place: Place) -> None:
    """At the next fetch."""
    before = new_key(place, "alias/k", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    place.run("keys", "schedule", "alias/k", "--publish")
    place.run("keys", "rotate", "alias/k", "--urgent")
    kms(place).disable_key(KeyId=before)
    assert [key["kid"] for key in fetch(place, "alias/k").json()["keys"]] == [named(place, "alias/k")]


def test_a_published_key_is_announced_before_it_is_used(place: Place) -> None:
    """`rotate` says when it will be, and `--urgent` does not wait for that."""
    before = new_key(place, "alias/k", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    place.run("keys", "schedule", "alias/k", "--publish")
    assert "announced: moves" in place.text("keys", "rotate", "alias/k")
    announced = [key["kid"] for key in fetch(place, "alias/k").json()["keys"]]
    assert announced[0] == named(place, "alias/k") == before
    assert place.json("keys", "rotate", "alias/k", "--urgent")["succeeded"] == 1
    assert named(place, "alias/k") == announced[1]


def test_macs_and_secrets_follow_their_alias(place: Place) -> None:
    """An HMAC key; and a symmetric one that a secret names by its alias."""
    client = kms(place)
    before = new_key(place, "alias/mac", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    mac = client.generate_mac(KeyId="alias/mac", Message=MESSAGE, MacAlgorithm="HMAC_SHA_256")["Mac"]
    sealing = new_key(place, "alias/sealing")
    place.run("secrets", "create", "s", "--generate", "--kms-key-id", "alias/sealing")
    place.run("keys", "schedule", "alias/sealing", "--grace", "0s")
    place.run("keys", "rotate", "alias/mac", "alias/sealing")
    assert client.verify_mac(KeyId=before, Message=MESSAGE, Mac=mac, MacAlgorithm="HMAC_SHA_256")["MacValid"]
    # The former key would be disabled by now; the secret's version needs it.
    assert client.describe_key(KeyId=sealing)["KeyMetadata"]["KeyState"] == "Enabled"
    place.run("secrets", "get", "s", "--reveal")
    assert "SecretsNeedIt" in place.text("keys", "history", "alias/sealing")


def test_a_restricted_former_key_verifies_and_signs_no_more(place: Place) -> None:
    """By its policy, which AWS's clients can read."""
    client = kms(place)
    before = new_key(place, "alias/k", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    how: dict[str, Any] = {"KeyId": before, "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = client.sign(**how)["Signature"]
    place.run("keys", "schedule", "alias/k", "--restrict")
    place.run("keys", "rotate", "alias/k")
    assert client.verify(**how, Signature=signature)["SignatureValid"]
    with pytest.raises(client.exceptions.ClientError, match=r"AccessDenied.*explicit deny"):
        client.sign(**how)
    client.sign(**how | {"KeyId": "alias/k"})
    assert "KeywheelFormerKey" in client.get_key_policy(KeyId=before)["Policy"]


def test_the_history_tells_rules_stages_and_events(place: Place) -> None:
    """For people and for programs."""
    before = new_key(place, "alias/k", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    way = ("--grace", "30d", "--delete-after", "60d", "--deletion-window", "7")
    assert "next rotation" in place.text("keys", "schedule", "alias/k", "--rate", "30 days", *way)
    place.run("keys", "rotate", "alias/k")
    found = place.json("keys", "history", "alias/k")
    assert found["ScheduleExpression"] == "rate(30 days)"
    assert [one["KeyId"] for one in found["FormerKeys"]] == [before]
    assert found["Events"][0]["Event"] == "KeyRotationSucceeded"
    text = place.text("keys", "history", "alias/k")
    assert "usable for 30d, then disabled; when nobody has tried to use them for 60d, deleted in 7 days" in text
    assert re.search(rf"{before} .* grace", text)
    assert "alias/k" in place.text("keys", "history")
    place.run("keys", "unschedule", "alias/k")
    assert "ScheduleExpression" not in place.json("keys", "history", "alias/k")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("schedule", "alias/k", "--cron", "0 0 1 * *"), "six fields"),
        (("schedule", "alias/k", "--cron", "* * * * ? *"), "an hour"),
        (("schedule", "alias/k", "--rate", "5 minutes"), "hours or days"),
        (("schedule", "alias/k", "--delete-after", "1d"), "grace"),
        (("schedule", "alias/k", "--publish"), "public key"),
        (("schedule", "alias/none", "--rate", "1 day"), "not found"),
        (("schedule", "k", "--rate", "1 day"), "alias/"),
        (("rotate", "alias/none"), "not found"),
        (("rotate", "alias/aws/secretsmanager"), "reserved"),
        (("history", "alias/none"), "has no rotation"),
    ],
)
def test_what_cannot_be_is_said(place: Place, arguments: tuple[str, ...], says: str) -> None:
    """With exit code 1, and nothing is changed."""
    key_id = new_key(place, "alias/k", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    assert says in place.run("keys", *arguments, code=1).stderr.decode()
    assert named(place, "alias/k") == key_id


def test_an_attempt_to_use_a_disabled_former_key_is_noticed(place: Place) -> None:
    """It is watched before it is deleted."""
    client = kms(place)
    before = new_key(place, "alias/k", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    place.run("keys", "schedule", "alias/k", "--grace", "0s", "--delete-after", "30d")
    place.run("keys", "rotate", "alias/k")
    for _ in range(100):
        if client.describe_key(KeyId=before)["KeyMetadata"]["KeyState"] == "Disabled":
            break
        place.run("keys", "history", "alias/k")
    with pytest.raises(client.exceptions.DisabledException):
        client.generate_mac(KeyId=before, Message=MESSAGE, MacAlgorithm="HMAC_SHA_256")
    for _ in range(100):
        found = place.json("keys", "history", "alias/k")
        if "Missed" in found["FormerKeys"][0]:
            break
    assert "FormerKeyMissed" in [one["Event"] for one in found["Events"]]


def test_every_key_of_an_account_is_brought_under_rotation(place: Place) -> None:
    """A dry run first, then really; what cannot be is told with its reason, and makes the exit code 1."""
    client = kms(place)
    symmetric = new_key(place, None)
    signing = new_key(place, "alias/signing", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    client.create_alias(AliasName="alias/also", TargetKeyId=signing)
    nameless = new_key(place, None, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    disabled = new_key(place, "alias/off", KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    client.disable_key(KeyId=disabled)
    dry = place.text("keys", "enforce", "--days", "30", "--dry-run", code=1)
    assert "2 of 4 keys would be under rotation within 30 days." in dry
    assert not client.get_key_rotation_status(KeyId=symmetric)["KeyRotationEnabled"]
    found = place.json("keys", "enforce", "--days", "30", code=1)
    actions = {one["KeyId"]: (one["Action"], one.get("Code")) for one in found["Keys"]}
    assert actions == {
        symmetric: ("automatic", None),
        signing: ("alias", None),
        nameless: ("none", "NoAlias"),
        disabled: ("none", "Disabled"),
    }
    assert client.get_key_rotation_status(KeyId=symmetric)["RotationPeriodInDays"] == 30
    schedule = place.json("keys", "history", "alias/also")
    assert (schedule["ScheduleExpression"], schedule["Together"]) == ("rate(30 days)", True)
    again = place.json("keys", "enforce", "--days", "30", code=1)
    assert sorted(one["Action"] for one in again["Keys"]) == ["kept", "kept", "none", "none"]


def test_a_standing_order_can_be_given_and_taken_back(place: Place) -> None:
    """For a tag."""
    new_key(place, None, Tags=[{"TagKey": "team", "TagValue": "blue"}])
    new_key(place, None)
    found = place.json("keys", "enforce", "--tag", "team=blue", "--standing")
    assert (len(found["Keys"]), found["Standing"]) == (1, 90)
    assert "Standing" not in place.json("keys", "enforce", "--tag", "team=blue", "--no-standing")
