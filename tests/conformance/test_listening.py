"""Where the server listens: on this machine only, or with TLS, or as somebody said in so many words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError

from tests.conformance.server import Wire, pair_in
from tests.support.keywheel_server import KeywheelServer, run_keywheel
from tests.support.servers import Authority


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised data directory."""
    path = tmp_path_factory.mktemp("listening") / "data"
    assert run_keywheel("init", "--data", str(path)).returncode == 0
    return path


def refused(data: Path, *options: str) -> str:
    """What `keywheel serve` says before it ends with an error."""
    done = run_keywheel("serve", "--data", str(data), "--port", "0", *options)
    assert done.returncode not in (0, 70)
    assert b"Traceback" not in done.stderr
    assert b"server.started" not in done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.7", "example.com", "127.example.com"])
def test_other_machines_are_not_served_in_clear_text(data: Path, host: str) -> None:
    """The error names the host and what to do, and nothing listens."""
    told = refused(data, "--host", host)
    assert f"Listening on {host} without TLS would send secret values in clear." in told
    assert "--allow-plaintext" in told
    assert "--tls-cert" in told


@pytest.mark.parametrize("half", ["--tls-cert", "--tls-key"])
def test_half_a_tls_pair_is_refused(data: Path, tmp_path: Path, half: str) -> None:
    """Rather than served without TLS."""
    assert "--tls-cert and --tls-key go together." in refused(data, half, str(tmp_path / "x.pem"))


def test_a_certificate_that_cannot_be_used_is_refused(data: Path, tmp_path: Path) -> None:
    """Missing, or none at all."""
    files = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    assert "certificate" in refused(data, *files)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("nothing")
    assert "certificate" in refused(data, *files)


def test_clear_text_is_served_where_somebody_said_so(tmp_path: Path) -> None:
    """With --allow-plaintext on every address."""
    with KeywheelServer(tmp_path, extra_args=["--host", "0.0.0.0", "--allow-plaintext"]) as server:
        assert server.url.startswith("http://0.0.0.0:")
        assert server.client().list_secrets()["SecretList"] == []


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Who signed the server's certificate."""
    return Authority()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[KeywheelServer]:
    """A server on every address, with TLS."""
    path = tmp_path_factory.mktemp("tls")
    files = [path / "cert.pem", path / "key.pem"]
    for file, pem in zip(files, authority.issue("localhost", "127.0.0.1"), strict=True):
        file.write_text(pem)
    options = ["--host", "0.0.0.0", "--tls-cert", str(files[0]), "--tls-key", str(files[1])]
    with KeywheelServer(path, extra_args=options) as server:
        yield server


def address(server: KeywheelServer) -> tuple[str, int]:
    return "127.0.0.1", urlsplit(server.url).port or 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_boto3_trusts_the_authority_it_is_told(secured: KeywheelServer, authority: Authority, host: str) -> None:
    """And no other: without it the certificate is refused."""
    assert secured.url.startswith("https://")
    pair = pair_in(secured.data / "credentials")

    def names(verify: str | bool) -> list[str]:
        client = boto3.client(
            "secretsmanager",
            endpoint_url=f"https://{host}:{address(secured)[1]}",
            region_name="us-east-1",
            aws_access_key_id=pair.access_key_id,
            aws_secret_access_key=pair.secret,
            verify=verify,
            config=Config(retries={"total_max_attempts": 1}),
        )
        return [entry["Name"] for entry in client.list_secrets()["SecretList"]]

    assert names(str(authority.path)) == []
    with pytest.raises(SSLError):
        names(verify=True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_tls_is_served(secured: KeywheelServer, authority: Authority, version: ssl.TLSVersion) -> None:
    """In its present versions."""
    context = ssl.create_default_context(cafile=str(authority.path))
    context.minimum_version = context.maximum_version = version
    with context.wrap_socket(socket.create_connection(address(secured), 10), server_hostname="localhost") as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert Wire(connection).reply() == (200, b"live\n")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_before_1_2_is_refused(secured: KeywheelServer, authority: Authority) -> None:
    """Whatever ciphers the client would take."""
    context = ssl.create_default_context(cafile=str(authority.path))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(address(secured), 10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_clear_text_on_the_tls_port_is_closed(secured: KeywheelServer) -> None:
    """Without an answer in clear text, and the server serves on."""
    with socket.create_connection(address(secured), 10) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        try:
            while part := plain.recv(1024):
                received += part
        except ConnectionResetError:
            pass
    assert b"HTTP" not in received
    assert secured.alive
