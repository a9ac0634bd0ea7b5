"""Checks of the rotation functions that the settings name: what `keywheel serve` asks of them before it starts."""

from __future__ import annotations

from collections.abc import Iterator

from keywheel.cli.checks.finding import Finding, failed, ok
from keywheel.errors import ConfigurationError
from keywheel.rotation.runners import Runners

_ADVICE = "Mend its table in keywheel.toml: the server does not start with it as it is."


def functions(runners: Runners) -> Iterator[Finding]:
    """Every function of the settings can be run: its interpreter, its module and what it may read are there."""
    for name in runners.names:
        subject = f"function {name}"
        try:
            runners.check_one(name)
        except ConfigurationError as error:
            yield failed(subject, error.message, error.hint() or _ADVICE)
        else:
            yield ok(subject, "its interpreter and its handler are there")
    if not runners.names:
        yield ok("functions", "none in the settings")
