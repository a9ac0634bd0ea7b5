"""`make demo`: what it shows, that it shows no secret value, and that it leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from demo.application import Application
from demo.report import Result
from demo.rotations import ALTERNATING, SINGLE, Case, Version
from keywheel.cli.address import find_server
from keywheel.cli.client import Client
from keywheel.config import load_settings
from keywheel.rotator import Credential
from keywheel.sensitive import Sensitive

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 90.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for every file of a demo. It stands in the command line or is the directory of each process."""
    path = Path(tempfile.mkdtemp(prefix="demo-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def left_behind(place: Path) -> list[str]:
    """The files and the processes of a demo that are still there."""
    left = [str(path) for path in place.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            command, at = (process / "cmdline").read_bytes(), str((process / "cwd").readlink())
            if bytes(place) in command or at.startswith(str(place)):
                left.append(command.replace(b"\0", b" ").decode())
    return left


def nothing_left_behind(place: Path) -> bool:
    """Whether all is gone within a while."""
    deadline = time.monotonic() + 20
    while left_behind(place) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not left_behind(place)


def start(place: Path, *arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
    """The demo as `make demo` starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(place), "COLUMNS": "80", **environment},
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(place: Path, *arguments: str) -> str:
    """What a demo shows that ends well."""
    process = start(place, *arguments)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, output
    return output


def test_it_shows_the_main_job_twice_in_a_row_and_leaves_nothing(place: Path) -> None:
    """Each step, the labels before and after, the logins, the AWS CLI lines; both times."""
    for rotations, arguments in ((5, []), (2, ["--rotations", "2"])):
        output = run(place, *arguments)

        assert left_behind(place) == []
        steps = re.findall(r"✓ \d  created · set · tested · finished in .* · old one retired", output)
        assert len(steps) == 2 * rotations
        assert re.search(rf"single user +{rotations} +\d+ +\d+ ", output)
        assert re.search(rf"alternating users +{rotations} +\d+ +0 +none", output)
        assert len(re.findall(r"AWSCURRENT +✓ logs in", output)) == 2
        assert len(re.findall(r"AWSPREVIOUS +refused", output)) == 2
        assert output.count(" refused  ") + output.count(" refused\n") >= 2 * rotations
        assert output.count("aws --endpoint-url http://127.0.0.1:PORT secretsmanager ") == 3
        assert "make demo KEEP=1" in output


def test_kept_servers_go_on_until_they_are_stopped_and_no_value_was_shown(place: Path) -> None:
    """With --keep the printed lines work; every value that the server then holds is missing from the output."""
    output = run(place, "--keep", "--rotations", "1")
    found = re.search(r"AWS_SHARED_CREDENTIALS_FILE=(\S+)/credentials", output)
    url, stop = re.search(r"--endpoint-url (\S+)", output), re.search(r"kill (\d+)", output)
    assert found is not None
    assert url is not None
    assert stop is not None

    address = find_server(load_settings({"data": found[1]}, environment={}), url[1], None, None, None)
    with Client(address) as client:
        values = [address.secret, *passwords(client)]
    assert len(values) == 1 + 1 + 2 + 2  # the access key; the superuser's; two versions for each application
    shown = "".join(output.split())
    assert [value.reveal() for value in values if value.reveal() in shown] == []

    os.kill(int(stop[1]), signal.SIGTERM)
    assert nothing_left_behind(place), left_behind(place)


def passwords(client: Client) -> list[Sensitive[str]]:
    """The password of every version of every secret."""
    found = []
    for secret in client.call("secretsmanager.ListSecrets")["SecretList"]:
        given = {"SecretId": secret["ARN"]}
        versions = client.call("secretsmanager.ListSecretVersionIds", **given, IncludeDeprecated=True)["Versions"]
        for version in versions:
            answer = client.call("secretsmanager.GetSecretValue", **given, VersionId=version["VersionId"])
            found.append(Credential.parse(Sensitive(answer["SecretString"])).password)
    return found


def test_ctrl_c_in_a_terminal_cleans_up(place: Path) -> None:
    """In the middle of a rotation, with a spinner and a bar on the screen."""
    ours, its = pty.openpty()
    process = start(place, stdout=its, TERM="xterm", COLUMNS="60")
    os.close(its)
    seen = until(ours, "1/5 rotations")
    os.killpg(process.pid, signal.SIGINT)
    seen += until(ours, "Interrupted")

    assert process.wait(LIMIT) == 128 + signal.SIGINT
    os.close(ours)
    assert "\x1b[?25l" in seen  # it hid the cursor,
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # and showed it again
    assert left_behind(place) == []


def until(terminal: int, text: str) -> str:
    """What is printed until `text` is."""
    seen = ""
    while text not in seen:
        seen += os.read(terminal, 65_536).decode(errors="replace")
    return seen


def test_a_demo_that_is_killed_leaves_nothing(place: Path) -> None:
    """The servers end by themselves when the demo cannot end them."""
    process = start(place)
    assert process.stdout is not None
    for line in process.stdout:
        if "✓ keywheel" in line:
            break
    process.kill()
    process.communicate()

    assert nothing_left_behind(place), left_behind(place)


NEW, OLD, OLD_THAT_WORKS, NEW_THAT_FAILS = (
    Version(id="", username="", before=None, after=(), works=works) for works in (True, False, True, False)
)
PROMISES: list[tuple[Case, list[Version], int, list[str]]] = [
    (SINGLE, [OLD, NEW], 3, []),
    (ALTERNATING, [OLD, NEW], 0, []),
    (ALTERNATING, [OLD, NEW], 1, ["alternating users: 1 logins failed, and none may."]),
    (SINGLE, [OLD, NEW_THAT_FAILS], 0, ["single user: the new password does not log in."]),
    (ALTERNATING, [OLD_THAT_WORKS, NEW], 0, ["alternating users: an old password still logs in."]),
]


@pytest.mark.parametrize(("case", "versions", "failed", "expected"), PROMISES)
def test_a_promise_that_was_not_kept_is_told(
    case: Case, versions: list[Version], failed: int, expected: list[str]
) -> None:
    """Then the exit code is 1."""
    application = Application(cast("Client", None), case.secret)
    application.failed = failed

    assert expected == Result(case, 1, versions, application).broken
