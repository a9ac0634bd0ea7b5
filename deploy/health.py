"""Asks the server of this container for /health or /ready: exit code 0 when it answers 200.

It finds the server by the settings in the environment and in keywheel.toml, so give the image its settings there and
not as arguments.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from collections.abc import Mapping

from keywheel.config import Settings, load_settings

_SECONDS = 4


def main(path: str, environment: Mapping[str, str] | None = None) -> int:
    """Ask for `path`; the exit code."""
    settings = load_settings({}, environment)
    if settings.role == "engine":
        return 0  # it listens nowhere, and its parent ends when it cannot be kept alive
    connection = _connection(settings)
    try:
        connection.request("GET", path)
        return int(connection.getresponse().status != http.HTTPStatus.OK)
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


def _connection(settings: Settings) -> http.client.HTTPConnection:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 # every address, this one among them
    if settings.tls_cert is None:
        return http.client.HTTPConnection(host, settings.port, timeout=_SECONDS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate names the service, not this loopback
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, settings.port, timeout=_SECONDS, context=context)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
