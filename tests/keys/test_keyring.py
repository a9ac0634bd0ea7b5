"""Keys: the tie between a database and its root key, keys and their names, data keys."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, InvalidParameter, KeyStoreError, ResourceNotFound
from keywheel.keys.ciphertext import context_bytes
from keywheel.keys.keyring import DEFAULT_ALIAS, Key, Keys
from keywheel.sensitive import Sensitive

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE, THERE, THEIRS = Scope("1" * 12, "eu-west-1"), Scope("1" * 12, "us-east-1"), Scope("2" * 12, "eu-west-1")
ARN = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:a-AbCdEf"
CONTEXT = context_bytes({"SecretARN": ARN, "SecretVersionId": "v1"})


def new_keys() -> Keys:
    return Keys(Sensitive(os.urandom(32)))


@pytest.fixture
def keys(database: Database) -> Keys:
    """The keys of a database that is tied to their root key."""
    keys = new_keys()
    database.write(keys.bind)
    return keys


def make(database: Database, keys: Keys, scope: Scope = HERE) -> Key:
    """A new key."""
    return database.write(lambda tx: keys.create(tx, scope, description="", now=NOW))


def data_key(database: Database, keys: Keys, key: Key) -> tuple[Sensitive[bytes], bytes]:
    """A new data key under `key`."""
    with database.read() as tx:
        return keys.generate_data_key(tx, key, CONTEXT)


# --- the root key --------------------------------------------------------------------------------------------------


def test_a_new_database_is_tied_once(database: Database) -> None:
    """The second time there is nothing to do."""
    keys = new_keys()
    with database.point() as tx:
        assert not keys.is_bound(tx)
    assert [database.write(keys.bind), database.write(keys.bind)] == [True, False]
    with database.point() as tx:
        assert keys.is_bound(tx)
        keys.check(tx)


def test_another_root_key_is_refused(database: Database, keys: Keys) -> None:
    """By `check`, and by `bind`, which does not tie the database anew."""
    other = new_keys()
    with pytest.raises(KeyStoreError, match="root key does not open this database"):
        database.write(other.bind)
    with database.point() as tx, pytest.raises(KeyStoreError, match="root key does not open this database"):
        other.check(tx)
    with database.point() as tx:
        keys.check(tx)


def test_a_database_that_is_not_initialised_is_said_so(database: Database) -> None:
    """With the command that does it."""
    with database.point() as tx, pytest.raises(KeyStoreError, match="not initialised") as caught:
        new_keys().check(tx)
    assert "keywheel init" in caught.value.hint()


def test_of_two_root_keys_that_come_at_once_one_is_tied(database: Database) -> None:
    """The other is refused."""
    both, together = [new_keys(), new_keys()], threading.Barrier(2)

    def bind(keys: Keys) -> str:
        together.wait()
        try:
            return str(database.write(keys.bind))
        except KeyStoreError:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(bind, both)) == ["True", "refused"]


def test_a_secret_of_the_server_is_bound_to_its_label(database: Database, keys: Keys) -> None:
    """It opens under it, and not under that of another thing."""
    wrapped = database.write(lambda tx: keys.wrap(tx, b"material", "a label"))
    assert keys.unwrap(wrapped, "a label") == Sensitive(b"material")
    with pytest.raises(KeyStoreError):
        keys.unwrap(wrapped, "another label")


# --- the default key -----------------------------------------------------------------------------------------------


def test_each_account_and_region_has_one_default_key(database: Database, keys: Keys) -> None:
    """Made when it is first asked for, and the same ever after."""

    def ask(tx: Tx) -> list[Key]:
        return [keys.default(tx, scope, now=NOW) for scope in (HERE, THERE, THEIRS)]

    asked = database.write(ask) + database.write(ask)
    assert asked[:3] == asked[3:]
    assert len({key.key_id for key in asked}) == 3
    assert [key.scope for key in asked[:3]] == [HERE, THERE, THEIRS]


def test_of_many_who_ask_first_all_get_the_same_default_key(database: Database, keys: Keys) -> None:
    """And no other one is left behind."""
    together = threading.Barrier(6)

    def ask() -> Key:
        together.wait()
        return database.write(lambda tx: keys.default(tx, HERE, now=NOW))

    with ThreadPoolExecutor(6) as pool:
        asked = {future.result() for future in [pool.submit(ask) for _ in range(6)]}
    assert len(asked) == 1
    with database.read() as tx:
        assert [(entry[0], entry[1]) for entry in keys.list(tx, HERE)] == [(asked.pop().key_id, "AWS")]


# --- finding a key -------------------------------------------------------------------------------------------------


@pytest.fixture
def key(database: Database, keys: Keys) -> Key:
    """A key with an alias."""
    key = make(database, keys)
    database.write(lambda tx: keys.name(tx, key, "alias/mine"))
    return key


FORMS: dict[str, Callable[[Key], str]] = {
    "id": lambda key: key.key_id,
    "ARN": lambda key: key.arn,
    "alias": lambda key: "alias/mine",
    "alias ARN": lambda key: "arn:aws:kms:eu-west-1:111111111111:alias/mine",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_found_by(database: Database, keys: Keys, key: Key, form: str) -> None:
    """Each of the four forms of a KmsKeyId."""
    with database.read() as tx:
        assert keys.resolve(tx, HERE, FORMS[form](key)) == key


@pytest.mark.parametrize("form", ["id", "alias"])
@pytest.mark.parametrize("scope", [THERE, THEIRS])
def test_a_key_is_not_found_from(database: Database, keys: Keys, key: Key, scope: Scope, form: str) -> None:
    """Another Region or another account: there is no such key there."""
    with database.read() as tx, pytest.raises(ResourceNotFound):
        keys.resolve(tx, scope, FORMS[form](key))


@pytest.mark.parametrize("form", ["ARN", "alias ARN"])
@pytest.mark.parametrize("scope", [THERE, THEIRS])
def test_an_arn_of_elsewhere_is_refused(database: Database, keys: Keys, key: Key, scope: Scope, form: str) -> None:
    """From another Region or another account."""
    with database.read() as tx, pytest.raises(InvalidParameter, match="this account and Region"):
        keys.resolve(tx, scope, FORMS[form](key))


@pytest.mark.parametrize(
    "key_id",
    [
        "01234567-89ab-cdef-0123-456789abcdef",
        "alias/other",
        DEFAULT_ALIAS,
        "!",
        "arn:aws:kms:eu-west-1:111111111111:key/01234567-89ab-cdef-0123-456789abcdef",
        "arn:aws:kms:eu-west-1:111111111111:alias/other",
    ],
)
def test_a_key_that_is_not_there_is_not_found(database: Database, keys: Keys, key: Key, key_id: str) -> None:
    """It is named, and the way to see those that are there."""
    with database.read() as tx, pytest.raises(ResourceNotFound, match="does not exist") as caught:
        keys.resolve(tx, HERE, key_id)
    assert caught.value.message == f"Key '{key_id}' does not exist"
    assert "keywheel keys list" in caught.value.hint()


@pytest.mark.parametrize("resource", ["{}", "kye/{}", "alias", "keys/{}"])
def test_an_arn_of_something_else_is_refused(database: Database, keys: Keys, key: Key, resource: str) -> None:
    """Though it is of KMS."""
    arn = HERE.arn("kms", resource.format(key.key_id))
    with database.read() as tx, pytest.raises(InvalidParameter, match="a key id, a key ARN, an alias"):
        keys.resolve(tx, HERE, arn)


@pytest.mark.parametrize("key_id", ["", "alias/"])
def test_a_key_has_a_name(database: Database, keys: Keys, key_id: str) -> None:
    """Nothing at all names none."""
    with database.read() as tx, pytest.raises(InvalidParameter, match="a key id, a key ARN, an alias"):
        keys.resolve(tx, HERE, key_id)


@pytest.mark.parametrize("arn", [ARN, "arn:aws:s3:::bucket"])
def test_an_arn_of_another_service_is_refused(database: Database, keys: Keys, arn: str) -> None:
    """A secret is no key."""
    with database.read() as tx, pytest.raises(InvalidParameter):
        keys.resolve(tx, HERE, arn)


@pytest.mark.parametrize("prefix", ["key/", "KEY/", " "])
def test_a_key_id_has_no_prefix(database: Database, keys: Keys, key: Key, prefix: str) -> None:
    """Only an ARN has one."""
    with database.read() as tx, pytest.raises(ResourceNotFound):
        keys.resolve(tx, HERE, prefix + key.key_id)


def test_the_list_shows_the_keys_of_one_account_and_region(database: Database, keys: Keys) -> None:
    """The oldest first, each with its manager, description and date."""

    def work(tx: Tx) -> list[str]:
        late = keys.create(tx, HERE, description="late", now=NOW + timedelta(seconds=1))
        early = keys.create(tx, HERE, description="early", now=NOW)
        keys.create(tx, THERE, description="elsewhere", now=NOW)
        return [early.key_id, late.key_id]

    early, late = database.write(work)
    created = NOW.timestamp()
    with database.read() as tx:
        assert keys.list(tx, HERE) == [
            (early, "CUSTOMER", "early", created),
            (late, "CUSTOMER", "late", created + 1),
        ]


def test_a_key_has_an_arn(key: Key) -> None:
    """Of KMS, in its scope."""
    assert key.arn == f"arn:aws:kms:eu-west-1:111111111111:key/{key.key_id}"
    assert key.scope == HERE


# --- data keys -----------------------------------------------------------------------------------------------------


def test_a_data_key_opens_again(database: Database, keys: Keys) -> None:
    """Also by who has never seen it before: it is 256 bits long and each time another."""
    root = Sensitive(os.urandom(32))
    database.write(lambda tx: tx.execute("DELETE FROM installation", {}))
    database.write(Keys(root).bind)
    key = make(database, Keys(root))
    plain, blob = data_key(database, Keys(root), key)
    with database.read() as tx:
        assert Keys(root).decrypt(tx, blob, CONTEXT) == plain
    assert len(plain.reveal()) == 32
    assert data_key(database, Keys(root), key)[0] != plain
    assert plain.reveal() not in blob


@pytest.mark.parametrize(
    "context",
    [
        {"SecretARN": ARN, "SecretVersionId": "v2"},
        {"SecretARN": ARN.replace("AbCdEf", "AbCdEg"), "SecretVersionId": "v1"},
        {"SecretARN": "v1", "SecretVersionId": ARN},
        {"SecretARN": ARN},
        {"SecretARN": ARN, "SecretVersionId": "v1", "": ""},
        {},
    ],
    ids=["another version", "another secret", "exchanged", "less", "more", "nothing"],
)
def test_a_data_key_is_refused_for(database: Database, keys: Keys, context: dict[str, str]) -> None:
    """Any other context than its own: it cannot be moved to another version or secret."""
    _, blob = data_key(database, keys, make(database, keys))
    with database.read() as tx, pytest.raises(DecryptionFailure):
        keys.decrypt(tx, blob, context_bytes(context))


def test_a_change_of_any_byte_of_a_blob_is_refused(database: Database, keys: Keys) -> None:
    """Of the head, which names the key, too."""
    _, blob = data_key(database, keys, make(database, keys))
    with database.read() as tx:
        for place in range(len(blob)):
            spoiled = bytearray(blob)
            spoiled[place] ^= 0x01
            with pytest.raises(DecryptionFailure):
                keys.decrypt(tx, bytes(spoiled), CONTEXT)


def test_a_part_of_a_blob_is_refused(database: Database, keys: Keys) -> None:
    """However much is missing."""
    _, blob = data_key(database, keys, make(database, keys))
    with database.read() as tx:
        for length in range(len(blob)):
            with pytest.raises(DecryptionFailure):
                keys.decrypt(tx, blob[:length], CONTEXT)


def test_a_blob_cannot_be_relabelled(database: Database, keys: Keys) -> None:
    """With the head of another key, or of another generation of the same one."""
    one, other = make(database, keys), make(database, keys)
    blobs = [data_key(database, keys, key)[1] for key in (one, other)]
    swapped = blobs[0][:21] + blobs[1][21:]
    with database.read() as tx, pytest.raises(DecryptionFailure):
        keys.decrypt(tx, swapped, CONTEXT)


def test_a_backing_key_cannot_be_exchanged(database: Database) -> None:
    """Who may write to the database cannot have one key's blobs opened by another's material."""
    root = Sensitive(os.urandom(32))
    one, other = make(database, Keys(root)), make(database, Keys(root))
    _, blob = data_key(database, Keys(root), one)

    def exchange(tx: Tx) -> None:
        theirs = f"(SELECT sealed FROM backing_key WHERE key_id = '{other.key_id}')"
        tx.execute(f"UPDATE backing_key SET sealed = {theirs} WHERE key_id = '{one.key_id}'", {})

    database.write(exchange)
    with database.read() as tx, pytest.raises(KeyStoreError):
        Keys(root).decrypt(tx, blob, CONTEXT)


def test_a_blob_of_a_key_that_is_gone_is_refused(database: Database, keys: Keys) -> None:
    """It is said that it is the key which is missing; nothing that is remembered of it opens the blob."""
    _, blob = data_key(database, keys, make(database, keys))
    with database.read() as tx:
        keys.decrypt(tx, blob, CONTEXT)
    database.write(lambda tx: tx.execute("DELETE FROM kms_key", {}))
    with database.read() as tx, pytest.raises(DecryptionFailure, match="does not exist any more"):
        keys.decrypt(tx, blob, CONTEXT)


def test_a_blob_whose_material_is_gone_is_refused(database: Database) -> None:
    """By a server that has not used it, say."""
    root = Sensitive(os.urandom(32))
    _, blob = data_key(database, Keys(root), make(database, Keys(root)))
    database.write(lambda tx: tx.execute("DELETE FROM backing_key", {}))
    with database.read() as tx, pytest.raises(DecryptionFailure, match="does not exist any more"):
        Keys(root).decrypt(tx, blob, CONTEXT)


def test_a_key_without_a_backing_key_makes_no_data_key(database: Database, keys: Keys) -> None:
    """Nothing is ever sealed under nothing."""
    key = make(database, keys)._replace(generation=2)
    with pytest.raises(KeyStoreError, match="has no backing key"):
        data_key(database, keys, key)


def test_no_column_of_a_key_holds_its_material(database: Database) -> None:
    """Backing keys are stored under the root key."""
    root = Sensitive(os.urandom(32))
    make(database, Keys(root))
    with database.read() as tx:
        stored = tx.execute("SELECT sealed FROM backing_key", {}).fetchone()[0]
    assert len(stored) == 12 + 32 + 16
    assert root.reveal() not in stored
