"""What a rotation behind an alias does to keys. Every method works within the transaction it is given.

Whatever is refused here is refused before the alias moves, so the alias goes on to name the former key.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from keywheel.clock import from_epoch, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import KeyStoreError
from keywheel.keys import states, trial
from keywheel.keys.custom.keys import CustomKeys
from keywheel.keys.errors import Conflict, KeyInvalidState, KeyNotFound
from keywheel.keys.keyring import Draft, Key, Keys
from keywheel.keys.lifecycle import SHORTEST_WINDOW
from keywheel.keys.specs import ENCRYPT
from keywheel.rotation import permission
from keywheel.rotation.keys import former_rows, formers, journal, policies, regions
from keywheel.rotation.keys.former_rows import FormerEntry
from keywheel.rotation.keys.formers import Deed, Former, Held, Stage
from keywheel.rotation.keys.journal import Note
from keywheel.rotation.keys.obstacles import obstacle
from keywheel.rotation.keys.rows import Entry
from keywheel.rotation.keys.rules import Rules

_ALIASES = 100  # more than a key can have
_ACTIONS = {Deed.DISABLE: "DisableKey", Deed.DELETE: "ScheduleKeyDeletion"}


class KeySteps:
    """The deeds of the rotations of every alias."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    # --- the keys

    def named(self, tx: Tx, entry: Entry, now: datetime, *, lock: bool = True) -> Key:
        """The key that the alias names, where another one can follow it.

        Raises:
            KeyNotFound: there is no such alias.
            KeyInvalidState: no key can follow it; the text says why.
            AccessDenied: its policy denies that to the engine.
            KeyStoreError: its key store is away.
        """
        alias = self._keys.aliases.get(tx, entry.scope, entry.name)
        key = regions.find(self._keys, tx, entry.scope, alias.key_id, now, locked=lock)
        return self._followed(tx, key, entry.rules)

    def source(self, tx: Tx, entry: Entry, now: datetime, *, lock: bool = True) -> Key:
        """The key that the rotation set out from.

        Raises:
            Conflict: the alias names another one by now.
            KeyNotFound, KeyInvalidState, AccessDenied, KeyStoreError: as by `named`.
        """
        key = self.named(tx, entry, now, lock=lock)
        if key.key_id != entry.rotation.old_key:
            raise Conflict(f"{entry.name} was moved by somebody else meanwhile.")
        return key

    def made(self, tx: Tx, entry: Entry, now: datetime, *, lock: bool = True) -> Key | None:
        """The new key; None when it is not made yet."""
        try:
            return regions.find(self._keys, tx, entry.scope, entry.rotation.new_key or "", now, locked=lock)
        except KeyNotFound:
            return None

    def _followed(self, tx: Tx, key: Key, rules: Rules) -> Key:
        if key.state == states.UNAVAILABLE:
            raise KeyStoreError(f"The key store of {key.arn} is away.")
        found = obstacle(key, new_material=rules.new_material)
        if found is not None:
            where = ""
            if key.multi_region == states.REPLICA:
                where = f" The primary is in {self._keys.regions.related(tx, key).primary}: rotate the alias there."
            raise KeyInvalidState(f"No other key can follow {key.arn} behind its alias. {found.text}{where}")
        permission.require(key, self._policy(tx, key), "UpdateAlias", *trial.ACTIONS[key.usage])
        return key

    # --- the steps

    def draft(self, entry: Entry, source: Key) -> Draft:
        """The new key's material: no transaction may wait for it."""
        origin = states.AWS_KMS if source.origin == states.EXTERNAL else source.origin
        return self._keys.draft(source.spec, source.usage, origin, key_id=entry.rotation.new_key)

    def create_in_store(self, database: Database, entry: Entry, source: Key, store_id: str, now: datetime) -> None:
        """The new key in the custom key store of the one before it; or nothing, where it is made already."""
        with database.read() as tx:
            policy = self._policy(tx, source)
        CustomKeys(self._keys).create(
            database,
            entry.scope,
            store_id,
            now=now,
            origin=source.origin,
            key_id=entry.rotation.new_key,
            description=source.description,
            tags=source.tags,
            policy=policy,
        )

    def create(self, tx: Tx, entry: Entry, now: datetime, *, draft: Draft | None) -> None:
        """The new key, unless it is made. It has the policy of the one before it from its first instant."""
        source = self.source(tx, entry, now)
        if draft is None or self.made(tx, entry, now) is not None:
            return
        self._keys.create(
            tx,
            entry.scope,
            description=source.description,
            now=now,
            draft=draft,
            tags=source.tags,
            policy=self._policy(tx, source),
        )
        note(tx, entry, "KeyCreated", now, key_id=draft.key_id)

    def copy(self, tx: Tx, entry: Entry, now: datetime) -> list[tuple[Key, Key]]:
        """Everything that was said of the key before it, as it stands now; both keys, of each Region."""
        source, key = self.source(tx, entry, now), self._new(tx, entry, now)
        sources = [source, *(each for each in self._everywhere(tx, source, now) if each.region != source.region)]
        there = {each.region: each for each in self._everywhere(tx, key, now)}
        pairs: list[tuple[Key, Key]] = []
        for each in sources:
            if each.state in regions.LEAVING:
                continue
            new = there.pop(each.region, None) or self._replicate(tx, entry, each, key, now)
            pairs.append((each, self._copy(tx, each, new, now)))
        for each in regions.staying(there.values()):  # the former key is in that Region no more
            self._keys.lifecycle.schedule_deletion(tx, each, SHORTEST_WINDOW, now)
        return pairs

    def _everywhere(self, tx: Tx, key: Key, now: datetime) -> list[Key]:
        return regions.lock(self._keys, tx, key.scope, key.key_id, now)

    def _replicate(self, tx: Tx, entry: Entry, source: Key, key: Key, now: datetime) -> Key:
        """The new key in the Region of the replica `source`."""
        policy, text = self._policy(tx, source), source.description
        made = self._keys.regions.replicate(
            tx, key, source.region, description=text, now=now, tags=source.tags, policy=policy
        )
        note(tx, entry, "KeyReplicated", now, key_id=key.key_id, reason=f"In {source.region}.")
        return made

    def _copy(self, tx: Tx, source: Key, key: Key, now: datetime) -> Key:
        if key.state in regions.LEAVING:
            raise Conflict(f"{key.arn} was scheduled for deletion by somebody else meanwhile.")
        lifecycle = self._keys.lifecycle
        policy = self._policy(tx, source)
        permission.require(source, policy, "UpdateAlias")
        if policy is not None and policy != lifecycle.policy(tx, key):
            key = lifecycle.put_policy(tx, key, policy)
        if source.description != key.description:
            key = lifecycle.describe(tx, key, source.description)
        if source.tags != key.tags:
            key = lifecycle.untag(tx, key, key.tags.keys() - source.tags.keys())
            key = lifecycle.tag(tx, key, list(source.tags.items()))
        if source.rotation_period is not None and source.rotation_period != key.rotation_period:
            key = self._keys.rotation.enable(tx, key, source.rotation_period, now, shortest=1)
        key = self._keys.grants.copy(tx, source, key, now)
        return regions.follow_state(self._keys, tx, source, key, now)

    def prove(self, tx: Tx, entry: Entry, now: datetime) -> None:
        """Have the new key do what it is for. Changes nothing.

        Raises:
            CallerError, BrokenInvariant: it does not.
            KeyStoreError: its key store is away.
        """
        key = self._keys.find(tx, entry.scope, entry.rotation.new_key or "", now=now)
        permission.require(key, self._keys.lifecycle.policy(tx, key), *trial.ACTIONS[key.usage])
        trial.prove(self._keys, tx, key)

    def move(self, tx: Tx, entry: Entry, now: datetime) -> None:
        """The alias names the new key, and so do those of its name in the Regions of the replicas."""
        pairs = self.copy(tx, entry, now)  # it may have been announced for days
        for source, key in pairs:
            named = {alias.name for alias in self._keys.aliases.page(tx, source.scope, key=source, most=_ALIASES)}
            for name in sorted(named if entry.rules.together else named & {entry.name}):
                self._keys.aliases.update(tx, source.scope, name, key, now)
            if entry.rules.restricted:
                permission.require(source, self._policy(tx, source), "PutKeyPolicy")
                policy = policies.restricted(self._keys.lifecycle.policy(tx, source), entry.scope.account)
                self._keys.lifecycle.put_policy(tx, source, policy)
        source, key = pairs[0]
        former_rows.add(tx, entry.scope, entry.name, formers.leave(source.key_id, to_epoch(now)), key.key_id)
        note(tx, entry, "KeyRotationSucceeded", now, key_id=key.key_id, reason=f"It follows {source.key_id}.")

    def discard(self, tx: Tx, entry: Entry, now: datetime) -> None:
        """The new key will be deleted, unless it was never made, or somebody uses it by an alias after all."""
        made = regions.staying(regions.lock(self._keys, tx, entry.scope, entry.rotation.new_key or "", now))
        if not made or any(self._keys.aliases.page(tx, key.scope, key=key, most=1) for key in made):
            return
        for key in made:
            self._keys.lifecycle.schedule_deletion(tx, key, SHORTEST_WINDOW, now)
        note(tx, entry, "KeyDiscarded", now, key_id=entry.rotation.new_key)

    def _new(self, tx: Tx, entry: Entry, now: datetime) -> Key:
        key = self.made(tx, entry, now)
        if key is None:
            raise Conflict("The new key was deleted by somebody else meanwhile.")
        return key

    def _policy(self, tx: Tx, source: Key) -> str | None:
        return policies.unrestricted(self._keys.lifecycle.policy(tx, source))

    # --- a former key

    def lead_out(self, tx: Tx, entry: FormerEntry, rules: Rules, now: datetime) -> Former:
        """Do to a former key what its time has come for; how it stands afterwards."""
        former, instant = entry.former, to_epoch(now)
        deed, at = formers.deed_at(former, rules)
        if at is None or at > instant:
            return replace(former, held=None, wake_at=at)
        keys = regions.staying(regions.lock(self._keys, tx, entry.scope, former.key_id, now))
        if not keys:
            return formers.enter(former, Stage.DELETING, rules, instant)
        for key in keys:
            held = self._holder(tx, key, deed)
            if held is not None:
                if held is not former.held:
                    where = None if key.multi_region is None else f"In {key.region}."
                    tell(tx, entry, "FormerKeyHeld", now, code=held.value, reason=where)
                return formers.hold(former, held, instant)
        return self._led_out(tx, entry, keys, deed, rules, now)

    def _holder(self, tx: Tx, key: Key, deed: Deed) -> Held | None:
        named = bool(self._keys.aliases.page(tx, key.scope, key=key, most=1))
        needed = key.usage == ENCRYPT and former_rows.is_needed(tx, key.scope, key.arn, key.key_id)
        forbidden = permission.denial(key, self._keys.lifecycle.policy(tx, key), _ACTIONS[deed]) is not None
        return formers.holder(deed, key.state, named=named, needed=needed, forbidden=forbidden)

    def _led_out(self, tx: Tx, entry: FormerEntry, keys: list[Key], deed: Deed, rules: Rules, now: datetime) -> Former:
        if deed is Deed.DELETE:
            days = rules.deletion_window
            for key in keys:
                self._keys.lifecycle.schedule_deletion(tx, key, days, now)
            tell(tx, entry, "FormerKeyDeletionScheduled", now, reason=f"In {days} days.")
            return formers.enter(entry.former, Stage.DELETING, rules, to_epoch(now))
        for key in keys:
            if key.enabled:
                self._keys.lifecycle.disable(tx, key)
        last = max((key.last_used for key in keys if key.last_used is not None), default=None)
        used = "never" if last is None else f"{from_epoch(last):%Y-%m-%dT%H:%M:%SZ}"
        tell(tx, entry, "FormerKeyDisabled", now, reason=f"Last used: {used}.")
        return formers.enter(entry.former, Stage.DISABLED, rules, to_epoch(now))


def note(
    tx: Tx,
    entry: Entry,
    event: str,
    now: datetime,
    *,
    key_id: str | None = None,
    code: str | None = None,
    reason: str | None = None,
) -> None:
    """Write down what happened to a rotation."""
    rotation = entry.rotation
    row = Note(
        account=entry.scope.account,
        region=entry.scope.region,
        name=entry.name,
        key_id=key_id,
        run=rotation.run,
        attempt=rotation.attempt,
        step=rotation.step.value,
        event=event,
        code=code,
        reason=reason,
        at=to_epoch(now),
    )
    journal.note(tx, row)


def tell(
    tx: Tx, entry: FormerEntry, event: str, now: datetime, *, code: str | None = None, reason: str | None = None
) -> None:
    """Write down what happened to a former key."""
    scope, former = entry.scope, entry.former
    stage, at = former.stage.value, to_epoch(now)
    journal.note(
        tx,
        Note(scope.account, scope.region, entry.name, former.key_id, None, 0, stage, event, code, reason, at),
    )
