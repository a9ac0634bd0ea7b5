"""What the ledger promises, by the API's own handlers: tokens, names, limits, deletion and retention."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from keywheel.clock import to_epoch
from keywheel.errors import (
    InvalidParameter,
    InvalidRequest,
    ResourceExists,
    ResourceNotFound,
    ValidationFailed,
)
from keywheel.secrets.labels import CURRENT, PENDING, PREVIOUS
from tests.support.account import SINGLE_USER, Account, token
from tests.support.memory_target import MemoryTarget

MARKED = "You can't perform this operation on the secret because it was marked for deletion."
NOT_FOUND = "Secrets Manager can't find the specified secret."
MOST_BYTES = 65_536
DAY = timedelta(days=1)


# --- tokens --------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Account, str, str], object]] = {
    "CreateSecret": lambda account, version, value: account.create("app", value, version=version),
    "PutSecretValue": lambda account, version, value: account.put("app", value, version=version),
    "UpdateSecret": lambda account, version, value: account.update("app", value, version=version),
}


@pytest.mark.parametrize("call", ["PutSecretValue", "UpdateSecret"])
def test_an_unknown_token_names_a_new_version(account: Account, call: str) -> None:
    """The token becomes the version's id, and the value is current."""
    account.create("app", "first")
    version = token()
    CALLS[call](account, version, "second")
    assert account.labels("app")[CURRENT] == version
    assert account.text("app") == "second"


def test_creating_what_exists_with_an_unknown_token_is_refused(account: Account) -> None:
    """The name is taken; what is there stays."""
    account.create("app", "first")
    with pytest.raises(ResourceExists) as raised:
        account.create("app", "first", version=token())
    assert raised.value.message == "The operation failed because the secret app already exists."
    assert len(account.versions("app")) == 1


@pytest.mark.parametrize("call", list(CALLS))
def test_a_known_token_with_the_same_value_changes_nothing(account: Account, call: str) -> None:
    """The answer was lost and the call is sent again: success, with the labels as they are, even when others came."""
    version = token()
    arn = account.create("app", "first", version=version)
    account.put("app", "second")
    before = account.labels("app"), account.describe("app").last_changed_date
    account.clock.advance(DAY)
    answer = CALLS[call](account, version, "first")
    assert answer in (arn, version)
    assert (account.labels("app"), account.describe("app").last_changed_date) == before
    assert account.text("app") == "second"


@pytest.mark.parametrize("call", list(CALLS))
def test_a_known_token_with_another_value_is_refused(account: Account, call: str) -> None:
    """A version, once it has a value, never changes."""
    version = token()
    arn = account.create("app", "first", version=version)
    with pytest.raises(ResourceExists) as raised:
        CALLS[call](account, version, "second")
    assert raised.value.message == (
        f"You can't use ClientRequestToken {version} because that value is already in use for a version of "
        f"secret {arn}."
    )
    assert account.text("app", version=version) == "first"


def test_text_and_bytes_are_different_values(account: Account) -> None:
    """The same bytes under the same token, once as a string: refused."""
    version = token()
    account.create("app", "first", version=version)
    with pytest.raises(ResourceExists):
        account.put_binary("app", b"first", version=version)


def test_rotate_secret_with_an_unknown_token_begins_a_rotation(account: Account) -> None:
    """An empty version of that id is pending."""
    account.create("app", "first")
    version = account.rotate("app", SINGLE_USER)
    assert account.labels("app")[PENDING] == version
    found = account.stored("app", version)
    assert found is not None
    assert found.sealed is None


def test_rotate_secret_with_a_known_token_is_the_same_rotation(account: Account) -> None:
    """Nothing is started, and the version is told."""
    account.create("app", "first")
    version = account.rotate("app", SINGLE_USER)
    assert account.rotate("app", SINGLE_USER, version=version) == version
    assert account.events("app") == ["RotationStarted"]


@pytest.mark.parametrize("call", ["PutSecretValue", "UpdateSecret"])
def test_the_token_of_a_running_rotation_fills_its_version(account: Account, call: str) -> None:
    """Once; then it is a token that was used with that value."""
    account.create("app", "first")
    version = account.rotate("app", SINGLE_USER)
    CALLS[call](account, version, "second")
    CALLS[call](account, version, "second")
    assert account.text("app", version=version) == "second"
    with pytest.raises(ResourceExists):
        CALLS[call](account, version, "third")


def test_an_update_of_metadata_makes_no_version(account: Account) -> None:
    """And answers no version id."""
    account.create("app", "first")
    assert account.update("app", key="") is None
    assert len(account.versions("app")) == 1


