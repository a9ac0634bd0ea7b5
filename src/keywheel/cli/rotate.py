"""`keywheel rotate`: rotate secrets now, and see each through."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from keywheel.cli import follow as watching
from keywheel.cli.client import Client, with_client
from keywheel.cli.follow import FAILED, REFUSED, ROTATED, STARTED, TIMED_OUT, Followed
from keywheel.cli.output import Cell, as_json, console, count, note, print_json, printable, table
from keywheel.cli.tags import Tag
from keywheel.clock import SystemClock
from keywheel.errors import ConfigurationError

_STYLES = {ROTATED: "green", STARTED: "green", FAILED: "bold red", REFUSED: "bold red", TIMED_OUT: "yellow"}
_SHOWN_BESIDE_THE_BAR = 3


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every secret whose rotation is on.")
@click.option("--tag", "tags", type=Tag(), multiple=True, help="Those of --all that have this tag; may be repeated.")
@click.option("--timeout", type=float, default=300, show_default=True, metavar="SECONDS", help="How long to follow.")
@click.option("--no-wait", is_flag=True, help="Start the rotations and leave.")
@click.option("--yes", is_flag=True, help="Do not ask before rotating --all.")
@as_json
@with_client
def rotate(
    client: Client,
    names: tuple[str, ...],
    everything: bool,
    tags: tuple[tuple[str, str], ...],
    timeout: float,
    no_wait: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Rotate the secrets NAME now (names or ARNs), and follow each to its end.

    They are rotated as they are configured; a rotation that is under way already is followed, and one that had failed
    is attempted again. The exit code is 1 when any secret was not rotated in time.
    """
    if (bool(names) + everything + bool(tags)) != 1:
        raise click.UsageError("Say which secrets: by NAME, by --tag or with --all.")
    chosen = list(names) or _rotated_secrets(client, tags)
    if everything and not yes and chosen and sys.stdin.isatty():
        click.confirm(f"Rotate {count(len(chosen), 'secret')} now?", abort=True, err=True)
    ended = _rotate(client, chosen, timeout, wait=not no_wait)
    good = sum(one.outcome in (ROTATED, STARTED) for one in ended)
    if as_json:
        print_json({"secrets": [_document(one) for one in ended], "succeeded": good, "failed": len(ended) - good})
    elif ended:
        _show(ended)
        click.echo(f"{good} of {len(ended)} {'started' if no_wait else 'rotated'}.")
    else:
        click.echo("No secret's rotation is on.")
    if good < len(ended):
        sys.exit(1)


def _rotated_secrets(client: Client, tags: Sequence[tuple[str, str]]) -> list[str]:
    """The names of the secrets whose rotation is on, and that have every one of `tags`.

    Raises:
        ConfigurationError: no secret has the tags.
    """
    found = []
    for secret in client.pages("secretsmanager.ListSecrets", "SecretList"):
        held = {(tag["Key"], tag["Value"]) for tag in secret.get("Tags") or []}
        replica = secret.get("PrimaryRegion") not in (None, client.address.region)  # it follows its primary
        if secret.get("RotationEnabled") and held.issuperset(tags) and not replica:
            found.append(secret["Name"])
    if tags and not found:
        raise ConfigurationError(
            "No secret whose rotation is on has this tag.", hint="`keywheel secrets list` shows each secret's tags."
        )
    return found


def _rotate(client: Client, names: Sequence[str], timeout: float, *, wait: bool) -> list[Followed]:
    """Start every rotation, then follow them."""
    clock = SystemClock()
    started: dict[str, Followed] = {}
    with _bar(len(names)) as tell:
        for name in names:
            one = watching.start(client, name, str(uuid.uuid4()))
            if one.arn not in started:  # given twice, as a name and as an ARN: it is one rotation
                started[one.arn] = one
        if not wait:
            return [one if one.outcome else replace(one, outcome=STARTED) for one in started.values()]
        try:
            return watching.follow(
                client, list(started.values()), clock=clock, sleep=time.sleep, timeout=timeout, tell=tell
            )
        except KeyboardInterrupt:
            note("The rotations go on in the server: `keywheel status` shows them.")
            raise


@contextmanager
def _bar(total: int) -> Iterator[Any]:
    """Progress on stderr: a bar on a terminal, a line for each end elsewhere."""
    if not sys.stderr.isatty():
        told: set[str] = set()
        yield lambda watched: _tell_lines(watched, told)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=total)

        def tell(watched: Sequence[Followed]) -> None:
            ended = sum(one.outcome is not None for one in watched)
            progress.update(task, completed=ended, total=len(watched), description=_present(watched))

        yield tell


def _present(watched: Sequence[Followed]) -> str:
    under_way = [one for one in watched if one.outcome is None]
    shown = [f"{printable(one.name)}: {one.code or one.step or 'waiting'}" for one in under_way]
    more = len(shown) - _SHOWN_BESIDE_THE_BAR
    return " · ".join(shown[:_SHOWN_BESIDE_THE_BAR]) + (f" · and {more} more" if more > 0 else "")


def _tell_lines(watched: Sequence[Followed], told: set[str]) -> None:
    for one in watched:
        if one.outcome is not None and one.arn not in told:
            told.add(one.arn)
            note(f"{printable(one.name)}: {one.outcome}")


def _document(one: Followed) -> dict[str, Any]:
    names = ("name", "arn", "outcome", "version_id", "joined", "step", "code", "reason", "hint")
    return {name: getattr(one, name) for name in names} | {"seconds": round(one.seconds, 3)}


def _show(ended: Sequence[Followed]) -> None:
    table(("secret", "outcome", "version", "time"), [_row(one) for one in ended])
    click.echo("")
    for one in ended:
        if one.reason and one.outcome not in (ROTATED, STARTED):
            _explain(one, one.reason)


def _explain(one: Followed, reason: str) -> None:
    place = f" at {one.step}" if one.step else ""
    click.secho(f"{printable(one.name)}: {one.outcome}{place}", bold=True)
    click.echo(f"  {one.code}: {printable(reason)}" if one.code else f"  {printable(reason)}")
    if one.hint:
        click.echo(f"  Next: {one.hint}")


def _row(one: Followed) -> list[Cell]:
    outcome = f"{one.outcome} (was under way)" if one.joined else str(one.outcome)
    return [one.name, (outcome, _STYLES.get(one.outcome or "", "")), one.version_id or "", f"{one.seconds:.1f} s"]
