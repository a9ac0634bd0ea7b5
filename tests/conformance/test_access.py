"""Who may do what, on the wire: users with policies, resource and key policies, roles and their sessions."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from keywheel.access.access_keys import Role, new_access_key
from keywheel.access.identities import Identities, Sort
from tests.conformance.server import Pair, Server, fresh
from tests.support.keywheel_server import ACCOUNT, REGION
from tests.support.policies import document

OTHER = "210987654321"
IDENTITIES = Identities()


def allow(*actions: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    """A statement that allows."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


def code(call: Callable[..., Any], /, **members: Any) -> tuple[int, str, str]:
    """The status, code and text of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    response: Any = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


@dataclass(frozen=True)
class User:
    """A user, by name, with an access key that does what the user's policies say."""

    server: Server
    name: str
    pair: Pair
    account: str = ACCOUNT

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:user/{self.name}"

    def client(self, service: str = "secretsmanager") -> Any:
        return self.server.client(REGION, self.pair, service)


def user(server: Server, *statements: dict[str, Any], account: str = ACCOUNT) -> User:
    """A new user with one policy of these statements."""
    name = "u" + secrets.token_hex(4)
    access_key_id, secret = new_access_key()
    with server.house() as house:
        now = house.rooms.clock.now()

        def work(tx: Any) -> None:
            IDENTITIES.create_user(tx, account=account, name=name, now=now)
            if statements:
                text = document(*statements)
                IDENTITIES.put_policy(tx, account, Sort.USER, name, name="own", document=text, now=now)
            house.access_keys.create(
                tx, account=account, name=name, role=Role.POLICIES, now=now, access_key_id=access_key_id, secret=secret
            )

        house.rooms.database.write(work)
    return User(server, name, Pair(access_key_id, secret.reveal()), account)


def role(server: Server, trust: dict[str, Any], *statements: dict[str, Any]) -> str:
    """A new role with one policy of these statements; its ARN."""
    name = "r" + secrets.token_hex(4)
    with server.house() as house:
        now = house.rooms.clock.now()

        def work(tx: Any) -> str:
            text = document({"Effect": "Allow", "Action": "sts:AssumeRole", **trust})
            made = IDENTITIES.create_role(tx, account=ACCOUNT, name=name, trust=text, path="/team/", now=now)
            if statements:
                policy = document(*statements)
                IDENTITIES.put_policy(tx, ACCOUNT, Sort.ROLE, name, name="own", document=policy, now=now)
            return made.arn

        return house.rooms.database.write(work)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_user_without_policies_may_do_nothing(server: Server, api: Any, name: str) -> None:
    """Not even learn whether a secret exists."""
    api.create_secret(Name=name, SecretString="x")
    one = user(server)
    for called in (name, fresh()):
        status, error, text = code(one.client().get_secret_value, SecretId=called)
        assert (status, error) == (400, "AccessDeniedException")
        assert text.startswith(
            f"User: {one.arn} is not authorized to perform: secretsmanager:GetSecretValue on resource:"
        )
        assert text.endswith("because no identity-based policy allows the secretsmanager:GetSecretValue action")


def test_a_user_may_do_what_their_policy_says(server: Server, api: Any, name: str) -> None:
    """To the secrets that it names, and to no other; whoever may ask is told that there is none."""
    where = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}*"
    one = user(server, allow("secretsmanager:Get*", "secretsmanager:PutSecretValue", resource=where)).client()
    api.create_secret(Name=name, SecretString="x")
    other = api.create_secret(Name=fresh(), SecretString="y")["ARN"]
    assert one.get_secret_value(SecretId=name)["SecretString"] == "x"
    one.put_secret_value(SecretId=name, SecretString="z")
    assert code(one.get_secret_value, SecretId=other)[1] == "AccessDeniedException"
    assert code(one.describe_secret, SecretId=name)[1] == "AccessDeniedException"
    assert code(one.get_secret_value, SecretId=name + "-not-there")[1] == "ResourceNotFoundException"