def test_a_change_has_a_date(account: Account) -> None:
    """Of a value, a label, or metadata; reading is no change."""
    account.create("app", "first")
    changes: list[Callable[[], object]] = [
        lambda: account.put("app", "second"),
        lambda: account.move("app", "blue", to=account.labels("app")[CURRENT]),
        lambda: account.tag("app", "colour", "blue"),
    ]
    for change in changes:
        account.clock.advance(DAY)
        change()
        assert account.describe("app").last_changed_date == to_epoch(account.clock.now())
    account.clock.advance(DAY)
    account.text("app")
    assert account.describe("app").last_changed_date == to_epoch(account.clock.now() - DAY)


# --- names and values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "ä", "a\n", "a\0", "a*", "a" * 513])
def test_a_name_that_is_not_valid_is_refused(account: Account, name: str) -> None:
    """With AWS's text, and nothing is created."""
    with pytest.raises(ValidationFailed, match="Invalid name"):
        account.create(name, "first")


@pytest.mark.parametrize("name", ["a", "prod/db+user=x.y@z-!_0", "a" * 512])
def test_a_name_that_is_valid_is_part_of_the_arn(account: Account, name: str) -> None:
    """Followed by a hyphen and six characters."""
    arn = account.create(name, "first")
    prefix, suffix = arn[:-6], arn[-6:]
    assert prefix == f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-"
    assert suffix.isalnum()
    assert account.text(arn) == account.text(name) == account.text(prefix[:-1]) == "first"


