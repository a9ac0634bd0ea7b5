"""Secrets for other accounts, tags of users and sessions, and the access keys of a user, on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keywheel.access.access_keys import AccessKeys, Role, new_access_key
from keywheel.access.identities import Sort
from tests.conformance.server import Pair, Server, fresh
from tests.conformance.test_access import IDENTITIES, OTHER, User, allow, code, role, session, user
from tests.support.keywheel_server import ACCOUNT, REGION
from tests.support.policies import document
from tests.test_processes import eventually

# --- another account -------------------------------------------------------------------------------------------------


def given_to(one: User, *actions: str) -> str:
    """A policy that lets that user in."""
    return document(allow(*(actions or ("secretsmanager:*",)), Principal={"AWS": one.arn}))


def test_a_secret_of_another_account_takes_all_three_policies(server: Server, api: Any, kms: Any, name: str) -> None:
    """The secret's, the caller's own, and that of a key of the owner's; by its ARN."""
    rights = allow("secretsmanager:GetSecretValue", "secretsmanager:BatchGetSecretValue", "kms:Decrypt")
    one = user(server, rights, account=OTHER)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    arn = api.create_secret(Name=name, SecretString="x", KmsKeyId=key)["ARN"]
    read = one.client().get_secret_value
    refused = code(read, SecretId=arn)
    assert refused[1] == "AccessDeniedException"
    assert refused[2].endswith("because no resource-based policy allows the secretsmanager:GetSecretValue action")
    api.put_resource_policy(SecretId=arn, ResourcePolicy=given_to(one))
    assert code(read, SecretId=arn)[1:] == ("AccessDeniedException", "Access to KMS is not allowed")
    policy = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    policy["Statement"].append(allow("kms:Decrypt", Principal={"AWS": one.arn}))
    kms.put_key_policy(KeyId=key, Policy=json.dumps(policy))
    assert read(SecretId=arn)["SecretString"] == "x"
    assert code(read, SecretId=name)[1] == "ResourceNotFoundException"  # a name is the caller's own account's
    batch = one.client().batch_get_secret_value(SecretIdList=[arn])
    assert [value["SecretString"] for value in batch["SecretValues"]] == ["x"]


def test_the_caller_s_own_account_must_allow_it_too(server: Server, api: Any, kms: Any, name: str) -> None:
    """The owner alone gives nothing away into another account."""
    one = user(server, allow("kms:Decrypt"), account=OTHER)
    policy = document(allow("kms:*", Principal={"AWS": [one.arn, f"arn:aws:iam::{ACCOUNT}:root"]}))
    key = kms.create_key(Policy=policy)["KeyMetadata"]["KeyId"]
    arn = api.create_secret(Name=name, SecretString="x", KmsKeyId=key)["ARN"]
    api.put_resource_policy(SecretId=arn, ResourcePolicy=given_to(one))
    refused = code(one.client().get_secret_value, SecretId=arn)
    assert refused[1] == "AccessDeniedException"
    assert refused[2].endswith("because no identity-based policy allows the secretsmanager:GetSecretValue action")


def test_the_default_key_is_for_no_other_account(server: Server, api: Any, name: str) -> None:
    """Neither to read nor to write; what needs no key is done."""
    one = user(server, allow("secretsmanager:*", "kms:*"), account=OTHER).client()
    arn = api.create_secret(Name=name, SecretString="x")["ARN"]
    api.put_resource_policy(SecretId=arn, ResourcePolicy=document(allow("secretsmanager:*", Principal={"AWS": OTHER})))
    assert one.describe_secret(SecretId=arn)["Name"] == name
    one.tag_resource(SecretId=arn, Tags=[{"Key": "by", "Value": "another"}])
    for call, members in ((one.get_secret_value, {}), (one.put_secret_value, {"SecretString": "y"})):
        assert code(call, SecretId=arn, **members)[1:] == ("AccessDeniedException", "Access to KMS is not allowed")


def test_whether_another_account_has_a_secret_is_not_told(server: Server, api: Any, name: str) -> None:
    """One without a policy and one that is not there are refused in the same words."""
    one = user(server, allow("secretsmanager:*"), account=OTHER).client()
    arn = api.create_secret(Name=name, SecretString="x")["ARN"]
    missing = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{fresh()}-AbCdEf"
    for call in (one.get_secret_value, one.describe_secret, one.delete_secret):
        there, absent = (code(call, SecretId=each) for each in (arn, missing))
        assert there[2].replace(arn, missing) == absent[2]
        assert there[1] == absent[1] == "AccessDeniedException"


