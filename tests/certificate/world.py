"""Where a case takes place: a store, a live target behind a wire, a nursery of victims, and the engine that rescues."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, Self

from keywheel.arn import Scope
from keywheel.clock import Clock, SystemClock, from_epoch, to_epoch
from keywheel.db.database import open_database
from keywheel.db.schema import migrate
from keywheel.keys.keyring import Keys
from keywheel.rotation import rows
from keywheel.rotation.built_in import built_in
from keywheel.rotation.engine import Configuration
from keywheel.rotation.machine import Rotation, Step
from keywheel.rotation.rows import Entry
from keywheel.rotator import CLONE_SUFFIX, Credential, Strategy
from keywheel.secrets.ledger import Draft
from keywheel.secrets.values import Value
from keywheel.sensitive import Sensitive
from keywheel.testing import ManualClock
from tests.certificate.live import Live
from tests.certificate.victim import house_of
from tests.certificate.wire import Wire
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

SCOPE = Scope("123456789012", "us-east-1")
ROOT = Path(__file__).resolve().parents[2]
MANUAL_LEASE, REAL_LEASE = 30.0, 1.5
STORES = ("sqlite", "postgresql")
PATIENCE = 30.0


def strategies_of(rotator: str) -> dict[str, Strategy]:
    """The strategies that a rotator offers, by the functions' names."""
    prefix = f"keywheel-{rotator.replace('_', '-')}-"
    return {name: strategy for name, strategy in built_in().items() if name.startswith(prefix)}


