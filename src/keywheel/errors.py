"""Every error keywheel raises. Its class says whose move is next; its text helps a person.

The class *is* the decision: nothing above a target's own file looks at message text. No message, hint or
attribute of an error ever holds a secret value.
"""

from __future__ import annotations

from typing import ClassVar


class KeywheelError(Exception):
    """The root of the tree. Never raised itself."""

    default_hint: ClassVar[str] = "Look at the server's log for the request identifier given with this error."

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self._hint = hint

    def hint(self) -> str:
        """What to try next, in one sentence for a person. The CLI and the console print it."""
        return self._hint or self.default_hint


# --- the caller's move: HTTP 400, `code` is the AWS error code -------------------------------------------------


class CallerError(KeywheelError):
    """The request cannot be served as it stands; the caller has to change it."""

    code: ClassVar[str] = "ValidationException"
    status: ClassVar[int] = 400
    default_hint = "Correct the request and send it again."


class ValidationFailed(CallerError):
    """A member is missing or breaks a constraint of the service model."""


class SerializationFailed(CallerError):
    """The body is not JSON, or a member has the wrong JSON type."""

    code = "SerializationException"


class UnknownOperation(CallerError):
    """`X-Amz-Target` names no operation of a service that is served here."""

    code = "UnknownOperationException"


class UnsupportedOperation(CallerError):
    """The operation or member exists at AWS and is not built here yet."""

    code = "UnsupportedOperationException"
    default_hint = "docs/guide/compatibility.md lists what is not built yet."


class RequestTooLarge(CallerError):
    """The body is over the limit."""

    code = "RequestEntityTooLargeException"
    status = 413


class RequestTimeout(CallerError):
    """The body did not arrive in time."""

    code = "RequestTimeoutException"
    status = 408


class InvalidParameter(CallerError):
    """A member's value is not acceptable."""

    code = "InvalidParameterException"


class InvalidRequest(CallerError):
    """The resource is not in a state that allows the request."""

    code = "InvalidRequestException"


class InvalidNextToken(CallerError):
    """The pagination token was not made by this server, or is spoiled."""

    code = "InvalidNextTokenException"


class ResourceNotFound(CallerError):
    """No such secret, version or label."""

    code = "ResourceNotFoundException"


class ResourceExists(CallerError):
    """The name or the token is taken by something else."""

    code = "ResourceExistsException"


class LimitExceeded(CallerError):
    """A quota would be exceeded."""

    code = "LimitExceededException"


class MalformedPolicyDocument(CallerError):
    """The policy is not a valid policy document."""

    code = "MalformedPolicyDocumentException"


class PublicPolicy(CallerError):
    """The policy grants broad access and the request forbids that."""

    code = "PublicPolicyException"


class EncryptionFailure(CallerError):
    """The value cannot be protected with the key that was named."""

    code = "EncryptionFailure"


class DecryptionFailure(CallerError):
    """The stored value cannot be opened with its key."""

    code = "DecryptionFailure"


class AccessDenied(CallerError):
    """The caller is known and may not do this."""

    code = "AccessDeniedException"


class MissingAuthenticationToken(CallerError):
    """The request is not signed."""

    code = "MissingAuthenticationTokenException"


class IncompleteSignature(CallerError):
    """The signature lacks a part that SigV4 asks for."""

    code = "IncompleteSignatureException"


class InvalidSignature(CallerError):
    """The signature does not match the request, or its time is outside the window."""

    code = "InvalidSignatureException"


class UnrecognizedClient(CallerError):
    """No such access key."""

    code = "UnrecognizedClientException"
    default_hint = "Use the credentials file that `keywheel init` wrote."


class ExpiredToken(CallerError):
    """The session is over."""

    code = "ExpiredTokenException"
    default_hint = "Assume the role again."


# --- the target's answer -----------------------------------------------------------------------------------------


class TargetError(KeywheelError):
    """A rotation step did not succeed. `code` is what the journal keeps: it never holds text from a driver."""

    code: ClassVar[str] = "TargetError"


class TargetUnavailable(TargetError):
    """Nothing is known: the target could not be asked, or did not answer. The engine tries again."""

    code = "TargetUnavailable"
    default_hint = "Check that the target is up and reachable from the server; the rotation is tried again by itself."


class TargetRefused(TargetError):
    """The target said no, before any effect. The engine stops; a person acts."""

    code = "TargetRefused"
    default_hint = "Correct the target or the secret, then call RotateSecret again."


class PasswordRejected(TargetRefused):
    """The target's password policy refused the value. It has not landed; another value may be drawn."""

    code = "PasswordRejected"
    default_hint = "Relax the target's password policy; the next attempt draws another password."


class LoginRefused(TargetRefused):
    """The credential that was to do the work cannot log in. Another one may."""

    code = "LoginRefused"
    default_hint = "Set the secret to a password that works, or name a superuser's secret in `masterarn`."


class StaleEpoch(TargetRefused):
    """The target has seen a newer epoch than this worker's. A sleeper's change is stopped by this.

    A worker whose lease still holds learns by it that its store is older than the target: it was restored from a
    backup, or another installation rotates the same user.
    """

    code = "StaleEpoch"
    default_hint = "Does another keywheel rotate this user? If the store was restored from a backup, repair the secret."


class TlsRefused(TargetRefused):
    """The connection could not be made secure as the secret asks, and is never made insecure instead."""

    code = "TlsRefused"
    default_hint = 'Enable TLS on the target, name its CA in `sslrootcert`, or say `"ssl": false` in the secret.'


class SecretMalformed(TargetError):
    """The secret value lacks what the target needs, or holds something it must not. The engine stops."""

    code = "SecretMalformed"
    default_hint = "Put a corrected value with PutSecretValue, then call RotateSecret again."


class FunctionFailed(TargetError):
    """A rotation function ended with an error, or could not be invoked. Tried again a bounded number of times."""

    code = "FunctionFailed"
    default_hint = "Read the rotation function's own log for this request."


# --- our own house -----------------------------------------------------------------------------------------------


class KeyStoreError(KeywheelError):
    """The key store is locked or away. The caller may try again."""

    code = "InternalServiceError"
    default_hint = "Unlock the root key: give its key file or passphrase to `keywheel serve`."


class KeyUnavailable(KeyStoreError):
    """The token that holds the key's material does not answer. The caller may try again."""

    code = "KeyUnavailableException"
    default_hint = "Look at the token; requests succeed again by themselves when it is back."


class ConfigurationError(KeywheelError):
    """The server cannot start as it was told to."""

    default_hint = "Correct the option named in the message and start again."


class Fenced(KeywheelError):
    """Another worker owns this rotation now, or it was cancelled or abandoned. Drop it and touch nothing."""


class BrokenInvariant(KeywheelError):
    """Our own bug: the caller gets an internal error, and someone is told."""

    default_hint = "This is a defect in keywheel. Please report it with the request identifier."
