"""Rotation functions that the server runs itself: real processes, real PostgreSQL, boto3 over real HTTP."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from keywheel.access.identities import FUNCTIONS_ROLE, Identities, Sort, functions_role
from keywheel.access.templates import default_key_policy
from keywheel.errors import AccessDenied, ConfigurationError
from keywheel.rotation.machine import FUNCTION_ATTEMPTS, Step
from keywheel.rotator import Credential
from keywheel.secrets.labels import CURRENT, PENDING
from tests.functions.conftest import Host
from tests.support.account import SCOPE, Account, function_arn
from tests.support.servers import PostgresServer
from tests.test_processes import eventually, lives

Log = list[dict[str, Any]]
TRUST = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"%s"},"Action":"sts:AssumeRole"}]}'
)


def rights(account: Account, role: str, *statements: dict[str, Any], trusts: str = "lambda.amazonaws.com") -> None:
    """A role with these rights, which that service may assume."""
    document, now = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}), account.clock.now()

    def work(tx: Any) -> None:
        Identities.create_role(tx, account=SCOPE.account, name=role, trust=TRUST % trusts, now=now)
        Identities().put_policy(tx, SCOPE.account, Sort.ROLE, role, name="own", document=document, now=now)

    account.rooms.database.write(work)


def sessions(account: Account) -> int:
    """How many sessions there are."""
    return len(account.dump()["access_session"])


def failure(account: Account, name: str = "app") -> tuple[str, str]:
    """The code and the text of the last thing that happened."""
    note = account.journal(name)[-1]
    return note.code or "", note.reason or ""


# --- it rotates ----------------------------------------------------------------------------------------------------


def test_a_function_as_users_write_it_rotates_a_role_of_postgresql(
    hosting: Host, postgres: PostgresServer, log: Log
) -> None:
    """Twice; the old password is refused, no session is left, and its log is in the server's."""
    account = hosting("postgres.lambda_handler")
    old = postgres.new_user()
    account.create("app", old)
    for _ in range(2):
        version = account.rotated("app", "mine")
        assert account.labels("app")[CURRENT] == version
        now = account.credential("app")
        postgres.connect(now.username, now.password.reveal()).close()
    with pytest.raises(psycopg.OperationalError):
        postgres.connect(old.username, old.password.reveal())
    assert account.rotation("app").step is Step.IDLE
    assert sessions(account) == 0
    told = [line for line in log if line["event"] == "function.output"]
    assert {line["step"] for line in told} == {"createSecret", "setSecret", "testSecret", "finishSecret"}
    assert now.password.reveal() not in json.dumps(told)


def test_a_superuser_s_secret_is_read_where_the_settings_and_the_role_let_it(
    hosting: Host, postgres: PostgresServer
) -> None:
    """`reads` names it, and the function's own role may read it."""
    anything = SCOPE.arn("secretsmanager", "secret:*")
    account = hosting(
        "postgres.lambda_handler", role="turner", reads=[SCOPE.arn("secretsmanager", "secret:super-??????")]
    )
    rights(account, "turner", {"Effect": "Allow", "Action": "secretsmanager:*", "Resource": [anything, "*"]})
    master = account.create("super", postgres.superuser)
    user = postgres.new_user()
    account.create("app", Credential({**user.fields, "masterarn": master}, user.password))
    version = account.rotated("app", "mine")
    assert account.labels("app")[CURRENT] == version, failure(account)


@pytest.mark.parametrize(
    ("reads", "allowed"),
    [
        ([], "secretsmanager:*"),
        (["*"], "secretsmanager:[!G]*"),
    ],
    ids=["the settings do not", "the role may not"],
)
def test_another_secret_is_not_read(hosting: Host, postgres: PostgresServer, reads: list[str], allowed: str) -> None:
    """Where the settings do not name it, or the role may not; the error says which policy is missing."""
    account = hosting("faults.snoops", environment={"OTHER": "super"}, role="turner", reads=reads)
    actions = [allowed] if "[" not in allowed else ["secretsmanager:Describe*", "secretsmanager:Put*"]
    rights(account, "turner", {"Effect": "Allow", "Action": actions, "Resource": "*"})
    account.create("super", postgres.superuser)
    account.create("app", postgres.new_user())
    account.rotated("app", "mine")
    code, reason = failure(account)
    assert code == "FunctionFailed"
    assert f"arn:aws:sts::{SCOPE.account}:assumed-role/turner/mine is not authorized to perform" in reason


