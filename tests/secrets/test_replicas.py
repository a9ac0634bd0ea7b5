"""What replicas.py promises: copies that follow their primary, on both stores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from keywheel.clock import epoch_day, to_epoch
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, InvalidParameter
from keywheel.secrets import labels as staging
from keywheel.secrets.labels import CURRENT, PENDING, PREVIOUS
from keywheel.secrets.ledger import Change
from keywheel.secrets.replicas import FAILED, IN_SYNC, NAME_TAKEN
from keywheel.secrets.rows import Replica, Secret
from keywheel.secrets.values import Value
from keywheel.sensitive import Sensitive
from tests.secrets.replicated import AWAY, FAR, HOME, LATER, NAME, NOW, House

REFUSED = "Operation not permitted on a replica secret. Call must be made in primary secret's region."


@pytest.fixture
def house(database: Database) -> House:
    return House(database)


# --- adding ----------------------------------------------------------------------------------------------------------


def test_the_arn_of_a_replica_differs_from_its_primarys_in_the_region_alone(house: House) -> None:
    """The name and the six random characters are the primary's."""
    house.add(AWAY)
    assert house.secret().arn.replace(HOME, AWAY) == house.secret(AWAY).arn


def test_a_new_replica_is_in_sync_at_once(house: House) -> None:
    """The call answers every replica that the secret has, in the order of the Regions."""
    house.add(AWAY)
    expected = [Replica(FAR, None, IN_SYNC, None), Replica(AWAY, None, IN_SYNC, None)]
    assert expected == house.add(FAR)


def test_both_sides_of_a_replication_name_the_primary_region(house: House) -> None:
    """Only the replica names its primary."""
    house.add(AWAY)
    primary, replica = house.secret(), house.secret(AWAY)
    assert (primary.primary_region, primary.primary_id) == (HOME, None)
    assert (HOME, primary.id) == (replica.primary_region, replica.primary_id)


def test_a_new_replica_has_every_labelled_version(house: House) -> None:
    """Values, labels and dates are the primary's; a version that waits for its value is there too."""
    house.put("second")
    house.put("extra", "custom")
    waiting = house.reserve()
    house.add(AWAY)
    assert house.labels() == house.labels(AWAY)
    assert [house.text(AWAY, label=label) for label in (CURRENT, PREVIOUS, "custom")] == ["second", "first", "extra"]
    assert house.version(house.first).created == house.version(house.first, AWAY).created
    assert house.version(waiting, AWAY).sealed is None


def test_a_deprecated_version_is_not_replicated(house: House) -> None:
    """A version without a label is history that only its Region has."""
    house.put("second")
    house.put("third")
    house.add(AWAY)
    assert house.first in house.versions()
    assert set(house.labels().values()) == house.versions(AWAY)


def test_a_binary_value_stays_binary(house: House) -> None:
    """A copy is the same bytes of the same kind."""
    value = Value(Sensitive(b"\x00\xff"), binary=True)
    token = str(uuid4())
    house.do(lambda tx, secret: house.secrets.put(tx, secret, token, value, (), NOW))
    house.add(AWAY)
    assert value == house.open(house.version(token, AWAY), AWAY)


def test_a_secret_without_a_value_can_be_replicated(house: House) -> None:
    """The replica gets the first value when the primary does."""
    house.purge()
    house.create(HOME, None)
    assert [state.status for state in house.add(AWAY)] == [IN_SYNC]
    house.put("at last")
    assert house.text(AWAY) == "at last"


def test_a_replica_is_sealed_under_its_own_key_for_its_own_arn(house: House) -> None:
    """The encryption context holds the ARN, so neither side's ciphertext opens as the other's."""
    key = house.key(AWAY)
    assert [Replica(AWAY, key.arn, IN_SYNC, None)] == house.add(AWAY, key=key)
    copied = house.version(house.first, AWAY)
    assert (None, key.arn) == (house.version(house.first).key_arn, copied.key_arn)
    assert key.arn == house.secret(AWAY).kms_key_id
    with pytest.raises(DecryptionFailure):
        house.open(copied)


