"""Secrets: create, value, put, move, promote, delete, restore.

A secret is a ledger of versions; a version, once it has a value, never changes; only labels move (`labels.py`). Every
method works inside the transaction that its caller opened and is told the time. Whoever keeps something beside the
ledger (replicas, rotations) watches it, and is told of each change inside the same transaction.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from keywheel.arn import Scope, SecretRef, parse_secret_id
from keywheel.clock import epoch_day, from_epoch, to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import InvalidParameter, InvalidRequest, ResourceExists, ResourceNotFound, ValidationFailed
from keywheel.keys.keyring import Keys
from keywheel.secrets import labels as staging
from keywheel.secrets import rows
from keywheel.secrets.labels import Labels
from keywheel.secrets.passwords import SYSTEM_RANDOM
from keywheel.secrets.rows import Secret, Version
from keywheel.secrets.values import Value, Vault

NOT_FOUND = "Secrets Manager can't find the specified secret."
MARKED = "You can't perform this operation on the secret because it was marked for deletion."
_NAME = re.compile(r"[A-Za-z0-9/_+=.@!-]{1,512}", re.ASCII)
_ALPHABET = string.ascii_letters + string.digits
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VALUE_LIMIT = 65_536
# Secrets Manager quotas: unlabelled versions are removed beyond about 100, never one younger than 24 hours.
_KEPT_VERSIONS = 100
_KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a secret. `before` and `after` are its labels; `written` is the version that got a value."""

    kind: str  # created, value, labels, metadata, deleted, restored, purged
    before: Labels
    after: Labels
    written: str | None = None


