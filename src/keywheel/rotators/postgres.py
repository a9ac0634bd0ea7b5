r"""PostgreSQL: the password of a role, sent as a SCRAM-SHA-256 verifier made here, so no statement holds it in clear.

The secret is AWS's JSON: `engine` (`postgres`, `aurora-postgresql`), `host`, `username`, `password`, and where they
differ from the defaults `port` (5432), `dbname` (`postgres`), `masterarn` and `ssl`. TLS is on unless `ssl` is false,
with the server's certificate and name verified, and is never turned off to get through. Two keys are our own:
`sslrootcert` (the CA's PEM text, or a path on the machine that rotates; else that machine's own store) and `sslmode`
(`verify-full`, `verify-ca`, `require` or `disable`, where it agrees with `ssl`). Clients must speak SCRAM (libpq 10).

Rights that each strategy needs:

* single user: LOGIN and CONNECT; a role may change its own password. A superuser in `masterarn` is asked only when the
  user cannot log in, and needs what the superuser of alternating users needs to set a password.
* alternating users: the superuser is a real one, or has CREATEROLE and
    * up to PostgreSQL 15: nothing more, unless the user has SUPERUSER, REPLICATION or BYPASSRLS;
    * from PostgreSQL 16: ADMIN OPTION on the user, and on the clone where somebody else made it; CREATEDB, REPLICATION
      and BYPASSRLS where the user has them;
    * where the clone owns something already: the rights of both, as a member that inherits;
    * where the user has settings that only a superuser may make: GRANT SET ON PARAMETER.
* to end old sessions (tag `keywheel:end-sessions`): membership in `pg_signal_backend`, or in the user.

The superuser keeps a number in the comment of each user that it changes (`[keywheel epoch …]`, behind what stands there
already): a server that slept past its lease is then refused by the database itself.

The clone is a member of the user, and its sessions act as the user (`SET role`), so what they make is the user's. What
was granted to the clone itself is not taken away: a session of it uses that only after `SET ROLE NONE`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from keywheel.errors import (
    LoginRefused,
    PasswordRejected,
    SecretMalformed,
    StaleEpoch,
    TargetRefused,
    TargetUnavailable,
)
from keywheel.rotator import NO_FENCE, TIMEOUT, Credential, Fence
from keywheel.rotators._libpq import BUSY, Meaning, dbname_of, failure, in_session, place_of, sslmode_of

if TYPE_CHECKING:
    from psycopg import sql

    from keywheel.rotators._libpq import Session

T = TypeVar("T")
AWS_NAME = "RDSPostgreSQL"


# --- what PostgreSQL answers to a change, and what it means ---------------------------------------------------------

_TOO_LATE = Meaning(TargetUnavailable, "this worker was held up for so long that it changed nothing")
_STANDBY = Meaning(TargetUnavailable, "it is read-only", "`host` must name the primary, not a standby or a reader.")

_TO_CHANGE: Mapping[str, Meaning] = {
    "42501": Meaning(TargetRefused, "a right is missing", "keywheel/rotators/postgres.py lists the rights it needs."),
    "42704": Meaning(TargetRefused, "there is no such role"),
    "0LP01": Meaning(TargetRefused, "the user is a member of its clone", "REVOKE that; the clone becomes the member."),
    "25006": _STANDBY,
    **dict.fromkeys(("23505", "42710"), BUSY),  # somebody made the same role, or the same grant, just now
}
_TO_PASSWORD: Mapping[str, Meaning] = {
    **_TO_CHANGE,
    **dict.fromkeys(("22023", "28"), Meaning(PasswordRejected, "a password policy forbids this value")),
    "0A000": Meaning(TargetRefused, "it takes no verifier", "Allow encrypted passwords in its password policy."),
}


# --- a change ------------------------------------------------------------------------------------------------------

# What holds in our transaction, whatever the settings of the role or the database say.
_LOCAL_SETTINGS = {
    # The owner of the database may make functions and views, and must not slip them under a superuser (CVE-2018-1058).
    "search_path": "pg_catalog, pg_temp",
    # What we are told is committed is on disk.
    "synchronous_commit": "on",
    # Dates are compared as text.
    "datestyle": "ISO",
}
# A change neither waits nor lands when we have given up, or sleep.
_LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
_SELECT_STATE = b"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())"


def _set_local(seconds: float) -> bytes:
    settings = {**_LOCAL_SETTINGS, **dict.fromkeys(_LIMITS, int(seconds * 800))}
    calls = ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in settings.items())
    return f"SELECT pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()), {calls}".encode()


def _change(
    by: Credential, work: Callable[[Session], T], *, fence: Fence = NO_FENCE, until: float | None = None, **options: Any
) -> T:
    """Do `work` in one transaction, logged in as `by`, before the lease of `fence` is over.

    The fence is asked again when the server has told its time: from there on the server itself counts how long we took,
    so a worker that is frozen anywhere changes nothing when it wakes up.
    """
    fence.seconds()  # whoever is too late does not even log in

    def transaction(session: Session) -> T:
        standby, began = session.execute(_SELECT_STATE).fetchone() or (True, 0.0)
        if standby:
            raise failure(_STANDBY, by)
        seconds = fence.seconds()
        session.read_only = False  # the role may have default_transaction_read_only
        with session.transaction():
            row = session.execute(_set_local(seconds)).fetchone()
            if row is None or row[0] - began > seconds:
                raise failure(_TOO_LATE, by)
            return work(session)

    return in_session(by, transaction, **{"meanings": _TO_CHANGE, "until": until, **options})


# The newest epoch stands in the role's comment, behind whatever else stands there.
_EPOCH = re.compile(r"\s*\[keywheel epoch (\d+)\]\Z")
_LOCK_ROLE = b"SELECT pg_advisory_xact_lock((1802201963::bigint << 32) + oid::bigint) FROM pg_roles WHERE rolname = %s"
_SELECT_COMMENT = b"SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = %s"


def _hold(session: Session, user: str, fence: Fence) -> None:
    """Keep the epoch beside the role, in the transaction of the change; refuse one that is older than the last."""
    from psycopg import sql

    if not fence.epoch:
        return
    session.execute(_LOCK_ROLE, (user,))  # whoever comes meanwhile, in the secret's database, reads what we write
    row = session.execute(_SELECT_COMMENT, (user,)).fetchone()
    if row is None:
        return  # there is no such role, as the change itself will say
    found = _EPOCH.search(row[0])
    noted = int(found.group(1)) if found else 0
    if noted > fence.epoch:
        raise StaleEpoch(f"User {user} was changed under epoch {noted} already; this change has epoch {fence.epoch}.")
    if noted < fence.epoch:
        comment = f"{_EPOCH.sub('', row[0])} [keywheel epoch {fence.epoch}]".strip()
        session.execute(_statement("COMMENT ON ROLE {} IS {}", user, sql.Literal(comment)))


def _statement(text: str, *parts: str | sql.Composable) -> sql.Composed:
    """A statement with names, quoted, and finished parts put in."""
    from psycopg import sql

    return sql.SQL(text).format(*(sql.Identifier(part) if isinstance(part, str) else part for part in parts))


# --- two roles with the same rights --------------------------------------------------------------------------------

_ATTRIBUTES = ("LOGIN", "SUPERUSER", "CREATEDB", "CREATEROLE", "INHERIT", "REPLICATION", "BYPASSRLS",
               "CONNECTION LIMIT", "VALID UNTIL")  # fmt: skip
_SELECT_ATTRIBUTES = """
    SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolreplication, rolbypassrls,
           rolconnlimit, coalesce(rolvaliduntil, 'infinity')::text
    FROM pg_roles WHERE rolname = %s"""
_SELECT_MEMBERSHIP = """
    SELECT 1 FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
    WHERE g.rolname = %s AND u.rolname = %s"""
_SELECT_SETTINGS = """
    SELECT coalesce(d.datname, ''), unnest(s.setconfig)
    FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
    WHERE r.rolname = %s"""
_SELECT_DATABASES_OF_OWNER = """
    SELECT DISTINCT CASE WHEN d.datname <> current_database() THEN d.datname ELSE '' END
    FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid LEFT JOIN pg_database d ON d.oid = s.dbid
    WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' AND r.rolname = %s"""
