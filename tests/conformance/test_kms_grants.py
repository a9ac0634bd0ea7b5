"""Grants on the wire: what they let other users do, and when; who gives, lists and ends them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.server import Server, fresh, fresh_region, refusal
from tests.conformance.test_access import OTHER, User, allow, user
from tests.support.keywheel_server import ACCOUNT, REGION
from tests.support.policies import document

SECRET = b"attack at dawn"
CONTEXT = {"customer": "4711", "purpose": "invoice"}
DENIED = "AccessDeniedException"
UNKNOWN = "0" * 64


@pytest.fixture
def kms(server: Server) -> Any:
    """The administrator's client."""
    return server.client(service="kms")


@pytest.fixture
def key(kms: Any) -> str:
    """The ARN of a new symmetric key."""
    arn: str = kms.create_key()["KeyMetadata"]["Arn"]
    return arn


@pytest.fixture
def one(server: Server) -> User:
    """A user whom no policy allows anything."""
    return user(server)


@pytest.fixture
def other(server: Server) -> User:
    """Another one."""
    return user(server)


def grant(kms: Any, key: str, grantee: User, *operations: str, **more: Any) -> Any:
    """A new grant."""
    return kms.create_grant(KeyId=key, GranteePrincipal=grantee.arn, Operations=list(operations), **more)


def sealed(kms: Any, key: str, context: dict[str, str] | None = None) -> dict[str, Any]:
    """The members of a request to decrypt."""
    context = context or {}
    blob = kms.encrypt(KeyId=key, Plaintext=SECRET, EncryptionContext=context)["CiphertextBlob"]
    return {"CiphertextBlob": blob, "EncryptionContext": context}


def listed(kms: Any, key: str, **more: Any) -> list[dict[str, Any]]:
    """The grants on a key."""
    found: list[dict[str, Any]] = kms.list_grants(KeyId=key, **more)["Grants"]
    return found


def put_policy(kms: Any, key: str, *statements: dict[str, Any]) -> None:
    """Add statements to the default policy of a key."""
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    mine = allow("kms:*", Principal=root)
    kms.put_key_policy(KeyId=key, Policy=document(mine, *statements))


# --- what a grant allows ----------------------------------------------------------------------------------------------


def test_a_grant_allows_its_operations_to_its_grantee_at_once(kms: Any, key: str, one: User, other: User) -> None:
    """And nothing else, to nobody else."""
    asked = sealed(kms, key)
    code, text = refusal(one.client("kms").decrypt, **asked)
    assert (code, text.endswith("because no identity-based policy allows the kms:Decrypt action")) == (DENIED, True)
    grant(kms, key, one, "Decrypt", "DescribeKey")
    assert one.client("kms").decrypt(**asked)["Plaintext"] == SECRET
    assert one.client("kms").describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key
    assert refusal(one.client("kms").encrypt, KeyId=key, Plaintext=b"x")[0] == DENIED
    assert refusal(other.client("kms").decrypt, **asked)[0] == DENIED


@pytest.mark.parametrize(
    ("constraint", "context", "allowed"),
    [
        ("EncryptionContextEquals", CONTEXT, True),
        ("EncryptionContextEquals", {**CONTEXT, "more": "x"}, False),
        ("EncryptionContextEquals", {"customer": "4711"}, False),
        ("EncryptionContextEquals", {}, False),
        ("EncryptionContextSubset", CONTEXT, True),
        ("EncryptionContextSubset", {**CONTEXT, "more": "x"}, True),
        ("EncryptionContextSubset", {"customer": "4711"}, False),
        ("EncryptionContextSubset", {**CONTEXT, "customer": "4712"}, False),
        ("EncryptionContextSubset", {"CUSTOMER": "4711", "purpose": "invoice"}, False),
    ],
)
def test_the_grantee_decrypts_with_the_right_context_only(
    kms: Any, key: str, one: User, constraint: str, context: dict[str, str], allowed: bool
) -> None:
    """The grant's constraint decides before the ciphertext does; DescribeKey has no context."""
    asked = sealed(kms, key, context)
    grant(kms, key, one, "Decrypt", "Encrypt", "DescribeKey", Constraints={constraint: CONTEXT})
    mine = one.client("kms")
    if allowed:
        assert mine.decrypt(**asked)["Plaintext"] == SECRET
        mine.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context)
    else:
        assert refusal(mine.decrypt, **asked)[0] == DENIED
        assert refusal(mine.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=context)[0] == DENIED
    assert mine.describe_key(KeyId=key)["KeyMetadata"]["Arn"] == key


