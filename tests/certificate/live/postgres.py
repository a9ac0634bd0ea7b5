"""A private PostgreSQL."""

from __future__ import annotations

import psycopg

from keywheel.rotator import Credential
from tests.support.servers import PostgresServer


class LivePostgres:
    """A `Live` around a server of this process's own."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.port = server.port

    @property
    def superuser(self) -> Credential:
        return self.server.superuser

    def new_user(self) -> Credential:
        return self.server.new_user()

    def works(self, credential: Credential) -> bool:
        try:
            self.server.connect(credential.username, credential.password.reveal()).close()
        except psycopg.OperationalError:
            return False
        return True

    def users_with_password(self, names: list[str]) -> list[str]:
        found = self.server.execute("SELECT rolname, rolpassword IS NOT NULL FROM pg_authid")
        return [name for name, has in found if has and name in names]

    def stop(self) -> None:
        self.server.__exit__(None, None, None)


def start() -> LivePostgres:
    """Start it."""
    return LivePostgres(PostgresServer().__enter__())
