"""kill -9 of `keywheel root rotate` before and after every effect: everything is readable, and it is gone on with."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from keywheel.cli.main import cli
from keywheel.config import Settings
from keywheel.db.database import open_database
from keywheel.keys.root.source import RootSource
from tests.crash.process import ROOT
from tests.keys.rooted import Rooted

_PASSPHRASES = ("the first passphrase", "another passphrase")


class Site:
    """A data directory and a store with one of everything."""

    def __init__(self, data: Path, database_url: str, *, passphrase: bool) -> None:
        self.data = data
        self.where = ["--data", str(data), "--database", database_url]
        self._settings = Settings(data=str(data), database=database_url)
        if passphrase:
            file = data.parent / "passphrase"
            file.write_text(_PASSPHRASES[0] + "\n")
            self._settings = Settings(data=str(data), database=database_url, passphrase_file=str(file))
            self.where += ["--passphrase-file", str(file)]
        self._run("init", *self.where)
        self.database = open_database(database_url)
        self.rooted = Rooted(self.database, RootSource.of(self._settings).ring())
        self._turn = 0

    def rotation(self) -> list[str]:
        """The command's arguments; a new passphrase each time, where there is one."""
        if self._settings.passphrase_file is None:
            return ["rotate", *self.where]
        self._turn += 1
        file = self.data.parent / "new-passphrase"
        file.write_text(f"{_PASSPHRASES[self._turn % 2]} {self._turn}\n")
        return ["rotate", *self.where, "--new-passphrase-file", str(file)]

    def fused(self, command: list[str], point: int | None) -> int:
        """The command with a fuse."""
        blow = [] if point is None else ["--point", str(point)]
        arguments = ["--record", str(self.data / "points"), *blow, "--", *command]
        done = subprocess.run(
            [sys.executable, "-m", "tests.crash.fused_root", *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    def points(self) -> list[str]:
        """The effects of an undisturbed run."""
        assert self.fused(self.rotation(), None) == 0
        return (self.data / "points").read_text().splitlines()

    def complete(self, command: list[str]) -> None:
        """Run it again as an operator does."""
        self._run("root", *command)

    @staticmethod
    def _run(*arguments: str) -> None:
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    def prove(self) -> None:
        """A server that starts now can read everything."""
        self.rooted.proved_by(RootSource.of(self._settings).ring())

    def prove_rotated(self) -> None:
        """By the first file alone, which is another one than before."""
        self.prove()
        left = {path.name for path in self.data.glob("*.next")} | {
            path.name for path in self.data.parent.glob("*.next")
        }
        assert left == set()


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """On each kind of store, the root key in a file."""
    made = Site(tmp_path / "data", database_url, passphrase=False)
    yield made
    made.database.close()


@pytest.fixture
def spoken(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    """The root key made from a passphrase that is in a file."""
    made = Site(tmp_path / "data", sqlite_url, passphrase=True)
    yield made
    made.database.close()


def test_a_rotation_killed_at_any_effect_leaves_everything_readable_and_is_gone_on_with(site: Site) -> None:
    """After each kill a server that starts reads everything; the same command again completes the rotation."""
    points = site.points()
    assert len(points) > 30, points
    assert [point for point in points if point.startswith("after")][-1] == "after replace root.key"
    _kill_at(site, points, range(len(points)))


def test_a_new_passphrase_survives_a_kill_at_any_change_of_a_file(spoken: Site) -> None:
    """There are two files to be moved, and moments between them."""
    points = spoken.points()
    files = [number for number, point in enumerate(points) if "transaction" not in point]
    assert len(files) >= 12, points
    _kill_at(spoken, points, files)


def _kill_at(site: Site, points: list[str], numbers: Iterable[int]) -> None:
    site.prove_rotated()
    before = (site.data / "root.key").read_text()
    for number in numbers:
        command = site.rotation()
        assert site.fused(command, number) == -signal.SIGKILL, points[number]
        site.prove()
        site.complete(command)
        site.prove_rotated()
        after = (site.data / "root.key").read_text()
        assert after != before, points[number]
        before = after
