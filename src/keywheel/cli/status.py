"""`keywheel status`: where every rotation stands, what is stuck and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from keywheel.cli.client import Client, with_client
from keywheel.cli.output import Cell, as_json, count, iso, moment, print_json, printable, relative, table
from keywheel.clock import SystemClock, to_epoch

OVERDUE = "overdue"
_OVERDUE_SECONDS = 300.0  # how long after its window a rotation that was never begun counts as stuck
_OVERDUE_REASON = "Its window has passed and no rotation was begun: does an engine run? `keywheel doctor` looks."
_STYLES = {"ok": "green", "failed": "bold red", "retrying": "yellow", OVERDUE: "bold red", "off": "dim"}
_INSTANTS = ("next_try", "last_rotated", "next_rotation")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the rotation of one secret stands. Instants are seconds since the epoch."""

    name: str
    arn: str
    state: str
    enabled: bool
    function: str | None
    step: str | None
    version_id: str | None
    last_result: str
    last_rotated: float | None
    next_rotation: float | None
    stuck: bool
    attempt: int | None
    code: str | None
    reason: str | None
    next_try: float | None


@click.command()
@click.option("--stuck", "only_stuck", is_flag=True, help="Only those that are stuck.")
@as_json
@with_client
def status(client: Client, only_stuck: bool, as_json: bool) -> None:
    """Show every rotation: its state, the next one, the last result, and what is stuck and why.

    The exit code is 0 whatever the rotations are; with --json, `stuck` counts those that need a look.
    """
    now = to_epoch(SystemClock().now())
    entries = client.pages("keywheel.ListRotations", "Rotations")
    standings = [standing(entry, now) for entry in entries]
    stuck = [one for one in standings if one.stuck]
    shown = stuck if only_stuck else standings
    if as_json:
        print_json({"rotations": [document(one) for one in shown], "total": len(standings), "stuck": len(stuck)})
    else:
        _show(shown, now)
        click.echo(f"{count(len(standings), 'rotation')}, {len(stuck)} stuck.")


def standing(entry: Mapping[str, Any], now: float) -> Standing:
    """What an entry of ListRotations says."""
    state, code, reason = entry.get("State", ""), entry.get("Code"), entry.get("Reason")
    following = entry.get("NextRotation")
    if state == "ok" and following is not None and following < now - _OVERDUE_SECONDS:
        state, code, reason = OVERDUE, "Overdue", _OVERDUE_REASON
    return Standing(
        name=entry.get("Name", ""),
        arn=entry.get("Arn", ""),
        state=state,
        enabled=bool(entry.get("Enabled")),
        function=entry.get("Function"),
        step=entry.get("Step"),
        version_id=entry.get("VersionId"),
        last_result=_last_result(entry),
        last_rotated=entry.get("LastRotated"),
        next_rotation=following,
        stuck=code is not None,
        attempt=entry.get("Attempt"),
        code=code,
        reason=reason,
        next_try=entry.get("NextTry"),
    )


def document(one: Standing) -> dict[str, Any]:
    """A standing for a program: its instants as text."""
    return asdict(one) | {name: iso(getattr(one, name)) for name in _INSTANTS}


def show_reasons(stuck: Sequence[Standing], now: float) -> None:
    """Say of each what stopped it, and when it is tried again."""
    for one in stuck:
        place = f" at {one.step}" if one.step else ""
        attempt = f", attempt {one.attempt}" if one.attempt else ""
        click.secho(f"{printable(one.name)}: {one.state}{place}{attempt}", bold=True)
        click.echo(f"  {one.code}: {printable(one.reason or '')}")
        if one.next_try is not None:
            click.echo(f"  Next try: {moment(one.next_try, now)}")


def _last_result(entry: Mapping[str, Any]) -> str:
    if entry.get("Code"):
        return str(entry["Code"])
    return "succeeded" if entry.get("LastRotated") else "none yet"


def _show(standings: Sequence[Standing], now: float) -> None:
    if not standings:
        return
    table(("secret", "state", "next rotation (UTC)", "last result"), [_row(one, now) for one in standings])
    click.echo("")
    stuck = [one for one in standings if one.stuck]
    show_reasons(stuck, now)
    if stuck:
        click.echo("")


def _row(one: Standing, now: float) -> list[Cell]:
    state = f"{one.state} ({one.step})" if one.step else one.state
    when = relative(one.last_rotated, now) if one.last_rotated is not None and one.code is None else ""
    return [
        one.name,
        (state, _STYLES.get(one.state, "")),
        moment(one.next_rotation, now, zone=""),
        (f"{one.last_result} {when}".rstrip(), "red" if one.code else ""),
    ]
