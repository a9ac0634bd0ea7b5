"""A PKCS #11 token of SoftHSM2's, for one test: it can be taken away and put back like a card."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

import pytest

from keywheel.sensitive import Sensitive

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
LABEL = "keywheel"


class SoftToken:
    """A token in a directory of its own. Servers find it by `environment`."""

    def __init__(self, directory: Path) -> None:
        self.pin = Sensitive(secrets.token_hex(8))
        self.pin_file = directory / "pin"
        self.pin_file.write_text(f"{self.pin.reveal()}\n")
        self._there, self._away = directory / "tokens", directory / "taken-away"
        self._there.mkdir()
        self._configuration = directory / "softhsm2.conf"
        self._configuration.write_text(
            f"directories.tokendir = {self._there}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.environment = {"SOFTHSM2_CONF": str(self._configuration)}
        self.add(LABEL)

    def add(self, label: str) -> None:
        """One more token of the same PIN in the same library."""
        self._util("--init-token", "--free", "--label", label, "--so-pin", secrets.token_hex(8), "--pin", self.pin)

    def take_away(self) -> None:
        """From now on there is no token."""
        self._there.rename(self._away)

    def put_back(self) -> None:
        """There it is again."""
        self._away.rename(self._there)

    def _util(self, *arguments: str | Sensitive[str]) -> None:
        words = [each if isinstance(each, str) else each.reveal() for each in arguments]
        done = subprocess.run(
            ["softhsm2-util", *words], env={**os.environ, **self.environment}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def soft_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftToken:
    """A token that this process finds, too."""
    directory = tmp_path / "softhsm"
    directory.mkdir()
    token = SoftToken(directory)
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    return token
