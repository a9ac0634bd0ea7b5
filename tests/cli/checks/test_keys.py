"""What is said of key stores, of rotations behind aliases and of the root key's rotation, at every state."""

from __future__ import annotations

import pytest

from keywheel.arn import Scope
from keywheel.cli.checks import keys, root
from keywheel.cli.checks.finding import Grade
from keywheel.db.statement import Tx
from keywheel.keys.custom import rows
from keywheel.keys.custom.states import CONNECTED, DISCONNECTED, FAILED
from keywheel.keys.root.rotation import Rotation as RootKeyRotation
from keywheel.rotation.keys.machine import Failure, Rotation, Step
from keywheel.rotation.keys.rows import Entry
from keywheel.rotation.keys.rules import Rules
from keywheel.server import House

SCOPE = Scope("123456789012", "us-east-1")
NOW = 1_800_000_000.0
FAILURE = Failure(Step.CREATE, "KeyUnavailable", "The token is away.")


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (Rotation(), None),
        (Rotation(due=NOW + 60, wake_at=NOW + 60), None),
        (Rotation(due=NOW - 60, wake_at=NOW - 60), None),
        (Rotation(due=NOW - 600, wake_at=NOW - 600), (Grade.FAILED, "not begun")),
        (Rotation(step=Step.ANNOUNCE, wake_at=NOW + 3600), None),
        (Rotation(step=Step.ANNOUNCE, wake_at=NOW - 3600), (Grade.FAILED, "at announce")),
        (Rotation(step=Step.CREATE, failure=FAILURE, wake_at=NOW + 60), (Grade.WARNING, "The token is away.")),
        (Rotation(failure=FAILURE, wake_at=NOW + 60), (Grade.FAILED, "Next try")),
        (Rotation(failure=FAILURE), (Grade.FAILED, "It is not tried again")),
    ],
)
def test_a_rotation_is_judged_by_its_state(rotation: Rotation, expected: tuple[Grade, str] | None) -> None:
    """What waits for its time is well; what is late, or failed, is not."""
    finding = keys.judge(Entry(SCOPE, "alias/k", 0.0, Rules(), rotation, 1), NOW)
    if expected is None:
        assert finding is None
    else:
        assert finding is not None
        assert finding.grade is expected[0]
        assert expected[1] in finding.detail


@pytest.mark.parametrize(
    ("state", "late", "next_file", "expected"),
    [
        (None, [], None, (Grade.OK, "never")),
        (None, [], "root.key.next", (Grade.WARNING, "no rotation was begun")),
        (RootKeyRotation("a", "b", "spread", NOW), ["api-1"], "root.key.next", (Grade.WARNING, "waits for: api-1")),
        (RootKeyRotation("a", "b", "rewrap", NOW), [], None, (Grade.WARNING, "is not done")),
        (RootKeyRotation("a", "b", "rewrap", NOW, NOW), [], None, (Grade.OK, "done: b")),
        (
            RootKeyRotation("a", "b", "rewrap", NOW, NOW),
            [],
            "root.key.next",
            (Grade.WARNING, "has not taken"),
        ),
        (RootKeyRotation("z", "a", "rewrap", NOW, NOW), [], "root.key.next", (Grade.WARNING, "no rotation was begun")),
    ],
)
def test_the_root_keys_rotation_is_judged_by_its_state(
    state: RootKeyRotation | None, late: list[str], next_file: str | None, expected: tuple[Grade, str]
) -> None:
    """Half done, or not begun with the file there, is a warning."""
    finding = root.judge(state, late, current="b", next_file=next_file)
    assert finding.grade is expected[0]
    assert expected[1] in finding.detail


def test_a_key_store_that_is_not_connected_is_found(house: House) -> None:
    """One that was disconnected is a warning; one that could not be connected is a failure, with AWS's code."""
    assert [finding.grade for finding in keys.stores(house, SCOPE)] == [Grade.OK]

    def work(tx: Tx) -> None:
        for name, state, error in (("a", CONNECTED, None), ("b", DISCONNECTED, None), ("c", FAILED, "USER_NOT_FOUND")):
            store = rows.CustomKeyStore(
                f"cks-{name}",
                SCOPE.account,
                SCOPE.region,
                name,
                "AWS_CLOUDHSM",
                f"cluster-{name}",
                None,
                "{}",
                b"",
                state,
                error,
                1,
                NOW,
            )
            columns = store._asdict()
            columns["proxy"] = columns.pop("proxy_json")
            rows.insert_store.run(tx, **columns)

    house.rooms.database.write(work)
    found = list(keys.stores(house, SCOPE))
    assert [finding.grade for finding in found] == [Grade.OK, Grade.WARNING, Grade.FAILED]
    assert "USER_NOT_FOUND" in found[2].detail
    assert [finding.grade for finding in keys.stores(house, Scope("123456789012", "eu-west-1"))] == [Grade.OK]
