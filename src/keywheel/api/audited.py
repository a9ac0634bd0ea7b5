"""A call, from its admission to its entry in the audit ledger."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from msgspec import Struct

from keywheel.access.audit import entries
from keywheel.access.audit.entries import Entry, Identity, Resource
from keywheel.access.door import Caller
from keywheel.access.sigv4 import Request
from keywheel.api.operations import Operation
from keywheel.keys.grants import Named, told_by

_READ_ONLY = (
    *("Describe", "Get", "List", "BatchGet", "Validate", "Explain"),
    *("Encrypt", "Decrypt", "ReEncrypt", "Generate", "Sign", "Verify", "Derive", "Encapsulate", "Decapsulate"),
)  # a key is used, not changed
_KMS = "kms.amazonaws.com"
_NOBODY = Identity("Unknown")
_USER_AGENT_LENGTH = 256
# How a validation error quotes a member. The member may be a policy or a tag, which no entry holds, and a long one.
_QUOTED = re.compile(r"Value '.*?' at '(?=[\w.]+' failed to satisfy constraint: )", re.DOTALL)
_LONGEST_MESSAGE = 1024
_KEY_ARN = re.compile(r"arn:[^:]+:kms:[^:]+:[^:]+:key/[^/]+")
_KEY_IDS = ("key_id", "source_key_id", "destination_key_id", "target_key_id")


class Call:
    """A request, and what has become known of it so far."""

    __slots__ = ("caller", "client", "members", "message", "operation", "request", "request_id", "result")

    def __init__(self, operation: Operation | None, request: Request, request_id: str, client: str | None) -> None:
        self.operation = operation
        self.request = request
        self.request_id = request_id
        self.client = client
        self.caller: Caller | None = None
        self.members: Any = None
        self.result: Struct | None = None
        self.message: str | None = None


def entry_of(call: Call, answer: tuple[int, bytes, str | None], time: str) -> Entry:
    """What the ledger says of a call that is about to be answered."""
    caller, operation = call.caller, call.operation
    source, name, read_only = _event("keywheel:UnknownOperation" if operation is None else operation.action)
    about_keys = source == _KMS
    retired = _by_token(call) if about_keys and answer[2] is None else None
    return Entry(
        event_version=entries.VERSION,
        event_time=time,
        event_source=source,
        event_name=name,
        event_type="AwsApiCall",
        event_id=call.request_id,
        user_identity=_NOBODY if caller is None else _identity(caller),
        read_only=read_only,
        aws_region=None if caller is None else caller.scope.region,
        source_ip_address=call.client,
        user_agent=_user_agent(call.request),
        request_id=call.request_id,
        error_code=answer[2],
        error_message=None if call.message is None else _without_values(call.message),
        request_parameters=entries.parameters(call.members),
        response_elements=None if answer[2] is not None else entries.elements(call.result),
        resources=_keys(call, retired) if about_keys else None,
        additional_event_data=None if retired is None else {"grantId": retired.grant_id},
        recipient_account_id=None if caller is None else caller.scope.account,
    )


@cache  # one for each action there is
def _event(action: str) -> tuple[str, str, bool]:
    """How the ledger names an action: its source and its name; and whether it changes nothing."""
    service, name = action.split(":")
    source = service if service == "keywheel" else f"{service}.amazonaws.com"
    return source, name, name.startswith(_READ_ONLY)


def _identity(caller: Caller) -> Identity:
    kind = "AssumedRole" if ":assumed-role/" in caller.arn else "IAMUser"
    return Identity(kind, caller.arn, caller.scope.account, caller.access_key_id)


def _without_values(message: str) -> str:
    return _QUOTED.sub("Value at '", message)[:_LONGEST_MESSAGE]


def _by_token(call: Call) -> Named | None:
    """The grant that was retired by a token, which no entry holds."""
    token = getattr(call.members, "grant_token", None)
    return None if token is None else told_by(token)


def _keys(call: Call, retired: Named | None) -> list[Resource] | None:
    """The keys that a call was about: those of its answer, else those that its request names without an alias."""
    if call.caller is None:
        return None
    made = getattr(call.result, "key_metadata", None)
    found = _named(call.result) or _named(made) or _named(call.members)
    if retired is not None:
        found = [retired.scope.arn("kms", f"key/{retired.key_id}")]
    arns = dict.fromkeys(key_id if ":" in key_id else call.caller.scope.arn("kms", f"key/{key_id}") for key_id in found)
    return [key for arn in arns if (key := _resource(arn)) is not None] or None


@lru_cache(4096)
def _resource(arn: str) -> Resource | None:
    return Resource(arn, arn.split(":")[4], "AWS::KMS::Key") if _KEY_ARN.fullmatch(arn) else None


def _named(shape: Struct | None) -> list[str]:
    names = () if shape is None else _key_members(type(shape))
    return [key_id for name in names if (key_id := getattr(shape, name)) is not None]


@cache  # one for each shape there is
def _key_members(kind: type[Struct]) -> tuple[str, ...]:
    return tuple(name for name in _KEY_IDS if hasattr(kind, name))


def _user_agent(request: Request) -> str | None:
    for name, value in request.headers:
        if name == b"user-agent":
            return value[:_USER_AGENT_LENGTH].decode("latin-1")
    return None
