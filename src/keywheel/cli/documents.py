"""AWS's answers as documents for programs: our own field names, instants as text, and never a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keywheel.cli.output import iso

Answer = Mapping[str, Any]


def secret(answer: Answer) -> dict[str, Any]:
    """A secret, as DescribeSecret and ListSecrets tell of it."""
    return {
        "name": answer["Name"],
        "arn": answer["ARN"],
        "description": answer.get("Description"),
        "kms_key_id": answer.get("KmsKeyId"),
        "tags": {tag["Key"]: tag["Value"] for tag in answer.get("Tags") or []},
        "rotation_enabled": bool(answer.get("RotationEnabled")),
        "function": answer.get("RotationLambdaARN"),
        "created": iso(answer.get("CreatedDate")),
        "last_changed": iso(answer.get("LastChangedDate")),
        "last_rotated": iso(answer.get("LastRotatedDate")),
        "next_rotation": iso(answer.get("NextRotationDate")),
        "deleted": iso(answer.get("DeletedDate")),
    }


def version(answer: Answer) -> dict[str, Any]:
    """A version, as ListSecretVersionIds and GetSecretValue tell of it."""
    return {
        "version_id": answer["VersionId"],
        "labels": sorted(answer.get("VersionStages") or []),
        "created": iso(answer.get("CreatedDate")),
    }


def event(answer: Answer) -> dict[str, Any]:
    """An entry of the journal, as ListRotationEvents tells it."""
    return {
        "at": iso(answer.get("At")),
        "event": answer["Event"],
        "step": answer.get("Step"),
        "version_id": answer.get("VersionId"),
        "attempt": answer.get("Attempt", 0),
        "code": answer.get("Code"),
        "reason": answer.get("Reason"),
    }
