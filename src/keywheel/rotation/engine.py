"""Rotations: start, cancel, watch the ledger, and save what a worker did.

Everything here is one transaction a call. A worker's writes go through `commit`, which compares the fence and puts
the step's values and labels, the rotation's next state and the journal into one transaction: there is no instant at
which they disagree.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keywheel.clock import from_epoch, to_epoch
from keywheel.db.statement import Tx
from keywheel.errors import Fenced, InvalidParameter, InvalidRequest, PasswordRejected
from keywheel.rotation import machine, particulars, permission, rows
from keywheel.rotation.machine import Failure, Rotation, Step
from keywheel.rotation.particulars import Asker, Particulars
from keywheel.rotation.rows import Entry, Note
from keywheel.rotation.rules import due_in, grace_of, next_window
from keywheel.schedule import RotationRules, Window
from keywheel.secrets import labels as staging
from keywheel.secrets.labels import CURRENT, PENDING
from keywheel.secrets.ledger import Change, Secrets
from keywheel.secrets.rows import Secret

IN_PROGRESS = "A previous rotation isn't complete. That rotation will be reattempted."

Effect = Callable[[Tx, Secret], None]


class RotationInProgress(InvalidRequest):
    """RotateSecret came while a rotation is not complete."""

    default_hint = "`keywheel status` shows how far it is and what stopped it."


@dataclass(frozen=True, slots=True)
class Configuration:
    """What RotateSecret may say about how a secret is rotated; None leaves it as it was."""

    function: str | None = None
    rules: RotationRules | None = None
    external_metadata: str | None = None
    external_role: str | None = None


class Rotations:
    """The rotations of every account and Region."""

    def __init__(self, secrets: Secrets, *, lease: timedelta) -> None:
        self._secrets = secrets
        self._lease = lease.total_seconds()
        secrets.watch(self._on_change)

    # --- asked for by callers

    def start(
        self,
        tx: Tx,
        secret: Secret,
        token: str,
        configuration: Configuration,
        now: datetime,
        *,
        immediately: bool,
        by: Asker | None = None,
    ) -> str:
        """Configure rotation and begin one, or rehearse it; the token of the version that will become current.

        No target is spoken to. The secret is locked by the caller.

        Raises:
            RotationInProgress: a rotation is not complete.
            InvalidRequest, InvalidParameter: it cannot be configured like this.
            LimitExceeded: the secret has no room for another label.
        """
        self._refuse_replica(secret)
        entry = rows.get(tx, secret.id, lock=True)
        version = self._secrets.version(tx, secret, token)
        if version is not None:
            return token  # the same call again: it started, or has finished
        if staging.in_progress(self._secrets.labels(tx, secret)) is not None:
            raise RotationInProgress(IN_PROGRESS)
        if entry is not None and entry.rotation.in_progress:  # its version was made AWSCURRENT by somebody else
            self._note(tx, secret, entry.rotation, "RotationAbandoned", now, fence=entry.fence)
        secret = self._configure(tx, secret, configuration, now)
        window = self._next_start(tx, secret, now)
        at = to_epoch(now)
        rotation = replace(Rotation() if entry is None else entry.rotation, due=due_in(secret, window))
        if immediately:
            self._secrets.reserve(tx, secret, token, now)
            rotation = machine.begin(rotation, token, window_end=at + machine.MANUAL_WINDOW, now=at)
        else:
            rotation = self._rehearse(tx, secret, token, rotation, now)
        if entry is None:
            rows.add(tx, secret.id, rotation, "")
        else:
            self._take_away(tx, entry, rotation, now)
        self._show_next(tx, secret, window, now)
        if rotation.in_progress:
            event = "RotationStarted" if immediately else "TestRotationStarted"
            self._note(tx, secret, rotation, event, now, detail=particulars.of_start(secret, particulars.ASKED, by))
        return token

    def nudge(self, tx: Tx, secret: Secret, now: datetime) -> None:
        """Attempt a failed rotation again now; nothing, when none has failed."""
        entry = rows.get(tx, secret.id, lock=True)
        if entry is not None and entry.rotation.failed:
            self._take_away(tx, entry, replace(entry.rotation, wake_at=to_epoch(now)), now)

    def repair(self, tx: Tx, secret: Secret, now: datetime, by: Asker | None = None) -> None:
        """Go on with a rotation that stopped; at rest, check the published credential, and set it anew if need be.

        Raises:
            InvalidRequest: rotation was never configured.
        """
        entry = rows.get(tx, secret.id, lock=True)
        if entry is None:
            raise InvalidRequest("Rotation was never configured for this secret.")
        asker = particulars.of_asker(by)
        self._note(tx, secret, entry.rotation, "RepairRequested", now, fence=entry.fence, detail=asker)
        self._take_away(tx, entry, machine.asked_to_repair(entry.rotation, now=to_epoch(now)), now)

    def replan(self, tx: Tx, secret_id: int, now: datetime) -> None:
        """Plan the next rotation anew, from now: it was planned when the clock was wrong."""
        secret = self._secrets.by_id(tx, secret_id, lock=True)
        entry = rows.get(tx, secret_id, lock=True)
        if secret is None or secret.deleted is not None or entry is None or entry.holder is not None:
            return
        window = self._next_start(tx, secret, now)
        rotation = replace(entry.rotation, due=due_in(secret, window))
        if rotation.failed:
            rotation = machine.give_up(rotation, due=rotation.due, now=to_epoch(now))
        elif not rotation.in_progress:
            rotation = machine.settle(rotation)
        rows.save(tx, replace(entry, rotation=rotation))
        self._show_next(tx, secret, window, now)

    def count_refusals(self, tx: Tx, secret: Secret, refused: int, now: datetime) -> None:
        """Count logins that the target refused to somebody who looked from outside."""
        entry = rows.get(tx, secret.id, lock=True)
        if entry is not None and refused:
            rows.count_refusals(tx, machine.counted(entry.rotation, refused, to_epoch(now)), secret.id)

    def cancel(self, tx: Tx, secret: Secret, now: datetime, by: Asker | None = None) -> str | None:
        """Turn rotation off and stop one that is under way; its token. Labels stay as they are.

        Raises:
            InvalidRequest: the secret is not rotated at all.
        """
        self._refuse_replica(secret)
        if secret.rotation_enabled is None:
            raise InvalidRequest("You tried to enable rotation on a secret that doesn't have rotation configured.")
        token = staging.in_progress(self._secrets.labels(tx, secret))
        secret = self._secrets.set(tx, secret, now, rotation_enabled=False, next_rotation=None)
        entry = rows.get(tx, secret.id, lock=True)
        if entry is not None:
            self._stop(tx, secret, entry, "RotationCancelled", now, by)
        return token

    # --- told by the ledger, inside its transactions

    def _on_change(self, tx: Tx, secret: Secret, change: Change, now: datetime) -> None:
        if change.kind in ("metadata", "created"):
            return
        entry = rows.get(tx, secret.id, lock=True)
        if entry is None:
            return
        if change.kind in ("deleted", "purged"):
            asleep = replace(entry.rotation, wake_at=None)
            rows.save(tx, replace(entry, rotation=asleep, holder=None, fence=entry.fence + 1))
        elif change.kind == "restored":
            self._take_away(tx, entry, replace(entry.rotation, wake_at=to_epoch(now)), now)
        else:
            self._on_labels(tx, secret, entry, change, now)

    def _on_labels(self, tx: Tx, secret: Secret, entry: Entry, change: Change, now: datetime) -> None:
        token = entry.rotation.token
        lost = token is not None and change.before.get(PENDING) == token and change.after.get(PENDING) != token
        if lost and change.after.get(CURRENT) != token:
            entry = self._stop(tx, secret, entry, "RotationAbandoned", now)
        put = change.written is not None and change.after.get(CURRENT) == change.written
        if put and change.written != token:  # else it is the rotation function that puts its value
            self._reschedule(tx, secret, entry, now)

    def _reschedule(self, tx: Tx, secret: Secret, entry: Entry, now: datetime) -> None:
        """A value put by hand counts as a rotation for the schedule."""
        window = next_window(secret, now, last_rotated=now)
        self._take_away(tx, entry, machine.settle(replace(entry.rotation, due=due_in(secret, window))), now)
        self._show_next(tx, secret, window, now)

    def _stop(self, tx: Tx, secret: Secret, entry: Entry, event: str, now: datetime, by: Asker | None = None) -> Entry:
        """Nothing more is run for the present token; whoever runs it now is fenced."""
        rotation = entry.rotation
        if rotation.in_progress:
            self._note(tx, secret, rotation, event, now, fence=entry.fence, detail=particulars.of_asker(by))
        due = rotation.due if secret.rotation_enabled else None
        stopped = self._take_away(tx, entry, machine.abandoned(rotation, due=due, now=to_epoch(now)), now)
        if rotation.rehearsal:
            self._drop_copy(tx, secret, rotation, now)
        return stopped

    # --- told by workers

    def begin_due(self, tx: Tx, entry: Entry, now: datetime) -> Entry:
        """A claimed rotation whose schedule came due, or that failed before: in its window, with a token.

        Raises:
            Fenced: it is not ours any more.
        """
        secret = self._own(tx, entry)
        window = next_window(secret, now, last_rotated=self._counted(tx, secret))
        following = self._next_start(tx, secret, now)
        rotation = replace(entry.rotation, due=due_in(secret, following))
        at = to_epoch(now)
        closes = None if window is None or window.opens > now else to_epoch(window.closes)
        end = at + machine.MANUAL_WINDOW if closes is None else closes
        if rotation.failed:
            return self._reattempt(tx, secret, entry, machine.reattempt(rotation, window_end=end, now=at), now)
        obstacle = staging.obstacle(self._secrets.labels(tx, secret))
        if closes is None or obstacle is not None:
            postponed = machine.postponed(rotation, None if closes is None else obstacle)
            self._note(tx, secret, postponed, "RotationPostponed", now, fence=entry.fence)
            self._show_next(tx, secret, following, now)
            return self._keep(tx, entry, postponed, now)
        token = str(uuid.uuid4())
        begun = machine.begin(rotation, token, window_end=end, now=at)
        why = particulars.of_start(secret, particulars.SCHEDULE)
        self._note(tx, secret, begun, "RotationStarted", now, fence=entry.fence, detail=why)
        kept = self._keep(tx, entry, begun, now)  # first: the ledger's watcher then knows the token
        self._secrets.reserve(tx, secret, token, now)
        return kept

    def _reattempt(self, tx: Tx, secret: Secret, entry: Entry, rotation: Rotation, now: datetime) -> Entry:
        """Go on with the same pending value, or, when the target's policy refused that very value, with another."""
        rejected = rotation.failure is not None and rotation.failure.code == PasswordRejected.code
        if not rejected:
            return self._keep(tx, entry, rotation, now)
        token = str(uuid.uuid4())
        anew = replace(rotation, step=Step.CREATE, token=token, failure=None)
        why = particulars.of_start(secret, particulars.ANOTHER_VALUE, instead_of=rotation.token)
        self._note(tx, secret, anew, "RotationStarted", now, fence=entry.fence, detail=why)
        kept = self._keep(tx, entry, replace(anew, failure=rotation.failure), now)
        self._secrets.reserve(tx, secret, token, now)
        return kept

    def commit(
        self,
        tx: Tx,
        entry: Entry,
        rotation: Rotation,
        effects: list[Effect],
        now: datetime,
        *,
        place: str | None,
        seen: Particulars | None = None,
    ) -> Entry:
        """What a step did, and what follows from it, as one transaction under the fence.

        `seen`: what the journal keeps of how it went.

        Raises:
            Fenced: the rotation is not ours any more; nothing is written.
        """
        secret = self._own(tx, entry)
        for effect in effects:
            effect(tx, secret)
        before = entry.rotation
        if rotation.failed:  # its window may be over by now
            due = due_in(secret, self._next_start(tx, secret, now))
            rotation = machine.give_up(rotation, due=due, now=to_epoch(now))
        event = _event(before, rotation)
        self._note(tx, secret, replace(before, failure=rotation.failure), event, now, fence=entry.fence, detail=seen)
        if place is not None:
            entry = replace(entry, place=place)
        return self._keep(tx, entry, rotation, now)

    def finish(
        self,
        tx: Tx,
        entry: Entry,
        effects: list[Effect],
        now: datetime,
        *,
        grace: timedelta | None,
        retires: bool,
        verify_at: float | None = None,
        seen: Particulars | None = None,
    ) -> Entry:
        """The labels move, the old credential's retirement and the next date are set, in one transaction.

        `grace` is the strategy's own; a rotation function (`retires` is false) looks after the old one itself.
        `verify_at`: when the new credential is checked again. `seen`: as `commit`.

        Raises:
            Fenced: the rotation is not ours any more; nothing is written.
        """
        secret = self._own(tx, entry)
        row = rows.get(tx, entry.secret_id)
        asked = None if row is None else row.rotation.verify_at  # perhaps since the claim
        checks = [at for at in (verify_at, asked) if at is not None]
        token = entry.rotation.token or ""
        before = self._secrets.labels(tx, secret)
        for effect in effects:
            effect(tx, secret)
        after = self._secrets.labels(tx, secret)
        self._secrets.relabel(tx, secret, staging.drop_pending(after, token), now)
        old = before.get(CURRENT) if before.get(CURRENT) != token else after.get(staging.PREVIOUS)
        window = next_window(secret, now, last_rotated=now)
        allowed = grace_of(secret, grace) if retires else None
        rotation = machine.finished(
            retiring=old,
            retire_at=None if allowed is None or old is None else to_epoch(now + allowed),
            due=due_in(secret, window),
            now=to_epoch(now) if retires else None,
            verify_at=min(checks, default=None),
        )
        secret = self._secrets.set(tx, secret, now, rotated=to_epoch(now))
        self._show_next(tx, secret, window, now)
        whole = {**(seen or {}), **particulars.of_finish(old, allowed, now, retires=retires)}
        self._note(tx, secret, entry.rotation, "RotationSucceeded", now, fence=entry.fence, detail=whole)
        return self._keep(tx, entry, rotation, now)

    def checked(self, tx: Tx, entry: Entry, rotation: Rotation, event: str | None, now: datetime) -> Entry:
        """What a check of the published credential found; `event` where that is news.

        Raises:
            Fenced: the rotation is not ours any more; nothing is written.
        """
        secret = self._own(tx, entry)
        if event is not None:
            failure = None if rotation.health is None else Failure(Step.REPAIR, rotation.health, "")
            self._note(tx, secret, replace(entry.rotation, failure=failure), event, now, fence=entry.fence)
        return self._keep(tx, entry, rotation, now)

    def rest(self, tx: Tx, entry: Entry, rotation: Rotation, now: datetime) -> Entry:
        """Let go of a rotation that has nothing to do.

        Raises:
            Fenced: it is not ours any more.
        """
        self._own(tx, entry)
        return self._keep(tx, entry, rotation, now)

    def end_rehearsal(self, tx: Tx, entry: Entry, rotation: Rotation, now: datetime) -> Entry:
        """Take the temporary version of a rehearsal away.

        Raises:
            Fenced: the rotation is not ours any more; nothing is written.
        """
        secret = self._own(tx, entry)
        kept = self._keep(tx, entry, rotation, now)  # first: the ledger's watcher then sees a rotation that is over
        self._drop_copy(tx, secret, entry.rotation, now)
        event = "TestRotationSucceeded" if rotation.failure is None else "TestRotationFailed"
        self._note(tx, secret, replace(entry.rotation, failure=rotation.failure), event, now, fence=entry.fence)
        return kept

    # --- inside

    def _own(self, tx: Tx, entry: Entry) -> Secret:
        """The secret of a claimed rotation, both locked, when the claim still holds."""
        secret = self._secrets.by_id(tx, entry.secret_id, lock=True)
        row = rows.get(tx, entry.secret_id, lock=True)
        if secret is None or secret.deleted is not None or row is None or row.fence != entry.fence:
            raise Fenced("The rotation is not this worker's any more.")
        return secret

    def _configure(self, tx: Tx, secret: Secret, given: Configuration, now: datetime) -> Secret:
        function = given.function or secret.rotation_function
        if not function:
            raise InvalidRequest("No Lambda rotation function ARN is associated with this secret.")
        columns: dict[str, object] = {"rotation_enabled": True, "rotation_function": function}
        if given.rules is not None:
            given.rules.schedule()
            columns |= {
                "rotation_days": given.rules.after_days,
                "rotation_expression": given.rules.expression,
                "rotation_duration": given.rules.duration,
                "rotation_configured": to_epoch(now),
            }
        if given.external_metadata is not None:
            columns["external_metadata"] = given.external_metadata
        if given.external_role is not None:
            columns["external_role"] = given.external_role
        return self._secrets.set(tx, secret, now, **columns)

    def _rehearse(self, tx: Tx, secret: Secret, token: str, rotation: Rotation, now: datetime) -> Rotation:
        labels = self._secrets.labels(tx, secret)
        current = None if CURRENT not in labels else self._secrets.version(tx, secret, labels[CURRENT])
        permission.check_rehearsal(tx, self._secrets.vault.keys, secret, current, token)
        value = None if current is None else self._secrets.open(tx, secret, current)
        if value is None:
            return machine.settle(rotation)  # nothing to test with
        self._secrets.put(tx, secret, token, value, (PENDING,), now)
        return machine.rehearse(rotation, token, now=to_epoch(now))

    def _drop_copy(self, tx: Tx, secret: Secret, rehearsal: Rotation, now: datetime) -> None:
        """Take the temporary version of a rehearsal away."""
        token = rehearsal.token or ""
        self._secrets.relabel(tx, secret, staging.drop_pending(self._secrets.labels(tx, secret), token), now)
        self._secrets.drop_version(tx, secret, token)

    def _counted(self, tx: Tx, secret: Secret) -> datetime | None:
        """When the secret last changed for the schedule: a rotation, or a value put by hand.

        None when that was before it had a schedule: days are then counted from the configuration.
        """
        current = self._secrets.labels(tx, secret).get(CURRENT)
        version = None if current is None else self._secrets.version(tx, secret, current)
        put = None if version is None else version.created
        if secret.rotated is None and (put is None or put < (secret.rotation_configured or 0.0)):
            return None
        return from_epoch(max(instant for instant in (secret.rotated, put) if instant is not None))

    def _next_start(self, tx: Tx, secret: Secret, now: datetime) -> Window | None:
        """The next window whose due instant is still to come."""
        counted = self._counted(tx, secret)
        window = next_window(secret, now, last_rotated=counted)
        if window is None or window.due(secret.arn) > now:
            return window
        return next_window(secret, window.closes, last_rotated=counted)

    def _show_next(self, tx: Tx, secret: Secret, window: Window | None, now: datetime) -> None:
        latest = None if window is None else to_epoch(window.latest)
        if secret.next_rotation != latest:
            self._secrets.set(tx, secret, now, next_rotation=latest)

    def _keep(self, tx: Tx, entry: Entry, rotation: Rotation, now: datetime) -> Entry:
        """Save a worker's result. What goes on at once stays under its lease; what rests is let go of."""
        goes_on = rotation.wake_at is not None and rotation.wake_at <= to_epoch(now)
        stored = replace(rotation, wake_at=to_epoch(now) + self._lease) if goes_on else rotation
        rows.save(tx, replace(entry, rotation=stored, holder=entry.holder if goes_on else None), held=goes_on)
        return replace(entry, rotation=rotation)

    @staticmethod
    def _take_away(tx: Tx, entry: Entry, rotation: Rotation, now: datetime) -> Entry:
        """Save a change from outside, and fence off whoever runs the rotation now.

        They may be changing the target at this very moment. So nobody else begins before they have let go, or their
        lease is over.
        """
        holder, lease_end = entry.holder, entry.rotation.wake_at
        if holder is None or lease_end is None or lease_end <= to_epoch(now):
            holder = None
        else:
            holder, rotation = rows.fenced(holder, entry.fence), replace(rotation, wake_at=lease_end)
        saved = replace(entry, rotation=rotation, holder=holder, fence=entry.fence + 1)
        rows.save(tx, saved)
        return saved

    @staticmethod
    def _note(
        tx: Tx,
        secret: Secret,
        rotation: Rotation,
        event: str,
        now: datetime,
        *,
        fence: int = 0,
        detail: Particulars | None = None,
    ) -> None:
        failure = rotation.failure
        note = Note(
            secret_id=secret.id,
            arn=secret.arn,
            token=rotation.token or rotation.retiring,
            fence=fence,
            attempt=rotation.attempt,
            step=rotation.step.value,
            event=event,
            code=None if failure is None else failure.code,
            reason=None if failure is None else failure.reason,
            at=to_epoch(now),
            detail=json.dumps(detail) if detail else None,
        )
        rows.note(tx, note)

    @staticmethod
    def _refuse_replica(secret: Secret) -> None:
        if secret.primary_id is not None:
            raise InvalidParameter(
                "Operation not permitted on a replica secret. Call must be made in primary secret's region."
            )


def _event(before: Rotation, after: Rotation) -> str:
    """The journal's word for what a step's end means."""
    if after.failure is None:
        return "StepDone" if before.step is not Step.RETIRE else "OldCredentialRetired"
    if before.step is Step.REPAIR and after.failed:
        return "RolledBack"
    if before.step is Step.RETIRE:
        return "RetirementDelayed" if after.retiring is not None else "RetirementLeftToRotation"
    if after.step is Step.REPAIR:
        return "RollbackStarted" if before.step is not Step.REPAIR else "RollbackRetried"
    return "RotationFailed" if after.failed else "StepRetried"
