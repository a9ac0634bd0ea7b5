"""An account in a house: secrets and rotations by the API's own handlers, and the engine by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

from keywheel.access.access_keys import Role
from keywheel.access.door import Caller
from keywheel.api.secretsmanager import rotation, secrets, values
from keywheel.api.secretsmanager import shapes as s
from keywheel.arn import Scope
from keywheel.clock import from_epoch
from keywheel.db.tables import metadata
from keywheel.rotation import rows
from keywheel.rotation.machine import Rotation
from keywheel.rotation.rows import Entry, Note
from keywheel.rotator import Credential
from keywheel.secrets.labels import CURRENT
from keywheel.secrets.rows import Version
from keywheel.sensitive import Sensitive
from keywheel.server import House
from keywheel.testing import ManualClock

SCOPE = Scope("123456789012", "us-east-1")
SINGLE_USER, ALTERNATING_USERS = "memory-single-user", "memory-alternating-users"
_TICK = timedelta(microseconds=1)  # a timer in seconds may lie between two instants of a clock


def token() -> str:
    """A ClientRequestToken, as an SDK makes one."""
    return str(uuid4())


def function_arn(name: str) -> str:
    """The ARN of a function of the account."""
    return SCOPE.arn("lambda", f"function:{name}")


class Account:
    """What a person with the AWS CLI would do, without the wire; and what the engine does meanwhile."""

    def __init__(self, house: House, clock: ManualClock) -> None:
        self.house = house
        self.rooms = house.rooms
        self.clock = clock
        self.engine = house.engine("engine-1")
        self._caller = Caller(SCOPE.arn("iam", "user/admin"), SCOPE, Role.ADMINISTRATOR, "AKIAADMIN")

    # --- secrets

    def create(
        self, name: str, value: Credential | str | None, *, version: str | None = None, key: str | None = None
    ) -> str:
        """A new secret; its ARN."""
        request = s.CreateSecretRequest(
            name=name, client_request_token=version or token(), secret_string=_text(value), kms_key_id=key
        )
        arn = secrets.create_secret(self.rooms, self._caller, request).arn
        assert arn is not None
        return arn

    def put(self, name: str, value: Credential | str, *stages: str, version: str | None = None) -> str:
        """A value by hand; its version."""
        version = version or token()
        request = s.PutSecretValueRequest(
            secret_id=name,
            client_request_token=version,
            secret_string=_text(value),
            version_stages=list(stages) or None,
        )
        values.put_secret_value(self.rooms, self._caller, request)
        return version

    def update(
        self, name: str, value: str | None = None, *, version: str | None = None, key: str | None = None
    ) -> str | None:
        """UpdateSecret; the version that it made."""
        request = s.UpdateSecretRequest(
            secret_id=name, client_request_token=version or token(), secret_string=value, kms_key_id=key
        )
        return secrets.update_secret(self.rooms, self._caller, request).version_id

    def put_binary(self, name: str, value: bytes, *, version: str | None = None) -> None:
        """A binary value by hand."""
        request = s.PutSecretValueRequest(secret_id=name, client_request_token=version or token(), secret_binary=value)
        values.put_secret_value(self.rooms, self._caller, request)

    def move(self, name: str, label: str, *, to: str | None = None, away_from: str | None = None) -> None:
        """UpdateSecretVersionStage."""
        request = s.UpdateSecretVersionStageRequest(
            secret_id=name, version_stage=label, move_to_version_id=to, remove_from_version_id=away_from
        )
        values.update_secret_version_stage(self.rooms, self._caller, request)

    def tag(self, name: str, key: str, value: str) -> None:
        """TagResource."""
        secrets.tag_resource(
            self.rooms, self._caller, s.TagResourceRequest(secret_id=name, tags=[s.Tag(key=key, value=value)])
        )

    def delete(self, name: str, *, days: int | None = None, force: bool = False) -> float:
        """DeleteSecret; the instant of the end, in seconds since the epoch."""
        request = s.DeleteSecretRequest(
            secret_id=name, recovery_window_in_days=days, force_delete_without_recovery=force
        )
        end = secrets.delete_secret(self.rooms, self._caller, request).deletion_date
        assert end is not None
        return end

    def restore(self, name: str) -> None:
        """RestoreSecret."""
        secrets.restore_secret(self.rooms, self._caller, s.RestoreSecretRequest(secret_id=name))

    def describe(self, name: str) -> s.DescribeSecretResponse:
        """DescribeSecret."""
        return secrets.describe_secret(self.rooms, self._caller, s.DescribeSecretRequest(secret_id=name))

    def labels(self, name: str) -> dict[str, str]:
        """Which version each label is attached to."""
        stages = self.describe(name).version_ids_to_stages or {}
        return {label: version for version, labels in stages.items() for label in labels}

    def text(self, name: str, *, version: str | None = None, label: str | None = None) -> str:
        """GetSecretValue."""
        request = s.GetSecretValueRequest(secret_id=name, version_id=version, version_stage=label)
        text = values.get_secret_value(self.rooms, self._caller, request).secret_string
        assert text is not None
        return text

    def credential(self, name: str, label: str = CURRENT) -> Credential:
        """The credential that a client would log in with."""
        return Credential.parse(Sensitive(self.text(name, label=label)))

    def versions(self, name: str) -> set[str]:
        """Every version that has a value, with or without a label."""
        found, page = set(), None
        while True:
            request = s.ListSecretVersionIdsRequest(secret_id=name, include_deprecated=True, next_token=page)
            answer = values.list_secret_version_ids(self.rooms, self._caller, request)
            found |= {entry.version_id or "" for entry in answer.versions or []}
            page = answer.next_token
            if page is None:
                return found

    def stored(self, name: str, version: str) -> Version | None:
        """A version as the store has it: its value sealed."""
        with self.rooms.database.read() as tx:
            secret = self.rooms.secrets.find(tx, SCOPE, name, deleted=True)
            return self.rooms.secrets.version(tx, secret, version)

    def dump(self) -> dict[str, list[str]]:
        """Every row of every table of the store as text, bytes in hexadecimal."""
        with self.rooms.database.read() as tx:
            return {
                table.name: [
                    " ".join(bytes(cell).hex() if isinstance(cell, bytes) else str(cell) for cell in row)
                    for row in tx.execute(f'SELECT * FROM "{table.name}"', {}).fetchall()
                ]
                for table in metadata.sorted_tables
            }

    # --- rotations

    def rotate(
        self,
        name: str,
        function: str | None = None,
        *,
        days: int | None = None,
        expression: str | None = None,
        duration: str | None = None,
        immediately: bool = True,
        version: str | None = None,
    ) -> str:
        """RotateSecret, with a function of the account or the ARN of any; the version that will become current."""
        rules = s.RotationRulesType(automatically_after_days=days, schedule_expression=expression, duration=duration)
        request = s.RotateSecretRequest(
            secret_id=name,
            client_request_token=version or token(),
            rotation_lambda_arn=function_arn(function) if function and ":" not in function else function,
            rotation_rules=None if days is None and expression is None and duration is None else rules,
            rotate_immediately=immediately,
        )
        answer = rotation.rotate_secret(self.rooms, self._caller, request).version_id
        assert answer is not None
        return answer

    def rotated(self, name: str, function: str | None = None, **options: int | str) -> str:
        """RotateSecret, and the engine's work on it."""
        version = self.rotate(name, function, **options)  # type: ignore[arg-type] # passed on as they are
        self.engine.tick()
        return version

    def cancel(self, name: str) -> str | None:
        """CancelRotateSecret."""
        request = s.CancelRotateSecretRequest(secret_id=name)
        return rotation.cancel_rotate_secret(self.rooms, self._caller, request).version_id

    def entry(self, name: str) -> Entry:
        """The row of the secret's rotation."""
        with self.rooms.database.read() as tx:
            secret = self.rooms.secrets.find(tx, SCOPE, name, deleted=True)
            entry = rows.get(tx, secret.id)
        assert entry is not None
        return entry

    def rotation(self, name: str) -> Rotation:
        """The state of the secret's rotation."""
        return self.entry(name).rotation

    def journal(self, name: str) -> list[Note]:
        """What happened to a secret, oldest first."""
        with self.rooms.database.read() as tx:
            secret = self.rooms.secrets.find(tx, SCOPE, name, deleted=True)
            return rows.journal(tx, secret.id, 1_000)[::-1]

    def events(self, name: str) -> list[str]:
        """The same by their names, without the steps."""
        return [note.event for note in self.journal(name) if note.event not in ("StepDone", "OldCredentialRetired")]

    # --- time

    def sleep(self, name: str) -> None:
        """Let time pass until the secret's rotation wakes, and the engine take it up."""
        wake_at = self.rotation(name).wake_at
        assert wake_at is not None, "it sleeps for ever"
        self.wait_until(from_epoch(wake_at) + _TICK)
        self.engine.tick()

    def pass_time(self, **duration: float) -> None:
        """Let that much time pass, the engine working all the while."""
        end = self.clock.now() + timedelta(**duration)
        while (wake := self._next_wake()) is not None and wake < end:
            self.wait_until(wake)
            self.engine.tick()
        self.wait_until(end)
        self.engine.tick()

    def wait_until(self, instant: datetime) -> None:
        """Let time pass, if it has to, the engine doing nothing."""
        self.clock.advance(max(timedelta(0), instant - self.clock.now()))

    def _next_wake(self) -> datetime | None:
        with self.rooms.database.point() as tx:
            wake = rows.next_wake(tx)
        return None if wake is None else from_epoch(wake) + _TICK


def _text(value: Credential | str | None) -> str | None:
    return value.to_json().reveal() if isinstance(value, Credential) else value
