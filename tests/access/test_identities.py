"""What identities.py promises: users and roles, with policies that can be evaluated, and nothing left when they go."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keywheel.access.access_keys import AccessKeys, Role
from keywheel.access.identities import Identities, Identity, Sort
from keywheel.access.sessions import Sessions
from keywheel.db.database import Database
from keywheel.errors import (
    ConfigurationError,
    InvalidParameter,
    KeyStoreError,
    MalformedPolicyDocument,
    ResourceNotFound,
)
from keywheel.keys.keyring import Keys
from keywheel.sensitive import Sensitive
from tests.support.policies import ACCOUNT, ALLOW, OTHER, ROOT, document

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TRUST = document({"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"})
READ = document({"Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*"})
BY_NAME = {Sort.USER: "ann", Sort.ROLE: "turner"}
IDENTITIES = Identities()


@pytest.fixture
def keys() -> Keys:
    """Any root key."""
    return Keys(Sensitive(os.urandom(32)))


def made(database: Database, sort: Sort, **changes: Any) -> Identity:
    """A user or a role."""
    given: dict[str, Any] = {"account": ACCOUNT, "name": BY_NAME[sort], "now": NOW} | changes
    if sort is Sort.USER:
        return database.write(lambda tx: IDENTITIES.create_user(tx, **given))
    return database.write(lambda tx: IDENTITIES.create_role(tx, **({"trust": TRUST} | given)))


def policies(database: Database, sort: Sort) -> dict[str, str]:
    """The policies on it."""
    with database.point() as tx:
        return IDENTITIES.policies(tx, ACCOUNT, sort, BY_NAME[sort])


def put(database: Database, sort: Sort, name: str = "read", text: str = READ) -> None:
    """Put a policy on it."""
    database.write(
        lambda tx: IDENTITIES.put_policy(tx, ACCOUNT, sort, BY_NAME[sort], name=name, document=text, now=NOW)
    )


@pytest.mark.parametrize("sort", Sort)
def test_what_was_made_is_found(database: Database, sort: Sort) -> None:
    """In its account, with an id that says what it is."""
    new = made(database, sort, path="/team/")
    with database.read() as tx:
        assert new == IDENTITIES.find(tx, ACCOUNT, sort, BY_NAME[sort])
        assert IDENTITIES.list(tx, sort) == [new]
        assert IDENTITIES.find(tx, OTHER, sort, BY_NAME[sort]) is None
    assert new.arn == f"arn:aws:iam::{ACCOUNT}:{sort.value}/team/{BY_NAME[sort]}"
    assert new.identity_id[:4] == {Sort.USER: "AIDA", Sort.ROLE: "AROA"}[sort]
    assert len(new.identity_id) == 21


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": ""}, "up to 64"),
        ({"name": "a" * 65}, "up to 64"),
        ({"name": "a/b"}, "up to 64"),
        ({"path": "team/"}, "slash"),
        ({"path": "/team"}, "slash"),
        ({"path": "//"}, "slash"),
    ],
)
def test_what_cannot_be_one_is_refused(database: Database, sort: Sort, changes: dict[str, str], text: str) -> None:
    """By its name or its path."""
    with pytest.raises(ConfigurationError, match=text):
        made(database, sort, **changes)


@pytest.mark.parametrize("sort", Sort)
def test_a_name_is_taken_once_in_an_account(database: Database, sort: Sort) -> None:
    """Whatever the path."""
    made(database, sort)
    made(database, sort, account=OTHER)
    with pytest.raises(ConfigurationError, match="already"):
        made(database, sort, path="/team/")


@pytest.mark.parametrize("longest", [3599, 43_201])
def test_a_role_has_sessions_of_an_hour_to_twelve(database: Database, longest: int) -> None:
    """As AWS has it."""
    with pytest.raises(ConfigurationError, match="longest session"):
        made(database, Sort.ROLE, longest=longest)


def test_a_role_needs_a_trust_policy(database: Database) -> None:
    """One that reads, from the beginning and ever after."""
    for text in ("{}", READ, document(ALLOW)):
        with pytest.raises(MalformedPolicyDocument):
            made(database, Sort.ROLE, trust=text)
    made(database, Sort.ROLE)
    with pytest.raises(MalformedPolicyDocument):
        database.write(lambda tx: IDENTITIES.set_trust(tx, ACCOUNT, "turner", READ))
    database.write(lambda tx: IDENTITIES.set_trust(tx, ACCOUNT, "turner", TRUST + " "))
    with database.point() as tx:
        assert IDENTITIES.get(tx, ACCOUNT, Sort.ROLE, "turner").trust == TRUST + " "


@pytest.mark.parametrize("sort", Sort)
def test_policies_are_put_and_taken_away(database: Database, sort: Sort) -> None:
    """By name; one of the same name is replaced."""
    made(database, sort)
    put(database, sort)
    put(database, sort, text=READ + "\n")
    put(database, sort, "b")
    assert policies(database, sort) == {"read": READ + "\n", "b": READ}
    taken = [database.write(lambda tx: IDENTITIES.delete_policy(tx, ACCOUNT, sort, BY_NAME[sort], "b")) for _ in "ab"]
    assert (taken, list(policies(database, sort))) == ([True, False], ["read"])


def test_a_policy_that_cannot_be_evaluated_is_refused(database: Database) -> None:
    """As is one for nobody, or without a name."""
    made(database, Sort.USER)
    with pytest.raises(MalformedPolicyDocument):
        put(database, Sort.USER, text=document(ALLOW))
    with pytest.raises(ConfigurationError, match="policy name"):
        put(database, Sort.USER, "a b")
    with pytest.raises(ResourceNotFound, match="no role turner"):
        put(database, Sort.ROLE)
    assert policies(database, Sort.USER) == {}


def test_nothing_of_a_deleted_user_is_left(database: Database, keys: Keys) -> None:
    """Neither access keys nor policies: a new user of that name starts with nothing, and with another id."""
    first = made(database, Sort.USER)
    put(database, Sort.USER)
    access_keys = AccessKeys(keys)
    given: dict[str, Any] = {
        "account": ACCOUNT, "name": "ann", "role": Role.READ_ONLY, "now": NOW, "access_key_id": "A" * 20,
        "secret": Sensitive("x" * 40),
    }  # fmt: skip
    database.write(lambda tx: access_keys.create(tx, **given))
    database.write(lambda tx: IDENTITIES.delete(tx, ACCOUNT, Sort.USER, "ann"))
    with pytest.raises(ResourceNotFound):
        database.write(lambda tx: IDENTITIES.delete(tx, ACCOUNT, Sort.USER, "ann"))
    second = made(database, Sort.USER)
    with database.read() as tx:
        assert access_keys.list(tx) == []
    assert policies(database, Sort.USER) == {}
    assert first.identity_id != second.identity_id


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_is_known_by_its_access_key_and_its_token(database: Database, keys: Keys) -> None:
    """And is not before, nor by another token; a role's path is not in its ARN."""
    role, sessions = made(database, Sort.ROLE, path="/team/"), Sessions(keys)
    new = database.write(lambda tx: sessions.issue(tx, role, "now", seconds=900, now=NOW, policy=READ))
    with database.point() as tx:
        found, other = sessions.known(tx, new.access_key_id), sessions.known(tx, "ASIA" + "B" * 16)
    assert found is not None
    assert other is None
    assert found.secret == new.secret
    assert found.holds(new.token)
    assert not found.holds(Sensitive(new.token.reveal()[:-1]))
    assert (found.arn, found.policy) == (f"arn:aws:sts::{ACCOUNT}:assumed-role/turner/now", READ)
    assert (new.arn, found.expires) == (found.arn, (NOW + timedelta(seconds=900)).timestamp())


