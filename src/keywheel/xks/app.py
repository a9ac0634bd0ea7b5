"""The proxy, as a raw ASGI callable beside the API: `POST <path>/health` and `POST <path>/keys/<id>/<operation>`.

It serves only the keys that its file names, and whoever signs with a credential of the file.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import structlog
from msgspec import Struct

from keywheel import __version__
from keywheel.access.audit.entries import VERSION, Entry, Identity, Resource
from keywheel.access.audit.log import AuditLog
from keywheel.access.sigv4 import Request, SigningKeys, claim, verify
from keywheel.clock import Clock
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import CallerError
from keywheel.keys.errors import InvalidKeyUsage, KeyNotFound
from keywheel.keys.keyring import Key, Keys
from keywheel.keys.proxied import Parts
from keywheel.xks import wire
from keywheel.xks.registration import Registration, RegistrationFile
from keywheel.xks.wire import Refused

_log = structlog.get_logger("keywheel.xks")

_SERVICE = frozenset({"kms-xks-proxy"})
_MOST = 65_536  # bytes of a body: 4,300 of plaintext and 8,192 of context, in Base64, and what is told of the call
_SECONDS = 5.0
_THREADS = 16
_KEY = re.compile(r"/keys/([a-zA-Z0-9._-]{1,128})/(metadata|encrypt|decrypt)")
_NAMES = {"metadata": "GetKeyMetadata", "encrypt": "Encrypt", "decrypt": "Decrypt"}
_VENDOR = "keywheel"

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Asked(NamedTuple):
    """What a path asks for."""

    operation: str
    key_id: str | None


class XksProxyApp:
    """The ASGI application."""

    def __init__(
        self,
        file: RegistrationFile,
        database: Database,
        keys: Keys,
        clock: Clock,
        audit: AuditLog | None,
    ) -> None:
        self._file = file
        self._database = database
        self._keys = keys
        self._proxied = keys.proxied
        self._clock = clock
        self._audit = audit
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="xks")
        self._signing_keys = SigningKeys()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
        try:
            async with asyncio.timeout(_SECONDS):
                body = await _body(scope["method"], receive)
        except (Refused, TimeoutError) as error:
            refused = error if isinstance(error, Refused) else Refused(408, "ValidationException", "Too slow.")
            status, answer = refused.status, wire.error_body(refused)
            headers.append((b"connection", b"close"))
        else:
            request = Request(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body)
            client = (scope.get("client") or (None,))[0]
            loop = asyncio.get_running_loop()
            status, answer = await loop.run_in_executor(self._threads, self._answer, scope["path"], request, client)
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def close(self) -> None:
        """Let the threads end what they do."""
        self._threads.shutdown()

    def _answer(self, path: str, request: Request, client: str | None) -> tuple[int, bytes]:
        """Nothing is raised: whatever happens, the caller gets an answer."""
        registration, told = self._file.current(), _Told(client)
        refused: Refused | None = None
        try:
            if self._audit is not None:
                self._audit.check()
            answer = wire.encode(self._carried_out(registration, path, request, told))
        except Exception as error:  # noqa: BLE001 - every error has its answer
            refused = wire.refusal(error)
            if refused.status >= 500:
                _log.error("xks.fault", error=type(error).__name__)
            answer = wire.error_body(refused)
        if self._audit is not None:
            try:
                self._audit.record(told.entry(registration, self._audit.time(), refused))
            except Exception as error:  # noqa: BLE001 - nothing is served that is not audited
                refused = wire.refusal(error)
                answer = wire.error_body(refused)
        return 200 if refused is None else refused.status, answer

    def _carried_out(self, registration: Registration, path: str, request: Request, told: _Told) -> Struct:
        asked = _asked(path, registration)
        told.operation, told.key_id = asked.operation, asked.key_id
        told.access_key_id = self._authenticated(registration, request)
        if asked.key_id is None:
            told.take(wire.decode(request.body, wire.Health).request_metadata)
            return self._health()
        if asked.operation == "GetKeyMetadata":
            told.take(wire.decode(request.body, wire.Metadata).request_metadata)
            with self._database.read() as tx:
                key = self._found(tx, registration, asked.key_id)
            return wire.KeyMetadata("ENABLED" if key.enabled else "DISABLED")
        if asked.operation == "Encrypt":
            encrypt = wire.decode(request.body, wire.Encrypt)
            told.take(encrypt.request_metadata)
            with self._database.read() as tx:
                return self._encrypted(tx, self._found(tx, registration, asked.key_id), encrypt)
        decrypt = wire.decode(request.body, wire.Decrypt)
        told.take(decrypt.request_metadata)
        parts = Parts(
            decrypt.ciphertext_metadata, decrypt.initialization_vector, decrypt.ciphertext, decrypt.authentication_tag
        )
        with self._database.read() as tx:
            key = self._found(tx, registration, asked.key_id)
            return wire.Decrypted(self._proxied.decrypt(tx, key, parts, decrypt.additional_authenticated_data))

    def _encrypted(self, tx: Tx, key: Key, request: wire.Encrypt) -> wire.Encrypted:
        context = request.additional_authenticated_data
        parts = self._proxied.encrypt(tx, key, request.plaintext, context)
        answer = wire.encrypted(parts, request)
        # The digest vouches that this will open, so that is tried; the digest first (Appendix C of the protocol).
        if answer.ciphertext_data_integrity_value is not None:
            self._proxied.decrypt(tx, key, parts, context)
        return answer

    def _found(self, tx: Tx, registration: Registration, key_id: str) -> Key:
        if key_id not in registration.keys:
            raise KeyNotFound("There is no such key.")
        key = self._keys.find(tx, registration.scope, key_id, now=self._clock.now())
        if not self._proxied.fits(key):
            raise InvalidKeyUsage("The key is not one for symmetric encryption.")
        return key

    def _authenticated(self, registration: Registration, request: Request) -> str:
        try:
            claimed = claim(request)
            if claimed.presigned:
                raise Refused(401, "AuthenticationFailedException", "A request is signed by its headers here.")
            known = registration.secret(claimed.signer.access_key_id)
            verify(request, claimed, known, keys=self._signing_keys, now=self._clock.now(), services=_SERVICE)
        except CallerError as error:
            raise Refused(401, "AuthenticationFailedException", error.message) from None
        return claimed.signer.access_key_id

    def _health(self) -> wire.HealthStatus:
        with self._database.point() as tx:
            tx.execute("SELECT 1", {})
        model = f"keywheel {__version__}"
        return wire.HealthStatus(1, _VENDOR, model, _VENDOR, (wire.Manager("keywheel", model),))


class _Told:
    """What the audit ledger will say of a call."""

    def __init__(self, client: str | None) -> None:
        self.client = client
        self.operation = "UnknownOperation"
        self.key_id: str | None = None
        self.access_key_id: str | None = None
        self._parameters: dict[str, Any] = {}

    def take(self, told: wire.Told | wire.ToldOfKey) -> None:
        """Keep what AWS KMS tells of the call."""
        self._parameters = {"kmsOperation": told.kms_operation, "kmsRequestId": told.kms_request_id}
        if isinstance(told, wire.ToldOfKey):
            self._parameters |= {"awsPrincipalArn": told.aws_principal_arn, "kmsKeyArn": told.kms_key_arn}

    def entry(self, registration: Registration, time: str, refused: Refused | None) -> Entry:
        """The entry."""
        scope = registration.scope
        arn = None if self.key_id is None else scope.arn("kms", f"key/{self.key_id}")
        return Entry(
            event_version=VERSION,
            event_time=time,
            event_source="kms-xks-proxy",
            event_name=self.operation,
            event_type="AwsApiCall",
            event_id=str(uuid.uuid4()),
            user_identity=Identity(
                "Unknown" if self.access_key_id is None else "XksProxyCredential", access_key_id=self.access_key_id
            ),
            read_only=True,
            aws_region=scope.region,
            source_ip_address=self.client,
            error_code=None if refused is None else refused.name,
            error_message=None if refused is None else refused.text,
            request_parameters=self._parameters or None,
            resources=None if arn is None else [Resource(arn, scope.account, "AWS::KMS::Key")],
            recipient_account_id=scope.account,
        )


def _asked(path: str, registration: Registration) -> _Asked:
    rest = path.removeprefix(registration.path)
    if len(rest) == len(path):
        raise Refused(404, "InvalidUriPathException", "There is no proxy at this path.")
    if rest == "/health":
        return _Asked("GetHealthStatus", None)
    found = _KEY.fullmatch(rest)
    if found is None:
        raise Refused(404, "InvalidUriPathException", "There is no such operation.")
    return _Asked(_NAMES[found[2]], found[1])


async def _body(method: str, receive: Receive) -> bytes:
    if method != "POST":
        raise Refused(405, "ValidationException", "Only POST is served here.")
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "ValidationException", "The client went away.")
        body += message.get("body", b"")
        if len(body) > _MOST:
            raise Refused(413, "ValidationException", "The request is too large.")
        more = message.get("more_body", False)
    return body
