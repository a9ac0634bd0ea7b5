"""How values are sealed: with which key, for which version only, and that the store gives nothing away."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from keywheel.config import Settings
from keywheel.db.statement import Tx
from keywheel.errors import DecryptionFailure, EncryptionFailure, KeyStoreError
from keywheel.secrets import rows
from keywheel.secrets.labels import PENDING
from keywheel.sensitive import Sensitive
from keywheel.server import build
from keywheel.testing import ManualClock
from tests.support.account import SCOPE, SINGLE_USER, Account, token
from tests.support.memory_target import MemoryTarget


def new_key(account: Account) -> str:
    """The ARN of a customer's key."""
    now = account.clock.now()
    return account.rooms.database.write(
        lambda tx: account.house.keys.create(tx, SCOPE, description="ours", now=now).arn
    )


# --- keys ----------------------------------------------------------------------------------------------------------


def test_another_key_seals_what_is_in_use_again(account: Account) -> None:
    """AWSCURRENT, AWSPENDING and AWSPREVIOUS; other versions keep their key, and everything is read as before."""
    old, previous, current, pending = (token() for _ in range(4))
    account.create("app", "old", version=old)
    account.put("app", "previous", version=previous)
    account.put("app", "current", version=current)
    account.put("app", "pending", PENDING, version=pending)
    before = {version: account.stored("app", version) for version in (old, previous, current, pending)}
    key = new_key(account)
    account.update("app", key=key)
    for version, text in ((old, "old"), (previous, "previous"), (current, "current"), (pending, "pending")):
        after, was = account.stored("app", version), before[version]
        assert after is not None
        assert was is not None
        assert account.text("app", version=version) == text
        assert after.key_arn == (None if version == old else key)
        assert (after.sealed == was.sealed) == (version == old)
        assert after.created == was.created
    assert account.describe("app").kms_key_id == key


def test_the_default_key_comes_back_by_an_empty_name(account: Account) -> None:
    """The versions in use are sealed with it again, and DescribeSecret names no key."""
    version = token()
    account.create("app", "first", version=version, key=new_key(account))
    account.update("app", key="")
    found = account.stored("app", version)
    assert found is not None
    assert (found.key_arn, account.describe("app").kms_key_id) == (None, None)
    assert account.text("app") == "first"


def test_an_empty_version_has_nothing_to_seal_again(account: Account) -> None:
    """The pending version of a rotation is filled later, with the new key."""
    account.create("app", "first")
    version = account.rotate("app", SINGLE_USER)
    key = new_key(account)
    account.update("app", key=key)
    account.put("app", "second", PENDING, version=version)
    found = account.stored("app", version)
    assert found is not None
    assert found.key_arn == key


@pytest.mark.parametrize("key", ["alias/nobody", "arn:aws:kms:us-east-1:123456789012:key/" + "0" * 36, "not a key"])
def test_a_key_that_does_not_exist_is_refused(account: Account, key: str) -> None:
    """At creation and at a change; what was there is read as before."""
    with pytest.raises(EncryptionFailure):
        account.create("other", "first", key=key)
    account.create("app", "first")
    with pytest.raises(EncryptionFailure):
        account.update("app", key=key)
    assert account.text("app") == "first"
    assert account.describe("app").kms_key_id is None


def test_every_version_has_a_data_key_of_its_own(account: Account) -> None:
    """The same value is never sealed the same way twice."""
    versions = [token(), token()]
    account.create("app", "first", version=versions[0])
    account.put("app", "first", version=versions[1])
    one, other = (account.stored("app", version) for version in versions)
    assert one is not None
    assert other is not None
    assert (one.data_key, one.sealed) != (other.data_key, other.sealed)
    assert len({one.data_key, other.data_key, one.sealed, other.sealed}) == 4


# --- what the store gives away -------------------------------------------------------------------------------------


