"""The rotator of PostgreSQL against real servers: the system's package, and where it matters the wheel's newer one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq, sql

from keywheel.errors import (
    LoginRefused,
    PasswordRejected,
    SecretMalformed,
    TargetError,
    TargetRefused,
    TargetUnavailable,
    TlsRefused,
)
from keywheel.rotator import TIMEOUT, CloningTarget, Credential, LockingTarget
from keywheel.rotators import _libpq
from keywheel.rotators.postgres import AWS_NAME, TARGET, Postgres
from keywheel.strategies import SingleUser
from keywheel.testing import FaultProxy, ManualContext, TargetContract, closed_port, error_of
from tests.rotators.credentials import changed, clone_of, with_password
from tests.support.servers import Authority, PostgresServer, system_binaries

target = Postgres()


@pytest.fixture(scope="module")
def logging_server() -> Iterator[PostgresServer]:
    """A server that writes every statement to its log, and waits for no lock longer than it must."""
    with PostgresServer(settings={"log_statement": "all", "log_min_error_statement": "debug1"}) as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def tls_server(authority: Authority) -> Iterator[PostgresServer]:
    """A server with TLS, its certificate for `localhost`."""
    if system_binaries() is None:
        pytest.skip("the PostgreSQL of the wheel is built without TLS, and the system's is not installed")
    with PostgresServer(authority=authority) as running:
        yield running


class TestContract(TargetContract):
    """Postgres keeps the contract, and no password is in the log of a server that logs every statement."""

    target = Postgres()

    @pytest.fixture(autouse=True)
    def _server(self, logging_server: PostgresServer) -> Iterator[None]:
        self.server = logging_server
        self.seen: list[Credential] = []
        yield
        log = logging_server.log.read_text(errors="replace")
        assert [c.username for c in self.seen if c.password.reveal() in log] == []

    def fresh_credential(self) -> Credential:
        credential = self.server.new_user()
        self.seen.append(credential)
        return credential

    @contextmanager
    def session(self, credential: Credential) -> Iterator[Callable[[], bool]]:
        """A session that says whether its server still answers."""
        with self.server.connect(credential.username, credential.password.reveal()) as session:

            def is_open() -> bool:
                try:
                    session.execute("SELECT 1")
                except psycopg.Error:
                    return False
                return True

            yield is_open

    def superuser(self) -> Credential:
        return self.server.superuser


def test_the_file_declares_a_target_with_both_abilities() -> None:
    """The file's names are what discovery reads, and both strategies can use the target."""
    assert TARGET is Postgres
    assert AWS_NAME == "RDSPostgreSQL"
    assert isinstance(target, CloningTarget)
    assert isinstance(target, LockingTarget)


# --- what is sent --------------------------------------------------------------------------------------------------


def test_the_server_is_told_a_verifier_and_never_the_password(logging_server: PostgresServer) -> None:
    """The statement that sets a password holds a SCRAM-SHA-256 verifier, which the server stores as it is."""
    old = logging_server.new_user()
    new = with_password(old)
    target.set_password(new, by=old)
    stored = logging_server.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [new.username])[0][0]
    log = logging_server.log.read_text()
    assert stored.startswith("SCRAM-SHA-256$")
    assert f"PASSWORD '{stored}'" in log
    assert new.password.reveal() not in log


ODD_NAMES = ["two words", 'qu"ote', "semi;colon", "it's", "ünïcødé", "SELECT", "back\\slash", "a=b", "per%s", "'; --"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_a_role_may_have_is_rotated(server: PostgresServer, name: str) -> None:
    """A user and a database of any name can be rotated by both strategies' verbs."""
    server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    old = server.new_user(name, dbname=name)
    new = with_password(old)
    target.set_password(new, by=old)
    clone = clone_of(new)
    target.clone_user(clone.replace(password=clone.password, username=name), clone, by=server.superuser)
    target.set_password(clone, by=server.superuser)
    assert (target.accepts(new), target.accepts(old), target.accepts(clone)) == (True, False, True)
    target.lock_user(clone, by=server.superuser)
    assert (target.accepts(new), target.accepts(clone)) == (True, False)
    server.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize("name", ["a=b", "postgresql://other.example/x", "host=other"])
def test_a_database_name_is_a_name_and_never_a_connection_string(postgres: PostgresServer, name: str) -> None:
    """A connection string, which libpq can read where a database name stands, is not read as one."""
    credential = changed(postgres.superuser, dbname=name)
    assert "database" in error_of(lambda: target.accepts(credential), TargetRefused).message


@pytest.mark.parametrize("password", ["sp ace", "it's", 'qu"ote', "back\\slash", "ünïcødé", "a=b c='d'", "x" * 500])
def test_any_password_is_set(postgres: PostgresServer, password: str) -> None:
    """A person may have put a password with any characters; it is set and works."""
    old = postgres.new_user()
    new = with_password(old, password)
    target.set_password(new, by=old)
    assert target.accepts(new)


def test_a_read_only_user_changes_its_own_password(postgres: PostgresServer) -> None:
    """default_transaction_read_only, a hasty statement_timeout or acting as another role by default do not matter."""
    old = postgres.new_user()
    group = postgres.new_user()
    name = sql.Identifier(old.username)
    for change in ("default_transaction_read_only TO on", "statement_timeout TO 1", "synchronous_commit TO off"):
        postgres.execute(sql.SQL("ALTER ROLE {} SET " + change).format(name))
    postgres.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group.username), name))
    postgres.execute(sql.SQL("ALTER ROLE {} SET role TO {}").format(name, sql.Identifier(group.username)))
    new = with_password(old)
    target.set_password(new, by=old)
    assert (target.accepts(new), target.accepts(old)) == (True, False)


