"""Parse and build ARNs, and say what a `SecretId` means. Pure.

A `SecretId` is a name, a full ARN, or a partial ARN (one without the six random characters). An input whose name
ends in a hyphen and six alphanumerics is read as a full ARN, so a partial ARN of such a name finds nothing: that is
what AWS does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}\Z")


@dataclass(frozen=True, slots=True)
class Arn:
    """`arn:partition:service:region:account:resource`; `resource` keeps its own colons and slashes."""

    service: str
    region: str
    account: str
    resource: str
    partition: str = "aws"

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"

    @classmethod
    def parse(cls, text: str) -> Arn | None:
        """The parts of `text`, or None when it is not an ARN."""
        if not text.startswith("arn:"):
            return None
        parts = text.split(":", 5)
        if len(parts) != 6 or not parts[1] or not parts[2] or not parts[5]:
            return None
        return cls(partition=parts[1], service=parts[2], region=parts[3], account=parts[4], resource=parts[5])


@dataclass(frozen=True, slots=True)
class Scope:
    """An account and a Region: the partition of the store that a request lives in."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of `resource` of `service` in this scope."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def secret_arn(self, name: str, suffix: str) -> str:
        """The ARN of the secret `name`; `suffix` is its six random characters."""
        return self.arn("secretsmanager", f"secret:{name}-{suffix}")


class SecretRef(NamedTuple):
    """What a `SecretId` points at: a full ARN, or a name in a scope. Exactly one of the two is set."""

    scope: Scope
    arn: str | None = None
    name: str | None = None


def parse_secret_id(secret_id: str, scope: Scope) -> SecretRef:
    """Read a `SecretId` as AWS does. `scope` is the caller's, used where the input is a bare name."""
    parsed = Arn.parse(secret_id)
    if parsed is None or parsed.service != "secretsmanager" or not parsed.resource.startswith("secret:"):
        return SecretRef(scope, name=secret_id)
    if _SUFFIX.search(parsed.resource):
        return SecretRef(Scope(parsed.account, parsed.region), arn=secret_id)
    return SecretRef(Scope(parsed.account, parsed.region), name=parsed.resource.removeprefix("secret:"))


def function_name(arn: str, scope: Scope) -> str | None:
    """The name in a Lambda function ARN of this scope, without its qualifier; None for anything else."""
    parsed = Arn.parse(arn)
    if parsed is None or parsed.service != "lambda" or Scope(parsed.account, parsed.region) != scope:
        return None
    kind, _, rest = parsed.resource.partition(":")
    name = rest.partition(":")[0]
    return name if kind == "function" and name else None
