"""Key state × operation: one table, and the few rules about origins that stand beside it. No I/O.

The table is that of the KMS Developer Guide, "Key states of KMS keys". A cell says what happens to a request: it is
allowed, or refused by an error of this class with this text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from keywheel.errors import AccessDenied, CallerError, UnsupportedOperation
from keywheel.keys.errors import KeyDisabled, KeyInvalidState

ENABLED, DISABLED, PENDING_IMPORT = "Enabled", "Disabled", "PendingImport"
PENDING_DELETION, PENDING_REPLICA_DELETION = "PendingDeletion", "PendingReplicaDeletion"
UNAVAILABLE, CREATING, UPDATING = "Unavailable", "Creating", "Updating"
STATES = (
    ENABLED,
    DISABLED,
    PENDING_DELETION,
    PENDING_REPLICA_DELETION,
    PENDING_IMPORT,
    UNAVAILABLE,
    CREATING,
    UPDATING,
)
AWS_KMS, EXTERNAL = "AWS_KMS", "EXTERNAL"  # origins of material; the others are those of custom key stores
PRIMARY, REPLICA = "PRIMARY", "REPLICA"  # what a Region's key is among those of a multi-Region key


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: the error and its text, in which `{}` is the key's ARN."""

    error: type[CallerError]
    text: str


_IS_DISABLED = Refusal(KeyDisabled, "{} is disabled.")
_DELETING = Refusal(KeyInvalidState, "{} is pending deletion.")
_REPLICA_DELETING = Refusal(KeyInvalidState, "{} is pending replica deletion.")
_NOT_DELETING = Refusal(KeyInvalidState, "{} is not pending deletion.")
_IMPORTING = Refusal(KeyInvalidState, "{} is pending import.")
_UNAVAILABLE = Refusal(KeyInvalidState, "{} is unavailable.")
_CREATING = Refusal(KeyInvalidState, "{} is creating.")
_UPDATING = Refusal(KeyInvalidState, "{} is updating.")

_ON_ITS_WAY_OUT = {PENDING_DELETION: _DELETING, PENDING_REPLICA_DELETION: _REPLICA_DELETING}
_NEVER: Mapping[str, Refusal] = MappingProxyType({})
_USE = {
    DISABLED: _IS_DISABLED,
    **_ON_ITS_WAY_OUT,
    PENDING_IMPORT: _IMPORTING,
    UNAVAILABLE: _UNAVAILABLE,
    CREATING: _CREATING,
}
_GRANT = {state: refusal for state, refusal in _USE.items() if state != UNAVAILABLE}
_SWITCH = {**_ON_ITS_WAY_OUT, PENDING_IMPORT: _IMPORTING, CREATING: _CREATING, UPDATING: _UPDATING}
_ROTATE = {DISABLED: _IS_DISABLED, **_ON_ITS_WAY_OUT, CREATING: _CREATING}
_IMPORT_BEGINS = {**_ON_ITS_WAY_OUT, CREATING: _CREATING, UPDATING: _UPDATING}
_CANCEL = {state: _NOT_DELETING for state in STATES if state not in _ON_ITS_WAY_OUT}

_ROWS: tuple[tuple[tuple[str, ...], Mapping[str, Refusal]], ...] = (
    (
        (
            *("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
            *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
            *("Sign", "Verify", "GetPublicKey", "GenerateMac", "VerifyMac"),
            *("DeriveSharedSecret", "Encapsulate", "Decapsulate"),
        ),
        _USE,
    ),
    (("CreateGrant",), _GRANT),
    (
        (
            *("DescribeKey", "GetKeyPolicy", "PutKeyPolicy", "ListAliases", "ListGrants", "ListKeyPolicies"),
            *("ListResourceTags", "RetireGrant", "RevokeGrant", "DeleteAlias", "GetKeyLastUsage", "ListKeyRotations"),
            "GetKeyRotationStatus",
        ),
        _NEVER,
    ),
    (("CreateAlias", "UpdateAlias"), _ON_ITS_WAY_OUT),  # UpdateAlias: of the key that the alias shall point to
    (("EnableKey", "DisableKey"), _SWITCH),
    (("EnableKeyRotation", "DisableKeyRotation"), _ROTATE),
    (("RotateKeyOnDemand",), {**_ROTATE, PENDING_IMPORT: _IMPORTING, UNAVAILABLE: _UNAVAILABLE}),
    (("ScheduleKeyDeletion",), {**_ON_ITS_WAY_OUT, UPDATING: _UPDATING}),
    (("CancelKeyDeletion",), _CANCEL),
    (("TagResource", "UntagResource", "UpdateKeyDescription"), _ON_ITS_WAY_OUT),
    (("GetParametersForImport",), _IMPORT_BEGINS),
    (("ImportKeyMaterial",), {**_ON_ITS_WAY_OUT, CREATING: _CREATING}),
    (("DeleteImportedKeyMaterial",), {CREATING: _CREATING, UPDATING: _UPDATING}),
    (("ReplicateKey",), {**_USE, UPDATING: _UPDATING}),
    (("UpdatePrimaryRegion",), _USE),
)

TABLE: Mapping[str, Mapping[str, Refusal]] = MappingProxyType(
    {operation: row for operations, row in _ROWS for operation in operations}
)

# Operations that ask for material of one origin, whatever the state is.
_ONLY_OWN = frozenset({"EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus"})
_ONLY_IMPORTED = frozenset({"GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial"})
_ORIGINS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        **dict.fromkeys(_ONLY_OWN, frozenset({AWS_KMS})),
        **dict.fromkeys(_ONLY_IMPORTED, frozenset({EXTERNAL})),
        **dict.fromkeys(("RotateKeyOnDemand", "ListKeyRotations"), frozenset({AWS_KMS, EXTERNAL})),
    }
)


def refusal(operation: str, state: str, origin: str) -> Refusal | None:
    """Why `operation` is refused to a key of this state and origin; None when it is not."""
    origins = _ORIGINS.get(operation)
    if origins is not None and origin not in origins:
        return Refusal(UnsupportedOperation, f"{{}} origin is {origin} which is not valid for this operation.")
    return TABLE[operation].get(state)


def check(operation: str, state: str, origin: str, arn: str) -> None:
    """Nothing, when `operation` is allowed to the key.

    Raises:
        KeyDisabled, KeyInvalidState, UnsupportedOperation: it is not.
    """
    if state == ENABLED and operation not in _ORIGINS and operation != "CancelKeyDeletion":
        return  # nearly always
    refused = refusal(operation, state, origin)
    if refused is not None:
        raise refused.error(refused.text.format(arn))


def require_customer(manager: str, arn: str) -> None:
    """Nothing, when the key is its owner's to change.

    Raises:
        AccessDenied: it is an AWS managed key.
    """
    if manager != "CUSTOMER":
        raise AccessDenied(f"{arn} is an AWS managed key, which its account can use and not change.")


def require_primary(multi_region: str | None, arn: str) -> None:
    """Nothing, when the key is the primary of a multi-Region key.

    Raises:
        UnsupportedOperation: it is a replica, or a key of one Region.
    """
    if multi_region != PRIMARY:
        raise UnsupportedOperation(f"{arn} is not a multi-region primary key.")
