"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import click

from keywheel.errors import KeywheelError


class Grade(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination. `subject` says what was looked at, `advice` what to do about it."""

    subject: str
    grade: Grade
    detail: str
    advice: str | None = None


def ok(subject: str, detail: str) -> Finding:
    """All is well."""
    return Finding(subject, Grade.OK, detail)


def warning(subject: str, detail: str, advice: str) -> Finding:
    """It works, and may not for long."""
    return Finding(subject, Grade.WARNING, detail, advice)


def failed(subject: str, detail: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(subject, Grade.FAILED, detail, advice)


def skipped(subject: str, detail: str) -> Finding:
    """It could not be looked at, because of another finding."""
    return Finding(subject, Grade.SKIPPED, detail)


def guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of `check`; an error that ends it is one, too."""
    try:
        yield from check()
    except KeywheelError as error:
        yield failed(subject, error.message, error.hint())
    except click.Abort:
        yield failed(subject, "The passphrase was not given.", "Name its file with --passphrase-file.")
    except Exception as error:  # noqa: BLE001 - a doctor does not die of a patient; the text may hold anything
        yield failed(subject, f"The check ended with an unexpected {type(error).__name__}.", "Please report this.")
