"""Open the house for administration: the database and the keys, without a server.

For what no API offers yet, and for finding out why a server does not start. A running server does not mind.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keywheel.cli.address import DEFAULT_REGION
from keywheel.cli.asking import root_source
from keywheel.config import Settings, load_settings
from keywheel.credentials import read_credentials, read_region
from keywheel.errors import ConfigurationError

if TYPE_CHECKING:
    from keywheel.arn import Scope
    from keywheel.db.database import Database
    from keywheel.db.statement import Tx
    from keywheel.keys.keyring import Keys
    from keywheel.keys.root.source import RootSource

_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_REGION = re.compile(r"([a-z]+-)+\d+", re.ASCII)
_SQLITE = "sqlite:///"
_DEFAULT_ACCOUNT = "123456789012"
_HAS_SCHEMA = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL",
}

STORE_OPTIONS = (
    click.option(
        "--database",
        envvar="KEYWHEEL_DATABASE",
        show_envvar=True,
        metavar="URL",
        help="postgresql://… or sqlite:///PATH.  [default: DIR/keywheel.db]",
    ),
    click.option(
        "--root-key-file",
        envvar="KEYWHEEL_ROOT_KEY_FILE",
        show_envvar=True,
        metavar="FILE",
        help="Where the root key is.  [default: DIR/root.key]",
    ),
    click.option(
        "--passphrase-file",
        envvar="KEYWHEEL_PASSPHRASE_FILE",
        show_envvar=True,
        metavar="FILE",
        help="The root key's passphrase, where it has one.",
    ),
)
_DATA = click.option(
    "--data",
    envvar="KEYWHEEL_DATA",
    show_envvar=True,
    metavar="DIR",
    help="The data directory.  [default: keywheel-data]",
)


@dataclass(frozen=True, slots=True)
class House:
    """The open rooms that administration needs."""

    settings: Settings
    database: Database
    keys: Keys

    def scope(self, account: str | None, region: str | None) -> Scope:
        """The account and Region that are named; else those of the data directory's own credentials.

        Raises:
            ConfigurationError: one of them is not an account or a Region.
        """
        from keywheel.arn import Scope

        if account is not None and not _ACCOUNT.fullmatch(account):
            raise ConfigurationError("--account must be 12 digits.")
        if region is not None and not _REGION.fullmatch(region):
            raise ConfigurationError("--region must look like us-east-1.")
        own = read_region(self.settings.directory / "config")
        return Scope(account or self._own_account(), region or own or DEFAULT_REGION)

    def _own_account(self) -> str:
        from keywheel.access.access_keys import AccessKeys

        path = self.settings.directory / "credentials"
        if not path.is_file():
            return _DEFAULT_ACCOUNT
        with self.database.point() as tx:
            known = AccessKeys(self.keys).known(tx, read_credentials(path)[0])
        return _DEFAULT_ACCOUNT if known is None else known.account


def with_house(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where the house is; `command` gets it, open, as its first argument instead of them."""

    @functools.wraps(command)
    def run(settings: Settings, **others: Any) -> None:
        with open_house(settings) as house:
            command(house, **others)

    return with_settings(run)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that opens the store itself: it gets the settings."""

    @functools.wraps(command)
    def run(
        data: str | None, database: str | None, root_key_file: str | None, passphrase_file: str | None, **others: Any
    ) -> None:
        options = {
            "data": data,
            "database": database,
            "root_key_file": root_key_file,
            "passphrase_file": passphrase_file,
        }
        command(load_settings(options), **others)

    for option in reversed((_DATA, *STORE_OPTIONS)):
        run = option(run)
    return run


def tell(house: House, event: str, **parameters: str) -> None:
    """Write an administrative act into the audit ledger of the data directory.

    Raises:
        ConfigurationError, AuditUnavailable: it cannot be written.
    """
    import getpass
    import uuid

    from keywheel.access.audit.entries import VERSION, Entry, Identity
    from keywheel.server import open_audit

    log = open_audit(house.settings, house.database, house.keys, "cli")
    try:
        who = Identity("Operator", f"{getpass.getuser()} (uid {os.getuid()})")
        number = str(uuid.uuid4())
        log.record(
            Entry(
                VERSION,
                log.time(),
                "keywheel",
                event,
                "AwsServiceEvent",
                number,
                who,
                read_only=False,
                request_parameters=dict(parameters),
            )
        )
    finally:
        log.close()


@contextmanager
def open_house(settings: Settings, source: RootSource | None = None) -> Iterator[House]:
    """The house that the settings describe; `source` where the caller has asked for passphrases already.

    Raises:
        ConfigurationError, KeyStoreError: it is not prepared, or does not belong to this root key.
    """
    from keywheel.keys.keyring import Keys

    database = open_store(settings)
    try:
        with database.read() as tx:
            check_schema(tx)
        keys = Keys((source or root_source(settings)).ring())
        with database.point() as tx:
            keys.check(tx)
        yield House(settings, database, keys)
    finally:
        database.close()


def open_store(settings: Settings) -> Database:
    """The database of the settings, when there is one: opening makes no new file.

    Raises:
        ConfigurationError: there is none, or it does not answer.
    """
    from keywheel.db.database import open_database

    url = settings.database_url
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).is_file():
        raise ConfigurationError(
            f"There is no database {url.removeprefix(_SQLITE)}.",
            hint="Name the data directory with --data, or make one with `keywheel init`.",
        )
    return open_database(url)


def check_schema(tx: Tx) -> str:
    """The revision of the database's schema, with which this program may work.

    Raises:
        ConfigurationError: it may not, or there is none.
    """
    from keywheel.db import schema

    prepared = tx.execute(_HAS_SCHEMA[tx.dialect], {}).fetchone() is not None
    row = tx.execute("SELECT version_num FROM alembic_version", {}).fetchone() if prepared else None
    if row is None:
        raise ConfigurationError("The database is not prepared.", hint="Run `keywheel init`.")
    at = str(row[0])
    known = [revision.name for revision in schema.revisions()]
    floor = None if at == known[0] else tx.execute("SELECT oldest FROM schema_floor", {}).fetchone()[0]
    if schema.plan(schema.revisions(), at, floor).apply:
        raise ConfigurationError(
            f"The database has schema {at}, and this keywheel works with {known[-1]}.",
            hint="`keywheel serve` and `keywheel migrate` bring it up to date.",
        )
    return at
