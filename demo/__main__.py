"""The demo: `python -m demo [--keep]`, or `make demo`. It ends with exit code 0 when every promise was kept."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from rich.text import Text

from demo import report, rotations
from demo.application import Application
from demo.errors import DemoFailed
from demo.house import House
from demo.keeper import ALTERNATING, SINGLE
from demo.report import Result
from demo.rotations import Case
from demo.screen import Screen, standard_output
from keywheel.cli.address import Address, find_server
from keywheel.cli.client import Client
from keywheel.config import load_settings
from keywheel.errors import KeywheelError
from keywheel.rotator import Credential
from keywheel.sensitive import Sensitive

_PAUSE_SECONDS = 0.3  # between rotations, for the eye


def main(arguments: Sequence[str] | None = None) -> int:
    """Show everything; the exit code."""
    options = _options(arguments)
    screen = standard_output()
    signal.signal(signal.SIGTERM, _leave)
    try:
        return _demo(screen, rounds=options.rotations, keep=options.keep)
    except KeyboardInterrupt:
        screen.show(Text("Interrupted. Both servers are stopped, and their files removed.", style="yellow"))
        return 128 + signal.SIGINT
    except DemoFailed as error:
        screen.show(Text(str(error), style="bold red"))
    except KeywheelError as error:
        screen.show(Text(f"{error.message} {error.hint()}", style="bold red"))
    return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave both servers running, and say how to stop them")
    parser.add_argument("--rotations", type=int, default=5, metavar="N", help="how often each secret is rotated")
    return parser.parse_args(arguments)


def _demo(screen: Screen, *, rounds: int, keep: bool) -> int:
    screen.title("keywheel", "PostgreSQL passwords rotated while an application logs in")
    with House() as house:
        address, data = _start(screen, house)
        with Client(address) as client:
            results = [_rotate(screen, client, case, rounds) for case in (rotations.SINGLE, rotations.ALTERNATING)]
        broken = _report(screen, results)
        if keep:
            house.keep()
            _say_how_to_go_on(screen, data, address.endpoint, house.keeper)
        else:
            screen.show("")
            with screen.doing("Stopping both servers …") as tell:
                house.end()
                tell("both servers are stopped and their files removed")
            screen.chapter("Try next", "`make demo KEEP=1` leaves both running, and prints these lines ready to paste:")
            screen.commands(report.cli_lines("DIR", "http://127.0.0.1:PORT"))
    return 1 if broken else 0


def _start(screen: Screen, house: House) -> tuple[Address, str]:
    """Both servers and the secrets; where the server is, and its data directory."""
    screen.chapter("Start", "A private PostgreSQL and a keywheel server, both in a temporary directory.")
    with screen.doing("Starting PostgreSQL …") as tell:
        postgres = house.hear("postgres")
        tell(f"PostgreSQL {postgres['version']} on 127.0.0.1:{postgres['port']}, every login by SCRAM-SHA-256")
    with screen.doing("Starting keywheel …") as tell:
        keywheel = house.hear("keywheel")
        tell(f"keywheel init, keywheel serve: {keywheel['url']}, on SQLite")
    settings = load_settings({"data": keywheel["data"]}, environment={})
    address = find_server(settings, keywheel["url"], None, None, None)
    with screen.doing("Creating three secrets …") as tell, Client(address) as client:
        held = {user: Credential.parse(Sensitive(value)) for user, value in postgres["secrets"].items()}
        superuser = held[postgres["superuser"]]
        rotations.create_secrets(client, superuser=superuser, single=held[SINGLE], alternating=held[ALTERNATING])
        tell(f"secrets {rotations.SUPERUSER}, {rotations.SINGLE.secret}, {rotations.ALTERNATING.secret}")
    return address, settings.data


def _rotate(screen: Screen, client: Client, case: Case, rounds: int) -> Result:
    """Rotate one secret several times, while an application keeps logging in."""
    screen.chapter(case.strategy.capitalize(), case.explanation)
    before = rotations.labels(client, case)
    with Application(client, case.secret) as application, screen.rotating(application, rounds) as rotating:
        for _ in range(rounds):
            time.sleep(_PAUSE_SECONDS)
            rotating.begin()
            for step, at in rotations.rotate(client, case):
                rotating.reach(step, at)
            application.check()
    return Result(case, rounds, rotations.tried(client, case, before), application)


def _report(screen: Screen, results: Sequence[Result]) -> list[str]:
    """The tables; the promises that were not kept."""
    screen.chapter("Result", "Labels before and after, and a fresh login with every password there ever was.")
    tables = [report.versions_table(result) for result in results] + [report.logins_table(results)]
    for table in tables:
        screen.show("", table)
    screen.show("", report.gap_sentence(results[0].application))
    broken = [sentence for result in results for sentence in result.broken]
    screen.show(*(Text(sentence, style="bold red") for sentence in broken))
    return broken


def _say_how_to_go_on(screen: Screen, data: str, url: str, keeper: int) -> None:
    screen.chapter("Try next", "Both servers run on. The AWS CLI talks to keywheel as it does to AWS:")
    screen.commands(report.cli_lines(data, url))
    screen.chapter("Stop", "This stops both servers and removes their files:")
    screen.commands([f"kill {keeper}"])


def _leave(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
