"""The AWS CLI, with the credentials and config files as `keywheel init` wrote them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conformance.server import Server, fresh, token, until
from tests.support.keywheel_server import clean_environment
from tests.support.servers import PostgresServer

AWS = str(Path(sys.executable).with_name("aws"))
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:{}"

# The CLI takes a second for each call, and no store can make a difference to it.
pytestmark = pytest.mark.parametrize("server", ["sqlite"], indirect=True, scope="session")


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`aws secretsmanager` with these arguments, and nothing of the environment but the two files."""
    files = {
        "AWS_CONFIG_FILE": str(server.data / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(server.data / "credentials"),
        "AWS_PAGER": "",
    }
    command = [AWS, "--endpoint-url", server.url, "secretsmanager", *arguments]
    return subprocess.run(command, env={**clean_environment(), **files}, capture_output=True, text=True, timeout=60)


def aws(server: Server, *arguments: str) -> Any:
    """What it prints, as JSON."""
    done = run(server, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def works(postgres: PostgresServer, secret: dict[str, Any]) -> bool:
    """Whether the password of a secret logs in."""
    try:
        postgres.connect(secret["username"], secret["password"]).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("function", ["keywheel-postgres-single-user", "SecretsManagerRDSPostgreSQLRotationMultiUser"])
def test_a_live_password_is_rotated_by_the_cli(
    server: Server, postgres: PostgresServer, tmp_path: Path, function: str
) -> None:
    """Create, describe, rotate, read: the new password logs in; then the labels are rolled back and forth by hand."""
    name, user = fresh("cli"), postgres.new_user()
    superuser = server.client().create_secret(
        Name=fresh("superuser"), SecretString=postgres.superuser.to_json().reveal()
    )["ARN"]
    file = tmp_path / "secret.json"
    file.write_text(json.dumps({**json.loads(user.to_json().reveal()), "masterarn": superuser}))
    created = aws(server, "create-secret", "--name", name, "--secret-string", f"file://{file}")
    old = created["VersionId"]

    version = token()
    options = ["--rotation-lambda-arn", FUNCTION.format(function), "--client-request-token", version]
    rules = ["--rotation-rules", '{"ScheduleExpression": "rate(30 days)", "Duration": "2h"}']
    assert version == aws(server, "rotate-secret", "--secret-id", name, *options, *rules)["VersionId"]
    until(lambda: server.client().describe_secret(SecretId=name).get("LastRotatedDate"))

    described = aws(server, "describe-secret", "--secret-id", created["ARN"])
    assert {old: ["AWSPREVIOUS"], version: ["AWSCURRENT"]} == described["VersionIdsToStages"]
    assert (True, FUNCTION.format(function)) == (described["RotationEnabled"], described["RotationLambdaARN"])
    assert described["RotationRules"]["AutomaticallyAfterDays"] == 30

    query = ["--query", "SecretString", "--output", "text"]
    done = run(server, "get-secret-value", "--secret-id", name, *query)
    assert works(postgres, json.loads(done.stdout))

    move = ["update-secret-version-stage", "--secret-id", name, "--version-stage", "AWSCURRENT"]
    aws(server, *move, "--move-to-version-id", old, "--remove-from-version-id", version)
    rolled_back = aws(server, "get-secret-value", "--secret-id", name)
    assert (old, ["AWSCURRENT"]) == (rolled_back["VersionId"], rolled_back["VersionStages"])
    assert works(postgres, json.loads(rolled_back["SecretString"])) is function.endswith("MultiUser")


def test_values_are_put_read_and_deleted_by_the_cli(server: Server, tmp_path: Path) -> None:
    """Text, binary from a file, tags, listing with a filter, and a deletion that is taken back."""
    name = fresh("cli")
    aws(server, "create-secret", "--name", name, "--secret-string", "v", "--tags", "Key=team,Value=pay")
    binary = tmp_path / "secret.bin"
    binary.write_bytes(b"\x00\xff")
    put = aws(server, "put-secret-value", "--secret-id", name, "--secret-binary", f"fileb://{binary}")
    assert put["VersionStages"] == ["AWSCURRENT"]
    assert aws(server, "get-secret-value", "--secret-id", name)["SecretBinary"] == "AP8="
    previous = aws(server, "get-secret-value", "--secret-id", name, "--version-stage", "AWSPREVIOUS")
    assert previous["SecretString"] == "v"
    listed = aws(server, "list-secrets", "--filters", f"Key=name,Values={name}", "--page-size", "1")["SecretList"]
    assert [(name, [{"Key": "team", "Value": "pay"}])] == [(entry["Name"], entry["Tags"]) for entry in listed]
    aws(server, "delete-secret", "--secret-id", name, "--recovery-window-in-days", "7")
    assert name == aws(server, "restore-secret", "--secret-id", name)["Name"]
    password = aws(server, "get-random-password", "--password-length", "20", "--exclude-punctuation")
    assert password["RandomPassword"].isalnum()


def test_the_cli_tells_errors_as_it_does_at_aws(server: Server) -> None:
    """By code, operation and text, with its exit code for a service's refusal (255 of version 1, 254 of version 2)."""
    done = run(server, "get-secret-value", "--secret-id", fresh("missing"))
    assert done.returncode in (254, 255)
    assert done.stdout == ""
    expected = (
        "An error occurred (ResourceNotFoundException) when calling the GetSecretValue operation: "
        "Secrets Manager can't find the specified secret."
    )
    assert expected in done.stderr
