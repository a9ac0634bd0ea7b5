"""The door: who sends a request, and whether they may do what it asks.

`authenticate` turns a signed request into a `Caller`, with the policies that say what they may do. `authorize`,
`authorize_secret` and `authorize_key` are the one question that every operation passes; how it is decided is in
authorize.py. An access key brings a built-in policy by its role; its user's own policies count besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keywheel.access import authorize as weigh
from keywheel.access import facts, policy, rights, sigv4
from keywheel.access.access_keys import AccessKeys, Role
from keywheel.access.authorize import Authority, Decision, Lock
from keywheel.access.documents import Kind
from keywheel.access.facts import Facts, Gathered
from keywheel.access.identities import Identities, Sort
from keywheel.access.patterns import Context
from keywheel.access.policy import compiled
from keywheel.access.principals import Principal
from keywheel.access.sessions import KnownSession, Sessions
from keywheel.access.sigv4 import Request, SigningKeys
from keywheel.access.templates import BUILT_IN
from keywheel.arn import Scope
from keywheel.clock import Clock, from_epoch, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import AccessDenied, ExpiredToken, MalformedPolicyDocument
from keywheel.sensitive import Sensitive

SERVICES = frozenset({"secretsmanager", "kms", "sts"})
_REMEMBERED_SECONDS = 1.0  # a deleted access key is refused after this long at the most
_REMEMBERED = 10_000
_USED_SECONDS = 3600.0  # how old the word of when an access key was last used may be
_TEMPORARY = "ASIA"
_MENDING = frozenset({"secretsmanager:PutResourcePolicy", "secretsmanager:DeleteResourcePolicy"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, and the account and Region that it is about.

    `rights` are what was given to them, `known` what is known of the request besides what it asks.
    """

    arn: str
    scope: Scope
    role: Role
    access_key_id: str
    rights: Authority | None = field(default=None, compare=False, repr=False)
    known: Facts | None = field(default=None, compare=False, repr=False)

    @property
    def facts(self) -> Facts:
        """What is known of the request; at least, who asks."""
        return facts.principal_facts(self.authority.principal) if self.known is None else self.known

    @property
    def authority(self) -> Authority:
        """Their rights; where nothing else is known of them, those of the access key's role."""
        return self.rights or Authority(Principal.of(self.arn), BUILT_IN[self.role.value])


@dataclass(frozen=True, slots=True)
class _Signer:
    """What an access key, or that of a session, stands for."""

    arn: str
    account: str
    role: Role
    secret: Sensitive[str]
    authority: Authority
    facts: Facts
    session: KnownSession | None = None
    used: float | None = None


@dataclass(slots=True)
class _Remembered:
    """An access key as it was found a moment ago, or that there is none; its callers by Region and address."""

    since: float
    signer: _Signer | None
    callers: dict[tuple[str, str | None], Caller] = field(default_factory=dict)
    told: bool = False


