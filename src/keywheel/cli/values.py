"""Secret values on their way between a person and the server.

They come from a file, from standard input or from the server's random source, never from an argument: arguments are
seen by every process of the machine. They go to standard output only when --reveal was said.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from keywheel.cli.client import Client
from keywheel.cli.output import note, printable
from keywheel.errors import ConfigurationError
from keywheel.sensitive import Sensitive

Members = dict[str, Sensitive[str]]


def generated(client: Client) -> Members:
    """A random password, as the members of a request."""
    return {"SecretString": Sensitive(client.call("secretsmanager.GetRandomPassword")["RandomPassword"])}


def value_of(file: str) -> Members:
    """The content of `file`, as the members of a request; `-` is standard input, which a terminal does not show.

    Raises:
        ConfigurationError: the file cannot be read, or is empty.
    """
    if file == "-" and sys.stdin.isatty():
        return {"SecretString": Sensitive(click.prompt("Value", hide_input=True, err=True))}
    raw = _read(file)
    if not raw.reveal():
        raise ConfigurationError("The value is empty.", hint="Give a file with content, or --generate.")
    try:
        text = Sensitive(raw.reveal().decode())
    except UnicodeDecodeError:
        return {"SecretBinary": Sensitive(base64.b64encode(raw.reveal()).decode())}
    if text.reveal().count("\n") == 1 and text.reveal().endswith("\n"):
        note("Note: the value ends with a line break, which is kept.")
    return {"SecretString": text}


def revealed(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The value in an answer, for a JSON document."""
    if "SecretString" in answer:
        return {"value": answer["SecretString"]}
    return {"value_base64": answer.get("SecretBinary")}


def print_value(answer: Mapping[str, Any]) -> None:
    """Print the value in an answer: to a terminal as readable text, elsewhere byte for byte."""
    text, binary = answer.get("SecretString"), answer.get("SecretBinary")
    note(f"The value of {printable(answer['Name'])}, version {answer['VersionId']}:")
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(base64.b64decode(binary or "") if text is None else text.encode())
    elif text is None:
        note("(binary, shown as base64)")
        click.echo(binary)
    else:
        click.echo("\n".join(printable(line) for line in text.split("\n")))


def _read(file: str) -> Sensitive[bytes]:
    if file == "-":
        return Sensitive(sys.stdin.buffer.read())
    try:
        return Sensitive(Path(file).read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({type(error).__name__}).", hint="Name a file that you may read."
        ) from None
