"""A server that is a proxy, and knows itself as the proxy of an external key store: both sides of the protocol."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from keywheel.access.sigv4 import Request, sign
from keywheel.sensitive import Sensitive
from tests.conformance import answers
from tests.support.keywheel_server import ACCOUNT, REGION, KeywheelServer
from tests.support.servers import Authority, free_port

HOST, PATH = "xks.example.com", "/team/a/kms/xks/v1"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Pair(NamedTuple):
    """A credential of the proxy."""

    access_key_id: str
    secret: str


class Answer(NamedTuple):
    """What the proxy says."""

    status: int
    body: dict[str, Any]

    @property
    def error(self) -> tuple[int, str]:
        """Its status, and the name of its error."""
        return self.status, self.body["errorName"]


def new_pair() -> Pair:
    """A credential of the forms that AWS takes."""
    return Pair("".join(secrets.choice(_ALPHABET) for _ in range(20)), secrets.token_hex(32))


def told(operation: str, **more: str) -> dict[str, str]:
    """What AWS KMS sends as requestMetadata."""
    caller = f"arn:aws:iam::{ACCOUNT}:user/alice"
    return {"awsPrincipalArn": caller, "kmsOperation": operation, "kmsRequestId": secrets.token_hex(8), **more}


def text(value: bytes) -> str:
    """Base64."""
    return base64.b64encode(value).decode()


class Stand:
    """The server, by both of its faces."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.authority = authority
        self.port = free_port()
        self.pairs = [new_pair()]
        self.server = KeywheelServer(directory, None, ["--workers", "2", "--port", str(self.port)])
        self.server.data.mkdir(parents=True)
        certificate, private = authority.issue("127.0.0.1", HOST)
        for name, pem in (("cert", certificate), ("key", private)):
            (directory / f"{name}.pem").write_text(pem)
        (self.server.data / "keywheel.toml").write_text(
            f'xks = true\ntls_cert = "{directory}/cert.pem"\ntls_key = "{directory}/key.pem"\n'
            f'[xks_proxies."{HOST}"]\naddress = "127.0.0.1:{self.port}"\nca = "{authority.path}"\ntimeout = 5.0\n'
        )
        self.register()
        self.client = httpx2.Client(verify=ssl.create_default_context(cafile=str(authority.path)), trust_env=False)

    def register(self, *keys: str) -> None:
        """Write the proxy's file anew: our credentials, and the keys that it serves."""
        lines = [f'account = "{ACCOUNT}"', f'region = "{REGION}"', f'path = "{PATH}"', f"keys = {json.dumps(keys)}"]
        for pair in self.pairs:
            lines += ["[[credential]]", f'access_key_id = "{pair.access_key_id}"']
            lines += [f'secret_access_key = "{pair.secret}"']
        draft = self.server.data / "xks.toml.new"
        draft.write_text("\n".join(lines) + "\n")
        draft.replace(self.server.data / "xks.toml")

    def kms(self) -> Any:
        """A boto3 client of its KMS."""
        client = self.server.client("kms")
        client.meta.events.register("after-call.kms", answers.check, unique_id="answers")
        return client

    def call(
        self,
        operation: str,
        body: dict[str, Any] | bytes,
        *,
        pair: Pair | None = None,
        path: str = PATH,
        now: datetime | None = None,
        service: str = "kms-xks-proxy",
        method: str = "POST",
        changed: bytes | None = None,
    ) -> Answer:
        """Send one signed request to the proxy; `changed` is sent instead of the body that was signed."""
        pair = pair or self.pairs[-1]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [(b"host", f"127.0.0.1:{self.port}".encode()), (b"content-type", b"application/json")]
        headers += sign(
            Request(method, f"{path}{operation}".encode(), b"", headers, content),
            access_key_id=pair.access_key_id,
            secret=Sensitive(pair.secret),
            region=REGION,
            service=service,
            now=now or datetime.now(UTC),
        )
        url = f"https://127.0.0.1:{self.port}{path}{operation}"
        response = self.client.request(method, url, content=content if changed is None else changed, headers=headers)
        return Answer(response.status_code, response.json())

    def encrypt(self, key_id: str, plaintext: bytes, context: bytes | None = None, *, digest: bool = False) -> Answer:
        """Ask for Encrypt."""
        body: dict[str, Any] = {
            "requestMetadata": told("Encrypt", kmsKeyArn="arn:aws:kms:x"),
            "plaintext": text(plaintext),
            "encryptionAlgorithm": "AES_GCM",
        }
        if context is not None:
            body["additionalAuthenticatedData"] = text(context)
        if digest:
            body["ciphertextDataIntegrityValueAlgorithm"] = "SHA_256"
        return self.call(f"/keys/{key_id}/encrypt", body)

    def decrypt(self, key_id: str, encrypted: dict[str, Any], context: bytes | None = None, **more: Any) -> Answer:
        """Ask for Decrypt of what Encrypt answered."""
        body = {
            "requestMetadata": told("Decrypt", kmsKeyArn="arn:aws:kms:x"),
            "encryptionAlgorithm": "AES_GCM",
            **{name: value for name, value in encrypted.items() if name != "ciphertextDataIntegrityValue"},
            **more,
        }
        if context is not None:
            body["additionalAuthenticatedData"] = text(context)
        return self.call(f"/keys/{key_id}/decrypt", body)
