"""`keywheel migrate`: bring the store's schema up to date, beside older servers or after them."""

from __future__ import annotations

import click

from keywheel.cli.house import open_house, tell, with_settings
from keywheel.config import Settings


@click.command()
@click.option("--contract", is_flag=True, help="Also take away what only older versions use: they must have ended.")
@click.option("--check", is_flag=True, help="Change nothing; the exit code is 1 when there is something to do.")
@with_settings
def migrate(settings: Settings, contract: bool, check: bool) -> None:
    """Bring the store's schema to this version.

    `keywheel serve` does the same at its start, without --contract: it only adds, and servers of the version before
    go on working. After the last of them has ended, run this with --contract.
    """
    from keywheel.db import schema

    if check:
        at, plan = schema.pending(settings.database_url)
        click.echo(f"at       {at or 'nothing: run `keywheel init`'}")
        click.echo(f"to add   {' '.join(plan.apply) or 'nothing'}")
        click.echo(f"to take  {' '.join(plan.waiting) or 'nothing'}")
        click.get_current_context().exit(1 if plan.apply or plan.waiting else 0)
    done = schema.migrate(settings.database_url, contract=contract)
    if done.apply:
        with open_house(settings) as house:
            tell(house, "MigrateSchema", revisions=" ".join(done.apply))
    click.echo(f"Applied {', '.join(done.apply)}." if done.apply else "The schema is up to date.")
    if done.waiting:
        click.echo(f"{', '.join(done.waiting)} waits until every older server has ended: keywheel migrate --contract")
