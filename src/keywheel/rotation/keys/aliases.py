"""Rotations behind aliases: schedule, start, and what is known of them. The engine's part is in `driver`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import ValidationFailed
from keywheel.keys import jwk
from keywheel.keys.errors import KeyNotFound
from keywheel.keys.keyring import Key, Keys
from keywheel.rotation.keys import former_rows, journal, regions, rows
from keywheel.rotation.keys.driver import begun, planned
from keywheel.rotation.keys.former_rows import FormerEntry
from keywheel.rotation.keys.journal import Note
from keywheel.rotation.keys.machine import Rotation, Step
from keywheel.rotation.keys.rows import Entry
from keywheel.rotation.keys.rules import Rules, check
from keywheel.rotation.keys.steps import KeySteps

_MISSED_EVERY = 3_600.0  # seconds in which further attempts to use a disabled key are not written down
_ANNOUNCED = (Step.ANNOUNCE, Step.MOVE)


class AliasRotations:
    """The rotations behind the aliases of every account and Region."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._steps = KeySteps(keys)

    # --- changes; inside `Database.write`

    def schedule(self, tx: Tx, scope: Scope, name: str, rules: Rules, now: datetime) -> Entry:
        """Rotate the alias by these rules from now on. They hold for the keys that it left before, too.

        Raises:
            ValidationFailed, InvalidParameter: the rules are none.
            KeyNotFound: there is no such alias.
            KeyInvalidState: no key can follow the one that it names.
            KeyStoreError: the key's store is away.
        """
        self._keys.aliases.check_name(name)
        check(rules, name, now)
        entry = self._entry(tx, scope, name, rules, now)
        key_id = self._keys.aliases.get(tx, scope, name).key_id
        if rules.expression is not None:
            self._steps.named(tx, entry, now)
        if rules.published and not jwk.is_publishable(self._keys.find(tx, scope, key_id, now=now)):
            raise ValidationFailed(f"The key behind {name} has no public key that could be published.")
        former_rows.wake(tx, scope, name, to_epoch(now))
        if entry.rotation.in_progress:
            return entry
        rested = entry._replace(rotation=replace(entry.rotation, failure=None, failures=0))
        return rows.save(tx, entry, planned(rested, now))

    def unschedule(self, tx: Tx, scope: Scope, name: str, now: datetime) -> Entry:
        """Rotate the alias no more but when asked for. A rotation under way goes on, and so do the former keys.

        Raises:
            KeyNotFound: it never was.
        """
        entry = self.get(tx, scope, name, lock=True)
        entry = rows.save_rules(tx, entry, replace(entry.rules, expression=None), to_epoch(now))
        rotation = replace(entry.rotation, due=None)
        if not rotation.in_progress:
            rotation = replace(rotation, failure=None, failures=0, wake_at=None)
        return rows.save(tx, entry, rotation)

    def start(self, tx: Tx, scope: Scope, name: str, now: datetime, *, urgent: bool = False) -> Entry:
        """Rotate the alias now; one that is under way is joined. `urgent`: without a lead.

        Raises:
            KeyNotFound: there is no such alias.
            KeyInvalidState: no key can follow the one that it names.
            KeyStoreError: the key's store is away.
        """
        self._keys.aliases.check_name(name)
        entry = rows.get(tx, scope, name, lock=True) or rows.add(tx, scope, name, Rules(), Rotation(), to_epoch(now))
        if not entry.rotation.in_progress:
            entry = begun(self._steps, tx, entry, now, urgent=urgent)
        elif urgent and entry.rotation.step is Step.ANNOUNCE:
            entry = rows.save(tx, entry, replace(entry.rotation, wake_at=to_epoch(now)))
        tx.ring()
        return entry

    def end(self, tx: Tx, scope: Scope, name: str, now: datetime) -> None:
        """The alias is deleted, and with it its schedule: another alias of that name is another matter."""
        entry = rows.get(tx, scope, name)
        if entry is not None:
            entry = self.unschedule(tx, scope, name, now)
            rows.save_rules(tx, entry, replace(entry.rules, published=False), to_epoch(now))

    @staticmethod
    def miss(tx: Tx, key: Key, operation: str, now: datetime) -> None:
        """Somebody tried to use a disabled key. Where it is a former key, its watch begins anew, in every Region."""
        instant = to_epoch(now)
        for scope in regions.of(tx, key.scope, key.key_id):
            found = former_rows.miss(tx, scope, key.key_id, instant, _MISSED_EVERY)
            if found is None:
                continue
            stage, event, reason = "disabled", "FormerKeyMissed", f"By {operation}."
            if scope != key.scope:
                reason = f"By {operation} in {key.region}."
            note = Note(scope.account, scope.region, found[0], key.key_id, None, 0, stage, event, None, reason, instant)
            journal.note(tx, note)

    def _entry(self, tx: Tx, scope: Scope, name: str, rules: Rules, now: datetime) -> Entry:
        found = rows.get(tx, scope, name, lock=True)
        if found is None:
            return rows.add(tx, scope, name, rules, Rotation(), to_epoch(now))
        return rows.save_rules(tx, found, rules, to_epoch(now))

    # --- telling

    @staticmethod
    def get(tx: Tx, scope: Scope, name: str, *, lock: bool = False) -> Entry:
        """The rotation of an alias.

        Raises:
            KeyNotFound: it never had one.
        """
        entry = rows.get(tx, scope, name, lock=lock)
        if entry is None:
            raise KeyNotFound(f"Alias {scope.arn('kms', name)} has no rotation.")
        return entry

    def current(self, tx: Tx, scope: Scope, name: str) -> str | None:
        """The id of the key that the alias names; None when there is no such alias."""
        try:
            return self._keys.aliases.get(tx, scope, name).key_id
        except KeyNotFound:
            return None

    @staticmethod
    def is_published(tx: Tx, scope: Scope, name: str) -> bool:
        """Whether everybody may fetch the alias's public keys."""
        entry = rows.get(tx, scope, name)
        return entry is not None and entry.rules.published

    @staticmethod
    def page(tx: Tx, scope: Scope, *, after: str = "", most: int) -> list[Entry]:
        """At most `most` rotations behind the alias `after`."""
        return rows.page(tx, scope, after=after, most=most)

    @staticmethod
    def formers(tx: Tx, scope: Scope, name: str) -> list[FormerEntry]:
        """The keys that the alias has left, the latest first."""
        return former_rows.of_alias(tx, scope, name)

    @staticmethod
    def journal(tx: Tx, scope: Scope, name: str, *, most: int) -> list[Note]:
        """The newest entries of the journal, newest first."""
        return journal.journal(tx, scope, name, most)

    def published(self, tx: Tx, scope: Scope, name: str, now: datetime) -> list[Key]:
        """The keys whose signatures are to be accepted: the alias's own, the next one, the former ones; while enabled.

        Raises:
            KeyNotFound: there is no such alias.
        """
        ids = [self._keys.aliases.get(tx, scope, name).key_id]
        entry = rows.get(tx, scope, name)
        if entry is not None and entry.rotation.step in _ANNOUNCED and entry.rotation.new_key is not None:
            ids.append(entry.rotation.new_key)
        ids += [each.former.key_id for each in self.formers(tx, scope, name)]
        found = [self._found(tx, scope, key_id, now) for key_id in dict.fromkeys(ids)]
        return [key for key in found if key is not None and key.enabled]

    def _found(self, tx: Tx, scope: Scope, key_id: str, now: datetime) -> Key | None:
        try:
            return self._keys.find(tx, scope, key_id, now=now)
        except KeyNotFound:
            return None