def test_the_superuser_works_in_the_database_of_the_secret(postgres: PostgresServer) -> None:
    """As in AWS's templates, the superuser connects with the rotated secret's dbname, and its own other fields."""
    credential = changed(postgres.new_user(), dbname="nowhere")
    assert "database" in error_of(lambda: target.set_password(credential, by=postgres.superuser), TargetRefused).message


# --- fields --------------------------------------------------------------------------------------------------------

HOSTS, SSLMODES = ["a.example,b.example", "/var/run/postgresql"], ["prefer", "require"]
WRONG: dict[str, list[Any]] = {"engine": ["mysql"], "host": HOSTS, "port": [0, 65536, "many"], "dbname": [""]}
WRONG |= {"ssl": ["maybe"], "sslmode": SSLMODES}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_field_that_cannot_be_used_is_named(postgres: PostgresServer, name: str, value: object) -> None:
    """The rotation stops before anything is sent, and the message names the field."""
    credential = changed(postgres.superuser, **{name: value})
    for verb in (target.place, target.accepts, partial(target.set_password, by=credential)):
        assert name in error_of(partial(verb, credential), SecretMalformed).message


def test_port_and_database_have_defaults(postgres: PostgresServer) -> None:
    """Without them, it is 5432 and `postgres`, as in AWS's templates; both engines are served."""
    credential = changed(postgres.superuser, port=None, dbname=None, engine="aurora-postgresql")
    assert target.place(credential) == "127.0.0.1:5432"
    assert target.accepts(changed(credential, port=str(postgres.port)))


def test_a_password_with_a_nul_is_malformed(postgres: PostgresServer) -> None:
    """C would end the password, and everything after it, at the NUL."""
    credential = with_password(postgres.superuser, "a\0b")
    assert "password" in error_of(lambda: target.accepts(credential), SecretMalformed).message


