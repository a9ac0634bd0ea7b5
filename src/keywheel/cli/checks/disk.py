"""Checks of the data directory: what is in it, and who may read it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from keywheel.cli.checks.finding import Finding, failed, ok
from keywheel.config import Settings

_DIRECTORY = "data directory"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def directory(settings: Settings) -> Iterator[Finding]:
    """The directory and the files in it that hold secrets are their owner's alone."""
    path = settings.directory
    if not path.is_dir():
        yield failed(_DIRECTORY, f"There is no directory {path}.", "Name it with --data, or run `keywheel init`.")
        return
    yield _private(_DIRECTORY, path, 0o700)
    yield _private("root key file", settings.root_key_path, 0o600)
    yield _private("credentials file", path / "credentials", 0o600)


def _private(subject: str, path: Path, mode: int) -> Finding:
    try:
        found = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return failed(
            subject, f"{path}: {reason}.", "Restore it from a backup, or run `keywheel init` for a new house."
        )
    if found & _OTHERS:
        return failed(subject, f"{path} is open to others (mode {found:04o}).", f"chmod {mode:o} {path}")
    return ok(subject, f"{path} (mode {found:04o})")