# Their value is a list of quoted names (pg_dump knows them by name, too: variable_is_guc_list_quote).
_LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries")

Corrections = Iterator[tuple[str, "sql.Composed"]]
"""What differs between two roles, and for each difference the statement that ends it."""


def _attributes(session: Session, role: str) -> dict[str, Any]:
    row = session.execute(_SELECT_ATTRIBUTES, (role,)).fetchone()
    return dict(zip(_ATTRIBUTES, row, strict=True)) if row else {}


def _attribute_corrections(session: Session, original: str, clone: str) -> Corrections:
    from psycopg import sql

    wanted, actual = {**_attributes(session, original), "LOGIN": True}, _attributes(session, clone)
    for name in _ATTRIBUTES:
        if wanted[name] == actual[name]:
            continue  # to name SUPERUSER, REPLICATION or BYPASSRLS at all needs a superuser
        if isinstance(wanted[name], bool):
            yield name, _statement(f"ALTER ROLE {{}} {'' if wanted[name] else 'NO'}{name}", clone)
        else:
            yield name, _statement(f"ALTER ROLE {{}} {name} {{}}", clone, sql.Literal(wanted[name]))


def _membership_corrections(session: Session, original: str, clone: str) -> Corrections:
    select, options = _SELECT_MEMBERSHIP, ""
    if session.info.server_version >= 160000:
        select, options = f"{select} AND inherit_option AND set_option", " WITH INHERIT TRUE, SET TRUE"
    if session.execute(select.encode(), (original, clone)).fetchone() is None:
        yield "membership", _statement("GRANT {} TO {}" + options, original, clone)


