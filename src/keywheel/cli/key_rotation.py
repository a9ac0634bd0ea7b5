"""`keywheel keys rotate`, `schedule`, `unschedule`, `history`, `jwks` and `enforce`: keys that rotate, by a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from keywheel.cli.client import Client, with_client
from keywheel.cli.durations import Duration, duration
from keywheel.cli.output import NOTHING, Cell, as_json, count, moment, print_json, printable, table
from keywheel.cli.tags import Tag
from keywheel.clock import SystemClock, to_epoch
from keywheel.errors import ConfigurationError

_POLL_SECONDS = 0.3
_ALIAS = "alias/NAME"
_STYLES = {"none": "yellow", "automatic": "green", "alias": "green"}
_DONE = {"kept": "under rotation already", "automatic": "rotates in place", "exempt": "exempt", "none": "cannot be"}


@click.command()
@click.argument("aliases", nargs=-1, required=True, metavar="ALIAS...")
@click.option("--urgent", is_flag=True, help="Use the new key at once, although nobody has heard of it yet.")
@click.option("--timeout", type=float, default=120, show_default=True, metavar="SECONDS", help="How long to follow.")
@click.option("--no-wait", is_flag=True, help="Start the rotations and leave.")
@as_json
@with_client
def rotate(
    client: Client, aliases: tuple[str, ...], urgent: bool, timeout: float, no_wait: bool, as_json: bool
) -> None:
    """Have a new key follow the one behind each ALIAS now, and follow that to its end.

    The new key is of the same kind, with the same description, policy and tags, and is tested before the alias moves.
    The former key stays as it is, or goes the way that `keywheel keys schedule` says. The exit code is 1 when an alias
    was not moved in time; one that waits for its lead is on its way, and counts as well.
    """
    started = [client.call("keywheel.StartAliasRotation", AliasName=name, Urgent=urgent) for name in aliases]
    end = time.monotonic() + (0.0 if no_wait else timeout)
    ended = [_followed(client, one, end) for one in started]
    good = [bool(one["Good"]) or no_wait for one in ended]
    if as_json:
        print_json({"aliases": ended, "succeeded": sum(good), "failed": len(good) - sum(good)})
    else:
        table(
            ("alias", "outcome", "key"), [(one["AliasName"], one["Outcome"], one.get("KeyId") or "") for one in ended]
        )
    if not all(good):
        sys.exit(1)


def _followed(client: Client, started: Mapping[str, Any], end: float) -> dict[str, Any]:
    """An alias's rotation when it is at rest, or waits for long, or time is up; with what came of it."""
    name, run = started["AliasName"], started["RotationId"]
    while True:
        found = client.call("keywheel.DescribeAliasRotation", AliasName=name)
        outcome = _outcome(found, run)
        if outcome is not None or time.monotonic() >= end:
            good, text = outcome or (False, f"at {found['Step']}")
            return {**found, "Good": good, "Outcome": text}
        time.sleep(_POLL_SECONDS)


def _outcome(found: Mapping[str, Any], run: str) -> tuple[bool, str] | None:
    if found.get("RotationId") != run:
        return True, "rotated, and again since"
    if found["Step"] == "announce":
        return True, f"announced: moves {moment(found.get('NextTry'), _now())}"
    if found["Step"] != "rest":
        return None
    if found.get("Code"):
        return False, f"failed: {printable(found.get('Reason') or found['Code'])}"
    return True, "rotated"


@click.command()
@click.argument("alias", metavar=_ALIAS)
@click.option("--cron", metavar="FIELDS", help="When: the six fields of EventBridge's cron(), such as '0 0 1 * ? *'.")
@click.option("--rate", metavar="RATE", help="When: an interval, such as '30 days' or '12 hours'.")
@click.option("--window", type=Duration(), default="0s", metavar="DURATION", help="Begin within that time after it.")
@click.option("--lead", type=Duration(), metavar="DURATION", help="Publish the new key that long before it is used.")
@click.option("--grace", type=Duration(), metavar="DURATION", help="Disable the former key after that time.")
@click.option("--delete-after", type=Duration(), metavar="DURATION", help="Delete it when unused for that long since.")
@click.option(
    "--deletion-window",
    type=click.IntRange(7, 30),
    default=30,
    show_default=True,
    metavar="DAYS",
    help="How long that deletion can be cancelled.",
)
@click.option("--restrict", is_flag=True, help="Let nobody sign, encrypt or make MACs with the former key.")
@click.option("--all-aliases", is_flag=True, help="Move the key's other aliases, too.")
@click.option("--publish", is_flag=True, help="Serve the public keys as a JWK Set to everybody.")
@click.option("--new-material", is_flag=True, help="Follow a key with imported material by one made here.")
@as_json
@with_client
def schedule(
    client: Client,
    alias: str,
    cron: str | None,
    rate: str | None,
    window: int,
    lead: int | None,
    grace: int | None,
    delete_after: int | None,
    deletion_window: int,
    restrict: bool,
    all_aliases: bool,
    publish: bool,
    new_material: bool,
    as_json: bool,
) -> None:
    """Say when the key behind an alias is followed by a new one, and what becomes of the former key.

    What is not said is as if it had never been said: without --grace a former key stays enabled, without
    --delete-after it stays disabled. Without --cron and --rate, these rules hold for `keywheel keys rotate`.
    """
    if cron is not None and rate is not None:
        raise click.UsageError("Say --cron or --rate, not both.")
    expression = None if cron is None else f"cron({_inner(cron, 'cron')})"
    if rate is not None:
        expression = f"rate({_inner(rate, 'rate')})"
    found = client.call(
        "keywheel.ScheduleAliasRotation",
        AliasName=alias,
        ScheduleExpression=expression,
        WindowSeconds=window,
        LeadSeconds=lead,
        GraceSeconds=grace,
        DeleteAfterSeconds=delete_after,
        DeletionWindowInDays=deletion_window,
        Restricted=restrict,
        Together=all_aliases,
        Published=publish,
        NewMaterial=new_material,
    )
    if as_json:
        print_json(found)
        return
    due = found.get("NextRotation")
    click.echo(f"{printable(alias)}: next rotation {moment(due, _now()) if due else 'when asked for'}.")
    click.echo(f"Former keys: {_way_out(found)}.")


@click.command()
@click.argument("alias", metavar=_ALIAS)
@as_json
@with_client
def unschedule(client: Client, alias: str, as_json: bool) -> None:
    """Rotate an alias no more but when asked for. Its former keys go on as was said."""
    found = client.call("keywheel.UnscheduleAliasRotation", AliasName=alias)
    if as_json:
        print_json(found)
    else:
        click.echo(f"{printable(alias)}: rotated only when asked for.")


@click.command()
@click.argument("alias", required=False, metavar="[ALIAS]")
@as_json
@with_client
def history(client: Client, alias: str | None, as_json: bool) -> None:
    """Tell how the rotation of an alias stands, its former keys and its journal; without ALIAS, of every alias."""
    if alias is None:
        found = list(client.pages("keywheel.ListAliasRotations", "AliasRotations"))
        if as_json:
            print_json({"aliases": found})
        else:
            _list(found)
        return
    entry = client.call("keywheel.DescribeAliasRotation", AliasName=alias)
    events = client.call("keywheel.ListAliasRotationEvents", AliasName=alias)["Events"]
    if as_json:
        print_json({**entry, "Events": events})
    else:
        _show(entry, events)


@click.command()
@click.argument("alias", metavar=_ALIAS)
@with_client
def jwks(client: Client, alias: str) -> None:
    """Print the public keys of an alias as a JWK Set: the current one first, then the next and the former ones."""
    found = client.call("keywheel.GetKeySet", AliasName=alias)
    print_json({"keys": found["Keys"]})


@click.command()
@click.option("--days", type=click.IntRange(1, 365), default=90, show_default=True, help="The longest interval.")
@click.option("--tag", type=Tag(), metavar="KEY=VALUE", help="Only the keys that have this tag.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--standing/--no-standing", default=None, help="Do it from now on, for new keys, too; or no more.")
@as_json
@with_client
def enforce(
    client: Client, days: int, tag: tuple[str, str] | None, dry_run: bool, standing: bool | None, as_json: bool
) -> None:
    """Bring every key under rotation within --days, and tell which cannot be and why.

    Symmetric encryption keys are rotated in place; every other key is followed by a new one behind its alias. The exit
    code is 1 when a key cannot be brought under rotation.
    """
    key, value = tag or (None, None)
    found = client.call(
        "keywheel.EnforceKeyRotation",
        Days=days,
        TagKey=key,
        TagValue=value,
        DryRun=dry_run,
        Standing=standing,
    )
    left = [one for one in found["Keys"] if one["Action"] == "none"]
    if as_json:
        print_json(found)
    else:
        _show_enforced(found, left, days, dry_run=dry_run)
    if left:
        sys.exit(1)


COMMANDS = (rotate, schedule, unschedule, history, jwks, enforce)


