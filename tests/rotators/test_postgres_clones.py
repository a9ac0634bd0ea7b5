"""PostgreSQL's `clone_user`: two roles with the same rights, whoever is the superuser, on old and new servers."""

from __future__ import annotations

import secrets
from typing import Any

import psycopg
import pytest
from psycopg import sql

from keywheel.errors import TargetRefused
from keywheel.rotator import CLONE_SUFFIX, Credential
from keywheel.rotators import postgres as module
from keywheel.rotators.postgres import Postgres
from keywheel.testing import error_of
from tests.rotators.credentials import changed, clone_of
from tests.support.servers import PostgresServer

target = Postgres()


def session_of(server: PostgresServer, credential: Credential) -> psycopg.Connection[Any]:
    return server.connect(credential.username, credential.password.reveal(), credential.text("dbname"))


def cloned(server: PostgresServer, credential: Credential) -> Credential:
    """The working clone of a user."""
    clone = clone_of(credential)
    target.clone_user(credential, clone, by=server.superuser)
    target.set_password(clone, by=server.superuser)
    return clone


def test_rights_granted_and_revoked_after_cloning_are_the_clone_s_at_once(server: PostgresServer) -> None:
    """The clone's sessions act as the user, so no copy of rights can go stale."""
    original = server.new_user()
    clone = cloned(server, original)
    name = sql.Identifier(original.username)
    table = sql.Identifier(f"table_{original.username}")
    server.execute(sql.SQL("CREATE TABLE {} (x int)").format(table))
    read = sql.SQL("SELECT * FROM {}").format(table)
    with session_of(server, clone) as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(read)
        server.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, name))
        session.execute(read)
        server.execute(sql.SQL("REVOKE SELECT ON {} FROM {}").format(table, name))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(read)


@pytest.mark.parametrize("reset", [None, "DISCARD ALL", "RESET ROLE", "RESET ALL", "SET SESSION AUTHORIZATION DEFAULT"])
def test_what_the_clone_makes_belongs_to_the_original(server: PostgresServer, reset: str | None) -> None:
    """Objects made by the clone are the user's, also after what a connection pool sends between two uses."""
    original = server.new_user()
    clone = cloned(server, original)
    schema = sql.Identifier(f"schema_{original.username}")
    server.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, sql.Identifier(original.username)))
    with session_of(server, clone) as session:
        if reset is not None:
            session.execute(reset.encode())
        session.execute(sql.SQL("CREATE TABLE {}.made (x int)").format(schema))
    with session_of(server, original) as session:
        session.execute(sql.SQL("INSERT INTO {}.made VALUES (1)").format(schema))
        session.execute(sql.SQL("DROP TABLE {}.made").format(schema))


def test_what_the_clone_owned_before_is_handed_to_the_original(server: PostgresServer) -> None:
    """A clone of AWS's template may own objects, in several databases: all become the user's."""
    original = server.new_user()
    clone = clone_of(original)
    server.new_user(clone.username)
    databases = [f"{side}_{original.username}" for side in ("left", "right")]
    owner = sql.Identifier(clone.username)
    for dbname in databases:
        server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(dbname), owner))
        server.execute("CREATE TABLE t AS SELECT 1", dbname=dbname)
        server.execute(sql.SQL("ALTER TABLE t OWNER TO {}").format(owner), dbname=dbname)
    target.clone_user(original, clone, by=server.superuser)
    for dbname in databases:
        assert server.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'", dbname=dbname) == [
            (original.username,)
        ]
    owners = server.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = ANY(%s)", [databases])
    assert owners == [(original.username,)] * 2


ATTRIBUTES = [
    "SUPERUSER",
    "CREATEDB CREATEROLE",
    "NOINHERIT",
    "REPLICATION BYPASSRLS",
    "CONNECTION LIMIT 7",
    "VALID UNTIL '2100-01-01 12:00+02'",
    "VALID UNTIL 'infinity'",
    "NOLOGIN",
]
SELECT_ATTRIBUTES = """SELECT rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolreplication, rolbypassrls,
    rolconnlimit, coalesce(rolvaliduntil, 'infinity')::text, true FROM pg_roles WHERE rolname = %s"""


@pytest.mark.parametrize("attributes", ATTRIBUTES)
def test_the_clone_has_the_attributes_of_the_original(server: PostgresServer, attributes: str) -> None:
    """Every attribute is the same after cloning, when the user gained it and when it lost it; the clone may log in."""
    original = server.new_user()
    clone = original.username + CLONE_SUFFIX
    for state in (attributes, "NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT NOREPLICATION NOBYPASSRLS LOGIN"):
        server.execute(sql.SQL("ALTER ROLE {} " + state).format(sql.Identifier(original.username)))
        target.clone_user(original, clone_of(original), by=server.superuser)
        rows = [server.execute(SELECT_ATTRIBUTES, [name]) for name in (original.username, clone)]
        assert rows[0] == rows[1]
        assert server.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [clone]) == [(True,)]