def test_conditions_look_at_the_request_and_the_secret(server: Server, api: Any) -> None:
    """Its stage, its tags, and where it comes from."""
    condition = {
        "StringEquals": {
            "secretsmanager:ResourceTag/team": "${aws:username}",
            "secretsmanager:VersionStage": "AWSCURRENT",
        },
        "IpAddress": {"aws:SourceIp": "127.0.0.0/8"},
        "DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"},
        "Bool": {"aws:SecureTransport": "false"},
    }
    one = user(server, allow("secretsmanager:GetSecretValue", Condition=condition))
    mine, theirs = fresh(), fresh()
    api.create_secret(Name=mine, SecretString="x", Tags=[{"Key": "team", "Value": one.name}])
    api.create_secret(Name=theirs, SecretString="x", Tags=[{"Key": "team", "Value": "b"}])
    read = one.client().get_secret_value
    assert read(SecretId=mine, VersionStage="AWSCURRENT")["SecretString"] == "x"
    for members in ({"SecretId": mine}, {"SecretId": theirs, "VersionStage": "AWSCURRENT"}):
        assert code(read, **members)[1] == "AccessDeniedException"


def test_the_policy_of_a_secret_allows_and_denies(server: Server, api: Any, name: str) -> None:
    """A user without policies is allowed by name; an administrator is denied, and may still mend the policy."""
    one = user(server)
    api.create_secret(Name=name, SecretString="x")
    get = "secretsmanager:GetSecretValue"
    allowing = allow(get, Principal={"AWS": one.arn})
    api.put_resource_policy(SecretId=name, ResourcePolicy=document(allowing))
    assert one.client().get_secret_value(SecretId=name)["SecretString"] == "x"
    denying = {"Effect": "Deny", "Principal": "*", "Action": get, "Resource": "*"}
    api.put_resource_policy(SecretId=name, ResourcePolicy=document(allowing, denying))
    for client in (one.client(), api):
        assert code(client.get_secret_value, SecretId=name)[2].endswith(
            "with an explicit deny in a resource-based policy"
        )
    told = api.batch_get_secret_value(SecretIdList=[name])
    assert [error["ErrorCode"] for error in told["Errors"]] == ["AccessDeniedException"]
    api.delete_resource_policy(SecretId=name)
    assert api.get_secret_value(SecretId=name)["SecretString"] == "x"


# --- keys ------------------------------------------------------------------------------------------------------------


def test_the_policy_of_a_key_comes_first(server: Server, kms: Any) -> None:
    """What it does not leave to the account, no other policy allows; whom it names, needs none."""
    one, two = user(server), user(server, allow("kms:*"))
    admin = kms.get_key_policy(KeyId=kms.create_key()["KeyMetadata"]["KeyId"])["Policy"]
    root = json.loads(admin)["Statement"][0]
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert two.client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    assert code(one.client("kms").decrypt, CiphertextBlob=sealed)[2].endswith(
        "because no identity-based policy allows the kms:Decrypt action"
    )
    manage = allow("kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", Principal={"AWS": root["Principal"]["AWS"]})
    use = allow("kms:Decrypt", Principal={"AWS": one.arn})
    kms.put_key_policy(KeyId=key, Policy=document(manage, use))
    assert one.client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    for client in (two.client("kms"), kms):
        assert code(client.decrypt, CiphertextBlob=sealed)[2].endswith(
            "because no resource-based policy allows the kms:Decrypt action"
        )


def test_an_encryption_context_is_a_condition(server: Server, kms: Any) -> None:
    """By its names and values."""
    condition = {
        "StringEquals": {"kms:EncryptionContext:app": "shop"},
        "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["app"]},
    }
    one = user(server, allow("kms:Encrypt", "kms:Decrypt", Condition=condition)).client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = one.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"app": "shop"})["CiphertextBlob"]
    assert one.decrypt(CiphertextBlob=sealed, EncryptionContext={"app": "shop"})["Plaintext"] == b"x"
    for context in ({}, {"app": "bank"}, {"app": "shop", "b": "c"}):
        assert code(one.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=context)[1] == "AccessDeniedException"


