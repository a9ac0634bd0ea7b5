"""Every command explains itself, starts fast, and fails in two lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from keywheel.cli import main
from keywheel.cli.main import cli
from tests.support.keywheel_server import clean_environment, run_keywheel
from tools import check_help

HEAVY = {"sqlalchemy", "alembic", "cryptography", "httpx2", "psycopg", "uvicorn", "structlog", "rich"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name."""
    waiting: list[tuple[str, click.Command]] = [("keywheel", cli)]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for part in command.list_commands(context):
                found = command.get_command(context, part)
                assert found is not None
                waiting.append((f"{name} {part}", found))


@pytest.mark.parametrize(("name", "command"), [pytest.param(*pair, id=pair[0]) for pair in commands()])
def test_every_command_and_every_option_is_explained(name: str, command: click.Command) -> None:
    """No --help leaves an option without a sentence."""
    assert command.help
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_page_of_the_command_line_is_what_help_says() -> None:
    """docs/guide/cli.md is generated, and up to date."""
    # A process of its own: click remembers a command's help option as the first caller in a process wanted it.
    done = subprocess.run([sys.executable, check_help.__file__, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_page_that_is_not_up_to_date_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The check fails until the page is written again."""
    monkeypatch.setattr(check_help, "PAGE", tmp_path / "cli.md")
    monkeypatch.setattr(sys, "argv", ["check_help.py", "--check"])
    assert check_help.main() == 1
    monkeypatch.setattr(sys, "argv", ["check_help.py"])
    assert check_help.main() == 0
    monkeypatch.setattr(sys, "argv", ["check_help.py", "--check"])
    assert check_help.main() == 0


@pytest.mark.parametrize("arguments", [["--help"], ["rotate", "--help"], ["secrets", "get", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Database, cipher, HTTP and drawing libraries are imported by commands that run."""
    program = (
        "import json, sys\nfrom keywheel.cli.main import cli\n"
        f"cli({arguments!r}, standalone_mode=False)\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=clean_environment())
    assert set(json.loads(done.stdout.splitlines()[-1])) & HEAVY == set()


def test_an_error_is_two_lines_and_exit_code_1(tmp_path: Path) -> None:
    """What happened, and what to try next; nothing on standard output."""
    done = run_keywheel("status", "--json", environment={"KEYWHEEL_DATA": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, b"")
    error, following = done.stderr.decode().splitlines()
    assert error == f"Error: There is no credentials file {tmp_path}/credentials."
    assert following.startswith("Next:  Name the server's data directory with --data")


@pytest.mark.parametrize("arguments", [["dance"], ["status", "--dance"], ["secrets", "get"], ["rotate"]])
def test_what_is_not_understood_is_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    """A wrong command, a wrong option, and a missing argument are told from a failure."""
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    done = run_keywheel(*arguments, environment={"KEYWHEEL_DATA": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Usage: keywheel" in done.stderr


def test_a_command_may_choose_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """By click's own way, too."""

    @click.command()
    @click.pass_context
    def three(context: click.Context) -> None:
        context.exit(3)

    monkeypatch.setattr(main, "cli", three)
    monkeypatch.setattr(sys, "argv", ["keywheel"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 3
