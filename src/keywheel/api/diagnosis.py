"""ExplainSecret and RepairSecret: why a secret is stuck, and the next safe action. For administrators: it logs in."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from keywheel.access.door import Caller
from keywheel.api.rooms import Rooms, asker
from keywheel.api.secretsmanager.finding import change, find
from keywheel.clock import to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import InvalidRequest
from keywheel.rotation import machine, rows
from keywheel.rotation.diagnosis import advise, examine
from keywheel.rotation.store import LedgerStore
from keywheel.rotator import Logins
from keywheel.secrets.rows import Secret


class ExplainSecretRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Which secret; and whether its credentials are tried at the target, or only the engine is asked."""

    secret_id: str
    probe: bool = True


class Candidate(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """A credential that was kept. `accessed` and `created` are seconds since the epoch."""

    version_id: str
    labels: list[str]
    username: str | None
    answer: str
    created: float | None = None
    accessed: float | None = None


class ExplainSecretResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The truth table of a secret, and what to do next."""

    arn: str
    name: str
    step: str
    attempt: int
    failed: bool
    settled: bool
    code: str | None = None
    reason: str | None = None
    health: str | None = None
    verified: float | None = None
    next_try: float | None = None
    holder: str | None = None
    candidates: list[Candidate] | None = None
    superuser: str | None = None
    action: str | None = None
    advice: str | None = None


class RepairSecretRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """Which secret."""

    secret_id: str


class RepairSecretResponse(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """The engine has been told; it does the rest."""

    arn: str
    name: str


def explain_secret(rooms: Rooms, caller: Caller, request: ExplainSecretRequest) -> ExplainSecretResponse:
    """What the journal, the store and the target say of a secret."""
    now = rooms.clock.now()
    with rooms.database.read() as tx:
        secret = find(rooms, tx, caller, request)
        entry = rows.get(tx, secret.id)
    if entry is None:
        raise InvalidRequest("Rotation was never configured for this secret.")
    rotation = entry.rotation
    failure = rotation.failure
    answer = ExplainSecretResponse(
        arn=secret.arn,
        name=secret.name,
        step=rotation.step.value,
        attempt=rotation.attempt,
        failed=rotation.failed or rotation.stuck,
        settled=_settled(rotation, to_epoch(now)),
        code=None if failure is None else failure.code,
        reason=None if failure is None else failure.reason,
        health=rotation.health,
        verified=rotation.verified,
        next_try=rotation.wake_at,
        holder=entry.holder,
    )
    return answer if not request.probe else _probed(rooms, secret, answer, rotation, now)


def repair_secret(rooms: Rooms, caller: Caller, request: RepairSecretRequest) -> RepairSecretResponse:
    """Have the engine go on with a rotation that stopped, or set AWSCURRENT's value on the target again."""

    def work(tx: Tx, secret: Secret, now: datetime) -> RepairSecretResponse:
        rooms.rotations.repair(tx, secret, now, asker(caller))
        return RepairSecretResponse(arn=secret.arn, name=secret.name)

    return change(rooms, caller, request, work)


def _settled(rotation: machine.Rotation, now: float) -> bool:
    """Whether the engine has done what it was asked to, well or not."""
    checked = rotation.verify_at is None or rotation.verify_at > now
    stopped = rotation.failed or (rotation.in_progress and rotation.failure is not None and rotation.attempt > 0)
    return checked and (stopped or not rotation.in_progress)


def _probed(
    rooms: Rooms, secret: Secret, answer: ExplainSecretResponse, rotation: machine.Rotation, now: datetime
) -> ExplainSecretResponse:
    store = LedgerStore(rooms.database, rooms.secrets, secret, now)
    strategy = rooms.runners.built_in(secret.rotation_function or "", secret.scope)
    logins = Logins(machine.logins_left(rotation, to_epoch(now)))
    found = examine(rotation, strategy, store, secret.arn, logins)
    rooms.database.write(lambda tx: rooms.rotations.count_refusals(tx, secret, logins.refused, now))
    with rooms.database.read() as tx:
        versions = {each.version: rooms.secrets.version(tx, secret, each.version) for each in found.findings}
    candidates = [
        Candidate(
            version_id=each.version,
            labels=list(each.labels),
            username=each.username,
            answer=each.answer,
            created=None if (version := versions[each.version]) is None else version.created,
            accessed=None if version is None else version.accessed,
        )
        for each in found.findings
    ]
    advice = advise(found)
    said = {name: getattr(answer, name) for name in answer.__struct_fields__}
    return ExplainSecretResponse(
        **said
        | {
            "candidates": candidates,
            "superuser": found.superuser,
            "action": advice.action.value,
            "advice": advice.reason,
        }
    )
