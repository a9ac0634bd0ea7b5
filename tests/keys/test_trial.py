"""A key is tested by what it is for, and a spoiled one does not pass."""

from __future__ import annotations

import pytest

from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.errors import BrokenInvariant, CallerError, KeyStoreError
from keywheel.keys import rows, trial
from keywheel.keys.keyring import Draft, Key
from keywheel.keys.specs import SPECS
from keywheel.server import House

SCOPE = Scope("123456789012", "us-east-1")
SERVED = [(spec.name, usage) for spec in SPECS.values() if spec.served for usage in spec.usages]


def made(house: House, draft: Draft) -> Key:
    now = house.rooms.clock.now()

    def work(tx: Tx) -> Key:
        return house.keys.create(tx, SCOPE, description="", now=now, draft=draft)

    return house.rooms.database.write(work)


@pytest.mark.parametrize(("spec", "usage"), [each for each in SERVED if each[0] not in ("RSA_3072", "RSA_4096")])
def test_a_key_of_every_kind_passes(house: House, spec: str, usage: str) -> None:
    """By every algorithm that it has."""
    key = made(house, house.keys.draft(spec, usage))
    with house.rooms.database.read() as tx:
        trial.prove(house.keys, tx, key)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519", "RSA_2048"])
def test_a_key_whose_public_half_is_anothers_does_not_pass(house: House, spec: str) -> None:
    """Nobody could verify what it signs."""
    key, other = (made(house, house.keys.draft(spec, "SIGN_VERIFY")) for _ in range(2))

    def swap(tx: Tx) -> None:
        public = house.keys.signatures.public_key(tx, other)
        rows.material_update("public").run(tx, row_key=key.key_id, row_generation=1, public=public)

    house.rooms.database.write(swap)
    house.keys._materials.forget(key.key_id, 1)
    with house.rooms.database.read() as tx, pytest.raises((CallerError, BrokenInvariant, KeyStoreError)):
        trial.prove(house.keys, tx, key)
