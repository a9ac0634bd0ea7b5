"""`keywheel clock`: whether the engine believes its clock, and a person's word that it may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from keywheel.cli.client import Client, with_client
from keywheel.cli.output import as_json, iso, print_json


@click.command()
@click.option("--accept", is_flag=True, help="Say that the clock is right now.")
@as_json
@with_client
def clock(client: Client, accept: bool, as_json: bool) -> None:
    """Tell whether the engine believes its clock.

    After a jump nothing begins for a while, so that a wrong clock can be put right. With --accept the engine goes on at
    once, and what was written when the clock was ahead is dated and planned anew. The exit code is 1 while the clock is
    doubted.
    """
    known = client.call("keywheel.AcceptClock" if accept else "keywheel.DescribeClock")
    if as_json:
        print_json(dict(known))
    else:
        _show(known)
    click.get_current_context().exit(1 if "Doubted" in known and not accept else 0)


def _show(known: Mapping[str, Any]) -> None:
    click.echo(f"now      {iso(known['Now'])}")
    click.echo(f"trusted  {iso(known['Seen']) if 'Seen' in known else 'never'}")
    if known.get("Accepted"):
        click.echo("The engine hears within a minute that it is right.")
    elif "Doubted" in known:
        offset = known["Doubted"]
        where = "ahead of" if offset > 0 else "behind"
        click.secho(f"It is {abs(offset):,.0f} s {where} what was expected: no rotation begins.", fg="red", bold=True)
        click.echo("Put it right, or say that it is: keywheel clock --accept")