def test_a_role_without_the_right_for_a_step_fails_there(hosting: Host, postgres: PostgresServer) -> None:
    """Its policies count: this one may not write."""
    account = hosting("postgres.lambda_handler", role="turner")
    allowed = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:GetRandomPassword"]
    rights(account, "turner", {"Effect": "Allow", "Action": allowed, "Resource": "*"})
    account.create("app", postgres.new_user())
    account.rotated("app", "mine")
    assert "AccessDenied" in failure(account)[1]
    assert "secretsmanager:PutSecretValue" in failure(account)[1]


def test_a_role_that_lambda_may_not_assume_is_not_used(hosting: Host, postgres: PostgresServer) -> None:
    """As on AWS: its trust policy names the service; and a role that is not there is said to be missing."""
    account = hosting("postgres.lambda_handler", role="turner")
    account.create("app", postgres.new_user())
    account.rotated("app", "mine")
    assert "There is no role turner" in failure(account)[1]
    rights(account, "turner", {"Effect": "Allow", "Action": "*", "Resource": "*"}, trusts="ec2.amazonaws.com")
    account.sleep("app")
    assert "does not admit lambda.amazonaws.com" in failure(account)[1]


def test_the_role_of_functions_is_nobody_s_to_change(hosting: Host) -> None:
    """Every account has it; nobody assumes, changes or deletes it, and no other role takes its name."""
    account, now = hosting("postgres.lambda_handler"), SCOPE.account
    for work in (
        lambda tx: Identities().delete(tx, now, Sort.ROLE, FUNCTIONS_ROLE),
        lambda tx: Identities().set_trust(tx, now, FUNCTIONS_ROLE, TRUST % "lambda.amazonaws.com"),
        lambda tx: Identities().put_policy(
            tx,
            now,
            Sort.ROLE,
            FUNCTIONS_ROLE,
            name="more",
            document='{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}',
            now=account.clock.now(),
        ),
        lambda tx: Identities.create_role(
            tx, account=now, name=FUNCTIONS_ROLE, trust=TRUST % "lambda.amazonaws.com", now=account.clock.now()
        ),
    ):
        with pytest.raises(ConfigurationError):
            account.rooms.database.write(work)


# --- what its process is given -------------------------------------------------------------------------------------


