"""`keywheel doctor`: is everything as it should be, and if not, what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from keywheel.cli.address import OPTIONS, find_server
from keywheel.cli.checks.finding import Finding, Grade, failed, guarded, skipped
from keywheel.cli.client import Client
from keywheel.cli.house import STORE_OPTIONS
from keywheel.cli.output import as_json, print_json, printable
from keywheel.config import Settings, load_settings
from keywheel.errors import KeywheelError

if TYPE_CHECKING:
    from keywheel.keys.root.ring import RootRing

_STYLES = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.FAILED: "red", Grade.SKIPPED: "bright_black"}
_STORE = ("data", "database", "root_key_file", "passphrase_file")
_ROOMS = ("functions", "key stores", "alias rotations", "keys pending deletion", "targets")
_WHOM = ("endpoint_url", "credentials_file", "region", "ca_bundle")


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed((*OPTIONS, *STORE_OPTIONS)):
        command = option(command)
    return command


@click.command()
@as_json
@_with_options
def doctor(as_json: bool, **options: Any) -> None:
    """Examine the data directory, the database, the server, the engine, the keys and every rotation's target.

    Run it on the server's machine. It changes nothing, and shows no value. Each line says what was found and, where
    that is not good, what to do. Rotations, keys and targets are those of one account and Region, as in `keywheel
    status`.
    The exit code is 1 when something failed.
    """
    findings = []
    for finding in _examine(options):
        findings.append(finding)
        if not as_json:
            _show(finding)
    grades = [finding.grade for finding in findings]
    failures, warnings = grades.count(Grade.FAILED), grades.count(Grade.WARNING)
    if as_json:
        print_json({"checks": [_document(one) for one in findings], "failed": failures, "warnings": warnings})
    else:
        click.echo(f"\n{len(findings)} checks, {failures} failed, {warnings} with a warning.")
    if failures:
        sys.exit(1)


def _examine(options: dict[str, Any]) -> Iterator[Finding]:
    from keywheel.cli.checks import disk, server
    from keywheel.cli.checks.store import Store

    settings = load_settings({name: options[name] for name in _STORE})
    yield from guarded("data directory", lambda: disk.directory(settings))
    store = Store(settings)
    yield from store.examine()
    yield from _examine_server(settings, options)
    yield from guarded("engine", lambda: server.engine(settings))
    if store.root is None:
        yield from (skipped(subject, "the database could not be opened") for subject in _ROOMS)
    else:
        yield from guarded("targets", partial(_examine_rooms, settings, store.root, options["region"]))


def _examine_server(settings: Settings, options: dict[str, Any]) -> Iterator[Finding]:
    from keywheel.cli.checks.server import Server, clock

    try:
        address = find_server(settings, *(options[name] for name in _WHOM))
    except KeywheelError as error:
        yield failed("server", error.message, error.hint())
        yield from guarded("clock", lambda: clock(None))
        return
    with Client(address) as client:
        server = Server(client)
        yield from guarded("server", server.health)
        yield from guarded("clock", lambda: clock(server.date))
        for subject, check in (("credentials", server.credentials), ("rotations", server.rotations)):
            yield from guarded(subject, check) if server.answers else [skipped(subject, "the server does not answer")]


def _examine_rooms(settings: Settings, root: RootRing, region: str | None) -> Iterator[Finding]:
    from keywheel.cli.checks import keys
    from keywheel.cli.checks.functions import functions
    from keywheel.cli.checks.targets import targets
    from keywheel.cli.house import House
    from keywheel.server import build

    house = build(settings, root)
    try:
        scope = House(settings, house.rooms.database, house.keys).scope(None, region)
        checks: tuple[Callable[[], Iterator[Finding]], ...] = (
            lambda: functions(house.rooms.runners),
            lambda: keys.stores(house, scope),
            lambda: keys.alias_rotations(house, scope),
            lambda: keys.leaving(house, scope),
            lambda: targets(house, scope),
        )
        for subject, check in zip(_ROOMS, checks, strict=True):
            yield from guarded(subject, check)
    finally:
        house.close()


def _document(finding: Finding) -> dict[str, str | None]:
    return {
        "check": finding.subject,
        "result": finding.grade.value,
        "detail": finding.detail,
        "advice": finding.advice,
    }


def _show(finding: Finding) -> None:
    grade = click.style(f"{finding.grade.value:<8}", fg=_STYLES[finding.grade])
    click.echo(f"{grade} {printable(finding.subject)}: {printable(finding.detail)}")
    if finding.advice:
        click.echo(f"{'':<8} → {printable(finding.advice)}")