SETTINGS = [
    'search_path TO \'we\'\'ird\', "$user", "Mixed", "qu""ote", "com,ma", \'\'',
    "search_path TO ''",
    "statement_timeout TO '30s'",
    "timezone TO 'Europe/Berlin'",
    "application_name TO 'it''s; DROP ROLE x; --'",
    "my.setting TO 'a=b'",
    "work_mem TO '8MB'",
]
SELECT_SETTINGS = """SELECT coalesce(d.datname, ''), unnest(s.setconfig) FROM pg_db_role_setting s
    LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole = %s::regrole ORDER BY 1, 2"""


@pytest.mark.parametrize("place", ["", "IN DATABASE postgres"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_clone_has_the_settings_of_the_original(server: PostgresServer, setting: str, place: str) -> None:
    """Settings of the role are copied when they are made, changed or removed, for one database or for all."""
    original = server.new_user("user " + secrets.token_hex(4))
    clone = original.username + CLONE_SUFFIX
    name = sql.Identifier(original.username)

    def settings(role: str) -> list[tuple[str, str]]:
        rows = server.execute(SELECT_SETTINGS, [sql.Identifier(role).as_string()])
        return [(dbname, text) for dbname, text in rows if text != f"role={original.username}"]

    variable = setting.partition(" ")[0]
    for change in (f"SET {setting}", f"RESET {variable}"):
        server.execute(sql.SQL("ALTER ROLE {} " + place + " " + change).format(name))
        target.clone_user(original, clone_of(original), by=server.superuser)
        target.clone_user(original, clone_of(original), by=server.superuser)
        assert settings(clone) == settings(original.username)
    server.execute(sql.SQL("ALTER ROLE {} " + place + f" SET {setting}").format(sql.Identifier(clone)))
    target.clone_user(original, clone_of(original), by=server.superuser)
    assert settings(clone) == []


def test_a_setting_that_a_user_smuggled_in_is_not_run(server: PostgresServer) -> None:
    """A user may write nearly any text into its own search_path; the superuser who copies it does not execute it."""
    original = server.new_user()
    with session_of(server, original) as session:
        session.execute("SELECT set_config('search_path', 'a;ALTER/**/ROLE/**/current_user/**/CREATEDB,B', false)")
        session.execute("ALTER ROLE CURRENT_USER SET search_path FROM CURRENT")
    target.clone_user(original, clone_of(original), by=server.superuser)
    assert server.execute("SELECT rolcreatedb FROM pg_roles WHERE rolname = 'postgres'") == [(True,)]
    stored = server.execute(SELECT_SETTINGS, [f"{original.username}{CLONE_SUFFIX}"])
    assert ("", 'search_path="a;alter/**/role/**/current_user/**/createdb", b') in stored


def test_the_owner_of_a_database_cannot_slip_a_function_under_the_superuser(server: PostgresServer) -> None:
    """A database may have functions and views named like the system's, first in its search_path: none is run."""
    owner = server.new_user()
    dbname = f"trap_{owner.username}"
    name, database = sql.Identifier(owner.username), sql.Identifier(dbname)
    server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, name))
    spring = sql.SQL("LANGUAGE plpgsql AS 'BEGIN ALTER ROLE {} SUPERUSER; RETURN {}; END'")
    owner = changed(owner, dbname=dbname)
    with session_of(server, owner) as session:
        session.execute("CREATE SCHEMA trap")
        for function, result in (
            ("set_config(text, text, boolean) RETURNS text", "$1"),
            ("pg_is_in_recovery() RETURNS boolean", "false"),
            ("current_database() RETURNS text", "1"),
        ):
            body = spring.format(name, sql.SQL(result))
            session.execute(sql.SQL("CREATE FUNCTION trap." + function + " ") + body)
        session.execute("CREATE VIEW trap.pg_roles AS SELECT *, trap.current_database() FROM pg_catalog.pg_roles")
        session.execute(sql.SQL("ALTER DATABASE {} SET search_path TO trap, pg_catalog").format(database))
    by = changed(server.superuser, dbname=dbname)
    clone = clone_of(owner)
    target.clone_user(owner, clone, by=by)
    target.set_password(clone, by=by)
    target.lock_user(clone, by=by)
    assert server.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [owner.username]) == [(False,)]


