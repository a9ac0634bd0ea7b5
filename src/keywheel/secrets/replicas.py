"""Replicas: copies of a secret in other Regions of its account, kept up to date by the ledger's own transactions.

1. A replica is a secret of its own Region with its primary's name and six characters: its ARN differs in the Region.
   `primary_id` is set on a replica; `primary_region` is set on it and on its primary, as long as there is one.
2. Whatever changes at the primary changes at its replicas in the same transaction, so their status is InSync at once.
3. Values are sealed again, under the replica's own key and for its own ARN.
4. A replica that cannot be sealed for is Failed and says why; the primary's change stands. Its metadata is then up to
   date, and its values and labels are those of the last time it was InSync. Each later change tries again.
   So it is where a key's policy denies the copying, which is the server's own work, whoever wrote the value.
5. A replica shows how its primary is rotated. It has no rotation of its own, so nothing rotates it.
6. Only its primary writes to a replica. When it was last accessed is its own.

Sources: the user guide on replication and on promotion to a standalone secret; DescribeSecret's ReplicationStatus.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from math import inf

from keywheel.arn import Scope, SecretRef
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, EncryptionFailure, InvalidParameter, KeyStoreError
from keywheel.keys.keyring import Keys
from keywheel.secrets import rows
from keywheel.secrets.ledger import Change, Draft, Secrets
from keywheel.secrets.rows import Replica, Secret, Version

IN_SYNC, FAILED = "InSync", "Failed"
NAME_TAKEN = "Secret with this name already exists in this region"
_ON_REPLICA = "Operation not permitted on a replica secret. Call must be made in primary secret's region."

_ROTATION = (
    "rotation_enabled", "rotation_function", "rotation_days", "rotation_expression", "rotation_duration",
    "rotation_configured", "next_rotation", "external_metadata", "external_role",
)  # fmt: skip
_SHARED = ("description", "type", "owning_service", "tags", "policy", "rotated", *_ROTATION)
_NOT_SEALED = (EncryptionFailure, DecryptionFailure, KeyStoreError)
_ALL = 1_000_000

Permit = Callable[[Tx, Keys, Secret, str, str | None, str], None]
"""Asked before a key is used to copy a value: of which secret, for which action, which key, for which version."""


class Replicas:
    """The replicas of every account. Its methods expect that the caller has locked the primary."""

    def __init__(self, secrets: Secrets, permit: Permit | None = None) -> None:
        self._secrets = secrets
        self._permit = permit
        secrets.watch(self._on_change)

    # --- asked for by callers

    def add(
        self, tx: Tx, primary: Secret, regions: Sequence[tuple[str, str | None]], *, overwrite: bool, now: datetime
    ) -> list[Replica]:
        """Replicate to `regions`, each with a key of that Region or None for its default key; every replica there is.

        A replica that Failed may be asked for again, and is made anew. `overwrite` lets it replace a standalone
        secret of the same name, with all its versions.

        Raises:
            InvalidParameter: this is a replica; or a Region is the primary's own, named twice, or has the replica.
        """
        self.refuse_replica(primary)
        standing = {replica.region for replica in self._states(tx, primary) if replica.status == IN_SYNC}
        _check_wanted(primary, [region for region, _ in regions], standing)
        if regions and primary.primary_region is None:
            primary = self._secrets.set(tx, primary, now, primary_region=primary.region)
        for region, kms_key_id in regions:
            copy = _copy_of(primary, region, kms_key_id)
            self._save(tx, primary, self._replicate(tx, primary, copy, overwrite=overwrite, now=now))
        return self._states(tx, primary)

    def remove(self, tx: Tx, primary: Secret, regions: Collection[str], now: datetime) -> list[Replica]:
        """Delete the replicas in `regions` at once, with no recovery window; those that are left.

        Raises:
            InvalidParameter: this is a replica, or is not replicated to one of the Regions.
        """
        self.refuse_replica(primary)
        unknown = set(regions) - {replica.region for replica in self._states(tx, primary)}
        if unknown:
            raise InvalidParameter(f"The secret has no replica in these regions: [{', '.join(sorted(unknown))}].")
        for copy in self._copies(tx, primary):
            if copy.region in regions:
                self._secrets.purge(tx, copy, now)
        for region in set(regions):
            rows.delete_replica.run(tx, row_id=primary.id, row_region=region)
        return self._left(tx, primary, now)

    def stop(self, tx: Tx, replica: Secret, now: datetime) -> Secret:
        """Make `replica` a standalone secret, which keeps its ARN and its values and has no rotation configured.

        Find it without a lock: its primary has to be locked first, as in every change of a primary.

        Raises:
            InvalidParameter: it is not a replica.
        """
        primary = None if replica.primary_id is None else self._secrets.by_id(tx, replica.primary_id, lock=True)
        found = self._secrets.by_id(tx, replica.id, lock=True)
        if primary is None or found is None or found.primary_id is None:
            raise InvalidParameter("The secret isn't a replica. Call must be made in the replica secret's region.")
        # Its function, if it has one, is a function of the primary's Region.
        ended = dict.fromkeys((*_ROTATION, "primary_id", "primary_region"))
        alone = self._secrets.set(tx, found, now, **ended)
        rows.delete_replica.run(tx, row_id=primary.id, row_region=found.region)
        self._left(tx, primary, now)
        return alone

    def status(self, tx: Tx, secret: Secret) -> list[tuple[Replica, float | None]]:
        """Each replica of a primary with the day its copy was last accessed; none for any other secret."""
        if secret.primary_region is None:
            return []
        return [(state, self._accessed(tx, secret, state.region)) for state in self._states(tx, secret)]

    @staticmethod
    def refuse_replica(secret: Secret) -> None:
        """Raise InvalidParameter where `secret` is a replica: only its primary writes to it."""
        if secret.primary_id is not None:
            raise InvalidParameter(_ON_REPLICA)

    def refuse_delete(self, tx: Tx, primary: Secret, secret_id: str) -> None:
        """Raise InvalidParameter where `primary` is a replica, or has replicas, be they Failed ones."""
        self.refuse_replica(primary)
        if primary.primary_region is not None:
            regions = ", ".join(state.region for state in self._states(tx, primary))
            raise InvalidParameter(
                f"You can't delete secret {secret_id} that still has replica regions [{regions}].",
                hint="Call RemoveRegionsFromReplication first.",
            )

    # --- told by the ledger, inside its transactions

    def _on_change(self, tx: Tx, secret: Secret, change: Change, now: datetime) -> None:
        if secret.primary_region is None or secret.primary_id is not None or change.kind == "purged":
            return
        primary = self._secrets.by_id(tx, secret.id) or secret  # another watcher may have changed it meanwhile
        standing = self._states(tx, primary)
        for copy in self._copies(tx, primary):
            state = self._bring_up_to_date(tx, primary, copy, now)
            if state not in standing:
                self._save(tx, primary, state)

    def _bring_up_to_date(self, tx: Tx, primary: Secret, copy: Secret, now: datetime) -> Replica:
        self._secrets.set(tx, copy, now, **{name: getattr(primary, name) for name in _SHARED})
        try:
            missing = self._missing(tx, primary, copy, now)
        except _NOT_SEALED as error:
            return Replica(copy.region, copy.kms_key_id, FAILED, error.message)
        self._write(tx, primary, copy, missing, now)
        return Replica(copy.region, copy.kms_key_id, IN_SYNC, None)

    # --- inside

    def _replicate(self, tx: Tx, primary: Secret, copy: Secret, *, overwrite: bool, now: datetime) -> Replica:
        """Make `copy`, which has no row yet. Where it fails, its Region is left as it is."""
        standing = self._secrets.look_up(tx, SecretRef(copy.scope, name=copy.name), lock=True)
        if standing is not None and not _may_replace(standing, primary, overwrite=overwrite):
            return Replica(copy.region, copy.kms_key_id, FAILED, NAME_TAKEN)
        try:
            self._secrets.vault.key(tx, copy.scope, copy.kms_key_id, now)
            versions = self._missing(tx, primary, copy, now)
        except _NOT_SEALED as error:
            return Replica(copy.region, copy.kms_key_id, FAILED, error.message)
        if standing is not None:
            self._secrets.purge(tx, standing, now)
        draft = Draft(copy.name, kms_key_id=copy.kms_key_id, primary_region=primary.region, primary_id=primary.id)
        made = self._secrets.insert(tx, copy.scope, draft, copy.arn, now)
        self._secrets.set(tx, made, now, **{name: getattr(primary, name) for name in _SHARED})
        self._write(tx, primary, made, versions, now)
        return Replica(copy.region, copy.kms_key_id, IN_SYNC, None)

    def _missing(self, tx: Tx, primary: Secret, copy: Secret, now: datetime) -> list[Version]:
        """The primary's labelled versions that the copy lacks, or whose value it lacks, sealed for the copy."""
        found = []
        for version_id in sorted(set(self._secrets.labels(tx, primary).values())):
            original = self._secrets.version(tx, primary, version_id)
            there = self._secrets.version(tx, copy, version_id)
            if original is not None and (there is None or (there.sealed is None and original.sealed is not None)):
                found.append(self._seal_again(tx, primary, copy, original, now))
        return found

    def _seal_again(self, tx: Tx, primary: Secret, copy: Secret, original: Version, now: datetime) -> Version:
        if self._permit is not None and original.sealed is not None:
            keys, version_id = self._secrets.vault.keys, original.version_id
            self._permit(tx, keys, primary, "Decrypt", original.key_arn, version_id)
            self._permit(tx, keys, copy, "GenerateDataKey", copy.kms_key_id, version_id)
        value = self._secrets.open(tx, primary, original)
        if value is None:
            return original._replace(accessed=None)
        new = self._secrets.vault.seal(tx, copy, original.version_id, value, now)
        return original._replace(accessed=None, key_arn=new.key_arn, data_key=new.data_key, sealed=new.sealed)

    def _write(self, tx: Tx, primary: Secret, copy: Secret, versions: list[Version], now: datetime) -> None:
        """Give the copy `versions` and the primary's labels, and take away what was pruned at the primary."""
        for version in versions:
            sealed = {name: getattr(version, name) for name in ("binary", "key_arn", "data_key", "sealed")}
            if not rows.fill_version.run(tx, row_id=copy.id, row_version=version.version_id, **sealed):
                rows.insert_version.run(tx, secret_id=copy.id, **version._asdict())
        self._secrets.relabel(tx, copy, self._secrets.labels(tx, primary), now)
        for version_id in _deprecated(tx, copy) - _deprecated(tx, primary):
            rows.delete_version.run(tx, secret_id=copy.id, version_id=version_id)

    def _left(self, tx: Tx, primary: Secret, now: datetime) -> list[Replica]:
        """The replicas that are left; without any, the secret is no primary any more."""
        left = self._states(tx, primary)
        if not left:
            self._secrets.set(tx, primary, now, primary_region=None)
        return left

    def _accessed(self, tx: Tx, primary: Secret, region: str) -> float | None:
        copy = self._secrets.look_up(tx, SecretRef(Scope(primary.account, region), name=primary.name))
        return None if copy is None or copy.primary_id != primary.id else copy.accessed

    @staticmethod
    def _states(tx: Tx, primary: Secret) -> list[Replica]:
        return [Replica(*row) for row in rows.replicas.all(tx, secret_id=primary.id)]

    @staticmethod
    def _copies(tx: Tx, primary: Secret) -> list[Secret]:
        return [rows.as_secret(row) for row in rows.replica_copies.all(tx, primary_id=primary.id)]

    @staticmethod
    def _save(tx: Tx, primary: Secret, state: Replica) -> None:
        rows.delete_replica.run(tx, row_id=primary.id, row_region=state.region)
        rows.insert_replica.run(tx, secret_id=primary.id, **asdict(state))


