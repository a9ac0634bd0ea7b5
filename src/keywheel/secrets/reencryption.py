"""Re-encryption: every version moves under the current backing key of the key that its secret uses now.

1. A version's value stays as it is sealed; its data key is wrapped again. Before the old wrapping is overwritten, the
   value was opened with the new one, and was the same.
2. It goes by the versions themselves: who is under current material is left alone. So it can be broken off anywhere,
   by anything, and begun again, and to do it twice does no harm.
3. Whoever changes a secret wins: a version is only replaced as it was read, under the lock of its secret, and a secret
   that is locked is waited for alone.
4. Every version counts: without labels, of a secret that will be deleted, of a replica. What cannot be moved, because
   a key cannot be used, is left as it is and told with the reason.

What protects nothing but versions wraps nothing else: access keys, audit keys and the backing keys themselves are
wrapped by the root key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import CallerError, KeyStoreError
from keywheel.keys import ciphertext, states
from keywheel.keys.keyring import Key
from keywheel.secrets import wrapped
from keywheel.secrets.values import Vault
from keywheel.secrets.wrapped import FIRST, Place, Seen, Stored

_LOOKED_AT = 1000  # versions of a page
_TOGETHER = 25  # of a transaction: bounds how long whoever changes one of these secrets waits, and the memory
_TRIES = 4
_SECONDS = 5.0  # after which a page is broken off: keys may be behind a network
_HEAD = 21
_BUSY = ("ConflictException", "The secret is being changed all the time.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which versions are meant: all, those under one key, or those under one generation of its material. Pure."""

    key_id: str | None = None
    generation: int | None = None

    def includes(self, head: bytes) -> bool:
        """Whether a version is, by the head of its data key."""
        if self.key_id is None:
            return True
        if len(head) != _HEAD:
            return False
        key_id, generation = ciphertext.backing_key(head)
        return key_id == self.key_id and self.generation in (None, generation)


class Left(NamedTuple):
    """A version that stays where it is, and why."""

    arn: str
    version_id: str
    code: str
    reason: str


@dataclass(slots=True)
class Page:
    """What was done. `after`: where the next page begins; None when this was the last."""

    examined: int = 0
    moved: int = 0
    current: int = 0
    left: list[Left] = field(default_factory=list)
    after: Place | None = None


class _Move(NamedTuple):
    place: Place
    former: Stored
    data_key: bytes
    key_arn: str | None


class _Unmade(NamedTuple):
    """The default key is needed for the first time."""

    scope: Scope


_GONE, _CURRENT = "gone", "current"
_Verdict = _Move | _Unmade | Left | str
_Targets = dict[tuple[Scope, str | None], tuple[Key, bool] | None]
_Away = dict[tuple[str, str], KeyStoreError]


