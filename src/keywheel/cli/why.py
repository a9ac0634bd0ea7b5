"""`keywheel why` and `keywheel repair`: what is wrong with a secret, which credential works, what to do next."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from keywheel.cli.client import Client, with_client
from keywheel.cli.output import Cell, as_json, moment, print_json, printable, table
from keywheel.clock import SystemClock, to_epoch

_STYLES = {"works": "green", "refused": "red"}
_POLL_SECONDS = 0.3


@click.command()
@click.argument("name")
@as_json
@with_client
def why(client: Client, name: str, as_json: bool) -> None:
    """Tell what is wrong with the secret NAME, which credential works now, and the next safe action.

    Every credential that was kept is tried at the target, within a budget of refused logins. The exit code is 0 when
    there is nothing to do.
    """
    _tell(client.call("keywheel.ExplainSecret", SecretId=name), as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--timeout", type=float, default=60, show_default=True, metavar="SECONDS", help="How long to wait.")
@as_json
@with_client
def repair(client: Client, name: str, timeout: float, as_json: bool) -> None:
    """Do the next safe action for the secret NAME, and tell what came of it.

    A rotation that stopped goes on, with the same pending value; at rest, the value under AWSCURRENT is set on the
    target again if it is refused there. The exit code is 0 when there is nothing left to do.
    """
    client.call("keywheel.RepairSecret", SecretId=name)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if client.call("keywheel.ExplainSecret", SecretId=name, Probe=False).get("Settled"):
            break
        time.sleep(_POLL_SECONDS)
    _tell(client.call("keywheel.ExplainSecret", SecretId=name), as_json=as_json)


def _tell(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(dict(found))
    else:
        _show(found, to_epoch(SystemClock().now()))
    click.get_current_context().exit(0 if found.get("Action") == "nothing" else 1)


def _show(found: Mapping[str, Any], now: float) -> None:
    click.secho(printable(found["Name"]), bold=True)
    click.echo(f"journal    {_journal(found, now)}")
    click.echo(f"target     {_health(found, now)}")
    if found.get("Superuser"):
        click.echo(f"superuser  {found['Superuser']}")
    click.echo("")
    table(("version", "labels", "user", "at the target", "last read"), [_row(one, now) for one in found["Candidates"]])
    click.echo("")
    click.secho(f"Next: {found['Action']}", bold=True)
    click.echo(f"  {found['Advice']}")
    if found["Action"] in ("repair", "by-hand"):
        click.echo(f"  keywheel repair {printable(found['Name'])}")


def _row(one: Mapping[str, Any], now: float) -> list[Cell]:
    answer = one["Answer"]
    read = moment(one.get("Accessed"), now)
    return [
        one["VersionId"],
        " ".join(one["Labels"]),
        one.get("Username") or "",
        (answer, _STYLES.get(answer, "")),
        read,
    ]


def _journal(found: Mapping[str, Any], now: float) -> str:
    text = f"at {found['Step']}"
    if found.get("Code"):
        text += f", {found['Code']}: {printable(found.get('Reason') or '')}"
    if found.get("NextTry") is not None:
        text += f" Next: {moment(found['NextTry'], now)}."
    return text


def _health(found: Mapping[str, Any], now: float) -> str:
    seen = "never seen to work" if found.get("Verified") is None else f"worked {moment(found['Verified'], now)}"
    return f"AWSCURRENT {seen}" + (f"; last check: {found['Health']}" if found.get("Health") else "")
