"""A parent with children, for the tests of `keywheel.processes`: `python -m tests.support.supervised KIND…`.

Each kind is a child. What happens is printed, a JSON object a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import structlog

from keywheel import processes
from keywheel.errors import ConfigurationError
from keywheel.processes import Child, on_terminate, supervise


def tell(**what: object) -> None:
    """Print a line, in one write: all processes share the pipe."""
    os.write(1, json.dumps({**what, "pid": os.getpid()}).encode() + b"\n")


def obedient(name: str) -> None:
    """Ends when it is asked to."""
    stop = threading.Event()
    on_terminate(stop.set)
    tell(began=name)
    # As the engine does: where there are threads, CPython may notice a signal only after a wait for a lock has ended.
    while not stop.wait(0.1):
        pass
    tell(ended=name)


def plain(name: str) -> None:
    """Has no handler, so a signal ends it."""
    tell(began=name)
    time.sleep(600)


def deaf(name: str) -> None:
    """Does not end when it is asked to."""
    on_terminate(lambda: None)
    tell(began=name)
    time.sleep(600)


def failing(name: str) -> None:
    """Ends in an error when it is asked to end."""
    obedient(name)
    raise LookupError("a text that may hold anything")


def hopeless(name: str) -> NoReturn:
    """Cannot begin."""
    tell(began=name)
    raise ConfigurationError("The store does not answer.")


KINDS: dict[str, Callable[[str], None]] = {kind.__name__: kind for kind in (obedient, plain, deaf, failing, hopeless)}


def main(kinds: list[str]) -> int:
    """Run a child of each kind until SIGTERM or SIGINT."""
    signal.alarm(60)  # whatever a test forgets
    processes._STOP_SECONDS = 0.5
    processes._RESTART_SECONDS = 0.1
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.WriteLoggerFactory())
    children = [Child(f"{kind}-{n}", partial(KINDS[kind], f"{kind}-{n}")) for n, kind in enumerate(kinds)]
    return supervise(children, ready=lambda: tell(ready=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
