"""Access keys: what is accepted as one, and how it is kept."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keywheel.access.access_keys import AccessKey, AccessKeys, KnownKey, Role, check_access_key, new_access_key
from keywheel.db.database import Database
from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ID, SECRET = "AKIAIOSFODNN7EXAMPLE", Sensitive("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
NEW: dict[str, Any] = {
    "account": "1" * 12, "name": "app", "role": Role.READ_ONLY, "now": NOW, "access_key_id": ID, "secret": SECRET,
}  # fmt: skip


@pytest.fixture
def keys(database: Database) -> AccessKeys:
    """The access keys of an empty store."""
    return AccessKeys(Keys(Sensitive(os.urandom(32))))


def create(database: Database, keys: AccessKeys, **changes: Any) -> None:
    """Make an access key."""
    database.write(lambda tx: keys.create(tx, **(NEW | changes)))


def known(database: Database, keys: AccessKeys, access_key_id: str = ID) -> KnownKey | None:
    """What is known of an access key."""
    with database.point() as tx:
        return keys.known(tx, access_key_id)


# --- drawing one ---------------------------------------------------------------------------------------------------


def test_a_new_access_key_has_the_form_of_aws() -> None:
    """Twenty capitals and digits, which say that they are an access key id, and forty characters."""
    access_key_id, secret = new_access_key()
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", access_key_id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{40}", secret.reveal())
    check_access_key(access_key_id, secret)


def test_no_two_access_keys_are_alike() -> None:
    """In either half."""
    drawn = [new_access_key() for _ in range(100)]
    assert (len({id_ for id_, _ in drawn}), len({secret.reveal() for _, secret in drawn})) == (100, 100)


# --- keeping it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.READ_ONLY])
def test_an_access_key_is_known_after_it_was_made(database: Database, keys: AccessKeys, role: Role) -> None:
    """With its account, its user's ARN, its role and its secret half."""
    create(database, keys, role=role)
    assert known(database, keys) == KnownKey("1" * 12, "arn:aws:iam::111111111111:user/app", role, SECRET)


def test_another_access_key_is_not_known(database: Database, keys: AccessKeys) -> None:
    """Letters count as they are."""
    create(database, keys)
    assert known(database, keys, ID.lower()) is None


def test_a_deleted_access_key_is_not_known(database: Database, keys: AccessKeys) -> None:
    """It is said whether there was one."""
    create(database, keys)
    assert [database.write(lambda tx: keys.delete(tx, ID)) for _ in range(2)] == [True, False]
    assert known(database, keys) is None


def test_the_list_shows_access_keys_without_their_secret_half(database: Database, keys: AccessKeys) -> None:
    """The oldest first."""
    later = NOW + timedelta(seconds=1)
    create(database, keys, access_key_id="B" * 20, now=later)
    create(database, keys, role=Role.ADMINISTRATOR)
    with database.read() as tx:
        assert keys.list(tx) == [
            AccessKey(ID, "1" * 12, "arn:aws:iam::111111111111:user/app", Role.ADMINISTRATOR, NOW.timestamp()),
            AccessKey("B" * 20, "1" * 12, "arn:aws:iam::111111111111:user/app", Role.READ_ONLY, later.timestamp()),
        ]


def test_the_secret_half_is_not_in_the_database(database: Database, keys: AccessKeys) -> None:
    """Only under the root key, and bound to its id: it cannot be moved to another access key."""
    create(database, keys)
    create(database, keys, access_key_id="B" * 20, secret=Sensitive("another secret half".replace(" ", "-")))
    with database.read() as tx:
        rows = tx.execute("SELECT sealed FROM access_key", {}).fetchall()
    assert not any(SECRET.reveal().encode() in row[0] for row in rows)
    theirs = f"(SELECT sealed FROM access_key WHERE access_key_id = '{'B' * 20}')"
    database.write(lambda tx: tx.execute(f"UPDATE access_key SET sealed = {theirs} WHERE access_key_id = '{ID}'", {}))
    with pytest.raises(KeyStoreError):
        known(database, keys)


def test_another_root_key_does_not_open_it(database: Database, keys: AccessKeys) -> None:
    """Nor is anything else made of it."""
    create(database, keys)
    with pytest.raises(KeyStoreError):
        known(database, AccessKeys(Keys(Sensitive(os.urandom(32)))))


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"access_key_id": "A" * 15}, "16 to 128 letters and digits"),
        ({"access_key_id": "A" * 129}, "16 to 128 letters and digits"),
        ({"access_key_id": "A" * 15 + "/"}, "16 to 128 letters and digits"),
        ({"access_key_id": "A" * 20 + "\n"}, "16 to 128 letters and digits"),
        ({"access_key_id": "Ä" * 20}, "16 to 128 letters and digits"),
        ({"secret": Sensitive("x" * 15)}, "16 or more characters"),
        ({"secret": Sensitive(" " + "x" * 20)}, "no spaces"),
        ({"secret": Sensitive("x" * 20 + "\n")}, "no spaces"),
        ({"secret": Sensitive("é" * 20)}, "ASCII"),
        ({"name": ""}, "user name"),
        ({"name": "a" * 65}, "user name"),
        ({"name": "a/b"}, "user name"),
        ({"name": "a b"}, "user name"),
    ],
)
def test_what_cannot_be_an_access_key_is_refused(
    database: Database, keys: AccessKeys, changes: dict[str, Any], text: str
) -> None:
    """It is said what is asked for, without quoting the secret half."""
    with pytest.raises(ConfigurationError, match=text) as caught:
        create(database, keys, **changes)
    assert "xxx" not in caught.value.message
    with database.read() as tx:
        assert keys.list(tx) == []


@pytest.mark.parametrize("access_key_id", ["A" * 16, "a" * 128, "0" * 20])
def test_any_letters_and_digits_may_be_chosen(database: Database, keys: AccessKeys, access_key_id: str) -> None:
    """Of 16 to 128."""
    create(database, keys, access_key_id=access_key_id)
    assert known(database, keys, access_key_id) is not None


@pytest.mark.parametrize("name", ["a", "a" * 64, "Ann.Lee+x=y,z@example.com_-"])
def test_a_user_has_a_name_of_iam(database: Database, keys: AccessKeys, name: str) -> None:
    """It is the end of the ARN."""
    create(database, keys, name=name)
    found = known(database, keys)
    assert found is not None
    assert found.arn == f"arn:aws:iam::111111111111:user/{name}"


def test_an_access_key_id_is_taken_once(database: Database, keys: AccessKeys) -> None:
    """The second is refused, and the first is what it was."""
    create(database, keys)
    with pytest.raises(ConfigurationError, match=f"There is an access key {ID} already"):
        create(database, keys, secret=Sensitive("x" * 40), role=Role.ADMINISTRATOR)
    found = known(database, keys)
    assert found is not None
    assert (found.secret, found.role) == (SECRET, Role.READ_ONLY)


def test_what_is_known_does_not_print_its_secret() -> None:
    """It may be logged by accident."""
    assert SECRET.reveal() not in repr(KnownKey("1", "arn", Role.READ_ONLY, SECRET))
