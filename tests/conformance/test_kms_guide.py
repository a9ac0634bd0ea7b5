"""The commands of docs/guide/kms.md, run one after the other with the AWS CLI: each prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.server import Server
from tests.support.guides import commands
from tests.support.keywheel_server import clean_environment

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "kms.md"
BEHIND = "@@ end of a command @@"

# The CLI takes a second for each call, and no store can make a difference to it.
pytestmark = pytest.mark.parametrize("server", ["sqlite"], indirect=True, scope="session")


def test_the_guide_says_what_happens(server: Server, tmp_path: Path) -> None:
    """In one shell, as a reader would. What `keywheel` itself prints is not on the page."""
    shown = commands(PAGE, skip=1)  # its first block is exports
    assert len(shown) > 40
    script = "".join(f"{command}\necho '{BEHIND}'\n" for command, _ in shown)
    files = {
        "AWS_CONFIG_FILE": str(server.data / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(server.data / "credentials"),
        "AWS_ENDPOINT_URL_KMS": server.url,
        "AWS_PAGER": "",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    (tmp_path / "keywheel-data").symlink_to(server.data)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail"],
        input=script,
        cwd=tmp_path,
        env={**clean_environment(), **files},
        capture_output=True,
        text=True,
        timeout=900,
    )
    printed = done.stdout.split(BEHIND + "\n")
    assert done.returncode == 0, (shown[len(printed) - 1], done.stderr)
    for (command, told), answer in zip(shown, printed, strict=False):
        if not command.startswith("keywheel"):
            assert answer.strip() == told.strip(), command
    assert any("alias/invoices" in answer for answer in printed[-3:])
    # Only what the page means to be refused was.
    assert re.findall(r"\((\w+)\) when calling", done.stderr) == ["DisabledException"]
