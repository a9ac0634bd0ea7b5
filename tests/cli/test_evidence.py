"""`keywheel evidence` against a real server and a real PostgreSQL; its file stands up to the verifier, offline."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-single-user"
NAME = "login"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[KeywheelServer]:
    """A server on which `login` was rotated twice, the first time as its rules say."""
    with KeywheelServer(tmp_path_factory.mktemp("evidence")) as running:
        api = running.client()
        api.create_secret(Name=NAME, SecretString=postgres.new_user().to_json().reveal())
        for days in (30, 60):
            api.rotate_secret(
                SecretId=NAME,
                RotationLambdaARN=FUNCTION,
                RotationRules={"AutomaticallyAfterDays": days},
                ClientRequestToken=str(uuid.uuid4()),
            )
            assert running.keywheel("repair", NAME).returncode == 0
            api.get_secret_value(SecretId=NAME)
        yield running


@pytest.fixture(scope="module")
def whole(server: KeywheelServer) -> Document:
    """The evidence of the last rotation, once the ledger has all of it under a signature."""
    end = time.monotonic() + 30.0
    while time.monotonic() < end:
        done = server.keywheel("evidence", NAME, "--format", "json")
        assert done.returncode == 0, done.stderr.decode()
        if not done.stderr:
            document: Document = json.loads(done.stdout)
            return document
        time.sleep(0.2)
    raise AssertionError(done.stderr.decode())


def verify(server: KeywheelServer, file: Path) -> subprocess.CompletedProcess[str]:
    """What an auditor does, who has the file, the key and the one file of the verifier."""
    key = server.data / "audit" / "public-key.pem"
    command = [sys.executable, "-m", "keywheel.verifier", "--evidence", str(file), "--key", str(key)]
    return subprocess.run(command, capture_output=True, text=True)


def proofs_of(document: Document) -> dict[str, Document]:
    """The entries that are proved, by the names of their events, the last of each."""
    entries = [json.loads(proof["entry"]) for proof in document["ledger"]["proofs"]]
    return {entry["eventName"]: entry for entry in entries}


def test_the_whole_is_proved_offline(server: KeywheelServer, whole: Document, tmp_path: Path) -> None:
    """The statement's signature, and every event's place in the ledger."""
    file = tmp_path / "evidence.json"
    file.write_text(json.dumps(whole))
    said = verify(server, file)
    assert said.returncode == 0, said.stdout
    assert "succeeded" in said.stdout
    assert "6 of its 6 events are proved" in said.stdout


def test_the_call_that_asked_for_it_is_proved_too(whole: Document) -> None:
    """With the access key and the address it came from; reading the secret is nothing to do with it."""
    entries = proofs_of(whole)
    assert entries.keys() == {
        "RotateSecret", "RotationStarted", "StepDone", "RotationSucceeded", "OldCredentialRetired",
    }  # fmt: skip
    call, asked = entries["RotateSecret"], whole["statement"]["asked"]
    assert call["userIdentity"]["accessKeyId"] == asked["access_key_id"]
    assert call["sourceIPAddress"] == "127.0.0.1"
    assert entries["RotationStarted"]["additionalEventData"]["Policy"]["AutomaticallyAfterDays"] == 60
    assert entries["OldCredentialRetired"]["additionalEventData"]["Login"] == "refused"


def test_with_the_ledger_every_control_of_a_good_rotation_is_met(whole: Document) -> None:
    """Each with where its answer stands."""
    assert {one["control"]: one["verdict"] for one in whole["controls"] if one["verdict"] != "met"} == {}
    for one in whole["controls"]:
        for place in one["answered_by"]:
            part: Any = whole if place.partition(".")[0] in whole else whole["statement"]
            for name in place.split("."):
                part = part[name]
            assert part not in (None, [], {}), place


def another_outcome(document: Document) -> None:
    document["statement"]["rotation"]["outcome"] = "failed"


def another_verdict_of_the_target(document: Document) -> None:
    document["statement"]["old_credential"]["state"] = "unknown"


def another_entry(document: Document) -> None:
    proof = document["ledger"]["proofs"][0]
    proof["entry"] = proof["entry"].replace("AKIA", "AKIB", 1)
    assert "AKIB" in proof["entry"]


def another_place(document: Document) -> None:
    document["ledger"]["proofs"][0]["sequence"] += 1


def another_path(document: Document) -> None:
    document["ledger"]["proofs"][1]["path"] = []


def another_checkpoint(document: Document) -> None:
    checkpoint = document["ledger"]["proofs"][0]["checkpoint"]
    checkpoint["note"] = checkpoint["note"].replace("T", "t", 1)


def another_signature(document: Document) -> None:
    document["signature"] = document["ledger"]["proofs"][0]["checkpoint"]["signature"]


CHANGES: list[Callable[[Document], None]] = [
    another_outcome, another_verdict_of_the_target, another_entry, another_place, another_path, another_checkpoint,
    another_signature,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_is_changed_is_refused(
    server: KeywheelServer, whole: Document, tmp_path: Path, change: Callable[[Document], None]
) -> None:
    """By the verifier, with exit code 1."""
    document = json.loads(json.dumps(whole))
    change(document)
    file = tmp_path / "evidence.json"
    file.write_text(json.dumps(document))
    said = verify(server, file)
    assert (said.returncode, "proves nothing" in said.stdout) == (1, True), said.stdout


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE journal SET detail = replace(detail, 'user/admin', 'user/other') WHERE event = 'RotationStarted'",
        "UPDATE journal SET detail = replace(detail, 'Days\": 60', 'Days\": 7') WHERE event = 'RotationStarted'",
        "UPDATE journal SET fence = fence + 1 WHERE event = 'RotationSucceeded'",
        "DELETE FROM journal WHERE event = 'StepDone' AND step = 'test'",
    ],
    ids=["asker", "policy", "epoch", "deleted"],
)
def test_a_journal_that_was_changed_contradicts_the_ledger(
    server: KeywheelServer, whole: Document, tmp_path: Path, change: str
) -> None:
    """Though the server signs what it finds in its store."""
    with closing(sqlite3.connect(server.data / "keywheel.db", timeout=30.0)) as store:
        kept = store.execute("SELECT * FROM journal").fetchall()
        try:
            assert store.execute(change).rowcount > 0
            store.commit()
            file = tmp_path / "evidence.json"
            assert server.keywheel("evidence", NAME, "--out", str(file)).returncode == 0
        finally:
            store.execute("DELETE FROM journal")
            store.executemany(f"INSERT INTO journal VALUES ({', '.join('?' * len(kept[0]))})", kept)
            store.commit()
    said = verify(server, file)
    assert said.returncode == 1
    assert "the statement" in said.stdout


def test_every_rotation_in_a_file(server: KeywheelServer, whole: Document, tmp_path: Path) -> None:
    """The newest first; the verifier takes them all."""
    file = tmp_path / "all.json"
    assert server.keywheel("evidence", NAME, "--all", "--out", str(file)).returncode == 0
    rotations = json.loads(file.read_text())["rotations"]
    assert [one["statement"]["policy"]["days"] for one in rotations] == [60, 30]
    assert rotations[0]["statement"]["rotation"] == whole["statement"]["rotation"]
    said = verify(server, file)
    assert (said.returncode, len(said.stdout.splitlines())) == (0, 2)
    version = rotations[1]["statement"]["rotation"]["version"]
    one = server.keywheel("evidence", NAME, "--rotation", version, "--format", "json")
    assert json.loads(one.stdout)["statement"]["policy"]["days"] == 30


def test_a_page_for_people(server: KeywheelServer, whole: Document) -> None:
    """Who, why, what was seen, and the verdicts; and no value."""
    told = server.keywheel("evidence", NAME).stdout.decode()
    for text in ("RotateSecret was called", "from 127.0.0.1", "the target refused a login with it", "every 60 days",
                 "6 of 6 events proved", "PCI DSS v4.0.1", "retire"):  # fmt: skip
        assert text in told
    password = json.loads(server.client().get_secret_value(SecretId=NAME)["SecretString"])["password"]
    assert password not in told + json.dumps(whole)


def test_without_a_ledger_nothing_is_said_to_be_proved(server: KeywheelServer, tmp_path: Path) -> None:
    """As on another machine; the statement is signed all the same."""
    empty = tmp_path / "ledger"
    empty.mkdir()
    done = server.keywheel("evidence", NAME, "--ledger", str(empty), "--format", "json")
    assert b"6 events without a proof" in done.stderr
    document = json.loads(done.stdout)
    found = {one["control"]: one["verdict"] for one in document["controls"]}
    assert (found["AU-10"], found["CC6.1"]) == ("not shown", "met")
    file = tmp_path / "evidence.json"
    file.write_bytes(done.stdout)
    assert "0 of its 6 events are proved" in verify(server, file).stdout


def test_a_ledger_that_was_exported_does_as_well(server: KeywheelServer, whole: Document, tmp_path: Path) -> None:
    """For who asks from elsewhere."""
    out = tmp_path / "copy"
    assert server.keywheel("audit", "export", "--out", str(out)).returncode == 0
    done = server.keywheel("evidence", NAME, "--ledger", str(out / "ledger"))
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_cannot_be_told_is_a_clear_error(server: KeywheelServer, tmp_path: Path) -> None:
    """No such secret, no rotation yet, a version that no rotation made, a file that cannot be written."""
    server.client().create_secret(Name="plain", SecretString="x")
    for arguments, text in (
        (("missing",), b"ResourceNotFoundException"),
        (("plain",), b"No rotation"),
        ((NAME, "--rotation", str(uuid.uuid4())), b"No rotation"),
        ((NAME, "--out", str(tmp_path / "none" / "file")), b"cannot be written"),
    ):
        done = server.keywheel("evidence", *arguments)
        assert done.returncode == 1
        assert text in done.stderr