# --- aliases as conditions -------------------------------------------------------------------------------------------


def test_the_aliases_of_a_key_decide(server: Server, kms: Any) -> None:
    """However it is named; when an alias goes, so does the right that hung on it."""
    alias = f"alias/{fresh('app')}"
    condition = {"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/app/*"}}
    one = user(server, allow("kms:Encrypt", Condition=condition)).client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert code(one.encrypt, KeyId=key, Plaintext=b"x")[1] == "AccessDeniedException"
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    assert one.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert one.encrypt(KeyId=alias, Plaintext=b"x")["CiphertextBlob"]
    kms.delete_alias(AliasName=alias)
    assert code(one.encrypt, KeyId=key, Plaintext=b"x")[1] == "AccessDeniedException"


def test_the_alias_in_the_request_decides(server: Server, kms: Any) -> None:
    """kms:RequestAlias: the same key by its id is not meant."""
    alias = f"alias/{fresh('app')}"
    one = user(server, allow("kms:Encrypt", Condition={"StringEquals": {"kms:RequestAlias": alias}})).client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    assert one.encrypt(KeyId=alias, Plaintext=b"x")["CiphertextBlob"]
    assert one.encrypt(KeyId=f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}", Plaintext=b"x")["CiphertextBlob"]
    assert code(one.encrypt, KeyId=key, Plaintext=b"x")[1] == "AccessDeniedException"


# --- tags of users and sessions --------------------------------------------------------------------------------------


def tagged(server: Server, tags: dict[str, str], *statements: dict[str, Any]) -> User:
    """A user with these tags and one policy."""
    name = "u" + new_access_key()[0][-8:]
    access_key_id, secret = new_access_key()
    with server.house() as house:
        now = house.rooms.clock.now()

        def work(tx: Any) -> None:
            IDENTITIES.create_user(tx, account=ACCOUNT, name=name, now=now, tags=tags)
            text = document(*statements)
            IDENTITIES.put_policy(tx, ACCOUNT, Sort.USER, name, name="own", document=text, now=now)
            house.access_keys.create(
                tx, account=ACCOUNT, name=name, role=Role.POLICIES, now=now, access_key_id=access_key_id, secret=secret
            )

        house.rooms.database.write(work)
    return User(server, name, Pair(access_key_id, secret.reveal()))


def by_team(*actions: str) -> dict[str, Any]:
    """What the tag of the secret and of the caller decide."""
    return allow(*actions, Condition={"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}})


def test_a_user_s_tags_and_id_are_conditions(server: Server, api: Any, name: str) -> None:
    """aws:PrincipalTag and aws:userid, which is what GetCallerIdentity tells."""
    red, blue = (tagged(server, {"team": team}, by_team("secretsmanager:GetSecretValue")) for team in ("red", "blue"))
    api.create_secret(Name=name, SecretString="x", Tags=[{"Key": "team", "Value": "red"}])
    assert red.client().get_secret_value(SecretId=name)["SecretString"] == "x"
    assert code(blue.client().get_secret_value, SecretId=name)[1] == "AccessDeniedException"
    user_id = blue.client("sts").get_caller_identity()["UserId"]
    assert user_id.startswith("AIDA")
    only = allow("secretsmanager:GetSecretValue", Principal="*", Condition={"StringEquals": {"aws:userid": user_id}})
    api.put_resource_policy(SecretId=name, ResourcePolicy=document(only))
    assert blue.client().get_secret_value(SecretId=name)["SecretString"] == "x"


def test_session_tags_count_and_the_transitive_ones_go_on(server: Server, api: Any, name: str) -> None:
    """In a session of a second role, begun in one of the first; and nobody says them otherwise there."""
    one = user(server, allow("sts:*"))
    both = {"Action": ["sts:AssumeRole", "sts:TagSession"]}
    first = role(server, {"Principal": {"AWS": ACCOUNT}, **both}, allow("sts:*"), by_team("secretsmanager:Get*"))
    second = role(server, {"Principal": {"AWS": ACCOUNT}, **both}, by_team("secretsmanager:Get*"))
    api.create_secret(Name=name, SecretString="x", Tags=[{"Key": "team", "Value": "red"}])
    tags = [{"Key": "team", "Value": "red"}, {"Key": "stage", "Value": "now"}]
    begun = one.client("sts").assume_role(RoleArn=first, RoleSessionName="one", Tags=tags, TransitiveTagKeys=["team"])[
        "Credentials"
    ]
    assert session(server, begun).get_secret_value(SecretId=name)["SecretString"] == "x"
    again = session(server, begun, "sts").assume_role
    members = {"RoleArn": second, "RoleSessionName": "two"}
    assert session(server, again(**members)["Credentials"]).get_secret_value(SecretId=name)["SecretString"] == "x"
    refused = code(again, Tags=[{"Key": "Team", "Value": "blue"}], **members)
    assert refused[1] == "ValidationError"
    assert "conflicts with a transitive tag key" in refused[2]
    other = one.client("sts").assume_role(RoleArn=first, RoleSessionName="one", Tags=[{"Key": "team", "Value": "b"}])
    assert code(session(server, other["Credentials"]).get_secret_value, SecretId=name)[1] == "AccessDeniedException"


def test_a_role_that_does_not_admit_tags_is_not_assumed_with_them(server: Server) -> None:
    """sts:TagSession is a right of its own."""
    one = user(server, allow("sts:*"))
    arn = role(server, {"Principal": {"AWS": one.arn}})
    ask = {"RoleArn": arn, "RoleSessionName": "now"}
    assert one.client("sts").assume_role(**ask)["Credentials"]
    refused = code(one.client("sts").assume_role, Tags=[{"Key": "a", "Value": "b"}], **ask)
    assert refused[1] == "AccessDenied"
    assert "sts:TagSession" in refused[2]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]}, "there are no managed policies here"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]}, "Duplicate tag keys"),
        ({"TransitiveTagKeys": ["a"]}, "must be included in the requested tags"),
        ({"DurationSeconds": 43_200}, "MaxSessionDuration"),
    ],
)
def test_a_session_that_cannot_be_as_asked_is_refused(server: Server, members: dict[str, Any], says: str) -> None:
    """With the reason: less would be more than was asked for."""
    one = user(server, allow("sts:*"))
    arn = role(server, {"Principal": {"AWS": one.arn}, "Action": "sts:*"})
    refused = code(one.client("sts").assume_role, RoleArn=arn, RoleSessionName="now", **members)
    assert refused[1] == "ValidationError"
    assert says in refused[2]