def test_a_process_is_given_nothing_but_its_own(
    hosting: Host, postgres: PostgresServer, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the server's environment, no open file of it, no credentials but through a pipe; Lambda's context."""
    monkeypatch.setenv("KEYWHEEL_PASSPHRASE_OF_THE_HOUSE", "hush")
    monkeypatch.setenv("PGPASSWORD", "hush")
    account = hosting("faults.looks", timeout=20)
    account.create("app", postgres.new_user())
    account.rotated("app", "mine")
    seen = json.loads(notes.read_text())
    assert not any(name.startswith(("KEYWHEEL", "PG", "PYTHON")) for name in seen["environment"])
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"} <= set(seen["environment"])
    assert {"AWS_ENDPOINT_URL", "SECRETS_MANAGER_ENDPOINT"} <= set(seen["environment"])
    for place in ("arguments", "begun with"):
        assert "ASIA" not in seen[place]
        assert "AWS_SECRET_ACCESS_KEY" not in seen[place]
    assert set(seen["descriptors"]) <= {"/dev/null", "pipe", "/dev/urandom"}
    assert seen["directory"] == str(Path(__file__).with_name("sample"))
    assert (seen["leads"], seen["input"]) == ([True, True], "")
    assert seen["context"] == ["mine", function_arn("mine"), "$LATEST"]
    assert 0 < seen["milliseconds"] < 20_000


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/bin/python3").exists(), reason="takes root, and a python")
def test_a_function_runs_as_another_user_without_privileges(hosting: Host, log: Log) -> None:
    """Who may not read what is the server's, and gain nothing."""
    account = hosting("plain.handler", user="nobody", python="/usr/bin/python3")
    account.create("app", '{"password":"a-password"}')
    account.rotated("app", "mine")
    told = {line["line"].partition(" ")[0]: line["line"].partition(" ")[2] for line in log if "line" in line}
    assert told["user"] == "nobody"
    assert told["groups"] == "[]"
    assert told["CapEff"] == told["CapPrm"] == told["CapAmb"] == "0" * 16
    assert told["NoNewPrivs"] == "1"
    assert told["reads"] == "False"


def landlocked() -> bool:
    """Whether this kernel hides files from a process by Landlock."""
    lists = Path("/sys/kernel/security/lsm")
    return ctypes.CDLL(None).syscall(444, None, 0, 1) > 0 or (lists.exists() and "landlock" in lists.read_text())


@pytest.mark.skipif(not landlocked(), reason="this kernel has no Landlock")
def test_a_function_sees_nothing_of_the_data_directory(
    hosting: Host, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, log: Log
) -> None:
    """Although it is the server's own user: not the root key, not the store, not by a link; its own files it does."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (tmp_path / "root.key").write_text("k")
    (elsewhere / "own").write_text("o")
    (elsewhere / "link").symlink_to(tmp_path / "root.key")
    (elsewhere / "folder").symlink_to(tmp_path)
    hidden = [tmp_path / "root.key", tmp_path / "keywheel.db", elsewhere / "link", elsewhere / "folder" / "root.key"]
    paths = ":".join(map(str, [*hidden, elsewhere / "own"]))
    account = hosting("plain.peeks", environment={"PEEK": paths})
    account.create("app", '{"password":"a-password"}')
    account.rotated("app", "mine")
    told = {line["line"] for line in log if "line" in line}
    assert {f"{mode} {path} PermissionError" for path in hidden for mode in "ra"} <= told
    assert {f"{mode} {elsewhere / 'own'}" for mode in "ra"} <= told
    assert any(line.startswith("own ") for line in told)


def test_a_secret_under_a_key_of_one_s_own_is_rotated_where_the_key_lets_the_role(
    hosting: Host, postgres: PostgresServer
) -> None:
    """The key's policy and the role's rights count, as for everybody; a Deny fails the step with AWS's text."""
    account = hosting("postgres.lambda_handler")
    keys = account.rooms.keys
    key = account.rooms.database.write(lambda tx: keys.create(tx, SCOPE, description="", now=account.clock.now()))
    account.create("app", postgres.new_user(), key=key.arn)
    version = account.rotated("app", "mine")
    assert account.labels("app")[CURRENT] == version, failure(account)
    document = json.loads(default_key_policy(SCOPE.account))
    document["Statement"].append(
        {"Effect": "Deny", "Principal": {"AWS": functions_role(SCOPE.account).arn}, "Action": "kms:Decrypt",
         "Resource": "*"}
    )  # fmt: skip

    def forbid(tx: Any) -> None:
        found = keys.find(tx, SCOPE, key.key_id, now=account.clock.now(), lock=True)
        keys.lifecycle.put_policy(tx, found, json.dumps(document))

    account.rooms.database.write(forbid)
    account.rotated("app")
    assert "Access to KMS is not allowed" in failure(account)[1]


# --- how it ends ---------------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_is_no_answer(hosting: Host, postgres: PostgresServer) -> None:
    """Nobody knows how far it came, so it is run again, with the same version; the database was told already."""
    account = hosting("faults.dies_once")
    account.create("app", postgres.new_user())
    version = account.rotated("app", "mine")
    assert (failure(account)[0], account.journal("app")[-1].event) == ("TargetUnavailable", "StepRetried")
    assert "killed by signal 9" in failure(account)[1]
    account.sleep("app")
    assert account.labels("app")[CURRENT] == version
    now = account.credential("app")
    postgres.connect(now.username, now.password.reveal()).close()
    assert sessions(account) == 0


def test_a_process_that_somebody_kills_is_no_answer(hosting: Host, postgres: PostgresServer, notes: Path) -> None:
    """With its child."""
    account = hosting("faults.hangs", timeout=120)
    account.create("app", postgres.new_user())
    account.rotate("app", "mine")
    thread = threading.Thread(target=account.engine.tick)
    thread.start()
    eventually(lambda: notes.is_file() and " " in notes.read_text())
    own, child = (int(text) for text in notes.read_text().split())
    os.kill(own, signal.SIGKILL)
    thread.join()
    assert failure(account)[0] == "TargetUnavailable"
    eventually(lambda: not lives(child))


def test_a_process_that_takes_too_long_is_killed_with_its_children(
    hosting: Host, postgres: PostgresServer, notes: Path
) -> None:
    """The step is failed, with Lambda's words."""
    account = hosting("faults.hangs", timeout=3)
    account.create("app", postgres.new_user())
    account.rotated("app", "mine")
    own, child = (int(text) for text in notes.read_text().split())
    assert "during createSecret step: Task timed out after 3.00 seconds" in failure(account)[1]
    eventually(lambda: not lives(own) and not lives(child))
    assert sessions(account) == 0


def test_a_process_whose_rotation_is_lost_is_killed(hosting: Host, postgres: PostgresServer, notes: Path) -> None:
    """Another engine may begin: two must not work at the same step."""
    account = hosting("faults.hangs", timeout=120)
    arn = account.create("app", postgres.new_user())
    local = account.rooms.runners.local(function_arn("mine"), SCOPE)
    assert local is not None
    event = {"Step": "createSecret", "SecretId": arn, "ClientRequestToken": "t"}
    began = time.monotonic()
    with pytest.raises(Exception, match="lost while mine ran"):
        local.invoke(function_arn("mine"), event, known=list, holds=lambda: not notes.is_file())
    assert time.monotonic() - began < 60
    own = int(notes.read_text().split()[0])
    eventually(lambda: not lives(own))


def test_what_a_function_says_is_told_without_what_is_secret(hosting: Host, postgres: PostgresServer, log: Log) -> None:
    """Its error's type and text; no password, known or only drawn, and none of its credentials. It is bounded."""
    account = hosting("faults.tells")
    user = postgres.new_user()
    account.create("app", user)
    account.rotated("app", "mine")
    while not account.rotation("app").failed:
        account.sleep("app")
    note = account.journal("app")[-1]
    assert (note.event, note.code, note.attempt) == ("RotationFailed", "FunctionFailed", FUNCTION_ATTEMPTS - 1)
    assert f"ValueError: could not set '***' for {user.username}, by ***" in (note.reason or "")
    told = json.dumps(log) + repr(account.journal("app"))
    assert "printed *** " in told
    assert user.password.reveal() not in told
    assert "ValueError" in told
    assert account.labels("app").keys() == {CURRENT, PENDING}


def test_a_function_that_ends_its_process_has_failed(hosting: Host, postgres: PostgresServer) -> None:
    """By itself, so it is no accident."""
    account = hosting("faults.leaves")
    account.create("app", postgres.new_user())
    account.rotated("app", "mine")
    assert failure(account)[0] == "FunctionFailed"
    assert "Runtime.ExitError: Runtime exited with exit status 3" in failure(account)[1]


# --- which functions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        ("postgres.handle_lambda", "postgres has no function handle_lambda"),
        ("mysql.lambda_handler", "there is no module mysql"),
    ],
)
def test_a_handler_that_is_not_there_is_told_at_rotate_secret(hosting: Host, handler: str, says: str) -> None:
    """And at the start: nothing of the function is run to find out."""
    account = hosting(handler)
    account.create("app", '{"password":"x"}')
    with pytest.raises(AccessDenied, match=says):
        account.rotate("app", "mine")
    with pytest.raises(ConfigurationError, match=says):
        account.rooms.runners.check()


