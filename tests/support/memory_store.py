"""A `SecretStore` in memory, for tests of single steps."""

from __future__ import annotations

from collections.abc import Mapping

from keywheel.errors import SecretMalformed
from keywheel.rotation.steps import CURRENT, PENDING, PREVIOUS
from keywheel.rotator import Credential
from keywheel.sensitive import Sensitive

NEW_PASSWORD = "drawn-by-the-store"


class MemoryStore:
    """Labels in `held` and values in `values`, by secret; `calls` is what it was asked to do."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, str]] = {}
        self.values: dict[tuple[str, str], Credential | str | None] = {}
        self.calls: list[str] = []

    def labels(self, secret_id: str) -> Mapping[str, str]:
        if secret_id not in self.held:
            raise SecretMalformed(f"There is no secret {secret_id}.")
        return dict(self.held[secret_id])

    def get(self, secret_id: str, version: str) -> Credential | None:
        value = self.values.get((secret_id, version))
        return Credential.parse(Sensitive(value)) if isinstance(value, str) else value

    def put(self, secret_id: str, version: str, value: Credential) -> None:
        self.calls.append(f"put {version}")
        self.values[secret_id, version] = value

    def promote(self, secret_id: str, version: str) -> None:
        self.calls.append(f"promote {version}")
        held = self.held[secret_id]
        held |= {PREVIOUS: held[CURRENT], CURRENT: version}
        held.pop(PENDING, None)

    def new_password(self, *, length: int, exclude_characters: str) -> Sensitive[str]:
        self.calls.append(f"draw {length} without {exclude_characters}")
        return Sensitive(NEW_PASSWORD)