@pytest.mark.parametrize("value", ["x" * MOST_BYTES, "ä" * (MOST_BYTES // 2), "🔑" * (MOST_BYTES // 4), "\0", " "])
def test_a_value_that_fits_is_read_back(account: Account, value: str) -> None:
    """Up to 65,536 bytes, whatever they are."""
    account.create("app", value)
    assert account.text("app") == value


@pytest.mark.parametrize("value", ["x" * (MOST_BYTES + 1), "ä" * (MOST_BYTES // 2) + "x", "🔑" * (MOST_BYTES // 4 + 1)])
@pytest.mark.parametrize("call", list(CALLS))
def test_a_value_that_is_too_long_is_refused(account: Account, call: str, value: str) -> None:
    """Bytes are counted, not characters; nothing is half written."""
    if call != "CreateSecret":
        account.create("app", "first")
    with pytest.raises(InvalidParameter, match="too long"):
        CALLS[call](account, token(), value)
    if call == "CreateSecret":
        with pytest.raises(ResourceNotFound):
            account.describe("app")
    else:
        assert account.text("app") == "first"


@pytest.mark.parametrize("label", ["a\x1fb", "a\nb", "\x7f"])
def test_a_label_with_a_control_character_is_refused(account: Account, label: str) -> None:
    """However it comes; answers join labels by one."""
    account.create("app", "first")
    with pytest.raises(InvalidParameter):
        account.put("app", "second", label)
    with pytest.raises(InvalidParameter):
        account.move("app", label, to=account.labels("app")[CURRENT])
    assert account.labels("app").keys() == {CURRENT}


def test_a_label_cannot_go_to_a_version_that_does_not_exist(account: Account) -> None:
    """With the id that was given."""
    account.create("app", "first")
    unknown = token()
    with pytest.raises(InvalidParameter, match=f"Not a valid version: {unknown}"):
        account.move("app", "blue", to=unknown)


def test_a_version_and_a_label_have_to_agree(account: Account) -> None:
    """Both may be named when they mean the same version."""
    version = token()
    account.create("app", "first", version=version)
    account.put("app", "second")
    assert account.text("app", version=version, label=PREVIOUS) == "first"
    with pytest.raises(InvalidRequest, match="not associated"):
        account.text("app", version=version, label=CURRENT)


def test_a_deprecated_version_is_read_by_its_id(account: Account) -> None:
    """Without a label it is history, not gone."""
    version = token()
    account.create("app", "first", version=version)
    account.put("app", "second")
    account.put("app", "third")
    assert version not in account.labels("app").values()
    assert account.text("app", version=version) == "first"


# --- deletion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "expected"), [(None, 30), (7, 7), (30, 30)])
def test_a_deletion_has_a_recovery_window(account: Account, days: int | None, expected: int) -> None:
    """The date of the end is told, and kept."""
    account.create("app", "first")
    end = account.delete("app", days=days)
    assert end == to_epoch(account.clock.now() + expected * DAY) == account.describe("app").deleted_date


@pytest.mark.parametrize("days", [-1, 0, 6, 31])
def test_a_recovery_window_out_of_bounds_is_refused(account: Account, days: int) -> None:
    """And deletes nothing."""
    account.create("app", "first")
    with pytest.raises(InvalidParameter, match="between 7 and 30 days"):
        account.delete("app", days=days)
    assert account.text("app") == "first"


def test_a_recovery_window_and_force_exclude_each_other(account: Account) -> None:
    """One says later, the other at once."""
    account.create("app", "first")
    with pytest.raises(InvalidParameter, match="in conjunction with"):
        account.delete("app", days=7, force=True)
    assert account.text("app") == "first"


@pytest.mark.parametrize(
    "call",
    [
        lambda account: account.text("app"),
        lambda account: account.put("app", "second"),
        lambda account: account.update("app", "second"),
        lambda account: account.rotate("app", SINGLE_USER),
        lambda account: account.cancel("app"),
        lambda account: account.tag("app", "colour", "blue"),
        lambda account: account.move("app", "blue", to=account.labels("app")[CURRENT]),
        lambda account: account.delete("app"),
    ],
    ids=["get", "put", "update", "rotate", "cancel", "tag", "move", "delete"],
)
def test_a_secret_that_is_marked_for_deletion_refuses_everything(
    account: Account, call: Callable[[Account], object]
) -> None:
    """With AWS's text."""
    account.create("app", "first")
    account.delete("app")
    with pytest.raises(InvalidRequest) as raised:
        call(account)
    assert raised.value.message == MARKED


def test_the_name_of_a_deleted_secret_is_taken(account: Account) -> None:
    """Until its recovery window is over."""
    account.create("app", "first")
    account.delete("app")
    with pytest.raises(InvalidRequest, match="already scheduled for deletion"):
        account.create("app", "second")


def test_a_restored_secret_is_as_it_was(account: Account) -> None:
    """Every version and label; restoring it again is no error."""
    account.create("app", "first")
    account.put("app", "second", CURRENT, "blue")
    before = account.labels("app"), account.versions("app")
    account.delete("app")
    account.clock.advance(29 * DAY)
    for _ in range(2):
        account.restore("app")
        assert (account.labels("app"), account.versions("app")) == before
        assert account.text("app") == "second"
        assert account.describe("app").deleted_date is None


def test_a_secret_is_purged_when_its_recovery_window_is_over(account: Account) -> None:
    """Not a second before."""
    account.create("app", "first")
    account.create("kept", "first")
    account.delete("app", days=7)
    account.clock.advance(7 * DAY - timedelta(seconds=1))
    account.engine._sweep()
    assert account.describe("app").deleted_date is not None
    account.clock.advance(timedelta(seconds=1))
    account.engine._sweep()
    with pytest.raises(ResourceNotFound):
        account.describe("app")
    assert account.text("kept") == "first"


@pytest.mark.parametrize("marked", [False, True])
def test_a_forced_deletion_is_at_once(account: Account, marked: bool) -> None:
    """Also of a secret that is marked already; the name is free, and gets another ARN."""
    arn = account.create("app", "first")
    if marked:
        account.delete("app")
    assert account.delete("app", force=True) == to_epoch(account.clock.now())
    assert account.create("app", "second") != arn
    with pytest.raises(ResourceNotFound):
        account.text(arn)


def test_a_forced_deletion_of_nothing_succeeds(account: Account) -> None:
    """AWS documents it so; without force it is an error."""
    assert account.delete("app", force=True) == to_epoch(account.clock.now())
    with pytest.raises(ResourceNotFound) as raised:
        account.delete("app")
    assert raised.value.message == NOT_FOUND


def test_a_purge_leaves_nothing_but_the_journal(account: Account) -> None:
    """No version, no label, no rotation; what happened is still told to an auditor."""
    account.create("app", MemoryTarget().new_user("app", "x"))
    account.rotated("app", SINGLE_USER)
    account.delete("app", force=True)
    left = {name for name, lines in account.dump().items() if lines}
    assert left - {"kms_key", "kms_alias", "backing_key", "installation", "schema_floor"} == {"journal", "slot"}


# --- retention -----------------------------------------------------------------------------------------------------


def put_many(account: Account, count: int) -> list[str]:
    """That many values, one an hour; their versions, oldest first."""
    versions = []
    for n in range(count):
        account.clock.advance(timedelta(hours=1))
        versions.append(account.put("app", f"value {n}"))
    return versions


def test_old_versions_without_a_label_go_beyond_a_hundred(account: Account) -> None:
    """The oldest first; a hundred are kept."""
    account.create("app", "first")
    versions = put_many(account, 130)
    assert account.versions("app") == set(versions[-100:])


def test_a_version_with_a_label_is_kept_for_ever(account: Account) -> None:
    """However old it is."""
    first = token()
    account.create("app", "first", version=first)
    account.move("app", "blue", to=first)
    versions = put_many(account, 130)
    assert account.versions("app") == {first, *versions[-99:]}
    assert account.text("app", label="blue") == "first"


def test_a_version_of_the_last_day_is_kept(account: Account) -> None:
    """However many there are."""
    first = token()
    account.create("app", "first", version=first)
    for n in range(130):
        account.clock.advance(timedelta(seconds=1))
        account.put("app", f"value {n}")
    assert len(account.versions("app")) == 131
    account.clock.advance(DAY)
    account.put("app", "another day")
    assert len(account.versions("app")) == 100
    with pytest.raises(ResourceNotFound):
        account.text("app", version=first)
