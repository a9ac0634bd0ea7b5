"""What a KeyId means: a key id, a key ARN, an alias or an alias ARN. Pure; the texts are those of AWS KMS."""

from __future__ import annotations

import re
import uuid
from typing import NamedTuple

from keywheel.arn import Arn, Scope
from keywheel.errors import ValidationFailed
from keywheel.keys.errors import InvalidArn, KeyNotFound, NotAuthorized

ALIAS_PREFIX = "alias/"
_RESERVED = "alias/aws/"
_MULTI_REGION = "mrk-"
_KEY_ID = re.compile(r"(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]+")
_ALIAS_LENGTH = 256


class KeyRef(NamedTuple):
    """What a KeyId points at: a key's id or an alias, in a scope. Exactly one of the two is set."""

    scope: Scope
    key_id: str | None = None
    alias: str | None = None


def new_key_id(*, multi_region: bool = False) -> str:
    """The id of a new key."""
    return f"{_MULTI_REGION}{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())


def is_multi_region(key_id: str) -> bool:
    """Whether it is the id of a multi-Region key, which the keys of all its Regions have."""
    return key_id.startswith(_MULTI_REGION)


def parse(key_id: str, scope: Scope, *, aliases: bool) -> KeyRef:
    """Read a KeyId as AWS KMS does. `scope` is the caller's; an ARN may name another account of its Region.

    Raises:
        KeyNotFound: it has no form of an identifier, or names another Region, or an alias where none is allowed.
        InvalidArn: it is the ARN of something else.
    """
    resource = key_id if key_id.startswith(ALIAS_PREFIX) else f"key/{key_id}"
    if key_id.startswith("arn:"):
        arn = Arn.parse(key_id)
        if arn is None or arn.service != "kms" or arn.partition != "aws":
            raise InvalidArn(f"Invalid arn {key_id}")
        if arn.region != scope.region:
            raise KeyNotFound(f"Invalid arn {arn.region}")
        scope, resource = Scope(arn.account, arn.region), arn.resource
    kind, _, name = resource.partition("/")
    if kind == "alias" and aliases and name:
        return KeyRef(scope, alias=resource)
    if kind == "key" and _KEY_ID.fullmatch(name):
        return KeyRef(scope, key_id=name)
    raise KeyNotFound(f"Invalid keyId '{key_id}'")


def require_alias_name(name: str) -> None:
    """Nothing, when an alias may have this name.

    Raises:
        ValidationFailed: it lacks the prefix, or has other characters, or is too long.
        NotAuthorized: it is reserved.
    """
    if not name.startswith(ALIAS_PREFIX):
        raise ValidationFailed(
            'Alias must start with the prefix "alias/". Please see '
            "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
        )
    if not _ALIAS.fullmatch(name):
        raise ValidationFailed(f"{name} contains invalid characters for an alias")
    if len(name) > _ALIAS_LENGTH:
        raise ValidationFailed(
            f"1 validation error detected: Value '{name}' at 'aliasName' failed to satisfy constraint: "
            f"Member must have length less than or equal to {_ALIAS_LENGTH}"
        )
    if name.startswith(_RESERVED):
        raise NotAuthorized(f"The prefix {_RESERVED} is reserved for AWS managed keys.")