def test_re_encryption_asks_each_side_with_its_own_context(kms: Any, key: str, one: User) -> None:
    """The source's grant by the source's context, the destination's by the destination's."""
    to = kms.create_key()["KeyMetadata"]["Arn"]
    blob = sealed(kms, key, CONTEXT)["CiphertextBlob"]
    grant(kms, key, one, "ReEncryptFrom", Constraints={"EncryptionContextEquals": CONTEXT})
    grant(kms, to, one, "ReEncryptTo", Constraints={"EncryptionContextEquals": {"a": "1"}})
    asked = {"CiphertextBlob": blob, "SourceEncryptionContext": CONTEXT, "DestinationKeyId": to}
    assert refusal(one.client("kms").re_encrypt, **asked)[0] == DENIED
    moved = one.client("kms").re_encrypt(**asked, DestinationEncryptionContext={"a": "1"})["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=moved, EncryptionContext={"a": "1"})["Plaintext"] == SECRET
    dry = {"SourceKeyId": key, "DestinationKeyId": to, "DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    dry |= {"SourceEncryptionContext": CONTEXT, "DestinationEncryptionContext": {"a": "1"}}
    assert refusal(one.client("kms").re_encrypt, **dry)[0] == "DryRunOperationException"


def test_a_source_constraint_is_for_services(kms: Any, key: str, one: User) -> None:
    """Nobody else asks on behalf of a resource."""
    source = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
    grant(kms, key, one, "Decrypt", "RetireGrant", Constraints={"SourceArn": source})
    assert refusal(one.client("kms").decrypt, **sealed(kms, key))[0] == DENIED
    one.client("kms").retire_grant(KeyId=key, GrantId=listed(kms, key)[0]["GrantId"])
    assert listed(kms, key) == []


@pytest.mark.parametrize("side", ["key", "identity"])
def test_a_grant_never_overrides_a_deny(server: Server, kms: Any, key: str, side: str) -> None:
    """Of the key's policy, or of the user's own."""
    never = {"Effect": "Deny", "Action": "kms:Decrypt", "Resource": "*"}
    one = user(server, never) if side == "identity" else user(server)
    asked = sealed(kms, key)
    token = grant(kms, key, one, "Decrypt", "Encrypt")["GrantToken"]
    if side == "key":
        assert one.client("kms").decrypt(**asked)["Plaintext"] == SECRET
        put_policy(kms, key, {**never, "Principal": "*"})
    code, text = refusal(one.client("kms").decrypt, GrantTokens=[token], **asked)
    assert (code, "with an explicit deny in a" in text) == (DENIED, True)
    one.client("kms").encrypt(KeyId=key, Plaintext=b"x")


def test_a_grant_reaches_into_another_account(server: Server, kms: Any, key: str) -> None:
    """By the key's ARN; the grant is enough."""
    stranger = user(server, account=OTHER)
    asked = sealed(kms, key)
    assert refusal(stranger.client("kms").decrypt, KeyId=key, **asked)[0] == DENIED
    grant(kms, key, stranger, "Decrypt")
    assert stranger.client("kms").decrypt(KeyId=key, **asked)["Plaintext"] == SECRET
    assert refusal(stranger.client("kms").encrypt, KeyId=key, Plaintext=b"x")[0] == DENIED


def test_a_grant_lets_secrets_manager_read_a_value(server: Server, kms: Any, key: str, api: Any) -> None:
    """For a user who may read the secret, and whom the key's policy says nothing about."""
    name = fresh()
    arn = api.create_secret(Name=name, SecretString="x", KmsKeyId=key)["ARN"]
    one = user(server, allow("secretsmanager:GetSecretValue"))
    assert refusal(one.client().get_secret_value, SecretId=name)[0] == DENIED
    grant(kms, key, one, "Decrypt", Constraints={"EncryptionContextSubset": {"SecretARN": arn}})
    assert one.client().get_secret_value(SecretId=name)["SecretString"] == "x"
    elsewhere = fresh()
    api.create_secret(Name=elsewhere, SecretString="y", KmsKeyId=key)
    assert refusal(one.client().get_secret_value, SecretId=elsewhere)[0] == DENIED


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_taken_where_a_key_is_used_and_only_a_real_one(kms: Any, key: str, one: User) -> None:
    """It adds nothing to the grant; a spoiled one is refused, whoever asks."""
    token = grant(kms, key, one, "Decrypt")["GrantToken"]
    asked = sealed(kms, key)
    assert one.client("kms").decrypt(GrantTokens=[token], **asked)["Plaintext"] == SECRET
    spoiled = ("A" if token[5] != "A" else "B").join((token[:5], token[6:]))
    for wrong in ("x", "é", token[:-8], spoiled, "A" * 200):
        for client in (kms, one.client("kms")):
            assert refusal(client.decrypt, GrantTokens=[token, wrong], **asked)[0] == "InvalidGrantTokenException"
        assert refusal(kms.retire_grant, GrantToken=wrong)[0] == "InvalidGrantTokenException"
    code, _ = refusal(kms.decrypt, GrantTokens=[token] * 11, **asked)
    assert code == "ValidationException"
    kms.retire_grant(GrantToken=token)
    assert refusal(one.client("kms").decrypt, GrantTokens=[token], **asked)[0] == DENIED


def test_a_token_gives_no_right_to_whom_it_was_shown(kms: Any, key: str, one: User, other: User) -> None:
    """Neither to use the key nor to retire the grant."""
    token = grant(kms, key, one, "Decrypt")["GrantToken"]
    assert refusal(other.client("kms").decrypt, GrantTokens=[token], **sealed(kms, key))[0] == DENIED
    code, text = refusal(other.client("kms").retire_grant, GrantToken=token)
    assert (code, text) == (
        DENIED,
        f"User: {other.arn} is not authorized to perform: kms:RetireGrant on resource: {key} because no identity-based "
        "policy allows the kms:RetireGrant action",
    )


# --- the end of a grant -----------------------------------------------------------------------------------------------


def test_a_retiring_principal_retires_by_token(kms: Any, key: str, one: User, other: User) -> None:
    """And the grantee may no more, from that answer on."""
    asked = sealed(kms, key)
    token = grant(kms, key, one, "Decrypt", RetiringPrincipal=other.arn)["GrantToken"]
    assert one.client("kms").decrypt(**asked)["Plaintext"] == SECRET
    assert refusal(one.client("kms").retire_grant, GrantToken=token)[0] == DENIED
    assert refusal(other.client("kms").retire_grant, GrantToken=token, DryRun=True)[0] == "DryRunOperationException"
    other.client("kms").retire_grant(GrantToken=token)
    assert refusal(one.client("kms").decrypt, **asked)[0] == DENIED
    assert refusal(kms.retire_grant, GrantToken=token)[0] == "NotFoundException"
    assert refusal(other.client("kms").retire_grant, GrantToken=token)[0] == DENIED


def test_a_grantee_retires_where_the_grant_says_so(kms: Any, key: str, one: User) -> None:
    """By the key and the id."""
    made = grant(kms, key, one, "Decrypt", "RetireGrant")["GrantId"]
    kept = grant(kms, key, one, "Decrypt")["GrantId"]
    one.client("kms").retire_grant(KeyId=key, GrantId=made)
    assert refusal(one.client("kms").retire_grant, KeyId=key, GrantId=kept)[0] == DENIED
    assert [each["GrantId"] for each in listed(kms, key)] == [kept]


def test_the_account_of_the_key_retires_by_its_policies(server: Server, kms: Any, key: str, one: User) -> None:
    """A Deny of the key's policy counts, an Allow of it does not."""
    by_policy = user(server, allow("kms:RetireGrant", resource=key))
    named = user(server)
    put_policy(kms, key, allow("kms:RetireGrant", Principal={"AWS": named.arn}))
    first = grant(kms, key, one, "Decrypt")["GrantToken"]
    second = grant(kms, key, one, "Decrypt", RetiringPrincipal=one.arn)["GrantToken"]
    assert refusal(named.client("kms").retire_grant, GrantToken=first)[0] == DENIED
    by_policy.client("kms").retire_grant(GrantToken=first)
    put_policy(kms, key, {"Effect": "Deny", "Principal": "*", "Action": "kms:RetireGrant", "Resource": "*"})
    for who in (one, by_policy):
        code, text = refusal(who.client("kms").retire_grant, GrantToken=second)
        assert (code, text.endswith("with an explicit deny in a resource-based policy")) == (DENIED, True)


def test_who_governs_the_key_revokes(server: Server, kms: Any, key: str, one: User) -> None:
    """The retiring principal does not."""
    governs = user(server, allow("kms:RevokeGrant", resource=key))
    asked = {"KeyId": key, "GrantId": grant(kms, key, one, "Decrypt", RetiringPrincipal=one.arn)["GrantId"]}
    assert refusal(one.client("kms").revoke_grant, **asked)[0] == DENIED
    assert refusal(governs.client("kms").revoke_grant, DryRun=True, **asked)[0] == "DryRunOperationException"
    governs.client("kms").revoke_grant(**asked)
    assert refusal(governs.client("kms").revoke_grant, **asked) == (
        "NotFoundException",
        f"Grant '{asked['GrantId']}' does not exist on {key}.",
    )
    assert listed(kms, key) == []


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({}, "ValidationException"),
        ({"KeyId": "k"}, "ValidationException"),
        ({"GrantId": UNKNOWN}, "ValidationException"),
        ({"KeyId": "k", "GrantId": UNKNOWN, "GrantToken": "x"}, "ValidationException"),
        ({"KeyId": "k", "GrantId": "x"}, "InvalidGrantIdException"),
        ({"KeyId": "k", "GrantId": UNKNOWN.replace("0", "G")}, "InvalidGrantIdException"),
        ({"KeyId": "k", "GrantId": UNKNOWN}, "NotFoundException"),
    ],
)
def test_a_grant_is_named_in_one_way(kms: Any, key: str, members: dict[str, str], code: str) -> None:
    """By a token, or by its key and id."""
    asked = {**members, **({"KeyId": key} if "KeyId" in members else {})}
    assert refusal(kms.retire_grant, **asked)[0] == code