def test_a_user_that_acts_as_another_has_a_clone_that_does_so_too(server: PostgresServer) -> None:
    """Where the user's sessions act as an owner role, the clone's act as the same; where as none, as the user."""
    owner, original = server.new_user(), server.new_user()
    name, owner_name = sql.Identifier(original.username), sql.Identifier(owner.username)
    server.execute(sql.SQL("GRANT {} TO {}").format(owner_name, name))
    for role, acting in ((owner_name, owner.username), (sql.SQL("none"), original.username)):
        server.execute(sql.SQL("ALTER ROLE {} SET role TO {}").format(name, role))
        clone = cloned(server, original)
        with session_of(server, clone) as session:
            assert session.execute("SELECT current_user").fetchone() == (acting,)


def test_a_membership_without_its_options_is_completed(server: PostgresServer) -> None:
    """A clone that somebody made a member without SET or INHERIT becomes a full one."""
    if server.version < 160000:
        pytest.skip("memberships have options since PostgreSQL 16")
    original = server.new_user()
    server.new_user(original.username + CLONE_SUFFIX)
    names = sql.Identifier(original.username), sql.Identifier(original.username + CLONE_SUFFIX)
    server.execute(sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET FALSE").format(*names))
    clone = cloned(server, original)
    with session_of(server, clone) as session:
        assert session.execute("SELECT current_user").fetchone() == (original.username,)


def test_an_original_that_is_a_member_of_its_clone_is_explained(server: PostgresServer) -> None:
    """PostgreSQL allows no circle; the error says what to revoke."""
    original = server.new_user()
    clone = server.new_user(original.username + CLONE_SUFFIX)
    names = sql.Identifier(clone.username), sql.Identifier(original.username)
    server.execute(sql.SQL("GRANT {} TO {}").format(*names))
    error = error_of(lambda: target.clone_user(original, clone, by=server.superuser), TargetRefused)
    assert "member" in error.message
    assert "REVOKE" in error.hint()


def test_a_clone_that_still_differs_is_refused_and_nothing_is_kept(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cloning did not reach is named, and the transaction is undone."""
    original = server.new_user(attributes="CREATEDB CONNECTION LIMIT 3")
    clone = original.username + CLONE_SUFFIX
    real = module._attribute_corrections
    calls: list[int] = []

    def blind_at_first(*arguments: Any) -> Any:
        calls.append(1)
        return real(*arguments) if len(calls) > 1 else iter(())

    rules = (blind_at_first, *module._RULES[1:])
    monkeypatch.setattr(module, "_RULES", rules)
    error = error_of(lambda: target.clone_user(original, clone_of(original), by=server.superuser), TargetRefused)
    assert "CONNECTION LIMIT, CREATEDB" in error.message
    assert server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [clone]) == []


def createrole_user(server: PostgresServer, *originals: Credential) -> Credential:
    """A superuser as managed clouds have it: CREATEROLE, and from version 16 on ADMIN OPTION on the users."""
    master = server.new_user(attributes="CREATEROLE")
    for original in originals:
        if server.version >= 160000:
            names = sql.Identifier(original.username), sql.Identifier(master.username)
            server.execute(sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(*names))
    return master


def test_a_superuser_with_createrole_is_enough(server: PostgresServer) -> None:
    """All verbs work with CREATEROLE, and ADMIN OPTION from version 16 on: no real superuser is needed."""
    original = server.new_user(attributes="CONNECTION LIMIT 9")
    server.execute(sql.SQL("ALTER ROLE {} SET search_path TO a, b").format(sql.Identifier(original.username)))
    master = createrole_user(server, original)
    clone = clone_of(original)
    for _ in range(2):
        target.clone_user(original, clone, by=master)
        target.set_password(clone, by=master)
        target.set_password(original, by=master)
    assert (target.accepts(clone), target.accepts(original)) == (True, True)
    target.lock_user(clone, by=master)
    assert not target.accepts(clone)


@pytest.mark.parametrize(
    "change", ["SUPERUSER", "REPLICATION", "BYPASSRLS", "SET log_statement TO 'all'"], ids=lambda text: text.split()[0]
)
def test_what_createrole_may_not_copy_is_refused_as_a_missing_right(server: PostgresServer, change: str) -> None:
    """A user with powers that the superuser lacks is not cloned; what is equal already is not touched."""
    original = server.new_user()
    master = createrole_user(server, original)
    clone = clone_of(original)
    target.clone_user(original, clone, by=master)
    server.execute(sql.SQL("ALTER ROLE {} " + change).format(sql.Identifier(original.username)))
    error = error_of(lambda: target.clone_user(original, clone, by=master), TargetRefused)
    assert "rights" in error.hint()
    if change != "SUPERUSER":
        target.clone_user(original, clone, by=server.superuser)
        target.clone_user(original, clone, by=master)
