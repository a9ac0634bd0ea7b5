"""`keywheel move`: the whole store from SQLite to PostgreSQL."""

from __future__ import annotations

import sys

import click
import msgspec

from keywheel.cli.house import open_house, tell, with_settings
from keywheel.cli.output import count
from keywheel.config import Settings
from keywheel.errors import ConfigurationError


@click.command()
@click.option(
    "--to",
    "url",
    required=True,
    envvar="KEYWHEEL_MOVE_TO",
    show_envvar=True,
    metavar="URL",
    help="postgresql://…, an empty database.",
)
@with_settings
def move(settings: Settings, url: str) -> None:
    """Move the whole store from SQLite to PostgreSQL.

    Every server must have ended. Every row is copied and then compared; until the last one is found the same, the old
    store is left as it was, and the new one serves nobody. When it is interrupted, run it again: it goes on. Afterwards
    the old store serves nobody any more. The root key stays the same, and so do all credentials.
    """
    from keywheel.db.database import libpq_url, sqlite_path
    from keywheel.db.move import move as copy

    source = sqlite_path(settings.database_url)
    if source is None:
        raise ConfigurationError("The store is not SQLite.", hint="`keywheel backup` and `keywheel restore` move any.")
    libpq_url(url)
    with open_house(settings):
        pass  # it is one, and this is its root key
    counts = copy(source, url, _show)
    with open_house(msgspec.structs.replace(settings, database=url)) as house:
        tell(house, "MoveStore", source=str(source))
    click.echo(
        f"Moved and compared {count(sum(counts.values()), 'row')}: {count(counts['secret'], 'secret')}, ", nl=False
    )
    click.echo(f"{count(counts['version'], 'version')}.")
    click.echo("Serve it: set `database` in keywheel.toml, or KEYWHEEL_DATABASE, or --database, to the new address.")


def _show(table: str, rows: int) -> None:
    if rows and sys.stderr.isatty():
        click.echo(f"{table}: {rows}", err=True)
