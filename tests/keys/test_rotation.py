"""Rotation of a key's material: by itself, on demand, over years."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.errors import CallerError, LimitExceeded, UnsupportedOperation, ValidationFailed
from keywheel.keys.errors import Conflict, KeyDisabled, KeyInvalidState
from keywheel.keys.keyring import DEFAULT_ALIAS, Key
from keywheel.keys.rotation import Entry, Status, next_date
from tests.keys.ring import HERE, START, Ring

DAY = 86_400.0
OTHER_KINDS = [("RSA_2048", "ENCRYPT_DECRYPT"), ("ECC_NIST_P256", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC")]


def enable(ring: Ring, key: Key, days: int | None = None) -> Key:
    return ring.change(key, lambda tx, found: ring.keys.rotation.enable(tx, found, days, ring.now))


def disable(ring: Ring, key: Key) -> Key:
    return ring.change(key, ring.keys.rotation.disable)


def sweep(ring: Ring) -> list[str]:
    return [key.key_id for key in ring.write(lambda tx: ring.keys.rotation.rotate_due(tx, ring.now))]


def entries(ring: Ring, key: Key, *, everything: bool = False, after: int = 0, most: int = 100) -> list[Entry]:
    return ring.use(
        key,
        lambda tx, found: ring.keys.rotation.entries(tx, found, everything=everything, after=after, most=most),
    )


def at(instant: datetime) -> float:
    return instant.timestamp()


# --- the rule ------------------------------------------------------------------------------------------------------


@given(due=st.floats(0, 1e9), period=st.integers(90, 2560), late=st.floats(0, 1e8))
def test_the_next_date_is_ahead_and_not_further_than_a_period(due: float, period: int, late: float) -> None:
    """A rotation that is a little late does not shift the schedule; one that missed turns begins anew."""
    now = due + late
    following = next_date(due, period, now)
    assert now < following <= now + period * DAY
    assert following == (due if late < period * DAY else now) + period * DAY


# --- automatic -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [None, 90, 365, 2560])
def test_a_key_rotates_when_its_period_is_over(ring: Ring, days: int | None) -> None:
    """Not before; what it encrypted before opens, by the material that is named."""
    key, still = ring.make(), ring.make()
    period = days or 365
    enabled = enable(ring, key, days)
    assert ring.status(enabled) == Status(True, period, at(START + timedelta(days=period)))
    old = ring.encrypt(key, b"old")
    ring.wait(days=period, seconds=-1)
    assert sweep(ring) == []
    ring.wait(seconds=1)
    assert sweep(ring) == [key.key_id]
    assert sweep(ring) == []
    rotated = ring.find(key)
    assert rotated.material_id != key.material_id
    assert ring.status(rotated).next == at(START + timedelta(days=2 * period))
    new = ring.encrypt(key, b"new")
    opened = [ring.open(key, blob) for blob in (old, new)]
    assert [(one.plaintext.reveal(), one.material_id) for one in opened] == [
        (b"old", key.material_id),
        (b"new", rotated.material_id),
    ]
    assert ring.find(still) == still


def test_ten_years_of_rotations(ring: Ring) -> None:
    """Each on its day; every ciphertext of every year opens, after a restart too."""
    key = enable(ring, ring.make())
    blobs = []
    for year in range(10):
        blobs.append(ring.encrypt(key, str(year).encode()))
        ring.wait(days=365, hours=1 if year == 3 else 0)  # one year the sweep is late
        assert sweep(ring) == [key.key_id]
    ring.restart()
    assert [ring.decrypt(blob) for blob in blobs] == [str(year).encode() for year in range(10)]
    assert len({ring.open(key, blob).material_id for blob in blobs}) == 10
    listed = entries(ring, key)
    assert [entry.kind for entry in listed] == ["AUTOMATIC"] * 10
    assert ring.find(key).next_rotation == at(START + timedelta(days=365 * 11))


def test_a_server_that_slept_for_years_rotates_once(ring: Ring) -> None:
    """And goes on from there."""
    key = enable(ring, ring.make(), 90)
    ring.wait(days=1000)
    assert sweep(ring) == [key.key_id]
    assert sweep(ring) == []
    assert (ring.find(key).generation, ring.find(key).next_rotation) == (2, at(ring.now + timedelta(days=90)))


def test_enabling_again_begins_anew(ring: Ring) -> None:
    """With the new period, from that day on."""
    key = enable(ring, ring.make())
    ring.wait(days=100)
    assert enable(ring, key, 180).next_rotation == at(START + timedelta(days=280))
    assert ring.find(key).rotation_period == 180


def test_a_key_without_rotation_does_not_rotate(ring: Ring) -> None:
    """Neither before it was enabled nor after it was disabled again."""
    key, never = enable(ring, ring.make()), ring.make()
    assert ring.status(disable(ring, key)) == Status(False, None, None)
    ring.wait(days=2560)
    assert sweep(ring) == []
    assert ring.status(ring.find(never)) == Status(False, None, None)


def test_a_disabled_key_rotates_when_it_is_enabled(ring: Ring) -> None:
    """At once, when it is overdue; until then its status is as it was."""
    key = enable(ring, ring.make())
    disabled = ring.disable(key)
    assert ring.status(disabled).enabled
    ring.wait(days=400)
    assert sweep(ring) == []
    assert ring.find(key).generation == 1
    assert ring.enable(key).generation == 2
    assert ring.find(key).next_rotation == at(START + timedelta(days=730))
    early = enable(ring, ring.make())
    ring.disable(early)
    assert ring.enable(early).generation == 1


def test_a_key_that_will_be_deleted_does_not_rotate(ring: Ring) -> None:
    """Its status says so, and is what it was when the deletion is cancelled."""
    key = enable(ring, ring.make())
    leaving = ring.schedule(key)
    assert ring.status(leaving) == Status(False, None, None)
    ring.wait(days=365)
    assert sweep(ring) == []
    back = ring.cancel(key)
    assert ring.status(back) == Status(True, 365, at(START + timedelta(days=365)))
    assert ring.enable(key).generation == 2


@pytest.mark.parametrize("days", [89, 2561, 0, -1])
def test_a_period_is_neither_short_nor_long(ring: Ring, days: int) -> None:
    """Of AWS KMS's bounds; whoever asks for a shorter one says so."""
    key = ring.make()
    with pytest.raises(ValidationFailed, match="90 to 2560 days"):
        enable(ring, key, days)
    shorter = ring.change(key, lambda tx, it: ring.keys.rotation.enable(tx, it, 30, ring.now, shortest=30))
    assert shorter.rotation_period == 30


