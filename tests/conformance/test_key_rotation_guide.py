"""The commands of docs/guide/key-rotation.md, run one after the other: each prints what the page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.guides import commands
from tests.support.keywheel_server import KeywheelServer, clean_environment

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "key-rotation.md"
BEHIND = "@@ end of a command @@"


def test_the_guide_says_what_happens(tmp_path: Path) -> None:
    """In one shell, as a reader would, with a server of one's own: `enforce` is about every key that there is."""
    shown = commands(PAGE)
    assert len(shown) > 20
    script = "".join(f"{command}\necho '{BEHIND}'\n" for command, _ in shown)
    with KeywheelServer(tmp_path) as server:
        done = run(script, server, tmp_path)
    printed = done.stdout.split(BEHIND + "\n")
    assert done.returncode == 0, (shown[len(printed) - 1], done.stderr)
    for (command, told), answer in zip(shown, printed, strict=False):
        assert answer.strip() == told.strip(), command


def run(script: str, server: KeywheelServer, place: Path) -> subprocess.CompletedProcess[str]:
    """What a shell prints that runs `script` in `place`, with the administrator's credentials."""
    files = {
        "AWS_CONFIG_FILE": str(server.data / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(server.data / "credentials"),
        "AWS_ENDPOINT_URL_KMS": server.url,
        "AWS_PAGER": "",
        "KEYWHEEL_DATA": str(server.data),
        "KEYWHEEL_ENDPOINT_URL": server.url,
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail"],
        input=script,
        cwd=place,
        env={**clean_environment(), **files},
        capture_output=True,
        text=True,
        timeout=600,
    )
