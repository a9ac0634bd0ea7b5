"""The operation table: `X-Amz-Target` → request shape, handler, action, and where it may run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from keywheel.access.door import Caller
from keywheel.api import alias_rotations, clock, diagnosis, evidence, key_enforcement, reencryption, status
from keywheel.api.kms import aliases, ciphers, grants, imports, keys, regions, signatures, stores
from keywheel.api.kms import policies as key_policies
from keywheel.api.kms import rotation as key_rotation
from keywheel.api.kms.shapes import OPERATIONS as KMS_SHAPES
from keywheel.api.rooms import Rooms
from keywheel.api.secretsmanager import policies, replication, rotation, secrets, values
from keywheel.api.secretsmanager.shapes import OPERATIONS as SHAPES
from keywheel.api.sts import query, sessions
from keywheel.api.wire import KMS, SECRETS_MANAGER, STS, Service
from keywheel.errors import UnknownOperation, ValidationFailed

Handler = Callable[[Rooms, Caller, Any], Struct | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    `quick`: it does no more than a look-up, so it may run on the event loop. `writes`: it changes the store and waits
    for nothing else, so it may run on the thread that writes. `late`: its handler authorizes it, when it has found the
    secret or key that it is about. `slow`: what in a body says that this request is not quick.
    """

    request: type[Struct]
    handler: Handler
    action: str
    service: Service = SECRETS_MANAGER
    quick: bool = False
    writes: bool = False
    late: bool = False
    slow: re.Pattern[bytes] | None = None

    def is_quick(self, body: bytes) -> bool:
        """Whether the request with this body may run on the event loop."""
        return self.quick and (self.slow is None or self.slow.search(body) is None)


