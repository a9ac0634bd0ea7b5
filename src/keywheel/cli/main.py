"""`keywheel`: the command group, and how an error reaches a person."""

from __future__ import annotations

import sys

import click

from keywheel import __version__
from keywheel.errors import KeywheelError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="keywheel")
def cli() -> None:
    """Rotate every secret on schedule, without downtime, without ever losing one.

    `keywheel init` prepares a data directory, `keywheel serve` runs the server; every AWS client works against it
    with --endpoint-url. The other commands talk to a running server.
    """


def main() -> None:
    """Run the command; a keywheel error becomes two lines and exit code 1."""
    _register()
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
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


def _register() -> None:
    from keywheel.cli import init, serve

    for command in (init.init, serve.serve):
        cli.add_command(command)
