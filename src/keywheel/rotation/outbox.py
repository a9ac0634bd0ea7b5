"""The journals' way into the audit ledger: every rotation's every step, told by whichever engine comes first.

A journal is written in the transaction of the step itself, so nothing that happened is missing from it. What is not
in the ledger yet is told there, and then marked: at least once. An entry that is told twice has the same `eventID`.
"""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any, Self

import structlog

from keywheel.access.audit import entries
from keywheel.access.audit.entries import Entry, Identity, Resource
from keywheel.access.audit.log import AuditLog
from keywheel.access.principals import ENGINE
from keywheel.arn import Arn, Scope
from keywheel.clock import from_epoch
from keywheel.db.database import Database
from keywheel.rotation import rows
from keywheel.rotation.keys import journal
from keywheel.rotation.keys.journal import Note as KeyNote
from keywheel.rotation.rows import Note

_log = structlog.get_logger("keywheel.audit")

_SECONDS, _BATCH = 1.0, 500
_ENGINE = Identity("AWSService", invoked_by=ENGINE)
_NAMESPACE = uuid.UUID("6f0e6b0a-7f43-4f4c-9a43-0f5a3a1d9a52")


class Outbox:
    """Tells the ledger of the journal, every second, while it is entered."""

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-outbox", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def tell(self) -> int:
        """Tell what is not told; how many notes.

        Raises:
            AuditUnavailable: the ledger cannot be written; the rest is told later.
        """
        with self._database.read() as tx:
            notes = rows.unaudited(tx, _BATCH)
            of_keys = journal.unaudited(tx, _BATCH)
        for number, note in notes:
            self._audit.record(entry_of(number, note))
        for number, of_key in of_keys:
            self._audit.record(entry_of_key(number, of_key))
        if notes:
            self._database.write(lambda tx: rows.mark_audited(tx, [number for number, _ in notes]))
        if of_keys:
            self._database.write(lambda tx: journal.mark_audited(tx, [number for number, _ in of_keys]))
        return max(len(notes), len(of_keys))

    def _run(self) -> None:
        while True:
            ending = self._ending.wait(_SECONDS)
            try:
                while self.tell() == _BATCH:
                    pass
            except Exception as error:  # noqa: BLE001 - whatever is away comes back, and nothing is lost meanwhile
                _log.error("audit.outbox", error=type(error).__name__)
            if ending:
                return


def event_id(number: int, note: Note) -> str:
    """The identifier of a note in the ledger: the same, however often it is told."""
    return str(uuid.uuid5(_NAMESPACE, f"{number} {note.arn} {note.at}"))


def entry_of(number: int, note: Note) -> Entry:
    """What the ledger says of a note of the journal."""
    arn = Arn.parse(note.arn)
    details: dict[str, Any] = {
        "SecretArn": note.arn,
        "VersionId": note.token,
        "Step": note.step,
        "Attempt": note.attempt,
        "Epoch": note.fence,
        "Reason": note.reason,
    }
    details |= {} if note.detail is None else json.loads(note.detail)
    return Entry(
        event_version=entries.VERSION,
        event_time=from_epoch(note.at).strftime("%Y-%m-%dT%H:%M:%SZ"),
        event_source="secretsmanager.amazonaws.com",
        event_name=note.event,
        event_type="AwsServiceEvent",
        event_id=event_id(number, note),
        user_identity=_ENGINE,
        read_only=False,
        aws_region=None if arn is None else arn.region,
        error_code=note.code,
        additional_event_data={name: value for name, value in details.items() if value is not None},
        recipient_account_id=None if arn is None else arn.account,
    )


def entry_of_key(number: int, note: KeyNote) -> Entry:
    """What the ledger says of a note of the journal of keys."""
    scope = Scope(note.account, note.region)
    alias = scope.arn("kms", note.name) if note.name else None
    key = None if note.key_id is None else scope.arn("kms", f"key/{note.key_id}")
    details = {
        "AliasArn": alias,
        "KeyId": note.key_id,
        "RotationId": note.run,
        "Step": note.step or None,
        "Attempt": note.attempt,
        "Reason": note.reason,
    }
    return Entry(
        event_version=entries.VERSION,
        event_time=from_epoch(note.at).strftime("%Y-%m-%dT%H:%M:%SZ"),
        event_source="kms.amazonaws.com",
        event_name=note.event,
        event_type="AwsServiceEvent",
        event_id=str(uuid.uuid5(_NAMESPACE, f"key {number} {alias or key} {note.at}")),
        user_identity=_ENGINE,
        read_only=False,
        aws_region=note.region,
        error_code=note.code,
        additional_event_data={name: value for name, value in details.items() if value is not None},
        resources=None if key is None else [Resource(key, note.account, "AWS::KMS::Key")],
        recipient_account_id=note.account,
    )
