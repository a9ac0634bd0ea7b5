"""Sessions: a role as somebody acts in it, for a while.

A session signs with a temporary access key, which counts only together with its token. Of the token a digest is kept,
of the secret half a sealed copy. What the role may do is looked up while the session lasts; a session policy can only
narrow that.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from keywheel.access import rows
from keywheel.access.documents import Kind
from keywheel.access.identities import Identity
from keywheel.access.policy import compile_policy
from keywheel.access.session_tags import NO_TAGS, SessionTags
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import InvalidParameter
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")
_SHORTEST = 900
_KEPT_SECONDS = 86_400.0  # so that an expired token is told from an unknown one


@dataclass(frozen=True, slots=True)
class Issued:
    """What whoever assumes a role is given, once."""

    access_key_id: str
    secret: Sensitive[str]
    token: Sensitive[str]
    arn: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class KnownSession:
    """What checking a request needs of a session."""

    account: str
    role: str
    name: str
    secret: Sensitive[str]
    token: bytes
    policy: str | None
    created: float
    expires: float
    tags: SessionTags = NO_TAGS

    @property
    def arn(self) -> str:
        """Who acts."""
        return session_arn(self.account, self.role, self.name)

    def holds(self, token: Sensitive[str]) -> bool:
        """Whether this is the session's token."""
        return secrets.compare_digest(self.token, _digest(token))


def session_arn(account: str, role: str, name: str) -> str:
    """The ARN of a session of a role, in which the role's path does not stand."""
    return f"arn:aws:sts::{account}:assumed-role/{role}/{name}"


class Sessions:
    """The sessions of every account."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def issue(
        self,
        tx: Tx,
        role: Identity,
        name: str,
        *,
        seconds: int,
        now: datetime,
        policy: str | None = None,
        shortest: int = _SHORTEST,
        tags: SessionTags = NO_TAGS,
    ) -> Issued:
        """A new session of `role`; whether it may be is decided elsewhere.

        Raises:
            InvalidParameter: the name is not valid, or it would last too long or too short.
            MalformedPolicyDocument: `policy` is no session policy.
        """
        if not _NAME.fullmatch(name):
            raise InvalidParameter("The name of a session has 2 to 64 letters, digits and _+=,.@-")
        if not shortest <= seconds <= (role.longest or _SHORTEST):
            raise InvalidParameter("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
        if policy is not None:
            compile_policy(policy, Kind.SESSION)
        access_key_id = "ASIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
        secret, token = Sensitive(secrets.token_urlsafe(30)), Sensitive(secrets.token_urlsafe(96))
        expires = now + timedelta(seconds=seconds)
        rows.delete_sessions_before.run(tx, before=to_epoch(now) - _KEPT_SECONDS)
        rows.insert_session.run(
            tx,
            access_key_id=access_key_id,
            account=role.account,
            role=role.name,
            name=name,
            sealed=self._keys.wrap(tx, secret.reveal().encode(), sealed_label(access_key_id)),
            token=_digest(token),
            policy=policy,
            tags=tags.stored(),
            created=to_epoch(now),
            expires=to_epoch(expires),
        )
        return Issued(access_key_id, secret, token, session_arn(role.account, role.name, name), expires)

    @staticmethod
    def revoke(tx: Tx, access_key_id: str) -> None:
        """End a session before its time. The doors of other processes learn of it within a second."""
        rows.delete_session.run(tx, access_key_id=access_key_id)

    def known(self, tx: Tx, access_key_id: str) -> KnownSession | None:
        """The session that signs with this access key; None when there is none."""
        row = rows.session.first(tx, access_key_id=access_key_id)
        if row is None:
            return None
        account, role, name, sealed, token, policy, tags, created, expires = row
        secret = Sensitive(self._keys.unwrap(sealed, sealed_label(access_key_id)).reveal().decode())
        return KnownSession(
            account, role, name, secret, bytes(token), policy, created, expires, SessionTags.of_stored(tags)
        )


def sealed_label(access_key_id: str) -> str:
    """What a session's secret half is bound to."""
    return f"session:{access_key_id}"


def _digest(token: Sensitive[str]) -> bytes:
    return sha256(token.reveal().encode()).digest()
