"""Values, versions and staging labels, row by row, and what a token makes idempotent (aws-contract A5, A6)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.server import Server, refusal, stages, token

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
NO_VALUE_FOR_LABEL = "Secrets Manager can't find the specified secret value for staging label: {}"
NO_VALUE_FOR_VERSION = "Secrets Manager can't find the specified secret value for VersionId: {}"


class Versions:
    """A secret whose versions go by letters: `put` makes the next token, and labels are told by letter."""

    def __init__(self, api: Any, name: str) -> None:
        self.api, self.name = api, name
        self.ids: dict[str, str] = {}
        api.create_secret(Name=name)

    def put(self, letter: str, *labels: str, value: str | None = None) -> dict[str, Any]:
        self.ids.setdefault(letter, token())
        named = {"VersionStages": list(labels)} if labels else {}
        answer: dict[str, Any] = self.api.put_secret_value(
            SecretId=self.name, ClientRequestToken=self.ids[letter], SecretString=value or f"value of {letter}", **named
        )
        assert self.ids[letter] == answer["VersionId"]
        return answer

    def move(self, label: str, *, to: str | None = None, away_from: str | None = None) -> None:
        self.api.update_secret_version_stage(**self._moving(label, to, away_from))

    def refused_move(self, label: str, *, to: str | None = None, away_from: str | None = None) -> tuple[str, str]:
        return refusal(self.api.update_secret_version_stage, **self._moving(label, to, away_from))

    def _moving(self, label: str, to: str | None, away_from: str | None) -> dict[str, Any]:
        members = {"SecretId": self.name, "VersionStage": label}
        members |= {} if to is None else {"MoveToVersionId": self.ids.get(to, to)}
        return members | ({} if away_from is None else {"RemoveFromVersionId": self.ids.get(away_from, away_from)})

    @property
    def labels(self) -> dict[str, set[str]]:
        letters = {version: letter for letter, version in self.ids.items()}
        return {letters[version]: held for version, held in stages(self.api, self.name).items()}

    def listed(self, *, deprecated: bool = False) -> dict[str, dict[str, Any]]:
        letters = {version: letter for letter, version in self.ids.items()}
        answer = self.api.list_secret_version_ids(SecretId=self.name, IncludeDeprecated=deprecated)
        return {letters[entry["VersionId"]]: entry for entry in answer["Versions"]}

    def read(self, **which: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.api.get_secret_value(SecretId=self.name, **which)
        return answer


@pytest.fixture
def versions(api: Any, name: str) -> Versions:
    """A secret without a value."""
    return Versions(api, name)


# --- A5: putting ---------------------------------------------------------------------------------------------------

Put = tuple[str, Iterable[str]]


@pytest.mark.parametrize(
    ("puts", "expected"),
    [
        ([("A", ())], {"A": {CURRENT}}),
        ([("A", [PENDING])], {"A": {CURRENT, PENDING}}),
        ([("A", ["mine"])], {"A": {CURRENT, "mine"}}),
        ([("A", ()), ("B", ())], {"A": {PREVIOUS}, "B": {CURRENT}}),
        ([("A", ()), ("B", ()), ("C", ())], {"B": {PREVIOUS}, "C": {CURRENT}}),
        ([("A", ()), ("B", [PENDING])], {"A": {CURRENT}, "B": {PENDING}}),
        ([("A", ()), ("B", ["mine"]), ("C", ["mine"])], {"A": {CURRENT}, "C": {"mine"}}),
        ([("A", ()), ("B", [CURRENT, "mine"])], {"A": {PREVIOUS}, "B": {CURRENT, "mine"}}),
        ([("A", ["mine"]), ("B", ())], {"A": {PREVIOUS, "mine"}, "B": {CURRENT}}),
        ([("A", [PENDING]), ("B", ())], {"A": {PREVIOUS}, "B": {CURRENT}}),
        ([("A", ()), ("B", [PENDING]), ("C", ())], {"A": {PREVIOUS}, "C": {CURRENT}}),
        ([("A", ()), ("B", [PENDING, "mine"]), ("C", ())], {"A": {PREVIOUS}, "B": {"mine"}, "C": {CURRENT}}),
        ([("A", ()), ("B", [CURRENT, PENDING]), ("C", ())], {"B": {PREVIOUS}, "C": {CURRENT}}),
        ([("A", ()), ("B", [PENDING]), ("C", [PENDING])], {"A": {CURRENT}, "C": {PENDING}}),
        ([("A", ()), ("B", [PREVIOUS])], {"A": {CURRENT}, "B": {PREVIOUS}}),
    ],
    ids=[
        "the first value is current",
        "the first value under AWSPENDING is current too",
        "the first value under a label of one's own is current too",
        "the second value moves both labels",
        "the third deprecates the first",
        "named labels leave AWSCURRENT alone",
        "a label is stolen and leaves a deprecated version",
        "AWSCURRENT among others still sets AWSPREVIOUS",
        "a label of one's own stays on the old version",
        "AWSPENDING evaporates from the version that loses AWSCURRENT",
        "a new current value takes AWSPENDING from another version",
        "and leaves that version's own labels",
        "AWSPENDING evaporates together with AWSCURRENT",
        "AWSPENDING is stolen",
        "AWSPREVIOUS can be named",
    ],
)
def test_putting_values_moves_labels(versions: Versions, puts: list[Put], expected: dict[str, set[str]]) -> None:
    """DescribeSecret shows every labelled version with its labels, and PutSecretValue answers those of the new one."""
    for letter, labels in puts:
        answer = versions.put(letter, *labels)
    assert expected == versions.labels
    assert expected[puts[-1][0]] == set(answer["VersionStages"])


def test_update_secret_with_a_value_is_a_put(versions: Versions) -> None:
    """AWSCURRENT and AWSPREVIOUS move, and the answer names the new version."""
    versions.put("A")
    versions.ids["B"] = token()
    answer = versions.api.update_secret(
        SecretId=versions.name, SecretString="w", ClientRequestToken=versions.ids["B"], Description="d"
    )
    assert versions.ids["B"] == answer["VersionId"]
    assert {"A": {PREVIOUS}, "B": {CURRENT}} == versions.labels
    assert versions.read()["SecretString"] == "w"


# --- A5: moving ----------------------------------------------------------------------------------------------------


def test_promoting_a_version_keeps_its_other_labels(versions: Versions) -> None:
    """It keeps AWSPENDING; the old one gains AWSPREVIOUS and keeps its own labels; the old AWSPREVIOUS loses it."""
    versions.put("A")
    versions.put("B", CURRENT, "mine")
    versions.put("C", PENDING)
    versions.move(CURRENT, to="C", away_from="B")
    assert {"B": {PREVIOUS, "mine"}, "C": {CURRENT, PENDING}} == versions.labels


def test_rolling_back_swaps_current_and_previous(versions: Versions) -> None:
    """The version that was AWSPREVIOUS loses that label to the one it replaces."""
    versions.put("A")
    versions.put("B")
    versions.move(CURRENT, to="A", away_from="B")
    assert {"A": {CURRENT}, "B": {PREVIOUS}} == versions.labels
    assert versions.read()["SecretString"] == "value of A"


def test_pending_evaporates_when_current_moves_on(versions: Versions) -> None:
    """A version that holds both ends with AWSPREVIOUS only."""
    versions.put("A")
    versions.put("B", CURRENT, PENDING)
    versions.move(CURRENT, to="A", away_from="B")
    assert {"A": {CURRENT}, "B": {PREVIOUS}} == versions.labels


def test_a_label_is_removed_without_a_new_home(versions: Versions) -> None:
    """Omitting MoveToVersionId is a pure removal."""
    versions.put("A", CURRENT, "mine")
    versions.move("mine", away_from="A")
    assert {"A": {CURRENT}} == versions.labels


def test_a_new_label_needs_no_version_to_remove_it_from(versions: Versions) -> None:
    """Neither does one that stays where it is."""
    versions.put("A")
    versions.move("mine", to="A")
    versions.move("mine", to="A")
    assert {"A": {CURRENT, "mine"}} == versions.labels


def test_moving_an_attached_label_needs_the_version_that_holds_it(versions: Versions) -> None:
    """Without RemoveFromVersionId AWS's text names the holder; with another version it is refused, too."""
    versions.put("A")
    versions.put("B")
    expected = (
        "InvalidParameterException",
        f"The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "
        f"{versions.ids['B']}, so you must explicitly reference that version in RemoveFromVersionId.",
    )
    assert expected == versions.refused_move(CURRENT, to="A")
    assert versions.refused_move(CURRENT, to="A", away_from="A")[0] == "InvalidParameterException"
    assert {"A": {PREVIOUS}, "B": {CURRENT}} == versions.labels


