"""Live targets, by the names of their rotators' files: each module has `start()`, which gives a `Live`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol

from keywheel.rotator import Credential


class Live(Protocol):
    """A running target, which the certificate watches by a way of its own."""

    port: int
    """Where it listens on the loopback; rotations reach it through a proxy in front of that."""

    @property
    def superuser(self) -> Credential:
        """Who may change every user."""
        ...

    def new_user(self) -> Credential:
        """A new user that can log in."""
        ...

    def works(self, credential: Credential) -> bool:
        """Whether it logs in, asked directly."""
        ...

    def users_with_password(self, names: list[str]) -> list[str]:
        """Which of these users have a password that is not locked."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


def names() -> list[str]:
    """The rotators that have a live target here."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def start(name: str) -> Live:
    """Start the live target of a rotator."""
    module: Any = importlib.import_module(f"{__name__}.{name}")
    live: Live = module.start()
    return live