def test_a_token_is_for_its_region(server: Server, kms: Any, key: str, one: User) -> None:
    """As the key is."""
    token = grant(kms, key, one, "Decrypt")["GrantToken"]
    elsewhere = server.client(fresh_region(), service="kms")
    assert refusal(elsewhere.retire_grant, GrantToken=token)[0] == "InvalidGrantTokenException"


# --- making one -------------------------------------------------------------------------------------------------------


def test_the_same_name_and_terms_are_the_same_grant(kms: Any, key: str, one: User) -> None:
    """With another token, as good as the first; without a name each is another grant."""
    terms = {"Name": "n", "Constraints": {"EncryptionContextSubset": CONTEXT}}
    first = grant(kms, key, one, "Decrypt", "Encrypt", **terms)
    again = grant(kms, key, one, "Encrypt", "Decrypt", **terms)
    assert first["GrantId"] == again["GrantId"]
    assert first["GrantToken"] != again["GrantToken"]
    assert grant(kms, key, one, "Encrypt", **terms)["GrantId"] != first["GrantId"]
    assert grant(kms, key, one, "Decrypt", "Encrypt", Name="n")["GrantId"] != first["GrantId"]
    assert grant(kms, key, one, "Decrypt")["GrantId"] != grant(kms, key, one, "Decrypt")["GrantId"]
    kms.retire_grant(GrantToken=first["GrantToken"])
    assert refusal(kms.retire_grant, GrantToken=again["GrantToken"])[0] == "NotFoundException"
    assert grant(kms, key, one, "Decrypt", "Encrypt", **terms)["GrantId"] != first["GrantId"]