def test_neither_the_token_nor_the_secret_half_is_in_the_database(database: Database, keys: Keys) -> None:
    """A digest of the one, and the other sealed and bound to its id."""
    role, sessions = made(database, Sort.ROLE), Sessions(keys)
    new, other = (database.write(lambda tx: sessions.issue(tx, role, "ab", seconds=900, now=NOW)) for _ in "12")
    with database.read() as tx:
        rows = tx.execute("SELECT sealed, token FROM access_session", {}).fetchall()
    for text in (new.secret.reveal(), new.token.reveal()):
        assert not any(text.encode() in bytes(cell) for row in rows for cell in row)
    theirs = f"(SELECT sealed FROM access_session WHERE access_key_id = '{other.access_key_id}')"
    moved = f"UPDATE access_session SET sealed = {theirs} WHERE access_key_id = '{new.access_key_id}'"
    database.write(lambda tx: tx.execute(moved, {}))
    with pytest.raises(KeyStoreError), database.point() as tx:
        sessions.known(tx, new.access_key_id)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "a"}, InvalidParameter),
        ({"name": "a b"}, InvalidParameter),
        ({"seconds": 899}, InvalidParameter),
        ({"seconds": 3601}, InvalidParameter),
        ({"policy": TRUST}, MalformedPolicyDocument),
    ],
)
def test_what_cannot_be_a_session_is_refused(
    database: Database, keys: Keys, changes: dict[str, Any], error: type[Exception]
) -> None:
    """By its name, its length or its policy."""
    role = made(database, Sort.ROLE)
    given: dict[str, Any] = {"name": "now", "seconds": 900} | changes
    with pytest.raises(error):
        database.write(lambda tx: Sessions(keys).issue(tx, role, now=NOW, **given))


def test_a_deleted_role_has_no_sessions(database: Database, keys: Keys) -> None:
    """Also not those that were there."""
    role, sessions = made(database, Sort.ROLE), Sessions(keys)
    new = database.write(lambda tx: sessions.issue(tx, role, "now", seconds=900, now=NOW))
    database.write(lambda tx: IDENTITIES.delete(tx, ACCOUNT, Sort.ROLE, "turner"))
    with database.point() as tx:
        assert sessions.known(tx, new.access_key_id) is None


def test_expired_sessions_are_swept_when_the_next_one_is_made(database: Database, keys: Keys) -> None:
    """A day later, so that until then they can be told from unknown ones."""
    role, sessions = made(database, Sort.ROLE), Sessions(keys)

    def issued(now: datetime) -> str:
        return database.write(lambda tx: sessions.issue(tx, role, "now", seconds=900, now=now)).access_key_id

    def is_there(access_key_id: str) -> bool:
        with database.point() as tx:
            return sessions.known(tx, access_key_id) is not None

    old = issued(NOW)
    issued(NOW + timedelta(hours=24))
    assert is_there(old)
    issued(NOW + timedelta(hours=24, seconds=901))
    assert not is_there(old)