def test_a_replica_without_a_key_of_its_own_uses_its_regions_default_key(house: House) -> None:
    """The primary's customer key stays at home: a key belongs to one Region."""
    house.describe(kms_key_id=house.key(HOME).arn)
    house.add(AWAY)
    assert house.secret(AWAY).kms_key_id is None
    with house.database.read() as tx:
        assert [manager for _, manager, *_ in house.keys.list(tx, house.scope(AWAY))] == ["AWS"]


@pytest.mark.parametrize(
    ("regions", "complaint"),
    [
        pytest.param([HOME], f"The secret can't be replicated to {HOME}: that is its primary region.", id="home"),
        pytest.param([FAR, FAR], f"The replica region {FAR} is named more than once.", id="twice"),
        pytest.param([FAR, AWAY], f"The secret is already replicated to {AWAY}.", id="there already"),
    ],
)
def test_regions_that_make_no_sense_are_refused_as_a_whole(house: House, regions: list[str], complaint: str) -> None:
    """Nothing is replicated where one of the Regions is refused."""
    house.add(AWAY)
    with pytest.raises(InvalidParameter) as caught:
        house.add(*regions)
    assert complaint == caught.value.message
    assert [state.region for state, _ in house.status()] == [AWAY]


# --- a Region that cannot take the replica ---------------------------------------------------------------------------


def test_a_name_that_is_taken_fails_the_replica_and_not_the_call(house: House) -> None:
    """The secret that has the name is not touched, and the other Regions are served."""
    house.create(AWAY, "not yours")
    expected = [Replica(FAR, None, IN_SYNC, None), Replica(AWAY, None, FAILED, NAME_TAKEN)]
    assert expected == house.add(AWAY, FAR)
    house.put("second")
    assert [house.text(AWAY), house.text(FAR)] == ["not yours", "second"]


@pytest.mark.parametrize("marked", [False, True])
def test_overwriting_replaces_a_standalone_secret(house: House, *, marked: bool) -> None:
    """A replica that failed for the name can be asked for again like this; a mark for deletion makes no difference."""
    theirs = house.create(AWAY, "not yours")
    house.add(AWAY)
    if marked:
        window = timedelta(days=7)
        house.do(lambda tx, secret: house.secrets.delete(tx, secret, window=window, now=NOW), AWAY)
    assert [Replica(AWAY, None, IN_SYNC, None)] == house.add(AWAY, overwrite=True)
    assert house.text(AWAY) == "first"
    assert theirs not in house.versions(AWAY)


@pytest.mark.parametrize("taken", [AWAY, FAR])
def test_overwriting_spares_what_another_replication_uses(house: House, taken: str) -> None:
    """Neither the primary nor a replica of another replication is ever replaced."""
    house.create(AWAY, "theirs")
    house.add(FAR, to=AWAY)
    assert [Replica(taken, None, FAILED, NAME_TAKEN)] == house.add(taken, overwrite=True)
    assert [house.text(AWAY), house.text(FAR)] == ["theirs", "theirs"]


@pytest.mark.parametrize("text", ["first", None])
def test_a_key_that_does_not_exist_fails_the_replica(house: House, text: str | None) -> None:
    """The reason is told, and nothing is left in that Region, where a standalone secret keeps its name."""
    house.purge()
    house.create(HOME, text)
    house.create(AWAY, "not yours")
    elsewhere = house.key(HOME)
    states = house.add(AWAY, FAR, key=elsewhere, overwrite=True)
    assert [state.status for state in states] == [FAILED, FAILED]
    assert all("KmsKeyId must name a key of this account and Region." in (state.message or "") for state in states)
    assert house.text(AWAY) == "not yours"
    assert not house.exists(FAR)


def test_a_failed_replica_can_be_asked_for_again(house: House) -> None:
    """Another key may be given; the copy is made anew with it."""
    lost, other = house.key(AWAY), house.key(AWAY)
    house.add(AWAY, key=lost)
    house.lose(lost)
    house.put("second")
    assert [Replica(AWAY, other.arn, IN_SYNC, None)] == house.add(AWAY, key=other)
    assert [house.text(AWAY), house.text(AWAY, label=PREVIOUS)] == ["second", "first"]