def test_a_dry_run_makes_nothing(kms: Any, key: str, one: User) -> None:
    """It says that it would have, or why it would not."""
    asked = {"KeyId": key, "GranteePrincipal": one.arn, "Operations": ["Decrypt"], "DryRun": True}
    assert refusal(kms.create_grant, **asked) == (
        "DryRunOperationException",
        "The request would have succeeded, but the DryRun option is set.",
    )
    assert refusal(kms.create_grant, **asked | {"Operations": ["Sign"]})[0] == "ValidationException"
    assert listed(kms, key) == []


SOURCE = {"SourceArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"}
SERVICE = "lambda.amazonaws.com"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"GranteePrincipal": None}, "ValidationException"),
        ({"GranteeServicePrincipal": SERVICE}, "ValidationException"),
        ({"GranteePrincipal": None, "GranteeServicePrincipal": SERVICE}, "ValidationException"),
        ({"GranteePrincipal": None, "GranteeServicePrincipal": SERVICE, "Constraints": SOURCE}, "ValidationException"),
        ({"RetiringPrincipal": "{one}", "RetiringServicePrincipal": SERVICE}, "ValidationException"),
        ({"GranteePrincipal": "somebody"}, "InvalidArnException"),
        ({"GranteePrincipal": SERVICE}, "InvalidArnException"),
        ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:group/g"}, "InvalidArnException"),
        ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:role/"}, "InvalidArnException"),
        ({"RetiringPrincipal": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/k"}, "InvalidArnException"),
        ({"Operations": []}, "ValidationException"),
        ({"Operations": ["CreateGrant"]}, "ValidationException"),
        ({"Operations": ["Sign"]}, "ValidationException"),
        ({"Operations": ["Fantasy"]}, "ValidationException"),
        ({"Operations": ["GetPublicKey"]}, "ValidationException"),
        ({"Name": "no blanks"}, "ValidationException"),
        ({"GrantTokens": ["x"]}, "InvalidGrantTokenException"),
        ({"Constraints": {"EncryptionContextSubset": {str(n): "" for n in range(9)}}}, "ValidationException"),
        ({"Constraints": {"EncryptionContextEquals": {"a": "x" * 385}}}, "ValidationException"),
        ({"KeyId": "alias/x"}, "NotFoundException"),
    ],
    ids=repr,
)
def test_what_is_no_grant_is_refused(kms: Any, key: str, one: User, changed: dict[str, Any], code: str) -> None:
    """And nothing is made."""
    asked = {"KeyId": key, "GranteePrincipal": one.arn, "Operations": ["Decrypt"], **changed}
    asked = {name: value for name, value in asked.items() if value is not None}
    asked = json.loads(json.dumps(asked).replace("{one}", one.arn))
    assert refusal(kms.create_grant, **asked)[0] == code
    assert listed(kms, key) == []


