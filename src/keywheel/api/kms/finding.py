"""Which key a request is about, and whether the caller may ask that of it: what every operation on a key begins with.

A key is found first and asked for afterwards, because its policy decides (aws-contract C12). So each operation of KMS
that names a key is authorized here and nowhere else. A key of another account is given by its ARN, where its policy and
the caller's own both allow it, or a grant does.

Keys are used in `point` reads, although those may take two statements: backing keys never change, so whichever is
current when it is asked for is a right one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TypeVar

from msgspec import Struct

from keywheel.access import facts
from keywheel.access.authorize import Lock
from keywheel.access.documents import Kind
from keywheel.access.door import Caller, authorize, authorize_key
from keywheel.access.facts import Facts, Gathered
from keywheel.access.granted import held
from keywheel.access.policy import Policy, compiled
from keywheel.access.templates import default_key_policy, service_key_policy
from keywheel.api.kms.granted import grant_facts, grants_for
from keywheel.api.rooms import Rooms
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import UnsupportedOperation
from keywheel.keys import states
from keywheel.keys.aliases import Aliases
from keywheel.keys.errors import DryRunOperation
from keywheel.keys.keyring import Key
from keywheel.keys.specs import ENCRYPT, SYMMETRIC

R = TypeVar("R")

_USES = frozenset(
    {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
     "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "Sign", "Verify", "GetPublicKey", "GenerateMac",
     "VerifyMac", "DeriveSharedSecret", "Encapsulate", "Decapsulate"}
)  # fmt: skip

_RESOURCE_ALIASES, _MOST_ALIASES = "kms:resourcealiases", 50
_GIVEN_UP = 60.0  # seconds after which a note that was not written is taken to be lost


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
        InvalidGrantToken: a grant token of the request is none.
    """
    context: dict[str, str] = _context_of(action, request)
    policy = compiled(policy_of(rooms, tx, key, changing=changing), Kind.KEY, "the key's policy")

    def known() -> Facts:
        of_request = _member_facts(request) | facts.encryption_facts(context) | grant_facts(action, request)
        return facts.key_facts(key) | of_request | _alias_facts(tx, caller, policy, key)

    lock = Lock(key.account, policy, grants_for(rooms, tx, caller, key, request, changing=changing))
    authorize_key(caller, f"kms:{action}", key.arn, lock, Gathered(known), context)


def permit_by_way_of(
    rooms: Rooms, tx: Tx, caller: Caller, action: str, key: Key, context: dict[str, str], *, changing: bool = True
) -> None:
    """Return if the caller may have Secrets Manager do `action` with `key` and this encryption context.

    Raises:
        AccessDenied: with AWS's text.
    """
    policy = compiled(policy_of(rooms, tx, key, changing=changing), Kind.KEY, "the key's policy")

    def known() -> Facts:
        of_request = facts.encryption_facts(context) | facts.by_way_of("secretsmanager", key.region)
        return facts.key_facts(key) | of_request | _alias_facts(tx, caller, policy, key)

    grants = held(rooms.keys.grants, tx, key, caller.authority.principal, remembered=not changing)
    lock = Lock(key.account, policy, grants)
    authorize_key(caller, f"kms:{action}", key.arn, lock, Gathered(known), context)


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
        _note(rooms, "missed", key, lambda tx: rooms.key_rotations.miss(tx, key, action, now))


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
        _note(rooms, "used", key, lambda tx: rooms.keys.lifecycle.touch(tx, key, operation, now))


def _note(rooms: Rooms, what: str, key: Key, write: Callable[[Tx], object]) -> None:
    """Write down soon what happened to a key, unless that is on its way: until then a thousand others may come."""
    noting, note, now = rooms.keys.lifecycle.noting, (what, key.arn), rooms.clock.monotonic()
    if now - noting.get(note, -_GIVEN_UP) < _GIVEN_UP:
        return
    noting[note] = now

    def work(tx: Tx) -> None:
        noting.pop(note, None)
        write(tx)

    rooms.database.later(work)


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
    "primary_region": "kms:primaryregion",
    "replica_region": "kms:replicaregion",
    "pending_window_in_days": "kms:schedulekeydeletionpendingwindowindays",
    "rotation_period_in_days": "kms:rotationperiodindays",
    "signing_algorithm": "kms:signingalgorithm",
    "wrapping_algorithm": "kms:wrappingalgorithm",
    "wrapping_key_spec": "kms:wrappingkeyspec",
}
_CONTEXTS = {"ReEncryptFrom": "source_encryption_context", "ReEncryptTo": "destination_encryption_context"}


@cache
def _members(kind: type[Struct]) -> list[tuple[str, str]]:
    return [(name, key) for name, key in _MEMBERS.items() if hasattr(kind, name)]


def _context_of(action: str, request: Struct | None) -> dict[str, str]:
    return getattr(request, _CONTEXTS.get(action, "encryption_context"), None) or {}


def new_key_facts(
    spec: str | None, usage: str | None, origin: str | None, multi_region: str | None, request: Struct
) -> Facts:
    """What is known of a key that `request` is to make."""
    spec = spec or SYMMETRIC
    usage = usage or (ENCRYPT if spec == SYMMETRIC else None)
    known: Facts = {"kms:keyspec": spec, "kms:keyorigin": origin or states.AWS_KMS}
    if usage is not None:
        known["kms:keyusage"] = usage
    known |= facts.region_facts(multi_region) | _member_facts(request)
    tags = [(tag.tag_key, tag.tag_value) for tag in getattr(request, "tags", None) or ()]
    if tags:
        known |= facts.tag_facts("aws:RequestTag", tags) | {"aws:tagkeys": tuple(name for name, _ in tags)}
    return known


def _alias_facts(tx: Tx, caller: Caller, policy: Policy, key: Key) -> Facts:
    """The aliases of a key, which are looked for only where a policy asks for them."""
    if not caller.authority.asks(_RESOURCE_ALIASES, policy):
        return {}
    found = Aliases.page(tx, key.scope, key=key, most=_MOST_ALIASES)
    return {_RESOURCE_ALIASES: tuple(alias.name for alias in found)} if found else {}


def _member_facts(request: Struct | None) -> Facts:
    known: Facts = {}
    for name, key in () if request is None else _members(type(request)):
        value = getattr(request, name)
        if value is not None:
            known[key] = str(value).lower() if isinstance(value, bool) else str(value)
    named = getattr(request, "key_id", None)
    if isinstance(named, str) and "alias/" in named:
        known["kms:requestalias"] = named[named.index("alias/") :]
    return known