_SECRETS_MANAGER: dict[str, Handler] = {
    "AssociateCrossAccountReplica": replication.associate_cross_account_replica,
    "BatchGetSecretValue": values.batch_get_secret_value,
    "CancelRotateSecret": rotation.cancel_rotate_secret,
    "CreateSecret": secrets.create_secret,
    "DeleteResourcePolicy": policies.delete_resource_policy,
    "DeleteSecret": secrets.delete_secret,
    "DescribeSecret": secrets.describe_secret,
    "DisassociateCrossAccountReplica": replication.disassociate_cross_account_replica,
    "GetRandomPassword": values.get_random_password,
    "GetResourcePolicy": policies.get_resource_policy,
    "GetSecretValue": values.get_secret_value,
    "ListResourcePolicies": policies.list_resource_policies,
    "ListSecretVersionIds": values.list_secret_version_ids,
    "ListSecrets": secrets.list_secrets,
    "PutResourcePolicy": policies.put_resource_policy,
    "PutSecretValue": values.put_secret_value,
    "RemoveRegionsFromReplication": replication.remove_regions_from_replication,
    "ReplicateSecretToRegions": replication.replicate_secret_to_regions,
    "RestoreSecret": secrets.restore_secret,
    "RotateSecret": rotation.rotate_secret,
    "StopReplicationToReplica": replication.stop_replication_to_replica,
    "TagResource": secrets.tag_resource,
    "UntagResource": secrets.untag_resource,
    "UpdateSecret": secrets.update_secret,
    "UpdateSecretVersionStage": values.update_secret_version_stage,
    "ValidateResourcePolicy": policies.validate_resource_policy,
}
_KMS: dict[str, Handler] = {
    "CancelKeyDeletion": keys.cancel_key_deletion,
    "ConnectCustomKeyStore": stores.connect_custom_key_store,
    "CreateAlias": aliases.create_alias,
    "CreateCustomKeyStore": stores.create_custom_key_store,
    "CreateGrant": grants.create_grant,
    "CreateKey": keys.create_key,
    "Decapsulate": signatures.decapsulate,
    "Decrypt": ciphers.decrypt,
    "DeleteAlias": aliases.delete_alias,
    "DeleteCustomKeyStore": stores.delete_custom_key_store,
    "DeleteImportedKeyMaterial": imports.delete_imported_key_material,
    "DeriveSharedSecret": signatures.derive_shared_secret,
    "DescribeCustomKeyStores": stores.describe_custom_key_stores,
    "DescribeKey": keys.describe_key,
    "DisableKey": keys.disable_key,
    "DisableKeyRotation": key_rotation.disable_key_rotation,
    "DisconnectCustomKeyStore": stores.disconnect_custom_key_store,
    "EnableKey": keys.enable_key,
    "EnableKeyRotation": key_rotation.enable_key_rotation,
    "Encapsulate": signatures.encapsulate,
    "Encrypt": ciphers.encrypt,
    "GenerateDataKey": ciphers.generate_data_key,
    "GenerateDataKeyPair": ciphers.generate_data_key_pair,
    "GenerateDataKeyPairWithoutPlaintext": ciphers.generate_data_key_pair_without_plaintext,
    "GenerateDataKeyWithoutPlaintext": ciphers.generate_data_key_without_plaintext,
    "GenerateMac": signatures.generate_mac,
    "GenerateRandom": ciphers.generate_random,
    "GetKeyLastUsage": keys.get_key_last_usage,
    "GetKeyPolicy": key_policies.get_key_policy,
    "GetKeyRotationStatus": key_rotation.get_key_rotation_status,
    "GetParametersForImport": imports.get_parameters_for_import,
    "GetPublicKey": signatures.get_public_key,
    "ImportKeyMaterial": imports.import_key_material,
    "ListAliases": aliases.list_aliases,
    "ListGrants": grants.list_grants,
    "ListKeyPolicies": key_policies.list_key_policies,
    "ListKeyRotations": key_rotation.list_key_rotations,
    "ListKeys": keys.list_keys,
    "ListResourceTags": keys.list_resource_tags,
    "ListRetirableGrants": grants.list_retirable_grants,
    "PutKeyPolicy": key_policies.put_key_policy,
    "ReEncrypt": ciphers.re_encrypt,
    "ReplicateKey": keys.replicate_key,
    "RetireGrant": grants.retire_grant,
    "RevokeGrant": grants.revoke_grant,
    "RotateKeyOnDemand": key_rotation.rotate_key_on_demand,
    "ScheduleKeyDeletion": keys.schedule_key_deletion,
    "Sign": signatures.sign,
    "TagResource": keys.tag_resource,
    "UntagResource": keys.untag_resource,
    "UpdateAlias": aliases.update_alias,
    "UpdateCustomKeyStore": stores.update_custom_key_store,
    "UpdateKeyDescription": keys.update_key_description,
    "UpdatePrimaryRegion": regions.update_primary_region,
    "Verify": signatures.verify,
    "VerifyMac": signatures.verify_mac,
}
_OWN: dict[str, tuple[type[Struct], Handler]] = {
    "ListRotations": (status.ListRotationsRequest, status.list_rotations),
    "ExplainSecret": (diagnosis.ExplainSecretRequest, diagnosis.explain_secret),
    "RepairSecret": (diagnosis.RepairSecretRequest, diagnosis.repair_secret),
    "GetRotationEvidence": (evidence.GetRotationEvidenceRequest, evidence.get_rotation_evidence),
    "DescribeClock": (clock.DescribeClockRequest, clock.describe_clock),
    "AcceptClock": (clock.AcceptClockRequest, clock.accept_clock),
    "ListRotationEvents": (status.ListRotationEventsRequest, status.list_rotation_events),
}
# They are about an alias or a whole account, and are authorized where that is known.
_OF_KEYS: dict[str, tuple[type[Struct], Handler]] = {
    "DescribeAliasRotation": (alias_rotations.AliasRequest, alias_rotations.describe_alias_rotation),
    "EnforceKeyRotation": (key_enforcement.EnforceKeyRotationRequest, key_enforcement.enforce_key_rotation),
    "GetKeySet": (alias_rotations.AliasRequest, alias_rotations.get_key_set),
    "ListAliasRotationEvents": (alias_rotations.AliasRequest, alias_rotations.list_alias_rotation_events),
    "ListAliasRotations": (alias_rotations.ListAliasRotationsRequest, alias_rotations.list_alias_rotations),
    "ReencryptSecrets": (reencryption.ReencryptSecretsRequest, reencryption.reencrypt_secrets),
    "ScheduleAliasRotation": (alias_rotations.ScheduleAliasRotationRequest, alias_rotations.schedule_alias_rotation),
    "StartAliasRotation": (alias_rotations.StartAliasRotationRequest, alias_rotations.start_alias_rotation),
    "UnscheduleAliasRotation": (alias_rotations.AliasRequest, alias_rotations.unschedule_alias_rotation),
}
_QUICK = frozenset({"GetSecretValue", "DescribeSecret"})
# What is about no secret that could have a policy.
_EARLY = frozenset(
    {"AssociateCrossAccountReplica", "BatchGetSecretValue", "CreateSecret", "DisassociateCrossAccountReplica",
     "GetRandomPassword", "ListSecrets"}
)  # fmt: skip
_OWN_LATE = frozenset({"ExplainSecret", "RepairSecret", "ListRotationEvents"})
# What a symmetric or HMAC key does is quick, and what P-256 and Ed25519 do.
_KMS_QUICK = frozenset(
    {"DescribeKey", "Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateMac",
     "GenerateRandom", "Sign", "Verify", "VerifyMac"}
)  # fmt: skip
# An RSA key's private half takes up to two milliseconds, in which the library lets others run: in a thread, nobody
# waits. So do the larger curves. What is seen in a body decides no more than where it is carried out.
_LARGE_CURVES = "ECDSA_SHA_[35]|ML_DSA|SM2"
_KMS_SLOW = {
    "Decrypt": re.compile(b"RSAES_"),
    "Sign": re.compile(f"RSASSA_|{_LARGE_CURVES}".encode()),
    "Verify": re.compile(_LARGE_CURVES.encode()),
}
# Not RotateSecret, which may ask a Lambda endpoint.
_WRITES = frozenset(
    {"CreateSecret", "PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage", "DeleteSecret", "RestoreSecret",
     "TagResource", "UntagResource"}
)  # fmt: skip
# Not CreateKey, which may have to find two large primes.
_KMS_WRITES = frozenset(
    {"CancelKeyDeletion", "CreateAlias", "CreateGrant", "DeleteAlias", "DisableKey", "DisableKeyRotation", "EnableKey",
     "EnableKeyRotation", "PutKeyPolicy", "ReplicateKey", "RetireGrant", "RevokeGrant", "RotateKeyOnDemand",
     "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateAlias", "UpdateKeyDescription",
     "UpdatePrimaryRegion"}
)  # fmt: skip


