"""The whole service model of KMS: every operation, every member of a request and of an answer; and who may ask."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from keywheel.access.access_keys import Role
from tests.conformance import answers
from tests.conformance.server import Answer, Server, fresh_region
from tests.conformance.test_kms_rotation import KEEPS, MATERIAL, wrapped_by_openssl
from tests.support.keywheel_server import ACCOUNT, REGION

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "compatibility.md"
MODEL = (
    boto3.Session(region_name="us-east-1")
    .client("kms", aws_access_key_id="x", aws_secret_access_key="x")
    .meta.service_model
)
OPERATIONS: list[str] = sorted(MODEL.operation_names)
UNSUPPORTED: set[str] = set()
READS = ("Describe", "Get", "List")
SOMEBODY = f"arn:aws:iam::{ACCOUNT}:user/somebody"
# What no answer holds where there are no enclaves and, in this life, custom key stores; and what a new key has not.
NEVER_ANSWERED = {
    *(
        f"{metadata}.{member}"
        for metadata in ("CreateKey.KeyMetadata", "DescribeKey.KeyMetadata", "ReplicateKey.ReplicaKeyMetadata")
        for member in ("CustomKeyStoreId", "CloudHsmClusterId", "XksKeyConfiguration")
    ),
    *(
        f"{metadata}.{member}"
        for metadata in ("CreateKey.KeyMetadata", "ReplicateKey.ReplicaKeyMetadata")
        for member in ("DeletionDate", "PendingDeletionWindowInDays", "ValidTo", "ExpirationModel")
    ),
    *(f"CreateKey.KeyMetadata.MultiRegionConfiguration.ReplicaKeys.{member}" for member in ("Arn", "Region")),
    *(f"{operation}.CiphertextForRecipient" for operation in OPERATIONS),
    *("CreateCustomKeyStore", "DescribeCustomKeyStores"),
    "GetKeyLastUsage.KeyLastUsage.CloudTrailEventId",
    "GetKeyLastUsage.KeyLastUsage.KmsRequestId",
    "GetKeyRotationStatus.OnDemandRotationStartDate",  # it is over when it is answered
    "ListKeyPolicies.NextMarker",  # there is one policy
    "ListRetirableGrants.Grants.RetiringServicePrincipal",  # only a service may list these
}  # fmt: skip


def post(server: Server, operation: str, body: Any, **options: Any) -> Answer:
    """Sign for KMS, and send."""
    return server.post(operation, body, **{"prefix": "TrentService.", "service": "kms", **options})


# --- the envelope -----------------------------------------------------------------------------------------------------


def test_an_error_spells_its_text_in_small_letters(server: Server) -> None:
    """Whether the model knows the code or not; the code stands in a header, too."""
    for body, code in (
        ({"KeyId": "x"}, "NotFoundException"),
        ({}, "ValidationException"),
        ({"KeyId": 1}, "SerializationException"),
    ):
        answer = post(server, "DescribeKey", body)
        assert set(answer.json) == {"__type", "message"}
        assert (answer.json["__type"], answer.headers["x-amzn-errortype"], answer.status) == (code, code, 400)
        assert re.fullmatch("[0-9a-f-]{36}", answer.headers["x-amzn-requestid"])
    assert post(server, "DescribeKey", {}).json["message"] == (
        "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"
    )


def test_an_unknown_operation_is_not_known(server: Server) -> None:
    """Nor one of the other service, nor another spelling."""
    for operation in ("Fantasy", "encrypt", "GetSecretValue", ""):
        assert post(server, operation, {}).error[0] == "UnknownOperationException"
    assert post(server, "Encrypt", {}, prefix="kms.").error[0] == "UnknownOperationException"


def test_a_signature_is_for_its_service(server: Server) -> None:
    """One for Secrets Manager opens nothing in KMS, and the other way round."""
    refused = ("InvalidSignatureException", "Credential should be scoped to correct service: 'kms'.")
    assert post(server, "ListKeys", {}, service="secretsmanager").error == refused
    refused = ("InvalidSignatureException", "Credential should be scoped to correct service: 'secretsmanager'.")
    assert server.post("ListSecrets", {}, service="kms").error == refused


def test_several_errors_are_told_at_once(server: Server) -> None:
    """Each with its member."""
    answer = post(server, "CreateAlias", {"AliasName": "", "TargetKeyId": None})
    assert answer.error[1].startswith("3 validation errors detected: ")
    answer = post(server, "TagResource", {"KeyId": "x", "Tags": [{"TagKey": ""}]})
    assert "at 'tags.1.member.tagKey' failed to satisfy constraint" in answer.error[1]
    assert "Value null at 'tags.1.member.tagValue' failed" in answer.error[1]


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ([], "SerializationException"),
        ("x", "SerializationException"),
        ({"a": 1}, "SerializationException"),
        ({"a": {}}, "SerializationException"),
        ({"a": None}, "ValidationException"),
    ],
    ids=repr,
)
def test_a_context_is_a_map_of_texts(server: Server, context: Any, code: str) -> None:
    """Anything else is refused before the key is looked for."""
    members = {"KeyId": "x", "Plaintext": "eA==", "EncryptionContext": context}
    assert post(server, "Encrypt", members).error[0] == code


@pytest.mark.parametrize("instant", ["x", True, "1e400", {}, []], ids=repr)
def test_a_date_is_a_number(server: Server, instant: Any) -> None:
    """Of seconds, and one that a calendar has."""
    members = {"KeyId": "x", "ImportToken": "eA==", "EncryptedKeyMaterial": "eA==", "ValidTo": instant}
    assert post(server, "ImportKeyMaterial", members).error[0] == "SerializationException"
    beyond = b'{"KeyId": "x", "ImportToken": "eA==", "EncryptedKeyMaterial": "eA==", "ValidTo": %s}'
    for number in (b"1e300", b"-1e300", b"99999999999999"):
        assert post(server, "ImportKeyMaterial", beyond % number).error[0] == "ValidationException"
    assert post(server, "ImportKeyMaterial", beyond % b"1e400").error[0] == "SerializationException"


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("CreateKey", {"Description": "a\0b"}),
        ("CreateKey", {"Tags": [{"TagKey": "a\0", "TagValue": ""}]}),
        ("DescribeKey", {"KeyId": "a\0b"}),
        ("UpdateKeyDescription", {"KeyId": "x", "Description": "\0"}),
        ("UntagResource", {"KeyId": "x", "TagKeys": ["\0"]}),
    ],
)
def test_a_nul_character_is_a_callers_error(server: Server, operation: str, members: dict[str, Any]) -> None:
    """No text that is stored takes one; it is ValidationException here, for KMS knows no InvalidParameterException."""
    code, text = post(server, operation, members).error
    assert (code, text.endswith("can't hold a NUL character.")) == ("ValidationException", True)


# --- requests ---------------------------------------------------------------------------------------------------------


def request_members(shape: Shape, inside: str = "") -> Iterator[tuple[str, Any]]:
    """Each member of a request with a document in which that member, and nothing else, has the wrong JSON type."""
    if not isinstance(shape, StructureShape):
        return
    for member, kind in shape.members.items():
        wrong: Any = [] if isinstance(kind, StructureShape | MapShape) else {}
        yield f"{inside}{member}", {member: wrong}
        within = kind.member if isinstance(kind, ListShape) else kind
        for path, document in request_members(within, f"{inside}{member}."):
            yield path, {member: [document] if isinstance(kind, ListShape) else document}


MEMBERS = [
    pytest.param(operation, document, id=f"{operation}.{path}")
    for operation in OPERATIONS
    for path, document in request_members(MODEL.operation_model(operation).input_shape)
]


@pytest.mark.parametrize(("operation", "document"), MEMBERS)
def test_every_member_of_a_request_is_known(server: Server, operation: str, document: Any) -> None:
    """A member of the wrong type is refused, so it is read: members that nobody knows are ignored."""
    answer = post(server, operation, document)
    assert (answer.status, answer.error[0]) == (400, "SerializationException")
    assert post(server, "GenerateRandom", {"NumberOfBytes": 1, "Fantasy": {}}).status == 200


def valid(shape: Shape) -> Any:
    """The least that a shape takes."""
    if isinstance(shape, StructureShape):
        return {member: valid(shape.members[member]) for member in shape.required_members}
    if isinstance(shape, ListShape):
        return [valid(shape.member)]
    if shape.name == "RegionType":
        return "eu-west-1"
    if "enum" in shape.metadata:
        return shape.metadata["enum"][0]
    return {"string": "x" * max(shape.metadata.get("min", 1), 1), "blob": "eHh4"}[shape.type_name]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_served_or_says_that_it_is_not(server: Server, operation: str) -> None:
    """An operation that is not built answers UnsupportedOperationException, and the guide lists it."""
    answer = post(server, operation, valid(MODEL.operation_model(operation).input_shape), region=fresh_region())
    code = "" if answer.status == 200 else answer.error[0]
    assert code != "UnknownOperationException"
    assert (code == "UnsupportedOperationException") is (operation in UNSUPPORTED)
    assert operation not in UNSUPPORTED or f"`{operation}`" in GUIDE.read_text(encoding="utf-8")


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def reader(server: Server) -> Any:
    """A read-only access key, and a key with an alias, a ciphertext and a grant."""
    kms = server.client(service="kms")
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/readers", TargetKeyId=key_id)
    blob = base64.b64encode(kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]).decode()
    grant = kms.create_grant(KeyId=key_id, GranteePrincipal=SOMEBODY, Operations=["Decrypt"])["GrantId"]
    return server.access_key(Role.READ_ONLY, user="reader"), key_id, blob, grant


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in UNSUPPORTED])
def test_who_only_reads_changes_and_uses_no_key(server: Server, reader: Any, operation: str) -> None:
    """AccessDeniedException names the caller, the action and the resource, whatever the operation."""
    pair, key_id, blob, grant = reader
    members = valid(MODEL.operation_model(operation).input_shape)
    known = {"KeyId": key_id, "TargetKeyId": key_id, "AliasName": "alias/readers", "DestinationKeyId": key_id}
    known |= {"GrantId": grant, "GranteePrincipal": SOMEBODY, "RetiringPrincipal": SOMEBODY}
    takes = MODEL.operation_model(operation).input_shape.members
    members |= {name: value for name, value in known.items() if name in takes}
    members |= {"CiphertextBlob": blob} if "CiphertextBlob" in takes else {}
    members |= {"KeySpec": "AES_256"} if operation.startswith("GenerateDataKey") and "KeySpec" in takes else {}
    answer = post(server, operation, members, pair=pair)
    if operation.startswith(READS):
        assert answer.status == 200 or answer.error[0] == "UnsupportedOperationException"
        return
    code, text = answer.error
    action = "ReEncryptFrom" if operation == "ReEncrypt" else operation
    resource = rf"(\*|arn:aws:kms:{REGION}:{ACCOUNT}:(key/{key_id}|alias/readers))"
    assert code == "AccessDeniedException"
    assert re.match(
        rf"User: arn:aws:iam::{ACCOUNT}:user/reader is not authorized to perform: kms:{action} on resource: {resource} "
        rf"because no identity-based policy allows the kms:{action} action\Z",
        text,
    )


# --- answers ----------------------------------------------------------------------------------------------------------


class Recorder:
    """Sends requests, holds each answer to the model's output shape, and keeps the members it has seen."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._region = fresh_region()
        self.seen: set[str] = set()

    def __call__(self, operation: str, **request: Any) -> Any:
        answer = post(self._server, operation, request, region=self._region)
        assert answer.status == 200, answer.body
        shape = MODEL.operation_model(operation).output_shape
        if shape is None:
            assert answer.json == {}
        else:
            self.seen.update(answers.conforms(shape, answer.json, operation))
        return answer.json

    def key(self, **request: Any) -> str:
        """A new key; its id."""
        key_id: str = self("CreateKey", **request)["KeyMetadata"]["KeyId"]
        self("DescribeKey", KeyId=key_id)
        return key_id


