"""Settings: one frozen struct, read once.

Each field is set, later ones winning, by its default, the file `DIR/keywheel.toml`, the environment
(`KEYWHEEL_<FIELD>`), and the command line. Nothing else in the server reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from keywheel.errors import ConfigurationError

Role = Literal["all", "api", "engine"]
DEFAULT_DATA = "keywheel-data"
_CREDENTIALS = "CREDENTIALS_DIRECTORY"  # systemd's name for it


class HsmToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A PKCS #11 token: the vendor's library, and the token's label."""

    module: str
    token: str


class XksProxy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an external key store's proxy is reached, where its endpoint does not say it all."""

    address: str | None = None
    """`HOST:PORT` to connect to; by default the endpoint's host, and 443."""
    ca: str | None = None
    """The authority that its certificate is from (PEM); by default one of the system's."""
    timeout: Annotated[float, Meta(gt=0, le=5)] = 0.25
    """Seconds to wait for an answer."""


class RotationFunction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rotation function that the server runs itself: `[functions.NAME]`."""

    directory: str
    """Where its modules are."""
    handler: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_./]*\.[A-Za-z_][A-Za-z0-9_]*$")] = (
        "lambda_function.lambda_handler"
    )
    """`MODULE.FUNCTION`."""
    python: str | None = None
    """Its interpreter, such as that of a virtual environment; by default the server's."""
    timeout: Annotated[float, Meta(gt=0, le=900)] = 30.0
    """Seconds that one step may take."""
    environment: dict[str, str] = {}
    """More variables; nothing secret, which any process of the same user may read."""
    role: str | None = None
    """The role, of the secret's account, in whose sessions it acts; by default one that every account has."""
    reads: list[str] = []
    """The ARNs of other secrets that it may read, such as a superuser's; `*` and `?` are wildcards."""
    user: str | None = None
    """The user of the machine that it runs as; by default the server's. Takes the right to change users."""


