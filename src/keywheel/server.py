"""The composition root: settings → rooms → API and engine. And the processes they run in.

The parent binds the socket, forks the children and watches them; it opens no database. Each API worker is a process,
and the engine is one beside them, so that a rotation never delays a request. A child whose parent is gone ends too.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
import ssl
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO

import structlog
import uvicorn

from keywheel.access.access_keys import AccessKeys
from keywheel.access.audit import checkpoints
from keywheel.access.audit.log import AuditLog, open_stream, public_key_path
from keywheel.access.audit.stream import Checkpoint
from keywheel.access.door import Door
from keywheel.access.sessions import Sessions
from keywheel.access.sigv4 import Request, sign
from keywheel.api.app import App
from keywheel.api.connections import Connection
from keywheel.api.rooms import Rooms
from keywheel.clock import Clock, SystemClock
from keywheel.config import Settings
from keywheel.credentials import read_credentials
from keywheel.db.database import Database, open_database
from keywheel.db.schema import migrate
from keywheel.errors import ConfigurationError
from keywheel.functions.invoke import LambdaCredentials, LambdaEndpoint
from keywheel.functions.local import LocalFunctions, Site
from keywheel.keys.keyring import Keys
from keywheel.keys.root.ring import RootRing
from keywheel.keys.root.source import RootSource
from keywheel.keys.root.watch import RootWatch
from keywheel.keys.signing import signing_key
from keywheel.keys.stores.backends import Backends, ProxyPlace, TokenPlace
from keywheel.keys.stores.xks import Credential, Headers
from keywheel.processes import Child, on_terminate, supervise
from keywheel.rotation.engine import Rotations
from keywheel.rotation.keys.aliases import AliasRotations
from keywheel.rotation.keys.engine import KeyEngine
from keywheel.rotation.outbox import Outbox
from keywheel.rotation.permission import check_copy
from keywheel.rotation.runners import Runners
from keywheel.rotation.sentinel import Round
from keywheel.rotation.slots import Limits
from keywheel.rotation.timekeeper import Caution
from keywheel.rotation.worker import Engine, Pace
from keywheel.secrets.ledger import Secrets
from keywheel.secrets.listing import Listing
from keywheel.secrets.replicas import Replicas
from keywheel.sensitive import Sensitive
from keywheel.xks.app import XksProxyApp
from keywheel.xks.registration import RegistrationFile

_GRACEFUL_SECONDS = 20
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class House:
    """Every room, built."""

    rooms: Rooms
    keys: Keys
    access_keys: AccessKeys
    door: Door
    settings: Settings

    def engine(self, name: str) -> Engine:
        """The rotation engine over these rooms, known to the store as `name`."""
        settings = self.settings
        rounds = Round(settings.sentinel_seconds or None, settings.sentinel_repairs)
        limits = Limits(settings.target_concurrency, settings.account_concurrency)
        care = Caution(settings.clock_hold_seconds, settings.mass_due, settings.mass_due_spread_seconds)
        workers = settings.rotation_workers
        pace = Pace(lease=settings.lease_seconds, workers=workers, limits=limits, rounds=rounds, care=care)
        rooms = self.rooms
        lease = timedelta(seconds=settings.lease_seconds)
        keys = KeyEngine(rooms.database, rooms.keys, rooms.clock, lease=lease)
        return Engine(
            rooms.database,
            rooms.secrets,
            rooms.rotations,
            rooms.runners,
            rooms.clock,
            name=name,
            pace=pace,
            keys=keys,
        )

    def app(self, audit: AuditLog | None = None) -> App:
        """The API over these rooms, which tells everything to `audit`."""
        limits, proxy = self.settings, None
        if limits.xks:
            file = RegistrationFile(limits.xks_path)
            proxy = XksProxyApp(file, self.rooms.database, self.keys, self.rooms.clock, audit)
        return App(
            self.rooms,
            self.door,
            audit,
            body_limit=limits.body_limit,
            request_seconds=limits.request_seconds,
            beside=proxy,
        )

    def audit(self, process: str) -> AuditLog:
        """The audit log of a process of this server: a stream of its own.

        Raises:
            ConfigurationError: another process has it, or it cannot be written.
        """
        return open_audit(self.settings, self.rooms.database, self.keys, process)

    def close(self) -> None:
        """Let go of everything."""
        if self.rooms.runners.endpoint is not None:
            self.rooms.runners.endpoint.close()
        self.keys.custom.close()
        self.rooms.database.close()


def build(
    settings: Settings,
    root: Sensitive[bytes] | RootRing,
    *,
    clock: Clock | None = None,
    around: Callable[[Database], Database] | None = None,
    runners: Runners | None = None,
    address: str | None = None,
) -> House:
    """Open the store and build the rooms. `around` and `runners` are where tests put their fuses.

    `address` is where the API is reached by the rotation functions that this process runs.

    Raises:
        ConfigurationError, KeyStoreError: the store cannot be opened, the root key is not its own, or a name of a
            function is taken.
    """
    own = clock or SystemClock()  # signatures are dated by callers, who know nothing of the store
    database = open_database(settings.database_url)
    database = database if around is None else around(database)
    keys = Keys(root, _backends(settings, own))
    try:
        with database.point() as tx:
            keys.check(tx)
        clock = clock or database.clock()
    except Exception:
        database.close()
        raise
    secrets, sessions = Secrets(keys), Sessions(keys)
    rooms = Rooms(
        database=database,
        clock=clock,
        keys=keys,
        secrets=secrets,
        listing=Listing(),
        replicas=Replicas(secrets, check_copy),
        rotations=Rotations(secrets, lease=timedelta(seconds=settings.lease_seconds)),
        key_rotations=AliasRotations(keys),
        runners=runners
        or Runners(_endpoint(settings, own), local=_functions(settings, database, sessions, own, address)),
        sign=lambda message: database.write(lambda tx: signing_key(tx, keys)).sign(message),
    )
    access_keys = AccessKeys(keys)
    return House(
        rooms,
        keys,
        access_keys,
        Door(database, access_keys, own, sessions, secure=settings.tls_cert is not None),
        settings,
    )


def open_audit(settings: Settings, database: Database, keys: Keys, process: str) -> AuditLog:
    """The audit log of a process that works on a data directory. Its streams are named after the directory's node.

    Raises:
        ConfigurationError: another process has the stream, or it cannot be written.
    """
    key = database.write(lambda tx: signing_key(tx, keys))
    directory = settings.directory / "audit"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        public_key_path(directory).write_text(key.public_pem(), encoding="ascii")
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be written: {error.strerror}.", hint="Nothing is served that cannot be audited."
        ) from None
    stream = open_stream(directory, process, key.sign)

    def publish(checkpoint: Checkpoint, line: str) -> None:
        database.write(lambda tx: checkpoints.keep(tx, checkpoint.stream, checkpoint.size, line))

    seconds = settings.audit_checkpoint_seconds
    return AuditLog(stream, SystemClock(), every=seconds, durable=settings.audit_sync, publish=publish)


def serve(settings: Settings, ask: Callable[[str], Sensitive[str]]) -> int:
    """Run until SIGTERM or SIGINT; the exit code. `ask` gives a passphrase or PIN that is in no file.

    Raises:
        ConfigurationError, KeyStoreError: it cannot start as it was told to.
    """
    settings.check()
    _check_tls(settings)
    if settings.xks:
        RegistrationFile(settings.xks_path)
    os.umask(0o077)
    log_to_stderr(settings.log_level)
    root = RootSource.of(settings, ask).ring()
    migrate(settings.database_url)
    house = build(settings, root)  # a wrong root key, an unreachable store or a full disk is said here, once
    house.rooms.runners.check()
    lock = None if settings.role == "api" else engine_lock(settings)
    house.audit("start").close()
    house.close()
    listener = None if settings.role == "engine" else _listen(settings)
    children = []
    if listener is not None:
        children += [
            Child(f"api-{n}", partial(_run_api, settings, root, listener, f"api-{n}"))
            for n in range(1, settings.workers + 1)
        ]
    if lock is not None:
        name = lock.read()
        address = settings.functions_endpoint or _own_address(settings, listener)
        children.append(Child("engine", lambda: _run_engine(settings, root, name, address)))
    return supervise(children, ready=lambda: _announce(settings, listener))


def engine_lock(settings: Settings) -> IO[str]:
    """The engine's own lock on the data directory; reading it gives the engine's lasting name.

    The name lasts as long as the machine runs, and belongs to this very file: an engine takes back at its start what
    its namesake held. A copy of the directory, on this machine or another, has another name, and so has the directory
    itself after the machine was started again; then the leases end by themselves.

    Raises:
        ConfigurationError: another engine runs on this directory, or there is no such directory.
    """
    path = settings.directory / "engine.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be opened: {error.strerror}.", hint="Name the directory with --data."
        ) from None
    file = os.fdopen(descriptor, "r+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationError(
            f"Another keywheel engine runs on {settings.directory}.", hint="Stop it first, or use --role api."
        ) from None
    name = _engine_name(file.fileno())
    if file.read() != name:
        file.seek(0)
        file.truncate()
        file.write(name)
        file.flush()
        os.fsync(file.fileno())
    file.seek(0)
    return file


def _engine_name(lock: int) -> str:
    """A name that only the holder of this lock has: of the machine, its present start, and the very file."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"engine-{uuid.uuid4()}"  # nothing to know ourselves by: a name for this once
    file = os.fstat(lock)
    return f"engine-{uuid.uuid5(uuid.UUID(start), f'{socket.gethostname()} {file.st_dev} {file.st_ino}')}"


