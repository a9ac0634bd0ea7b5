"""Multi-Region keys: replicas, the primary, rotation everywhere at once, imported material by Region, the end."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Any

import pytest

from keywheel.arn import Scope
from keywheel.errors import DecryptionFailure, UnsupportedOperation
from keywheel.keys import identifiers, rows
from keywheel.keys.errors import (
    AlreadyExists,
    IncorrectKey,
    IncorrectKeyMaterial,
    InvalidCiphertext,
    InvalidImportToken,
    KeyDisabled,
    KeyInvalidState,
    KeyNotFound,
    TagRefused,
)
from keywheel.keys.imports import Import
from keywheel.keys.keyring import Key
from keywheel.keys.regions.replicas import Related
from keywheel.sensitive import Sensitive
from tests.keys.ring import HERE, START, THERE, Ring
from tests.keys.test_imports import EXISTING, EXPIRES, KEEPS, NEW, encrypted

BEYOND = Scope(HERE.account, "ap-south-1")
MATERIAL, NEXT = os.urandom(32), os.urandom(32)
AT_REPLICA = r"key/mrk-[0-9a-f]{32} is not a multi-region primary key\.$"


def primary(ring: Ring, spec: str | None = None, usage: str | None = None, origin: str = "AWS_KMS") -> Key:
    """A new multi-Region key without replicas."""
    draft = ring.keys.draft(spec, usage, origin, multi_region=True)
    return ring.write(lambda tx: ring.keys.create(tx, HERE, description="", now=ring.now, draft=draft))


def replica(ring: Ring, key: Key, region: str = THERE.region, **given: Any) -> Key:
    """A replica of a key."""
    given = {"description": "", "now": ring.now, **given}
    return ring.change(key, lambda tx, found: ring.keys.regions.replicate(tx, found, region, **given))


def promote(ring: Ring, key: Key, other: Key) -> tuple[Key, Key]:
    """Make `other` the primary."""
    regions = ring.keys.regions
    return ring.change(key, lambda tx, found: regions.promote(tx, found, regions.find_replica(tx, found, other.region)))


def again(ring: Ring, key: Key) -> Key:
    """A key as it stands."""
    return ring.find(key, key.scope)


def related(ring: Ring, key: Key) -> Related:
    """Where its keys are."""
    with ring.database.read() as tx:
        return ring.keys.regions.related(tx, key)


def sealed(ring: Ring, key: Key, plaintext: bytes = b"x") -> bytes:
    """A ciphertext made in the key's Region."""
    with ring.database.read() as tx:
        return ring.keys.ciphers.encrypt(
            tx, ring.keys.find(tx, key.scope, key.key_id, now=ring.now), Sensitive(plaintext)
        )


def opened(ring: Ring, scope: Scope, blob: bytes) -> tuple[str, bytes]:
    """The key of a Region that a ciphertext names there, and the plaintext."""
    with ring.database.read() as tx:
        key = ring.keys.of_ciphertext(tx, scope, blob, now=ring.now)
        return key.arn, ring.keys.ciphers.decrypt(tx, key, blob).plaintext.reveal()


def rotations(ring: Ring, key: Key) -> list[tuple[str, str | None, str | None]]:
    """All its material: id, state, import state."""
    key = again(ring, key)
    with ring.database.read() as tx:
        found = ring.keys.rotation.entries(tx, key, everything=True, most=100)
    return [(each.material_id, each.material_state, each.import_state) for each in found]


def purge(ring: Ring) -> list[str]:
    """Destroy what is due; the ARNs."""
    return [key.arn for key in ring.write(lambda tx: ring.keys.lifecycle.purge_due(tx, ring.now))]