def test_current_can_never_be_removed(versions: Versions) -> None:
    """With AWS's text."""
    versions.put("A")
    expected = (
        "InvalidParameterException",
        "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.",
    )
    assert expected == versions.refused_move(CURRENT, away_from="A")
    assert {"A": {CURRENT}} == versions.labels


def test_a_label_cannot_move_to_a_version_that_is_not_there(versions: Versions) -> None:
    """With AWS's text."""
    versions.put("A")
    unknown = token()
    expected = ("InvalidParameterException", f"Not a valid version: {unknown}")
    assert expected == versions.refused_move("mine", to=unknown)
    assert expected == versions.refused_move(CURRENT, to=unknown, away_from="A")
    assert {"A": {CURRENT}} == versions.labels


def test_at_most_20_labels_over_all_versions(versions: Versions) -> None:
    """The 21st is refused with LimitExceededException, whether it is put or moved; nothing is half-written."""
    versions.put("A", *[f"label {number}" for number in range(19)])
    before = versions.labels
    assert len(before["A"]) == 20
    assert versions.refused_move("one more", to="A")[0] == "LimitExceededException"
    put = {"SecretId": versions.name, "SecretString": "w", "ClientRequestToken": token()}
    assert refusal(versions.api.put_secret_value, **put, VersionStages=["one more"])[0] == "LimitExceededException"
    assert refusal(versions.api.put_secret_value, **put)[0] == "LimitExceededException"
    assert before == versions.labels


