"""Aliases: made, moved, taken away, listed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from keywheel.errors import LimitExceeded, ValidationFailed
from keywheel.keys.errors import AlreadyExists, KeyInvalidState, KeyNotFound, NotAuthorized
from keywheel.keys.keyring import DEFAULT_ALIAS, Key
from keywheel.keys.rows import Alias
from tests.keys.ring import HERE, START, THERE, Ring

NAME = "alias/mine"
ARN = f"arn:aws:kms:eu-west-1:111111111111:{NAME}"


def create(ring: Ring, key: Key, name: str = NAME) -> Alias:
    return ring.change(key, lambda tx, found: ring.keys.aliases.create(tx, name, found, ring.now))


def update(ring: Ring, key: Key, name: str = NAME) -> Alias:
    return ring.change(key, lambda tx, found: ring.keys.aliases.update(tx, HERE, name, found, ring.now))


def delete(ring: Ring, name: str = NAME) -> Alias:
    return ring.write(lambda tx: ring.keys.aliases.delete(tx, HERE, name))


def names(ring: Ring, key: Key | None = None, most: int = 100) -> list[str]:
    """Every name, page by page."""
    seen: list[str] = []
    with ring.database.read() as tx:
        while page := ring.keys.aliases.page(tx, HERE, key=key, after=seen[-1] if seen else None, most=most):
            assert len(page) <= most
            seen += [alias.name for alias in page]
    return seen


def test_a_key_is_found_by_its_alias(ring: Ring) -> None:
    """By name and by ARN, until the alias is taken away; the key stays."""
    key = ring.make()
    alias = create(ring, key)
    assert alias == Alias("1" * 12, "eu-west-1", NAME, key.key_id, START.timestamp(), START.timestamp())
    assert alias.arn == ARN
    assert ring.find(NAME) == ring.find(ARN) == key
    assert delete(ring) == alias
    with pytest.raises(KeyNotFound):
        ring.find(NAME)
    assert ring.find(key) == key


def test_an_alias_is_there_once(ring: Ring) -> None:
    """In an account and Region; case makes another name."""
    key = ring.make()
    create(ring, key)
    with pytest.raises(AlreadyExists) as caught:
        create(ring, ring.make())
    assert caught.value.message == f"An alias with the name {ARN} already exists"
    create(ring, key, "alias/Mine")
    elsewhere = ring.make(scope=THERE)
    create(ring, elsewhere)
    assert ring.find(NAME).key_id == key.key_id
    assert ring.find(NAME, THERE).key_id == elsewhere.key_id


def test_of_many_who_make_an_alias_at_once_one_does(ring: Ring) -> None:
    """The others are told that it exists."""
    made = [ring.make() for _ in range(6)]

    def attempt(key: Key) -> str:
        try:
            return create(ring, key).key_id
        except AlreadyExists:
            return ""

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(attempt, made))
    assert sorted(told)[:5] == [""] * 5
    assert max(told) == ring.find(NAME).key_id


def test_an_alias_moves_to_another_key(ring: Ring) -> None:
    """What was encrypted by its name opens; what is encrypted now is encrypted by the other key."""
    one, other = ring.make(), ring.make()
    create(ring, one)
    before = ring.encrypt(NAME, b"before")
    ring.wait(days=1)
    moved = update(ring, other)
    assert (moved.key_id, moved.created, moved.updated) == (other.key_id, START.timestamp(), ring.now.timestamp())
    with ring.database.read() as tx:
        assert ring.keys.aliases.get(tx, HERE, NAME) == moved
    after = ring.encrypt(NAME, b"after")
    assert (ring.decrypt(before), ring.decrypt(after)) == (b"before", b"after")
    assert ring.open(one, before).plaintext.reveal() == b"before"
    assert ring.open(other, after).plaintext.reveal() == b"after"


RSA, EC, P384 = ("RSA_2048", "SIGN_VERIFY"), ("ECC_NIST_P256", "SIGN_VERIFY"), ("ECC_NIST_P384", "SIGN_VERIFY")


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ((None, None), (None, None), True),
        (EC, P384, True),
        (EC, RSA, True),
        (("HMAC_256", "GENERATE_VERIFY_MAC"), ("HMAC_512", "GENERATE_VERIFY_MAC"), True),
        (EC, ("ECC_NIST_P256", "KEY_AGREEMENT"), False),
        (RSA, ("RSA_2048", "ENCRYPT_DECRYPT"), False),
        ((None, None), ("RSA_2048", "ENCRYPT_DECRYPT"), False),
        (EC, ("HMAC_256", "GENERATE_VERIFY_MAC"), False),
        (("HMAC_256", "GENERATE_VERIFY_MAC"), (None, None), False),
    ],
)
def test_an_alias_moves_among_keys_of_one_kind(
    quick: Ring, before: tuple[str | None, str | None], after: tuple[str | None, str | None], allowed: bool
) -> None:
    """Kind and usage are the same; the spec may be another one."""
    one, other = quick.make(*before), quick.make(*after)
    create(quick, one)
    if allowed:
        update(quick, other)
        assert quick.find(NAME) == other
    else:
        with pytest.raises(ValidationFailed, match="same type"):
            update(quick, other)
        assert quick.find(NAME) == one


def test_an_alias_leaves_a_key_that_will_be_deleted(ring: Ring) -> None:
    """And does not come to one."""
    leaving, staying = ring.make(), ring.make()
    create(ring, leaving)
    ring.schedule(leaving)
    calls: list[Callable[[], object]] = [lambda: create(ring, leaving, "alias/other"), lambda: update(ring, leaving)]
    for call in calls:
        with pytest.raises(KeyInvalidState, match="is pending deletion"):
            call()
    assert update(ring, staying).key_id == staying.key_id


def test_an_alias_of_a_key_that_is_gone_can_be_moved(ring: Ring) -> None:
    """Should there ever be one."""
    gone, key = ring.make(), ring.make()
    create(ring, gone)
    ring.write(lambda tx: tx.execute(f"DELETE FROM kms_key WHERE key_id = '{gone.key_id}'", ()))
    assert update(ring, key).key_id == key.key_id


def test_an_alias_that_is_not_there_is_not_found(ring: Ring) -> None:
    """In the words of AWS KMS."""
    key = ring.make()
    calls: list[Callable[[], object]] = [lambda: update(ring, key), lambda: delete(ring)]
    for call in calls:
        with pytest.raises(KeyNotFound) as caught:
            call()
        assert caught.value.message == f"Alias {ARN} is not found."


def test_a_reserved_alias_is_not_touched(ring: Ring) -> None:
    """Secrets depend on it."""
    ring.write(lambda tx: ring.keys.default(tx, HERE, now=ring.now))
    key = ring.make()
    calls: list[Callable[[], object]] = [
        lambda: create(ring, key, "alias/aws/mine"),
        lambda: update(ring, key, DEFAULT_ALIAS),
        lambda: delete(ring, DEFAULT_ALIAS),
    ]
    for call in calls:
        with pytest.raises(NotAuthorized):
            call()
    assert names(ring) == [DEFAULT_ALIAS]


@pytest.mark.parametrize("most", [1, 2, 100])
def test_aliases_are_listed_by_name(ring: Ring, most: int) -> None:
    """All of them, or those of one key; each once."""
    key, other = ring.make(), ring.make()
    for name in ("alias/b", "alias/B", "alias/a-", "alias/a/x"):
        create(ring, key, name)
    create(ring, other, "alias/c")
    create(ring, ring.make(scope=THERE), "alias/elsewhere")
    assert sorted(names(ring, most=most)) == sorted(["alias/B", "alias/a-", "alias/a/x", "alias/b", "alias/c"])
    assert sorted(names(ring, key, most)) == sorted(["alias/B", "alias/a-", "alias/a/x", "alias/b"])
    assert names(ring, other, most) == ["alias/c"]


def test_a_key_has_fifty_aliases_at_most(quick: Ring) -> None:
    """Whether they are made for it or moved to it."""
    key, other = quick.make(), quick.make()
    for number in range(50):
        create(quick, key, f"alias/{number}")
    with pytest.raises(LimitExceeded, match="50 aliases"):
        create(quick, key, "alias/one-more")
    create(quick, other)
    with pytest.raises(LimitExceeded, match="50 aliases"):
        update(quick, key)
    update(quick, key, "alias/0")
