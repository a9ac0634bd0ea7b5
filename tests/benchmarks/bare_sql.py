"""The bare SQL that a rotation cannot do without, written by hand: the least that any rotator would cost.

Single user: log in as the user, ALTER with a SCRAM verifier, log in as the new password, and see the old one refused.
Alternating users: log in as the superuser, ALTER the other user, log in as it. And, for scale, no more than an ALTER
over a superuser's session that is kept, and one login.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg import sql

from tests.support.servers import PostgresServer

Session = psycopg.Connection[Any]
FIRST_PASSWORD = "the password that every user begins with"


def create_users(server: PostgresServer, names: Sequence[str]) -> None:
    """Users with `FIRST_PASSWORD`; a verifier holds no name, so that one does for all."""
    with server.connect() as session, session.transaction():
        verifier = _verifier(session, FIRST_PASSWORD)
        for name in names:
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            session.execute(statement.format(sql.Identifier(name), sql.Literal(verifier)))


class BareSql:
    """Users of a PostgreSQL and their passwords, rotated by hand."""

    def __init__(self, server: PostgresServer, names: Sequence[str]) -> None:
        self._server = server
        self._passwords = dict.fromkeys(names, FIRST_PASSWORD)
        self._kept = threading.local()
        create_users(server, names)

    def single_user(self, name: str) -> None:
        """What a rotation of a single user does."""
        old, new = self._passwords[name], secrets.token_urlsafe(24)
        with self._server.connect(name, old) as session:
            _alter(session, name, new)
        self._log_in(name, new)
        try:
            self._log_in(name, old)
        except psycopg.OperationalError:
            self._passwords[name] = new
            return
        raise AssertionError("the old password still works")

    def alternating_users(self, name: str) -> None:
        """What a rotation of alternating users does, without looking at the rights of the clone."""
        new = secrets.token_urlsafe(24)
        with self._server.connect() as session:
            _alter(session, name, new)
        self._passwords[name] = new
        self._log_in(name, new)

    def least(self, name: str) -> None:
        """An ALTER over a session that is kept, and one login."""
        if not hasattr(self._kept, "session"):
            self._kept.session = self._server.connect()
        new = secrets.token_urlsafe(24)
        _alter(self._kept.session, name, new)
        self._passwords[name] = new
        self._log_in(name, new)

    def _log_in(self, name: str, password: str) -> None:
        with self._server.connect(name, password) as session:
            session.execute("SELECT 1")


def run(rotate: Callable[[str], None], names: Sequence[str], *, at_a_time: int) -> None:
    """Rotate every user once."""
    with ThreadPoolExecutor(at_a_time) as pool:
        for done in [pool.submit(rotate, name) for name in names]:
            done.result()


def _alter(session: Session, name: str, password: str) -> None:
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
    session.execute(statement.format(sql.Identifier(name), sql.Literal(_verifier(session, password))))


def _verifier(session: Session, password: str) -> str:
    return session.pgconn.encrypt_password(password.encode(), b"", b"scram-sha-256").decode()
