"""What an entry of the audit ledger says, in CloudTrail's words. No secret value ever gets here.

Of a request only members that are known to be harmless are kept, by name: a member that is new is left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import Struct

VERSION = "1.11"
_encoder = msgspec.json.Encoder()

# Members of requests that tell what was asked for and hold no value, no policy and no text of a person's.
_SHOWN = frozenset(
    {
        "secret_id", "secret_id_list", "name", "version_id", "version_stage", "version_stages", "client_request_token",
        "kms_key_id", "rotation_lambda_arn", "rotation_rules", "rotate_immediately", "recovery_window_in_days",
        "force_delete_without_recovery", "force_overwrite_replica_secret", "add_replica_regions", "replica_regions",
        "remove_replica_regions", "remove_from_version_id", "move_to_version_id", "include_deprecated", "max_results",
        "include_planned_deletion", "sort_order", "tag_keys", "block_public_policy", "password_length", "type",
    }
)  # fmt: skip
_ANSWERED = ("arn", "name", "version_id")


class Identity(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """CloudTrail's userIdentity."""

    type: str
    arn: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None


class Entry(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A record of CloudTrail's, with its place in the stream."""

    event_version: str
    event_time: str
    event_source: str
    event_name: str
    event_type: str
    event_id: str = msgspec.field(name="eventID")
    user_identity: Identity
    read_only: bool
    aws_region: str | None = None
    source_ip_address: str | None = msgspec.field(name="sourceIPAddress", default=None)
    user_agent: str | None = None
    request_id: str | None = msgspec.field(name="requestID", default=None)
    error_code: str | None = None
    error_message: str | None = None
    request_parameters: dict[str, Any] | None = None
    response_elements: dict[str, Any] | None = None
    additional_event_data: dict[str, Any] | None = None
    recipient_account_id: str | None = None


def line(entry: Entry, sequence: int, previous: str) -> bytes:
    """The entry at its place, as one line without its end."""
    return b'{"sequence":%d,"previousHash":"%s",%s' % (sequence, previous.encode(), _encoder.encode(entry)[1:])


def parameters(request: Struct | None) -> dict[str, Any] | None:
    """What may be kept of a request's members, by their names on the wire."""
    if request is None:
        return None
    found = {wire: getattr(request, name) for name, wire in _members(type(request))}
    return {wire: msgspec.to_builtins(value) for wire, value in found.items() if value is not None} or None


def elements(answer: Struct | None) -> dict[str, Any] | None:
    """What may be kept of an answer: which secret, which version."""
    found = {_camel(name): getattr(answer, name, None) for name in _ANSWERED}
    return {name: value for name, value in found.items() if value is not None} or None


@cache
def _members(kind: type[Struct]) -> list[tuple[str, str]]:
    return [
        (field.name, field.encode_name[:1].lower() + field.encode_name[1:])
        for field in msgspec.structs.fields(kind)
        if field.name in _SHOWN
    ]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)