# --- making --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        (None, None),
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("RSA_2048", "ENCRYPT_DECRYPT"),
    ],
)
def test_a_replica_is_the_same_key_elsewhere(ring: Ring, spec: str | None, usage: str | None) -> None:
    """Id, spec, usage, origin and material are the primary's; description, tags, policy and date are its own."""
    key = primary(ring, spec, usage)
    assert re.fullmatch("mrk-[0-9a-f]{32}", key.key_id)
    assert (key.multi_region, related(ring, key)) == ("PRIMARY", Related(HERE.region, ()))
    ring.wait(hours=1)
    made = replica(ring, key, description="there", tags={"a": "b"}, policy="{}")
    assert made == again(ring, made)
    assert (made.multi_region, made.state, made.arn) == (
        "REPLICA",
        "Enabled",
        key.arn.replace(HERE.region, THERE.region),
    )
    shared = ("key_id", "spec", "usage", "origin", "generation", "material_id", "manager", "account")
    assert [getattr(made, name) for name in shared] == [getattr(key, name) for name in shared]
    assert (made.description, made.tags, made.created) == (
        "there",
        {"a": "b"},
        (START + timedelta(hours=1)).timestamp(),
    )
    with ring.database.read() as tx:
        assert (ring.keys.lifecycle.policy(tx, made), ring.keys.lifecycle.policy(tx, key)) == ("{}", None)
    assert again(ring, key) == key
    assert related(ring, made) == related(ring, key) == Related(HERE.region, (THERE.region,))


def test_ciphertexts_signatures_and_codes_are_good_in_every_region(ring: Ring) -> None:
    """A symmetric ciphertext opens where the Region has the key, under the Region's own ARN; and nowhere else."""
    key = primary(ring)
    made = replica(ring, key)
    for source in (key, made):
        blob = sealed(ring, source, b"there and back")
        assert opened(ring, HERE, blob) == (key.arn, b"there and back")
        assert opened(ring, THERE, blob) == (made.arn, b"there and back")
        with pytest.raises(InvalidCiphertext):
            opened(ring, BEYOND, blob)
    mac, sign = primary(ring, "HMAC_256", "GENERATE_VERIFY_MAC"), primary(ring, "ECC_NIST_P256", "SIGN_VERIFY")
    macs, signs = replica(ring, mac), replica(ring, sign)
    with ring.database.read() as tx:
        signatures = ring.keys.signatures
        code = signatures.generate_mac(tx, mac, b"m", "HMAC_SHA_256")
        signatures.verify_mac(tx, macs, b"m", code, "HMAC_SHA_256")
        signature = signatures.sign(tx, signs, b"m", "ECDSA_SHA_256")
        signatures.verify(tx, sign, b"m", signature, "ECDSA_SHA_256")
        assert signatures.public_key(tx, sign) == signatures.public_key(tx, signs)


def test_another_key_of_the_region_does_not_open_it(ring: Ring) -> None:
    """Neither one of one Region nor another multi-Region key."""
    key = primary(ring)
    replica(ring, key)
    blob = sealed(ring, key)
    other = replica(ring, primary(ring))
    with ring.database.read() as tx, pytest.raises(IncorrectKey):
        ring.keys.ciphers.decrypt(tx, other, blob)
    with ring.database.read() as tx, pytest.raises(IncorrectKey):
        ring.keys.ciphers.decrypt(tx, ring.make(scope=THERE), blob)


def test_a_replica_has_a_state_of_its_own(ring: Ring) -> None:
    """What is disabled in one Region works in the other."""
    key = primary(ring)
    made = replica(ring, key)
    blob = sealed(ring, key)
    ring.disable(made)
    assert opened(ring, HERE, blob)[1] == b"x"
    with pytest.raises(KeyDisabled):
        opened(ring, THERE, blob)
    ring.disable(key)
    ring.enable(made)
    assert opened(ring, THERE, blob)[1] == b"x"
    with pytest.raises(KeyDisabled):
        opened(ring, HERE, blob)


def test_only_an_enabled_primary_is_replicated_once_into_a_region(ring: Ring) -> None:
    """And nothing is left of what is refused."""
    key = primary(ring)
    made = replica(ring, key)
    for region in (THERE.region, HERE.region):
        with pytest.raises(AlreadyExists):
            replica(ring, key, region)
    with pytest.raises(UnsupportedOperation, match=AT_REPLICA):
        replica(ring, made, BEYOND.region)
    with pytest.raises(UnsupportedOperation, match=r"is not a multi-region primary key\.$"):
        replica(ring, ring.make())
    with pytest.raises(TagRefused):
        replica(ring, key, BEYOND.region, tags={"aws:a": "b"})
    ring.disable(key)
    with pytest.raises(KeyDisabled):
        replica(ring, key, BEYOND.region)
    with pytest.raises(KeyInvalidState, match="is pending import"):
        replica(ring, primary(ring, origin="EXTERNAL"))
    assert related(ring, key).replicas == (THERE.region,)