def test_libpq_takes_nothing_from_its_environment(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every option that an environment variable could set is given, so the variables have no effect."""
    options = [o for o in pq.Conninfo.get_defaults() if o.envvar and o.keyword != b"service"]
    given = {*_libpq._EXPLICIT, "host", "hostaddr", "port", "user", "password", "dbname"}
    given |= {"sslmode", "sslrootcert", "connect_timeout"}
    assert {o.keyword.decode() for o in options} - given == set()
    for option in options:
        monkeypatch.setenv((option.envvar or b"").decode(), "nonsense")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert target.accepts(postgres.superuser)


def test_a_service_file_adds_nothing_that_matters(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A service named in the environment does not lead elsewhere."""
    (tmp_path / "service").write_text(f"[other]\nhost=127.0.0.1\nhostaddr=127.0.0.1\nport={closed_port()}\nuser=x\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "service"))
    monkeypatch.setenv("PGSERVICE", "other")
    assert target.accepts(postgres.superuser)


# --- TLS -----------------------------------------------------------------------------------------------------------


def test_tls_is_verified_by_the_authority_that_the_secret_names(
    tls_server: PostgresServer, authority: Authority
) -> None:
    """The CA may be a path or the PEM text; `ssl` may be true or absent; a whole rotation runs over it."""
    old = tls_server.new_user()
    for fields in ({}, {"ssl": None}, {"sslrootcert": authority.pem}, {"sslmode": "verify-ca"}):
        assert target.accepts(changed(old, **fields))
    new = with_password(old)
    SingleUser(target).set(new, ManualContext(old))
    assert target.accepts(new)
    used = tls_server.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert used == [(True,)]


REFUSED_TLS: list[tuple[str, dict[str, Any]]] = [
    ("another authority", {"sslrootcert": "OTHER"}),
    ("another authority's text", {"sslrootcert": "OTHER PEM"}),
    ("the system's authorities", {"sslrootcert": None}),
    ("the system's authorities by name", {"sslrootcert": "system", "sslmode": "verify-ca"}),
    ("a host name that is not in the certificate", {"host": "127.0.0.1"}),
    ("a missing file", {"sslrootcert": "/nowhere/ca.pem"}),
    ("a file that is no certificate", {"sslrootcert": "/etc/passwd"}),
    ("a text that is no certificate", {"sslrootcert": "-----BEGIN CERTIFICATE-----\nnonsense"}),
]


@pytest.mark.parametrize("fields", [fields for _, fields in REFUSED_TLS], ids=[name for name, _ in REFUSED_TLS])
def test_a_certificate_that_cannot_be_verified_is_refused(tls_server: PostgresServer, fields: dict[str, Any]) -> None:
    """Every way in which the server is not proved to be the right one is TlsRefused."""
    other = Authority()
    names = {"OTHER": str(other.path), "OTHER PEM": other.pem}
    credential = changed(tls_server.new_user(), **{k: names.get(v, v) for k, v in fields.items()})
    error = error_of(lambda: target.accepts(credential), TlsRefused)
    error_of(lambda: target.set_password(credential, by=credential), TlsRefused)
    assert "localhost" in error.message or "127.0.0.1" in error.message


def test_a_certificate_is_not_asked_for_when_the_secret_says_so(tls_server: PostgresServer) -> None:
    """`sslmode: require` encrypts without verifying, by the secret's own word; `ssl: false` does not even encrypt."""
    credential = changed(tls_server.new_user(), sslrootcert=None, host="127.0.0.1")
    assert target.accepts(changed(credential, sslmode="require"))
    assert target.accepts(changed(credential, ssl=False))
    assert target.accepts(changed(credential, ssl=None, sslmode="disable"))


def test_a_server_without_tls_is_never_spoken_to_in_plain(postgres: PostgresServer) -> None:
    """Where `ssl` is absent and the server has no TLS, nothing but libpq's request for TLS is sent."""
    with FaultProxy(postgres.port) as proxy:
        credential = changed(postgres.superuser, ssl=None, port=proxy.port)
        error_of(lambda: target.accepts(credential), TlsRefused)
        error_of(lambda: target.set_password(credential, by=credential), TlsRefused)
        ssl_request = bytes.fromhex("00000008 04d2162f")
        assert proxy.requests == [ssl_request, ssl_request]
        assert target.accepts(changed(credential, ssl=False))


# --- refusals ------------------------------------------------------------------------------------------------------


def test_a_user_who_cannot_log_in_is_a_no(postgres: PostgresServer) -> None:
    """No such role, NOLOGIN, expired and without password are the answer that the credential does not work."""
    unknown = postgres.credential("nobody at all", "x")
    assert not target.accepts(unknown)
    for attributes in ("NOLOGIN", "VALID UNTIL '2001-01-01'", "PASSWORD NULL"):
        credential = postgres.new_user()
        postgres.execute(sql.SQL("ALTER ROLE {} " + attributes).format(sql.Identifier(credential.username)))
        assert not target.accepts(credential)


def test_a_database_that_does_not_let_the_user_in_says_nothing_about_the_password(postgres: PostgresServer) -> None:
    """A missing database, a closed one and a missing CONNECT right are TargetRefused, not a wrong password."""
    postgres.execute("CREATE DATABASE private")
    postgres.execute("REVOKE CONNECT ON DATABASE private FROM public")
    postgres.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
    for dbname in ("missing", "private", "closed"):
        error_of(partial(target.accepts, changed(postgres.new_user(), dbname=dbname)), TargetRefused)


def test_a_role_without_a_free_connection_is_unavailable(postgres: PostgresServer) -> None:
    """Too many connections say nothing about the password."""
    credential = postgres.new_user(attributes="CONNECTION LIMIT 0")
    error_of(lambda: target.accepts(credential), TargetUnavailable)


def test_what_pg_hba_says_is_not_about_the_password() -> None:
    """No entry is TargetRefused; so is a server that lets everybody in, where a login proves nothing."""
    access = ["host all rejected all reject", "host all trusted all trust", "host missing all all md5"]
    with PostgresServer(access=access) as running:
        for name in ("rejected", "trusted"):
            credential = running.new_user(name)
            error = error_of(partial(target.accepts, credential), TargetRefused)
            assert "pg_hba.conf" in error.hint() + error.message


def test_a_missing_role_is_refused(postgres: PostgresServer) -> None:
    """A superuser who is to change a role that does not exist gets a definite no, from every verb."""
    ghost = postgres.credential("ghost", "x")
    for verb in (target.set_password, target.lock_user):
        error_of(partial(verb, ghost, by=postgres.superuser), TargetRefused)
    error_of(lambda: target.clone_user(ghost, clone_of(ghost), by=postgres.superuser), TargetRefused)
    assert postgres.execute("SELECT 1 FROM pg_roles WHERE rolname = 'ghost_clone'") == []


def test_a_password_that_the_policy_forbids_is_rejected() -> None:
    """A verifier of the user name, which passwordcheck finds out, is PasswordRejected: another may be drawn."""
    with PostgresServer(settings={"shared_preload_libraries": "passwordcheck"}) as running:
        old = running.new_user("a_long_enough_name")
        error_of(lambda: target.set_password(with_password(old, old.username), by=old), PasswordRejected)
        assert target.accepts(old)
        target.set_password(with_password(old, "another"), by=old)


def test_a_server_that_knows_no_verifier_is_refused(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before version 10, a verifier would be taken for a password: nothing is sent."""
    monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 90624)
    old = postgres.new_user()
    error_of(lambda: target.set_password(with_password(old), by=old), TargetRefused)
    assert target.accepts(old)


def test_a_missing_right_is_explained(postgres: PostgresServer) -> None:
    """The hint leads to the list of rights, and the message names place, user and SQLSTATE."""
    nobody, other = postgres.new_user(), postgres.new_user()
    error = error_of(lambda: target.set_password(other, by=nobody), TargetRefused)
    assert "rights" in error.hint()
    assert all(text in error.message for text in (f"127.0.0.1:{postgres.port}", nobody.username, "42501"))


def test_errors_carry_nothing_of_the_driver(postgres: PostgresServer) -> None:
    """The driver's exceptions hold the password, so ours do not refer to them."""
    credential = postgres.new_user()
    wrong = with_password(credential)
    for verb in (
        partial(target.set_password, credential, by=wrong),
        partial(target.set_password, postgres.superuser, by=credential),
        partial(target.accepts, changed(credential, dbname="missing")),
    ):
        error = error_of(verb, TargetRefused)
        assert (error.__cause__, error.__context__) == (None, None)


# --- other languages -----------------------------------------------------------------------------------------------


def test_a_server_that_speaks_german_still_says_no() -> None:
    """A failed login has no code, and its text may be in any language: a no is recognised all the same."""
    with PostgresServer(settings={"lc_messages": "C.UTF-8"}, environment={"LANGUAGE": "de"}) as running:
        old = running.new_user()
        wrong = with_password(old)
        assert (target.accepts(old), target.accepts(wrong)) == (True, False)
        if "fehlgeschlagen" not in running.log.read_text(errors="replace"):
            pytest.skip("this PostgreSQL has no German messages")
        error_of(lambda: target.set_password(old, by=wrong), LoginRefused)
        error_of(lambda: target.accepts(changed(old, dbname="missing")), TargetUnavailable)


def test_words_that_are_not_in_the_table_are_compared_with_a_hopeless_login(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no text known at all, a wrong password is a no, and anything else is unknown."""
    monkeypatch.setattr(_libpq, "_AT_LOGIN", ())
    credential = postgres.new_user()
    assert not target.accepts(with_password(credential))
    error_of(lambda: target.accepts(changed(credential, dbname="missing")), TargetUnavailable)
    error_of(lambda: target.accepts(changed(credential, ssl=True)), TargetUnavailable)


# --- nothing is known ----------------------------------------------------------------------------------------------


def bounded(verb: Callable[[], object]) -> TargetError:
    """The verb's error, which must come before the time is over."""
    began = time.monotonic()
    error = error_of(verb, TargetUnavailable)
    assert time.monotonic() - began < TIMEOUT + 1
    return error


def test_a_host_that_is_not_there_is_unavailable(postgres: PostgresServer) -> None:
    """A refused connection, a name without address and a name that is none are TargetUnavailable."""
    credential = postgres.superuser
    for fields in ({"port": closed_port()}, {"host": "no-such-host.invalid"}, {"host": "x" * 300}):
        error = bounded(partial(target.accepts, changed(credential, **fields)))
        assert target.place(changed(credential, **fields)) in error.message


def test_every_address_of_a_host_is_tried(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one address of a name does not answer, the next is asked; a refused password is not tried again."""
    answers = [(socket.AF_INET, 0, 0, "", (address, 0)) for address in ("127.0.0.3", "127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    assert target.accepts(changed(postgres.superuser, host="many.example"))
    before = postgres.log.read_text().count("password authentication failed")
    assert not target.accepts(changed(with_password(postgres.superuser), host="many.example"))
    assert postgres.log.read_text().count("password authentication failed") == before + 1


def test_a_resolver_that_hangs_does_not_hold_us(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver takes no timeout, so it is asked aside."""

    def hang(*_: object, **__: object) -> list[Any]:
        time.sleep(2)
        return []

    monkeypatch.setattr(_libpq, "TIMEOUT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    bounded(partial(target.accepts, changed(postgres.superuser, host="slow.example")))


def test_a_server_that_takes_connections_and_never_answers_is_unavailable(postgres: PostgresServer) -> None:
    """A black hole holds no verb longer than its time."""
    with FaultProxy(postgres.port) as proxy:
        proxy.black_hole()
        bounded(partial(target.accepts, changed(postgres.superuser, port=proxy.port)))


@pytest.mark.parametrize("request_", [b"pg_is_in_recovery", b"ALTER ROLE", b"COMMIT"])
def test_a_server_that_falls_silent_is_unavailable(postgres: PostgresServer, request_: bytes) -> None:
    """A server that takes a request after the login, and never answers it, holds no verb longer than its time."""
    user = postgres.new_user()
    with FaultProxy(postgres.port) as proxy:
        proxy.lose_reply_to(request_, silent=True)
        bounded(partial(target.set_password, user, by=changed(postgres.superuser, port=proxy.port)))
    assert target.accepts(user)


def test_a_lock_that_is_not_released_in_time_changes_nothing_later(postgres: PostgresServer) -> None:
    """A change that waits for a lock ends with us: it does not land when the lock is released."""
    old = postgres.new_user()
    new = with_password(old)
    with postgres.connect() as blocker:
        blocker.autocommit = False
        blocker.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(old.username)))
        bounded(partial(target.set_password, new, by=postgres.superuser))
        blocker.rollback()
    time.sleep(0.2)
    assert (target.accepts(new), target.accepts(old)) == (False, True)


def test_a_change_whose_reply_is_lost_is_unknown_and_has_landed(postgres: PostgresServer) -> None:
    """The commit is done, its reply is not heard: TargetUnavailable, and the strategy finds it out by asking."""
    old = postgres.new_user()
    with FaultProxy(postgres.port) as proxy:
        proxy.lose_reply_to(b"COMMIT")
        current = changed(old, port=proxy.port)
        pending = with_password(current)
        bounded(partial(target.set_password, pending, by=current))
        proxy.pass_through()
        SingleUser(target).set(pending, ManualContext(current, may_have_landed=True))
        assert (target.accepts(pending), target.accepts(current)) == (True, False)


@pytest.mark.parametrize("after", [0, 1, 9, 60, 150, 400, 600])
def test_a_reply_cut_anywhere_is_unknown(postgres: PostgresServer, after: int) -> None:
    """However much of the reply is heard, a lost connection is TargetUnavailable, and going on ends well."""
    old = postgres.new_user()
    with FaultProxy(postgres.port) as proxy:
        proxy.cut_replies(after)
        current = changed(old, port=proxy.port)
        pending = with_password(current)
        bounded(partial(target.set_password, pending, by=current))
        proxy.pass_through()
        SingleUser(target).set(pending, ManualContext(current, may_have_landed=True))
        assert target.accepts(pending)


def test_a_server_that_stops_or_dies_is_unavailable_until_it_is_back() -> None:
    """Without a server a login is TargetUnavailable; a password that was set is there after the server's crash."""
    with PostgresServer(settings={"fsync": "on"}) as running:
        old = running.new_user()
        new = with_password(old)
        running.stop()
        error_of(lambda: target.accepts(old), TargetUnavailable)
        running.start()
        target.set_password(new, by=old)
        running.kill()
        error_of(lambda: target.accepts(new), TargetUnavailable)
        running.start()
        assert (target.accepts(new), target.accepts(old)) == (True, False)
        running.freeze()
        bounded(partial(target.accepts, new))
        running.thaw()


def test_a_standby_takes_logins_and_no_changes() -> None:
    """A standby answers `accepts`; a change is TargetUnavailable, as a failover may be under way; the hint says why."""
    with PostgresServer() as running:
        credential = running.new_user()
        running.stop()
        (running.directory / "standby.signal").touch()
        running.start()
        assert target.accepts(credential)
        error = error_of(lambda: target.set_password(credential, by=credential), TargetUnavailable)
        assert "standby" in error.hint()
