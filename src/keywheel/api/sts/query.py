"""The AWS query protocol: a form becomes a request; a response or an error becomes XML.

Members have the constraints of the service model, as shapes written by hand: there are two operations.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import escape
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from keywheel.errors import (
    AccessDenied,
    CallerError,
    InvalidParameter,
    InvalidSignature,
    KeyStoreError,
    MalformedPolicyDocument,
    MissingAuthenticationToken,
    UnknownOperation,
    UnrecognizedClient,
    ValidationFailed,
)

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_FIELDS = 256
_SESSION_NAME = r"\A[A-Za-z0-9_+=,.@-]*\Z"
_EXTERNAL_ID = r"\A[A-Za-z0-9_+=,.@:/-]*\Z"

# The STS reference of common errors: codes and statuses of the query protocol, where they are others than in JSON.
_CODES: dict[type[CallerError], tuple[str, int]] = {
    AccessDenied: ("AccessDenied", 403),
    InvalidParameter: ("ValidationError", 400),
    InvalidSignature: ("SignatureDoesNotMatch", 403),
    MalformedPolicyDocument: ("MalformedPolicyDocument", 400),
    MissingAuthenticationToken: ("MissingAuthenticationToken", 403),
    UnknownOperation: ("InvalidAction", 400),
    UnrecognizedClient: ("InvalidClientTokenId", 403),
    ValidationFailed: ("ValidationError", 400),
}


class GetCallerIdentityRequest(Struct, frozen=True):
    """Nothing is asked but who asks."""


class Tag(Struct, frozen=True, rename="pascal"):
    """A session tag."""

    key: str
    value: str


class AssumeRoleRequest(Struct, frozen=True, rename="pascal"):
    """Which role, under which name, for how long, and what narrows it."""

    role_arn: Annotated[str, Meta(min_length=20, max_length=2048)]
    role_session_name: Annotated[str, Meta(min_length=2, max_length=64, pattern=_SESSION_NAME)]
    policy: str | None = None
    duration_seconds: Annotated[int, Meta(ge=900, le=43_200)] | None = None
    external_id: Annotated[str, Meta(min_length=2, max_length=1224, pattern=_EXTERNAL_ID)] | None = None
    tags: list[Tag] | None = None
    transitive_tag_keys: list[str] | None = None


class GetCallerIdentityResponse(Struct, frozen=True, rename="pascal"):
    """Who asks."""

    user_id: str
    account: str
    arn: str


class Credentials(Struct, frozen=True, rename="pascal"):
    """What a session signs with."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime


class AssumedRoleUser(Struct, frozen=True, rename="pascal"):
    """The session."""

    assumed_role_id: str
    arn: str


class AssumeRoleResponse(Struct, frozen=True, rename="pascal"):
    """A session, and what it signs with."""

    credentials: Credentials
    assumed_role_user: AssumedRoleUser

    @property
    def access_key_id(self) -> str:
        """By which the session's calls are found in the audit ledger."""
        return self.credentials.access_key_id

    @property
    def session_arn(self) -> str:
        """Who acts in the session."""
        return self.assumed_role_user.arn


# Members that would narrow or mark a session, and are not built: to pass over them would give more than was asked for.
_REFUSED = {
    "PolicyArns": "PolicyArns is not supported: there are no managed policies here. Give the policy itself, as Policy.",
    "SerialNumber": "SerialNumber is not supported: there is no multi-factor authentication here.",
    "TokenCode": "TokenCode is not supported: there is no multi-factor authentication here.",
    "SourceIdentity": "SourceIdentity is not supported.",
    "ProvidedContexts": "ProvidedContexts is not supported.",
}
_LISTS = re.compile(r"(Tags|TransitiveTagKeys)\.member\.([0-9]{1,3})(?:\.(Key|Value))?")


def form(body: bytes) -> dict[str, str]:
    """The fields of a request, each once.

    Raises:
        ValidationFailed: it is no form, or a field stands twice.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError:  # which the errors of decoding are, too
        raise ValidationFailed("The request is not a form.") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValidationFailed("A parameter stands twice.")
    return fields


def decode(body: bytes, shape: type[Any]) -> Any:
    """The request in `body`.

    Raises:
        ValidationFailed: a member is missing, is not built, or breaks a constraint.
    """
    fields = _lists(form(body))
    for name in fields:
        if refused := _REFUSED.get(name.partition(".")[0]):
            raise ValidationFailed(refused)
    try:
        return msgspec.convert(fields, shape, strict=False)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"1 validation error detected: {error}") from None


def _lists(fields: dict[str, str]) -> dict[str, Any]:
    """The fields, those of a list as one, in the order of its numbers."""
    found: dict[str, Any] = {}
    lists: dict[str, dict[int, Any]] = {}
    for name, value in fields.items():
        parts = _LISTS.fullmatch(name)
        if parts is None:
            found[name] = value
        elif parts[3] is None:
            lists.setdefault(parts[1], {})[int(parts[2])] = value
        else:
            item = lists.setdefault(parts[1], {}).setdefault(int(parts[2]), {})
            if isinstance(item, dict):
                item[parts[3]] = value
    return found | {name: [items[number] for number in sorted(items)] for name, items in lists.items()}


def encode(action: str, result: Struct, request_id: str) -> bytes:
    """The body of a response."""
    members = _element(f"{action}Result", _members(result))
    metadata = _element("ResponseMetadata", _element("RequestId", escape(request_id)))
    return f'<{action}Response xmlns="{NAMESPACE}">{members}{metadata}</{action}Response>\n'.encode()


def refused(error: Exception, request_id: str) -> tuple[int, bytes, str]:
    """The status, the body and the code of an error. An error of our own says nothing of itself."""
    code, status, told = "InternalFailure", 500, "An error occurred on the server side."
    if isinstance(error, CallerError):
        code, status = _CODES.get(type(error), (error.code, error.status))
        told = error.message
    elif isinstance(error, KeyStoreError):
        told = error.message
    whose = "Sender" if status < 500 else "Receiver"
    inside = _element("Type", whose) + _element("Code", code) + _element("Message", _text(told))
    parts = _element("Error", inside) + _element("RequestId", escape(request_id))
    return status, f'<ErrorResponse xmlns="{NAMESPACE}">{parts}</ErrorResponse>\n'.encode(), code


def _members(shape: Struct) -> str:
    texts = []
    for name in shape.__struct_fields__:
        value = getattr(shape, name)
        if value is None:
            continue
        inside = _members(value) if isinstance(value, Struct) else _text(value)
        texts.append(_element("".join(part.capitalize() for part in name.split("_")), inside))
    return "".join(texts)


def _text(value: object) -> str:
    told = f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)
    return escape("".join(c if c.isprintable() else "?" for c in told), quote=False)  # XML has no control characters


def _element(name: str, inside: str) -> str:
    return f"<{name}>{inside}</{name}>"
