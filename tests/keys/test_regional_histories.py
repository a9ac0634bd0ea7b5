"""Whatever happens to a multi-Region key, its Regions agree, and what was sealed opens wherever the key is enabled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from keywheel.arn import Scope
from keywheel.db.database import open_database
from keywheel.db.schema import migrate
from keywheel.db.statement import Tx
from keywheel.errors import CallerError
from keywheel.keys.errors import KeyNotFound
from keywheel.keys.keyring import Key
from keywheel.sensitive import Sensitive
from tests.keys.ring import HERE, Ring

REGIONS = [HERE.region, "us-east-1", "ap-south-1"]


def _find(ring: Ring, key_id: str, region: str) -> Key | None:
    try:
        return ring.find(key_id, Scope(HERE.account, region))
    except KeyNotFound:
        return None


def _replicate(ring: Ring, key: Key, region: str) -> None:
    ring.change(key, lambda tx, found: ring.keys.regions.replicate(tx, found, region, description="", now=ring.now))


def _promote(ring: Ring, key: Key, region: str) -> None:
    regions = ring.keys.regions

    def work(tx: Tx, found: Key) -> None:
        regions.require_other(found, region)
        regions.promote(tx, found, regions.find_replica(tx, found, region))

    ring.change(key, work)


def _pass(ring: Ring, key: Key, region: str) -> None:
    del key, region
    ring.wait(days=4)
    ring.write(lambda tx: ring.keys.lifecycle.purge_due(tx, ring.now))


DEEDS: dict[str, Callable[[Ring, Key, str], object]] = {
    "replicate": _replicate,
    "promote": _promote,
    "rotate": lambda ring, key, _: ring.rotate(key),
    "disable": lambda ring, key, _: ring.disable(key),
    "enable": lambda ring, key, _: ring.enable(key),
    "schedule": lambda ring, key, _: ring.schedule(key, 7),
    "cancel": lambda ring, key, _: ring.cancel(key),
    "pass": _pass,
}


@contextmanager
def _new_ring() -> Iterator[Ring]:
    with TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'keywheel.db'}"
        migrate(url)
        database = open_database(url)
        try:
            yield Ring(database)
        finally:
            database.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(DEEDS)), st.sampled_from(REGIONS), st.sampled_from(REGIONS)),
        min_size=5,
        max_size=40,
    )
)
def test_the_regions_of_a_key_agree_whatever_happens(history: list[tuple[str, str, str]]) -> None:
    """One primary, one material, and nothing that an enabled key does not open. Refusals change nothing."""
    with _new_ring() as ring:
        draft = ring.keys.draft(multi_region=True)
        key_id = ring.write(lambda tx: ring.keys.create(tx, HERE, description="", now=ring.now, draft=draft)).key_id
        for region in REGIONS[1:]:
            _replicate(ring, ring.find(key_id), region)
        blobs: list[bytes] = []
        for deed, at, other in history:
            key = _find(ring, key_id, at)
            if key is None:
                continue
            before = _standing(ring, key_id)
            try:
                DEEDS[deed](ring, key, other)
            except CallerError:
                assert _standing(ring, key_id) == before
            _agree(ring, key_id, blobs)


def _standing(ring: Ring, key_id: str) -> list[Key]:
    return [key for region in REGIONS if (key := _find(ring, key_id, region)) is not None]


def _agree(ring: Ring, key_id: str, blobs: list[bytes]) -> None:
    standing = _standing(ring, key_id)
    if not standing:  # the primary was the last to go
        return
    assert [key.multi_region for key in standing].count("PRIMARY") == 1
    assert len({key.generation for key in standing}) == 1
    for key in standing:
        waits = key.state == "PendingReplicaDeletion"
        assert not waits or (key.multi_region == "PRIMARY" and key.deletion is None and len(standing) > 1)
        assert key.multi_region == "PRIMARY" or (key.rotation_period, key.on_demand) == (None, 0)
    enabled = [key for key in standing if key.enabled]
    with ring.database.read() as tx:
        blobs += [ring.keys.ciphers.encrypt(tx, key, Sensitive(b"x")) for key in enabled[:1]]
        for key in enabled:
            assert all(ring.keys.ciphers.decrypt(tx, key, blob).plaintext.reveal() == b"x" for blob in blobs)
