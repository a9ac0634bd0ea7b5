"""GetRotationEvidence: what the journal can prove about one rotation, signed."""

from __future__ import annotations

import base64
from typing import Any

from msgspec import Struct

from keywheel.access.door import Caller
from keywheel.api.rooms import Rooms
from keywheel.db.statement import Tx
from keywheel.errors import InvalidRequest, ResourceNotFound
from keywheel.rotation import controls, evidence, particulars, rows
from keywheel.rotation.evidence import STARTED, SUCCEEDED, Record, Told
from keywheel.rotation.machine import Rotation
from keywheel.rotation.outbox import event_id
from keywheel.secrets.rows import Secret


class GetRotationEvidenceRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Which secret, and which of its rotations: the version it made; else the last that succeeded.

    `newest`: else the last that began, however it ended.
    """

    secret_id: str
    version_id: str | None = None
    newest: bool = False


class GetRotationEvidenceResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The evidence, without what only the audit ledger has; and the version of the rotation that began before."""

    arn: str
    name: str
    version_id: str
    evidence: dict[str, Any]
    earlier: str | None = None


def get_rotation_evidence(
    rooms: Rooms, caller: Caller, request: GetRotationEvidenceRequest
) -> GetRotationEvidenceResponse:
    """A statement about one rotation under the installation's signature."""
    now = rooms.clock.now()
    with rooms.database.read() as tx:
        secret = rooms.secrets.find(tx, caller.scope, request.secret_id, deleted=True)
        first, token = _chosen(tx, secret, request.version_id, newest=request.newest)
        record = _record(rooms, tx, secret, first, token)
        earlier = rows.latest(tx, secret.id, STARTED, before=first)
    stated = evidence.statement(record, now)
    signature = rooms.sign(evidence.canonical(stated))
    document = {
        "format": evidence.FORMAT,
        "statement": stated,
        "signature": base64.b64encode(signature).decode(),
        "ledger": {"entries": [], "proofs": []},
        "controls": controls.judged(stated, controls.NO_LEDGER),
    }
    return GetRotationEvidenceResponse(
        arn=secret.arn,
        name=secret.name,
        version_id=token,
        evidence=document,
        earlier=None if earlier is None else earlier[1],
    )


def _chosen(tx: Tx, secret: Secret, version_id: str | None, *, newest: bool) -> tuple[int, str]:
    """The first note of the rotation that is asked for, and its version.

    Raises:
        ResourceNotFound: there is no such rotation.
        InvalidRequest: there is none at all.
    """
    if version_id is None:
        succeeded = None if newest else rows.latest(tx, secret.id, SUCCEEDED)
        found = succeeded or rows.latest(tx, secret.id, STARTED)
        if found is None:
            raise InvalidRequest("No rotation of this secret has begun yet.")
        version_id = found[1]
    first = rows.first_of(tx, secret.id, version_id, STARTED)
    if first is None:
        raise ResourceNotFound(f"No rotation of this secret made version {version_id}.")
    return first, version_id


def _record(rooms: Rooms, tx: Tx, secret: Secret, first: int, token: str) -> Record:
    notes = rows.since(tx, secret.id, first, evidence.MOST)
    told = [Told.of(event_id(number, note), note) for number, note in notes]
    entry = rows.get(tx, secret.id)
    versions = [one for one in (token, evidence.old_version(told, token)) if one is not None]
    found = [rooms.secrets.version(tx, secret, version) for version in versions]
    return Record(
        arn=secret.arn,
        name=secret.name,
        token=token,
        told=told,
        state=Rotation() if entry is None else entry.rotation,
        labels=rooms.secrets.labels(tx, secret),
        policy_now=particulars.policy_of(secret),
        created={version.version_id: version.created for version in found if version is not None},
    )