def _settings(session: Session, role: str) -> dict[tuple[str, str], list[str]]:
    """The role's own settings, by database (empty: every database) and name. Most have a single value."""
    settings = {}
    for dbname, setting in session.execute(_SELECT_SETTINGS, (role,)):
        name, _, value = setting.partition("=")
        values = [value]
        if name in _LISTS:
            parts = re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', value)
            values = [quoted.replace('""', '"') or bare.lower() for quoted, bare in parts] or [""]
        settings[dbname, name] = values
    return settings


def _setting_corrections(session: Session, original: str, clone: str) -> Corrections:
    from psycopg import sql

    wanted, actual = {("", "role"): [original], **_settings(session, original)}, _settings(session, clone)
    for key in sorted(wanted.keys() | actual.keys()):
        dbname, name = key
        values = [original] if name == "role" and wanted.get(key) == ["none"] else wanted.get(key)
        if values == actual.get(key):
            continue
        scope = (clone, dbname) if dbname else (clone,)
        role = _statement("ALTER ROLE {} IN DATABASE {}" if dbname else "ALTER ROLE {}", *scope)
        setting = sql.Identifier(*name.split("."))
        if values is None:
            yield f"setting {name}", _statement("{} RESET {}", role, setting)
        else:
            literals = sql.SQL(", ").join(map(sql.Literal, values))
            yield f"setting {name}", _statement("{} SET {} TO {}", role, setting, literals)


def _owner_corrections(session: Session, original: str, clone: str) -> Corrections:
    if "" in _databases_of_owner(session, clone):
        yield "ownership", _statement("REASSIGN OWNED BY {} TO {}", clone, original)


def _databases_of_owner(session: Session, role: str) -> set[str]:
    """The databases in which the role owns something; this one is the empty name."""
    return {row[0] for row in session.execute(_SELECT_DATABASES_OF_OWNER, (role,))}


_RULES = (_attribute_corrections, _membership_corrections, _setting_corrections, _owner_corrections)


