"""`keywheel secrets`. No value is seen but by --reveal."""

from __future__ import annotations

import base64
import json
import os
import pty
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import Place
from tests.support.keywheel_server import KEYWHEEL, clean_environment

VALUE = "correct horse battery staple"


def create(place: Place, name: str, value: str = VALUE, *more: str) -> None:
    """Create a secret from standard input."""
    place.run("secrets", "create", name, "--value-file", "-", *more, stdin=value.encode())


def test_a_value_comes_from_standard_input_as_it_stands(place: Place) -> None:
    """Nothing is added or taken away, a line break at the end included, which is noted."""
    done = place.run("secrets", "create", "s", "--value-file", "-", stdin=b"hunter2\n")
    assert place.client.get_secret_value(SecretId="s")["SecretString"] == "hunter2\n"
    assert b"ends with a line break" in done.stderr


def test_a_value_comes_from_a_file(place: Place, tmp_path: Path) -> None:
    """With its description and tags."""
    file = tmp_path / "value"
    file.write_text(json.dumps({"a": "b"}))
    place.run(
        "secrets",
        "create",
        "s",
        "--value-file",
        str(file),
        "--description",
        "what for",
        "--tag",
        "a=b=c",
        "--tag",
        "d=",
    )
    described = place.client.describe_secret(SecretId="s")
    assert place.value("s") == {"a": "b"}
    assert described["Description"] == "what for"
    assert described["Tags"] == [{"Key": "a", "Value": "b=c"}, {"Key": "d", "Value": ""}]


def test_bytes_that_are_not_text_become_a_binary_secret(place: Place) -> None:
    """And come back byte for byte."""
    raw = bytes(range(256))
    place.run("secrets", "create", "s", "--value-file", "-", stdin=raw)
    assert place.client.get_secret_value(SecretId="s")["SecretBinary"] == raw
    assert place.run("secrets", "get", "s", "--reveal").stdout == raw
    assert base64.b64decode(place.json("secrets", "get", "s", "--reveal")["value_base64"]) == raw


def test_a_value_can_be_drawn(place: Place) -> None:
    """It is the server's random password, and nobody sees it."""
    done = place.run("secrets", "create", "s", "--generate", "--json")
    value = place.client.get_secret_value(SecretId="s")
    assert len(value["SecretString"]) == 32
    assert value["SecretString"].encode() not in done.stdout + done.stderr
    assert json.loads(done.stdout) == {"name": "s", "arn": value["ARN"], "version_id": value["VersionId"]}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--generate", "--value-file", "-"], 2),
        ([], 2),
        (["--value-file", "/nowhere"], 1),
        (["--value-file", "-"], 1),
    ],
)
def test_without_one_value_no_secret_is_made(place: Place, arguments: list[str], code: int) -> None:
    """Two ways, no way, a file that is not there, and an empty value are refused."""
    place.run("secrets", "create", "s", *arguments, code=code)
    assert place.json("secrets", "list") == {"secrets": []}


def test_a_terminal_is_asked_for_the_value_and_does_not_show_it(place: Place) -> None:
    """What is typed is not echoed."""
    ours, theirs = pty.openpty()
    server, shown = place.server, b""
    with subprocess.Popen(
        [KEYWHEEL, "secrets", "create", "s", "--value-file", "-", "--region", place.region],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**clean_environment(), "KEYWHEEL_ENDPOINT_URL": server.url, "KEYWHEEL_DATA": str(server.data)},
        start_new_session=True,
    ) as running:
        os.close(theirs)
        while b"Value:" not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, VALUE.encode() + b"\n")
        with suppress(OSError):  # the end of a terminal
            while more := os.read(ours, 1024):
                shown += more
    os.close(ours)
    assert running.returncode == 0, shown
    assert place.client.get_secret_value(SecretId="s")["SecretString"] == VALUE
    assert VALUE.encode() not in shown


def test_no_command_shows_a_value_that_was_not_asked_for(place: Place) -> None:
    """Neither to people nor to programs."""
    create(place, "s")
    for command in (["get", "s"], ["list"], ["history", "s"]):
        for form in ([], ["--json"]):
            done = place.run("secrets", *command, *form)
            assert VALUE.encode() not in done.stdout + done.stderr
            assert b"SecretString" not in done.stdout
    assert "hidden; --reveal prints it" in place.text("secrets", "get", "s")
    assert "value" not in place.json("secrets", "get", "s")


