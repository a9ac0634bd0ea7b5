"""What an operation's handler is given: the rooms, and who asks. And the few checks that every operation shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from keywheel.access.door import Caller
from keywheel.clock import Clock
from keywheel.db.database import Database
from keywheel.errors import InvalidParameter, InvalidRequest
from keywheel.keys.keyring import Keys
from keywheel.rotation.engine import Rotations
from keywheel.rotation.keys.aliases import AliasRotations
from keywheel.rotation.particulars import Asker
from keywheel.rotation.runners import Runners
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.listing import Listing
from keywheel.secrets.replicas import Replicas
from keywheel.secrets.values import Value
from keywheel.sensitive import Sensitive

R = TypeVar("R")
MISSING = "You must provide a ClientRequestToken value. We recommend a UUID-type value."


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms of the house, as the composition root built them."""

    database: Database
    clock: Clock
    keys: Keys
    secrets: Secrets
    listing: Listing
    replicas: Replicas
    rotations: Rotations
    key_rotations: AliasRotations
    runners: Runners
    sign: Callable[[bytes], bytes]
    """The installation's signature, with the key of the audit ledger."""


def asker(caller: Caller) -> Asker:
    """Who asks, as the journal keeps it."""
    return Asker(caller.arn, caller.access_key_id)


def checked_token(token: str | None, missing: type[InvalidRequest | InvalidParameter] = InvalidRequest) -> str:
    """A ClientRequestToken, which becomes a version's id. SDKs always send one.

    Raises:
        InvalidRequest, InvalidParameter: it is missing (`missing`), or not 32 to 64 characters long.
    """
    if token is None:
        raise missing(MISSING)
    if not 32 <= len(token) <= 64:
        raise InvalidParameter("ClientRequestToken must be 32-64 characters long.")
    return token


def checked_value(text: str | None, binary: bytes | None) -> Value | None:
    """The value of a request; None when it brings none.

    Raises:
        InvalidParameter: it brings two.
    """
    if text is not None and binary is not None:
        raise InvalidParameter(
            "You can't specify both a binary secret value and a string secret value in the same secret."
        )
    if text is not None:
        return Value.of_text(text)
    return None if binary is None else Value(Sensitive(binary), binary=True)