# --- rotation ------------------------------------------------------------------------------------------------------


def test_a_rotation_is_for_all_regions_at_once(ring: Ring) -> None:
    """On demand and by the calendar; what was sealed before opens everywhere."""
    key = primary(ring)
    made = replica(ring, key)
    before = sealed(ring, made, b"before")
    ring.rotate(key)
    rotation = ring.keys.rotation
    ring.change(key, lambda tx, found: rotation.enable(tx, found, 90, ring.now))
    between = sealed(ring, made, b"between")
    ring.wait(days=90)
    assert [each.arn for each in ring.write(lambda tx: rotation.rotate_due(tx, ring.now))] == [key.arn]
    assert {again(ring, each).generation for each in (key, made)} == {3}
    late = replica(ring, again(ring, key), BEYOND.region)
    after = sealed(ring, late, b"after")
    for scope in (HERE, THERE, BEYOND):
        assert [opened(ring, scope, blob)[1] for blob in (before, between, after)] == [b"before", b"between", b"after"]
    assert rotations(ring, key) == rotations(ring, made) == rotations(ring, late)
    assert [state for _, state, _ in rotations(ring, made)] == ["NON_CURRENT", "NON_CURRENT", "CURRENT"]


def test_a_replica_says_how_its_primary_rotates_and_changes_nothing(ring: Ring) -> None:
    """Its own state counts for whether it is leaving."""
    key = primary(ring)
    made = replica(ring, key)
    rotation = ring.keys.rotation
    for change in (rotation.disable, lambda tx, it: rotation.enable(tx, it, None, ring.now)):
        with pytest.raises(UnsupportedOperation, match=AT_REPLICA):
            ring.change(made, change)
    with pytest.raises(UnsupportedOperation, match=AT_REPLICA):
        ring.rotate(made)
    assert ring.status(made).enabled is False
    ring.change(key, lambda tx, found: rotation.enable(tx, found, 100, ring.now))
    assert ring.status(made) == ring.status(again(ring, key))
    assert ring.status(made).period == 100
    assert ring.status(ring.schedule(made)).enabled is False


# --- the primary ---------------------------------------------------------------------------------------------------


def test_the_primary_moves_with_the_rotation(ring: Ring) -> None:
    """Both go on to work; the new one rotates on, is replicated and gives the role back."""
    key = primary(ring)
    made = replica(ring, key, description="there")
    ring.rotate(key)
    ring.change(key, lambda tx, found: ring.keys.rotation.enable(tx, found, 90, ring.now))
    status, blob = ring.status(again(ring, key)), sealed(ring, key)
    former, now = promote(ring, key, made)
    assert (former, now) == (again(ring, key), again(ring, made))
    assert (former.multi_region, former.on_demand, former.next_rotation) == ("REPLICA", 0, None)
    assert (now.multi_region, now.on_demand, now.description) == ("PRIMARY", 1, "there")
    assert ring.status(now) == ring.status(former) == status
    assert related(ring, key) == Related(THERE.region, (HERE.region,))
    with pytest.raises(UnsupportedOperation, match=AT_REPLICA):
        ring.rotate(former)
    ring.rotate(now)
    replica(ring, now, BEYOND.region)
    for scope in (HERE, THERE, BEYOND):
        assert opened(ring, scope, blob)[1] == b"x"
    promote(ring, now, former)
    assert related(ring, key) == Related(HERE.region, (BEYOND.region, THERE.region))


def test_the_primary_moves_between_keys_that_are_enabled(ring: Ring) -> None:
    """From a primary, and to a replica that is there."""
    key = primary(ring)
    made = replica(ring, key)
    with ring.database.read():
        with pytest.raises(UnsupportedOperation, match="is the multi-region primary key of this region already"):
            ring.keys.regions.require_other(key, HERE.region)
        with pytest.raises(UnsupportedOperation, match=AT_REPLICA):
            ring.keys.regions.require_other(made, HERE.region)
    absent = f"Key 'arn:aws:kms:{BEYOND.region}:{HERE.account}:key/{key.key_id}' does not exist"
    with pytest.raises(KeyNotFound, match=re.escape(absent)):
        promote(ring, key, made._replace(region=BEYOND.region))
    for each in (key, made):
        ring.disable(each)
        with pytest.raises(KeyDisabled):
            promote(ring, key, made)
        ring.enable(each)
    ring.schedule(made)
    with pytest.raises(KeyInvalidState, match="is pending deletion"):
        promote(ring, key, made)
    assert related(ring, key) == Related(HERE.region, (THERE.region,))


