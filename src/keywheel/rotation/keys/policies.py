"""The policy of a former key that may finish what was begun with it, and begin nothing. Pure.

It is said in the key policy, and not by a state of its own, so that every client of AWS KMS can read it and take it
back, and nothing but the policy decides.
"""

from __future__ import annotations

import json
from typing import Any

from keywheel.access.templates import default_key_policy

_SID = "KeywheelFormerKey"
_MAKES = (
    *("kms:Sign", "kms:Encrypt", "kms:GenerateMac", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
    *("kms:GenerateDataKeyPair", "kms:GenerateDataKeyPairWithoutPlaintext", "kms:ReEncryptTo", "kms:Encapsulate"),
)


def restricted(policy: str | None, account: str) -> str:
    """`policy`, with nobody allowed to sign, encrypt or make MACs with the key."""
    document = _parts(policy or default_key_policy(account))
    deny = {"Sid": _SID, "Effect": "Deny", "Principal": "*", "Action": list(_MAKES), "Resource": "*"}
    return json.dumps({**document, "Statement": [*_others(document), deny]}, indent=2)


def unrestricted(policy: str | None) -> str | None:
    """`policy` as it was before `restricted`."""
    if policy is None or _SID not in policy:
        return policy
    document = _parts(policy)
    return json.dumps({**document, "Statement": _others(document)}, indent=2)


def _parts(policy: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(policy)  # it was checked when it was put
    return document


def _others(document: dict[str, Any]) -> list[dict[str, Any]]:
    statements = document.get("Statement", [])
    listed = statements if isinstance(statements, list) else [statements]
    return [each for each in listed if each.get("Sid") != _SID]