# --- following -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("description", "for the shop"),
        ("type", "GitLabAccessToken"),
        ("owning_service", "rds"),
        ("tags", '{"team": "shop"}'),
        ("policy", "{}"),
        ("rotated", to_epoch(LATER)),
        ("rotation_enabled", True),
        ("rotation_function", "arn:aws:lambda:eu-west-1:123456789012:function:turn"),
        ("rotation_days", 30),
        ("rotation_expression", "rate(30 days)"),
        ("rotation_duration", "3h"),
        ("rotation_configured", to_epoch(LATER)),
        ("next_rotation", to_epoch(LATER)),
        ("external_metadata", '[{"Key": "a", "Value": "b"}]'),
        ("external_role", "arn:aws:iam::123456789012:role/turner"),
    ],
)
def test_metadata_of_the_primary_is_metadata_of_the_replica(house: House, column: str, value: Any) -> None:
    """Before and after the replication began; LastChangedDate moves with it."""
    house.describe(**{column: value})
    house.add(FAR)
    assert value == getattr(house.secret(FAR), column)
    house.describe(**{column: None if column != "tags" else "{}"})
    assert getattr(house.secret(), column) == getattr(house.secret(FAR), column)
    assert to_epoch(LATER) == house.secret(FAR).changed


def test_a_new_value_reaches_every_replica(house: House) -> None:
    """AWSCURRENT and AWSPREVIOUS move everywhere, under the same version ids."""
    house.add(AWAY, FAR)
    house.put("second")
    for region in (AWAY, FAR):
        assert house.labels() == house.labels(region)
        assert [house.text(region), house.text(region, label=PREVIOUS)] == ["second", "first"]


def test_a_rotation_reaches_the_replicas_step_by_step(house: House) -> None:
    """The empty AWSPENDING version, its value, and its promotion."""
    house.add(AWAY)
    token = house.reserve()
    assert token == house.labels(AWAY)[PENDING]
    assert house.version(token, AWAY).sealed is None
    house.put("rotated", PENDING, token=token)
    assert [house.text(AWAY), house.text(AWAY, label=PENDING)] == ["first", "rotated"]
    house.relabel(staging.promote(house.labels(), token))
    assert {CURRENT: token, PREVIOUS: house.first} == house.labels(AWAY)
    assert house.text(AWAY) == "rotated"


def test_a_version_that_came_back_from_deprecation_is_copied_then(house: House) -> None:
    """The replica gets a version it never had as soon as the version has a label again."""
    house.put("second")
    house.put("third")
    house.add(AWAY)
    house.relabel({**house.labels(), "kept": house.first})
    assert house.text(AWAY, label="kept") == "first"


def test_a_version_pruned_at_the_primary_goes_at_the_replicas(house: House) -> None:
    """The replica keeps what was deprecated since it was made, and not a version longer than the primary."""
    house.add(AWAY)
    for number in range(103):
        house.put(f"value {number}", now=NOW + timedelta(hours=number))
    assert house.first not in house.versions()
    assert house.versions() == house.versions(AWAY)


def test_a_new_key_of_the_primary_changes_nothing_at_the_replica(house: House) -> None:
    """The replica's key is its own, and its sealed value is left as it is."""
    house.add(AWAY)
    before = house.version(house.first, AWAY)
    house.describe(kms_key_id=house.key(HOME).arn)
    house.do(lambda tx, secret: house.secrets.rekey(tx, secret, LATER))
    house.describe(description="rekeyed")
    assert before == house.version(house.first, AWAY)
    assert (house.secret(AWAY).kms_key_id, house.text(AWAY)) == (None, "first")


def test_a_change_that_is_undone_is_undone_everywhere(house: House) -> None:
    """Primary and replicas are written in one transaction."""
    house.add(AWAY)

    def half(tx: Tx, secret: Secret) -> None:
        house.secrets.put(tx, secret, str(uuid4()), Value.of_text("second"), (), LATER)
        raise InvalidParameter("no")

    with pytest.raises(InvalidParameter):
        house.do(half)
    assert [house.text(), house.text(AWAY)] == ["first", "first"]


def test_writing_a_replica_does_not_come_back_to_the_primary(house: House) -> None:
    """A put tells the watchers once for the primary, and of each replica's metadata and labels."""
    house.add(AWAY, FAR)
    told: list[tuple[str, str]] = []
    house.secrets.watch(lambda _tx, secret, change, _now: told.append((secret.region, change.kind)))
    house.put("second")
    each = [(region, kind) for region in (AWAY, FAR) for kind in ("metadata", "labels")]
    assert sorted([(HOME, "value"), *each]) == sorted(told)