Watcher = Callable[[Tx, Secret, Change, datetime], None]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new secret is made of."""

    name: str
    description: str | None = None
    kms_key_id: str | None = None
    type: str | None = None
    tags: str = "{}"
    primary_region: str | None = None
    primary_id: int | None = None


class Secrets:
    """The ledger of every account and Region."""

    def __init__(self, keys: Keys) -> None:
        self.vault = Vault(keys)
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` inside the transaction of every change, in the order of registration."""
        self._watchers.append(watcher)

    # --- finding

    def find(self, tx: Tx, scope: Scope, secret_id: str, *, lock: bool = False, deleted: bool = False) -> Secret:
        """The secret that `secret_id` names. With `lock`, no other transaction changes it meanwhile.

        Raises:
            ResourceNotFound: there is none.
            InvalidRequest: it is marked for deletion, and `deleted` does not allow that.
        """
        found = self.look_up(tx, parse_secret_id(secret_id, scope), lock=lock)
        if found is None or found.account != scope.account or found.region != scope.region:
            raise ResourceNotFound(NOT_FOUND)
        if found.deleted is not None and not deleted:
            raise InvalidRequest(MARKED)
        return found

    @staticmethod
    def look_up(tx: Tx, ref: SecretRef, *, lock: bool = False) -> Secret | None:
        """The secret of `ref`, or None."""
        if ref.arn is not None:
            row = (rows.lock_by_arn if lock else rows.secret_by_arn).first(tx, arn=ref.arn)
        else:
            statement = rows.lock_by_name if lock else rows.secret_by_name
            row = statement.first(tx, account=ref.scope.account, region=ref.scope.region, name=ref.name)
        return None if row is None else rows.as_secret(row)

    @staticmethod
    def by_id(tx: Tx, row_id: int, *, lock: bool = False) -> Secret | None:
        """The secret of a row id; None when it is gone."""
        row = (rows.lock_by_id if lock else rows.secret_by_id).first(tx, id=row_id)
        return None if row is None else rows.as_secret(row)

    @staticmethod
    def labels(tx: Tx, secret: Secret) -> Labels:
        """Which version each label is attached to."""
        return dict(rows.labels.all(tx, secret_id=secret.id))

    @staticmethod
    def version(tx: Tx, secret: Secret, version_id: str) -> Version | None:
        """A version by its id, with or without a value."""
        row = rows.version.first(tx, secret_id=secret.id, version_id=version_id)
        return None if row is None else Version(*row)

    # --- creating

    def create(
        self, tx: Tx, scope: Scope, draft: Draft, now: datetime, *, token: str | None = None, value: Value | None = None
    ) -> tuple[Secret, str | None]:
        """A new secret, with its first version when there is a value. With a token used before, the same again.

        Raises:
            ResourceExists, InvalidRequest: the name is taken.
            ValidationFailed: the name is not valid.
        """
        if not _NAME.fullmatch(draft.name):
            raise ValidationFailed(
                "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: "
                "-/_+=.@!"
            )
        existing = self.look_up(tx, SecretRef(scope, name=draft.name), lock=True)
        if existing is not None:
            return self._created_before(tx, existing, token, value)
        secret = self.insert(tx, scope, draft, scope.secret_arn(draft.name, _six_characters()), now)
        if value is None or token is None:
            self._tell(tx, secret, Change("created", {}, {}), now)
            return secret, None
        self.put(tx, secret, token, value, (), now)
        return secret, token

    @staticmethod
    def insert(tx: Tx, scope: Scope, draft: Draft, arn: str, now: datetime) -> Secret:
        """The row of a new secret; nobody is told."""
        instant = to_epoch(now)
        given = {
            "account": scope.account,
            "region": scope.region,
            "name": draft.name,
            "arn": arn,
            "description": draft.description,
            "kms_key_id": draft.kms_key_id,
            "type": draft.type,
            "tags": draft.tags,
            "created": instant,
            "changed": instant,
            "primary_region": draft.primary_region,
            "primary_id": draft.primary_id,
        }
        values = {name: given.get(name) for name in rows.SECRET_COLUMNS if name != "id"}
        row = rows.insert_secret.first(tx, **values)
        return Secret(id=0 if row is None else row[0], **values)  # type: ignore[arg-type] # one dict of many types

    def _created_before(
        self, tx: Tx, existing: Secret, token: str | None, value: Value | None
    ) -> tuple[Secret, str | None]:
        if existing.deleted is not None:
            raise InvalidRequest(
                "You can't create this secret because a secret with this name is already scheduled for deletion."
            )
        version = None if token is None else self.version(tx, existing, token)
        if token is None or value is None or version is None:
            raise ResourceExists(f"The operation failed because the secret {existing.name} already exists.")
        self._same_value_or_refuse(tx, existing, version, value)
        return existing, token

    # --- values

    def put(self, tx: Tx, secret: Secret, token: str, value: Value, stages: Iterable[str], now: datetime) -> list[str]:
        """A new version `token` under `stages` (AWSCURRENT when none are named); its labels afterwards.

        A token used before with the same value changes nothing. A token whose version has no value yet, as the
        AWSPENDING of a running rotation, is filled.

        Raises:
            ResourceExists: the token was used with another value.
            InvalidParameter: the value is too long, or a label is not valid.
        """
        stages = tuple(stages)
        self._check_value(value)
        self._check_labels(stages)
        before = self.labels(tx, secret)
        existing = self.version(tx, secret, token)
        if existing is not None and existing.sealed is not None:
            self._same_value_or_refuse(tx, secret, existing, value)
            return staging.of(before, token)
        self._store(tx, secret, token, value, now, fill=existing is not None)
        after = staging.put(before, token, stages or (staging.CURRENT,))
        self._save_labels(tx, secret, before, after)
        self._prune(tx, secret, now)
        self._changed(tx, secret, Change("value", before, after, written=token), now)
        return staging.of(after, token)

    def reserve(self, tx: Tx, secret: Secret, token: str, now: datetime) -> None:
        """An empty version `token` under AWSPENDING: where a rotation will write its value.

        Raises:
            ResourceExists: the token names a version already.
            LimitExceeded: the secret has too many labels.
        """
        if self.version(tx, secret, token) is not None:
            raise ResourceExists(self._token_taken(secret, token))
        self._insert_version(tx, secret, token, now)
        before = self.labels(tx, secret)
        after = staging.reserve(before, token)
        self._save_labels(tx, secret, before, after)
        self._changed(tx, secret, Change("labels", before, after), now)

    def relabel(self, tx: Tx, secret: Secret, after: Labels, now: datetime) -> None:
        """Save labels that a rule of `labels.py` gave.

        Raises:
            InvalidParameter: a label names a version that does not exist, or is not valid.
            InvalidRequest: the version that would become AWSCURRENT has no value.
        """
        before = self.labels(tx, secret)
        if before == after:
            return
        self._check_labels(after.keys() - before.keys())
        for version_id in sorted(set(after.values()) - set(before.values())):
            if self.version(tx, secret, version_id) is None:
                raise InvalidParameter(f"Not a valid version: {version_id}")
        current = after.get(staging.CURRENT)
        if current is not None and current != before.get(staging.CURRENT):
            version = self.version(tx, secret, current)
            if version is None or version.sealed is None:
                raise InvalidRequest(f"Version {current} has no value, so it can't become {staging.CURRENT}.")
        self._save_labels(tx, secret, before, after)
        self._changed(tx, secret, Change("labels", before, after), now)

    def open(self, tx: Tx, secret: Secret, version: Version) -> Value | None:
        """The value of a version; None as long as it has none."""
        return self.vault.open(tx, secret.arn, version)

    @staticmethod
    def versions_with_value(tx: Tx, secret: Secret) -> list[str]:
        """The ids of all versions that have a value, the newest first."""
        return [row[0] for row in rows.versions_with_value.all(tx, secret_id=secret.id)]

    def drop_version(self, tx: Tx, secret: Secret, version_id: str) -> None:
        """Remove a version that never had a value of its own (a rehearsal's), unless it was given a label."""
        if not staging.of(self.labels(tx, secret), version_id):
            rows.delete_version.run(tx, secret_id=secret.id, version_id=version_id)

    # --- metadata

    def set(self, tx: Tx, secret: Secret, now: datetime, **columns: object) -> Secret:
        """Change metadata columns; the secret as it is afterwards."""
        columns["changed"] = to_epoch(now)
        rows.secret_update(*sorted(columns)).run(tx, row_id=secret.id, **columns)
        changed = secret._replace(**columns)  # type: ignore[arg-type] # the caller names columns of Secret
        self._tell(tx, changed, Change("metadata", {}, {}), now)
        return changed

    def rekey(self, tx: Tx, secret: Secret, now: datetime) -> None:
        """Seal the versions under AWSCURRENT, AWSPENDING and AWSPREVIOUS again, with the secret's present key."""
        held = self.labels(tx, secret)
        for version_id in {held[name] for name in (staging.CURRENT, staging.PENDING, staging.PREVIOUS) if name in held}:
            version = self.version(tx, secret, version_id)
            value = None if version is None else self.open(tx, secret, version)
            if value is not None:
                self._store(tx, secret, version_id, value, now, fill=True)

    # --- the end

    def delete(self, tx: Tx, secret: Secret, *, window: timedelta | None, now: datetime) -> datetime:
        """Mark for deletion after `window`, or remove at once when it is None; the instant of the end."""
        if window is None:
            self.purge(tx, secret, now)
            return now
        end = to_epoch(now + window)
        rows.secret_update("deleted", "changed").run(tx, row_id=secret.id, deleted=end, changed=to_epoch(now))
        self._tell(tx, secret._replace(deleted=end), Change("deleted", {}, {}), now)
        return now + window

    def restore(self, tx: Tx, secret: Secret, now: datetime) -> None:
        """Take the mark away; nothing, where there is none."""
        if secret.deleted is not None:
            rows.secret_update("deleted", "changed").run(tx, row_id=secret.id, deleted=None, changed=to_epoch(now))
            self._tell(tx, secret._replace(deleted=None), Change("restored", {}, {}), now)

    def purge(self, tx: Tx, secret: Secret, now: datetime) -> None:
        """Remove the secret with everything it has."""
        self._tell(tx, secret, Change("purged", {}, {}), now)
        rows.delete_secret.run(tx, id=secret.id)

    def purge_due(self, tx: Tx, now: datetime, *, most: int = 100) -> int:
        """Remove the secrets whose recovery window is over; how many."""
        due = [rows.as_secret(row) for row in rows.purgeable.all(tx, now=to_epoch(now), most=most)]
        for secret in due:
            self.purge(tx, secret, now)
        return len(due)

    def touch(self, tx: Tx, secret_id: int, version_id: str, now: datetime) -> None:
        """Remember the day of an access."""
        rows.touch_secret.run(tx, row_id=secret_id, day=epoch_day(now))
        rows.touch_version.run(tx, row_id=secret_id, row_version=version_id, day=epoch_day(now))

    # --- inside

    @staticmethod
    def _check_value(value: Value) -> None:
        if len(value.data.reveal()) > _VALUE_LIMIT:
            raise InvalidParameter(f"The secret value is too long: at most {_VALUE_LIMIT} bytes can be stored.")

    @staticmethod
    def _check_labels(labels: Iterable[str]) -> None:
        if any(_CONTROL.search(label) for label in labels):
            raise InvalidParameter("A staging label can't hold control characters.")

    def _same_value_or_refuse(self, tx: Tx, secret: Secret, version: Version, value: Value) -> None:
        if self.open(tx, secret, version) != value:
            raise ResourceExists(self._token_taken(secret, version.version_id))

    @staticmethod
    def _token_taken(secret: Secret, token: str) -> str:
        return (
            f"You can't use ClientRequestToken {token} because that value is already in use for a version of "
            f"secret {secret.arn}."
        )

    def _store(self, tx: Tx, secret: Secret, token: str, value: Value, now: datetime, *, fill: bool) -> None:
        sealed = self.vault.seal(tx, secret, token, value, now)
        columns = {"binary": value.binary, "key_arn": sealed.key_arn, "data_key": sealed.data_key}
        if fill:
            rows.fill_version.run(tx, row_id=secret.id, row_version=token, sealed=sealed.sealed, **columns)
        else:
            self._insert_version(tx, secret, token, now, sealed=sealed.sealed, **columns)

    @staticmethod
    def _insert_version(tx: Tx, secret: Secret, token: str, now: datetime, **columns: object) -> None:
        empty = {"accessed": None, "binary": False, "key_arn": None, "data_key": None, "sealed": None}
        values = {**empty, "created": to_epoch(now), **columns}
        rows.insert_version.run(tx, secret_id=secret.id, version_id=token, **values)

    @staticmethod
    def _save_labels(tx: Tx, secret: Secret, before: Labels, after: Labels) -> None:
        for label, version in after.items():
            if label not in before:
                rows.insert_label.run(tx, secret_id=secret.id, label=label, version_id=version)
            elif before[label] != version:
                rows.move_label.run(tx, row_id=secret.id, row_label=label, version_id=version)
        for label in before.keys() - after.keys():
            rows.delete_label.run(tx, row_id=secret.id, row_label=label)

    def _prune(self, tx: Tx, secret: Secret, now: datetime) -> None:
        counted = rows.count_versions.first(tx, secret_id=secret.id)
        excess = 0 if counted is None else counted[0] - _KEPT_VERSIONS
        if excess <= 0:
            return
        before = to_epoch(now - _KEPT_FOR)
        for (version_id,) in rows.removable_versions.all(tx, secret_id=secret.id, before=before, most=excess):
            rows.delete_version.run(tx, secret_id=secret.id, version_id=version_id)

    def _changed(self, tx: Tx, secret: Secret, change: Change, now: datetime) -> None:
        _TOUCH_CHANGED.run(tx, row_id=secret.id, changed=to_epoch(now))
        self._tell(tx, secret._replace(changed=to_epoch(now)), change, now)

    def _tell(self, tx: Tx, secret: Secret, change: Change, now: datetime) -> None:
        for watcher in self._watchers:
            watcher(tx, secret, change, now)


def _six_characters() -> str:
    """What makes the ARN of a secret differ from that of another one of the same name."""
    number = SYSTEM_RANDOM.randrange(len(_ALPHABET) ** 6)
    return "".join(_ALPHABET[number // len(_ALPHABET) ** place % len(_ALPHABET)] for place in range(6))


_TOUCH_CHANGED = rows.secret_update("changed")


def last_change(secret: Secret) -> datetime:
    """When anything about the secret last changed."""
    return from_epoch(secret.changed)
