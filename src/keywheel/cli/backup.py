"""`keywheel backup` and `keywheel restore`: the whole store in one file, of either kind, and back into either kind."""

from __future__ import annotations

from pathlib import Path

import click

from keywheel.cli.asking import root_source
from keywheel.cli.house import House, tell, with_house, with_settings
from keywheel.cli.output import count
from keywheel.clock import SystemClock, to_epoch
from keywheel.config import Settings

_OUT = click.Path(path_type=Path)
_IN = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--out", required=True, type=_OUT, metavar="FILE", help="A new file for the backup.")
@with_house
def backup(house: House, out: Path) -> None:
    """Write the whole store to a file, while servers run.

    It is one consistent snapshot, and may be restored into SQLite or PostgreSQL. Secret values in it are sealed. The
    root key, without which nobody opens them, is NOT in it: keep a copy of DIR/root.key elsewhere.
    """
    from keywheel.db.backup import back_up

    time = f"{SystemClock().now():%Y-%m-%dT%H:%M:%SZ}"
    tell(house, "BackUp", out=str(out))
    counts = back_up(house.database, out, time)
    click.echo(f"Wrote {out} (mode 0600): {count(counts['secret'], 'secret')}, {count(counts['version'], 'version')}.")
    click.echo(f"The root key is not in it. Keep a copy of {house.settings.root_key_path} in another place.")


@click.command()
@click.argument("file", type=_IN, required=False)
@click.option("--here", is_flag=True, help="The store is in place: its database was put back by its own tools.")
@with_settings
def restore(settings: Settings, file: Path | None, here: bool) -> None:
    """Fill an empty store from the backup FILE, wholly or not at all; with --here, look after one that was put back.

    The root key must be in place first. Passwords may have changed on the targets since the backup was made: every
    published credential is checked when a server starts, before anything is rotated, and set anew where a superuser may
    do that. `keywheel status` and `keywheel why` show what is left. After a point-in-time recovery of the database, run
    it with --here before any server starts.
    """
    from keywheel.access import sealed as access
    from keywheel.db.backup import restore as fill
    from keywheel.db.backup import verify
    from keywheel.db.database import open_database
    from keywheel.db.schema import migrate
    from keywheel.db.statement import Tx
    from keywheel.keys.keyring import Keys
    from keywheel.keys.root.places import PLACES
    from keywheel.keys.root.rotation import require_known
    from keywheel.rotation import timekeeper
    from keywheel.rotation.rows import after_restore

    if here == (file is not None):
        raise click.UsageError("Give a FILE, or --here.")
    if file is not None:
        verify(file)
    keys = Keys(root_source(settings).ring())
    migrate(settings.database_url)
    database = open_database(settings.database_url)

    def finish(tx: Tx) -> int:
        keys.check(tx)
        require_known(keys.ring, tx, (*PLACES, *access.PLACES))
        timekeeper.write(tx, timekeeper.Known())  # an old backup does not make the clock wrong
        return after_restore(tx, to_epoch(SystemClock().now()))

    try:
        if file is None:
            click.echo(f"{count(database.write(finish), 'rotation')} will be looked at.")
        else:
            counts = fill(database, file, finish)
            click.echo(f"Restored {count(counts['secret'], 'secret')} and {count(counts['version'], 'version')}.")
        tell(House(settings, database, keys), "Restore", source="in place" if file is None else str(file))
    finally:
        database.close()
    click.echo("Start the server: it checks every published credential at its target before it rotates anything.")