def test_a_stolen_store_holds_no_value(account: Account, target: MemoryTarget, tmp_path: Path) -> None:
    """Neither the rows nor the raw files, WAL included, hold a value or a password that ever was in a secret."""
    account.create("text", "plain-value-of-text")
    account.put_binary("text", b"plain-value-of-bytes")
    account.create("app", target.new_user("app", "plain-password-of-app"))
    seen = ["plain-value-of-text", "plain-value-of-bytes", "plain-password-of-app"]
    for _ in range(2):
        account.rotated("app", SINGLE_USER)
        seen.append(account.credential("app").password.reveal())
    target.down = True
    account.rotated("app")
    seen.append(account.credential("app", PENDING).password.reveal())
    account.delete("text", force=True)
    text = "\n".join(line for lines in account.dump().values() for line in lines)
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("keywheel.db"))
    assert len(seen) == 6
    for value in seen:
        spellings = [value, value.encode().hex(), base64.b64encode(value.encode()).decode()]
        assert not [spelling for spelling in spellings if spelling in text]
        assert value.encode() not in raw


def test_a_stolen_store_opens_with_no_other_root_key(
    account: Account, database_url: str, tmp_path: Path, clock: ManualClock
) -> None:
    """It is refused at the door, not at the first value."""
    account.create("app", "first")
    with pytest.raises(KeyStoreError):
        build(Settings(data=str(tmp_path), database=database_url), Sensitive(os.urandom(32)), clock=clock)


def overwrite(account: Account, name: str, version: str, columns: Mapping[str, bytes | None]) -> None:
    """Write over the sealed columns of a version, as a thief with write access would."""
    there = account.stored(name, version)
    assert there is not None
    sealed = {"data_key": there.data_key, "sealed": there.sealed, **columns}

    def work(tx: Tx) -> None:
        secret = account.rooms.secrets.find(tx, SCOPE, name)
        rows.fill_version.run(tx, row_id=secret.id, row_version=version, binary=False, key_arn=None, **sealed)

    account.rooms.database.write(work)


def sealed_columns(account: Account, name: str, version: str) -> dict[str, bytes | None]:
    found = account.stored(name, version)
    assert found is not None
    return {"data_key": found.data_key, "sealed": found.sealed}


@pytest.mark.parametrize("columns", [{"sealed"}, {"data_key"}, {"sealed", "data_key"}])
@pytest.mark.parametrize("where", ["version", "secret"])
def test_a_value_cannot_be_moved(account: Account, where: str, columns: set[str]) -> None:
    """Sealed bytes open for the secret and the version that they were made for, and for no other."""
    first, second, other = token(), token(), token()
    account.create("app", "first", version=first)
    account.put("app", "second", version=second)
    account.create("other", "another", version=other)
    into = ("app", second) if where == "version" else ("other", other)
    stolen = sealed_columns(account, "app", first)
    overwrite(account, *into, {column: stolen[column] for column in columns})
    with pytest.raises(DecryptionFailure):
        account.text(into[0])
    assert account.text("app", version=first) == "first"


def test_a_value_cannot_be_moved_between_secrets_under_one_version_id(account: Account) -> None:
    """The secret's ARN counts, not the version alone."""
    version = token()
    account.create("app", "first", version=version)
    account.create("other", "another", version=version)
    overwrite(account, "other", version, sealed_columns(account, "app", version))
    with pytest.raises(DecryptionFailure):
        account.text("other")


@pytest.mark.parametrize("column", ["data_key", "sealed"])
@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:5], lambda _: b""]
)
def test_a_spoiled_value_is_told_as_such(account: Account, column: str, spoil: Callable[[bytes], bytes]) -> None:
    """One bit, or nearly everything: never another value, and never our own error."""
    version = token()
    account.create("app", "first", version=version)
    sealed = sealed_columns(account, "app", version)[column]
    overwrite(account, "app", version, {column: spoil(sealed or b"")})
    with pytest.raises(DecryptionFailure):
        account.text("app")