# --- access keys -----------------------------------------------------------------------------------------------------


def test_an_access_key_is_rotated_without_a_gap(server: Server, api: Any, name: str) -> None:
    """Two keys at a time; who uses which is seen; the old one is made inactive, back if need be, and deleted."""
    api.create_secret(Name=name, SecretString="x")
    one = user(server, allow("secretsmanager:GetSecretValue"))
    new_id, new_secret = new_access_key()

    def change(work: Any) -> Any:
        with server.house() as house:
            return house.rooms.database.write(lambda tx: work(tx, house))

    def create(tx: Any, house: Any, key: tuple[str, Any]) -> None:
        house.access_keys.create(
            tx,
            account=ACCOUNT,
            name=one.name,
            role=Role.POLICIES,
            now=house.rooms.clock.now(),
            access_key_id=key[0],
            secret=key[1],
        )

    change(lambda tx, house: create(tx, house, (new_id, new_secret)))
    with pytest.raises(Exception, match="2 access keys"):
        change(lambda tx, house: create(tx, house, new_access_key()))
    two = User(server, one.name, Pair(new_id, new_secret.reveal()))
    for who in (one, two):  # both work
        assert who.client().get_secret_value(SecretId=name)["SecretString"] == "x"
        assert who.client("sts").get_caller_identity()["Arn"] == one.arn
    eventually(lambda: {key.access_key_id for key in keys(server, one) if key.used} == {one.pair.access_key_id, new_id})
    change(lambda tx, _: AccessKeys.set_active(tx, one.pair.access_key_id, active=False))
    eventually(lambda: refused(one, name))
    assert two.client().get_secret_value(SecretId=name)["SecretString"] == "x"
    change(lambda tx, _: AccessKeys.set_active(tx, one.pair.access_key_id, active=True))  # somebody still had it
    eventually(lambda: not refused(one, name))
    change(lambda tx, _: AccessKeys.delete(tx, one.pair.access_key_id))
    eventually(lambda: refused(one, name))
    assert two.client().get_secret_value(SecretId=name)["SecretString"] == "x"
    assert [key.access_key_id for key in keys(server, one)] == [new_id]


def keys(server: Server, one: User) -> list[Any]:
    with server.house() as house, house.rooms.database.point() as tx:
        return [key for key in AccessKeys.list(tx) if key.arn == one.arn]


def refused(one: User, name: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        one.client().get_secret_value(SecretId=name)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "UnrecognizedClientException")
    return False