def test_a_secret_without_replicas_costs_no_statement(house: House) -> None:
    """One look at the secret decides, so a store that answers nothing is enough."""
    nothing: Any = None
    for kind in ("created", "value", "labels", "metadata", "deleted", "restored", "purged"):
        house.replicas._on_change(nothing, house.secret(), Change(kind, {}, {}), NOW)
    assert house.replicas.status(nothing, house.secret()) == []


# --- a replica whose key is gone -------------------------------------------------------------------------------------


def test_a_replica_whose_key_is_gone_fails_and_the_primary_goes_on(house: House) -> None:
    """The status says why; the replica's metadata follows, its labels stay with the values it has."""
    key = house.key(AWAY)
    house.add(AWAY, key=key)
    house.lose(key)
    token = house.put("second")
    house.describe(description="changed")
    ((state, _),) = house.status()
    assert state.status == FAILED
    assert f"Key '{key.arn}' does not exist" in (state.message or "")
    assert house.text() == "second"
    assert {CURRENT: house.first} == house.labels(AWAY)
    assert token not in house.versions(AWAY)
    assert house.secret(AWAY).description == "changed"


def test_one_failed_replica_does_not_hold_up_another(house: House) -> None:
    """Each replica has a status of its own."""
    key = house.key(AWAY)
    house.add(AWAY, key=key)
    house.add(FAR)
    house.lose(key)
    house.put("second")
    assert {state.region: state.status for state, _ in house.status()} == {AWAY: FAILED, FAR: IN_SYNC}
    assert house.text(FAR) == "second"


def test_a_failed_replica_catches_up_with_the_next_change_that_succeeds(house: House) -> None:
    """All that it missed comes at once."""
    lost, other = house.key(AWAY), house.key(AWAY)
    house.add(AWAY, key=lost)
    house.lose(lost)
    house.put("second")
    house.do(lambda tx, secret: house.secrets.set(tx, secret, LATER, kms_key_id=other.arn), AWAY)
    house.describe(description="changed")
    assert [(Replica(AWAY, other.arn, IN_SYNC, None), None)] == house.status()
    assert house.text(AWAY) == "second"
    assert house.labels() == house.labels(AWAY)


# --- what a replica refuses ------------------------------------------------------------------------------------------


def test_a_replica_refuses_what_only_its_primary_may_do(house: House) -> None:
    """Writes, replication and removal are for the primary's Region; the primary itself is not refused."""
    house.add(AWAY)
    writes: list[Callable[[Tx, Secret], object]] = [
        lambda _, secret: house.replicas.refuse_replica(secret),
        lambda tx, secret: house.replicas.add(tx, secret, [(FAR, None)], overwrite=False, now=NOW),
        lambda tx, secret: house.replicas.remove(tx, secret, [AWAY], NOW),
        lambda tx, secret: house.replicas.refuse_delete(tx, secret, NAME),
    ]
    for write in writes:
        with pytest.raises(InvalidParameter) as caught:
            house.do(write, AWAY)
        assert caught.value.message == REFUSED
    house.replicas.refuse_replica(house.secret())


def test_a_primary_with_replicas_refuses_to_be_deleted(house: House) -> None:
    """The Regions are named, those that Failed too; without replicas nothing is refused."""
    house.create(FAR, "not yours")
    house.do(lambda tx, secret: house.replicas.refuse_delete(tx, secret, NAME))
    house.add(AWAY, FAR)
    with pytest.raises(InvalidParameter) as caught:
        house.do(lambda tx, secret: house.replicas.refuse_delete(tx, secret, NAME))
    expected = f"You can't delete secret {NAME} that still has replica regions [{FAR}, {AWAY}]."
    assert expected == caught.value.message
    house.remove(AWAY, FAR)
    house.do(lambda tx, secret: house.replicas.refuse_delete(tx, secret, NAME))


# --- removing and promoting ------------------------------------------------------------------------------------------


def test_a_removed_replica_is_gone_at_once(house: House) -> None:
    """There is no recovery window; those that are left are answered and go on following."""
    house.add(AWAY, FAR)
    assert [Replica(FAR, None, IN_SYNC, None)] == house.remove(AWAY, AWAY)
    house.put("second")
    assert (house.exists(AWAY), house.text(FAR)) == (False, "second")