def _table() -> dict[bytes, Operation]:
    table = {
        f"secretsmanager.{name}".encode(): Operation(
            SHAPES[name][0],
            handler,
            f"secretsmanager:{name}",
            quick=name in _QUICK,
            writes=name in _WRITES,
            late=name not in _EARLY,
        )
        for name, handler in _SECRETS_MANAGER.items()
    }
    for name, (shape, handler) in _OWN.items():
        table[f"keywheel.{name}".encode()] = Operation(shape, handler, f"keywheel:{name}", late=name in _OWN_LATE)
    for name, (shape, handler) in _OF_KEYS.items():
        table[f"keywheel.{name}".encode()] = Operation(shape, handler, f"keywheel:{name}", late=True)
    for name, handler in _KMS.items():
        table[f"TrentService.{name}".encode()] = Operation(
            KMS_SHAPES[name][0],
            handler,
            f"kms:{name}",
            service=KMS,
            quick=name in _KMS_QUICK,
            writes=name in _KMS_WRITES,
            late=True,
            slow=_KMS_SLOW.get(name),
        )
    return table


TABLE = _table()


def _unknown_action(rooms: Rooms, caller: Caller, request: Any) -> None:
    del rooms, caller, request
    raise UnknownOperation("Could not find the operation. GetCallerIdentity and AssumeRole are served.")


_STS = {
    "AssumeRole": Operation(
        query.AssumeRoleRequest, sessions.assume_role, "sts:AssumeRole", STS, writes=True, late=True
    ),
    "GetCallerIdentity": Operation(
        query.GetCallerIdentityRequest, sessions.get_caller_identity, "sts:GetCallerIdentity", STS, late=True
    ),
}
_UNKNOWN = Operation(query.GetCallerIdentityRequest, _unknown_action, "sts:UnknownOperation", STS, late=True)


def operation_of_form(body: bytes) -> Operation:
    """The operation that a form of the query protocol asks for; one that refuses, where there is none."""
    try:
        action = query.form(body).get("Action", "")
    except ValidationFailed:
        action = ""
    return _STS.get(action, _UNKNOWN)


def resource_of(request: Struct, caller: Caller) -> str:
    """The ARN that an action is about: the secret's as far as the request names it, else `*`."""
    secret_id = getattr(request, "secret_id", None) or getattr(request, "name", None)
    if not isinstance(secret_id, str):
        return "*"
    return secret_id if secret_id.startswith("arn:") else caller.scope.arn("secretsmanager", f"secret:{secret_id}")