USAGES: dict[tuple[str, str], tuple[str, ...]] = {
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): ("Encrypt", "ReEncryptTo", "GenerateDataKeyPairWithoutPlaintext"),
    ("ECC_NIST_P256", "SIGN_VERIFY"): ("Sign", "Verify", "GetPublicKey"),
    ("ECC_NIST_P256", "KEY_AGREEMENT"): ("DeriveSharedSecret", "GetPublicKey"),
    ("HMAC_256", "GENERATE_VERIFY_MAC"): ("GenerateMac", "VerifyMac"),
    ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"): ("Encapsulate", "Decapsulate", "GetPublicKey"),
}


@pytest.mark.parametrize(("spec", "usage"), USAGES)
def test_operations_suit_the_key(kms: Any, one: User, spec: str, usage: str) -> None:
    """Those of its usage, and those that every key has; a context only where there is one."""
    arn = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]
    fitting = USAGES[spec, usage]
    grant(kms, arn, one, *fitting, "DescribeKey", "CreateGrant", "RetireGrant")
    for unfit in {"Sign", "Decrypt", "GenerateMac", "Decapsulate", "DeriveSharedSecret"} - set(fitting):
        if (spec, unfit) != ("SYMMETRIC_DEFAULT", "Decrypt"):
            asked = {"KeyId": arn, "GranteePrincipal": one.arn, "Operations": [*fitting, unfit]}
            assert refusal(kms.create_grant, **asked)[0] == "ValidationException"
    if spec != "SYMMETRIC_DEFAULT":
        asked = {"KeyId": arn, "GranteePrincipal": one.arn, "Operations": list(fitting)}
        constraint = {"EncryptionContextEquals": {"a": "1"}}
        assert refusal(kms.create_grant, Constraints=constraint, **asked)[0] == "ValidationException"


