"""Backing keys that are kept ready: a bounded number, and none that was destroyed."""

from __future__ import annotations

import pytest

from keywheel.errors import DecryptionFailure, KeyStoreError
from keywheel.keys import ciphertext, keyring, materials
from keywheel.keys.specs import SPECS
from tests.keys.ring import HERE, THERE, Ring


def test_so_many_are_kept_and_all_can_be_used(quick: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were pushed out are read again."""
    monkeypatch.setattr(materials, "_KEPT", 2)
    blobs = [quick.encrypt(quick.make(), str(number).encode()) for number in range(5)]
    for _ in range(2):
        assert [quick.decrypt(blob) for blob in blobs] == [b"0", b"1", b"2", b"3", b"4"]
        assert len(quick.keys._materials._kept) <= 2


def test_so_many_managed_keys_are_remembered(quick: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are looked up again."""
    monkeypatch.setattr(keyring, "_MANAGED", 1)
    made = []
    for scope in (HERE, THERE):
        key = quick.write(lambda tx, scope=scope: quick.keys.default(tx, scope, now=quick.now))  # type: ignore[misc]
        with quick.database.read() as tx:
            made.append(quick.keys.generate_data_key(tx, key, b""))
    for plain, blob in made * 2:
        with quick.database.read() as tx:
            assert quick.keys.decrypt(tx, blob, b"") == plain
        assert len(quick.keys._managed) == 1


def test_what_was_destroyed_is_not_kept(quick: Ring) -> None:
    """Though it was used a moment before."""
    key = quick.make()
    quick.encrypt(key, b"x")
    kept = quick.keys._materials
    label = ciphertext.head(key.key_id, 1)
    with quick.database.read() as tx:
        kept.handle(tx, label)
    quick.write(lambda tx: tx.execute("DELETE FROM backing_key", ()))
    kept.forget(key.key_id, 1)
    with quick.database.read() as tx, pytest.raises(DecryptionFailure):
        kept.handle(tx, label)


def test_a_handle_of_another_key_is_refused(quick: Ring) -> None:
    """Whoever may write to the database cannot have one key do the work of another."""
    one, other = (quick.make("ECC_NIST_P256", "SIGN_VERIFY") for _ in range(2))
    theirs = f"(SELECT sealed FROM backing_key WHERE key_id = '{other.key_id}')"
    quick.write(lambda tx: tx.execute(f"UPDATE backing_key SET sealed = {theirs} WHERE key_id = '{one.key_id}'", ()))
    with pytest.raises(KeyStoreError):
        quick.sign(one, b"x", "ECDSA_SHA_256")


@pytest.mark.parametrize("spec", [name for name, spec in SPECS.items() if spec.served and not name.startswith("RSA_")])
def test_material_of_each_spec_is_made(quick: Ring, spec: str) -> None:
    """Only a key pair has a public half."""
    handle, public = quick.keys._materials.make(spec, b"label")
    assert quick.keys._store.unwrap(handle, b"label")
    assert (public is not None) == (SPECS[spec].kind == "asymmetric")
