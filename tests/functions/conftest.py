"""An account in a house that serves its API over HTTP and runs the functions of tests/functions/sample itself."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn

from keywheel.api.connections import Connection
from keywheel.clock import SystemClock
from keywheel.config import RotationFunction, Settings
from keywheel.db.database import open_database
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive
from keywheel.server import build
from keywheel.testing import ManualClock
from tests.support.account import Account

SAMPLE = Path(__file__).with_name("sample")
Host = Callable[..., Account]


@pytest.fixture
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in which functions leave word, outside of the data directory, which they do not see."""
    return tmp_path_factory.mktemp("notes") / "notes"


@pytest.fixture
def hosting(sqlite_url: str, clock: ManualClock, tmp_path: Path, notes: Path) -> Iterator[Host]:
    """An account whose server has one function, `mine`, with the given settings."""
    ends: list[Callable[[], None]] = []

    def host(handler: str, *, environment: dict[str, str] | None = None, **options: Any) -> Account:
        clock.set(SystemClock().now())  # boto3 signs with the machine's time
        root, listener = Sensitive(os.urandom(32)), socket.create_server(("127.0.0.1", 0))
        store = open_database(sqlite_url)
        store.write(Keys(root).bind)
        store.close()
        own = {"SSL_MODE": "disable", "NOTES": str(notes), **(environment or {})}
        function = RotationFunction(directory=str(SAMPLE), handler=handler, environment=own, **options)
        settings = Settings(data=str(tmp_path), database=sqlite_url, functions={"mine": function})
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        house = build(settings, root, clock=clock, address=address)
        app = house.app()
        config = uvicorn.Config(
            app, http=Connection, interface="asgi3", lifespan="off", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()

        def end() -> None:
            server.should_exit = True
            thread.join()
            app.close()
            house.close()

        ends.append(end)
        return Account(house, clock)

    yield host
    for end in ends:
        end()


@pytest.fixture
def log() -> Iterator[list[dict[str, Any]]]:
    """What is logged meanwhile."""
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc] # they are dictionaries