class Nursery:
    """Victims, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.certificate.victim"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._said: Queue[str] = Queue()
        Thread(target=self._listen, daemon=True).start()
        self.pid = 0

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.strip())

    def bear(self, spec: dict[str, Any]) -> None:
        """Fork a victim."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(spec) + "\n")
        self._process.stdin.flush()
        self.pid = int(self.hears("born").split()[1])

    def hears(self, *words: str, seconds: float = PATIENCE) -> str:
        """The next thing that is said, which must begin with one of these words."""
        try:
            line = self._said.get(timeout=seconds)
        except Empty:
            raise AssertionError(f"nothing was heard of the victim, neither {' nor '.join(words)}") from None
        assert line.split()[0] in words, line
        return line

    def signal(self, number: signal.Signals) -> None:
        """Send the victim a signal."""
        os.kill(self.pid, number)

    def close(self) -> None:
        """End it, with a victim that may be left."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Patient:
    """A secret under rotation, and the credential that it had at first."""

    arn: str
    secret_id: int
    first: Credential
    strategy: Strategy
    function: str


class World:
    """One store of one kind, with a clock of one kind, in front of a live target."""

    def __init__(self, store: str, live: Live, server: PostgresServer, *, real_time: bool, nursery: Nursery) -> None:
        self.store = store
        self.live = live
        self.wire = Wire(live.port)
        self.nursery = nursery
        self._directory = tempfile.TemporaryDirectory(prefix="keywheel-certificate-")
        data = Path(self._directory.name)
        self._server, self._name = server, f"kw_{secrets.token_hex(6)}"
        url = f"sqlite:///{data}/keywheel.db"
        if store == "postgresql":
            server.execute(f"CREATE DATABASE {self._name}")
            url = postgres_url(server, self._name)
        root = os.urandom(32)
        self.lease = REAL_LEASE if real_time else MANUAL_LEASE
        self.spec = {"data": str(data), "database": url, "root": root.hex(), "lease": self.lease}
        migrate(url)
        database = open_database(url)
        database.write(Keys(Sensitive(root)).bind)
        database.close()
        self.clock: Clock = SystemClock() if real_time else ManualClock()
        self.house = house_of(self.spec, self.clock)
        self.engine = self.house.engine("rescuer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.house.close()
        self.wire.close()
        if self.store == "postgresql":
            self._server.execute(f"DROP DATABASE {self._name} WITH (FORCE)")
        self._directory.cleanup()

    # --- the secret

    def admit(self, function: str, strategy: Strategy) -> Patient:
        """A new user on the target, and its secret, which is reached over the wire."""
        user = self._over_the_wire(self.live.new_user())
        superuser = self._create(f"{user.username}-superuser", self._over_the_wire(self.live.superuser))
        fields = {**user.fields, "masterarn": superuser}
        first = Credential(fields, user.password)
        arn = self._create(user.username, first)
        with self.house.rooms.database.read() as tx:
            secret = self.house.rooms.secrets.find(tx, SCOPE, arn)
        return Patient(arn, secret.id, first, strategy, SCOPE.arn("lambda", f"function:{function}"))

    def start(self, patient: Patient) -> str:
        """RotateSecret; the token."""
        rooms, token = self.house.rooms, str(uuid.uuid4())

        def start(tx: Any) -> str:
            secret = rooms.secrets.find(tx, SCOPE, patient.arn, lock=True)
            now = rooms.clock.now()
            return rooms.rotations.start(tx, secret, token, Configuration(patient.function), now, immediately=True)

        return rooms.database.write(start)

    def victim(self, *, at: str = "", number: int = -1, deed: str = "", engine: str, record: str = "") -> None:
        """Bear a victim that takes up what is due."""
        now = to_epoch(self.clock.now()) if isinstance(self.clock, ManualClock) else None
        fault = {"at": at, "number": number, "deed": deed, "engine": engine, "record": record, "now": now}
        self.nursery.bear({**self.spec, **fault})

    def nursery_is_still(self) -> bool:
        """Whether the victim has ended."""
        try:
            return self.nursery.hears("ended", seconds=0.02).startswith("ended")
        except AssertionError:
            return False

    # --- the rescue

    def lose_the_lease(self) -> None:
        """Let the victim's lease end."""
        if isinstance(self.clock, ManualClock):
            self.clock.advance(timedelta(seconds=self.lease + 1.0))
        else:
            time.sleep(self.lease)

    def tick(self, patient: Patient) -> bool:
        """Let the rescuer take up the rotation when it wakes; whether there was anything that it could take up."""
        wake = self.entry(patient).rotation.wake_at
        if wake is None:
            return False
        if isinstance(self.clock, ManualClock):
            ahead = from_epoch(wake) + timedelta(microseconds=1) - self.clock.now()
            self.clock.advance(max(timedelta(0), ahead))
        else:
            time.sleep(max(0.0, min(wake - to_epoch(self.clock.now()), 10.0)))
        if self.engine.tick():
            return True
        time.sleep(0.2)  # a frozen transaction of the store still holds the row
        return False

    # --- what can be seen

    def entry(self, patient: Patient) -> Entry:
        """The row of the rotation."""
        with self.house.rooms.database.read() as tx:
            entry = rows.get(tx, patient.secret_id)
        assert entry is not None
        return entry

    def at_rest(self, patient: Patient) -> bool:
        """Whether nothing is left to do."""
        rotation: Rotation = self.entry(patient).rotation
        return rotation.step is Step.IDLE and rotation.wake_at is None

    def kept(self, patient: Patient) -> dict[str, Credential]:
        """Every value that the store keeps of the secret, by version."""
        rooms = self.house.rooms
        found = {}
        with rooms.database.read() as tx:
            secret = rooms.secrets.find(tx, SCOPE, patient.arn)
            for version_id in rooms.secrets.versions_with_value(tx, secret):
                version = rooms.secrets.version(tx, secret, version_id)
                value = None if version is None else rooms.secrets.open(tx, secret, version)
                if value is not None:
                    found[version_id] = Credential.parse(value.text())
        return found

    def labels(self, patient: Patient) -> dict[str, str]:
        """Which version each label names."""
        rooms = self.house.rooms
        with rooms.database.read() as tx:
            return dict(rooms.secrets.labels(tx, rooms.secrets.find(tx, SCOPE, patient.arn)))

    def current(self, patient: Patient) -> Credential:
        """What AWSCURRENT names."""
        return self.kept(patient)[self.labels(patient)["AWSCURRENT"]]

    def unknown_users(self, patient: Patient) -> list[str]:
        """Users of this secret that can log in with a password that the store does not keep."""
        name = patient.first.username
        kept = list(self.kept(patient).values())
        return [
            user
            for user in self.live.users_with_password([name, name + CLONE_SUFFIX])
            if not any(each.username == user and self.live.works(each) for each in kept)
        ]

    # --- inside

    def _over_the_wire(self, credential: Credential) -> Credential:
        return Credential({**credential.fields, "port": self.wire.port}, credential.password)

    def _create(self, name: str, value: Credential) -> str:
        rooms = self.house.rooms
        text = Value.of_text(value.to_json().reveal())
        name = f"{name}-{secrets.token_hex(4)}"
        created, _ = rooms.database.write(
            lambda tx: rooms.secrets.create(
                tx, SCOPE, Draft(name), rooms.clock.now(), token=str(uuid.uuid4()), value=text
            )
        )
        return created.arn
