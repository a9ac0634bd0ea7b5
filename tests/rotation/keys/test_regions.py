"""Rotations behind the alias of a multi-Region key: the new key is in the same Regions, every alias moves at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keywheel.arn import Scope
from keywheel.db.statement import Tx
from keywheel.keys import states
from keywheel.keys.errors import KeyInvalidState
from keywheel.keys.grants import terms
from keywheel.keys.keyring import Key
from keywheel.rotation.keys.enforcement import Action, Enforcement
from keywheel.rotation.keys.formers import Held, Stage
from keywheel.rotation.keys.machine import Step
from keywheel.rotation.keys.rules import Rules
from keywheel.testing import Crash, Fuse
from tests.rotation.keys.conftest import DAY, SCOPE, KeyAccount
from tests.rotation.keys.test_crashes import drive, fused

EU, ASIA = Scope(SCOPE.account, "eu-west-1"), Scope(SCOPE.account, "ap-south-1")
EVERYWHERE = (ASIA, EU, SCOPE)
MAC = "GENERATE_VERIFY_MAC"
RULES = Rules(lead=3600, grace=DAY, delete_after=DAY, together=True)
_ALLOW = '{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "kms:*", "Resource": "*"}'
POLICY = f'{{"Version": "2012-10-17", "Statement": [{_ALLOW}]}}'


def at(account: KeyAccount, scope: Scope, key_id: str) -> Key:
    """A key of a Region, by its id or its alias."""
    with account.database.read() as tx:
        return account.keys.find(tx, scope, key_id, now=account.clock.now(), aliases=True)


def change(account: KeyAccount, scope: Scope, key_id: str, deed: Callable[[Tx, Key], object]) -> None:
    """Do something to the key of a Region."""
    now = account.clock.now()
    account.database.write(lambda tx: deed(tx, account.keys.find(tx, scope, key_id, now=now, lock=True)))


def name_it(account: KeyAccount, scope: Scope, key_id: str, name: str) -> None:
    """An alias of the key of a Region."""
    now = account.clock.now()
    change(account, scope, key_id, lambda tx, key: account.keys.aliases.create(tx, name, key, now))


def give(account: KeyAccount, scope: Scope, key_id: str, user: str) -> None:
    """A grant on the key of a Region."""
    given, now = terms(f"arn:aws:iam::{SCOPE.account}:user/{user}", ["GenerateMac"]), account.clock.now()
    grants = account.keys.grants
    change(account, scope, key_id, lambda tx, key: grants.create(tx, key, given, issuer=SCOPE.account, now=now))


def grantees(account: KeyAccount, scope: Scope, key_id: str) -> list[str]:
    key = at(account, scope, key_id)
    with account.database.read() as tx:
        return [grant.grantee.partition("/")[2] for grant in account.keys.grants.page(tx, key, most=100)]


def everywhere(account: KeyAccount, name: str, *, aliases: tuple[Scope, ...] = (ASIA, EU)) -> Key:
    """A primary in us-east-1 with replicas in two other Regions, where they have the same alias."""
    draft, now = account.keys.draft("HMAC_256", MAC, multi_region=True), account.clock.now()

    def work(tx: Tx) -> Key:
        key = account.keys.create(tx, SCOPE, description="here", now=now, draft=draft, tags={"in": "us"})
        account.keys.aliases.create(tx, name, key, now)
        for scope in (ASIA, EU):
            made = account.keys.regions.replicate(
                tx, key, scope.region, description=scope.region, now=now, tags={"in": scope.region}, policy=POLICY
            )
            if scope in aliases:
                account.keys.aliases.create(tx, name, made, now)
        return key

    return account.database.write(work)


def named(account: KeyAccount, name: str) -> set[str]:
    """The ids of the keys that an alias names in every Region."""
    return {at(account, scope, name).key_id for scope in EVERYWHERE}


def test_every_region_has_the_new_key_and_what_was_said_there(account: KeyAccount) -> None:
    """And a MAC made in one Region by the alias is verified in another."""
    before = everywhere(account, "alias/k")
    give(account, EU, before.key_id, "ann")
    account.rotate("alias/k")
    (key_id,) = named(account, "alias/k")
    assert key_id != before.key_id
    kinds = [at(account, scope, key_id).multi_region for scope in EVERYWHERE]
    assert kinds == [states.REPLICA, states.REPLICA, states.PRIMARY]
    for scope in (ASIA, EU):
        key = at(account, scope, key_id)
        assert (key.description, key.tags) == (scope.region, {"in": scope.region})
        with account.database.read() as tx:
            assert account.keys.lifecycle.policy(tx, key) == POLICY
    assert at(account, SCOPE, key_id).description == "here"
    assert account.policy(key_id) is None
    assert [grantees(account, scope, key_id) for scope in EVERYWHERE] == [[], ["ann"], []]
    there, here = at(account, EU, "alias/k"), at(account, SCOPE, "alias/k")
    with account.database.read() as tx:
        mac = account.keys.signatures.generate_mac(tx, there, b"m", "HMAC_SHA_256")
        account.keys.signatures.verify_mac(tx, here, b"m", mac, "HMAC_SHA_256")
    assert account.events("alias/k").count("KeyReplicated") == 2


def test_an_alias_that_names_something_else_stays(account: KeyAccount) -> None:
    """So does one of another name; `together` takes that along."""
    before = everywhere(account, "alias/k", aliases=(ASIA,))
    other = everywhere(account, "alias/other", aliases=(ASIA, EU))
    name_it(account, EU, other.key_id, "alias/k")
    name_it(account, ASIA, before.key_id, "alias/second")
    account.rotate("alias/k")
    assert at(account, EU, "alias/k").key_id == other.key_id
    assert at(account, ASIA, "alias/second").key_id == before.key_id
    second = at(account, ASIA, "alias/k").key_id
    name_it(account, ASIA, second, "alias/third")
    account.schedule("alias/k", Rules(together=True))
    account.rotate("alias/k")
    assert at(account, ASIA, "alias/third").key_id == at(account, SCOPE, "alias/k").key_id != second


@pytest.mark.parametrize("is_enabled_again", [False, True])
def test_a_replica_that_is_switched_off_is_followed_by_one_that_is(account: KeyAccount, is_enabled_again: bool) -> None:
    """Unless it was switched on again before the alias moved."""
    before = everywhere(account, "alias/k")
    change(account, EU, before.key_id, account.keys.lifecycle.disable)
    account.schedule("alias/k", Rules(lead=3600))
    account.rotate("alias/k")
    assert account.entry("alias/k").rotation.step is Step.ANNOUNCE
    if is_enabled_again:
        now = account.clock.now()
        change(account, EU, before.key_id, lambda tx, key: account.keys.lifecycle.enable(tx, key, now))
    account.clock.advance(timedelta(hours=2))
    account.run()
    assert [at(account, scope, "alias/k").enabled for scope in EVERYWHERE] == [True, is_enabled_again, True]


def test_a_region_that_is_given_up_before_the_move_is_given_up(account: KeyAccount) -> None:
    """And one that is added has the new key, too."""
    before = everywhere(account, "alias/k")
    account.schedule("alias/k", Rules(lead=10 * DAY))
    account.rotate("alias/k")
    now, lifecycle = account.clock.now(), account.keys.lifecycle
    change(account, EU, before.key_id, lambda tx, key: lifecycle.schedule_deletion(tx, key, 7, now))
    africa = Scope(SCOPE.account, "af-south-1")
    regions = account.keys.regions
    change(
        account,
        SCOPE,
        before.key_id,
        lambda tx, key: regions.replicate(tx, key, africa.region, description="", now=now),
    )
    account.pass_days(11)
    new = account.key("alias/k").key_id
    assert new != before.key_id
    assert at(account, EU, new).state == states.PENDING_DELETION
    assert at(account, africa, new).enabled


def test_the_former_keys_of_every_region_go_together(account: KeyAccount) -> None:
    """Disabled at once, and deleted with the replicas first."""
    before = everywhere(account, "alias/k")
    account.schedule("alias/k", Rules(grace=DAY, delete_after=DAY, deletion_window=7))
    account.rotate("alias/k")
    account.pass_days(1.5, step=0.5)
    assert {at(account, scope, before.key_id).state for scope in EVERYWHERE} == {states.DISABLED}
    account.pass_days(1.0, step=0.5)
    found = [at(account, scope, before.key_id).state for scope in EVERYWHERE]
    assert found == [states.PENDING_DELETION, states.PENDING_DELETION, states.PENDING_REPLICA_DELETION]
    account.pass_days(16)
    left = named(account, "alias/k")
    for scope in EVERYWHERE:
        with account.database.read() as tx:
            assert {key.key_id for key in account.keys.page(tx, scope, most=10)} == left


def test_a_former_key_is_held_by_any_region(account: KeyAccount) -> None:
    """An alias of another name that is left in one, or whoever tries to use it there."""
    before = everywhere(account, "alias/k")
    name_it(account, EU, before.key_id, "alias/left")
    account.schedule("alias/k", Rules(grace=DAY, delete_after=2 * DAY))
    account.rotate("alias/k")
    account.pass_days(2)
    (former,) = account.formers("alias/k")
    assert (former.former.stage, former.former.held) == (Stage.GRACE, Held.ALIAS)
    assert [note.reason for note in account.journal("alias/k") if note.event == "FormerKeyHeld"] == ["In eu-west-1."]
    account.database.write(lambda tx: account.keys.aliases.delete(tx, EU, "alias/left"))
    account.pass_days(2)
    now = account.clock.now()
    change(account, EU, before.key_id, lambda tx, key: account.rotations.miss(tx, key, "GenerateMac", now))
    (former,) = account.formers("alias/k")
    assert (former.former.stage, former.former.missed) == (Stage.DISABLED, account.epoch())
    missed = [note.reason for note in account.journal("alias/k") if note.event == "FormerKeyMissed"]
    assert missed == ["By GenerateMac in eu-west-1."]


def test_a_replica_s_alias_is_refused_and_told_where_to_ask(account: KeyAccount) -> None:
    """Also when the primary moves to another Region while a rotation is announced: that one is discarded everywhere."""
    before = everywhere(account, "alias/k")
    now = account.clock.now()
    for rules in (Rules(expression="rate(30 days)"), None):
        with pytest.raises(KeyInvalidState, match=r"The primary is in us-east-1: rotate the alias there\."):
            account.database.write(
                lambda tx, rules=rules: (  # type: ignore[misc] # PEP 484 has no word for it
                    account.rotations.start(tx, EU, "alias/k", now)
                    if rules is None
                    else account.rotations.schedule(tx, EU, "alias/k", rules, now)
                )
            )
    account.schedule("alias/k", Rules(lead=3600))
    account.rotate("alias/k")
    new = account.entry("alias/k").rotation.new_key or ""
    promote = account.keys.regions.promote
    change(account, SCOPE, before.key_id, lambda tx, key: promote(tx, key, at(account, EU, before.key_id)))
    account.clock.advance(timedelta(hours=2))
    account.run()
    assert named(account, "alias/k") == {before.key_id}
    failure = account.entry("alias/k").rotation.failure
    assert failure is not None
    assert "The primary is in eu-west-1" in failure.reason
    leaving = {states.PENDING_DELETION, states.PENDING_REPLICA_DELETION}
    assert {at(account, scope, new).state for scope in EVERYWHERE} == leaving


def test_an_account_s_primaries_are_enforced_and_their_replicas_exempt(account: KeyAccount) -> None:
    """One schedule, where the primary is."""
    key = everywhere(account, "alias/k")
    enforcement, now = Enforcement(account.keys), account.clock.now()
    for scope, expected in ((SCOPE, Action.ALIAS), (EU, Action.EXEMPT)):
        verdict = account.database.write(
            lambda tx, scope=scope: enforcement.apply(tx, key.key_id, scope, 30, now)  # type: ignore[misc] # PEP 484
        )
        assert verdict.action is expected
    account.pass_days(31)
    (found,) = named(account, "alias/k")
    assert found != key.key_id


def test_a_crash_at_any_effect_leaves_no_region_behind(account: KeyAccount) -> None:
    """The alias names one key in every Region, whenever it is looked at, and no key is left over."""
    everywhere(account, "alias/measured")
    account.schedule("alias/measured", RULES)
    fuse = Fuse()
    with fuse.recording() as points:
        drive(account, fused(account, fuse), "alias/measured")
    for number, point in enumerate(list(points)):
        name = f"alias/k{number}"
        before = everywhere(account, name)
        give(account, EU, before.key_id, "ann")
        account.schedule(name, RULES)
        fuse = Fuse()
        driver = fused(account, fuse)
        with fuse.blow_at(number), pytest.raises(Crash):
            drive(account, driver, name)
        assert len(named(account, name)) == 1, point
        account.pass_days(3, step=0.25)
        (key_id,) = named(account, name)
        assert key_id != before.key_id, point
        assert grantees(account, EU, key_id) == ["ann"], point
        events = account.events(name)
        assert [events.count(each) for each in ("KeyCreated", "KeyReplicated", "KeyRotationSucceeded")] == [1, 2, 1]
        found = [at(account, scope, before.key_id).state for scope in EVERYWHERE]
        assert found == [states.PENDING_DELETION, states.PENDING_DELETION, states.PENDING_REPLICA_DELETION], point
    for scope in EVERYWHERE:  # each alias's own and former key, and no other
        with account.database.read() as tx:
            there = account.keys.page(tx, scope, most=1000)
        assert sum(key.state == states.ENABLED for key in there) == len(points) + 1
