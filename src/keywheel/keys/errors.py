"""The errors of KMS. They are the caller's to mend; `code` is KMS's own name of each.

Source: the errors of the operations in the KMS API reference.
"""

from __future__ import annotations

from typing import ClassVar

from keywheel.errors import CallerError


class KeyNotFound(CallerError):
    """No such key, alias, grant or policy, or the identifier is none."""

    code = "NotFoundException"
    default_hint = "`keywheel keys list` shows the keys of an account and Region."


class KeyDisabled(CallerError):
    """The key is disabled."""

    code = "DisabledException"
    default_hint = "Enable the key with EnableKey."


class KeyInvalidState(CallerError):
    """The key is not in a state that allows the request."""

    code = "KMSInvalidStateException"
    default_hint = "DescribeKey shows the key's state."


class InvalidKeyUsage(CallerError):
    """The key is for another usage, or for another algorithm."""

    code = "InvalidKeyUsageException"
    default_hint = "DescribeKey shows the key's usage and its algorithms."


class IncorrectKey(CallerError):
    """The ciphertext was made under another key than the one that is named."""

    code = "IncorrectKeyException"


class InvalidCiphertext(CallerError):
    """The ciphertext is spoiled, or made under another context, or not ours. It is never said which: no message."""

    code = "InvalidCiphertextException"


class KeyInvalidSignature(CallerError):
    """The signature does not verify."""

    code = "KMSInvalidSignatureException"


class KeyInvalidMac(CallerError):
    """The MAC does not verify."""

    code = "KMSInvalidMacException"


class InvalidArn(CallerError):
    """An ARN is not valid here."""

    code = "InvalidArnException"


class NotAuthorized(CallerError):
    """The name is reserved."""

    code = "NotAuthorizedException"


class AlreadyExists(CallerError):
    """The name is taken."""

    code = "AlreadyExistsException"


class TagRefused(CallerError):
    """The tags are too many, or twice there, or reserved."""

    code = "TagException"


class InvalidMarker(CallerError):
    """The pagination marker was not made by this server, or is spoiled."""

    code = "InvalidMarkerException"


class InvalidGrantId(CallerError):
    """No such grant."""

    code = "InvalidGrantIdException"


class InvalidGrantToken(CallerError):
    """The grant token was not made by this server, or is spoiled."""

    code = "InvalidGrantTokenException"


class InvalidImportToken(CallerError):
    """The import token is spoiled, or made for another key."""

    code = "InvalidImportTokenException"
    default_hint = "Call GetParametersForImport for this key, and use the public key and the token of one answer."


class ExpiredImportToken(CallerError):
    """The import token is older than 24 hours."""

    code = "ExpiredImportTokenException"


class IncorrectKeyMaterial(CallerError):
    """The key material is not what the key needs, or not what was imported before."""

    code = "IncorrectKeyMaterialException"


class Conflict(CallerError):
    """Something else is about to change the key."""

    code = "ConflictException"


class CustomKeyStoreNotFound(CallerError):
    """No such custom key store."""

    code = "CustomKeyStoreNotFoundException"
    default_hint = "DescribeCustomKeyStores lists them."


class CustomKeyStoreNameInUse(CallerError):
    """Another custom key store has the name."""

    code = "CustomKeyStoreNameInUseException"


class CustomKeyStoreInvalidState(CallerError):
    """The custom key store's connection is not in a state that allows the request."""

    code = "CustomKeyStoreInvalidStateException"
    default_hint = "DescribeCustomKeyStores shows the state."


class CustomKeyStoreHasKeys(CallerError):
    """There are keys in the custom key store."""

    code = "CustomKeyStoreHasCMKsException"
    default_hint = "Schedule their deletion, and wait until they are deleted."


class ClusterNotFound(CallerError):
    """No token is configured under this cluster id."""

    code = "CloudHsmClusterNotFoundException"
    default_hint = "docs/operations/key-stores.md says how a token gets its cluster id."


class ClusterInUse(CallerError):
    """Another custom key store is on this token."""

    code = "CloudHsmClusterInUseException"


class XksKeyNotFound(CallerError):
    """The external key store proxy knows no such key."""

    code = "XksKeyNotFoundException"


class XksKeyInvalidConfiguration(CallerError):
    """The external key is no enabled AES-256 key for encryption and decryption."""

    code = "XksKeyInvalidConfigurationException"


class XksKeyAlreadyInUse(CallerError):
    """Another key of this key store is on the external key."""

    code = "XksKeyAlreadyInUseException"


class XksProxyUriInUse(CallerError):
    """Another custom key store has this proxy."""

    code = "XksProxyUriInUseException"


class XksProxyUnreachable(CallerError):
    """The external key store proxy cannot be reached, or the server may not."""

    code = "XksProxyUriUnreachableException"
    default_hint = "docs/operations/key-stores.md says how the server is told which proxies it may call."


class XksProxyIncorrectCredential(CallerError):
    """The external key store proxy refuses the credential."""

    code = "XksProxyIncorrectAuthenticationCredentialException"


class XksProxyInvalidResponse(CallerError):
    """The external key store proxy answers what the protocol does not know."""

    code = "XksProxyInvalidResponseException"


class XksProxyInvalidConfiguration(CallerError):
    """There is no external key store proxy at this path."""

    code = "XksProxyInvalidConfigurationException"


class VpcEndpointServiceNotFound(CallerError):
    """There are no VPC endpoint services here."""

    code = "XksProxyVpcEndpointServiceNotFoundException"
    default_hint = "Use the connectivity PUBLIC_ENDPOINT."


class DryRunOperation(CallerError):
    """It would have worked."""

    code = "DryRunOperationException"
    text: ClassVar[str] = "The request would have succeeded, but the DryRun option is set."

    def __init__(self, message: str = text, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
