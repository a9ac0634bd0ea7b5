"""The target in memory keeps the contract of a target: what passes with it is no accident."""

from __future__ import annotations

import secrets

import pytest

from keywheel.rotator import Credential
from keywheel.testing import TargetContract
from tests.support.memory_target import MemoryTarget


class TestMemoryTarget(TargetContract):
    """Every verb, every crash, every answer."""

    @pytest.fixture(autouse=True)
    def _target(self) -> None:
        self.target = self.memory = MemoryTarget()

    def fresh_credential(self) -> Credential:
        return self.memory.new_user(f"user_{secrets.token_hex(4)}", secrets.token_urlsafe(16))

    def superuser(self) -> Credential:
        return self.memory.superuser