class Door:
    """Authenticates requests. `secure`: they come over TLS, which conditions may ask for."""

    def __init__(
        self, database: Database, access_keys: AccessKeys, clock: Clock, sessions: Sessions, *, secure: bool = False
    ) -> None:
        self._database = database
        self._access_keys = access_keys
        self._clock = clock
        self._sessions = sessions
        self._secure = secure
        self._signing = SigningKeys()
        self._known: dict[str, _Remembered] = {}

    def authenticate(
        self, request: Request, services: frozenset[str] = SERVICES, *, client: str | None = None
    ) -> Caller:
        """Who signed `request`, for one of `services`, at the address `client`.

        Raises:
            MissingAuthenticationToken, IncompleteSignature, InvalidSignature, UnrecognizedClient, ExpiredToken: nobody
                did, or not in time.
        """
        claim = sigv4.claim(request)
        scope = claim.signer
        remembered = self._remembered(scope.access_key_id)
        signer = remembered.signer
        secret = None if signer is None else signer.secret
        now = self._clock.now()
        belongs = None if signer is None or signer.session is None else _belongs(signer.session, claim.session_token)
        sigv4.verify(request, claim, secret, keys=self._signing, now=now, services=services, token_belongs=belongs)
        if signer is None:  # verify has refused it
            raise AssertionError("an unknown access key passed")
        if signer.session is not None and signer.session.expires <= to_epoch(now):
            raise ExpiredToken("The security token included in the request is expired")
        caller = remembered.callers.get((scope.region, client))
        if caller is None:
            caller = remembered.callers[scope.region, client] = self._caller(scope, signer, client, now)
            self._used(scope, remembered, now)
        return caller

    def _caller(self, scope: sigv4.Signer, signer: _Signer, client: str | None, now: datetime) -> Caller:
        known = facts.request_facts(now=now, region=scope.region, source_ip=client, secure=self._secure)
        where = Scope(signer.account, scope.region)
        return Caller(signer.arn, where, signer.role, scope.access_key_id, signer.authority, known | signer.facts)

    def _used(self, scope: sigv4.Signer, remembered: _Remembered, now: datetime) -> None:
        """Write down that the access key is in use, now and then."""
        signer, at = remembered.signer, to_epoch(now)
        if signer is None or signer.session is not None or remembered.told:
            return
        remembered.told = True
        if signer.used is None or at - signer.used >= _USED_SECONDS:
            key, service, region = scope.access_key_id, scope.service, scope.region
            self._database.later(lambda tx: AccessKeys.touch(tx, key, at=at, service=service, region=region))

    def _remembered(self, access_key_id: str) -> _Remembered:
        now = self._clock.monotonic()
        remembered = self._known.get(access_key_id)
        if remembered is not None and now - remembered.since < _REMEMBERED_SECONDS:
            return remembered
        with self._database.point() as tx:
            found = self._of_session(tx, access_key_id) if access_key_id.startswith(_TEMPORARY) else None
            found = found or self._of_key(tx, access_key_id)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        remembered = self._known[access_key_id] = _Remembered(now, found)
        return remembered

    def _of_key(self, tx: Tx, access_key_id: str) -> _Signer | None:
        known = self._access_keys.known(tx, access_key_id)
        if known is None or not known.active:
            return None
        authority = rights.of_user(tx, known.arn, BUILT_IN[known.role.value])
        about = rights.user_facts(tx, authority.principal)
        return _Signer(known.arn, known.account, known.role, known.secret, authority, about, used=known.used)

    def _of_session(self, tx: Tx, access_key_id: str) -> _Signer | None:
        session = self._sessions.known(tx, access_key_id)
        role = None if session is None else Identities.find(tx, session.account, Sort.ROLE, session.role)
        if session is None or role is None:
            return None
        authority = rights.of_session(tx, role, session.name, session.policy)
        about = rights.session_facts(authority.principal, role, session.tags)
        about["aws:tokenissuetime"] = f"{from_epoch(session.created):%Y-%m-%dT%H:%M:%SZ}"
        return _Signer(session.arn, session.account, Role.POLICIES, session.secret, authority, about, session)


def _belongs(session: KnownSession, token: Sensitive[str] | None) -> bool:
    return token is not None and session.holds(token)


def authorize(caller: Caller, action: str, resource: str, context: Context) -> None:
    """Return if `caller` may do `action` on `resource`, which has no policy of its own.

    Raises:
        AccessDenied: with AWS's text.
    """
    _admit(weigh.own(caller.authority, _asked(caller, action, resource, context)))


def is_allowed(caller: Caller, action: str, resource: str, context: Context) -> bool:
    """Whether the caller's own policies allow `action` on `resource`; its policy may yet deny it, or allow it."""
    return weigh.own(caller.authority, _asked(caller, action, resource, context)).allowed


def authorize_secret(
    caller: Caller, action: str, arn: str, text: str | None, context: Context, *, called: str | None = None
) -> None:
    """Return if `caller` may do `action` on the secret `arn`, whose policy is `text`.

    `called` is what a refusal calls the secret: whoever is refused learns nothing that they did not say themselves. A
    policy of before policies were evaluated may turn out to be none: then only it may be put or taken away.

    Raises:
        AccessDenied: with AWS's text.
    """
    try:
        own = None if text is None else compiled(text, Kind.RESOURCE, "the secret's policy")
    except MalformedPolicyDocument as error:
        if action not in _MENDING:
            said = f"User: {caller.arn} is not authorized to perform: {action} on resource: {called or arn}"
            raise AccessDenied(
                f"{said} because its resource-based policy cannot be evaluated", hint=error.message
            ) from None
        own = None
    asked = _asked(caller, action, arn, context)
    _admit(weigh.secret(caller.authority, asked, Lock(arn.split(":", 5)[4], own)), called)


def authorize_key(
    caller: Caller, action: str, arn: str, lock: Lock, context: Context, encryption_context: Mapping[str, str]
) -> None:
    """Return if `caller` may do `action` with the key `arn`.

    Raises:
        AccessDenied: with AWS's text.
    """
    asked = _asked(caller, action, arn, context)
    _admit(weigh.key(caller.authority, asked, lock, encryption_context=encryption_context))


def _asked(caller: Caller, action: str, resource: str, context: Context) -> policy.Request:
    """The question. What is known of the caller and of the request is put together when a condition asks."""
    known = Gathered(lambda: {**caller.facts, **context})
    return policy.request(caller.authority.principal, action, resource, known)


def _admit(decision: Decision, called: str | None = None) -> None:
    if not decision.allowed:
        raise AccessDenied(weigh.refusal(decision, called))
