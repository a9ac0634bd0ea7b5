"""What the engine may do with the key of a secret, when it rotates on nobody's behalf.

The engine is the service `keywheel.internal`. It needs no Allow: a secret that rotates was given to it for that. A Deny
in the key's policy that applies to it counts as it does for everybody, and the rotation fails with that reason.
"""

from __future__ import annotations

from keywheel.access import authorize, facts
from keywheel.access.authorize import Authority, Lock, Verdict
from keywheel.access.documents import Kind
from keywheel.access.policy import compiled, request
from keywheel.access.principals import ENGINE, Principal
from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import InvalidParameter, ResourceNotFound, SecretMalformed
from keywheel.keys.keyring import Keys
from keywheel.secrets.rows import Secret
from keywheel.secrets.values import named_key

_ENGINE = Authority(Principal.of(ENGINE), ())


class KeyForbidden(SecretMalformed):
    """The policy of the secret's key denies its use to the rotation engine."""

    code = "KeyForbidden"
    default_hint = "Spare the service keywheel.internal in that statement of the key policy, then rotate again."


def check(tx: Tx, keys: Keys, secret: Secret, action: str, named: str | None, version_id: str) -> None:
    """Return if no policy denies the engine `action` (such as `Decrypt`) with the key `named`, for that version.

    Raises:
        KeyForbidden: the key's policy does.
    """
    scope: Scope = secret.scope
    if named is None or named_key(scope, named) is None:
        return  # the key of the service, whose policy nobody changes
    try:
        key = keys.resolve(tx, scope, named)
    except (ResourceNotFound, InvalidParameter):
        return  # whoever uses it is told
    text = keys.lifecycle.remembered_policy(tx, key)
    if text is None:
        return
    known = facts.principal_facts(_ENGINE.principal) | facts.by_way_of("secretsmanager", key.region)
    known |= facts.encryption_facts({"SecretARN": secret.arn, "SecretVersionId": version_id})
    known |= facts.key_facts(key)
    asked = request(_ENGINE.principal, f"kms:{action}", key.arn, known)
    decision = authorize.key(_ENGINE, asked, Lock(key.account, compiled(text, Kind.KEY, "the key's policy")))
    if decision.verdict is Verdict.DENIED:
        where = decision.because[0].statement
        raise KeyForbidden(f"The policy of the key {key.arn} denies kms:{action} to {ENGINE} ({where}).")