# --- A5: reading ---------------------------------------------------------------------------------------------------


def test_a_secret_without_a_value_has_none_to_read(versions: Versions) -> None:
    """The text names the staging label AWSCURRENT."""
    expected = ("ResourceNotFoundException", NO_VALUE_FOR_LABEL.format(CURRENT))
    assert expected == refusal(versions.api.get_secret_value, SecretId=versions.name)


def test_values_are_read_by_label_version_or_both(versions: Versions) -> None:
    """AWSCURRENT by default; the answer tells the version, its labels and when it was made."""
    versions.put("A", "mine")
    versions.put("B")
    for which, letter in [
        ({}, "B"),
        ({"VersionStage": PREVIOUS}, "A"),
        ({"VersionStage": "mine"}, "A"),
        ({"VersionId": versions.ids["A"]}, "A"),
        ({"VersionId": versions.ids["A"], "VersionStage": "mine"}, "A"),
    ]:
        answer = versions.read(**which)
        assert (f"value of {letter}", versions.ids[letter]) == (answer["SecretString"], answer["VersionId"])
        assert versions.labels[letter] == set(answer["VersionStages"])
        assert "SecretBinary" not in answer
        assert {"ARN", "Name", "CreatedDate"} <= set(answer)


def test_a_version_and_a_label_must_agree(versions: Versions) -> None:
    """With AWS's text."""
    versions.put("A")
    versions.put("B")
    expected = (
        "InvalidRequestException",
        "You provided a VersionStage that is not associated to the provided VersionId.",
    )
    both = {"VersionId": versions.ids["A"], "VersionStage": CURRENT}
    assert expected == refusal(versions.api.get_secret_value, SecretId=versions.name, **both)


