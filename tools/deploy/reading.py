"""How the files of deploy/ are read, and what is asked of any command or setting in them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from keywheel import processes
from keywheel.cli.main import cli
from keywheel.config import Settings

Node = dict[str, Any]

# What stops a server must leave its children the time that they are given.
STOP_SECONDS = int(processes._STOP_SECONDS)  # noqa: SLF001 # a number of the server's own, which is no setting
DATA = "/var/lib/keywheel"
_SETTING = re.compile(r"\bKEYWHEEL_[A-Z_]+")
_SETTINGS = {f"KEYWHEEL_{field.upper()}" for field in Settings.__struct_fields__}
_PASSWORD_IN_URL = re.compile(r"://[^\s/:@]+:[^\s/@]+@")


class _Strict(yaml.SafeLoader):  # type: ignore[misc] # PyYAML says no types
    """YAML in which a key stands once: most parsers take the last one and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def documents(path: Path) -> list[Node]:
    """Every document of a YAML file.

    Raises:
        ValueError: it is not YAML, or a document is no mapping.
    """
    try:
        found = list(yaml.load_all(path.read_text(encoding="utf-8"), _Strict))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not found or not all(isinstance(each, dict) for each in found):
        raise ValueError("a document is not a mapping")
    return found


def misused(words: Sequence[str]) -> str | None:
    """Why `keywheel WORDS` would not be understood; None when it would. Nothing is run."""
    context, rest = click.Context(cli, info_name="keywheel"), list(words)
    command: click.Command = cli
    try:
        while isinstance(command, click.Group):
            found = command.get_command(context, rest[0]) if rest else None
            if found is None:
                return f"`{context.command_path}` has no command `{rest[0] if rest else ''}`"
            command, context = found, click.Context(found, info_name=rest.pop(0), parent=context)
        command.make_context(context.info_name, rest, parent=context.parent)
    except click.ClickException as error:
        return f"`{context.command_path}`: {error.format_message()}"
    return None


def unknown_settings(text: str) -> Iterator[str]:
    """The variables in `text` that look like settings and are none."""
    yield from (f"{name} is not a setting" for name in sorted(set(_SETTING.findall(text)) - _SETTINGS))


def shows_a_password(text: str) -> bool:
    """Whether an address in `text` has a password."""
    return _PASSWORD_IN_URL.search(text) is not None


def option(words: Sequence[str], name: str) -> str | None:
    """The value of a long option."""
    for index, word in enumerate(words):
        if word == name:
            return words[index + 1] if index + 1 < len(words) else None
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
