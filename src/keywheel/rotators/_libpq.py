"""Logging in by libpq: bounded in time, told apart, and with nothing taken from the environment.

What a target needs that is PostgreSQL or speaks its protocol: `in_session` logs in with a `Credential`, and every
answer becomes one of the contract's errors. It is no target itself (a file whose name begins with `_` is none).
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from keywheel.errors import LoginRefused, SecretMalformed, TargetError, TargetRefused, TargetUnavailable, TlsRefused
from keywheel.rotator import TIMEOUT, Credential
from keywheel.sensitive import Sensitive

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

T = TypeVar("T")


# --- what is answered to a login, and what it means ----------------------------------------------------------------


class Meaning(NamedTuple):
    """An answer in our words."""

    error: type[TargetError]
    reason: str
    hint: str | None = None


_PASSWORD = Meaning(LoginRefused, "the password is refused")
_NO_PASSWORD = Meaning(
    TargetRefused,
    "no password is asked for",
    "Use a password method, such as scram-sha-256, for this user in the server's pg_hba.conf.",
)
_NOBODY = Meaning(TargetUnavailable, "its name is not resolved, or its addresses do not answer")
UNKNOWN = Meaning(TargetUnavailable, "no answer, or none that is understood")
BUSY = Meaning(TargetUnavailable, "it could not do it now")

# libpq tells no SQLSTATE of a failed connection, so here its text is looked at: the server's (auth.c, postinit.c,
# postmaster.c) and libpq's own (fe-connect.c, fe-secure-openssl.c). The first match wins.
_AT_LOGIN: tuple[tuple[str, Meaning], ...] = (
    (r'(password|LDAP|PAM|RADIUS|BSD) authentication failed for user "', _PASSWORD),
    (r'role ".*" (does not exist|is not permitted to log in)$', Meaning(LoginRefused, "the role may not log in")),
    (r".* authentication failed for user |authentication method requirement ", _NO_PASSWORD),
    (r"no pg_hba\.conf entry|pg_hba\.conf rejects", Meaning(
        TargetRefused, "pg_hba.conf has no way in for this user, database and address",
        "Allow the address of the machine that rotates; where TLS is asked for, the secret must not say ssl: false.")),
    (r'database ".*" (does not exist|is not currently)', Meaning(
        TargetRefused, "the database is missing or closed", "Correct `dbname` in the secret.")),
    (r'permission denied for database "', Meaning(TargetRefused, "there is no CONNECT right on the database")),
    (r"unsupported (startup parameter|frontend protocol)", Meaning(TargetRefused, "a pooler refuses our start-up")),
    (r"sorry, too many clients|remaining connection slots|too many connections for", BUSY),
    (r"the database system is |terminating connection", BUSY),
    (r"SSL (SYSCALL )?error: .*(eof|EOF|reset|Success)", UNKNOWN),
    (r"server does not support SSL|received invalid response to SSL", Meaning(TlsRefused, "it has no TLS")),
    (r"server certificate for ", Meaning(
        TlsRefused, "its certificate is for another name", "Put a name that the certificate holds into `host`.")),
    (r"SSL error: |.*root certificate|weak sslmode", Meaning(TlsRefused, "its certificate cannot be verified")),
)  # fmt: skip
_BY_CLASS: Mapping[str, Meaning] = dict.fromkeys(("08", "40", "53", "55", "57", "58", "XX"), BUSY)


# --- the secret's fields, as libpq takes them --------------------------------------------------------------------

# An explicit value keeps libpq from its environment variables, its service file and the files under ~/.postgresql.
_EXPLICIT = {
    "application_name": "keywheel", "channel_binding": "prefer", "client_encoding": "UTF8", "gssdelegation": "0",
    "gssencmode": "disable", "gsslib": "", "krbsrvname": "postgres", "load_balance_hosts": "disable",
    "max_protocol_version": "3.0", "min_protocol_version": "3.0", "options": "", "passfile": os.devnull,
    "replication": "", "require_auth": "scram-sha-256,md5,password", "requirepeer": "", "ssl_max_protocol_version": "",
    "ssl_min_protocol_version": "TLSv1.2", "sslcert": "", "sslcertmode": "disable", "sslcompression": "0",
    "sslcrl": os.devnull, "sslcrldir": "", "sslkey": "", "sslnegotiation": "postgres", "sslsni": "1",
    "target_session_attrs": "any", "tcp_user_timeout": str(int(TIMEOUT * 1000)),
}  # fmt: skip
_SSLMODES = ("verify-full", "verify-ca", "require", "disable")


def sslmode_of(credential: Credential) -> str:
    """How the connection is secured: verified TLS, unless the secret says otherwise."""
    wanted = credential.flag("ssl", default=credential.fields.get("sslmode") != "disable")
    mode = credential.text("sslmode", "verify-full" if wanted else "disable")
    if mode not in _SSLMODES or wanted == (mode == "disable"):
        raise SecretMalformed(f"sslmode in secret JSON must be one of {', '.join(_SSLMODES)}, and agree with ssl")
    return mode


@contextmanager
def _authority(credential: Credential, sslmode: str) -> Iterator[str]:
    """The path of the CA certificates to trust."""
    import ssl
    import tempfile

    text = credential.text("sslrootcert", "system")
    if "-----BEGIN CERTIFICATE-----" in text:
        with tempfile.NamedTemporaryFile("w", prefix="keywheel-", suffix=".pem") as file:
            file.write(text)
            file.flush()
            yield file.name
    elif text != "system":
        yield text
    elif sslmode.startswith("verify"):
        # libpq's `system` is OpenSSL's built-in directory, which in the driver's wheel is one that no machine has.
        yield ssl.get_default_verify_paths().cafile or "system"
    else:
        yield f"{os.devnull}/none"  # empty would mean ~/.postgresql/root.crt


def place_of(credential: Credential) -> tuple[str, int]:
    """Host and port."""
    host, port = credential.text("host"), credential.number("port", 5432)
    if "," in host or host.startswith(("/", "@")):  # to libpq a list of hosts, or a Unix socket, which knows no TLS
        raise SecretMalformed("host in secret JSON must be one host name or address")
    if not 0 < port < 65536:
        raise SecretMalformed("port in secret JSON must be between 1 and 65535")
    return host, port


def dbname_of(credential: Credential) -> str:
    """The database to connect to."""
    return credential.text("dbname", "postgres")


# --- logging in ------------------------------------------------------------------------------------------------------


class _No(NamedTuple):
    """A login that failed: what was said, and whether the server said it, having asked for the password."""

    said: str
    after_password: bool


def failure(meaning: Meaning, credential: Credential, state: str = "") -> TargetError:
    """The error for an answer to `credential`: it names the place, the user and the SQLSTATE."""
    host, port = place_of(credential)
    code = f" (SQLSTATE {state})" if state else ""
    who = f"PostgreSQL at {host}:{port}, user {credential.username}"
    return meaning.error(f"{who}: {meaning.reason}{code}.", hint=meaning.hint)


def _addresses(host: str, port: int, until: float) -> list[str]:
    """The addresses of `host`; none when the resolver fails or does not answer in time."""
    found: SimpleQueue[list[str]] = SimpleQueue()

    def resolve() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers = []
        found.put(list(dict.fromkeys(str(answer[4][0]) for answer in answers)))

    threading.Thread(target=resolve, daemon=True).start()  # the resolver itself takes no timeout
    with suppress(Empty):
        return found.get(timeout=max(0.0, until - time.monotonic()))
    return []


def _try_login(fields: Mapping[str, Any], password: Sensitive[str]) -> Session | _No:
    import psycopg

    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}  # to this libpq
    explicit: dict[str, Any] = {name: value for name, value in _EXPLICIT.items() if name in known}
    try:
        return psycopg.connect(
            **explicit, **fields, password=password.reveal(), autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        said = re.sub(r"\A.*?, port \d+ failed: ", "", str(error), flags=re.DOTALL).partition("\n")[0]
        severity, by_server, words = said.partition(":  ")  # libpq sets what the server says, and only that, like this
        asked = bool(by_server and getattr(error.pgconn, "used_password", False))
        return _No(words or severity, after_password=asked)


def _login(credential: Credential, dbname: str, until: float) -> Session:
    """A fresh login, at the first address that answers."""
    (host, port), sslmode = place_of(credential), sslmode_of(credential)
    if "\0" in credential.password.reveal():
        raise SecretMalformed("password in secret JSON must not hold a NUL character")
    fields = {"host": host, "port": port, "user": credential.username, "dbname": dbname, "sslmode": sslmode}
    meaning = _NOBODY
    addresses = _addresses(host, port, until)
    with _authority(credential, sslmode) as authority:
        for tried, address in enumerate(addresses):
            left = until - time.monotonic()
            if left < 2:  # the driver waits for two seconds at least
                break
            fields |= {"hostaddr": address, "sslrootcert": authority}
            fields |= {"connect_timeout": max(2, int(left / (len(addresses) - tried)))}
            answer = _try_login(fields, credential.password)
            if not isinstance(answer, _No):
                return answer
            meaning = _meaning(answer, fields)
            if meaning.error is not TargetUnavailable:
                break
    raise failure(meaning, credential)


def _meaning(answer: _No, fields: Mapping[str, Any]) -> Meaning:
    """What a failed login means, also in a language (`lc_messages`), or from a pooler, that the table does not know.

    A server that asked for the password, and then says the same to a password that nobody has, refuses the password.
    """
    for pattern, meaning in _AT_LOGIN:
        if re.match(pattern, answer.said):
            return meaning
    if answer.after_password:
        again = _try_login({**fields, "connect_timeout": 2}, Sensitive(secrets.token_urlsafe(32)))
        if again == answer:
            return _PASSWORD
        if not isinstance(again, _No):
            again.close()
    return UNKNOWN


# --- a session -----------------------------------------------------------------------------------------------------


@contextmanager
def _cut_off_at(until: float, session: Session) -> Iterator[None]:
    """Shut the connection at that time: a server that takes a request and never answers must not hold us."""
    with socket.socket(fileno=os.dup(session.fileno())) as twin:

        def shut() -> None:
            with suppress(OSError):
                twin.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, until - time.monotonic()), shut)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def in_session(
    credential: Credential,
    work: Callable[[Session], T],
    *,
    dbname: str,
    until: float | None = None,
    meanings: Mapping[str, Meaning] = _BY_CLASS,
) -> T:
    """Log in, do `work`, leave, all before `until` (default: in `TIMEOUT` seconds).

    An error of the driver becomes one of the contract's, by its SQLSTATE or the class of that (two characters), looked
    up in `meanings`. What is missing there is a no as well: an error ends the transaction, so nothing was done. Without
    any SQLSTATE the connection was lost, and nothing is known.

    Raises:
        LoginRefused, TlsRefused, TargetRefused, TargetUnavailable, SecretMalformed: as the contract has them.
    """
    import psycopg

    until = time.monotonic() + TIMEOUT if until is None else until
    session = _login(credential, dbname, until)
    try:
        with _cut_off_at(until, session):
            return work(session)
    except psycopg.Error as error:
        state = error.sqlstate or ""
    finally:
        session.close()
    # Raised out here, ours does not refer to the driver's exception, which holds the password.
    no = Meaning(TargetRefused, "it refuses the statement") if state else UNKNOWN
    known = {**_BY_CLASS, **meanings}
    raise failure(known.get(state) or known.get(state[:2]) or no, credential, state)