@pytest.mark.parametrize(
    ("change", "code"),
    [("disable_key", "DisabledException"), ("schedule_key_deletion", "KMSInvalidStateException")],
)
def test_a_key_that_is_not_enabled_takes_no_grant(kms: Any, key: str, one: User, change: str, code: str) -> None:
    """Those that there are, are listed and ended still."""
    made = grant(kms, key, one, "Decrypt")["GrantId"]
    getattr(kms, change)(KeyId=key)
    asked = {"KeyId": key, "GranteePrincipal": one.arn, "Operations": ["Decrypt"]}
    assert refusal(kms.create_grant, **asked)[0] == code
    assert [each["GrantId"] for each in listed(kms, key)] == [made]
    kms.revoke_grant(KeyId=key, GrantId=made)


# --- grants through grants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operations", "constraints", "allowed"),
    [
        (["Decrypt"], {"EncryptionContextSubset": CONTEXT}, True),
        (["Decrypt", "CreateGrant"], {"EncryptionContextSubset": {**CONTEXT, "more": "x"}}, True),
        (["Decrypt"], {"EncryptionContextEquals": {**CONTEXT, "more": "x"}}, True),
        (["Decrypt", "Encrypt"], {"EncryptionContextSubset": CONTEXT}, False),
        (["Decrypt"], {"EncryptionContextSubset": {"customer": "4711"}}, False),
        (["Decrypt"], {}, False),
    ],
)
def test_a_grant_that_is_given_by_a_grant_is_no_wider(
    kms: Any, key: str, one: User, other: User, operations: list[str], constraints: dict[str, Any], allowed: bool
) -> None:
    """Neither in its operations nor in its constraints; and the next in the chain gives no more than they got."""
    asked = {"KeyId": key, "GranteePrincipal": other.arn, "Operations": operations, "Constraints": constraints}
    assert refusal(one.client("kms").create_grant, **asked)[0] == DENIED
    grant(kms, key, one, "Decrypt", "CreateGrant", Constraints={"EncryptionContextSubset": CONTEXT})
    if not allowed:
        assert refusal(one.client("kms").create_grant, **asked)[0] == DENIED
        return
    one.client("kms").create_grant(**asked)
    context = {**CONTEXT, "more": "x"}
    assert other.client("kms").decrypt(**sealed(kms, key, context))["Plaintext"] == SECRET
    assert refusal(other.client("kms").decrypt, **sealed(kms, key, {"customer": "4711"}))[0] == DENIED
    if "CreateGrant" in operations:
        asked["GranteePrincipal"] = one.arn
        other.client("kms").create_grant(**asked)
        wider = {"Constraints": {"EncryptionContextSubset": CONTEXT}}
        assert refusal(other.client("kms").create_grant, **asked | wider)[0] == DENIED


# --- policies about grants --------------------------------------------------------------------------------------------

CONDITIONS: list[tuple[str, dict[str, Any], bool]] = [
    ("the grantee", {"StringEquals": {"kms:GranteePrincipal": "{other}"}}, True),
    ("another grantee", {"StringEquals": {"kms:GranteePrincipal": "{one}"}}, False),
    ("who retires", {"StringEquals": {"kms:RetiringPrincipal": "{one}"}}, True),
    ("who else retires", {"StringEquals": {"kms:RetiringPrincipal": "{other}"}}, False),
    ("operations", {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "Encrypt"]}}, True),
    ("fewer operations", {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt"]}}, False),
    ("the constraint", {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}}, True),
    ("another constraint", {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}}, False),
    ("its context", {"StringEquals": {"kms:EncryptionContext:customer": "4711"}}, True),
    ("for a service", {"Bool": {"kms:GrantIsForAWSResource": "true"}}, False),
    ("for nobody else", {"Bool": {"kms:GrantIsForAWSResource": "false"}}, True),
]


