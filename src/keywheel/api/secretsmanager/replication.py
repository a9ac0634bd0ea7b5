"""Replication between the Regions of this server."""

from __future__ import annotations

from datetime import datetime

from keywheel.access.door import Caller
from keywheel.api.rooms import Rooms
from keywheel.api.secretsmanager import shapes as s
from keywheel.api.secretsmanager.finding import change, find
from keywheel.api.secretsmanager.secrets import replica_regions, replication_status
from keywheel.db.statement import Tx
from keywheel.errors import UnsupportedOperation
from keywheel.secrets.rows import Secret

_NO_CROSS_ACCOUNT = "Replicas in another account are not supported."


def replicate_secret_to_regions(
    rooms: Rooms, caller: Caller, request: s.ReplicateSecretToRegionsRequest
) -> s.ReplicateSecretToRegionsResponse:
    """Copies of the secret in other Regions, kept up to date from now on."""
    regions = replica_regions(caller.scope.account, request.add_replica_regions)

    def work(tx: Tx, secret: Secret, now: datetime) -> s.ReplicateSecretToRegionsResponse:
        overwrite = bool(request.force_overwrite_replica_secret)
        rooms.replicas.add(tx, secret, regions, overwrite=overwrite, now=now)
        return s.ReplicateSecretToRegionsResponse(arn=secret.arn, replication_status=_status(rooms, tx, secret))

    return change(rooms, caller, request, work)


def remove_regions_from_replication(
    rooms: Rooms, caller: Caller, request: s.RemoveRegionsFromReplicationRequest
) -> s.RemoveRegionsFromReplicationResponse:
    """Delete copies."""

    def work(tx: Tx, secret: Secret, now: datetime) -> s.RemoveRegionsFromReplicationResponse:
        rooms.replicas.remove(tx, secret, list(request.remove_replica_regions), now)
        return s.RemoveRegionsFromReplicationResponse(arn=secret.arn, replication_status=_status(rooms, tx, secret))

    return change(rooms, caller, request, work)


def stop_replication_to_replica(
    rooms: Rooms, caller: Caller, request: s.StopReplicationToReplicaRequest
) -> s.StopReplicationToReplicaResponse:
    """Make a copy a secret of its own. Called in the copy's Region."""

    def work(tx: Tx) -> s.StopReplicationToReplicaResponse:
        secret = find(rooms, tx, caller, request)  # `stop` locks the primary first
        rooms.replicas.stop(tx, secret, rooms.clock.now())
        return s.StopReplicationToReplicaResponse(arn=secret.arn)

    return rooms.database.write(work)


def _status(rooms: Rooms, tx: Tx, secret: Secret) -> list[s.ReplicationStatusType]:
    """The replicas of a secret as it stands now."""
    primary = rooms.secrets.by_id(tx, secret.id) or secret
    return [replication_status(replica, accessed) for replica, accessed in rooms.replicas.status(tx, primary)]


def associate_cross_account_replica(
    rooms: Rooms, caller: Caller, request: s.AssociateCrossAccountReplicaRequest
) -> s.AssociateCrossAccountReplicaResponse:
    """Not built."""
    del rooms, caller, request
    raise UnsupportedOperation(_NO_CROSS_ACCOUNT)


def disassociate_cross_account_replica(
    rooms: Rooms, caller: Caller, request: s.DisassociateCrossAccountReplicaRequest
) -> s.DisassociateCrossAccountReplicaResponse:
    """Not built."""
    del rooms, caller, request
    raise UnsupportedOperation(_NO_CROSS_ACCOUNT)
