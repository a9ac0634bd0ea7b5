"""Policies that are made rather than written: of administrators, and of keys that nobody gave one. Pure.

1. A key without a policy of its own leaves everything to its account.
2. The key of a service is for everybody of the account, and only by way of that service.

Sources: the KMS guide on the default key policy, and on the policies of the keys that AWS manages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
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

_STEPS = ["DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage", "GetRandomPassword"]
_THROUGH = {"Condition": {"StringLike": {"kms:ViaService": "secretsmanager.*.amazonaws.com"}}}
_USES_KEYS = _allow("Keys", ["kms:Decrypt", "kms:GenerateDataKey"]) | _THROUGH

FUNCTIONS = _text([_allow("Rotate", [f"secretsmanager:{name}" for name in _STEPS]), _USES_KEYS])
"""What a rotation function may need of Secrets Manager; each of its sessions is narrowed to its own secret."""

READ_ONLY = compile_policy(_text([_allow("Read", _READ)]), Kind.IDENTITY, "read-only")
"""What changes nothing."""


def of_invocation(secret: str, reads: Iterable[str]) -> str:
    """The session policy of a rotation function that is to rotate `secret`, and may read the secrets `reads`."""
    own = [f"secretsmanager:{name}" for name in _STEPS[:-1]]
    statements = [
        _allow("Rotate", own) | {"Resource": secret},
        _allow("Draw", "secretsmanager:GetRandomPassword"),
        _USES_KEYS,
    ]
    others = list(reads)
    if others:
        statements.append(_allow("Read", own[:2]) | {"Resource": others})
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


@lru_cache(1024)  # asked for by every use of such a key
def default_key_policy(account: str) -> str:
    """The policy of a key that was created without one."""
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    return _text([_allow("Enable IAM User Permissions", "kms:*", Principal=root)], Id="key-default-1")


@lru_cache(1024)
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