def test_a_value_that_is_not_asked_for_is_not_read(place: Place) -> None:
    """The version keeps the date of its last access: none."""
    create(place, "s")
    place.run("secrets", "get", "s")
    assert "LastAccessedDate" not in place.client.describe_secret(SecretId="s")


def test_reveal_prints_the_value_and_nothing_else(place: Place) -> None:
    """Standard output holds it byte for byte; what it is stands on standard error."""
    create(place, "s")
    done = place.run("secrets", "get", "s", "--reveal")
    assert done.stdout == VALUE.encode()
    assert b"The value of s, version " in done.stderr
    assert place.json("secrets", "get", "s", "--reveal")["value"] == VALUE


def test_a_version_is_chosen_by_id_or_label(place: Place) -> None:
    """As GetSecretValue chooses; AWSCURRENT unless told."""
    create(place, "s", "first")
    second = place.client.put_secret_value(SecretId="s", SecretString="second")["VersionId"]
    first = place.json("secrets", "get", "s", "--stage", "AWSPREVIOUS")["version"]["version_id"]
    assert place.json("secrets", "get", "s")["version"]["version_id"] == second
    assert place.json("secrets", "get", "s", "--version-id", first)["version"]["labels"] == ["AWSPREVIOUS"]
    assert place.run("secrets", "get", "s", "--version-id", first, "--reveal").stdout == b"first"
    assert place.run("secrets", "get", "s", "--stage", "AWSPREVIOUS", "--reveal").stdout == b"first"
    assert b"no version labelled MINE" in place.run("secrets", "get", "s", "--stage", "MINE", code=1).stderr
    assert b"ResourceNotFoundException" in place.run("secrets", "get", "nothing", code=1).stderr


def test_secrets_are_listed_by_name(place: Place) -> None:
    """With their tags, by which they can be chosen; the next rotation of those that are rotated."""
    create(place, "b", VALUE, "--tag", "env=prod", "--description", "second")
    create(place, "a")
    place.user("c")
    found = place.json("secrets", "list")["secrets"]
    assert [(one["name"], one["tags"], one["rotation_enabled"]) for one in found] == [
        ("a", {}, False),
        ("b", {"env": "prod"}, False),
        ("c", {}, True),
    ]
    assert found[2]["next_rotation"].endswith("Z")
    assert [one["name"] for one in place.json("secrets", "list", "--tag", "env=prod")["secrets"]] == ["b"]
    shown = place.text("secrets", "list")
    assert "env=prod" in shown
    assert shown.endswith("\n3 secrets.\n")


def test_what_others_wrote_cannot_move_the_cursor(place: Place) -> None:
    """A description with an escape sequence is shown without its escape."""
    create(place, "s", VALUE, "--description", "\x1b[2Jwiped")
    for command in (["list"], ["get", "s"]):
        shown = place.text("secrets", *command)
        assert "\x1b" not in shown
        assert "[2Jwiped" in shown


def test_the_history_tells_versions_and_rotations(place: Place) -> None:
    """Versions with their labels, newest first; the journal with every step."""
    place.user("s")
    version = place.json("rotate", "s")["secrets"][0]["version_id"]
    document = place.json("secrets", "history", "s")
    assert (document["versions"][0]["version_id"], document["versions"][0]["labels"]) == (version, ["AWSCURRENT"])
    assert document["versions"][1]["labels"] == ["AWSPREVIOUS"]
    told = [(event["event"], event["step"]) for event in document["events"] if event["version_id"] == version]
    assert told == [
        ("RotationSucceeded", "finish"),
        ("StepDone", "test"),
        ("StepDone", "set"),
        ("StepDone", "create"),
        ("RotationStarted", "create"),
    ]
    shown = place.text("secrets", "history", "s")
    assert "RotationSucceeded" in shown
    assert version in shown


def test_a_secret_that_was_never_rotated_has_versions_only(place: Place) -> None:
    """And that is said."""
    create(place, "s")
    assert place.text("secrets", "history", "s").endswith("No rotation yet.\n")


def test_the_credentials_are_not_open_to_others(place: Place) -> None:
    """What the commands read to sign with belongs to its owner alone."""
    assert stat.S_IMODE((place.server.data / "credentials").stat().st_mode) == 0o600
