"""One server, and openssl beside it. No store can make a difference to an algorithm, so it is SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.server import Server
from tests.known_answers.bench import Bench
from tests.support.keywheel_server import KeywheelServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server."""
    with KeywheelServer(tmp_path_factory.mktemp("known-answers")) as process:
        yield Server(process, None)


@pytest.fixture(scope="session")
def bench(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Its keys, made or imported once."""
    return Bench(server.client(service="kms"), tmp_path_factory.mktemp("openssl"))


@pytest.fixture(scope="session")
def kms(bench: Bench) -> Any:
    """A boto3 client of it."""
    return bench.kms


@pytest.fixture(scope="session")
def directory(bench: Bench) -> Path:
    """A place for files."""
    return bench.directory