def _make_equal(session: Session, original: str, clone: str) -> set[str]:
    """Make the two roles equal, and return the other databases in which the clone owns something."""
    if not _attributes(session, original):
        raise TargetRefused(f"There is no user {original} to clone.")
    if not _attributes(session, clone):
        session.execute(_statement("CREATE ROLE {} LOGIN", clone))
    for rule in _RULES:
        for _, statement in list(rule(session, original, clone)):
            session.execute(statement)
    left = sorted(name for rule in _RULES for name, _ in rule(session, original, clone))
    if left:
        raise TargetRefused(f"User {clone} still differs from user {original}: {', '.join(left)}.")
    return _databases_of_owner(session, clone)


_END_SESSIONS = b"""
    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE usename = %s AND pid <> pg_backend_pid()"""


# --- the target ------------------------------------------------------------------------------------------------------


class Postgres:
    """A PostgreSQL server, or Aurora's. The superuser's own `host`, `port` and `ssl` say how it is reached."""

    ENGINES: ClassVar[tuple[str, ...]] = ("postgres", "aurora-postgresql")
    EXCLUDE_CHARACTERS: ClassVar[str] = ":/@\"'\\"
    PASSWORD_LENGTH: ClassVar[int] = 32
    USERNAME_LIMIT: ClassVar[int] = 63

    def place(self, credential: Credential) -> str:
        if credential.text("engine") not in self.ENGINES:
            raise SecretMalformed(f"engine in secret JSON must be set to {' or '.join(self.ENGINES)}")
        sslmode_of(credential), dbname_of(credential)
        return "{}:{}".format(*place_of(credential))

    def accepts(self, credential: Credential) -> bool:
        self.place(credential)
        try:
            in_session(credential, lambda session: session.execute("SELECT 1"), dbname=dbname_of(credential))
        except LoginRefused:
            return False
        return True

    def set_password(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        user, by_itself = credential.username, by.username == credential.username

        def change(session: Session) -> None:
            from psycopg import sql

            if session.info.server_version < 100000:  # would take the verifier for a password
                raise TargetRefused("PostgreSQL before version 10 does not know SCRAM-SHA-256.")
            if by_itself:
                session.execute("SELECT set_config('role', 'none', true)")  # it may have a setting to act as another
            else:
                _hold(session, user, fence)
            password = credential.password
            verifier = session.pgconn.encrypt_password(password.reveal().encode(), user.encode(), b"scram-sha-256")
            session.execute(_statement("ALTER ROLE {} PASSWORD {}", user, sql.Literal(verifier.decode())))

        self.place(credential)
        _change(by, change, fence=fence, dbname=dbname_of(credential), meanings=_TO_PASSWORD)

    def bar(self, credential: Credential, *, by: Credential, fence: Fence) -> None:
        self.place(credential)
        _change(
            by, lambda session: _hold(session, credential.username, fence), fence=fence, dbname=dbname_of(credential)
        )

    def clone_user(self, original: Credential, clone: Credential, *, by: Credential) -> None:
        until, home = time.monotonic() + TIMEOUT, dbname_of(by)

        def make_equal(session: Session) -> set[str]:
            return _make_equal(session, original.username, clone.username)

        for dbname in sorted(_change(by, make_equal, dbname=home, until=until)):
            _change(by, make_equal, dbname=dbname, until=until)

    def lock_user(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        def lock(session: Session) -> None:
            _hold(session, credential.username, fence)
            session.execute(_statement("ALTER ROLE {} PASSWORD NULL", credential.username))

        self.place(credential)
        _change(by, lock, fence=fence, dbname=dbname_of(credential))

    def end_sessions(self, credential: Credential, *, by: Credential) -> int:
        self.place(credential)

        def end(session: Session) -> int:
            row = session.execute(_END_SESSIONS, (credential.username,)).fetchone()
            return 0 if row is None else int(row[0])

        return _change(by, end, dbname=dbname_of(credential))


TARGET = Postgres
