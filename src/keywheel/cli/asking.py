"""What is secret and a command needs: from a file, or asked for at the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from keywheel.config import Settings
from keywheel.errors import ConfigurationError
from keywheel.sensitive import Sensitive

if TYPE_CHECKING:
    from keywheel.keys.root.source import RootSource


def read_secret_file(path: str) -> Sensitive[str]:
    """The first line of a file that holds a secret.

    Raises:
        ConfigurationError: it cannot be read, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({type(error).__name__}).") from None
    if not text:
        raise ConfigurationError(f"{path} is empty.")
    return Sensitive(text)


def ask(what: str) -> Sensitive[str]:
    """A passphrase or PIN that is in no file: asked for at the terminal."""
    return Sensitive(click.prompt(what, hide_input=True, err=True))


def root_source(settings: Settings) -> RootSource:
    """Where the root key comes from; what is in no file is asked for at the terminal."""
    from keywheel.keys.root.source import RootSource

    return RootSource.of(settings, ask)