def test_an_unknown_label_or_version_has_no_value(versions: Versions) -> None:
    """Each has its own text."""
    versions.put("A")
    unknown = token()
    for which, text in [
        ({"VersionStage": "mine"}, NO_VALUE_FOR_LABEL.format("mine")),
        ({"VersionId": unknown}, NO_VALUE_FOR_VERSION.format(unknown)),
        ({"VersionId": unknown, "VersionStage": CURRENT}, NO_VALUE_FOR_VERSION.format(unknown)),
    ]:
        expected = ("ResourceNotFoundException", text)
        assert expected == refusal(versions.api.get_secret_value, SecretId=versions.name, **which)


def test_a_deprecated_version_is_read_by_its_id(versions: Versions) -> None:
    """It has no VersionStages."""
    for letter in "ABC":
        versions.put(letter)
    answer = versions.read(VersionId=versions.ids["A"])
    assert answer["SecretString"] == "value of A"
    assert "VersionStages" not in answer


@pytest.mark.parametrize("value", [b"\x00\xff", b"text", bytes(range(256)) * 256], ids=["odd", "text", "65,536 bytes"])
def test_binary_values_come_back_as_they_were(versions: Versions, value: bytes) -> None:
    """In SecretBinary, and without SecretString."""
    versions.api.put_secret_value(SecretId=versions.name, SecretBinary=value)
    answer = versions.read()
    assert value == answer["SecretBinary"]
    assert "SecretString" not in answer


@pytest.mark.parametrize(
    "value", ["x", " ", "\x00", "é\N{GRINNING FACE}\u2028", '{"a": "\\u0000"}', "x" * 65536, "é" * 32768],
    ids=["one", "space", "NUL", "beyond ASCII", "JSON", "65,536 characters", "65,536 bytes"],
)  # fmt: skip
def test_text_values_come_back_as_they_were(versions: Versions, value: str) -> None:
    """Every character of a SecretString is kept."""
    versions.api.put_secret_value(SecretId=versions.name, SecretString=value)
    assert value == versions.read()["SecretString"]


# --- A5: listing versions --------------------------------------------------------------------------------------------


def test_versions_are_listed_with_their_labels(versions: Versions) -> None:
    """Deprecated ones only when asked for, and without VersionStages; the default key is DefaultEncryptionKey."""
    for letter in "ABC":
        versions.put(letter)
    assert {"B", "C"} == set(versions.listed())
    listed = versions.listed(deprecated=True)
    assert {"A", "B", "C"} == set(listed)
    assert "VersionStages" not in listed["A"]
    assert (listed["B"]["VersionStages"], listed["C"]["VersionStages"]) == ([PREVIOUS], [CURRENT])
    assert {("DefaultEncryptionKey",)} == {tuple(entry["KmsKeyIds"]) for entry in listed.values()}
    answer = versions.api.list_secret_version_ids(SecretId=versions.name)
    described = versions.api.describe_secret(SecretId=versions.name)
    assert (described["ARN"], versions.name) == (answer["ARN"], answer["Name"])


def test_listing_versions_pages(versions: Versions) -> None:
    """Every version once, MaxResults at a time, with a token as long as there is more."""
    for letter in "ABCDE":
        versions.put(letter)
    seen: list[str] = []
    more: dict[str, str] = {}
    sizes = []
    while True:
        page = versions.api.list_secret_version_ids(
            SecretId=versions.name, IncludeDeprecated=True, MaxResults=2, **more
        )
        sizes.append(len(page["Versions"]))
        seen += [entry["VersionId"] for entry in page["Versions"]]
        if "NextToken" not in page:
            break
        more = {"NextToken": page["NextToken"]}
    assert sizes == [2, 2, 1]
    assert sorted(versions.ids.values()) == sorted(seen)


# --- A6: idempotency, cell by cell -----------------------------------------------------------------------------------


def used(version: str, arn: str) -> tuple[str, str]:
    return (
        "ResourceExistsException",
        f"You can't use ClientRequestToken {version} because that value is already in use for a version of secret "
        f"{arn}.",
    )


