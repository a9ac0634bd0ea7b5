"""`keywheel init`: a data directory, ready to serve."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from keywheel.db.database import Database
    from keywheel.keys.keyring import Keys

from keywheel.cli.asking import read_secret_file, root_source
from keywheel.cli.house import House, tell
from keywheel.config import Settings, load_settings
from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.sensitive import Sensitive

_ACCOUNT = re.compile(r"\d{12}")
_REGION = re.compile(r"([a-z]+-)+\d+")
_ADMINISTRATOR = "admin"


@dataclass(frozen=True, slots=True)
class Administrator:
    """Whose access key is made first. The two halves are chosen, or drawn when they are None."""

    account: str
    region: str
    access_key_id: str | None
    secret: Sensitive[str] | None


@click.command()
@click.option("--data", metavar="DIR", help="The data directory.  [default: keywheel-data]")
@click.option("--account", default="123456789012", show_default=True, help="The account of the administrator's key.")
@click.option("--region", default="us-east-1", show_default=True, help="The Region that clients use by default.")
@click.option("--database", metavar="URL", help="postgresql://… instead of a SQLite file in the data directory.")
@click.option("--root-key-file", metavar="FILE", help="Keep the root key's file elsewhere.")
@click.option("--passphrase-file", metavar="FILE", help="Make the root key from the passphrase in this file.")
@click.option("--access-key-id", metavar="ID", help="Use this access key id instead of a random one.")
@click.option("--secret-access-key-file", metavar="FILE", help="Use the secret access key in this file.")
def init(
    data: str | None,
    account: str,
    region: str,
    database: str | None,
    root_key_file: str | None,
    passphrase_file: str | None,
    access_key_id: str | None,
    secret_access_key_file: str | None,
) -> None:
    """Create the data directory, the root key, the database and an administrator's access key.

    Running it twice changes nothing. Keep a copy of the root key apart from the database: without it no value can be
    read, and with both every value can.
    """
    if not _ACCOUNT.fullmatch(account):
        raise ConfigurationError("--account must be 12 digits.")
    if not _REGION.fullmatch(region):
        raise ConfigurationError("--region must look like us-east-1.")
    settings = load_settings(
        {"data": data, "database": database, "root_key_file": root_key_file, "passphrase_file": passphrase_file}
    )
    chosen = None if secret_access_key_file is None else read_secret_file(secret_access_key_file)
    if (access_key_id is None) != (chosen is None):
        raise ConfigurationError("--access-key-id and --secret-access-key-file go together.")
    if access_key_id is not None and chosen is not None:
        from keywheel.access.access_keys import check_access_key

        check_access_key(access_key_id, chosen)
    done = _prepare(settings, Administrator(account, region, access_key_id, chosen))
    for line in done or ["Nothing to do: it is initialised already."]:
        click.echo(line)
    click.echo("")
    click.echo(f"Start:  keywheel serve --data {settings.data}{_elsewhere(settings)}")
    click.echo(
        f"Try:    AWS_SHARED_CREDENTIALS_FILE={settings.data}/credentials "
        "aws --endpoint-url http://127.0.0.1:8200 secretsmanager list-secrets"
    )


def _elsewhere(settings: Settings) -> str:
    """The options of `keywheel serve` for what is not in the data directory."""
    database = settings.database
    if database is not None and not database.startswith("sqlite:"):
        database = "postgresql://…"  # it may hold a password
    options = {
        "--database": database,
        "--root-key-file": settings.root_key_file,
        "--passphrase-file": settings.passphrase_file,
    }
    return "".join(f" {option} {value}" for option, value in options.items() if value)


def _prepare(settings: Settings, administrator: Administrator) -> list[str]:
    """Do what is missing; a line for each thing done."""
    from keywheel.credentials import config_text
    from keywheel.db.database import open_database
    from keywheel.db.schema import migrate
    from keywheel.keys.keyring import Keys
    from keywheel.keys.root.unseal import write_new

    os.umask(0o077)  # every file made here, SQLite's among them, is for its owner alone
    done = []
    directory = settings.directory
    try:
        if not directory.is_dir():
            directory.mkdir(mode=0o700, parents=True)
            done.append(f"Created {directory} (mode 0700).")
        directory.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be the data directory ({error.strerror}).") from None
    if migrate(settings.database_url).apply:
        done.append("Prepared the database.")
    database = open_database(settings.database_url)
    try:
        done += _create_root_key(database, settings)
        keys = Keys(root_source(settings).ring())
        if database.write(keys.bind):
            done.append("Tied the database to the root key.")
        done += _create_key(database, keys, directory, administrator)
        if done:
            tell(House(settings, database, keys), "Initialize")
    finally:
        database.close()
    if not (directory / "config").exists():
        write_new(directory / "config", config_text(administrator.region))
        done.append(f"Wrote {directory / 'config'} (region {administrator.region}).")
    return done


def _create_root_key(database: Database, settings: Settings) -> list[str]:
    """The root key, on disk before the database is tied to it; never a new one for a database that has one."""
    from keywheel.keys.keyring import Keys

    path = settings.root_key_path
    if path.exists():
        return []
    with database.point() as tx:
        if Keys.is_bound(tx):
            raise KeyStoreError(
                f"There is no root key file {path}, and the database is tied to a root key.",
                hint="Restore the file from where you keep a copy, or name it with --root-key-file.",
            )
    kind = "file" if settings.passphrase_file is None else "passphrase"
    root_source(settings).make(path, "token" if settings.root_key_token else kind, None)
    return [f"Created the root key {path}. Keep a copy of it apart from the database."]


def _create_key(database: Database, keys: Keys, directory: Path, wanted: Administrator) -> list[str]:
    """The administrator's access key: on disk first, then in the database, so that no crash loses it."""
    from keywheel.access.access_keys import AccessKeys, Role, new_access_key
    from keywheel.clock import SystemClock
    from keywheel.credentials import credentials_text, read_credentials
    from keywheel.keys.root.unseal import write_new

    path, access_keys, done = directory / "credentials", AccessKeys(keys), []
    if not path.exists():
        drawn_id, drawn = new_access_key()
        write_new(path, credentials_text(wanted.access_key_id or drawn_id, wanted.secret or drawn, wanted.region))
        done.append(f"Wrote {path} (mode 0600): the administrator's access key.")
    access_key_id, secret = read_credentials(path)
    if wanted.access_key_id not in (None, access_key_id):
        raise ConfigurationError(
            f"{path} holds the access key {access_key_id} already.",
            hint="`keywheel access keys create` makes further ones.",
        )
    with database.point() as tx:
        known = access_keys.known(tx, access_key_id) is not None
    if not known:
        database.write(
            lambda tx: access_keys.create(
                tx,
                account=wanted.account,
                name=_ADMINISTRATOR,
                role=Role.ADMINISTRATOR,
                now=SystemClock().now(),
                access_key_id=access_key_id,
                secret=secret,
            )
        )
        done.append(f"Created the access key {access_key_id} of account {wanted.account}.")
    return done
