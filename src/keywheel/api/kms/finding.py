"""Which key a request is about, and whether the caller may ask that of it: what every operation on a key begins with.

A key is found first and asked for afterwards, because its policy decides (aws-contract C12). So each operation of KMS
that names a key is authorized here and nowhere else. A key of another account is given by its ARN, where its policy and
the caller's own both allow it.

Keys are used in `point` reads, although those may take two statements: backing keys never change, so whichever is
current when it is asked for is a right one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from keywheel.access import facts
from keywheel.access.authorize import Lock
from keywheel.access.documents import Kind
from keywheel.access.door import Caller, authorize, authorize_key
from keywheel.access.facts import Facts
from keywheel.access.policy import compiled
from keywheel.access.templates import default_key_policy, service_key_policy
from keywheel.api.rooms import Rooms
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import DryRunOperation, UnsupportedOperation
from keywheel.keys import states
from keywheel.keys.keyring import Key

R = TypeVar("R")

_USES = frozenset(
    {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
     "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "Sign", "Verify", "GetPublicKey", "GenerateMac",
     "VerifyMac", "DeriveSharedSecret", "Encapsulate", "Decapsulate"}
)  # fmt: skip


def permit(
    rooms: Rooms,
    tx: Tx,
    caller: Caller,
    action: str,
    key: Key,
    request: Struct | None = None,
    *,
    changing: bool = True,
) -> None:
    """Return if the caller may do `action` (such as `Encrypt`) with `key`, which `request` is about.

    Raises:
        AccessDenied: with AWS's text.
    """
    context: dict[str, str] = _context_of(action, request)
    known = _key_facts(key) | _member_facts(request) | facts.encryption_facts(context)
    lock = Lock(key.account, compiled(policy_of(rooms, tx, key, changing=changing), Kind.KEY, "the key's policy"))
    authorize_key(caller, f"kms:{action}", key.arn, lock, known, context)


def permit_by_way_of(rooms: Rooms, tx: Tx, caller: Caller, action: str, key: Key, context: dict[str, str]) -> None:
    """Return if the caller may have Secrets Manager do `action` with `key` and this encryption context.

    Raises:
        AccessDenied: with AWS's text.
    """
    known = _key_facts(key) | facts.encryption_facts(context) | facts.by_way_of("secretsmanager", key.region)
    lock = Lock(key.account, compiled(policy_of(rooms, tx, key), Kind.KEY, "the key's policy"))
    authorize_key(caller, f"kms:{action}", key.arn, lock, known, context)


def policy_of(rooms: Rooms, tx: Tx, key: Key, *, changing: bool = True) -> str:
    """The policy of a key, as it was given, or else a default one. `changing`: this transaction may change it."""
    lifecycle = rooms.keys.lifecycle
    given = lifecycle.policy(tx, key) if changing else lifecycle.remembered_policy(tx, key)
    if given is not None:
        return given
    if key.manager == "AWS":
        return service_key_policy(key.account, key.region, "secretsmanager")
    return default_key_policy(key.account)


def permit_alias(caller: Caller, action: str, name: str) -> None:
    """Return if the caller may do `action` with the alias `name`, whether it is there or not.

    Raises:
        AccessDenied: with AWS's text.
    """
    authorize(caller, f"kms:{action}", alias_arn(caller.scope, name), {})


def alias_arn(scope: Scope, name: str) -> str:
    """The ARN of the alias `name`, which begins with `alias/`."""
    return scope.arn("kms", name)


def find(
    rooms: Rooms,
    tx: Tx,
    caller: Caller,
    action: str,
    key_id: str,
    *,
    aliases: bool = False,
    lock: bool = False,
    request: Struct | None = None,
) -> Key:
    """The key that a request names and the caller may ask `action` of. `aliases`: an alias may name it, too.

    Raises:
        KeyNotFound, InvalidArn, AccessDenied: there is none for this caller.
    """
    key = rooms.keys.find(tx, caller.scope, key_id, now=rooms.clock.now(), aliases=aliases, lock=lock)
    permit(rooms, tx, caller, action, key, request, changing=lock)
    if not key.enabled:
        missed(rooms, key, action)
    return key


def missed(rooms: Rooms, key: Key, action: str) -> None:
    """Keep in mind that somebody needs a key that is disabled, where its alias has left it."""
    if key.state == states.DISABLED and action in _USES:
        now = rooms.clock.now()
        rooms.database.later(lambda tx: rooms.key_rotations.miss(tx, key, action, now))


def change(
    rooms: Rooms,
    caller: Caller,
    action: str,
    key_id: str,
    work: Callable[[Tx, Key, datetime], R],
    request: Struct | None = None,
) -> R:
    """Run `work` on the locked key in one transaction.

    Raises:
        KeyNotFound, InvalidArn, AccessDenied: there is no such key for this caller to change.
    """

    def transaction(tx: Tx) -> R:
        return work(tx, find(rooms, tx, caller, action, key_id, lock=True, request=request), rooms.clock.now())

    return rooms.database.write(transaction)


def used(rooms: Rooms, key: Key, operation: str, *, dry_run: bool | None) -> None:
    """A key has done what it was asked for: keep that in mind, unless it was a dry run.

    Raises:
        DryRunOperation: it was.
    """
    if dry_run:
        raise DryRunOperation
    now = rooms.clock.now()
    if rooms.keys.lifecycle.is_news(key, now):
        rooms.database.later(lambda tx: rooms.keys.lifecycle.touch(tx, key, operation, now))


def refuse_recipient(recipient: object) -> None:
    """Raises: UnsupportedOperation: the answer was to be sealed for an enclave."""
    if recipient is not None:
        raise UnsupportedOperation("Recipient is not supported: there are no Nitro enclaves here.")


# The service authorization reference of KMS: condition keys that are members of the request.
_MEMBERS = {
    "bypass_policy_lockout_safety_check": "kms:bypasspolicylockoutsafetycheck",
    "encryption_algorithm": "kms:encryptionalgorithm",
    "expiration_model": "kms:expirationmodel",
    "key_agreement_algorithm": "kms:keyagreementalgorithm",
    "key_pair_spec": "kms:datakeypairspec",
    "mac_algorithm": "kms:macalgorithm",
    "message_type": "kms:messagetype",
    "pending_window_in_days": "kms:schedulekeydeletionpendingwindowindays",
    "rotation_period_in_days": "kms:rotationperiodindays",
    "signing_algorithm": "kms:signingalgorithm",
    "wrapping_algorithm": "kms:wrappingalgorithm",
    "wrapping_key_spec": "kms:wrappingkeyspec",
}
_CONTEXTS = {"ReEncryptFrom": "source_encryption_context", "ReEncryptTo": "destination_encryption_context"}


def _context_of(action: str, request: Struct | None) -> dict[str, str]:
    return getattr(request, _CONTEXTS.get(action, "encryption_context"), None) or {}


def _key_facts(key: Key) -> Facts:
    known: Facts = {"kms:keyspec": key.spec, "kms:keyusage": key.usage, "kms:keyorigin": key.origin}
    return known | (facts.tag_facts("aws:ResourceTag", key.tags.items()) if key.tags else {})


def _member_facts(request: Struct | None) -> Facts:
    known: Facts = {}
    for name, key in _MEMBERS.items():
        value = getattr(request, name, None)
        if value is not None:
            known[key] = str(value).lower() if isinstance(value, bool) else str(value)
    named = getattr(request, "key_id", None)
    if isinstance(named, str) and "alias/" in named:
        known["kms:requestalias"] = named[named.index("alias/") :]
    return known