class _Libraries(logging.Handler):
    """What a library has to say, without its words: they may quote what a client sent."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        error = None if kind is None else kind.__name__
        structlog.get_logger("keywheel.server").error("library", logger=record.name, error=error)


def log_to_stderr(level: str) -> None:
    """One JSON object a line. Only ids, codes and class names are ever logged."""
    logging.basicConfig(handlers=[_Libraries(logging.ERROR)], level=logging.ERROR, force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # Not a print, which writes a line and its end apart where output is unbuffered: there are several processes.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _run_api(settings: Settings, root: RootRing, listener: socket.socket, process: str) -> None:
    house = build(settings, root)
    audit = house.audit(process)
    app = house.app(audit)
    config = uvicorn.Config(
        app,
        http=Connection,
        loop="uvloop",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    server = uvicorn.Server(config)
    # uvicorn has handlers of its own only while it runs. A signal before that must not be lost; one that it raises
    # again when it has ended must not end us before the store is closed.
    on_terminate(lambda: setattr(server, "should_exit", True))
    try:
        with RootWatch(house.rooms.database, house.keys, process):
            server.run(sockets=[listener])
    finally:
        app.close()
        audit.close()
        house.close()


def _run_engine(settings: Settings, root: RootRing, name: str, address: str | None) -> None:
    shutil.rmtree(_scratch(settings), ignore_errors=True)  # what functions left that a crash cut off
    house = build(settings, root, address=address)
    audit = house.audit("engine")
    outbox = Outbox(house.rooms.database, audit)
    engine = house.engine(name)
    on_terminate(engine.stop)
    try:
        with RootWatch(house.rooms.database, house.keys, "engine"), outbox:
            engine.run()
    finally:
        audit.close()
        house.close()


def _check_tls(settings: Settings) -> None:
    """Load the certificate once where a person is told what is wrong with it."""
    if settings.tls_cert is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ConfigurationError(
            f"The TLS certificate and key cannot be used: {reason}.",
            hint="--tls-cert and --tls-key must be PEM files that belong together, the key without a passphrase.",
        ) from None


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}.", hint="Choose another --port."
        ) from None
    listener.setblocking(False)
    return listener


def _announce(settings: Settings, listener: socket.socket | None) -> None:
    log = structlog.get_logger("keywheel.server")
    if listener is None:
        log.info("server.started", role=settings.role, data=settings.data)
        return
    log.info("server.started", role=settings.role, data=settings.data, url=_url(settings, listener))


def _url(settings: Settings, listener: socket.socket, host: str | None = None) -> str:
    own, port = listener.getsockname()[:2]
    scheme, host = "http" if settings.tls_cert is None else "https", host or own
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _own_address(settings: Settings, listener: socket.socket | None) -> str | None:
    """Where this machine reaches this server."""
    if listener is None:
        return None
    host = listener.getsockname()[0]
    return _url(settings, listener, {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host))  # noqa: S104 - it is replaced


def _scratch(settings: Settings) -> Path:
    return settings.directory.absolute() / "functions"


def _private(settings: Settings) -> tuple[str, ...]:
    """What a rotation function must not see, although it may run as the server's own user."""
    named = (settings.passphrase_file, settings.tls_key, settings.lambda_credentials)
    paths = [settings.directory, settings.root_key_path, settings.xks_path, *(Path(file) for file in named if file)]
    return tuple(str(path.absolute()) for path in paths)


