"""A proxy that is not what it should be: slow, cut off, without trust, or answering what the protocol does not know."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from keywheel.arn import Scope
from keywheel.errors import DecryptionFailure
from keywheel.keys import ciphertext
from keywheel.keys.errors import (
    CustomKeyStoreInvalidState,
    XksKeyInvalidConfiguration,
    XksKeyNotFound,
    XksProxyIncorrectCredential,
    XksProxyInvalidResponse,
    XksProxyUnreachable,
)
from keywheel.keys.stores.software import SoftwareKeyStore
from keywheel.keys.stores.xks import Credential, Headers, XksKeyStore, XksProxy
from keywheel.keys.stores.xks_failures import ProxyFailed
from keywheel.sensitive import Sensitive
from tests.support.servers import Authority

HOST, PATH = "xks.example.com", "/kms/xks/v1"
LABEL = ciphertext.head("12345678-1234-4234-8234-123456789012", 1)
TOLD = {"kmsOperation": "Encrypt"}
Respond = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class Peer:
    """An HTTPS server that answers whatever the test wants."""

    def __init__(self, directory: Path, names: tuple[str, ...] = (HOST,)) -> None:
        self.authority = Authority()
        self.respond: Respond = answering(200, {})
        self.clients: list[XksProxy] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        certificate, private = self.authority.issue(*names)
        (directory / "pair.pem").write_text(certificate + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "pair.pem")
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                peer.asked.append((self.path, body))
                peer.respond(self, body)

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.shutdown()
        self.server.server_close()


def answering(status: int, body: object) -> Respond:
    """Answer a call so."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def respond(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return respond


def unsigned(credential: Credential, region: str, path: str, headers: Headers, body: bytes) -> Headers:
    """What signs is tested with the proxy of our own."""
    return []


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path)
    yield peer
    peer.close()


def proxy(peer: Peer, *, ca: Path | None = None, wait: float = 5.0, address: str | None = None) -> XksProxy:
    """A client of the peer."""
    client = XksProxy(
        f"https://{HOST}",
        PATH,
        Credential("A" * 20, Sensitive("s" * 43)),
        unsigned,
        region="us-east-1",
        address=address or peer.address,
        ca=str(ca or peer.authority.path),
        wait=wait,
    )
    peer.clients.append(client)
    return client


def failure(work: Callable[[], object]) -> ProxyFailed:
    """The failure that a call ends with."""
    with pytest.raises(ProxyFailed) as failed:
        work()
    return failed.value


UNREADABLE: tuple[object, ...] = (
    b"",
    b"<html>",
    b"[]",
    b"\xff\xfe",
    {},
    {"ciphertext": "eA=="},
    {"ciphertext": 1, "initializationVector": 2, "authenticationTag": 3},
    {"ciphertext": "!", "initializationVector": "!", "authenticationTag": "!"},
    b"[" * 200_000,
    b'{"x": "' + b"x" * 200_000 + b'"}',
)


@pytest.mark.parametrize("body", UNREADABLE)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_that_is_none(peer: Peer, status: int, body: object) -> None:
    """Never a crash, and never more of it read than an answer has."""
    peer.respond = answering(status, body)
    with_it = proxy(peer)
    for work in (
        lambda: with_it.encrypt("k", b"x", b"", TOLD),
        lambda: with_it.require_key("k", "arn:aws:iam::1:root", "CreateKey"),
        lambda: with_it.check("CreateCustomKeyStore"),
    ):
        assert failure(work).failure.code == "XKS_PROXY_INVALID_RESPONSE"


@pytest.mark.parametrize("change", ["ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"])
def test_a_ciphertext_that_arrives_spoiled_is_not_kept(peer: Peer, change: str) -> None:
    """The digest of its parts tells."""
    import base64
    import hashlib

    parts = {
        "ciphertextMetadata": b"m",
        "initializationVector": bytes(12),
        "ciphertext": b"c",
        "authenticationTag": bytes(16),
    }
    digest = hashlib.sha256(b"context" + b"".join(parts.values())).digest()
    good = {name: base64.b64encode(value).decode() for name, value in parts.items()}
    good["ciphertextDataIntegrityValue"] = base64.b64encode(digest).decode()
    with_it = proxy(peer)
    peer.respond = answering(200, good)
    assert with_it.encrypt("k", b"x", b"context", TOLD).ciphertext == b"c"
    spoiled = bytes([parts[change][0] ^ 1]) + parts[change][1:]
    peer.respond = answering(200, {**good, change: base64.b64encode(spoiled).decode()})
    assert failure(lambda: with_it.encrypt("k", b"x", b"context", TOLD)).failure.of_store is XksProxyInvalidResponse


