"""A small application: it logs in with whatever AWSCURRENT says, again and again, and keeps count."""

from __future__ import annotations

import threading
import time
from typing import Self

import psycopg

from demo.errors import DemoFailed
from keywheel.cli.client import Client
from keywheel.rotator import Credential
from keywheel.sensitive import Sensitive

_PAUSE_SECONDS = 0.005
_REFUSED = "password authentication failed"  # the words of a server whose messages are English, as ours is


def read(client: Client, secret: str, version: str | None = None) -> Credential:
    """The credential of a version of a secret; by default, of the version that AWSCURRENT names."""
    answer = client.call("secretsmanager.GetSecretValue", SecretId=secret, VersionId=version)
    return Credential.parse(Sensitive(answer["SecretString"]))


def logs_in(credential: Credential) -> bool:
    """Whether a new login works, proved by a query of the application's table; False: the password is refused.

    Raises:
        DemoFailed: neither the one nor the other.
    """
    try:
        with psycopg.connect(
            host=credential.text("host"),
            port=credential.number("port", 5432),
            dbname=credential.text("dbname"),
            user=credential.username,
            password=credential.password.reveal(),
            sslmode="require" if credential.flag("ssl", default=True) else "disable",
            connect_timeout=10,
        ) as session:
            session.execute("SELECT count(*) FROM orders")
    except psycopg.Error as error:
        if _REFUSED in str(error):
            return False
        kind = type(error).__name__
    else:
        return True
    raise DemoFailed(f"The application's login as {credential.username} was neither taken nor refused ({kind}).")


class Application:
    """Logs in without end, in a thread of its own. A context manager.

    A login that is refused counts as failed; then it reads the secret again and tries again, as an application should.
    """

    def __init__(self, client: Client, secret: str) -> None:
        self.logins = 0
        self.failed = 0
        self.longest_gap = 0.0  # seconds from the first refused login to the next one that is taken
        self._client = client
        self._secret = secret
        self._refused_since: float | None = None
        self._error: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="application", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Say so, if it could not go on.

        Raises:
            Exception: what stopped it.
        """
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._ended.wait(_PAUSE_SECONDS):
                self._log_in()
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self._error = error

    def _log_in(self) -> None:
        started = time.monotonic()
        taken = logs_in(read(self._client, self._secret))
        self.logins, self.failed = self.logins + taken, self.failed + (not taken)
        if not taken and self._refused_since is None:
            self._refused_since = started
        if self._refused_since is not None:
            self.longest_gap = max(self.longest_gap, time.monotonic() - self._refused_since)
        if taken:
            self._refused_since = None
