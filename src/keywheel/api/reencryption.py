"""ReencryptSecrets: every version of an account's secrets under current material, a page for each request.

It is authorized by keywheel's own action, on the key that is to be left or else on everything, which includes what it
does with keys: no value and no data key is told to anybody.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from msgspec import Struct

from keywheel.access.door import Caller, authorize
from keywheel.api.rooms import Rooms
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import InvalidNextToken, ValidationFailed
from keywheel.keys.errors import Conflict
from keywheel.rotation import slots
from keywheel.rotation.slots import Slot
from keywheel.secrets import wrapped
from keywheel.secrets.reencryption import Left, Page, Reencryption, Wanted
from keywheel.secrets.wrapped import FIRST, Place

LEASE = 15.0  # seconds until another run may begin, when nobody asks for the next page
_LARGEST = 2**63 - 1


class ReencryptSecretsRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Which versions: all of the account's, or those under a key, or under one generation of its material."""

    key_id: str | None = None
    generation: int | None = None
    dry_run: bool = False
    next_token: str | None = None


class LeftVersion(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A version that stays where it is, and why."""

    secret_id: str
    version_id: str
    code: str
    reason: str


class ReencryptSecretsResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """What was done in this page. `current`: versions that were meant and are under current material already."""

    examined: int
    moved: int
    current: int
    left: list[LeftVersion]
    total: int | None = None
    """With the first page: how many versions there are to be examined."""
    next_token: str | None = None


class _Run(NamedTuple):
    """A run of a caller's, who holds the account's only slot for it; a dry one holds none. And where it is."""

    holder: str
    turn: int
    after: Place

    def token(self, after: Place) -> str:
        return f"{self.turn}:{self.holder}:{after.secret_id}:{after.version_id}"

    @classmethod
    def of(cls, token: str) -> _Run:
        turn, _, rest = token.partition(":")
        holder, _, rest = rest.partition(":")
        secret_id, _, version_id = rest.partition(":")
        if not (_is_number(turn) and _is_number(secret_id)) or "\0" in token:
            raise InvalidNextToken("The NextToken value is invalid.")
        return cls(holder, int(turn), Place(int(secret_id), version_id))


def reencrypt_secrets(rooms: Rooms, caller: Caller, request: ReencryptSecretsRequest) -> ReencryptSecretsResponse:
    """Move a page of versions."""
    wanted = _wanted(rooms, caller, request)
    account = caller.scope.account
    run = None if request.next_token is None else _Run.of(request.next_token)
    begins = run is None
    if not request.dry_run:
        run = _held(rooms, account, run)
    run = run or _Run("", 0, FIRST)
    total = None
    if begins:
        with rooms.database.point() as tx:
            total = wrapped.values(tx, account)
    room = Reencryption(rooms.secrets.vault)
    page = room.page(rooms.database, account, wanted, rooms.clock.now(), after=run.after, dry_run=request.dry_run)
    if page.after is None and not request.dry_run:
        _end(rooms, account, run)
    return _told(page, total, None if page.after is None else run.token(page.after))


def _wanted(rooms: Rooms, caller: Caller, request: ReencryptSecretsRequest) -> Wanted:
    if request.key_id is None:
        authorize(caller, "keywheel:ReencryptSecrets", "*", {})
        if request.generation is not None:
            raise ValidationFailed("A Generation is one of a key: name the KeyId.")
        return Wanted()
    with rooms.database.point() as tx:
        key = rooms.keys.find(tx, caller.scope, request.key_id, now=rooms.clock.now(), aliases=True)
    authorize(caller, "keywheel:ReencryptSecrets", key.arn, {})
    if key.account != caller.scope.account:
        raise ValidationFailed("The key must be one of your account's.")
    return Wanted(key.key_id, request.generation)


# --- one run at a time


def _place(account: str) -> str:
    return f"reencryption {account}"


def _held(rooms: Rooms, account: str, run: _Run | None) -> _Run:
    """The account's slot, for a new run or for one that goes on.

    Raises:
        Conflict: it is another run's.
    """
    now, place = to_epoch(rooms.database.clock().now()), _place(account)

    def take(tx: Tx) -> _Run | None:
        holder = uuid.uuid4().hex
        slots.make_all(tx, {place: 1}, now)
        slot = slots.take(tx, place, 1, worker=holder, now=now, until=now + LEASE)
        return None if slot is None else _Run(holder, slot.turn, FIRST)

    def renew(tx: Tx, run: _Run) -> _Run | None:
        slot = Slot(place, 0, run.turn)
        return run if slots.renew(tx, slot, worker=run.holder, until=now + LEASE) else None

    held = rooms.database.write(take if run is None else lambda tx: renew(tx, run))
    if held is None:
        raise Conflict(
            f"The secrets of account {account} are being re-encrypted by somebody else.",
            hint=f"Wait until that has ended; one that was broken off has ended after {LEASE:.0f} seconds.",
        )
    return held


def _end(rooms: Rooms, account: str, run: _Run) -> None:
    now, slot = to_epoch(rooms.database.clock().now()), Slot(_place(account), 0, run.turn)
    rooms.database.write(lambda tx: slots.give_back(tx, slot, worker=run.holder, now=now))


# --- told


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= _LARGEST


def _told(page: Page, total: int | None, token: str | None) -> ReencryptSecretsResponse:
    return ReencryptSecretsResponse(
        examined=page.examined,
        moved=page.moved,
        current=page.current,
        left=[_left(each) for each in page.left],
        total=total,
        next_token=token,
    )


def _left(left: Left) -> LeftVersion:
    return LeftVersion(secret_id=left.arn, version_id=left.version_id, code=left.code, reason=left.reason)
