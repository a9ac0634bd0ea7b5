"""Where it happens: a store, a target with live roles, three whole servers between them, and gates in front of both."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from keywheel.arn import Scope
from keywheel.config import Settings
from keywheel.credentials import read_credentials
from keywheel.keys.root.source import RootSource
from keywheel.rotator import Credential
from keywheel.server import House, build
from tests.benchmarks.bare_sql import FIRST_PASSWORD, create_users
from tests.benchmarks.load import drive
from tests.benchmarks.processes import family
from tests.benchmarks.workloads import Signer
from tests.chaos.gates import Gates
from tests.soak.client import Client
from tests.support.keywheel_server import ACCOUNT, KEYWHEEL, REGION, KeywheelServer, run_keywheel
from tests.support.servers import HOST, PostgresServer
from tests.support.stores import postgres_url

SCOPE = Scope(ACCOUNT, REGION)
STRATEGIES = ("single-user", "alternating-users")
REPLICAS = 3
TARGETS = ("target-0", "target-1", "target-2")  # gates to one server: places with limits of their own
_HANDS = "4"  # rotations at a time of an engine: as many as a place has, so that no engine does it all
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:keywheel-postgres-"
_DATABASE = "keywheel"
_ROOT = Path(__file__).resolve().parents[2]
# Aliases of keys: such as rotate in place, and such as rotate behind their aliases.
SYMMETRIC = tuple(f"alias/chaos/symmetric-{number}" for number in range(4))
SIGNING = tuple(f"alias/chaos/signing-{number}" for number in range(3))
MAC = tuple(f"alias/chaos/mac-{number}" for number in range(3))
SPECS = (
    dict.fromkeys(SYMMETRIC, ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
    | dict.fromkeys(SIGNING, ("ECC_NIST_P256", "SIGN_VERIFY"))
    | dict.fromkeys(MAC, ("HMAC_256", "GENERATE_VERIFY_MAC"))
)
_LEAD = 3  # seconds that a public key is in the key set before it signs; a server keeps the set for one
_SILENCE = 5.0  # seconds that a client waits for an answer: it then asks another replica

# Who has held which rotation under which fence, told by the store itself and not by what is tested.
_LOG_OF_HOLDERS = """
CREATE TABLE chaos_held (
    n bigint GENERATED ALWAYS AS IDENTITY, secret_id bigint, fence bigint, holder text, at timestamptz);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_held (secret_id, fence, holder, at)
    VALUES (NEW.secret_id, NEW.fence, NEW.holder, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_note AFTER UPDATE ON rotation FOR EACH ROW
    WHEN (NEW.holder IS NOT NULL AND (NEW.holder, NEW.fence) IS DISTINCT FROM (OLD.holder, OLD.fence))
    EXECUTE FUNCTION chaos_note();
"""


class Replica:
    """One of the servers, with its own way to the store."""

    def __init__(self, number: int, path: Path, store: str, lease: float, mutant: str | None) -> None:
        path.mkdir()
        self.number = number
        self.gate = f"store {number}"
        environment = {
            "KEYWHEEL_LEASE_SECONDS": str(lease),
            "KEYWHEEL_ROTATION_WORKERS": _HANDS,
            "KEYWHEEL_ROOT_KEY_FILE": str(path.parent / "root.key"),  # one for all, as on a disk that they share
            "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(_ROOT)))),
        }
        program = (KEYWHEEL,) if mutant is None else (sys.executable, "-m", "tests.chaos.mutants", mutant)
        self.server = KeywheelServer(path, store, environment=environment, program=program)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.url.rpartition(":")[2])

    @property
    def engine(self) -> str:
        """The name by which the store knows its engine."""
        return (self.server.data / "engine.lock").read_text(encoding="ascii")

    def members(self) -> list[int]:
        """Its processes: the parent, the API, the engine."""
        return family(self.server.pid)

    def send(self, number: signal.Signals, pids: list[int]) -> None:
        """Send some of them a signal."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Site:
    """Everything, running. Made by `building`.

    `house` is a view of the store that no fault touches; `target` is spoken to directly, too.
    """

    def __init__(
        self, store: PostgresServer, target: PostgresServer, gates: Gates, replicas: list[Replica], house: House
    ) -> None:
        self.store = store
        self.target = target
        self.gates = gates
        self.replicas = replicas
        self.house = house
        self.signer = Signer(*read_credentials(replicas[0].server.data / "credentials"))
        self.roles: dict[str, str] = {}  # the strategy of each
        self.plain: list[str] = []
        self.first_keys: dict[str, str] = {}  # of each alias

    def client(self, replica: Replica) -> Client:
        """A connection to a replica.

        Raises: OSError: it takes none.
        """
        return Client(replica.port, self.signer, lambda: 0.0, silence=_SILENCE)

    def furnish(self, *, secrets: int, roles: int) -> None:
        """Make the roles and every secret."""
        self.store.execute(_LOG_OF_HOLDERS, dbname=_DATABASE)
        self.plain = [f"plain/{number:05d}" for number in range(secrets)]
        self.roles = {f"role{number:04d}": STRATEGIES[number % 2] for number in range(roles)}
        create_users(self.target, list(self.roles))
        self._make_keys()
        superuser = self.target.superuser
        values = {gate: self._value(superuser, superuser.password.reveal(), gate) for gate in TARGETS}
        for number, role in enumerate(self.roles):
            gate = TARGETS[number % len(TARGETS)]
            user = self.target.credential(role, FIRST_PASSWORD)
            values[role] = self._value(user, FIRST_PASSWORD, gate, masterarn=gate)
        values |= dict.fromkeys(self.plain, "0")
        members = [
            {"Name": name, "SecretString": value, "ClientRequestToken": str(uuid.uuid4())}
            | ({"KmsKeyId": SYMMETRIC[number % len(SYMMETRIC)]} if number % 2 else {})
            for number, (name, value) in enumerate(values.items())
        ]
        port = self.replicas[0].port
        for begin in range(0, len(members), 1000):  # a signature is good for five minutes
            requests = self.signer.requests("CreateSecret", members[begin : begin + 1000], port)
            sample = drive(port, requests, connections=8, seconds=600.0, once=True)
            if sample.refused:
                raise RuntimeError(f"no secrets: {sample.first_refusal.decode()[-300:]}")

    def _make_keys(self) -> None:
        client = self.client(self.replicas[0])
        for alias, (spec, usage) in SPECS.items():
            made = client.call("TrentService.CreateKey", {"KeySpec": spec, "KeyUsage": usage}, service="kms")
            key_id = self.first_keys[alias] = made["KeyMetadata"]["KeyId"]
            client.call("TrentService.CreateAlias", {"AliasName": alias, "TargetKeyId": key_id}, service="kms")
            if alias in SIGNING:
                client.call(
                    "keywheel.ScheduleAliasRotation", {"AliasName": alias, "Published": True, "LeadSeconds": _LEAD}
                )
        client.close()

    def _value(self, credential: Credential, password: str, gate: str, **more: str) -> str:
        return json.dumps({**credential.fields, "port": self.gates.ports[gate], "password": password, **more})

    # --- what can be seen beside the replicas

    def logs_in(self, credential: Credential) -> bool:
        """Whether the target lets it in, asked directly.

        Raises: psycopg.OperationalError: it does not answer.
        """
        import psycopg

        try:
            self.target.connect(credential.username, credential.password.reveal()).close()
        except psycopg.OperationalError as error:
            if "authentication failed" in str(error):
                return False
            raise
        return True

    def kept(self, name: str) -> tuple[str | None, dict[str, Credential]]:
        """The version that AWSCURRENT names, and every value that is kept, the newest first."""
        rooms = self.house.rooms
        found = {}
        with rooms.database.read() as tx:
            secret = rooms.secrets.find(tx, SCOPE, name)
            current = rooms.secrets.labels(tx, secret).get("AWSCURRENT")
            for version_id in rooms.secrets.versions_with_value(tx, secret):
                version = rooms.secrets.version(tx, secret, version_id)
                value = None if version is None else rooms.secrets.open(tx, secret, version)
                if value is not None:
                    found[version_id] = Credential.parse(value.text())
        return current, found

    @contextmanager
    def looking(self) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
        """A session of the store that runs one statement after the other."""
        with self.store.connect(dbname=_DATABASE) as session:
            yield lambda statement: session.execute(statement.encode()).fetchall()

    def environment(self, replica: Replica) -> dict[str, str]:
        """For commands that ask a replica, or open the store themselves, by a way that no gate shuts."""
        return {
            "KEYWHEEL_ENDPOINT_URL": replica.server.url,
            "KEYWHEEL_DATA": str(self.replicas[0].server.data),
            "KEYWHEEL_DATABASE": postgres_url(self.store, _DATABASE),
            "KEYWHEEL_ROOT_KEY_FILE": str(self.replicas[0].server.data.parents[1] / "root.key"),
        }

    def asked_store(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return self.store.execute(statement, dbname=_DATABASE)


@contextmanager
def building(*, lease: float, mutant: str | None = None) -> Iterator[Site]:
    """Start everything, or servers that a mutant is installed in; end it with the context."""
    with ExitStack() as stack:
        path = Path(tempfile.mkdtemp(prefix="keywheel-chaos-"))
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        store = stack.enter_context(PostgresServer(settings={"max_connections": "200"}))
        target = stack.enter_context(PostgresServer(settings={"max_connections": "200"}))
        store.execute(f"CREATE DATABASE {_DATABASE}")
        upstreams = {f"store {number}": store.port for number in range(REPLICAS)} | dict.fromkeys(TARGETS, target.port)
        gates = stack.enter_context(Gates(upstreams))
        direct = postgres_url(store, _DATABASE)
        replicas: list[Replica] = []
        for number in range(REPLICAS):
            port = gates.ports[f"store {number}"]
            url = direct.replace(f"@{HOST}:{store.port}/", f"@{HOST}:{port}/")
            replicas.append(Replica(number, path / str(number), url, lease, mutant))
        first = replicas[0].server
        done = run_keywheel("init", "--data", str(first.data), "--database", direct)
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        (first.data / "root.key").rename(path / "root.key")
        for replica in replicas[1:]:  # the access key is the same
            shutil.copytree(first.data, replica.server.data, ignore=shutil.ignore_patterns("audit", "engine.lock"))
        for replica in replicas:
            stack.callback(replica.server.kill)
            replica.server.start()
        settings = Settings(data=str(first.data), database=direct, root_key_file=str(path / "root.key"))
        house = build(settings, RootSource.of(settings).ring())
        stack.callback(house.close)
        yield Site(store, target, gates, replicas, house)