@pytest.fixture
def written(api: Any, name: str) -> tuple[str, str]:
    """A secret with the value `v`: its ARN and the token of its version."""
    version = token()
    return api.create_secret(Name=name, SecretString="v", ClientRequestToken=version)["ARN"], version


def test_create_with_an_unknown_token_finds_the_name_taken(api: Any, name: str, written: tuple[str, str]) -> None:
    """Even with the same value."""
    expected = ("ResourceExistsException", f"The operation failed because the secret {name} already exists.")
    assert expected == refusal(api.create_secret, Name=name, SecretString="v", ClientRequestToken=token())


def test_create_with_the_same_token_and_value_answers_the_secret(api: Any, name: str, written: tuple[str, str]) -> None:
    """So that a lost answer can be asked for again."""
    arn, version = written
    again = api.create_secret(Name=name, SecretString="v", ClientRequestToken=version)
    assert (arn, version) == (again["ARN"], again["VersionId"])


def test_create_with_the_same_token_and_another_value_is_refused(api: Any, name: str, written: tuple[str, str]) -> None:
    """With AWS's text."""
    arn, version = written
    assert used(version, arn) == refusal(api.create_secret, Name=name, SecretString="w", ClientRequestToken=version)


@pytest.mark.parametrize("operation", ["put_secret_value", "update_secret"])
def test_a_value_with_an_unknown_token_is_a_new_version(
    api: Any, name: str, written: tuple[str, str], operation: str
) -> None:
    """Even where the value is the same."""
    version = token()
    answer = getattr(api, operation)(SecretId=name, SecretString="v", ClientRequestToken=version)
    assert version == answer["VersionId"]
    assert {written[1]: {PREVIOUS}, version: {CURRENT}} == stages(api, name)


@pytest.mark.parametrize("operation", ["put_secret_value", "update_secret"])
def test_a_value_with_the_same_token_is_written_once(
    api: Any, name: str, written: tuple[str, str], operation: str
) -> None:
    """The second call succeeds, answers the same version, and moves no label."""
    api.put_secret_value(SecretId=name, SecretString="w")
    before = stages(api, name)
    answer = getattr(api, operation)(SecretId=name, SecretString="v", ClientRequestToken=written[1])
    assert written[1] == answer["VersionId"]
    assert before == stages(api, name)


@pytest.mark.parametrize("operation", ["put_secret_value", "update_secret"])
def test_another_value_with_the_same_token_is_refused(
    api: Any, name: str, written: tuple[str, str], operation: str
) -> None:
    """With AWS's text, be it text or binary; nothing changes."""
    arn, version = written
    call = getattr(api, operation)
    assert used(version, arn) == refusal(call, SecretId=name, SecretString="w", ClientRequestToken=version)
    assert used(version, arn) == refusal(call, SecretId=name, SecretBinary=b"v", ClientRequestToken=version)
    assert api.get_secret_value(SecretId=name)["SecretString"] == "v"


NO_TOKEN = "You must provide a ClientRequestToken value. We recommend a UUID-type value."


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("CreateSecret", {"Name": "never made", "SecretString": "v"}, "InvalidRequestException"),
        ("UpdateSecret", {"SecretString": "w"}, "InvalidRequestException"),
        ("PutSecretValue", {"SecretString": "w"}, "InvalidRequestException"),
        ("RotateSecret", {}, "InvalidParameterException"),
    ],
)
def test_raw_http_without_a_token_is_refused(
    server: Server, api: Any, name: str, operation: str, members: dict[str, str], code: str
) -> None:
    """SDKs always send one; without it the code depends on the operation, and the text does not."""
    api.create_secret(Name=name)
    answer = server.post(operation, {"SecretId": name, **members})
    assert (400, (code, NO_TOKEN)) == (answer.status, answer.error)