def _functions(
    settings: Settings, database: Database, sessions: Sessions, clock: Clock, address: str | None
) -> LocalFunctions | None:
    """The functions of the settings; where only the API is served, they are known by their names alone."""
    if not settings.functions:
        return None
    site = None if address is None else Site(address, _scratch(settings), _private(settings))
    here = settings.role != "api"
    return LocalFunctions(settings.functions, database, sessions, clock, site, here=here)


def _backends(settings: Settings, clock: Clock) -> Backends:
    def signed(credential: Credential, region: str, path: str, headers: Headers, body: bytes) -> Headers:
        return sign(
            Request("POST", path.encode(), b"", headers, body),
            access_key_id=credential.access_key_id,
            secret=credential.secret,
            region=region,
            service="kms-xks-proxy",
            now=clock.now(),
        )

    tokens, proxies = settings.hsm or {}, settings.xks_proxies or {}
    return Backends(
        {cluster: TokenPlace(each.module, each.token) for cluster, each in tokens.items()},
        {f"https://{host}": ProxyPlace(each.address, each.ca, each.timeout) for host, each in proxies.items()},
        signed,
        clock,
    )


def _endpoint(settings: Settings, clock: Clock) -> LambdaEndpoint | None:
    if settings.lambda_endpoint is None:
        return None
    credentials = None
    if settings.lambda_credentials is not None:
        credentials = LambdaCredentials(*read_credentials(Path(settings.lambda_credentials)))
    return LambdaEndpoint(settings.lambda_endpoint, credentials, clock)