def test_a_policy_that_locks_its_author_out_of_a_key_is_refused(server: Server, kms: Any) -> None:
    """Unless the check is bypassed."""
    one = user(server)
    alone = document(allow("kms:*", Principal={"AWS": one.arn}))
    status, error, text = code(kms.create_key, Policy=alone)
    assert (error, text) == (
        "MalformedPolicyDocumentException",
        "The new key policy will not allow you to update the key policy in the future.",
    )
    key = kms.create_key(Policy=alone, BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["KeyId"]
    assert code(kms.describe_key, KeyId=key)[1] == "AccessDeniedException"
    assert one.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyId"] == key
    assert status == 400


def test_a_key_of_another_account_needs_both_sides(server: Server, kms: Any) -> None:
    """And without them it is not even told whether there is such a key."""
    there = kms.create_key()["KeyMetadata"]["Arn"]
    one, two = user(server, allow("kms:Encrypt"), account=OTHER), user(server, account=OTHER)
    for client in (one.client("kms"), two.client("kms")):
        assert "the resource does not exist in this Region" in code(client.encrypt, KeyId=there, Plaintext=b"x")[2]
    root = json.loads(kms.get_key_policy(KeyId=there)["Policy"])["Statement"][0]
    share = allow("kms:Encrypt", Principal={"AWS": OTHER})
    kms.put_key_policy(KeyId=there, Policy=document(root, share))
    assert one.client("kms").encrypt(KeyId=there, Plaintext=b"x")["KeyId"] == there
    assert code(two.client("kms").encrypt, KeyId=there, Plaintext=b"x")[1] == "AccessDeniedException"


# --- roles and sessions ----------------------------------------------------------------------------------------------


def test_everybody_may_ask_who_they_are(server: Server) -> None:
    """The administrator, and a user without policies."""
    one = user(server)
    told = one.client("sts").get_caller_identity()
    assert (told["Account"], told["Arn"], told["UserId"][:4]) == (ACCOUNT, one.arn, "AIDA")
    admin = server.client(service="sts").get_caller_identity()
    assert admin["Account"] == ACCOUNT
    assert admin["ResponseMetadata"]["HTTPStatusCode"] == 200


def session(server: Server, credentials: dict[str, Any], service: str = "secretsmanager") -> Any:
    """A client that acts in a session."""
    return boto3.Session().client(
        service,
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )


def test_a_role_is_assumed_by_whom_it_trusts(server: Server, api: Any, name: str) -> None:
    """The session does what the role may, and what a session policy leaves of that."""
    api.create_secret(Name=name, SecretString="x")
    one, two = user(server), user(server, allow("sts:*"))
    arn = role(server, {"Principal": {"AWS": one.arn}}, allow("secretsmanager:*"))
    refused = code(two.client("sts").assume_role, RoleArn=arn, RoleSessionName="now")
    assert refused[:2] == (403, "AccessDenied")
    made = one.client("sts").assume_role(RoleArn=arn, RoleSessionName="now", DurationSeconds=900)
    short = arn.rpartition("/")[2]
    assert made["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{short}/now"
    acting = session(server, made["Credentials"])
    assert acting.get_secret_value(SecretId=name)["SecretString"] == "x"
    who = session(server, made["Credentials"], "sts").get_caller_identity()
    assert (who["Arn"], who["UserId"]) == (made["AssumedRoleUser"]["Arn"], made["AssumedRoleUser"]["AssumedRoleId"])
    narrowed = one.client("sts").assume_role(
        RoleArn=arn, RoleSessionName="now", Policy=document(allow("secretsmanager:DescribeSecret"))
    )
    acting = session(server, narrowed["Credentials"])
    assert acting.describe_secret(SecretId=name)["Name"] == name
    assert code(acting.get_secret_value, SecretId=name)[2].endswith(
        "because no session policy allows the secretsmanager:GetSecretValue action"
    )


def test_a_session_needs_its_own_token(server: Server) -> None:
    """Not none, and not another's."""
    one = user(server)
    arn = role(server, {"Principal": {"AWS": one.arn}})
    made, other = (one.client("sts").assume_role(RoleArn=arn, RoleSessionName="now")["Credentials"] for _ in range(2))
    for token in (None, other["SessionToken"]):
        wrong = session(server, made | {"SessionToken": token}, "sts")
        assert code(wrong.get_caller_identity)[:2] == (403, "InvalidClientTokenId")
        wrong = session(server, made | {"SessionToken": token})
        assert code(wrong.list_secrets)[1] == "UnrecognizedClientException"
    stray = server.client(REGION, one.pair, "sts", aws_session_token=made["SessionToken"])
    assert code(stray.get_caller_identity)[1] == "InvalidClientTokenId"


def test_trust_may_ask_for_an_external_id(server: Server) -> None:
    """And a role of the other account that trusts the account leaves it to that account's policies."""
    condition = {"StringEquals": {"sts:ExternalId": "shop-7"}}
    arn = role(server, {"Principal": {"AWS": OTHER}, "Condition": condition})
    one, two = user(server, allow("sts:AssumeRole"), account=OTHER), user(server, account=OTHER)
    ask = {"RoleArn": arn, "RoleSessionName": "now"}
    assert one.client("sts").assume_role(ExternalId="shop-7", **ask)["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert code(one.client("sts").assume_role, **ask)[1] == "AccessDenied"
    assert code(two.client("sts").assume_role, ExternalId="shop-7", **ask)[1] == "AccessDenied"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/not-there"}, (403, "AccessDenied")),
        ({"RoleArn": f"arn:aws:iam::{ACCOUNT}:user/someone"}, (400, "ValidationError")),
        ({"DurationSeconds": 3601}, (400, "ValidationError")),
        ({"Policy": "{}"}, (400, "MalformedPolicyDocument")),
    ],
)
def test_what_cannot_be_assumed_is_refused(server: Server, changes: dict[str, Any], expected: tuple[int, str]) -> None:
    """With the codes of STS."""
    one = user(server)
    given = {"RoleArn": role(server, {"Principal": {"AWS": one.arn}}), "RoleSessionName": "now"} | changes
    assert code(one.client("sts").assume_role, **given)[:2] == expected


def test_an_unknown_action_is_refused(server: Server) -> None:
    """In the way of STS."""
    assert code(server.client(service="sts").get_session_token)[:2] == (400, "InvalidAction")


def test_a_secret_is_read_by_whom_its_key_lets(server: Server, api: Any, kms: Any, name: str) -> None:
    """By way of Secrets Manager, with the version's encryption context; whoever may not is told just that."""
    key = kms.create_key()["KeyMetadata"]["Arn"]
    made = api.create_secret(Name=name, SecretString="x", KmsKeyId=key)
    through = {
        "StringEquals": {
            "kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com",
            "kms:EncryptionContext:SecretARN": made["ARN"],
        }
    }
    secrets_only = allow("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue")
    with_key = user(server, secrets_only, allow("kms:Decrypt", Condition=through))
    without = user(server, secrets_only)
    assert with_key.client().get_secret_value(SecretId=name)["SecretString"] == "x"
    for refused in (without.client().get_secret_value, with_key.client().put_secret_value):
        members = {"SecretString": "y"} if refused.__name__.startswith("put") else {}
        assert code(refused, SecretId=name, **members)[1:] == ("AccessDeniedException", "Access to KMS is not allowed")
    sealed = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"SecretARN": made["ARN"]})["CiphertextBlob"]
    direct = with_key.client("kms").decrypt
    assert (
        code(direct, CiphertextBlob=sealed, EncryptionContext={"SecretARN": made["ARN"]})[1] == "AccessDeniedException"
    )
    new = without.client()
    assert code(new.create_secret, Name=fresh(), SecretString="x", KmsKeyId=key)[1] == "AccessDeniedException"


def test_members_of_a_request_about_a_key_are_conditions(server: Server, kms: Any) -> None:
    """How it signs, and how long it waits for its deletion."""
    conditions = {
        "StringEqualsIfExists": {"kms:SigningAlgorithm": "ECDSA_SHA_256"},
        "NumericGreaterThanEqualsIfExists": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"},
    }
    one = user(server, allow("kms:Sign", "kms:ScheduleKeyDeletion", Condition=conditions)).client("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    assert one.sign(KeyId=key, Message=b"x", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    rsa = kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    refused = code(one.sign, KeyId=rsa, Message=b"x", SigningAlgorithm="RSASSA_PSS_SHA_256")
    assert refused[1] == "AccessDeniedException"
    assert code(one.schedule_key_deletion, KeyId=key, PendingWindowInDays=7)[1] == "AccessDeniedException"
    assert one.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)["KeyState"] == "PendingDeletion"
