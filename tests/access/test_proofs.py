"""Proofs made from a ledger's files: the verifier takes them, and what is not signed has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from keywheel import verifier
from keywheel.access.audit import merkle, proofs
from keywheel.access.audit.proofs import Found
from tests.access.test_audit import PUBLIC, add, opened


def find(directory: Path, *numbers: int) -> list[Found]:
    """The entries with these numbers."""
    wanted = {f'"eventID":"{number}"'.encode() for number in numbers}
    return list(proofs.find(directory, lambda line: any(one in line for one in wanted)))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """40 entries in several segments, with checkpoints after 10, 25 and 33 of them."""
    stream = opened(tmp_path)
    for first, count in ((0, 10), (10, 15), (25, 8)):
        add(stream, first, count)
        stream.checkpoint(f"after {first + count}")
    add(stream, 33, 7)
    stream.close()
    (tmp_path / "public-key.pem").touch()  # beside the streams, as in a real ledger
    return tmp_path


def test_every_signed_entry_is_proved(ledger: Path) -> None:
    """To somebody who has the key alone."""
    found = find(ledger, *range(33))
    assert len(found) == 33
    for number, one in enumerate(found):
        assert one.proof is not None
        assert f"Entry {number} of stream api-1" in verifier.verify_proof(one.proof, PUBLIC)


def test_another_entry_has_no_proof_in_it(ledger: Path) -> None:
    """Neither with the path of its neighbour, nor with its own and other words."""
    one, other = find(ledger, 7, 8)
    assert one.proof is not None
    assert other.proof is not None
    for change in ({"path": other.proof["path"]}, {"entry": other.line}, {"sequence": 8}):
        with pytest.raises(ValueError, match="does not lead"):
            verifier.verify_proof(one.proof | change, PUBLIC)


def test_the_earliest_checkpoint_that_counts_them_all_is_taken(ledger: Path) -> None:
    """So a proof is small; for one that is not counted by any, the newest proves the others."""
    for numbers, size in (((0, 9), 10), ((3, 10), 25), ((24,), 25), ((32,), 33), ((0, 39), 33)):
        proof = find(ledger, *numbers)[0].proof
        assert proof is not None
        assert proof["checkpoint"]["note"].split("\n")[2] == str(size)


def test_a_ledger_is_proved_to_continue_each_checkpoint_of_before(ledger: Path) -> None:
    """The newest has nothing to be proved by; another history does not continue it."""
    *old, newest = (ledger / "api-1" / "checkpoints.jsonl").read_text().splitlines()
    assert len(old) == 2
    for line, size in zip(old, (10, 25), strict=True):
        proof = proofs.continued(ledger, line)
        assert proof is not None
        assert f"The {size} entries of stream api-1" in verifier.verify_proof(proof, PUBLIC)
        with pytest.raises(ValueError, match="does not continue"):
            verifier.verify_proof(proof | {"path": proof["path"][::-1]}, PUBLIC)
    assert proofs.continued(ledger, newest) is None
    with pytest.raises(ValueError, match="no checkpoint"):
        proofs.continued(ledger, "{}")
    with pytest.raises(FileNotFoundError):
        proofs.continued(ledger, newest.replace("api-1", "api-2"))


def test_what_is_not_signed_is_found_without_a_proof(ledger: Path) -> None:
    """Also where there is no checkpoint yet."""
    assert [one.proof for one in find(ledger, 33, 39)] == [None, None]
    (ledger / "api-1" / "checkpoints.jsonl").unlink()
    assert [one.proof for one in find(ledger, 0)] == [None]


def test_a_line_that_is_being_written_is_not_there_yet(ledger: Path) -> None:
    """It has no end."""
    last = max((ledger / "api-1").glob("[0-9]*.jsonl"))
    with last.open("ab") as file:
        file.write(b'{"eventID":"40"')
    assert find(ledger, 40) == []
    assert len(find(ledger, 39)) == 1


@pytest.mark.parametrize("size", range(1, 40))
def test_many_paths_lead_to_the_root(size: int) -> None:
    """For every size of a tree, as the one-leaf-at-a-time definition of its root has it."""
    lines = [str(number).encode() for number in range(size)]
    leaves = [merkle.leaf(line) for line in lines]
    for index, path in enumerate(merkle.inclusions(leaves, range(size))):
        assert verifier.root_of_inclusion(lines[index], index, size, path) == merkle.root(leaves)
