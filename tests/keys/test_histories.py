"""Any history of a key: every ciphertext opens, or is refused by the state table, and nothing else ever happens."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keywheel.db.database import open_database
from keywheel.db.schema import migrate
from keywheel.errors import CallerError
from keywheel.keys.ciphers import Destination, Source
from keywheel.keys.errors import InvalidCiphertext, KeyDisabled, KeyInvalidState, KeyNotFound
from keywheel.keys.keyring import Key
from tests.keys.ring import HERE, Ring

CONTEXTS = st.sampled_from([{}, {"a": "b"}, {"a": "c", "d": "e"}])
REFUSALS = {"Disabled": KeyDisabled, "PendingDeletion": KeyInvalidState}


@dataclass
class Expected:
    """What a key is to be."""

    key: Key
    state: str = "Enabled"
    materials: int = 1
    end: float | None = None
    due: float | None = None
    blobs: list[tuple[bytes, bytes, dict[str, str], int]] = field(default_factory=list)


@cache
def schema() -> bytes:
    """A SQLite file with nothing but the schema."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


class Histories(RuleBasedStateMachine):
    """A few keys, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        path = Path(self.directory.name) / "keywheel.db"
        path.write_bytes(schema())
        self.database = open_database(f"sqlite:///{path}")
        self.ring = Ring(self.database)
        self.expected: list[Expected] = []

    def teardown(self) -> None:
        with closing(self.database):
            self.directory.cleanup()

    def some(self, data: st.DataObject, *states: str) -> Expected | None:
        found = [each for each in self.expected if each.state in states]
        return data.draw(st.sampled_from(found)) if found else None

    def refused(self, one: Expected) -> type[CallerError] | None:
        return REFUSALS.get(one.state)

    # --- what may happen

    @initialize()
    def first(self) -> None:
        self.expected.append(Expected(self.ring.make()))

    @rule()
    @precondition(lambda self: len(self.expected) < 4)
    def create(self) -> None:
        self.first()

    @rule(data=st.data(), context=CONTEXTS)
    def encrypt(self, data: st.DataObject, context: dict[str, str]) -> None:
        one = self.some(data, "Enabled", "Disabled", "PendingDeletion")
        if one is None:
            return
        plaintext = os.urandom(8)
        error = self.refused(one)
        if error is not None:
            with pytest.raises(error):
                self.ring.encrypt(one.key, plaintext, context)
            return
        one.blobs.append((self.ring.encrypt(one.key, plaintext, context), plaintext, context, one.materials))

    @rule(data=st.data(), context=CONTEXTS)
    def re_encrypt(self, data: st.DataObject, context: dict[str, str]) -> None:
        source, target = self.some(data, "Enabled"), self.some(data, "Enabled", "Disabled", "PendingDeletion")
        if source is None or target is None or not source.blobs:
            return
        blob, plaintext, before, _ = data.draw(st.sampled_from(source.blobs))
        one, other = self.ring.find(source.key), self.ring.find(target.key)
        ciphers, error = self.ring.keys.ciphers, self.refused(target)
        with self.database.read() as tx:
            if error is not None:
                with pytest.raises(error):
                    ciphers.re_encrypt(tx, Source(one, blob, before), Destination(other, context))
                return
            moved = ciphers.re_encrypt(tx, Source(one, blob, before), Destination(other, context))
        target.blobs.append((moved.blob, plaintext, context, target.materials))

    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        one = self.some(data, "Enabled", "Disabled", "PendingDeletion")
        if one is None or (one.due is not None and one.due <= self.ring.now.timestamp() + 1200):
            return
        error = self.refused(one)
        if error is not None:
            with pytest.raises(error):
                self.ring.rotate(one.key)
            return
        self.ring.rotate(one.key)
        one.materials += 1

    @rule(data=st.data(), days=st.sampled_from([90, 365]))
    def enable_rotation(self, data: st.DataObject, days: int) -> None:
        one = self.some(data, "Enabled")
        if one is None:
            return
        keys = self.ring.keys
        self.ring.change(one.key, lambda tx, found: keys.rotation.enable(tx, found, days, self.ring.now))
        one.due = (self.ring.now + timedelta(days=days)).timestamp()

    @rule(data=st.data())
    def disable(self, data: st.DataObject) -> None:
        one = self.some(data, "Enabled", "Disabled")
        if one is not None:
            self.ring.disable(one.key)
            one.state = "Disabled"

    @rule(data=st.data())
    def enable(self, data: st.DataObject) -> None:
        one = self.some(data, "Enabled", "Disabled")
        if one is not None:
            self.ring.enable(one.key)
            one.state = "Enabled"
            self.catch_up(one)

    @rule(data=st.data(), days=st.integers(7, 30))
    def schedule_deletion(self, data: st.DataObject, days: int) -> None:
        one = self.some(data, "Enabled", "Disabled")
        if one is not None:
            self.ring.schedule(one.key, days)
            one.state, one.end = "PendingDeletion", (self.ring.now + timedelta(days=days)).timestamp()

    @rule(data=st.data())
    def cancel_deletion(self, data: st.DataObject) -> None:
        one = self.some(data, "PendingDeletion")
        if one is not None:
            self.ring.cancel(one.key)
            one.state, one.end = "Disabled", None

    @rule(days=st.sampled_from([1, 20, 100, 800]))
    def sweep(self, days: int) -> None:
        self.ring.wait(days=days)
        now = self.ring.now.timestamp()
        self.ring.write(lambda tx: self.ring.keys.lifecycle.purge_due(tx, self.ring.now))
        self.ring.write(lambda tx: self.ring.keys.rotation.rotate_due(tx, self.ring.now))
        for one in self.expected:
            if one.end is not None and one.end <= now:
                one.state, one.end = "gone", None
            self.catch_up(one)

    @rule()
    def restart(self) -> None:
        self.ring.restart()

    def catch_up(self, one: Expected) -> None:
        """A key that is due and enabled has rotated once."""
        if one.state == "Enabled" and one.due is not None and one.due <= self.ring.now.timestamp():
            one.materials += 1
            one.due = self.ring.find(one.key).next_rotation

    # --- what must hold

    @invariant()
    def every_ciphertext_opens_or_is_refused(self) -> None:
        for one in self.expected:
            for blob, plaintext, context, material in one.blobs:
                error = self.refused(one)
                if one.state == "gone":
                    with pytest.raises(InvalidCiphertext):
                        self.ring.decrypt(blob, context)
                elif error is not None:
                    with pytest.raises(error):
                        self.ring.decrypt(blob, context)
                else:
                    assert self.ring.decrypt(blob, context) == plaintext
                    listed = self.materials(one)
                    assert self.ring.open(one.key, blob, context).material_id == listed[material - 1]

    @invariant()
    def every_key_is_as_expected(self) -> None:
        for one in self.expected:
            if one.state == "gone":
                with pytest.raises(KeyNotFound):
                    self.ring.find(one.key)
                continue
            found = self.ring.find(one.key)
            assert (found.state, found.deletion, found.next_rotation) == (one.state, one.end, one.due)
            assert len(self.materials(one)) == one.materials == found.generation

    def materials(self, one: Expected) -> list[str]:
        with self.database.read() as tx:
            key = self.ring.keys.find(tx, HERE, one.key.key_id, now=self.ring.now)
            listed = self.ring.keys.rotation.entries(tx, key, everything=True, most=100)
        return [entry.material_id for entry in listed]


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