def test_a_handler_that_cannot_be_imported_is_the_function_s_failure(hosting: Host, postgres: PostgresServer) -> None:
    """With Lambda's word for it."""
    account = hosting("broken.handler")
    account.create("app", postgres.new_user())
    account.rotated("app", "mine")
    reason = failure(account)[1]
    assert "Runtime.ImportModuleError: Unable to import module 'broken': No module named 'no_such_module'" in reason


def test_a_function_of_another_account_s_arn_is_not_this_one(hosting: Host) -> None:
    """As with built-in rotators: the account and Region are the secret's."""
    account = hosting("postgres.lambda_handler")
    account.create("app", '{"password":"x"}')
    with pytest.raises(AccessDenied):
        account.rotate("app", function_arn("mine").replace("us-east-1", "eu-west-1"))


@pytest.mark.parametrize("reads", [["not an arn"], [SCOPE.arn("secretsmanager", f"secret:{n}-*") for n in range(50)]])
def test_secrets_to_be_read_that_no_policy_may_name_are_told_at_the_start(hosting: Host, reads: list[str]) -> None:
    """They are none, or too many for a session policy."""
    account = hosting("postgres.lambda_handler", reads=reads)
    with pytest.raises(ConfigurationError, match=r"functions\.mine: reads"):
        account.rooms.runners.check()