# --- the end -------------------------------------------------------------------------------------------------------


def test_a_primary_is_deleted_after_its_last_replica(ring: Ring) -> None:
    """Its waiting period begins when that is gone, and what was sealed opens as long as one of them is there."""
    key = primary(ring)
    first, second = replica(ring, key), replica(ring, key, BEYOND.region)
    blob = sealed(ring, key)
    leaving = ring.schedule(key, 8)
    assert leaving == again(ring, key)
    assert (leaving.state, leaving.deletion, leaving.deletion_window) == ("PendingReplicaDeletion", None, 8)
    for change in (ring.schedule, ring.enable, lambda each: replica(ring, each, "us-west-2")):
        with pytest.raises(KeyInvalidState, match="is pending replica deletion"):
            change(key)
    ring.schedule(first, 7)
    ring.wait(days=7)
    assert purge(ring) == [first.arn]
    assert again(ring, key).state == "PendingReplicaDeletion"
    assert opened(ring, BEYOND, blob)[1] == b"x"
    ring.schedule(second, 7)
    ring.wait(days=365)
    assert purge(ring) == [second.arn]
    waiting = again(ring, key)
    assert (waiting.state, waiting.deletion) == ("PendingDeletion", (ring.now + timedelta(days=8)).timestamp())
    ring.wait(days=7)
    assert purge(ring) == []
    assert ring.enable(ring.cancel(key)).enabled
    assert opened(ring, HERE, blob)[1] == b"x"
    ring.schedule(key, 7)
    ring.wait(days=7)
    assert purge(ring) == [key.arn]
    with pytest.raises(InvalidCiphertext):
        opened(ring, HERE, blob)
    with ring.database.read() as tx, pytest.raises(DecryptionFailure):
        ring.keys.decrypt(tx, blob, b"")


@pytest.mark.parametrize("origin", ["AWS_KMS", "EXTERNAL"])
def test_a_primary_that_waits_for_its_replicas_is_kept_after_all(ring: Ring, origin: str) -> None:
    """CancelKeyDeletion leaves it disabled, and the end of its last replica changes nothing then."""
    key = primary(ring, origin=origin)
    if origin == "EXTERNAL":
        put(ring, key)
    made = replica(ring, key)
    ring.schedule(key)
    assert ring.cancel(key).state == "Disabled"
    ring.schedule(made, 7)
    ring.wait(days=7)
    assert purge(ring) == [made.arn]
    assert (ring.enable(key).state, related(ring, key).replicas) == ("Enabled", ())


def test_a_replica_is_deleted_alone_and_made_again(ring: Ring) -> None:
    """With its aliases; the material stays. The new one has nothing of the old one's, such as its policy."""
    key = primary(ring)
    made = replica(ring, key, policy='{"old": 1}', tags={"a": "b"})
    ring.write(lambda tx: ring.keys.aliases.create(tx, "alias/there", made, ring.now))
    ring.write(lambda tx: ring.keys.aliases.create(tx, "alias/here", key, ring.now))
    blob = sealed(ring, made)
    with ring.database.read() as tx:
        assert ring.keys.lifecycle.remembered_policy(tx, made) == '{"old": 1}'
    ring.schedule(made, 7)
    ring.wait(days=7)
    assert purge(ring) == [made.arn]
    assert (again(ring, key), opened(ring, HERE, blob)[1]) == (key, b"x")
    assert ring.find("alias/here") == key
    with pytest.raises(KeyNotFound):
        ring.find("alias/there", THERE)
    remade = replica(ring, key)
    assert (remade.arn, remade.tags, opened(ring, THERE, blob)[1]) == (made.arn, {}, b"x")
    with ring.database.read() as tx:
        assert ring.keys.lifecycle.remembered_policy(tx, remade) is None


