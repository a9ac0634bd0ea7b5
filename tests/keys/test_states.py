"""Key state × operation: every cell of the table that the KMS Developer Guide publishes."""

from __future__ import annotations

import pytest

from keywheel.errors import AccessDenied, CallerError, UnsupportedOperation
from keywheel.keys import states
from keywheel.keys.errors import KeyDisabled, KeyInvalidState

ARN = "arn:aws:kms:eu-west-1:111111111111:key/01234567-89ab-cdef-0123-456789abcdef"
COLUMNS = [
    ("Enabled",),
    ("Disabled",),
    ("PendingDeletion", "PendingReplicaDeletion"),
    ("PendingImport",),
    ("Unavailable",),
    ("Creating",),
    ("Updating",),
]
# The table as it is published: "ok", or the number of a note. A dash is a state that no such key has.
PUBLISHED = """
Encrypt                         | ok | 1   | 3   | 5   | 11 | 14 | ok
Decrypt                         | ok | 1   | 3   | 5   | 11 | 14 | ok
ReEncrypt                       | ok | 1   | 3   | 5   | 11 | 14 | ok
GenerateDataKey                 | ok | 1   | 3   | 5   | 11 | 14 | ok
GenerateDataKeyWithoutPlaintext | ok | 1   | 3   | 5   | 11 | 14 | ok
GenerateDataKeyPair             | ok | 1   | 3   | 5   | 11 | 14 | ok
GenerateDataKeyPairWithoutPlaintext | ok | 1 | 3 | 5   | 11 | 14 | ok
Sign                            | ok | 1   | 3   | 5   | -  | 14 | ok
Verify                          | ok | 1   | 3   | 5   | -  | 14 | ok
GetPublicKey                    | ok | 1   | 3   | 5   | -  | 14 | ok
GenerateMac                     | ok | 1   | 3   | 5   | -  | 14 | ok
VerifyMac                       | ok | 1   | 3   | 5   | -  | 14 | ok
DeriveSharedSecret              | ok | 1   | 3   | 5   | -  | 14 | ok
Encapsulate                     | ok | 1   | 3   | 5   | -  | 14 | ok
Decapsulate                     | ok | 1   | 3   | 5   | -  | 14 | ok
CreateGrant                     | ok | 1   | 3   | 5   | ok | 14 | ok
DescribeKey                     | ok | ok  | ok  | ok  | ok | ok | ok
GetKeyPolicy                    | ok | ok  | ok  | ok  | ok | ok | ok
PutKeyPolicy                    | ok | ok  | ok  | ok  | ok | ok | ok
ListAliases                     | ok | ok  | ok  | ok  | ok | ok | ok
ListGrants                      | ok | ok  | ok  | ok  | ok | ok | ok
ListKeyPolicies                 | ok | ok  | ok  | ok  | ok | ok | ok
ListResourceTags                | ok | ok  | ok  | ok  | ok | ok | ok
RetireGrant                     | ok | ok  | ok  | ok  | ok | ok | ok
RevokeGrant                     | ok | ok  | ok  | ok  | ok | ok | ok
DeleteAlias                     | ok | ok  | ok  | ok  | ok | ok | ok
CreateAlias                     | ok | ok  | 3   | ok  | ok | ok | ok
UpdateAlias                     | ok | ok  | 3   | ok  | ok | ok | ok
EnableKey                       | ok | ok  | 3   | 5   | ok | 14 | 15
DisableKey                      | ok | ok  | 3   | 5   | ok | 14 | 15
EnableKeyRotation               | 7  | 1/7 | 3/7 | 6   | 7  | 14/7 | 7
DisableKeyRotation              | 7  | 1/7 | 3/7 | 6   | 7  | 14/7 | 7
GetKeyRotationStatus            | 7  | 7   | 7   | 6   | 7  | 7  | 7
ScheduleKeyDeletion             | ok | ok  | 3   | ok  | ok | ok | 15
CancelKeyDeletion               | 4  | 4   | ok  | 4   | 4  | 4  | 4
TagResource                     | ok | ok  | 3   | ok  | ok | ok | ok
UntagResource                   | ok | ok  | 3   | ok  | ok | ok | ok
UpdateKeyDescription            | ok | ok  | 3   | ok  | ok | ok | ok
GetParametersForImport          | 9  | 9   | 8/9 | 9   | 9  | 14/9 | 15/9
ImportKeyMaterial               | 9  | 9   | 8/9 | 9   | 9  | 14/9 | 9
DeleteImportedKeyMaterial       | 9  | 9   | 9   | 9   | -  | 14/9 | 15/9
ReplicateKey                    | ok | 1   | 3   | 5   | -  | 14 | 15
UpdatePrimaryRegion             | ok | 1   | 3   | 5   | -  | 14 | ok
"""
# Operations that the published table leaves out.
OURS = """
RotateKeyOnDemand               | ok | 1   | 3   | 5   | 11 | 14 | ok
ListKeyRotations                | ok | ok  | ok  | ok  | ok | ok | ok
GetKeyLastUsage                 | ok | ok  | ok  | ok  | ok | ok | ok
"""
Outcome = tuple[type[CallerError], str] | None
NOTES: dict[str, tuple[type[CallerError], str]] = {
    "1": (KeyDisabled, "is disabled."),
    "3": (KeyInvalidState, "is pending deletion."),
    "4": (KeyInvalidState, "is not pending deletion."),
    "5": (KeyInvalidState, "is pending import."),
    "8": (KeyInvalidState, "is pending deletion."),
    "11": (KeyInvalidState, "is unavailable."),
    "14": (KeyInvalidState, "is creating."),
    "15": (KeyInvalidState, "is updating."),
}
ORIGINS = ["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"]


