"""`keywheel`: the command group, and how an error reaches a person."""

from __future__ import annotations

import importlib
import sys

import click

from keywheel import __version__
from keywheel.errors import KeywheelError

# In the order of a first day with keywheel. A command's file is imported when the command is asked for.
_COMMANDS = {
    "init": "init:init",
    "serve": "serve:serve",
    "status": "status:status",
    "rotate": "rotate:rotate",
    "why": "why:why",
    "repair": "why:repair",
    "evidence": "evidence:evidence",
    "secrets": "secrets:secrets",
    "access": "access:access",
    "keys": "keys:keys",
    "root": "root:root",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "move": "move:move",
    "migrate": "migrate:migrate",
    "audit": "audit:audit",
    "clock": "clock:clock",
    "doctor": "doctor:doctor",
}


class _Commands(click.Group):
    """The commands, each imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        file, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"keywheel.cli.{file}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="keywheel")
def cli() -> None:
    """Rotate every secret on schedule, without downtime, without ever losing one.

    `keywheel init` prepares a data directory, `keywheel serve` runs the server; every AWS client works against it
    with --endpoint-url. `status`, `rotate`, `why`, `repair`, `evidence`, `clock` and `secrets` talk to a server,
    `access`, `keys`, `root` and `audit` open the data directory themselves, and `doctor` looks at both.
    """


def main() -> None:
    """Run the command; a keywheel error becomes two lines and exit code 1."""
    try:
        sys.exit(cli(standalone_mode=False))  # what a command asks for by `ctx.exit` is given back, not raised
    except click.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeywheelError as error:
        click.echo(f"Error: {error.message}", err=True)
        click.echo(f"Next:  {error.hint()}", err=True)
        sys.exit(1)
