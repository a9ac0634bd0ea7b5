"""`keywheel access`: users, roles, policies, and why something is allowed or not."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Place
from tests.support.keywheel_server import ACCOUNT, KeywheelServer
from tests.support.policies import document

READ = document({"Sid": "Reading", "Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*"})


def said(server: KeywheelServer, *arguments: str, code: int = 0) -> str:
    """What a command says, on either stream."""
    done = server.keywheel("access", *arguments)
    assert code == done.returncode, done.stderr
    return (done.stdout + done.stderr).decode()


def told(server: KeywheelServer, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The one document that a command prints."""
    done = server.keywheel("access", *arguments, "--json")
    assert code == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def name() -> str:
    """A name of this test's own."""
    return "n" + secrets.token_hex(4)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A policy that allows to read."""
    path = tmp_path / "read.json"
    path.write_text(READ)
    return str(path)


@pytest.fixture
def trust(tmp_path: Path) -> str:
    """A trust policy for whomever the account's policies allow it."""
    path = tmp_path / "trust.json"
    path.write_text(document({"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}))
    return str(path)


def test_a_user_is_made_shown_and_deleted(server: KeywheelServer, name: str) -> None:
    """And is gone then."""
    made = told(server, "users", "create", name, "--path", "/team/")
    assert made["arn"] == f"arn:aws:iam::{ACCOUNT}:user/team/{name}"
    assert made in told(server, "users", "list")["users"]
    assert name in said(server, "users", "list")
    assert "already" in said(server, "users", "create", name, code=1)
    said(server, "users", "delete", name)
    assert made not in told(server, "users", "list")["users"]
    assert f"There is no user {name}" in said(server, "users", "delete", name, code=1)


def test_a_role_is_made_shown_and_deleted(server: KeywheelServer, name: str, trust: str, file: str) -> None:
    """With whom it trusts."""
    made = told(server, "roles", "create", name, "--trust", trust, "--longest", "7200")
    assert (made["arn"], made["longest_session_seconds"]) == (f"arn:aws:iam::{ACCOUNT}:role/{name}", 7200)
    assert made in told(server, "roles", "list")["roles"]
    assert "Principal" in said(server, "roles", "trust", name, file, code=1)
    said(server, "roles", "trust", name, trust)
    said(server, "roles", "delete", name)
    assert made not in told(server, "roles", "list")["roles"]


def test_tags_are_what_conditions_see(server: KeywheelServer, name: str, tmp_path: Path) -> None:
    """Given with the user; explain knows them, as it knows the unique id. One that is no tag is refused."""
    made = told(server, "users", "create", name, "--tag", "team=red", "--tag", "floor=2")
    assert made["tags"] == {"team": "red", "floor": "2"}
    condition = {"StringEquals": {"aws:PrincipalTag/Team": "red", "aws:userid": made["id"]}}
    path = tmp_path / "tagged.json"
    path.write_text(document({"Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*", "Condition": condition}))
    said(server, "policies", "put", "tagged", str(path), "--user", name)
    assert told(server, "explain", "--principal", name, "--action", "kms:ListKeys")["allowed"]
    assert "case insensitive" in said(server, "users", "create", f"{name}2", "--tag", "a=1", "--tag", "A=2", code=1)


def test_the_role_of_functions_is_explained(server: KeywheelServer) -> None:
    """Every account has it: what its sessions may do at the most."""
    role = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/functions.keywheel.internal/KeywheelServiceRoleForFunctions"
    may = told(server, "explain", "--principal", role, "--action", "secretsmanager:GetRandomPassword")
    assert may["allowed"]
    may = told(server, "explain", "--principal", role, "--action", "secretsmanager:DeleteSecret", code=1)
    assert not may["allowed"]


def test_policies_are_put_shown_and_deleted(server: KeywheelServer, name: str, file: str, tmp_path: Path) -> None:
    """As they were given; what is no policy is refused, and said why."""
    said(server, "users", "create", name)
    said(server, "policies", "put", "read", file, "--user", name)
    assert told(server, "policies", "list", "--user", name) == {"policies": ["read"]}
    assert json.loads(said(server, "policies", "show", "read", "--user", name)) == json.loads(READ)
    wrong = tmp_path / "wrong.json"
    wrong.write_text(READ.replace("Allow", "Alow"))
    refused = said(server, "policies", "put", "read", str(wrong), "--user", name, code=1)
    assert "Statement 1: Effect must be Allow or Deny." in refused
    said(server, "policies", "delete", "read", "--user", name)
    assert "has no policy read" in said(server, "policies", "show", "read", "--user", name, code=1)
    assert "--user or --role" in said(server, "policies", "list", code=1)
    assert "cannot be read" in said(server, "policies", "put", "read", str(tmp_path / "none"), "--user", name, code=1)


def test_a_key_of_policies_does_what_they_say(place: Place, name: str, file: str, tmp_path: Path) -> None:
    """Against the server that runs, a second after a change; and it can be switched off."""
    server, credentials = place.server, str(tmp_path / "credentials")
    said(server, "users", "create", name)
    key = ("access", "keys", "create", name, "--credentials-file", credentials, "--json")
    done = server.keywheel(*key)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["role"] == "policies"
    place.run("secrets", "create", "s", "--generate")
    get = ("secrets", "get", "s", "--reveal", "--credentials-file", credentials)
    assert b"no identity-based policy allows" in place.run(*get, code=1).stderr
    said(server, "policies", "put", "read", file, "--user", name)
    time.sleep(1.0)
    place.run(*get)
    assert server.keywheel("access", "keys", "deactivate", made["access_key_id"]).returncode == 0
    time.sleep(1.0)
    assert b"UnrecognizedClient" in place.run(*get, code=1).stderr
    assert b"inactive" in server.keywheel("access", "keys", "list").stdout
    assert server.keywheel("access", "keys", "activate", made["access_key_id"]).returncode == 0
    time.sleep(1.0)
    place.run(*get)
    assert server.keywheel("access", "keys", "activate", "A" * 20).returncode == 1


def test_explain_names_the_statement(place: Place, name: str, file: str, trust: str, tmp_path: Path) -> None:
    """That allows or denies, or the kind of policy that lacks one; the exit code tells the answer."""
    server = place.server
    said(server, "users", "create", name)
    arn = place.client.create_secret(Name=name, SecretString="x")["ARN"]
    ask = ("explain", "--principal", name, "--action", "secretsmanager:GetSecretValue", "--resource", arn)
    assert told(server, *ask, code=1)["missing"] == "identity"
    said(server, "policies", "put", "read", file, "--user", name)
    allowed = told(server, *ask)
    assert allowed["statements"] == [{"policy": "read", "kind": "identity", "statement": "Reading"}]
    assert "by 'Reading' of read (identity policy)" in said(server, *ask)
    never = {
        "Sid": "Never",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": "*",
    }
    place.client.put_resource_policy(
        SecretId=name, ResourcePolicy=document(never | {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}})
    )
    assert told(server, *ask)["allowed"]
    denied = told(server, *ask, "--context", "aws:SourceIp=10.1.2.3", code=1)
    assert (denied["verdict"], denied["statements"][0]["statement"]) == ("explicitly denied", "Never")
    assert denied["message"].endswith("with an explicit deny in a resource-based policy")


def test_explain_knows_keys_and_roles(place: Place, name: str, trust: str) -> None:
    """Whose own policies come first."""
    server = place.server
    said(server, "users", "create", name)
    made = told(server, "roles", "create", name, "--trust", trust)
    key = place.json("keys", "create")["arn"]
    for action, resource, missing in (("kms:Encrypt", key, "identity"), ("sts:AssumeRole", made["arn"], "identity")):
        ask = ("explain", "--principal", name, "--action", action, "--resource", resource)
        assert told(server, *ask, code=1)["missing"] == missing
    listing = said(server, "explain", "--principal", made["arn"], "--action", "kms:ListKeys", code=1)
    assert f"assumed-role/{name}/explain" in listing


def test_explain_names_the_grant(place: Place, name: str) -> None:
    """Which allows in its context only."""
    server = place.server
    arn = told(server, "users", "create", name)["arn"]
    key = place.json("keys", "create")["arn"]
    kms = server.client("kms", region=place.region)
    constraints = {"EncryptionContextEquals": {"Customer": "4711"}}
    given = {"KeyId": key, "GranteePrincipal": arn, "Operations": ["Decrypt"], "Constraints": constraints}
    grant = kms.create_grant(**given)["GrantId"]
    ask = ("explain", "--principal", name, "--action", "kms:Decrypt", "--resource", key, "--context")
    context = ("kms:EncryptionContext:Customer=4711",)
    assert told(server, *ask, *context)["grant"] == grant
    assert f"by the grant {grant}" in said(server, *ask, *context)
    assert told(server, *ask, "kms:EncryptionContext:customer=4711", code=1)["missing"] == "identity"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--principal", "nobody-of-this-name", "--action", "kms:ListKeys"), "There is no user"),
        (("--principal", f"arn:aws:iam::{ACCOUNT}:group/x", "--action", "kms:ListKeys"), "a user or a role"),
        (("--principal", "admin", "--action", "kms:ListKeys", "--context", "x"), "--context must look like"),
    ],
)
def test_what_cannot_be_explained_is_said(server: KeywheelServer, arguments: tuple[str, ...], text: str) -> None:
    """Instead of a guess."""
    assert text in said(server, "explain", *arguments, code=1)
