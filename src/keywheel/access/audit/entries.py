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
        "key_id", "source_key_id", "destination_key_id", "target_key_id", "alias_name", "key_spec", "key_usage",
        "customer_master_key_spec", "origin", "multi_region", "custom_key_store_id", "encryption_algorithm",
        "source_encryption_algorithm", "destination_encryption_algorithm", "encryption_context",
        "source_encryption_context", "destination_encryption_context", "signing_algorithm", "message_type",
        "mac_algorithm", "key_agreement_algorithm", "encapsulation_algorithm", "number_of_bytes", "key_pair_spec",
        "rotation_period_in_days", "pending_window_in_days", "policy_name", "bypass_policy_lockout_safety_check",
        "wrapping_algorithm", "wrapping_key_spec", "expiration_model", "valid_to", "import_type", "key_material_id",
        "include_key_material", "resource_owners", "limit", "dry_run", "replica_region", "primary_region", "grant_id",
        "custom_key_store_name", "new_custom_key_store_name", "custom_key_store_type", "cloud_hsm_cluster_id",
        "xks_key_id", "xks_proxy_uri_endpoint", "xks_proxy_uri_path", "xks_proxy_connectivity",
        "role_arn", "role_session_name", "duration_seconds",
        "grantee_principal", "grantee_service_principal", "retiring_principal", "retiring_service_principal",
        "operations", "constraints",
    }
)  # fmt: skip
_ANSWERED = (
    *("arn", "name", "version_id", "key_id", "key_state", "deletion_date", "key_material_id"),
    *("access_key_id", "session_arn", "custom_key_store_id", "grant_id"),
)


class Identity(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """CloudTrail's userIdentity."""

    type: str
    arn: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None
    invoked_by: str | None = None


class Resource(Struct, frozen=True, rename="camel"):
    """One of CloudTrail's resources."""

    arn: str = msgspec.field(name="ARN")
    account_id: str
    type: str


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
    resources: list[Resource] | None = None
    additional_event_data: dict[str, Any] | None = None
    recipient_account_id: str | None = None


def line(entry: Entry, sequence: int, previous: str) -> bytes:
    """The entry at its place, as one line without its end."""
    return b'{"sequence":%d,"previousHash":"%s",%s' % (sequence, previous.encode(), _encoder.encode(entry)[1:])


def parameters(request: Struct | None) -> dict[str, Any] | None:
    """What may be kept of a request's members, by their names on the wire."""
    if request is None:
        return None
    told = {
        wire: value if type(value) is str else msgspec.to_builtins(value)
        for name, wire in _members(type(request))
        if (value := getattr(request, name)) is not None
    }
    return told or None


def elements(answer: Struct | None) -> dict[str, Any] | None:
    """What may be kept of an answer: which secret, which version."""
    if answer is None:
        return None
    told = {wire: value for name, wire in _answered(type(answer)) if (value := getattr(answer, name)) is not None}
    return told or None


@cache
def _answered(kind: type[Struct]) -> list[tuple[str, str]]:
    return [(name, _camel(name)) for name in _ANSWERED if hasattr(kind, name)]


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