FunctionName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{2,64}$")]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `keywheel serve` can be told. docs/operations/settings.md explains each field."""

    data: str = DEFAULT_DATA
    """The data directory: root key, credentials, and the SQLite database."""
    database: str | None = None
    """`sqlite:///PATH` or `postgresql://…`; by default `keywheel.db` in the data directory."""
    root_key_file: str | None = None
    """The root key's file; by default `root.key` in the data directory."""
    root_key_credential: str | None = None
    """The name of the systemd credential that is the root key's file, instead of `root_key_file`."""
    root_key_module: str | None = None
    """The PKCS #11 library of the token that opens the root key's file, where one does."""
    root_key_token: str | None = None
    """That token's label."""
    root_key_pin_file: str | None = None
    """A file with its PIN."""
    credentials_directory: str | None = None
    """Where systemd shows a service its credentials; systemd itself says so by `CREDENTIALS_DIRECTORY`."""
    passphrase_file: str | None = None
    """A file with the root key's passphrase, where it has one."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8200
    """The port to listen on; 0 takes a free one."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """API processes."""
    role: Role = "all"
    """What this server does: `api`, `engine`, or `all`."""
    tls_cert: str | None = None
    """The server's certificate chain (PEM)."""
    tls_key: str | None = None
    """The certificate's private key (PEM)."""
    allow_plaintext: bool = False
    """Serve other machines without TLS. Secret values then cross the network in clear."""
    lambda_endpoint: str | None = None
    """An endpoint that speaks Lambda's Invoke, for rotation functions that are not built in."""
    lambda_credentials: str | None = None
    """An AWS shared-credentials file (profile `default`) to sign the calls to it."""
    functions: dict[FunctionName, RotationFunction] | None = None
    """The rotation functions that the server runs itself, by their names: tables of the file."""
    functions_endpoint: str | None = None
    """The API's address as those functions reach it; by default this server's own."""
    lease_seconds: Annotated[float, Meta(ge=3, le=3600)] = 30.0
    """How long a rotation belongs to a worker that is not heard of."""
    rotation_workers: Annotated[int, Meta(ge=1, le=256)] = 8
    """Rotations at a time."""
    target_concurrency: Annotated[int, Meta(ge=1, le=1000)] = 4
    """Rotations at a time at one target, over all engines."""
    account_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 64
    """Rotations at a time of one account, over all engines."""
    sentinel_seconds: Annotated[float, Meta(ge=0)] = 0.0
    """How often the published credential of a secret at rest is checked at its target; 0: only when there is cause."""
    sentinel_repairs: bool = True
    """Whether a published credential that worked before and is refused now is set anew, or only reported."""
    clock_hold_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 900.0
    """How long no rotation begins after the clock jumped, unless it jumps back or a person says that it is right."""
    mass_due: Annotated[int, Meta(ge=1)] = 100
    """How many rotations may be overdue after a pause or a jump before they are spread."""
    mass_due_spread_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 900.0
    """Over how long they are spread."""
    audit_checkpoint_seconds: Annotated[float, Meta(gt=0, le=3600)] = 1.0
    """How often the audit ledger is flushed to the disk and signed, while there is something new."""
    audit_sync: bool = False
    """Whether each entry of the audit ledger is on the disk before its call is answered."""
    hsm: dict[str, HsmToken] | None = None
    """The tokens that custom key stores may be on, by their cluster ids: tables of the file."""
    xks_proxies: dict[str, XksProxy] | None = None
    """The proxies of external key stores that the server may call, by their hosts: tables of the file."""
    xks: bool = False
    """Whether the server is a proxy itself, by which AWS KMS uses keys of this house."""
    xks_file: str | None = None
    """Who may call that proxy, and which keys it serves; by default `xks.toml` in the data directory."""
    body_limit: Annotated[int, Meta(ge=1024)] = 1_048_576
    """The largest request body, in bytes."""
    request_seconds: Annotated[float, Meta(gt=0)] = 30.0
    """How long a client may take to send one request."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written."""

    @property
    def directory(self) -> Path:
        """The data directory."""
        return Path(self.data)

    @property
    def database_url(self) -> str:
        """Where the store is."""
        return self.database or f"sqlite:///{self.directory.absolute() / 'keywheel.db'}"

    @property
    def root_key_path(self) -> Path:
        """Where the root key's file is."""
        if self.root_key_credential is not None:
            return Path(self.credentials_directory or "/run/credentials/keywheel.service") / self.root_key_credential
        return Path(self.root_key_file) if self.root_key_file else self.directory / "root.key"

    @property
    def xks_path(self) -> Path:
        """Where the file of the proxy is."""
        return Path(self.xks_file) if self.xks_file else self.directory / "xks.toml"

    def check(self) -> None:
        """Refuse what cannot be served safely.

        Raises:
            ConfigurationError: half of a TLS pair, clear text to other machines, or functions that reach no API.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("--tls-cert and --tls-key go together.")
        if self.functions and self.functions_endpoint is None and self.role == "engine":
            raise ConfigurationError(
                "An engine that runs functions must be told functions_endpoint, the API's address."
            )
        if not _is_loopback(self.host) and self.tls_cert is None and not self.allow_plaintext:
            raise ConfigurationError(
                f"Listening on {self.host} without TLS would send secret values in clear.",
                hint="Give --tls-cert and --tls-key, put a TLS proxy in front of 127.0.0.1, or say --allow-plaintext.",
            )


def load_settings(options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; `options` are the command line's, None meaning "not given".

    Raises:
        ConfigurationError: a field is unknown or out of range; it is named.
    """
    environment = os.environ if environment is None else environment
    given = {name: value for name, value in options.items() if value is not None}
    merged = {**_from_environment(environment), **given}
    file = Path(str(merged.get("data", DEFAULT_DATA))) / "keywheel.toml"
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return msgspec.convert({**written, **merged}, Settings, strict=False)
    except (ValueError, OSError) as error:  # neither TOML nor UTF-8, a field that is not valid; it cannot be read
        raise ConfigurationError(f"The settings are not valid: {error}", hint=f"Look at {file}.") from None


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name but `localhost` may resolve to anything."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    names = {f"KEYWHEEL_{field.upper()}": field for field in Settings.__struct_fields__}
    given = {names[name]: value for name, value in environment.items() if name in names}
    if _CREDENTIALS in environment:
        given.setdefault("credentials_directory", environment[_CREDENTIALS])
    return given
