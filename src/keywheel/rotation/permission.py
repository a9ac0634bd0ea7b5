"""What the engine may do with keys on nobody's behalf. It is the service `keywheel.internal`.

1. It needs no Allow: what it rotates or replicates was given to it for that, by somebody who might.
2. A Deny in a key's policy that applies to it counts as it does for everybody, and is told as the reason.
3. So it asks before each use of a key that somebody else chose: to read and write a secret's values, to copy them to
   another Region, to rotate behind an alias, and to lead a former key out. Its own discarded key it just takes back.
"""

from __future__ import annotations

from keywheel.access import authorize, facts
from keywheel.access.authorize import Authority, Lock, Verdict
from keywheel.access.documents import Kind
from keywheel.access.facts import Facts
from keywheel.access.policy import compiled, request
from keywheel.access.principals import ENGINE, Principal
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied, EncryptionFailure, InvalidParameter, ResourceNotFound, SecretMalformed
from keywheel.keys.keyring import Key, Keys
from keywheel.secrets.rows import Secret, Version
from keywheel.secrets.values import named_key

_ENGINE = Authority(Principal.of(ENGINE), ())
_HINT = "Spare the service keywheel.internal in that statement of the key policy"


class KeyForbidden(SecretMalformed):
    """The policy of the secret's key denies its use to the rotation engine."""

    code = "KeyForbidden"
    default_hint = f"{_HINT}, then rotate again."


def denial(key: Key, policy: str | None, action: str, known: Facts | None = None) -> str | None:
    """Why the engine may not do `action` (such as `Decrypt`) with a key of this policy; None when it may."""
    if policy is None:
        return None
    told = facts.principal_facts(_ENGINE.principal) | facts.key_facts(key) | (known or {})
    asked = request(_ENGINE.principal, f"kms:{action}", key.arn, told)
    decision = authorize.key(_ENGINE, asked, Lock(key.account, compiled(policy, Kind.KEY, "the key's policy")))
    if decision.verdict is not Verdict.DENIED:
        return None
    where = decision.because[0].statement
    return f"The policy of the key {key.arn} denies kms:{action} to {ENGINE} ({where})."


def require(key: Key, policy: str | None, *actions: str) -> None:
    """Return if this policy of a key denies the engine none of the actions.

    Raises:
        AccessDenied: it denies one.
    """
    for action in actions:
        reason = denial(key, policy, action)
        if reason is not None:
            raise AccessDenied(reason, hint=f"{_HINT}.")


# --- keys of secrets


def check(tx: Tx, keys: Keys, secret: Secret, action: str, named: str | None, version_id: str) -> None:
    """Return if no policy denies the engine `action` with the key `named`, for that version of the secret.

    Raises:
        KeyForbidden: the key's policy does.
    """
    reason = _denial_of(tx, keys, secret, action, named, version_id)
    if reason is not None:
        raise KeyForbidden(reason)


def check_rehearsal(tx: Tx, keys: Keys, secret: Secret, current: Version | None, pending_id: str) -> None:
    """Return if no policy denies the engine to write the value of `current` once more, as the version `pending_id`.

    Raises:
        AccessDenied: a key's policy does. Whoever asked for the rehearsal waits for the answer.
    """
    if current is None or current.sealed is None:
        return  # nothing is read
    for action, named, version_id in (
        ("Decrypt", current.key_arn, current.version_id),
        ("GenerateDataKey", secret.kms_key_id, pending_id),
    ):
        reason = _denial_of(tx, keys, secret, action, named, version_id)
        if reason is not None:
            raise AccessDenied(reason, hint=f"{_HINT}.")


def check_copy(tx: Tx, keys: Keys, secret: Secret, action: str, named: str | None, version_id: str) -> None:
    """As `check`, for a value that is copied to another Region: by the engine, whoever wrote it.

    Raises:
        EncryptionFailure: the key's policy denies it.
    """
    reason = _denial_of(tx, keys, secret, action, named, version_id)
    if reason is not None:
        raise EncryptionFailure(reason, hint=f"{_HINT}.")


def _denial_of(tx: Tx, keys: Keys, secret: Secret, action: str, named: str | None, version_id: str) -> str | None:
    scope: Scope = secret.scope
    if named is None or named_key(scope, named) is None:
        return None  # the key of the service, whose policy nobody changes
    try:
        key = keys.resolve(tx, scope, named)
    except (ResourceNotFound, InvalidParameter):
        return None  # whoever uses it is told
    known = facts.by_way_of("secretsmanager", key.region)
    known |= facts.encryption_facts({"SecretARN": secret.arn, "SecretVersionId": version_id})
    return denial(key, keys.lifecycle.remembered_policy(tx, key), action, known)
