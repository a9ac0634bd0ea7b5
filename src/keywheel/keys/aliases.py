"""Aliases: names of keys that can be moved from one key to another."""

from __future__ import annotations

from datetime import datetime

from keywheel.arn import Scope
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import LimitExceeded, ValidationFailed
from keywheel.keys import identifiers, rows, states
from keywheel.keys.errors import AlreadyExists, KeyNotFound
from keywheel.keys.rows import Alias, Key

_MOST = 50  # aliases of one key: a quota of AWS KMS


class Aliases:
    """The aliases of every account and Region."""

    @staticmethod
    def check_name(name: str) -> None:
        """Nothing, when an alias may have this name.

        Raises:
            ValidationFailed, NotAuthorized: it may not.
        """
        identifiers.require_alias_name(name)

    def create(self, tx: Tx, name: str, key: Key, now: datetime) -> Alias:
        """A new alias of `key`, in its account and Region.

        Raises:
            ValidationFailed, NotAuthorized: it may not have this name.
            AlreadyExists: the name is taken.
            KeyInvalidState: the key is pending deletion.
            LimitExceeded: the key has too many aliases.
        """
        self.check_name(name)
        states.require_customer(key.manager, key.arn)
        states.check("CreateAlias", key.state, key.origin, key.arn)
        if rows.alias.first(tx, account=key.account, region=key.region, name=name) is not None:
            raise AlreadyExists(f"An alias with the name {rows.alias_arn(key.scope, name)} already exists")
        self._require_room(tx, key)
        alias = Alias(key.account, key.region, name, key.key_id, to_epoch(now), to_epoch(now))
        rows.insert_alias.run(tx, **alias._asdict())
        return alias

    def update(self, tx: Tx, scope: Scope, name: str, key: Key, now: datetime) -> Alias:
        """Move the alias `name` to `key`, which must be of the same kind and usage as the key it leaves.

        Raises:
            ValidationFailed, NotAuthorized: it is reserved, or the keys differ.
            KeyNotFound: there is no such alias.
            KeyInvalidState: the key is pending deletion.
            LimitExceeded: the key has too many aliases.
        """
        self.check_name(name)
        alias = self.get(tx, scope, name)
        states.require_customer(key.manager, key.arn)
        states.check("UpdateAlias", key.state, key.origin, key.arn)
        row = rows.key_by_alias.first(tx, account=scope.account, region=scope.region, name=name)
        before = None if row is None else rows.as_key(row)
        if before is not None and (before.kind, before.usage) != (key.kind, key.usage):
            raise ValidationFailed(
                f"Alias {alias.arn} cannot be changed from {before.arn} to {key.arn}: "
                "both keys must be of the same type and have the same key usage."
            )
        if alias.key_id != key.key_id:
            self._require_room(tx, key)
        rows.move_alias.run(
            tx,
            row_account=scope.account,
            row_region=scope.region,
            row_name=name,
            key_id=key.key_id,
            updated=to_epoch(now),
        )
        return alias._replace(key_id=key.key_id, updated=to_epoch(now))

    def delete(self, tx: Tx, scope: Scope, name: str) -> Alias:
        """Take the alias away; as it was. Its key stays.

        Raises:
            ValidationFailed, NotAuthorized: it is reserved, or no name of an alias.
            KeyNotFound: there is none.
        """
        self.check_name(name)
        alias = self.get(tx, scope, name)
        rows.delete_alias.run(tx, account=scope.account, region=scope.region, name=name)
        return alias

    @staticmethod
    def get(tx: Tx, scope: Scope, name: str) -> Alias:
        """The alias `name`.

        Raises:
            KeyNotFound: there is none.
        """
        row = rows.alias.first(tx, account=scope.account, region=scope.region, name=name)
        if row is None:
            raise KeyNotFound(f"Alias {rows.alias_arn(scope, name)} is not found.")
        return Alias._make(row)

    @staticmethod
    def page(tx: Tx, scope: Scope, *, key: Key | None = None, after: str | None = None, most: int) -> list[Alias]:
        """At most `most` aliases behind the name `after`, of one key or of all of the account and Region."""
        where = {"account": scope.account, "region": scope.region, "after": after or "", "most": most}
        if key is None:
            found = rows.aliases_after.all(tx, **where)
        else:
            found = rows.aliases_of_key_after.all(tx, key_id=key.key_id, **where)
        return [Alias._make(row) for row in found]

    def _require_room(self, tx: Tx, key: Key) -> None:
        if len(self.page(tx, key.scope, key=key, most=_MOST)) >= _MOST:
            raise LimitExceeded(f"{key.arn} has {_MOST} aliases, which is the most that a key may have.")
