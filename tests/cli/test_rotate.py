"""`keywheel rotate`, on live PostgreSQL users."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import Place
from tests.support.keywheel_server import KEYWHEEL, KeywheelServer, clean_environment
from tests.support.servers import PostgresServer, free_port


def test_a_rotation_is_seen_through(place: Place) -> None:
    """The new password logs in, the old one does not, the outcome is shown and the exit code is 0."""
    before = place.user("s")
    done = place.run("rotate", "s")
    after = place.value("s")
    assert "1 of 1 rotated." in done.stdout.decode()
    assert after["password"] != before["password"]
    place.logs_in(after)
    with pytest.raises(psycopg.OperationalError):
        place.logs_in(before)
    for password in (before["password"], after["password"]):
        assert password.encode() not in done.stdout + done.stderr


def test_one_failure_does_not_stop_the_others(place: Place) -> None:
    """Each secret has an outcome of its own with its reason, and the exit code is 1."""
    place.user("good")
    place.user("refused", password="not-the-password")
    place.user("away", port=free_port())
    document = place.json("rotate", "nothing", "refused", "away", "good", "--timeout", "3", code=1)
    found = {one["name"]: one for one in document["secrets"]}
    assert (document["succeeded"], document["failed"]) == (1, 3)
    assert {name: one["outcome"] for name, one in found.items()} == {
        "nothing": "refused", "refused": "failed", "away": "timed out", "good": "rotated"
    }  # fmt: skip
    assert {name: one["code"] for name, one in found.items()} == {
        "nothing": "ResourceNotFoundException", "refused": "LoginRefused", "away": "TargetUnavailable", "good": None
    }  # fmt: skip
    assert found["good"]["version_id"] == place.client.get_secret_value(SecretId="good")["VersionId"]
    assert found["away"]["hint"]


def test_people_are_told_why(place: Place) -> None:
    """Below the table stands what stopped it, and what to try next."""
    place.client.create_secret(Name="plain", SecretString="{}")
    shown = place.text("rotate", "plain", code=1)
    assert "InvalidRequestException: No Lambda rotation function ARN is associated with this secret." in shown
    assert "Next: Configure its rotation first" in shown


def test_a_failed_rotation_is_attempted_again(place: Place) -> None:
    """Once its cause is mended, the same command ends well: it follows the rotation that was not complete."""
    value = place.user("s", password="not-the-password")
    assert place.json("rotate", "s", code=1)["secrets"][0]["outcome"] == "failed"
    place.postgres.execute(f"ALTER ROLE {value['username']} PASSWORD 'not-the-password'")
    (again,) = place.json("rotate", "s")["secrets"]
    assert (again["outcome"], again["joined"]) == ("rotated", True)
    assert again["version_id"] == place.client.get_secret_value(SecretId="s")["VersionId"]
    place.logs_in(place.value("s"))


def test_a_rotation_that_fails_again_is_a_failure_again(place: Place) -> None:
    """How it ended before is not taken for how it ends now."""
    place.user("s", password="not-the-password")
    outcomes = [place.json("rotate", "s", code=1)["secrets"][0] for _ in range(2)]
    assert [(one["outcome"], one["joined"], one["code"]) for one in outcomes] == [
        ("failed", False, "LoginRefused"),
        ("failed", True, "LoginRefused"),
    ]


def test_a_secret_that_is_marked_for_deletion_is_refused(place: Place) -> None:
    """Its unfinished rotation is not waited for."""
    place.user("s", password="not-the-password")
    place.run("rotate", "s", code=1)
    place.client.delete_secret(SecretId="s")
    assert place.json("rotate", "s", code=1)["secrets"][0]["outcome"] == "refused"


def test_what_is_given_twice_is_rotated_once(place: Place) -> None:
    """By its name and by its ARN it is the same secret."""
    place.user("s")
    arn = place.client.describe_secret(SecretId="s")["ARN"]
    assert len(place.json("rotate", "s", arn)["secrets"]) == 1


def test_all_are_those_whose_rotation_is_on(place: Place) -> None:
    """A secret without rotation, and one whose rotation was cancelled, are left alone."""
    place.user("on")
    place.user("off")
    place.client.cancel_rotate_secret(SecretId="off")
    place.client.create_secret(Name="plain", SecretString="{}")
    assert [one["name"] for one in place.json("rotate", "--all", "--yes")["secrets"]] == ["on"]


def test_a_tag_chooses_among_them(place: Place) -> None:
    """Key and value must be equal, and all tags must be there."""
    place.user("a", tags={"env": "prod", "team": "shop"})
    place.user("b", tags={"env": "prod"})
    place.user("c", tags={"env": "production", "prod": "env"})
    assert [one["name"] for one in place.json("rotate", "--tag", "env=prod")["secrets"]] == ["a", "b"]
    both = place.json("rotate", "--tag", "env=prod", "--tag", "team=shop")
    assert [one["name"] for one in both["secrets"]] == ["a"]
    assert b"No secret whose rotation is on has this tag." in place.run("rotate", "--tag", "env=pro", code=1).stderr


def test_nothing_to_rotate_is_no_failure_of_all(place: Place) -> None:
    """It is said."""
    assert place.text("rotate", "--all") == "No secret's rotation is on.\n"


@pytest.mark.parametrize("arguments", [["s", "--all"], ["--all", "--tag", "a=b"], ["--tag", "novalue"]])
def test_one_way_to_choose_must_be_given(place: Place, arguments: list[str]) -> None:
    """A mixture is refused before anything is rotated."""
    place.run("rotate", *arguments, code=2)


@pytest.mark.parametrize(("answer", "code", "rotated"), [(b"n\n", 130, False), (b"y\n", 0, True)])
def test_all_is_asked_for_on_a_terminal(place: Place, answer: bytes, code: int, rotated: bool) -> None:
    """A person confirms; the question is on standard error, so that --json stays one document."""
    place.user("s")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    server = place.server
    done = subprocess.run(
        [KEYWHEEL, "rotate", "--all", "--json", "--region", place.region],
        stdin=theirs,
        env={**clean_environment(), "KEYWHEEL_ENDPOINT_URL": server.url, "KEYWHEEL_DATA": str(server.data)},
        capture_output=True,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert b"Rotate 1 secret" in done.stderr
    assert (done.stdout != b"") == rotated


def test_it_may_be_left_alone(place: Place) -> None:
    """With --no-wait it is started, and that is the outcome."""
    place.user("away", port=free_port())
    (one,) = place.json("rotate", "away", "--no-wait")["secrets"]
    assert one["outcome"] == "started"
    assert place.json("status")["rotations"][0]["version_id"] == one["version_id"]


def test_a_rotation_is_seen_through_an_outage_and_a_crash(tmp_path: Path) -> None:
    """The target is down, the server is killed and started again, the target comes back: the command ends well."""
    with PostgresServer() as postgres, KeywheelServer(tmp_path) as server:
        place = Place(server, postgres, "us-east-1")
        place.user("s")
        postgres.stop()
        command = [KEYWHEEL, "rotate", "s", "--json", "--timeout", "90"]
        where = {"KEYWHEEL_ENDPOINT_URL": server.url, "KEYWHEEL_DATA": str(server.data)}
        with subprocess.Popen(command, env={**clean_environment(), **where}, stdout=subprocess.PIPE) as running:
            while not any(event["event"] == "StepRetried" for event in place.json("secrets", "history", "s")["events"]):
                pass
            server.kill()
            server.restart()
            postgres.start()
            printed, _ = running.communicate(timeout=100)
        assert (running.returncode, json.loads(printed)["secrets"][0]["outcome"]) == (0, "rotated")
        place.logs_in(place.value("s"))


def test_who_stops_watching_stops_nothing(place: Place) -> None:
    """Ctrl-C ends the command, says that the rotation goes on, and it does."""
    place.user("away", port=free_port())
    command = [KEYWHEEL, "rotate", "away", "--timeout", "90", "--region", place.region]
    where = {"KEYWHEEL_ENDPOINT_URL": place.server.url, "KEYWHEEL_DATA": str(place.server.data)}
    with subprocess.Popen(command, env={**clean_environment(), **where}, stderr=subprocess.PIPE) as running:
        while place.json("status")["rotations"][0]["state"] != "retrying":
            pass
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"go on in the server" in told
    assert place.json("status")["rotations"][0]["state"] == "retrying"


def test_a_pending_version_that_a_cancelled_rotation_left_is_not_waited_for(place: Place) -> None:
    """The server refuses to rotate as long as it is there; that is the outcome, with a hint where to look."""
    place.user("away", port=free_port())
    place.run("rotate", "away", "--no-wait")
    while place.json("secrets", "history", "away")["versions"][0]["labels"] != ["AWSPENDING"]:
        pass
    place.client.cancel_rotate_secret(SecretId="away")
    (one,) = place.json("rotate", "away", code=1)["secrets"]
    assert (one["outcome"], one["code"]) == ("refused", "InvalidRequestException")
    assert "keywheel secrets history" in one["hint"]
