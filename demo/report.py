"""What came of it: tables, one sentence about the gap, and what to try next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from demo.application import Application
from demo.rotations import ALTERNATING, SINGLE, Case, Version
from demo.screen import duration

_SHOWN_OF_ID = 8


@dataclass(frozen=True, slots=True)
class Result:
    """What happened to one secret, and to the application that uses it."""

    case: Case
    rotations: int
    versions: Sequence[Version]
    application: Application

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, a sentence each."""
        *old, new = self.versions
        table = (
            (not new.works, f"{self.case.strategy}: the new password does not log in."),
            (any(version.works for version in old), f"{self.case.strategy}: an old password still logs in."),
            (
                self.case is ALTERNATING and self.application.failed > 0,
                f"{self.case.strategy}: {self.application.failed} logins failed, and none may.",
            ),
        )
        return [sentence for applies, sentence in table if applies]


def versions_table(result: Result) -> Table:
    """The versions of a secret, their labels before and after, and a login with each password, tried now."""
    table = _table(result.case.secret, "version", "user", "before", "after", "login")
    for version in result.versions:
        worked = ("✓ logs in", "green") if version.works else ("refused", "")
        style = "" if version.after else "dim"
        before = "" if version.before is None else _labels(version.before)
        cells = version.id[:_SHOWN_OF_ID], version.username, before, _labels(version.after)
        table.add_row(*cells, Text(*worked), style=style)
    return table


def logins_table(results: Sequence[Result]) -> Table:
    """How each application fared."""
    table = _table("logins while rotating", "strategy", "rotations", "logins", "failed", "longest gap")
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        application, failed = result.application, result.application.failed
        style = "green" if not failed else "yellow" if result.case is SINGLE else "bold red"
        gap = duration(application.longest_gap) if failed else "none"
        counts = str(result.rotations), str(application.logins), Text(str(failed), style=style)
        table.add_row(result.case.strategy, *counts, gap)
    return table


def gap_sentence(single: Application) -> str:
    """Why one user cannot do without a gap, in one line."""
    measured = f"here up to {duration(single.longest_gap)}" if single.failed else "here too briefly to be met"
    return f"One user has a gap: from set to finish AWSCURRENT is stale, {measured}."


def cli_lines(data: str, url: str) -> list[str]:
    """What to type to look at the secrets with the AWS CLI."""
    command = f"aws --endpoint-url {url} secretsmanager"
    return [
        f"export AWS_SHARED_CREDENTIALS_FILE={data}/credentials",
        f"{command} list-secrets",
        f"{command} rotate-secret --secret-id {ALTERNATING.secret}",
        f"{command} describe-secret --secret-id {ALTERNATING.secret}",
    ]


def _labels(held: Sequence[str]) -> str:
    return " ".join(held) or "–"


def _table(title: str, *columns: str) -> Table:
    table = Table(
        *columns,
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="dim",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in table.columns[1:-1]:
        column.overflow = "fold"  # in a narrow terminal nothing is left out
    table.columns[-1].no_wrap = True
    return table
