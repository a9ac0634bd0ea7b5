"""The operation table: `X-Amz-Target` → request shape, handler, action, and where it may run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from keywheel.access.door import Caller
from keywheel.api import clock, diagnosis, evidence, status
from keywheel.api.rooms import Rooms
from keywheel.api.secretsmanager import policies, replication, rotation, secrets, values
from keywheel.api.secretsmanager.shapes import OPERATIONS as SHAPES

Handler = Callable[[Rooms, Caller, Any], Struct | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    `quick`: it does no more than a look-up, so it may run on the event loop. `writes`: it changes the store and waits
    for nothing else, so it may run on the thread that writes.
    """

    request: type[Struct]
    handler: Handler
    action: str
    quick: bool = False
    writes: bool = False


_SECRETS_MANAGER: dict[str, Handler] = {
    "AssociateCrossAccountReplica": replication.associate_cross_account_replica,
    "BatchGetSecretValue": values.batch_get_secret_value,
    "CancelRotateSecret": rotation.cancel_rotate_secret,
    "CreateSecret": secrets.create_secret,
    "DeleteResourcePolicy": policies.delete_resource_policy,
    "DeleteSecret": secrets.delete_secret,
    "DescribeSecret": secrets.describe_secret,
    "DisassociateCrossAccountReplica": replication.disassociate_cross_account_replica,
    "GetRandomPassword": values.get_random_password,
    "GetResourcePolicy": policies.get_resource_policy,
    "GetSecretValue": values.get_secret_value,
    "ListResourcePolicies": policies.list_resource_policies,
    "ListSecretVersionIds": values.list_secret_version_ids,
    "ListSecrets": secrets.list_secrets,
    "PutResourcePolicy": policies.put_resource_policy,
    "PutSecretValue": values.put_secret_value,
    "RemoveRegionsFromReplication": replication.remove_regions_from_replication,
    "ReplicateSecretToRegions": replication.replicate_secret_to_regions,
    "RestoreSecret": secrets.restore_secret,
    "RotateSecret": rotation.rotate_secret,
    "StopReplicationToReplica": replication.stop_replication_to_replica,
    "TagResource": secrets.tag_resource,
    "UntagResource": secrets.untag_resource,
    "UpdateSecret": secrets.update_secret,
    "UpdateSecretVersionStage": values.update_secret_version_stage,
    "ValidateResourcePolicy": policies.validate_resource_policy,
}
_OWN: dict[str, tuple[type[Struct], Handler]] = {
    "ListRotations": (status.ListRotationsRequest, status.list_rotations),
    "ExplainSecret": (diagnosis.ExplainSecretRequest, diagnosis.explain_secret),
    "RepairSecret": (diagnosis.RepairSecretRequest, diagnosis.repair_secret),
    "GetRotationEvidence": (evidence.GetRotationEvidenceRequest, evidence.get_rotation_evidence),
    "DescribeClock": (clock.DescribeClockRequest, clock.describe_clock),
    "AcceptClock": (clock.AcceptClockRequest, clock.accept_clock),
    "ListRotationEvents": (status.ListRotationEventsRequest, status.list_rotation_events),
}
_QUICK = frozenset({"GetSecretValue", "DescribeSecret"})
# Not RotateSecret, which may ask a Lambda endpoint.
_WRITES = frozenset(
    {"CreateSecret", "PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage", "DeleteSecret", "RestoreSecret",
     "TagResource", "UntagResource"}
)  # fmt: skip


def _table() -> dict[bytes, Operation]:
    table = {
        f"secretsmanager.{name}".encode(): Operation(
            SHAPES[name][0], handler, f"secretsmanager:{name}", quick=name in _QUICK, writes=name in _WRITES
        )
        for name, handler in _SECRETS_MANAGER.items()
    }
    for name, (shape, handler) in _OWN.items():
        table[f"keywheel.{name}".encode()] = Operation(shape, handler, f"keywheel:{name}")
    return table


TABLE = _table()


def resource_of(request: Struct, caller: Caller) -> str:
    """The ARN that an action is about: the secret's as far as the request names it, else `*`."""
    secret_id = getattr(request, "secret_id", None) or getattr(request, "name", None)
    if not isinstance(secret_id, str):
        return "*"
    return secret_id if secret_id.startswith("arn:") else caller.scope.arn("secretsmanager", f"secret:{secret_id}")
