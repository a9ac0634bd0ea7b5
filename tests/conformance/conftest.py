"""One server for each kind of store and test process; each test uses names of its own, or a Region."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance import answers
from tests.conformance.server import Server, fresh, fresh_region, pair_in
from tests.support.keywheel_server import KeywheelServer
from tests.support.servers import PostgresServer
from tests.support.stores import postgres_url

# How long the server waits for a body, so that the tests of slow ones need not wait long.
REQUEST_SECONDS = 2.0


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on each kind of store. When it ends, it must have answered every request without a fault of its own."""
    kind: str = request.param
    database_url = None if kind == "sqlite" else _postgresql_store(request)
    patience = {"KEYWHEEL_REQUEST_SECONDS": str(REQUEST_SECONDS)}
    with KeywheelServer(tmp_path_factory.mktemp(kind), database_url, environment=patience) as process:
        yield Server(process, database_url)
        assert process.alive
    log = process.log.read_text(encoding="utf-8").splitlines()
    assert not any(pair_in(process.data / "credentials").secret in line for line in log)
    # Ours, and what uvicorn says of an application that raised something or did not answer.
    assert [line for line in log if "api.fault" in line or "ASGI" in line or "Traceback" in line] == []


def _postgresql_store(request: pytest.FixtureRequest) -> str:
    postgres: PostgresServer = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("postgres_template")
    name = f"kw_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return postgres_url(postgres, name)


@pytest.fixture
def api(server: Server) -> Any:
    """A boto3 client."""
    return server.client()


@pytest.fixture
def kms(server: Server) -> Any:
    """A boto3 client of KMS, whose answers are held to the model."""
    client = server.client(service="kms")
    client.meta.events.register("after-call.kms", answers.check, unique_id="answers")
    return client


@pytest.fixture
def name() -> str:
    """A name for a secret of this test's own."""
    return fresh()


@pytest.fixture
def region() -> str:
    """A Region of this test's own."""
    return fresh_region()
