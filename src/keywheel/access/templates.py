"""Policies that are made rather than written: of administrators, and of keys that nobody gave one. Pure.

1. A key without a policy of its own leaves everything to its account.
2. The key of a service is for everybody of the account, and only by way of that service.

Sources: the KMS guide on the default key policy, and on the policies of the keys that AWS manages.
"""

from __future__ import annotations

import json
from typing import Any

from keywheel.access.documents import Kind
from keywheel.access.policy import compile_policy

_USE = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:DescribeKey"]
_LOOK = ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"]
_READ = [
    *(f"{service}:{verb}*" for service in ("secretsmanager", "kms", "keywheel") for verb in ("Describe", "List")),
    *("secretsmanager:Get*", "secretsmanager:BatchGet*", "secretsmanager:Validate*", "kms:Get*", "keywheel:GetKeySet"),
]


def _text(statements: list[dict[str, Any]], **others: str) -> str:
    return json.dumps({"Version": "2012-10-17", **others, "Statement": statements}, indent=2)


def _allow(sid: str, actions: str | list[str], **others: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", **others, "Action": actions, "Resource": "*"}


ADMINISTRATOR = compile_policy(_text([_allow("Everything", "*")]), Kind.IDENTITY, "administrator")
"""Everything, so far as no resource's policy forbids it."""

READ_ONLY = compile_policy(_text([_allow("Read", _READ)]), Kind.IDENTITY, "read-only")
"""What changes nothing."""


def default_key_policy(account: str) -> str:
    """The policy of a key that was created without one."""
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    return _text([_allow("Enable IAM User Permissions", "kms:*", Principal=root)], Id="key-default-1")


def service_key_policy(account: str, region: str, service: str) -> str:
    """The policy of the key that `service` (such as secretsmanager) uses where no key is named."""
    through = {"kms:CallerAccount": account, "kms:ViaService": f"{service}.{region}.amazonaws.com"}
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    use = _allow("Use by way of the service", _USE, Principal={"AWS": "*"})
    return _text(
        [use | {"Condition": {"StringEquals": through}}, _allow("Look at the key", _LOOK, Principal=root)],
        Id=f"auto-{service}-1",
    )


BUILT_IN = {"administrator": (ADMINISTRATOR,), "read-only": (READ_ONLY,), "policies": ()}
"""What an access key lets its user do by itself, by its role; the user's own policies count besides."""