def test_the_key_of_secrets_rotates_every_year(ring: Ring) -> None:
    """Nobody has to enable that, and nobody can stop it."""
    key = ring.write(lambda tx: ring.keys.default(tx, HERE, now=ring.now))
    assert ring.status(key) == Status(True, 365, at(START + timedelta(days=365)))
    with ring.database.read() as tx:
        plain, blob = ring.keys.generate_data_key(tx, key, b"context")
    ring.wait(days=365)
    assert sweep(ring) == [key.key_id]
    assert ring.find(DEFAULT_ALIAS).generation == 2
    with ring.database.read() as tx:
        assert ring.keys.decrypt(tx, blob, b"context") == plain


# --- on demand -----------------------------------------------------------------------------------------------------


def test_a_key_rotates_on_demand(ring: Ring) -> None:
    """The automatic schedule stays as it is."""
    key = enable(ring, ring.make())
    old = ring.encrypt(key, b"old")
    rotated = ring.rotate(key)
    assert rotated == ring.find(key)
    assert (rotated.generation, rotated.on_demand, rotated.next_rotation) == (2, 1, key.next_rotation)
    assert ring.decrypt(old) == b"old"


def test_a_key_rotates_on_demand_25_times(ring: Ring) -> None:
    """In the words of AWS KMS; automatic rotations do not count."""
    key = enable(ring, ring.make())
    ring.wait(days=365)
    sweep(ring)
    for _ in range(25):
        ring.rotate(key)
    with pytest.raises(LimitExceeded) as caught:
        ring.rotate(key)
    assert caught.value.message == (
        "The on-demand rotations limit has been reached for the given keyId. "
        f"No more on-demand rotations can be performed for this key: {key.arn}"
    )
    assert ring.find(key).generation == 27


