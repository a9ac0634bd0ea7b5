"""Calls of the server, and what its refusals mean for a person."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from keywheel.cli.address import Address
from keywheel.cli.client import Client, ServerAway, ServerRefused
from keywheel.credentials import credentials_text, read_credentials
from keywheel.sensitive import Sensitive
from tests.cli.conftest import Place
from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import Authority


class Stranger(BaseHTTPRequestHandler):
    """A web server that is not keywheel."""

    def do_POST(self) -> None:
        """Refuse in its own way."""
        self.rfile.read(int(self.headers["content-length"]))
        body = b"<html>405"
        self.send_response(405)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a web server that is not keywheel."""
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def address(place: Place, endpoint: str | None = None, secret: str | None = None) -> Address:
    """The address of the shared server, or of another with its credentials."""
    access_key_id, own = read_credentials(place.server.data / "credentials")
    return Address(
        endpoint or place.server.url, place.region, access_key_id, own if secret is None else Sensitive(secret)
    )


def test_a_call_gives_the_answer(place: Place) -> None:
    """Members are sent under their wire names; those that are None are not sent."""
    with Client(address(place)) as client:
        made = client.call("secretsmanager.CreateSecret", Name="a", Description=None, ClientRequestToken="t" * 32)
        described = client.call("secretsmanager.DescribeSecret", SecretId=made["ARN"])
    assert (described["Name"], "Description" in described) == ("a", False)


def test_every_page_is_read(place: Place) -> None:
    """Whatever the number of pages, no entry is missed or told twice."""
    names = {f"secret-{number}" for number in range(7)}
    for name in names:
        place.client.create_secret(Name=name)
    with Client(address(place)) as client:
        found = [secret["Name"] for secret in client.pages("secretsmanager.ListSecrets", "SecretList", MaxResults=2)]
    assert (sorted(names), len(names)) == (sorted(found), len(found))


def test_a_refusal_keeps_the_code_and_says_what_to_try(place: Place) -> None:
    """AWS's code and text, and a hint of ours."""
    with Client(address(place)) as client, pytest.raises(ServerRefused) as caught:
        client.call("secretsmanager.DescribeSecret", SecretId="nothing")
    assert caught.value.code == "ResourceNotFoundException"
    assert caught.value.text == "Secrets Manager can't find the specified secret."
    assert "keywheel secrets list" in caught.value.hint()


def test_a_wrong_secret_key_is_explained(place: Place) -> None:
    """The hint speaks of clocks and credentials; the key itself is nowhere."""
    wrong = "wrong-secret-access-key"
    with Client(address(place, secret=wrong)) as client, pytest.raises(ServerRefused) as caught:
        client.call("secretsmanager.ListSecrets")
    assert caught.value.code == "InvalidSignatureException"
    assert "credentials" in caught.value.hint()
    assert wrong not in f"{caught.value} {caught.value!r} {caught.value.hint()}"


def test_a_server_that_is_down_is_named(place: Place, nobody: str) -> None:
    """The address, and how to start a server."""
    with Client(address(place, nobody)) as client, pytest.raises(ServerAway) as caught:
        client.call("secretsmanager.ListSecrets")
    assert caught.value.message == f"The server at {nobody} does not answer."
    assert "keywheel serve" in caught.value.hint()


def test_another_kind_of_server_is_told_from_keywheel(place: Place, stranger: str) -> None:
    """Its page is not shown, and no answer is made of it."""
    with Client(address(place, stranger)) as client, pytest.raises(ServerRefused) as caught:
        client.call("secretsmanager.ListSecrets")
    assert caught.value.code == "HTTP 405"
    assert stranger in caught.value.message


def test_a_proxy_of_the_environment_is_not_asked(place: Place, monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    """Requests go to the address that was named, and nowhere else."""
    monkeypatch.setenv("HTTP_PROXY", nobody)
    monkeypatch.setenv("ALL_PROXY", nobody)
    with Client(address(place)) as client:
        assert client.call("secretsmanager.ListSecrets") == {"SecretList": []}


def test_tls_is_verified(tmp_path: Path) -> None:
    """A certificate that nobody vouches for is refused; with its authority named, the command works."""
    authority = Authority()
    files = [tmp_path / "certificate.pem", tmp_path / "key.pem"]
    for file, pem in zip(files, authority.issue("127.0.0.1"), strict=True):
        file.write_text(pem)
    with KeywheelServer(tmp_path, extra_args=("--tls-cert", str(files[0]), "--tls-key", str(files[1]))) as server:
        assert server.url.startswith("https://")
        refused = server.keywheel("status")
        assert refused.returncode == 1
        assert b"--ca-bundle" in refused.stderr
        assert server.keywheel("status", "--ca-bundle", str(authority.path)).returncode == 0


def test_a_key_that_may_not_is_told_who_may(place: Place, tmp_path: Path) -> None:
    """A read-only key is refused with a hint at the roles."""
    reader = tmp_path / "reader"
    made = place.server.keywheel("access", "keys", "create", "r", "--read-only", "--credentials-file", str(reader))
    assert made.returncode == 0, made.stderr
    done = place.run("secrets", "create", "a", "--generate", "--credentials-file", str(reader), code=1)
    assert b"AccessDeniedException" in done.stderr
    assert b"administrator" in done.stderr


def test_an_unknown_key_is_told_where_to_look(place: Place, tmp_path: Path) -> None:
    """Credentials of another server are recognised as such."""
    (tmp_path / "credentials").write_text(credentials_text("AKIA" + "X" * 16, Sensitive("x" * 40), "us-east-1"))
    done = place.run("status", "--data", str(tmp_path), code=1)
    assert b"UnrecognizedClientException" in done.stderr
    assert b"keywheel init" in done.stderr