class Reencryption:
    """Moves versions from one backing key to another."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def page(
        self,
        database: Database,
        account: str,
        wanted: Wanted,
        now: datetime,
        *,
        after: Place = FIRST,
        dry_run: bool = False,
    ) -> Page:
        """Move some versions of an account behind `after`; with `dry_run`, do all but write."""
        end = time.monotonic() + _SECONDS
        done = Page()
        away: _Away = {}
        with database.read() as tx:
            seen = wrapped.page(tx, after, _LOOKED_AT)
        for batch in _batches(seen, lambda each: _is_meant(each, account, wanted)):
            done.examined += sum(each.account == account and each.head is not None for each in batch)
            places = [each.place for each in batch if _is_meant(each, account, wanted)]
            self._move(database, places, now, done, away, dry_run=dry_run)
            if time.monotonic() > end and batch[-1] is not seen[-1]:
                done.after = batch[-1].place
                return done
        done.after = seen[-1].place if len(seen) == _LOOKED_AT else None
        return done

    # --- inside

    def _move(
        self,
        database: Database,
        places: Sequence[Place],
        now: datetime,
        done: Page,
        away: _Away,
        *,
        dry_run: bool,
    ) -> None:
        for attempt in range(_TRIES):
            if not places:
                return
            targets: _Targets = {}  # as they are in this transaction
            with database.read() as tx:
                verdicts = {place: self._judge(tx, place, now, targets, away) for place in places}
            moves = [each for each in verdicts.values() if isinstance(each, _Move)]
            unmade = {place: each.scope for place, each in verdicts.items() if isinstance(each, _Unmade)}
            done.current += sum(each == _CURRENT for each in verdicts.values())
            done.left += [each for each in verdicts.values() if isinstance(each, Left)]
            if dry_run:
                done.moved += len(moves) + len(unmade)
                return
            for scope in set(unmade.values()):
                database.write(_default(self._vault, scope, now))
            behind = _written(database, moves, alone=attempt > 0)
            done.moved += len(moves) - len(behind)
            places = [*behind, *unmade]
        with database.read() as tx:
            for place in places:
                if (found := wrapped.stored(tx, place)) is not None:
                    done.left.append(Left(found.arn, place.version_id, *_BUSY))

    def _judge(self, tx: Tx, place: Place, now: datetime, targets: _Targets, away: _Away) -> _Verdict:
        found = wrapped.stored(tx, place)
        if found is None or found.data_key is None or found.sealed is None:
            return _GONE
        use = (found.scope, found.kms_key_id)
        try:
            if use not in targets:
                targets[use] = self._vault.present_key(tx, *use, now)
            target = targets[use]
            if target is None:
                return _Unmade(found.scope)
            key, named = target
            states.check("GenerateDataKey", key.state, key.origin, key.arn)
            if found.data_key[:_HEAD] == ciphertext.head(key.key_id, key.generation):
                return _CURRENT
            data_key = self._wrap(tx, place, found, key, away)
        except (CallerError, KeyStoreError) as error:
            return Left(found.arn, place.version_id, error.code, error.message)
        return _Move(place, found._replace(sealed=None), data_key, key.arn if named else None)

    def _wrap(self, tx: Tx, place: Place, found: Stored, key: Key, away: _Away) -> bytes:
        data_key, sealed = found.data_key or b"", found.sealed or b""
        way = (ciphertext.backing_key(data_key[:_HEAD])[0] if len(data_key) > _HEAD else "", key.key_id)
        if way in away:  # it was found out by waiting
            raise away[way]
        try:
            return self._vault.wrap_again(tx, found.arn, place.version_id, data_key, sealed, key)
        except KeyStoreError as error:
            away[way] = error
            raise


def _is_meant(seen: Seen, account: str, wanted: Wanted) -> bool:
    return seen.account == account and seen.head is not None and wanted.includes(bytes(seen.head))


def _batches(seen: Iterable[Seen], is_meant: Callable[[Seen], bool]) -> Iterator[list[Seen]]:
    """`seen` in its order, cut behind each so many that are meant."""
    batch: list[Seen] = []
    many = 0
    for each in seen:
        batch.append(each)
        many += is_meant(each)
        if many == _TOGETHER:
            yield batch
            batch, many = [], 0
    if batch:
        yield batch


def _default(vault: Vault, scope: Scope, now: datetime) -> Callable[[Tx], object]:
    return lambda tx: vault.key(tx, scope, None, now)


def _written(database: Database, moves: Sequence[_Move], *, alone: bool) -> list[Place]:
    """Write the moves; those where somebody was before us.

    Many secrets are locked together without waiting, one is waited for alone: so nobody can wait for us while we wait.
    """
    rest, behind = iter(moves), []
    while group := list(islice(rest, 1 if alone else _TOGETHER)):
        behind += database.write(lambda tx, group=group: _write(tx, group, wait=alone))  # type: ignore[misc]
    return behind


def _write(tx: Tx, moves: Sequence[_Move], *, wait: bool) -> list[Place]:
    return [
        move.place
        for move in moves
        if not wrapped.replace(tx, move.place, move.former, move.data_key, move.key_arn, wait=wait)
    ]