@pytest.mark.parametrize(("condition", "allowed"), [case[1:] for case in CONDITIONS], ids=[c[0] for c in CONDITIONS])
def test_a_policy_limits_what_may_be_granted(
    kms: Any, key: str, one: User, other: User, condition: dict[str, Any], allowed: bool
) -> None:
    """By the condition keys of grants."""
    text = json.dumps(condition).replace("{other}", other.arn).replace("{one}", one.arn)
    put_policy(kms, key, allow("kms:CreateGrant", Principal={"AWS": one.arn}, Condition=json.loads(text)))
    constraints = {"EncryptionContextSubset": CONTEXT}
    asked = {"KeyId": key, "GranteePrincipal": other.arn, "RetiringPrincipal": one.arn, "Operations": ["Decrypt"]}
    call: Callable[..., Any] = one.client("kms").create_grant
    if allowed:
        assert call(Constraints=constraints, **asked)["GrantId"]
    else:
        assert refusal(call, Constraints=constraints, **asked)[0] == DENIED


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_list_shows_what_was_given(kms: Any, key: str, one: User, other: User) -> None:
    """Without the token."""
    given = {"EncryptionContextSubset": CONTEXT}
    made = grant(kms, key, one, "Encrypt", "Decrypt", Name="n", RetiringPrincipal=other.arn, Constraints=given)
    (entry,) = listed(kms, key)
    assert entry.pop("CreationDate") is not None
    assert entry == {
        "KeyId": key,
        "GrantId": made["GrantId"],
        "Name": "n",
        "GranteePrincipal": one.arn,
        "RetiringPrincipal": other.arn,
        "IssuingAccount": f"arn:aws:iam::{ACCOUNT}:root",
        "Operations": ["Decrypt", "Encrypt"],
        "Constraints": given,
    }


def test_a_list_is_narrowed_and_comes_in_pages(kms: Any, key: str, one: User, other: User) -> None:
    """Each grant once; a marker is for its own query."""
    mine = {grant(kms, key, one, "Decrypt")["GrantId"] for _ in range(3)}
    theirs = {grant(kms, key, other, "Decrypt")["GrantId"] for _ in range(2)}
    first = kms.list_grants(KeyId=key, Limit=2)
    assert (len(first["Grants"]), first["Truncated"]) == (2, True)
    pages = kms.get_paginator("list_grants").paginate(KeyId=key, PaginationConfig={"PageSize": 2})
    assert sorted(each["GrantId"] for page in pages for each in page["Grants"]) == sorted(mine | theirs)
    assert {each["GrantId"] for each in listed(kms, key, GranteePrincipal=one.arn)} == mine
    assert listed(kms, key, GranteeServicePrincipal=SERVICE) == []
    (only,) = theirs_first = sorted(theirs)[:1]
    assert [each["GrantId"] for each in listed(kms, key, GrantId=only)] == theirs_first
    assert listed(kms, key, GrantId=only, GranteePrincipal=one.arn) == listed(kms, key, GrantId=UNKNOWN) == []
    assert refusal(kms.list_grants, KeyId=key, GrantId="x")[0] == "InvalidGrantIdException"
    asked = {"KeyId": key, "GranteePrincipal": one.arn}
    code, _ = refusal(kms.list_grants, GranteeServicePrincipal=SERVICE, **asked)
    assert code == "ValidationException"
    assert refusal(kms.list_grants, Marker=first["NextMarker"], **asked)[0] == "InvalidMarkerException"


def test_retirable_grants_are_listed_over_keys(kms: Any, key: str, one: User, other: User) -> None:
    """Those of one retiring principal of the caller's account."""
    keys = [key, kms.create_key()["KeyMetadata"]["Arn"]]
    made = {grant(kms, each, one, "Decrypt", RetiringPrincipal=other.arn)["GrantId"] for each in keys}
    grant(kms, key, other, "Decrypt", RetiringPrincipal=one.arn)
    found = kms.list_retirable_grants(RetiringPrincipal=other.arn)
    assert {each["GrantId"] for each in found["Grants"]} == made
    assert {each["KeyId"] for each in found["Grants"]} == set(keys)
    assert kms.list_retirable_grants(RetiringPrincipal=other.arn, Limit=1)["Truncated"]
    for asked in ({}, {"RetiringServicePrincipal": SERVICE}, {"RetiringPrincipal": f"arn:aws:iam::{OTHER}:user/x"}):
        assert refusal(kms.list_retirable_grants, **asked)[0] == "ValidationException"
    assert refusal(other.client("kms").list_retirable_grants, RetiringPrincipal=other.arn)[0] == DENIED