@pytest.mark.parametrize("length", [1, 31, 65])
@pytest.mark.parametrize("operation", ["CreateSecret", "UpdateSecret", "PutSecretValue", "RotateSecret"])
def test_a_token_of_another_length_is_refused(server: Server, api: Any, name: str, operation: str, length: int) -> None:
    """A token becomes a version's id: 32 to 64 characters."""
    api.create_secret(Name=name)
    members = {"SecretId": name, "Name": f"{name}/new", "SecretString": "v", "ClientRequestToken": "x" * length}
    answer = server.post(operation, members)
    expected = ("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
    assert (400, expected) == (answer.status, answer.error)


@pytest.mark.parametrize("length", [32, 64])
def test_a_token_need_not_be_a_uuid(api: Any, name: str, length: int) -> None:
    """Any text of 32 to 64 characters is a version's id."""
    version = "é" + "x" * (length - 1)
    assert version == api.create_secret(Name=name, SecretString="v", ClientRequestToken=version)["VersionId"]
    assert api.get_secret_value(SecretId=name, VersionId=version)["SecretString"] == "v"


# --- A3: what a value may be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["create_secret", "update_secret", "put_secret_value"])
def test_a_value_is_text_or_binary(api: Any, name: str, operation: str) -> None:
    """Both at once are refused as a parameter."""
    api.create_secret(Name=name)
    where = {"Name": f"{name}/new"} if operation == "create_secret" else {"SecretId": name}
    code, _ = refusal(getattr(api, operation), **where, SecretString="v", SecretBinary=b"v")
    assert code == "InvalidParameterException"


def test_put_needs_a_value(api: Any, name: str) -> None:
    """With AWS's text."""
    api.create_secret(Name=name)
    expected = ("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
    assert expected == refusal(api.put_secret_value, SecretId=name)


# --- many at once --------------------------------------------------------------------------------------------------


def at_once(call: Callable[[int], Any], number: int = 16) -> list[Any]:
    """What `call` gives or raises, for each number, all of them at the same time."""
    begin = threading.Barrier(number)

    def one(index: int) -> Any:
        begin.wait()
        try:
            return call(index)
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_one_name_is_created_once(api: Any, name: str) -> None:
    """Of parallel calls one succeeds, and the others find the name taken."""
    answers = at_once(lambda index: api.create_secret(Name=name, SecretString=str(index)))
    assert answers.count("ResourceExistsException") == len(answers) - 1
    (created,) = [answer for answer in answers if isinstance(answer, dict)]
    assert stages(api, name) == {created["VersionId"]: {CURRENT}}


def test_one_token_creates_once(api: Any, name: str) -> None:
    """Parallel calls with one token and one value all succeed, with one secret."""
    version = token()
    answers = at_once(lambda _: api.create_secret(Name=name, SecretString="v", ClientRequestToken=version))
    assert {(answer["ARN"], answer["VersionId"]) for answer in answers} == {
        (api.describe_secret(SecretId=name)["ARN"], version)
    }


def test_parallel_values_leave_one_current_and_one_previous(api: Any, name: str) -> None:
    """Each is a version; the last two hold the labels."""
    api.create_secret(Name=name, SecretString="first")
    answers = at_once(lambda index: api.put_secret_value(SecretId=name, SecretString=str(index)))
    held = stages(api, name)
    assert sorted(map(sorted, held.values())) == [[CURRENT], [PREVIOUS]]
    assert set(held) <= {answer["VersionId"] for answer in answers}
    listed = api.list_secret_version_ids(SecretId=name, IncludeDeprecated=True)["Versions"]
    assert len(listed) == len(answers) + 1


def test_no_version_is_removed_on_its_first_day(api: Any, name: str) -> None:
    """However many there are: each can still be read."""
    ids = [api.create_secret(Name=name, SecretString="0")["VersionId"]]
    ids += [api.put_secret_value(SecretId=name, SecretString=str(number))["VersionId"] for number in range(1, 120)]
    assert api.get_secret_value(SecretId=name, VersionId=ids[0])["SecretString"] == "0"
    first = api.list_secret_version_ids(SecretId=name, IncludeDeprecated=True)
    rest = api.list_secret_version_ids(SecretId=name, IncludeDeprecated=True, NextToken=first["NextToken"])
    assert ids == [entry["VersionId"] for entry in first["Versions"] + rest["Versions"]]
