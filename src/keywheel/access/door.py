"""The door: who sends a request, and whether they may do what it asks.

`authenticate` turns a signed request into a `Caller`; `authorize` is the one question that every operation passes.
In this version an access key is an administrator, who may do everything, or read-only, who may do what changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, and the account and Region that it is about."""

    arn: str
    scope: Scope
    role: Role
    access_key_id: str


class Door:
    """Authenticates requests and authorizes actions."""

    def __init__(self, database: Database, access_keys: AccessKeys, clock: Clock) -> None:
        self._database = database
        self._access_keys = access_keys
        self._clock = clock
        self._signing = SigningKeys()
        self._known: dict[str, tuple[float, KnownKey | None]] = {}

    def authenticate(self, request: Request) -> Caller:
        """Who signed `request`.

        Raises:
            MissingAuthenticationToken, IncompleteSignature, InvalidSignature, UnrecognizedClient: nobody did.
        """
        claim = sigv4.claim(request)
        known = self._key(claim.access_key_id)
        secret = None if known is None else known.secret
        sigv4.verify(request, claim, secret, keys=self._signing, now=self._clock.now(), services=SERVICES)
        if known is None:  # verify has refused it
            raise AssertionError("an unknown access key passed")
        return Caller(known.arn, Scope(known.account, claim.region), known.role, claim.access_key_id)

    def _key(self, access_key_id: str) -> KnownKey | None:
        now = self._clock.monotonic()
        remembered = self._known.get(access_key_id)
        if remembered is not None and now - remembered[0] < _REMEMBERED_SECONDS:
            return remembered[1]
        with self._database.point() as tx:
            found = self._access_keys.known(tx, access_key_id)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[access_key_id] = now, found
        return found


def authorize(caller: Caller, action: str, resource: str, context: Mapping[str, str]) -> None:
    """Return if `caller` may do `action` (such as `secretsmanager:GetSecretValue`) on `resource`.

    Raises:
        AccessDenied: with AWS's text.
    """
    del context  # no condition is evaluated yet
    if caller.role is Role.ADMINISTRATOR:
        return
    if action.partition(":")[2].startswith(_READ_ONLY_PREFIXES):
        return
    raise AccessDenied(
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )
