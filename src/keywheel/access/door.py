"""The door: who sends a request, and whether they may do what it asks.

`authenticate` turns a signed request into a `Caller`; `authorize` is the one question that every operation passes.
In this version an access key is an administrator, who may do everything, or read-only, who may do what changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keywheel.access import sigv4
from keywheel.access.access_keys import AccessKeys, KnownKey, Role
from keywheel.access.sigv4 import Request, SigningKeys
from keywheel.arn import Scope
from keywheel.clock import Clock
from keywheel.db.database import Database
from keywheel.errors import AccessDenied

SERVICES = frozenset({"secretsmanager"})
_REMEMBERED_SECONDS = 1.0  # a deleted access key is refused after this long at the most
_REMEMBERED = 10_000
_READ_ONLY_PREFIXES = ("Describe", "Get", "List", "BatchGet", "Validate")
_ADMINISTRATORS_ONLY = frozenset({"keywheel:GetRotationEvidence"})  # it tells who holds which access key


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, and the account and Region that it is about."""

    arn: str
    scope: Scope
    role: Role
    access_key_id: str


@dataclass(frozen=True, slots=True)
class _Remembered:
    """An access key as it was found a moment ago, or that there is none; its callers by Region."""

    since: float
    key: KnownKey | None
    callers: dict[str, Caller] = field(default_factory=dict)


class Door:
    """Authenticates requests and authorizes actions."""

    def __init__(self, database: Database, access_keys: AccessKeys, clock: Clock) -> None:
        self._database = database
        self._access_keys = access_keys
        self._clock = clock
        self._signing = SigningKeys()
        self._known: dict[str, _Remembered] = {}

    def authenticate(self, request: Request) -> Caller:
        """Who signed `request`.

        Raises:
            MissingAuthenticationToken, IncompleteSignature, InvalidSignature, UnrecognizedClient: nobody did.
        """
        claim = sigv4.claim(request)
        signer = claim.signer
        remembered = self._remembered(signer.access_key_id)
        known = remembered.key
        secret = None if known is None else known.secret
        sigv4.verify(request, claim, secret, keys=self._signing, now=self._clock.now(), services=SERVICES)
        if known is None:  # verify has refused it
            raise AssertionError("an unknown access key passed")
        caller = remembered.callers.get(signer.region)
        if caller is None:
            caller = Caller(known.arn, Scope(known.account, signer.region), known.role, signer.access_key_id)
            remembered.callers[signer.region] = caller
        return caller

    def _remembered(self, access_key_id: str) -> _Remembered:
        now = self._clock.monotonic()
        remembered = self._known.get(access_key_id)
        if remembered is not None and now - remembered.since < _REMEMBERED_SECONDS:
            return remembered
        with self._database.point() as tx:
            found = self._access_keys.known(tx, access_key_id)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        remembered = self._known[access_key_id] = _Remembered(now, found)
        return remembered


def authorize(caller: Caller, action: str, resource: str, context: Mapping[str, str]) -> None:
    """Return if `caller` may do `action` (such as `secretsmanager:GetSecretValue`) on `resource`.

    Raises:
        AccessDenied: with AWS's text.
    """
    del context  # no condition is evaluated yet
    if caller.role is Role.ADMINISTRATOR:
        return
    if action not in _ADMINISTRATORS_ONLY and action.partition(":")[2].startswith(_READ_ONLY_PREFIXES):
        return
    raise AccessDenied(
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )
