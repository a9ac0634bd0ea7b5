"""`keywheel root`: which root key everything is under, and another one in its place, while servers run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keywheel.cli.asking import ask, read_secret_file, root_source
from keywheel.cli.house import House, open_house, tell, with_house, with_settings
from keywheel.cli.output import as_json, count, note, print_json, table
from keywheel.config import Settings
from keywheel.errors import ConfigurationError

if TYPE_CHECKING:
    from keywheel.keys.root.rotation import RootRotation, Rotation
    from keywheel.keys.root.source import RootSource
    from keywheel.sensitive import Sensitive

_KINDS = click.Choice(["file", "passphrase", "token"])
_POLL_SECONDS = 0.5
_SAID_EVERY = 2_000  # values


@click.group()
def root() -> None:
    """Rotate the root key.

    Everything is encrypted under keys, and these under the root key. These commands open the data directory themselves;
    servers may run. docs/operations/root-key.md says how to choose where the root key comes from.
    """


@root.command()
@as_json
@with_house
def status(house: House, as_json: bool) -> None:
    """Tell which root key the database is tied to, what is under which, and which processes know it.

    The exit code is 1 when something is under a root key that is not here.
    """
    from keywheel.keys.root.places import UNKNOWN

    rotation = _rotation(house)
    found, counts, present = rotation.state(), rotation.count(), house.keys.ring.current
    processes = rotation.processes()
    lost = sum(each[UNKNOWN] for each in counts.values())
    if as_json:
        print_json(_document(found, counts, present, processes))
    else:
        click.echo(f"root key    {present}, {root_source(house.settings).kind}")
        click.echo(f"rotation    {_told(found)}")
        click.echo("")
        rows = [(what, name, str(number)) for what, each in counts.items() for name, number in _rows(each)]
        table(("what", "under", "values"), rows)
        if processes:
            wanted = present if found is None else found.current
            click.echo("")
            known = [(name, "knows it" if wanted in ids else ("does not know it", "red")) for name, ids in processes]
            table(("process", "new root key" if found is not None and found.ended is None else "root key"), known)
    if lost:
        note(f"{count(lost, 'value')} under a root key that is not here. Put its file beside the present one (.next).")
        sys.exit(1)


@root.command()
@click.option("--to", type=_KINDS, help="What the new root key is made from.  [default: what the present one is]")
@click.option("--new-passphrase", is_flag=True, help="Ask for a new passphrase.")
@click.option("--new-passphrase-file", metavar="FILE", help="Take the new passphrase from this file.")
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until every running process has taken the new root key up.",
)
@click.option("--cancel", is_flag=True, help="Give a rotation up that waits for processes. Nothing is changed by then.")
@with_settings
def rotate(
    settings: Settings,
    to: str | None,
    new_passphrase: bool,
    new_passphrase_file: str | None,
    timeout: float,
    cancel: bool,
) -> None:
    """Put everything under a new root key, while servers run, and take the old one away.

    The new one is made beside the old one (FILE.next), unless it is there already. When every process that runs has
    taken it up, what the root key protects is wrapped anew; then its file takes the place of the old one, which stays
    as FILE.ID: backups made before need it. When it stopped half-way, run it again.
    """
    source = root_source(settings)
    if cancel:
        with open_house(settings, source) as house:
            _cancel(house, source)
        return
    passphrase = None
    if new_passphrase_file is not None:
        passphrase = read_secret_file(new_passphrase_file)
    elif new_passphrase:
        passphrase = ask("New passphrase of the root key")
        if ask("The same again") != passphrase:
            raise ConfigurationError("The two are not the same.")
    if passphrase is not None and to not in (None, "passphrase"):
        raise click.UsageError("A passphrase goes with --to passphrase.")
    with open_house(settings, source) as house:
        if not _finished(house, source):
            _prepare(house, source, "passphrase" if passphrase is not None else to, passphrase)
            _rotate(house, source, timeout)


@root.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A new file.")
@click.option("--to", type=_KINDS, default="file", show_default=True, help="What it is made from.")
@with_settings
def new(settings: Settings, out: Path, to: str) -> None:
    """Make a root key's file, for machines that are given theirs from outside.

    Nothing is changed by it. Give it to every machine beside the present one, under its name with `.next` behind it,
    and run `keywheel root rotate`.
    """
    root_source(settings).make(out, to, None)
    click.echo(f"Wrote {out} (mode 0600): a root key.")


# --- the steps


def _prepare(house: House, source: RootSource, kind: str | None, passphrase: Sensitive[str] | None) -> None:
    """The next root key's file, unless it is there."""
    if source.has_next():
        click.echo(f"The next root key is that of {source.next_path}.")
        return
    state = _rotation(house).state()
    if state is not None and state.ended is None:
        raise ConfigurationError(
            f"A rotation to root key {state.current} is under way, and its file is not here.",
            hint=f"Put it here as {source.next_path}, or give the rotation up by --cancel.",
        )
    source.make_next(kind or source.kind, passphrase)
    click.echo(f"Wrote {source.next_path} (mode 0600): the next root key. Keep a copy of it apart from the database.")


def _rotate(house: House, source: RootSource, timeout: float) -> None:
    from keywheel.keys.root.ring import root_key_id

    ring = house.keys.ring
    following = root_key_id(source.next_key())
    if following not in ring.ids:
        ring.look_again()
    rotation = _rotation(house)
    before = rotation.state()
    if before is None or before.ended is not None:
        tell(house, "BeginRootKeyRotation", rootKey=following)
    state = rotation.begin(following)
    click.echo(f"From root key {state.former} to {state.current}.")
    _change_over(rotation, state.current, timeout)
    done = said = 0
    for changed in rotation.rewrap():
        done += changed
        if done - said >= _SAID_EVERY:
            note(f"{count(done, 'value')} wrapped anew …")
            said = done
    click.echo(f"Wrapped {count(done, 'value')} under the new root key.")
    state = rotation.end()
    tell(house, "RotateRootKey", rootKey=state.current, formerRootKey=state.former)
    click.echo("Nothing is under the old root key any more.")
    _finish(house, source, state)


def _change_over(rotation: RootRotation, root_key: str, timeout: float) -> None:
    end, waited = time.monotonic() + timeout, False
    while not rotation.change_over():
        late = rotation.lagging(root_key)
        if time.monotonic() >= end:
            raise ConfigurationError(
                f"Root key {root_key} is not known to: {', '.join(late)}.",
                hint="Give it to their machines as well (FILE.next; its passphrase, too), start those anew that cannot "
                "read it by themselves, and run this again. Nothing is changed yet.",
            )
        if not waited:
            note(f"Waiting until every process that runs has taken it up: {', '.join(late)} …")
            waited = True
        time.sleep(_POLL_SECONDS)


def _finished(house: House, source: RootSource) -> bool:
    """Put the files in their places where only that is left to do; whether that is so."""
    state = _rotation(house).state()
    if state is None or state.ended is None or house.keys.ring.current != state.current:
        return False
    return _finish(house, source, state)


def _finish(house: House, source: RootSource, state: Rotation) -> bool:
    try:
        kept = source.finish(house.keys.ring.current, state.former)
    except ConfigurationError as error:  # the files are given from outside: all is done but that
        note(f"{error.message} {error.hint()}")
        return True
    for path in kept:
        click.echo(f"The old one stays as {path}: backups made before need it. Keep it with them, or destroy it.")
    return bool(kept)


def _cancel(house: House, source: RootSource) -> None:
    _rotation(house).cancel()
    tell(house, "CancelRootKeyRotation")
    click.echo(f"Given up. {source.next_path} is left as it is; nothing is under its root key.")


def _rotation(house: House) -> RootRotation:
    from keywheel.access import sealed as access
    from keywheel.keys.root.places import PLACES
    from keywheel.keys.root.rotation import RootRotation

    return RootRotation(house.database, house.keys.ring, (*PLACES, *access.PLACES))


# --- shown


def _told(found: Rotation | None) -> str:
    from keywheel.clock import from_epoch

    if found is None:
        return "never"
    if found.ended is not None:
        return f"from {found.former}, done {from_epoch(found.ended):%Y-%m-%d %H:%M} UTC"
    waits = "waits until every process has taken it up" if found.phase == "spread" else "wrapping anew"
    return f"from {found.former} to {found.current}: {waits}. `keywheel root rotate` goes on."


def _rows(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items()) or [("–", 0)]


def _document(found: Rotation | None, counts: Any, present: str, processes: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "rootKey": present,
        "rotation": None if found is None else asdict(found),
        "values": {what: dict(each) for what, each in counts.items()},
        "processes": [{"name": name, "rootKeys": sorted(ids)} for name, ids in processes],
    }
