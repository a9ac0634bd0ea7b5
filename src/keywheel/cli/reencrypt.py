"""`keywheel keys reencrypt`: secrets leave old key material."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from keywheel.cli.client import Client, ServerAway, ServerRefused, with_client
from keywheel.cli.output import as_json, console, count, note, print_json, table

_PAUSE_SECONDS, _PATIENCE_SECONDS = 0.5, 60.0
_TOLD_SECONDS = 5.0
_SHOWN = 20
_LEFT = {"secret": "SecretId", "version_id": "VersionId", "code": "Code", "reason": "Reason"}


@dataclass
class _Run:
    """What was done so far."""

    total: int = 0
    examined: int = 0
    moved: int = 0
    current: int = 0
    left: list[dict[str, str]] = field(default_factory=list)

    def add(self, page: dict[str, Any]) -> None:
        self.total = page.get("Total", self.total)
        self.examined += page["Examined"]
        self.moved += page["Moved"]
        self.current += page["Current"]
        self.left += [{name: one[member] for name, member in _LEFT.items()} for one in page["Left"]]


@click.command()
@click.option("--key", metavar="KEY", help="The versions under that key: its id, ARN or alias.")
@click.option("--all", "everything", is_flag=True, help="Every version of the account's secrets, in every Region.")
@click.option(
    "--from-generation", "generation", type=click.IntRange(1), metavar="N", help="Only those under that backing key."
)
@click.option("--dry-run", is_flag=True, help="Do all but write.")
@as_json
@with_client
def reencrypt(
    client: Client, key: str | None, everything: bool, generation: int | None, dry_run: bool, as_json: bool
) -> None:
    """Move secrets from old key material to that which their secret uses now.

    Each version, with or without a label, of replicas and of secrets that will be deleted, too, gets under the current
    backing key of the key that its secret names. Values stay as they are, and are served meanwhile. It can be broken
    off and run again at any time. `keywheel keys show KEY` counts what still depends on each backing key.

    The exit code is 1 when a version could not be moved, because a key cannot be used: they are listed with the reason.
    """
    if everything == (key is not None):
        raise click.UsageError("Say --key KEY or --all.")
    if generation is not None and key is None:
        raise click.UsageError("--from-generation is of a key: say --key KEY.")
    run = _Run()
    with _progress() as tell:
        token = None
        while True:
            page = _page(client, KeyId=key, Generation=generation, DryRun=dry_run, NextToken=token)
            run.add(page)
            tell(run)
            token = page.get("NextToken")
            if token is None:
                break
    if as_json:
        document = {name: getattr(run, name) for name in ("total", "examined", "moved", "current", "left")}
        print_json({**document, "dry_run": dry_run})
    else:
        _show(run, dry_run=dry_run)
    if run.left:
        sys.exit(1)


def _page(client: Client, **members: Any) -> dict[str, Any]:
    """One page; asked for again while the server is away, which does no harm.

    Raises:
        ServerRefused: it answered with an error of ours.
        ServerAway: it stays away, or was never there.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return client.call("keywheel.ReencryptSecrets", **members)
        except (ServerAway, ServerRefused) as error:
            begun = members.get("NextToken") is not None
            again = isinstance(error, ServerAway) or error.code == "InternalServiceError"
            if not (begun and again) or time.monotonic() > end:
                raise
        time.sleep(_PAUSE_SECONDS)


@contextmanager
def _progress() -> Iterator[Callable[[_Run], None]]:
    """On stderr: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        told = time.monotonic()

        def tell_line(run: _Run) -> None:
            nonlocal told
            if time.monotonic() - told >= _TOLD_SECONDS:
                told = time.monotonic()
                note(f"{run.examined} of {run.total} versions examined, {run.moved} moved")

        yield tell_line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda run: progress.update(
            task, completed=run.examined, total=max(run.total, run.examined), description=f"{run.moved} moved"
        )


def _show(run: _Run, *, dry_run: bool) -> None:
    if run.left:
        ordered = sorted(run.left, key=lambda one: (one["code"], one["secret"], one["version_id"]))
        table(("secret", "version", "code", "reason"), [list(one.values()) for one in ordered[:_SHOWN]])
        more = len(ordered) - _SHOWN
        click.echo(f"and {more} more; --json lists all.\n" if more > 0 else "")
        click.echo(f"{count(len(ordered), 'version')} left.")
    done = "would be moved" if dry_run else "moved"
    click.echo(
        f"{count(run.moved, 'version')} {done}; {run.current} under the current material already; "
        f"{run.examined} examined."
    )