@pytest.mark.parametrize(
    ("name", "of_store", "of_key"),
    [
        ("AuthenticationFailedException", XksProxyIncorrectCredential, CustomKeyStoreInvalidState),
        ("KeyNotFoundException", XksProxyInvalidResponse, XksKeyNotFound),
        ("InvalidStateException", XksProxyInvalidResponse, XksKeyInvalidConfiguration),
        ("InvalidKeyUsageException", XksProxyInvalidResponse, XksKeyInvalidConfiguration),
        ("DependencyTimeoutException", XksProxyUnreachable, CustomKeyStoreInvalidState),
        ("ThrottlingException", XksProxyUnreachable, CustomKeyStoreInvalidState),
        ("InternalException", XksProxyInvalidResponse, CustomKeyStoreInvalidState),
        ("SomethingNewException", XksProxyInvalidResponse, CustomKeyStoreInvalidState),
    ],
)
def test_what_a_proxy_says_becomes_an_error_of_kms(peer: Peer, name: str, of_store: type, of_key: type) -> None:
    """By who asks: KMSInvalidStateException for the user of a key."""
    peer.respond = answering(400, {"errorName": name, "errorMessage": "its own words"})
    found = failure(lambda: proxy(peer).encrypt("k", b"x", b"", TOLD))
    assert (found.code, found.failure.of_store, found.failure.of_key) == ("KMSInvalidStateException", of_store, of_key)
    assert "its own words" not in found.message


@pytest.mark.parametrize(
    "metadata",
    [
        {"keySpec": "RSA_2048", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"},
        {"keySpec": "AES_256", "keyUsage": ["ENCRYPT"], "keyStatus": "ENABLED"},
        {"keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "DISABLED"},
    ],
)
def test_only_a_fit_external_key_is_taken(peer: Peer, metadata: dict[str, Any]) -> None:
    """AES-256, for both directions, enabled."""
    peer.respond = answering(200, metadata)
    found = failure(lambda: proxy(peer).require_key("k", "arn:aws:iam::1:root", "CreateKey"))
    assert found.failure.of_key is XksKeyInvalidConfiguration
    fit = {"keySpec": "AES_256", "keyUsage": ["SIGN", "ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED"}
    peer.respond = answering(200, fit)
    proxy(peer).require_key("k", "arn:aws:iam::1:root", "CreateKey")


def test_a_proxy_whose_certificate_is_not_trusted_hears_nothing(peer: Peer, tmp_path: Path) -> None:
    """Neither one of another authority, nor one for another host."""
    assert failure(lambda: proxy(peer, ca=Authority().path).check("x")).failure.code == (
        "XKS_PROXY_INVALID_TLS_CONFIGURATION"
    )
    other = Peer(tmp_path, names=("other.example.com",))
    assert failure(lambda: proxy(other).check("x")).failure.code == "XKS_PROXY_INVALID_TLS_CONFIGURATION"
    assert peer.asked == other.asked == []
    other.close()


def test_a_proxy_that_is_slow_or_away_is_tried_twice_and_no_more(peer: Peer) -> None:
    """And told as such."""
    hold = threading.Event()

    def keep(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        hold.wait(30)
        handler.close_connection = True

    peer.respond = keep
    begun = time.monotonic()
    assert failure(lambda: proxy(peer, wait=0.5).check("x")).failure.code == "XKS_PROXY_TIMED_OUT"
    assert time.monotonic() - begun < 20
    assert len(peer.asked) == 2
    hold.set()
    gone = f"127.0.0.1:{_closed_port()}"
    assert failure(lambda: proxy(peer, address=gone).check("x")).failure.code == "XKS_PROXY_NOT_REACHABLE"


def test_a_connection_that_was_cut_is_opened_again(peer: Peer) -> None:
    """Once; the call that was lost is repeated."""
    good = answering(200, {"ekmFleetDetails": [{}]})

    def cut_first(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if len(peer.asked) == 1:
            handler.close_connection = True
        else:
            good(handler, body)

    peer.respond = cut_first
    proxy(peer).check("x")
    assert len(peer.asked) == 2


@pytest.mark.parametrize("blob", [b"", b"\0", b"\x14\x0c", b"\xff" * 60, b"\0\x0d" + bytes(60), b"\0\x0c" + bytes(27)])
def test_a_ciphertext_that_is_none_is_refused_here(peer: Peer, blob: bytes) -> None:
    """Without a call."""
    store = XksKeyStore(SoftwareKeyStore(Sensitive(bytes(32))), proxy(peer), Scope("123456789012", "us-east-1"))
    handle = store.handle("k", LABEL)
    with pytest.raises(DecryptionFailure):
        store.decrypt(handle, LABEL, blob, b"")
    assert peer.asked == []


def test_the_proxy_never_sees_the_plaintext_nor_the_context(peer: Peer) -> None:
    """It is encrypted before, under material of our own; of the context there is a digest."""
    peer.respond = answering(400, {"errorName": "InternalException"})
    store = XksKeyStore(SoftwareKeyStore(Sensitive(bytes(32))), proxy(peer), Scope("123456789012", "us-east-1"))
    failure(lambda: store.encrypt(store.handle("k", LABEL), LABEL, b"the plaintext of this test", b"tenant=secret"))
    path, body = peer.asked[0]
    assert path == f"{PATH}/keys/k/encrypt"
    assert body["requestMetadata"]["kmsKeyArn"].endswith(":123456789012:key/12345678-1234-4234-8234-123456789012")
    sent = b"".join(_decoded(body[name]) for name in ("plaintext", "additionalAuthenticatedData"))
    assert b"plaintext of this" not in sent
    assert b"tenant" not in sent


def _decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def _closed_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