def of_origin(origin: str) -> Outcome:
    return UnsupportedOperation, f"origin is {origin} which is not valid for this operation."


def cells() -> list[tuple[str, str, str, Outcome]]:
    """Operation, state, origin, and what is to happen."""
    found = []
    for line in filter(None, (PUBLISHED + OURS).splitlines()):
        operation, *row = (part.strip() for part in line.split("|"))
        for names, cell in zip(COLUMNS, row, strict=True):
            for state in names:
                found += [(operation, state, origin, outcome(cell, state, origin)) for origin in ORIGINS if cell != "-"]
    return found


def outcome(cell: str, state: str, origin: str) -> Outcome:
    """What the notes of a cell say about a key of this origin."""
    notes = set(cell.split("/"))
    if "6" in notes:  # a key that waits for an import is one of origin EXTERNAL
        return of_origin(origin) if origin != "AWS_KMS" else None
    if "7" in notes and origin != "AWS_KMS":
        return of_origin(origin)
    if "9" in notes and origin != "EXTERNAL":
        return of_origin(origin)
    said = notes - {"ok", "7", "9"}
    if not said:
        return None
    error, text = NOTES[said.pop()]
    if state == "PendingReplicaDeletion":
        text = text.replace("pending deletion", "pending replica deletion")
    return error, text


LINES = ("RotateKeyOnDemand", "ListKeyRotations")
CELLS = [
    (operation, state, origin, of_origin(origin) if operation in LINES and origin not in ORIGINS[:2] else expected)
    for operation, state, origin, expected in cells()
]


@pytest.mark.parametrize(("operation", "state", "origin", "expected"), CELLS)
def test_a_cell_of_the_table(operation: str, state: str, origin: str, expected: Outcome) -> None:
    """What is refused is refused with the published error and text; everything else is allowed."""
    if expected is None:
        states.check(operation, state, origin, ARN)
        assert states.refusal(operation, state, origin) is None
        return
    error, text = expected
    with pytest.raises(error) as caught:
        states.check(operation, state, origin, ARN)
    assert (type(caught.value), caught.value.message) == (error, f"{ARN} {text}")


def test_the_table_is_whole() -> None:
    """Each operation of the table is tested in each of the eight states."""
    assert {operation for operation, *_ in CELLS} == set(states.TABLE)
    assert {state for _, state, *_ in CELLS} == set(states.STATES)


def test_an_operation_that_is_not_in_the_table_is_a_defect() -> None:
    """It is not allowed by chance."""
    with pytest.raises(KeyError):
        states.check("Destroy", "Disabled", "AWS_KMS", ARN)


def test_an_aws_managed_key_is_not_its_accounts_to_change() -> None:
    """The account's own keys are."""
    states.require_customer("CUSTOMER", ARN)
    with pytest.raises(AccessDenied, match=f"{ARN} is an AWS managed key"):
        states.require_customer("AWS", ARN)