# --- shown


def _now() -> float:
    return to_epoch(SystemClock().now())


def _inner(text: str, word: str) -> str:
    """The fields of an expression that may stand in its parentheses or not.

    Raises:
        ConfigurationError: they do by half.
    """
    stripped = text.strip()
    if stripped.startswith(f"{word}(") and stripped.endswith(")"):
        return stripped[len(word) + 1 : -1]
    if "(" in stripped or ")" in stripped:
        raise ConfigurationError(f"--{word} must hold what stands in the parentheses of {word}().")
    return stripped


def _way_out(entry: Mapping[str, Any]) -> str:
    grace, after = entry.get("GraceSeconds"), entry.get("DeleteAfterSeconds")
    usable = "usable only to verify and decrypt" if entry.get("Restricted") else "usable"
    if grace is None:
        return f"stay {usable}"
    text = f"{usable} for {duration(grace)}, then disabled"
    if after is None:
        return text
    days = entry.get("DeletionWindowInDays")
    return f"{text}; when nobody has tried to use them for {duration(after)}, deleted in {days} days"


def _list(found: list[dict[str, Any]]) -> None:
    now = _now()
    if found:
        rows = [
            (
                one["AliasName"],
                one.get("KeyId") or "",
                one.get("ScheduleExpression") or "when asked for",
                "failed" if one.get("Code") else one["Step"],
                moment(one.get("LastRotated"), now),
                moment(one.get("NextRotation"), now),
            )
            for one in found
        ]
        table(("alias", "key", "schedule", "step", "last rotated", "next"), rows)
        click.echo("")
    click.echo(f"{len(found)} {'alias' if len(found) == 1 else 'aliases'} under rotation.")


def _show(entry: Mapping[str, Any], events: list[dict[str, Any]]) -> None:
    now = _now()
    click.secho(printable(entry["AliasName"]), bold=True)
    click.echo(f"key          {entry.get('KeyId') or NOTHING}")
    click.echo(f"schedule     {entry.get('ScheduleExpression') or 'when asked for'}")
    click.echo(f"last, next   {moment(entry.get('LastRotated'), now)}; {moment(entry.get('NextRotation'), now)}")
    click.echo(f"former keys  {_way_out(entry)}")
    if entry["Step"] != "rest":
        click.echo(f"under way    at {entry['Step']}, to {entry.get('NewKeyId')}")
    if entry.get("Code"):
        next_try = f" Next: {moment(entry['NextTry'], now)}." if entry.get("NextTry") else ""
        click.echo(f"failed       {entry['Code']}: {printable(entry.get('Reason') or '')}{next_try}")
    if entry.get("FormerKeys"):
        click.echo("")
        rows = [_former(one, now) for one in entry["FormerKeys"]]
        table(("former key", "left", "stage", "next", "tried in vain"), rows)
    if events:
        click.echo("")
        table(("at (UTC)", "event", "key", "reason"), [_event(one, now) for one in events])


def _former(one: Mapping[str, Any], now: float) -> list[Cell]:
    stage: str = one["Stage"]
    if one.get("Held"):
        stage += f" ({one['Held']})"
    return [
        one["KeyId"],
        moment(one["Moved"], now),
        stage,
        moment(one.get("NextStage"), now),
        moment(one.get("Missed"), now),
    ]


def _event(one: Mapping[str, Any], now: float) -> list[Cell]:
    reason = " ".join(text for text in (one.get("Code"), one.get("Reason")) if text)
    return [moment(one["At"], now, zone=""), one["Event"], one.get("KeyId") or "", printable(reason)]


def _show_enforced(found: Mapping[str, Any], left: list[dict[str, Any]], days: int, *, dry_run: bool) -> None:
    rows: list[list[Cell]] = []
    for one in found["Keys"]:
        action = one["Action"]
        text = _DONE.get(action, f"followed behind {one.get('AliasName')}")
        told = (text, _STYLES.get(action, ""))
        rows.append([one["KeyId"], one["Spec"], one.get("Description") or "", told, one.get("Reason") or ""])
    if rows:
        table(("key", "spec", "description", "rotation", "because"), rows)
        click.echo("")
    meant = [one for one in found["Keys"] if one["Action"] != "exempt"]
    good = len(meant) - len(left)
    would = "would be" if dry_run else "are"
    click.echo(f"{good} of {count(len(meant), 'key')} {would} under rotation within {count(days, 'day')}.")
    if found.get("Standing"):
        click.echo(f"From now on every new key, too, within {count(found['Standing'], 'day')}.")
