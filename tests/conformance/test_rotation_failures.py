"""Rotations that cannot succeed on a live target: each is told apart and explained, and AWSCURRENT still works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from keywheel.testing.network import closed_port
from tests.conformance.server import Server, fresh, refusal, stages, token, until
from tests.support.servers import Authority, PostgresServer

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:keywheel-postgres-{}"


@pytest.fixture(scope="module")
def secured() -> Iterator[PostgresServer]:
    """A PostgreSQL with TLS, whose certificate nobody knows."""
    with PostgresServer(authority=Authority()) as postgres:
        yield postgres


@pytest.fixture(scope="module")
def strict() -> Iterator[PostgresServer]:
    """A PostgreSQL with a password policy."""
    with PostgresServer(settings={"shared_preload_libraries": "passwordcheck"}) as postgres:
        yield postgres


def secret_of(postgres: PostgresServer, **changes: Any) -> dict[str, Any]:
    """The fields of a new user's secret; None takes one away."""
    fields = {**json.loads(postgres.new_user().to_json().reveal()), **changes}
    return {key: value for key, value in fields.items() if value is not None}


class Attempt:
    """A secret whose rotation was asked for, and what the server tells of it."""

    def __init__(self, server: Server, value: dict[str, Any] | str, strategy: str = "single-user") -> None:
        self.server, self.api, self.name = server, server.client(), fresh("failing")
        self.value = value if isinstance(value, str) else json.dumps(value)
        self.api.create_secret(Name=self.name, SecretString=self.value)
        self.version = token()
        self.api.rotate_secret(
            SecretId=self.name, RotationLambdaARN=FUNCTION.format(strategy), ClientRequestToken=self.version
        )

    def told(self, state: str) -> dict[str, Any]:
        """What ListRotations tells, once it is in `state` for a reason."""
        return until(lambda: self._entry(state))

    def _entry(self, state: str) -> dict[str, Any] | None:
        entry = self.server.rotation(self.name)
        return entry if entry.get("State") == state and entry.get("Code") else None

    def check_nothing_moved(self) -> None:
        """AWSCURRENT has the value it had, and the pending version waits for another attempt."""
        read = self.api.get_secret_value(SecretId=self.name)
        assert (self.value, ["AWSCURRENT"]) == (read["SecretString"], read["VersionStages"])
        held = stages(self.api, self.name)
        assert {read["VersionId"]: {"AWSCURRENT"}, self.version: {"AWSPENDING"}} == held
        described = self.api.describe_secret(SecretId=self.name)
        assert described["RotationEnabled"] is True
        assert "LastRotatedDate" not in described


def logs_in(postgres: PostgresServer, secret: dict[str, Any]) -> bool:
    """Whether a user and a password work."""
    try:
        postgres.connect(secret["username"], secret["password"]).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"engine": None}, "engine key is missing from secret JSON"),
        ({"engine": "mysql"}, "engine in secret JSON must be set to 'postgres'"),
        ({"host": None}, "host key is missing from secret JSON"),
        ({"host": ""}, "host in secret JSON must be a non-empty string"),
        ({"username": None}, "username key is missing from secret JSON"),
        ({"username": 5}, "username in secret JSON must be a non-empty string"),
        ({"password": None}, "password key is missing from secret JSON"),
        ({"port": "many"}, "port in secret JSON must be a number"),
        ({"ssl": "perhaps"}, "ssl in secret JSON must be true or false"),
        ({"sslmode": "prefer"}, "sslmode in secret JSON must be one of"),
    ],
    ids=str,
)
def test_a_broken_field_is_named(server: Server, postgres: PostgresServer, changes: dict[str, Any], text: str) -> None:
    """The rotation fails at once in its first step as SecretMalformed; the field's value is not told."""
    secret = secret_of(postgres, **changes)
    attempt = Attempt(server, secret)
    entry = attempt.told("failed")
    assert (entry["Code"], entry["Step"]) == ("SecretMalformed", "create")
    assert text in entry["Reason"]
    assert attempt.version == entry["VersionId"]
    attempt.check_nothing_moved()
    if "username" not in changes and "password" not in changes:
        assert logs_in(postgres, secret)


@pytest.mark.parametrize("value", ["no JSON", "[]", '"text"', "5", '{"a": '])
def test_a_value_that_is_no_object_is_said_to_be_none(server: Server, value: str) -> None:
    """And is not quoted."""
    attempt = Attempt(server, value)
    entry = attempt.told("failed")
    assert entry["Code"] == "SecretMalformed"
    assert entry["Reason"].startswith("The secret value is not a JSON object.")
    attempt.check_nothing_moved()


def test_a_target_that_is_down_is_tried_again(server: Server, postgres: PostgresServer) -> None:
    """As TargetUnavailable, with the place and the next try; the rotation is not failed."""
    port = closed_port()
    attempt = Attempt(server, secret_of(postgres, port=port))
    entry = attempt.told("retrying")
    assert entry["Code"] == "TargetUnavailable"
    assert f"127.0.0.1:{port}" in entry["Reason"]
    assert entry["NextTry"] > 0
    attempt.check_nothing_moved()


