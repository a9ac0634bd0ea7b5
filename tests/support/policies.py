"""Texts of policies for tests."""

from __future__ import annotations

import json
from typing import Any

ACCOUNT, OTHER = "123456789012", "210987654321"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE, BOB = f"arn:aws:iam::{ACCOUNT}:user/alice", f"arn:aws:iam::{ACCOUNT}:user/bob"
ROLE, SESSION = f"arn:aws:iam::{ACCOUNT}:role/team/turner", f"arn:aws:sts::{ACCOUNT}:assumed-role/turner/now"
ALLOW: dict[str, Any] = {
    "Effect": "Allow",
    "Principal": {"AWS": ROOT},
    "Action": "secretsmanager:GetSecretValue",
    "Resource": "*",
}
DENY = ALLOW | {"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:*"}
GONE = object()


def statement(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A statement with elements changed, added, or taken away by GONE."""
    return {name: value for name, value in (base | changes).items() if value is not GONE}


def document(*statements: Any, **changes: Any) -> str:
    """The text of a policy."""
    return json.dumps(statement({"Version": "2012-10-17", "Statement": list(statements)}, **changes))
