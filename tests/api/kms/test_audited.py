"""What the audit ledger says of a call of KMS."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from keywheel.access.access_keys import Role
from keywheel.access.audit.entries import Entry, Resource
from keywheel.access.door import Caller
from keywheel.access.sigv4 import Request
from keywheel.api import wire
from keywheel.api.audited import Call, entry_of
from keywheel.api.kms import shapes as s
from keywheel.api.operations import TABLE
from keywheel.arn import Scope
from keywheel.errors import ValidationFailed
from tests.api.test_shapes import MODELS, sample

SCOPE = Scope("123456789012", "eu-west-1")
CALLER = Caller("arn:aws:iam::123456789012:user/ann", SCOPE, Role.ADMINISTRATOR, "AKIAEXAMPLE")
ID, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
ARN, OTHERS = (SCOPE.arn("kms", f"key/{key_id}") for key_id in (ID, OTHER))
# What no entry holds: values, messages and what is made of them, policies, and text of a person's.
HIDDEN = {
    "plaintext", "ciphertext_blob", "message", "signature", "mac", "public_key", "shared_secret", "import_token",
    "encrypted_key_material", "policy", "description", "tags", "shared_secret_ciphertext_blob", "recipient",
    "key_material_description", "grant_tokens", "grant_token", "private_key_plaintext", "private_key_ciphertext_blob",
    "ciphertext_for_recipient", "key_store_password", "xks_proxy_authentication_credential",
    "trust_anchor_certificate", "key_metadata",
}  # fmt: skip


def entry(
    operation: str, members: msgspec.Struct | None, result: msgspec.Struct | None = None, *, code: str | None = None
) -> Entry:
    """The entry of a call by CALLER."""
    call = Call(TABLE[f"TrentService.{operation}".encode()], Request("POST", b"/", b"", [], b""), "id", "::1")
    call.caller, call.members, call.result = CALLER, members, result
    return entry_of(call, (200 if code is None else 400, b"", code), "2026-01-31T08:15:00Z")


@pytest.mark.parametrize(
    ("operation", "members", "result", "arns"),
    [
        ("Encrypt", s.EncryptRequest(key_id="alias/a", plaintext=b"x"), s.EncryptResponse(key_id=ARN), [ARN]),
        ("Encrypt", s.EncryptRequest(key_id="alias/a", plaintext=b"x"), None, None),
        ("Encrypt", s.EncryptRequest(key_id=f"{ARN}", plaintext=b"x"), None, [ARN]),
        ("DisableKey", s.DisableKeyRequest(key_id=ID), None, [ARN]),
        ("DisableKey", s.DisableKeyRequest(key_id="arn:aws:s3:::x/key/y"), None, None),
        ("GetKeyRotationStatus", s.GetKeyRotationStatusRequest(key_id=ID),
         s.GetKeyRotationStatusResponse(key_id=ID), [ARN]),
        ("CreateKey", s.CreateKeyRequest(), s.CreateKeyResponse(key_metadata=s.KeyMetadata(key_id=ID)), [ARN]),
        ("ReEncrypt", s.ReEncryptRequest(destination_key_id=OTHER),
         s.ReEncryptResponse(key_id=OTHERS, source_key_id=ARN), [OTHERS, ARN]),
        ("CreateAlias", s.CreateAliasRequest(alias_name="alias/a", target_key_id=ID), None, [ARN]),
        ("ListKeys", s.ListKeysRequest(), s.ListKeysResponse(), None),
    ],
)  # fmt: skip
def test_the_keys_of_a_call_are_named(
    operation: str, members: msgspec.Struct, result: msgspec.Struct | None, arns: list[str] | None
) -> None:
    """By their ARNs, as far as they are known."""
    told = entry(operation, members, result).resources
    expected = None if arns is None else [Resource(arn, "123456789012", "AWS::KMS::Key") for arn in arns]
    assert told == expected


TOKEN = base64.urlsafe_b64encode(bytes(48) + json.dumps([SCOPE.account, SCOPE.region, ID, "f" * 64]).encode()).decode()


def test_a_grant_that_was_retired_by_its_token_is_named() -> None:
    """The token is not. Where nothing was retired, it may be no token at all."""
    told = entry("RetireGrant", s.RetireGrantRequest(grant_token=TOKEN))
    assert told.resources == [Resource(ARN, SCOPE.account, "AWS::KMS::Key")]
    assert told.additional_event_data == {"grantId": "f" * 64}
    assert TOKEN.encode() not in msgspec.json.encode(told)
    refused = entry("RetireGrant", s.RetireGrantRequest(grant_token="x"), code="InvalidGrantTokenException")
    assert (refused.resources, refused.additional_event_data) == (None, None)


def test_a_grant_that_was_given_is_told() -> None:
    """To whom, what for, under which id; not its token."""
    members = s.CreateGrantRequest(
        key_id=ID,
        grantee_principal=CALLER.arn,
        operations=["Decrypt"],
        constraints=s.GrantConstraints(encryption_context_equals={"a": "1"}),
    )
    told = entry("CreateGrant", members, s.CreateGrantResponse(grant_token=TOKEN, grant_id="f" * 64))
    assert told.request_parameters == {
        "keyId": ID,
        "granteePrincipal": CALLER.arn,
        "operations": ["Decrypt"],
        "constraints": {"EncryptionContextEquals": {"a": "1"}},
    }
    assert told.response_elements == {"grantId": "f" * 64}


@pytest.mark.parametrize("operation", sorted(MODELS["kms"]["operations"]))
def test_no_value_gets_into_an_entry(operation: str) -> None:
    """Of all that a request and an answer can say, none of the hidden members."""
    request, response = s.OPERATIONS[operation]
    members = msgspec.convert(sample("kms", request.__name__, full=True), request)
    result = None if response is None else msgspec.convert(sample("kms", response.__name__, full=True), response)
    told = entry(operation, members, result)
    shown = {*(told.request_parameters or {}), *(told.response_elements or {})}
    wire_names = {field.name: field.encode_name for field in msgspec.structs.fields(request)}
    for name in HIDDEN:
        wire = wire_names.get(name, "".join(part.title() for part in name.split("_")))
        assert wire[0].lower() + wire[1:] not in shown
    text = msgspec.json.encode(told)
    assert b"S3cr3t" not in text
    assert b"UzNjcjN0" not in text  # the same in base64: no blob at all


@pytest.mark.parametrize(
    ("operation", "read_only"),
    [
        *((name, True) for name in ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateMac", "Sign")),
        *((name, True) for name in ("Verify", "VerifyMac", "DeriveSharedSecret", "Encapsulate", "DescribeKey")),
        *((name, False) for name in ("CreateKey", "DisableKey", "EnableKey", "ImportKeyMaterial", "UpdateAlias")),
        *((name, False) for name in ("ScheduleKeyDeletion", "CancelKeyDeletion", "RotateKeyOnDemand", "TagResource")),
    ],
)
def test_use_changes_nothing(operation: str, read_only: bool) -> None:
    """CloudTrail calls it read-only."""
    assert entry(operation, None).read_only is read_only


def test_a_refused_value_is_not_quoted() -> None:
    """A policy that is too long is in no entry, whatever it holds; nor is a tag, and nor is more than a kilobyte."""
    with pytest.raises(ValidationFailed) as refused:
        wire.decode(
            msgspec.json.encode(
                {"KeyId": "x" * 2049, "Policy": "it's at 'policy'\n" * 10_000, "Tags": [{"TagKey": "secret" * 30}]}
            ),
            s.ReplicateKeyRequest,
        )
    call = Call(TABLE[b"TrentService.ReplicateKey"], Request("POST", b"/", b"", [], b""), "id", "::1")
    call.caller, call.message = CALLER, refused.value.message
    told = entry_of(call, (400, b"", "ValidationException"), "2026-01-31T08:15:00Z").error_message
    assert told is not None
    assert told.startswith("5 validation errors detected: Value at 'keyId' failed to satisfy constraint: ")
    assert "Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to" in told
    assert "Value at 'tags.1.member.tagKey' failed" in told
    for word in ("xx", "it's", "secretsecret"):
        assert word not in told
    call.message = "é" * 5000
    assert entry_of(call, (400, b"", "x"), "2026-01-31T08:15:00Z").error_message == "é" * 1024


def test_an_entry_has_cloudtrails_form() -> None:
    """Of a failure it says the code, and nothing of an answer."""
    members = s.DecryptRequest(ciphertext_blob=b"x", key_id=ID, encryption_context={"a": "b"})
    told = msgspec.to_builtins(entry("Decrypt", members, code="InvalidCiphertextException"))
    assert told["eventSource"] == "kms.amazonaws.com"
    assert (told["eventName"], told["errorCode"]) == ("Decrypt", "InvalidCiphertextException")
    assert told["requestParameters"] == {"keyId": ID, "encryptionContext": {"a": "b"}}
    assert told["resources"] == [{"ARN": ARN, "accountId": "123456789012", "type": "AWS::KMS::Key"}]
    assert "responseElements" not in told