def _check_wanted(primary: Secret, wanted: Sequence[str], standing: Collection[str]) -> None:
    for region in wanted:
        if region == primary.region:
            raise InvalidParameter(f"The secret can't be replicated to {region}: that is its primary region.")
        if wanted.count(region) > 1:
            raise InvalidParameter(f"The replica region {region} is named more than once.")
        if region in standing:
            raise InvalidParameter(f"The secret is already replicated to {region}.")


def _copy_of(primary: Secret, region: str, kms_key_id: str | None) -> Secret:
    """The replica as it will be named and sealed for; no row has its id 0."""
    scope = Scope(primary.account, region)
    arn = scope.arn("secretsmanager", primary.arn.split(":", 5)[5])
    return primary._replace(id=0, region=region, arn=arn, kms_key_id=kms_key_id)


def _may_replace(standing: Secret, primary: Secret, *, overwrite: bool) -> bool:
    """Our own copy that Failed, always; a standalone secret, with `overwrite`; what another replication uses, never."""
    return standing.primary_id == primary.id or (overwrite and standing.primary_region is None)


def _deprecated(tx: Tx, secret: Secret) -> set[str]:
    """The versions without a label."""
    return {row[0] for row in rows.removable_versions.all(tx, secret_id=secret.id, before=inf, most=_ALL)}
