"""Which server a command asks, and as whom.

By options, each of which an environment variable may stand in for; else the server that runs on the data directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from keywheel.config import Settings
from keywheel.credentials import read_credentials, read_region
from keywheel.errors import ConfigurationError
from keywheel.sensitive import Sensitive

DEFAULT_REGION = "us-east-1"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server listens on is no place to ask

OPTIONS = (
    click.option(
        "--endpoint-url",
        envvar="KEYWHEEL_ENDPOINT_URL",
        show_envvar=True,
        metavar="URL",
        help="The server to ask.  [default: http://127.0.0.1:8200]",
    ),
    click.option(
        "--data",
        envvar="KEYWHEEL_DATA",
        show_envvar=True,
        metavar="DIR",
        help="The data directory with the files credentials and config.  [default: keywheel-data]",
    ),
    click.option(
        "--credentials-file",
        envvar="KEYWHEEL_CREDENTIALS_FILE",
        show_envvar=True,
        metavar="FILE",
        help="The AWS credentials file to sign with.  [default: DIR/credentials]",
    ),
    click.option(
        "--region",
        envvar="KEYWHEEL_REGION",
        show_envvar=True,
        metavar="REGION",
        help="The Region to work in.  [default: the credentials file's]",
    ),
    click.option(
        "--ca-bundle",
        envvar="KEYWHEEL_CA_BUNDLE",
        show_envvar=True,
        metavar="FILE",
        help="The authorities (PEM) that may vouch for the server.  [default: the system's]",
    ),
)


@dataclass(frozen=True, slots=True)
class Address:
    """Which server to ask, as whom."""

    endpoint: str
    region: str
    access_key_id: str
    secret: Sensitive[str]
    ca_bundle: str | None = None


def find_server(
    settings: Settings,
    endpoint_url: str | None,
    credentials_file: str | None,
    region: str | None,
    ca_bundle: str | None,
) -> Address:
    """The server that the options name; where they name none, the one that runs on the data directory.

    Raises:
        ConfigurationError: the URL cannot be used, or there are no credentials.
    """
    endpoint = (endpoint_url or own_address(settings)).rstrip("/")
    parsed = urlsplit(endpoint)
    if parsed.scheme not in ("http", "https") or not parsed.hostname or parsed.path or parsed.query:
        raise ConfigurationError("--endpoint-url must look like http://127.0.0.1:8200.")
    path = Path(credentials_file) if credentials_file else settings.directory / "credentials"
    if not path.is_file():
        raise ConfigurationError(
            f"There is no credentials file {path}.",
            hint="Name the server's data directory with --data, or an AWS credentials file with --credentials-file.",
        )
    access_key_id, secret = read_credentials(path)
    region = region or read_region(path) or read_region(settings.directory / "config") or DEFAULT_REGION
    return Address(endpoint, region, access_key_id, secret, ca_bundle)


def own_address(settings: Settings) -> str:
    """Where a server with these settings is asked from the same machine."""
    host = _EVERYWHERE.get(settings.host, settings.host)
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{settings.port}" if ":" in host else f"{scheme}://{host}:{settings.port}"