# --- imported material ---------------------------------------------------------------------------------------------


def put(ring: Ring, key: Key, material: bytes = MATERIAL, **given: Any) -> str | None:
    """Import material into a Region's key."""
    imports = ring.keys.imports
    parameters = imports.parameters(again(ring, key), "RSAES_OAEP_SHA_256", "RSA_2048", ring.now)
    return send(ring, key, parameters, material, **given)


def send(ring: Ring, key: Key, parameters: Any, material: bytes, **given: Any) -> str | None:
    """Import material by parameters that were got before."""
    given = {"expiration_model": KEEPS, **given}
    work = Import(parameters.token, encrypted(parameters.public, material, "RSAES_OAEP_SHA_256"), **given)
    return ring.change(key, lambda tx, found: ring.keys.imports.import_material(tx, found, work, ring.now))


def drop(ring: Ring, key: Key, material_id: str | None = None) -> None:
    """Delete imported material of a Region's key."""
    ring.change(key, lambda tx, found: ring.keys.imports.delete_material(tx, found, material_id))


def kept(ring: Ring, key: Key) -> list[bytes]:
    """What the store holds of a key's material."""
    with ring.database.read() as tx:
        return [rows.as_material(row).sealed for row in rows.materials.all(tx, key_id=key.key_id)]


def test_imported_material_is_given_to_each_region(ring: Ring) -> None:
    """The same, by a token of that Region; until then its replica is of no use."""
    key = primary(ring, origin="EXTERNAL")
    material = put(ring, key, description="first")
    made = replica(ring, key)
    assert (made.state, made.expiration_model, made.material_id) == ("PendingImport", None, material)
    blob = sealed(ring, key)
    with pytest.raises(KeyInvalidState, match="is pending import"):
        opened(ring, THERE, blob)
    with pytest.raises(IncorrectKeyMaterial):
        put(ring, made, NEXT)
    with pytest.raises(UnsupportedOperation, match=AT_REPLICA):
        put(ring, made, MATERIAL, import_type=NEW)
    imports = ring.keys.imports
    theirs = imports.parameters(again(ring, key), "RSAES_OAEP_SHA_256", "RSA_2048", ring.now)
    with pytest.raises(InvalidImportToken):
        send(ring, made, theirs, MATERIAL)
    assert put(ring, made, import_type=EXISTING) == material
    assert again(ring, made).expiration_model == KEEPS
    assert opened(ring, THERE, blob)[1] == opened(ring, HERE, sealed(ring, made))[1] == b"x"


def test_imported_material_ends_by_region(ring: Ring) -> None:
    """It expires, or is deleted, in one and works in the other; when none has it, it is destroyed; it may come back."""
    key = primary(ring, origin="EXTERNAL")
    put(ring, key, expiration_model=EXPIRES, valid_to=ring.now + timedelta(days=1))
    made = replica(ring, key)
    put(ring, made)
    blob = sealed(ring, key)
    ring.wait(days=1)
    with pytest.raises(KeyInvalidState):
        opened(ring, HERE, blob)
    swept = ring.write(lambda tx: ring.keys.imports.expire_due(tx, ring.now))
    assert [(each.arn, each.state) for each in swept] == [(key.arn, "PendingImport")]
    assert ring.write(lambda tx: ring.keys.imports.expire_due(tx, ring.now)) == []
    assert opened(ring, THERE, blob)[1] == b"x"
    ring.restart()
    assert opened(ring, THERE, blob)[1] == b"x"
    drop(ring, made)
    assert again(ring, made).state == "PendingImport"
    assert kept(ring, key) == [b""]
    with pytest.raises(IncorrectKeyMaterial):
        put(ring, made, NEXT)
    put(ring, made)
    assert (again(ring, made).state, again(ring, key).state) == ("Enabled", "PendingImport")
    assert opened(ring, THERE, blob)[1] == b"x"