def test_a_rotation_on_demand_does_not_meet_an_automatic_one(ring: Ring) -> None:
    """20 minutes before it, and until it was made."""
    key = enable(ring, ring.make())
    ring.wait(days=365, minutes=-20)
    with pytest.raises(Conflict):
        ring.rotate(key)
    ring.wait(minutes=30)
    with pytest.raises(Conflict):
        ring.rotate(key)
    sweep(ring)
    ring.rotate(key)
    assert ring.find(key).generation == 3


def test_of_many_who_rotate_at_once_each_makes_material(ring: Ring) -> None:
    """What was encrypted meanwhile opens."""
    key = ring.make()
    blobs = [ring.encrypt(key, b"0")]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: ring.rotate(key), range(6)))
    assert sorted(each.generation for each in found) == [2, 3, 4, 5, 6, 7]
    assert (ring.find(key).generation, ring.find(key).on_demand) == (7, 6)
    blobs.append(ring.encrypt(key, b"7"))
    ring.restart()
    assert [ring.decrypt(blob) for blob in blobs] == [b"0", b"7"]


def test_of_two_sweeps_at_once_one_rotates(ring: Ring) -> None:
    """As of two engines on one store."""
    key = enable(ring, ring.make())
    ring.wait(days=365)
    with ThreadPoolExecutor(2) as pool:
        swept = list(pool.map(lambda _: sweep(ring), range(2)))
    assert sorted(swept) == [[], [key.key_id]]
    assert ring.find(key).generation == 2


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "usage"), OTHER_KINDS)
def test_other_kinds_of_keys_do_not_rotate(quick: Ring, spec: str, usage: str) -> None:
    """They are rotated behind an alias."""
    key = quick.make(spec, usage)
    calls: list[Callable[[], object]] = [
        lambda: enable(quick, key),
        lambda: disable(quick, key),
        lambda: quick.rotate(key),
        lambda: entries(quick, key, everything=True),
    ]
    for call in calls:
        with pytest.raises(UnsupportedOperation) as caught:
            call()
        assert caught.value.message == ""
    assert quick.status(key) == Status(False, None, None)
    assert entries(quick, key) == []


def test_imported_material_does_not_rotate_by_itself(quick: Ring) -> None:
    """In the words of AWS KMS."""
    key = quick.make(origin="EXTERNAL")
    calls: list[Callable[[], object]] = [
        lambda: enable(quick, key),
        lambda: disable(quick, key),
        lambda: quick.status(key),
    ]
    for call in calls:
        with pytest.raises(UnsupportedOperation) as caught:
            call()
        assert caught.value.message == f"{key.arn} origin is EXTERNAL which is not valid for this operation."


@pytest.mark.parametrize(("leave", "error"), [(Ring.disable, KeyDisabled), (Ring.schedule, KeyInvalidState)])
def test_a_key_that_left_its_state_is_not_rotated(
    ring: Ring, leave: Callable[[Ring, Key], Key], error: type[CallerError]
) -> None:
    """Nor is its rotation changed."""
    key = ring.make()
    leave(ring, key)
    calls: list[Callable[[], object]] = [
        lambda: enable(ring, key),
        lambda: disable(ring, key),
        lambda: ring.rotate(key),
    ]
    for call in calls:
        with pytest.raises(error):
            call()


# --- the list ------------------------------------------------------------------------------------------------------


def test_rotations_are_listed(ring: Ring) -> None:
    """The first material came by none; all of it is shown when that is asked for."""
    key = enable(ring, ring.make())
    ring.wait(days=1)
    ring.rotate(key)
    on_demand = at(ring.now)
    ring.wait(days=364)
    sweep(ring)
    listed = entries(ring, key, everything=True)
    assert [(entry.generation, entry.material_state, entry.rotated, entry.kind) for entry in listed] == [
        (1, "NON_CURRENT", None, None),
        (2, "NON_CURRENT", on_demand, "ON_DEMAND"),
        (3, "CURRENT", at(ring.now), "AUTOMATIC"),
    ]
    assert listed[2].material_id == ring.find(key).material_id
    assert {(entry.import_state, entry.expiration_model, entry.valid_to) for entry in listed} == {(None, None, None)}
    assert entries(ring, key) == listed[1:]
    assert entries(ring, key, everything=True, after=1, most=1) == listed[1:2]
    assert entries(ring, key, after=3) == []