def test_removing_a_replica_that_failed_spares_the_secret_in_its_place(house: House) -> None:
    """Only a copy of this primary is deleted."""
    house.create(AWAY, "not yours")
    house.add(AWAY)
    assert house.remove(AWAY) == []
    assert house.text(AWAY) == "not yours"


def test_a_region_without_a_replica_cannot_be_removed(house: House) -> None:
    """Nothing is removed where one of the Regions is refused."""
    house.add(AWAY)
    with pytest.raises(InvalidParameter) as caught:
        house.remove(AWAY, FAR)
    assert f"The secret has no replica in these regions: [{FAR}]." == caught.value.message
    assert house.exists(AWAY)


def test_without_replicas_a_secret_is_no_primary_any_more(house: House) -> None:
    """PrimaryRegion goes with the last replica; a new replication may begin."""
    house.add(AWAY)
    house.remove(AWAY)
    assert house.secret().primary_region is None
    assert [state.status for state in house.add(AWAY)] == [IN_SYNC]


def test_a_promoted_replica_stands_alone(house: House) -> None:
    """It keeps its ARN and its values, and neither side knows the other any more."""
    house.add(AWAY, FAR)
    before = house.secret(AWAY)
    house.stop(before)
    alone = house.secret(AWAY)
    house.put("second")
    assert (before.arn, None, None) == (alone.arn, alone.primary_id, alone.primary_region)
    assert [house.text(AWAY), house.text(FAR)] == ["first", "second"]
    assert [state.region for state, _ in house.status()] == [FAR]
    house.replicas.refuse_replica(alone)


def test_a_promoted_replica_has_no_rotation_configured(house: House) -> None:
    """A rotation function is of one Region, and nothing rotates the new secret until RotateSecret; its past stays."""
    house.describe(rotation_enabled=True, rotation_days=30, next_rotation=1.0, rotated=2.0)
    house.add(AWAY)
    alone = house.stop(house.secret(AWAY))
    assert (
        alone.rotation_enabled, alone.rotation_days, alone.next_rotation, alone.rotated,
    ) == (None, None, None, 2.0)  # fmt: skip
    assert house.secret().rotation_enabled
    assert house.secret().primary_region is None


def test_only_a_replica_can_be_promoted(house: House) -> None:
    """A primary and a replica that was promoted meanwhile are refused."""
    house.add(AWAY)
    stale = house.secret(AWAY)
    house.stop(stale)
    for secret in (house.secret(), stale):
        with pytest.raises(InvalidParameter, match="isn't a replica"):
            house.stop(secret)


def test_after_a_promotion_the_name_is_taken_in_that_region(house: House) -> None:
    """Replicating there again needs the overwrite, and has the same ARN."""
    house.add(AWAY)
    arn = house.secret(AWAY).arn
    house.stop(house.secret(AWAY))
    assert [state.message for state in house.add(AWAY)] == [NAME_TAKEN]
    house.add(AWAY, overwrite=True)
    assert arn == house.secret(AWAY).arn


# --- the date of last access -----------------------------------------------------------------------------------------


def test_the_date_of_last_access_is_each_copys_own(house: House) -> None:
    """A read in one Region shows in its Describe and in the primary's list, and no change of the primary ends it."""
    house.add(AWAY, FAR)
    house.touch(AWAY)
    house.put("second")
    assert {AWAY: epoch_day(NOW), FAR: None} == {state.region: accessed for state, accessed in house.status()}
    assert (epoch_day(NOW), None) == (house.secret(AWAY).accessed, house.secret().accessed)
    assert epoch_day(NOW) == house.version(house.first, AWAY).accessed


def test_the_date_of_last_access_is_never_a_strangers(house: House) -> None:
    """A secret that has the name of a replica that Failed is not its copy."""
    house.create(AWAY, "not yours")
    house.touch(AWAY)
    house.add(AWAY)
    assert [(Replica(AWAY, None, FAILED, NAME_TAKEN), None)] == house.status()


def test_a_replica_lists_no_replicas(house: House) -> None:
    """ReplicationStatus is the primary's."""
    house.add(AWAY)
    assert house.status(AWAY) == []