def test_a_wrong_superuser_is_told_apart(server: Server, postgres: PostgresServer) -> None:
    """As LoginRefused; the user's own password still works."""
    api = server.client()
    wrong = {**json.loads(postgres.superuser.to_json().reveal()), "password": "not this one"}
    superuser = api.create_secret(Name=fresh("superuser"), SecretString=json.dumps(wrong))["ARN"]
    secret = secret_of(postgres, masterarn=superuser)
    attempt = Attempt(server, secret, "alternating-users")
    entry = attempt.told("failed")
    assert entry["Code"] == "LoginRefused"
    assert "postgres" in entry["Reason"]
    attempt.check_nothing_moved()
    assert logs_in(postgres, secret)
    assert "not this one" not in json.dumps(entry)


@pytest.mark.parametrize("superuser", [None, "arn:aws:secretsmanager:us-east-1:123456789012:secret:nobody-aaaaaa"])
def test_a_missing_superuser_is_named(server: Server, postgres: PostgresServer, superuser: str | None) -> None:
    """Alternating users need one, in `masterarn`."""
    secret = secret_of(postgres, masterarn=superuser)
    attempt = Attempt(server, secret, "alternating-users")
    entry = attempt.told("failed")
    assert entry["Code"] == "SecretMalformed"
    assert "masterarn" in entry["Reason"]
    attempt.check_nothing_moved()
    assert logs_in(postgres, secret)


def test_tls_that_the_target_does_not_have_is_refused(server: Server, postgres: PostgresServer) -> None:
    """As TlsRefused: the connection is not made in clear text instead."""
    secret = secret_of(postgres, ssl=None)
    attempt = Attempt(server, secret)
    entry = attempt.told("failed")
    assert entry["Code"] == "TlsRefused"
    attempt.check_nothing_moved()
    assert logs_in(postgres, secret)


@pytest.mark.parametrize("changes", [{"sslrootcert": None}, {"host": "127.0.0.1"}], ids=["unknown", "another name"])
def test_a_certificate_that_is_not_the_targets_is_refused(
    server: Server, secured: PostgresServer, changes: dict[str, Any]
) -> None:
    """As TlsRefused, be it that nobody vouches for it or that it is for another name."""
    secret = secret_of(secured, **changes)
    attempt = Attempt(server, secret)
    entry = attempt.told("failed")
    assert entry["Code"] == "TlsRefused"
    attempt.check_nothing_moved()
    assert logs_in(secured, secret)


def test_a_password_that_a_policy_rejects_is_told_apart(server: Server, strict: PostgresServer) -> None:
    """As PasswordRejected, while the old one still works; the next attempt draws another, and succeeds.

    What PostgreSQL's passwordcheck sees in a verifier is that it is of the user's own name. So that is put by hand as
    the pending value, while a broken current value keeps the rotation from drawing one.
    """
    secret = secret_of(strict)
    attempt = Attempt(server, "no JSON")
    attempt.told("failed")
    api, where = attempt.api, {"SecretId": attempt.name}
    broken = api.get_secret_value(**where)["VersionId"]
    good = api.put_secret_value(**where, SecretString=json.dumps(secret), VersionStages=["good"])["VersionId"]
    weak = json.dumps({**secret, "password": secret["username"]})
    api.put_secret_value(**where, ClientRequestToken=attempt.version, SecretString=weak, VersionStages=["AWSPENDING"])
    move = {"VersionStage": "AWSCURRENT", "MoveToVersionId": good, "RemoveFromVersionId": broken}
    api.update_secret_version_stage(**where, **move)
    assert refusal(api.rotate_secret, **where)[0] == "InvalidRequestException"  # which attempts it again
    entry = until(lambda: _failed_as(server, attempt.name, "PasswordRejected"))
    assert entry["Step"] == "set"
    assert good == api.get_secret_value(**where)["VersionId"]
    assert logs_in(strict, secret)
    assert not logs_in(strict, json.loads(weak))
    assert refusal(api.rotate_secret, **where)[0] == "InvalidRequestException"
    until(lambda: api.describe_secret(**where).get("LastRotatedDate"))
    read = api.get_secret_value(**where)
    assert read["VersionId"] not in (attempt.version, good)
    assert logs_in(strict, json.loads(read["SecretString"]))


def test_a_corrected_secret_rotates(server: Server, postgres: PostgresServer) -> None:
    """A value put by hand ends the failed rotation, and the next one succeeds."""
    secret = secret_of(postgres)
    attempt = Attempt(server, {**secret, "port": "many"})
    attempt.told("failed")
    attempt.api.put_secret_value(SecretId=attempt.name, SecretString=json.dumps(secret))
    version = token()
    attempt.api.rotate_secret(SecretId=attempt.name, ClientRequestToken=version)
    until(lambda: attempt.api.describe_secret(SecretId=attempt.name).get("LastRotatedDate"))
    read = attempt.api.get_secret_value(SecretId=attempt.name)
    assert version == read["VersionId"]
    assert logs_in(postgres, json.loads(read["SecretString"]))
    assert not logs_in(postgres, secret)
    entry = until(lambda: _at_rest(server, attempt.name))
    assert {"Code", "Reason", "NextTry"}.isdisjoint(entry)


def _failed_as(server: Server, name: str, code: str) -> dict[str, Any] | None:
    entry = server.rotation(name)
    return entry if (entry["State"], entry.get("Code")) == ("failed", code) else None


def _at_rest(server: Server, name: str) -> dict[str, Any] | None:
    entry = server.rotation(name)
    return entry if entry["State"] == "ok" else None