def encoded(raw: bytes) -> str:
    """Bytes as JSON carries them."""
    return base64.b64encode(raw).decode()


def test_every_answer_is_of_its_shape_and_every_member_is_used(server: Server, tmp_path: Path) -> None:
    """In a life of a few keys each answer holds what the model knows, nothing else, and together they hold all."""
    call = Recorder(server)
    symmetric = _symmetric(call)
    _pairs(call)
    _imported(call, tmp_path)
    _grants(call, symmetric)
    _regional(call)
    _endings(call, symmetric)
    everything = {
        member
        for operation in OPERATIONS
        if operation not in UNSUPPORTED
        for member in answers.members(MODEL.operation_model(operation).output_shape, operation)
    }
    never = {member for member in everything if any((member + ".").startswith(f"{left}.") for left in NEVER_ANSWERED)}
    assert set() == never & call.seen
    assert set() == everything - never - call.seen


def _symmetric(call: Recorder) -> str:
    tags = [{"TagKey": name, "TagValue": "v"} for name in "ab"]
    key = call.key(Description="d", Tags=tags)
    call("GetKeyPolicy", KeyId=key)
    call("ListKeyPolicies", KeyId=key)
    call("PutKeyPolicy", KeyId=key, Policy=call("GetKeyPolicy", KeyId=key)["Policy"])
    call("ListResourceTags", KeyId=key, Limit=1)
    call("TagResource", KeyId=key, Tags=tags)
    call("UntagResource", KeyId=key, TagKeys=["a"])
    call("UpdateKeyDescription", KeyId=key, Description="e")
    for name in ("alias/a", "alias/b"):
        call("CreateAlias", AliasName=name, TargetKeyId=key)
    call("ListAliases", Limit=1)
    call("UpdateAlias", AliasName="alias/b", TargetKeyId=call.key())
    call("DeleteAlias", AliasName="alias/b")
    call("ListKeys", Limit=1)
    blob = call("Encrypt", KeyId=key, Plaintext="eA==")["CiphertextBlob"]
    call("Decrypt", CiphertextBlob=blob)
    call("ReEncrypt", CiphertextBlob=blob, DestinationKeyId=key)
    call("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    call("GenerateDataKeyWithoutPlaintext", KeyId=key, KeySpec="AES_256")
    call("GenerateDataKeyPair", KeyId=key, KeyPairSpec="ECC_NIST_P256")
    call("GenerateDataKeyPairWithoutPlaintext", KeyId=key, KeyPairSpec="ECC_NIST_P256")
    call("GenerateRandom", NumberOfBytes=1)
    call("EnableKeyRotation", KeyId=key)
    call("GetKeyRotationStatus", KeyId=key)
    for _ in range(2):
        call("RotateKeyOnDemand", KeyId=key)
    call("ListKeyRotations", KeyId=key, Limit=1)
    call("DisableKeyRotation", KeyId=key)
    call("GetKeyLastUsage", KeyId=key)
    return key


def _pairs(call: Recorder) -> None:
    signs = call.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    signing = {"KeyId": signs, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}
    call("Verify", Signature=call("Sign", **signing)["Signature"], **signing)
    call("GetPublicKey", KeyId=signs)
    mac = {"KeyId": call.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"), "Message": "eA=="}
    mac |= {"MacAlgorithm": "HMAC_SHA_256"}
    call("VerifyMac", Mac=call("GenerateMac", **mac)["Mac"], **mac)
    agrees = call.key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    public = call("GetPublicKey", KeyId=agrees)["PublicKey"]
    call("DeriveSharedSecret", KeyId=agrees, KeyAgreementAlgorithm="ECDH", PublicKey=public)
    wraps = call.key(KeySpec="ML_KEM_768", KeyUsage="ENCAPSULATE_DECAPSULATE")
    this = {"KeyId": wraps, "EncapsulationAlgorithm": "ML_KEM"}
    blob = call("Encapsulate", **this)["SharedSecretCiphertextBlob"]
    call("Decapsulate", SharedSecretCiphertextBlob=blob, **this)
    call("GetPublicKey", KeyId=wraps)
    call("GetPublicKey", KeyId=call.key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"))


def _imported(call: Recorder, directory: Path) -> None:
    key = call.key(Origin="EXTERNAL")
    asked = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    parameters = call("GetParametersForImport", KeyId=key, **asked)
    public = base64.b64decode(parameters["PublicKey"])

    def given(material: bytes, **more: Any) -> None:
        wrapped = encoded(wrapped_by_openssl(directory, public, material))
        token = parameters["ImportToken"]
        call("ImportKeyMaterial", KeyId=key, ImportToken=token, EncryptedKeyMaterial=wrapped, **more)

    given(MATERIAL, ExpirationModel=KEEPS, KeyMaterialDescription="d")
    given(MATERIAL[::-1], ImportType="NEW_KEY_MATERIAL", ValidTo=parameters["ParametersValidTo"])
    call("ListKeyRotations", KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    call("RotateKeyOnDemand", KeyId=key)
    call("DescribeKey", KeyId=key)
    call("DeleteImportedKeyMaterial", KeyId=key)


def _grants(call: Recorder, key: str) -> None:
    service = "lambda.amazonaws.com"
    context = {"EncryptionContextEquals": {"a": "1"}, "EncryptionContextSubset": {"a": "1"}}
    source = {"SourceArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"}
    this = {"KeyId": key, "Operations": ["Decrypt"]}
    person = {"GranteePrincipal": SOMEBODY, "RetiringPrincipal": SOMEBODY}
    first = call("CreateGrant", **this, **person, Name="n", Constraints=context)
    second = call("CreateGrant", **this, **person, Constraints=source)
    services = {"GranteeServicePrincipal": service, "RetiringServicePrincipal": service}
    call("CreateGrant", **this, **services, Constraints=source)
    mixed = {"GranteeServicePrincipal": service, "RetiringPrincipal": SOMEBODY}
    third = call("CreateGrant", **this, **mixed, Constraints=source)
    call("ListGrants", KeyId=key)
    call("ListGrants", KeyId=key, Limit=1)
    call("ListRetirableGrants", RetiringPrincipal=SOMEBODY)
    call("ListRetirableGrants", RetiringPrincipal=SOMEBODY, Limit=1)
    call("RetireGrant", GrantToken=first["GrantToken"])
    call("RetireGrant", KeyId=key, GrantId=second["GrantId"])
    call("RevokeGrant", KeyId=key, GrantId=third["GrantId"])


def _regional(call: Recorder) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"},
        {"KeySpec": "ML_KEM_768", "KeyUsage": "ENCAPSULATE_DECAPSULATE"},
    ]
    keys = [call.key(MultiRegion=True, **kind) for kind in kinds]
    region = fresh_region()
    for key in keys:
        call("ReplicateKey", KeyId=key, ReplicaRegion=region, Tags=[{"TagKey": "a", "TagValue": "b"}])
    call("UpdatePrimaryRegion", KeyId=keys[0], PrimaryRegion=region)
    call("ScheduleKeyDeletion", KeyId=keys[1], PendingWindowInDays=7)
    for key in keys:
        call("DescribeKey", KeyId=key)


def _endings(call: Recorder, key: str) -> None:
    call("DisableKey", KeyId=key)
    call("EnableKey", KeyId=key)
    call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    call("DescribeKey", KeyId=key)
    call("CancelKeyDeletion", KeyId=key)


def test_the_guide_lists_what_the_model_knows() -> None:
    """In its table of what is not supported stand every such operation, and nothing but operations and members."""
    part = GUIDE.read_text(encoding="utf-8").partition("\n## KMS")[2]
    table = part.partition("UnsupportedOperationException")[2].partition("\n### ")[0]
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", table))
    known = {member for operation in OPERATIONS for member in MODEL.operation_model(operation).input_shape.members}
    assert UNSUPPORTED <= named <= known | set(OPERATIONS)
