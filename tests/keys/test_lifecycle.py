"""A key's life: enabled, disabled, described, tagged, on its way out, gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keywheel.errors import AccessDenied, DecryptionFailure, ValidationFailed
from keywheel.keys.errors import InvalidCiphertext, KeyDisabled, KeyInvalidState, KeyNotFound, TagRefused
from keywheel.keys.keyring import DEFAULT_ALIAS, Key
from keywheel.keys.lifecycle import Lifecycle
from tests.keys.ring import HERE, START, THERE, Ring

# --- making and finding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "usage", "origin"),
    [
        (None, None, "AWS_KMS"),
        (None, None, "EXTERNAL"),
        ("RSA_2048", "SIGN_VERIFY", "AWS_KMS"),
        ("HMAC_384", "GENERATE_VERIFY_MAC", "AWS_KMS"),
    ],
)
def test_a_new_key_is_found_as_it_was_made(ring: Ring, spec: str | None, usage: str | None, origin: str) -> None:
    """With all that is said about it."""
    key = ring.make(spec, usage, origin, tags={"a": "b"}, policy="{}")
    assert ring.find(key) == key
    assert (key.spec, key.usage, key.origin) == (spec or "SYMMETRIC_DEFAULT", usage or "ENCRYPT_DECRYPT", origin)
    assert (key.state, key.enabled) == (("PendingImport", False) if origin == "EXTERNAL" else ("Enabled", True))
    assert (key.material_id is not None) == (spec is None and origin == "AWS_KMS")
    assert (key.tags, key.created, key.manager, key.deletion) == ({"a": "b"}, START.timestamp(), "CUSTOMER", None)
    with ring.database.read() as tx:
        assert ring.keys.lifecycle.policy(tx, key) == "{}"


def test_keys_are_paged_in_the_order_of_their_ids(ring: Ring) -> None:
    """Those of one account and Region, each once."""
    made = sorted(ring.make().key_id for _ in range(5))
    ring.make(scope=THERE)
    seen: list[str] = []
    with ring.database.read() as tx:
        while page := ring.keys.page(tx, HERE, after=seen[-1] if seen else None, most=2):
            assert len(page) <= 2
            seen += [key.key_id for key in page]
    assert seen == made


def test_a_key_that_is_not_there_is_not_found(ring: Ring) -> None:
    """In the words of AWS KMS."""
    absent = "01234567-89ab-cdef-0123-456789abcdef"
    with pytest.raises(KeyNotFound) as caught:
        ring.find(absent)
    assert caught.value.message == f"Key 'arn:aws:kms:eu-west-1:111111111111:key/{absent}' does not exist"
    with pytest.raises(KeyNotFound) as caught:
        ring.find("alias/absent")
    assert caught.value.message == "Alias arn:aws:kms:eu-west-1:111111111111:alias/absent is not found."


# --- states --------------------------------------------------------------------------------------------------------


def test_a_key_is_disabled_and_enabled_again(ring: Ring) -> None:
    """Twice is as good as once."""
    key = ring.make()
    blob = ring.encrypt(key, b"x")
    assert [ring.disable(key).state, ring.disable(key).state, ring.find(key).state] == ["Disabled"] * 3
    with pytest.raises(KeyDisabled):
        ring.decrypt(blob)
    assert [ring.enable(key).state, ring.enable(key).state, ring.find(key).state] == ["Enabled"] * 3
    assert ring.decrypt(blob) == b"x"


@pytest.mark.parametrize("days", [7, 30, None])
def test_a_deletion_can_be_cancelled(ring: Ring, days: int | None) -> None:
    """The key is disabled then; its ciphertexts open once it is enabled."""
    key = ring.make()
    blob = ring.encrypt(key, b"x")
    leaving = ring.schedule(key, days)
    assert leaving == ring.find(key)
    assert (leaving.state, leaving.deletion_window) == ("PendingDeletion", days or 30)
    assert leaving.deletion == (START + timedelta(days=days or 30)).timestamp()
    with pytest.raises(KeyInvalidState, match="is pending deletion"):
        ring.schedule(key)
    back = ring.cancel(key)
    assert back == ring.find(key)
    assert (back.state, back.deletion, back.deletion_window) == ("Disabled", None, None)
    ring.wait(days=365)
    assert purge(ring) == []
    ring.enable(key)
    assert ring.decrypt(blob) == b"x"
    with pytest.raises(KeyInvalidState, match="is not pending deletion"):
        ring.cancel(key)


@pytest.mark.parametrize(("days", "text"), [(6, "greater than or equal to 7"), (31, "less than or equal to 30")])
def test_a_window_is_neither_short_nor_long(ring: Ring, days: int, text: str) -> None:
    """And the key stays."""
    key = ring.make()
    with pytest.raises(ValidationFailed, match=f"Value '{days}' at 'pendingWindowInDays' .* value {text}"):
        ring.schedule(key, days)
    assert ring.find(key) == key


# --- the end -------------------------------------------------------------------------------------------------------


def purge(ring: Ring) -> list[str]:
    return [key.key_id for key in ring.write(lambda tx: ring.keys.lifecycle.purge_due(tx, ring.now))]


def count(ring: Ring, table: str, key: Key) -> int:
    with ring.database.read() as tx:
        found: int = tx.execute(f"SELECT count(*) FROM {table} WHERE key_id = '{key.key_id}'", ()).fetchone()[0]
    return found


def test_a_key_is_destroyed_when_its_window_is_over(ring: Ring) -> None:
    """Not before. Then no row of it is left, and what it encrypted opens no more, by no process."""
    key, other = ring.make(), ring.make()
    ring.write(lambda tx: ring.keys.aliases.create(tx, "alias/mine", key, ring.now))
    ring.rotate(key)
    blob, kept = ring.encrypt(key, b"x"), ring.encrypt(other, b"y")
    with ring.database.read() as tx:
        _, data_key = ring.keys.generate_data_key(tx, key, b"")
    ring.schedule(key, 7)
    ring.wait(days=7, seconds=-1)
    assert purge(ring) == []
    assert ring.find(key).state == "PendingDeletion"
    ring.wait(seconds=1)
    assert purge(ring) == [key.key_id]
    assert [count(ring, table, key) for table in ("kms_key", "kms_alias", "backing_key")] == [0, 0, 0]
    with pytest.raises(KeyNotFound):
        ring.find(key)
    with pytest.raises(KeyNotFound):
        ring.find("alias/mine")
    for _ in range(2):
        with pytest.raises(InvalidCiphertext):
            ring.decrypt(blob)
        with ring.database.read() as tx, pytest.raises(DecryptionFailure, match="does not exist any more"):
            ring.keys.decrypt(tx, data_key, b"")
        ring.restart()
    assert ring.decrypt(kept) == b"y"
    assert purge(ring) == []


def test_a_sweep_destroys_a_bounded_number_of_keys(ring: Ring) -> None:
    """The others are for the next one."""
    for _ in range(3):
        ring.schedule(ring.make(), 7)
    ring.wait(days=8)
    numbers = [len(ring.write(lambda tx: ring.keys.lifecycle.purge_due(tx, ring.now, most=2))) for _ in range(3)]
    assert numbers == [2, 1, 0]


# --- what is said about a key --------------------------------------------------------------------------------------


def test_a_description_is_changed(ring: Ring) -> None:
    """And nothing else."""
    key = ring.make()
    changed = ring.change(key, lambda tx, found: ring.keys.lifecycle.describe(tx, found, "new"))
    assert ring.find(key) == changed == key._replace(description="new")


def test_tags_are_added_changed_and_taken_away(ring: Ring) -> None:
    """A name that is not there is no error."""
    key = ring.make(tags={"a": "1", "b": "2"})
    lifecycle = ring.keys.lifecycle
    ring.change(key, lambda tx, found: lifecycle.tag(tx, found, [("b", "3"), ("c", "")]))
    assert ring.find(key).tags == {"a": "1", "b": "3", "c": ""}
    ring.change(key, lambda tx, found: lifecycle.untag(tx, found, ["a", "never"]))
    assert ring.find(key).tags == {"b": "3", "c": ""}


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ([("a", "1"), ("a", "2")], "Duplicate tag keys"),
        ([("AWS:x", "1")], "Tags beginning with aws: are reserved"),
        ([(f"t{number}", "") for number in range(50)], "Too many tags"),
    ],
)
def test_tags_are_refused(ring: Ring, tags: list[tuple[str, str]], text: str) -> None:
    """In the words of AWS KMS; 50 are the most, whether they are new or not."""
    key = ring.make(tags={"first": ""})
    with pytest.raises(TagRefused) as caught:
        ring.change(key, lambda tx, found: ring.keys.lifecycle.tag(tx, found, tags))
    assert caught.value.message == text
    assert ring.find(key) == key


def test_fifty_tags_may_be_changed(ring: Ring) -> None:
    """They are not counted twice."""
    tags = [(f"t{number}", "") for number in range(50)]
    key = ring.make(tags=dict(tags))
    ring.change(key, lambda tx, found: ring.keys.lifecycle.tag(tx, found, tags))
    assert len(ring.find(key).tags) == 50


def test_a_policy_is_counted(ring: Ring) -> None:
    """So that whoever compiled it knows when it was changed."""
    key = ring.make()
    with ring.database.read() as tx:
        assert ring.keys.lifecycle.policy(tx, key) is None
    changed = ring.change(key, lambda tx, found: ring.keys.lifecycle.put_policy(tx, found, '{"a": 1}'))
    assert ring.find(key) == changed == key._replace(policy_serial=1)
    with ring.database.read() as tx:
        assert ring.keys.lifecycle.policy(tx, key) == '{"a": 1}'


def test_a_use_is_written_down_once_an_hour(ring: Ring) -> None:
    """With the operation."""
    key = ring.make()
    assert Lifecycle.is_news(key, ring.now)
    ring.write(lambda tx: ring.keys.lifecycle.touch(tx, key, "Sign", ring.now))
    used = ring.find(key)
    assert (used.last_used, used.last_operation) == (START.timestamp(), "Sign")
    assert not Lifecycle.is_news(used, ring.now + timedelta(minutes=59))
    assert Lifecycle.is_news(used, ring.now + timedelta(hours=1))


# --- AWS managed keys ----------------------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[Ring, Key], object]] = {
    "disable": Ring.disable,
    "enable": Ring.enable,
    "delete": Ring.schedule,
    "rotate": Ring.rotate,
    "describe": lambda ring, key: ring.change(key, lambda tx, it: ring.keys.lifecycle.describe(tx, it, "x")),
    "tag": lambda ring, key: ring.change(key, lambda tx, it: ring.keys.lifecycle.tag(tx, it, [("a", "b")])),
    "untag": lambda ring, key: ring.change(key, lambda tx, it: ring.keys.lifecycle.untag(tx, it, ["a"])),
    "policy": lambda ring, key: ring.change(key, lambda tx, it: ring.keys.lifecycle.put_policy(tx, it, "{}")),
    "name": lambda ring, key: ring.change(key, lambda tx, it: ring.keys.aliases.create(tx, "alias/x", it, ring.now)),
    "enable rotation": lambda ring, key: ring.change(
        key, lambda tx, it: ring.keys.rotation.enable(tx, it, None, ring.now)
    ),
    "disable rotation": lambda ring, key: ring.change(key, ring.keys.rotation.disable),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_aws_managed_key_is_not_changed(ring: Ring, change: str) -> None:
    """Secrets that name no key depend on it."""
    key = ring.write(lambda tx: ring.keys.default(tx, HERE, now=ring.now))
    with pytest.raises(AccessDenied, match="is an AWS managed key"):
        CHANGES[change](ring, key)
    assert ring.find(DEFAULT_ALIAS) == key