def test_new_imported_material_waits_until_every_region_has_it(ring: Ring) -> None:
    """Then the primary rotates, and all use it at once; each goes on to need the old one."""
    key = primary(ring, origin="EXTERNAL")
    put(ring, key)
    made = replica(ring, key)
    put(ring, made)
    blob = sealed(ring, made, b"old")
    second = put(ring, key, NEXT, import_type=NEW, description="second")
    waiting = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
    assert rotations(ring, key)[1:] == [(second, waiting, "IMPORTED")]
    assert rotations(ring, made)[1:] == [(second, waiting, "PENDING_IMPORT")]
    with pytest.raises(KeyInvalidState, match="No available key material pending rotation"):
        ring.rotate(key)
    assert put(ring, made, NEXT, expiration_model=EXPIRES, valid_to=ring.now + timedelta(days=3)) == second
    assert rotations(ring, key)[1:] == rotations(ring, made)[1:] == [(second, "PENDING_ROTATION", "IMPORTED")]
    ring.rotate(key)
    assert [again(ring, each).material_id for each in (key, made)] == [second, second]
    assert (again(ring, key).expires, again(ring, made).expires) == (None, (ring.now + timedelta(days=3)).timestamp())
    for scope in (HERE, THERE):
        assert opened(ring, scope, blob)[1] == b"old"
        assert opened(ring, scope, sealed(ring, again(ring, key), b"new"))[1] == b"new"
    late = replica(ring, key, BEYOND.region)
    put(ring, late, NEXT)
    assert again(ring, late).state == "PendingImport"
    put(ring, late)
    assert opened(ring, BEYOND, blob)[1] == b"old"


def test_material_that_waits_goes_with_the_primarys(ring: Ring) -> None:
    """A replica's own loss changes nothing elsewhere; the primary's takes it away everywhere, and another may come."""
    key = primary(ring, origin="EXTERNAL")
    put(ring, key)
    made = replica(ring, key)
    put(ring, made)
    second = put(ring, key, NEXT, import_type=NEW)
    put(ring, made, NEXT)
    drop(ring, made, second)
    assert [state for _, _, state in rotations(ring, key)] == ["IMPORTED", "IMPORTED"]
    put(ring, made, NEXT)
    drop(ring, key, second)
    assert [state for _, _, state in rotations(ring, made)] == ["IMPORTED", "PENDING_IMPORT"]
    assert {again(ring, each).state for each in (key, made)} == {"Enabled"}
    with pytest.raises(KeyInvalidState, match="No available key material"):
        ring.rotate(key)
    third = os.urandom(32)
    assert put(ring, key, third, import_type=NEW) != second
    with pytest.raises(IncorrectKeyMaterial):
        put(ring, made, NEXT)
    put(ring, made, third)
    ring.rotate(key)
    assert opened(ring, THERE, sealed(ring, again(ring, key)))[1] == b"x"


def test_the_end_of_the_last_region_that_has_material_destroys_it(ring: Ring) -> None:
    """The primary, which had lost it, waits for the same on."""
    key = primary(ring, origin="EXTERNAL")
    put(ring, key)
    made = replica(ring, key)
    put(ring, made)
    drop(ring, key)
    blob = sealed(ring, made)
    ring.schedule(made, 7)
    ring.wait(days=7)
    assert purge(ring) == [made.arn]
    assert kept(ring, key) == [b""]
    put(ring, key)
    assert opened(ring, HERE, blob)[1] == b"x"


# --- what others do with keys --------------------------------------------------------------------------------------


def test_a_data_key_of_the_other_rooms_opens_in_its_region(ring: Ring) -> None:
    """By the Region's own key, and by its state."""
    key = primary(ring)
    made = replica(ring, key)
    with ring.database.read() as tx:
        plain, blob = ring.keys.generate_data_key(tx, made, b"c")
        assert ring.keys.decrypt(tx, blob, b"c", region=THERE.region).reveal() == plain.reveal()
        assert ring.keys.resolve(tx, THERE, key.key_id) == made
    ring.disable(made)
    with ring.database.read() as tx:
        with pytest.raises(DecryptionFailure):
            ring.keys.decrypt(tx, blob, b"c", region=THERE.region)
        assert ring.keys.decrypt(tx, blob, b"c", region=HERE.region).reveal() == plain.reveal()


def test_ids_tell_which_keys_are_of_many_regions() -> None:
    """By their beginning."""
    assert identifiers.is_multi_region(identifiers.new_key_id(multi_region=True))
    assert not identifiers.is_multi_region(identifiers.new_key_id())
