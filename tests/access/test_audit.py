"""The audit ledger: nothing is lost in a crash, and nothing can be changed afterwards unseen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keywheel import verifier
from keywheel.access.audit import entries, merkle
from keywheel.access.audit.entries import Entry, Identity
from keywheel.access.audit.stream import AuditUnavailable, Stream, StreamTaken

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()


def entry(number: int) -> Entry:
    return Entry(
        "1.11", "2026-01-01T00:00:00Z", "test", f"Event{number}", "AwsApiCall", str(number), Identity("x"), False
    )


def opened(directory: Path, *, segment_bytes: int = 2_000) -> Stream:
    return Stream(directory, "api-1", KEY.sign, segment_bytes=segment_bytes)


def add(stream: Stream, first: int, count: int) -> None:
    for number in range(first, first + count):
        assert stream.append(partial(entries.line, entry(number))) == number


def ledger(directory: Path) -> list[str]:
    """40 entries in several segments, with two checkpoints; the checkpoints' lines."""
    stream = opened(directory)
    add(stream, 0, 25)
    stream.checkpoint("one")
    add(stream, 25, 15)
    stream.checkpoint("two")
    stream.close()
    return (directory / "api-1" / "checkpoints.jsonl").read_text().splitlines()


def problems(directory: Path, kept: list[str] | None = None) -> list[str]:
    return verifier.verify(directory, PUBLIC, kept or []).problems


def segments(directory: Path) -> list[Path]:
    return sorted((directory / "api-1").glob("[0-9]*.jsonl"))


# --- RFC 6962 ------------------------------------------------------------------------------------------------------


def test_every_entry_of_every_tree_has_a_proof_that_the_verifier_takes() -> None:
    """And no entry has that of another."""
    lines = [f"line {n}".encode() for n in range(33)]
    leaves = [merkle.leaf(line) for line in lines]
    for size in range(1, len(lines) + 1):
        root = merkle.root(leaves[:size])
        assert verifier.tree_heads(lines, {size})[size] == root.hex()
        for index in range(size):
            path = merkle.inclusion(leaves[:size], index)
            assert verifier.root_of_inclusion(lines[index], index, size, path) == root
            assert verifier.root_of_inclusion(b"another", index, size, path) != root


def test_every_tree_is_proved_to_continue_every_smaller_one() -> None:
    """And a tree with another past is not."""
    leaves = [merkle.leaf(f"line {n}".encode()) for n in range(24)]
    other = [merkle.leaf(b"forged"), *leaves[1:]]
    for new in range(1, len(leaves) + 1):
        for old in range(1, new + 1):
            path = merkle.consistency(leaves[:new], old)
            roots = merkle.root(leaves[:old]), merkle.root(leaves[:new])
            assert verifier.is_consistent(old, new, *roots, path), (old, new)
            assert not verifier.is_consistent(old, new, merkle.root(other[:old]), roots[1], path)


# --- what the verifier finds ---------------------------------------------------------------------------------------


def test_an_untouched_ledger_is_sound(tmp_path: Path) -> None:
    """Its checkpoints are among those that were kept."""
    kept = ledger(tmp_path)
    report = verifier.verify(tmp_path, PUBLIC, kept)
    assert (report.problems, report.entries, report.checkpoints, report.unsigned) == ([], 40, 2, {"api-1": 0})
    assert len(segments(tmp_path)) > 2


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    """In the entries and in the checkpoints, wherever it is."""
    ledger(tmp_path)
    for path in [*segments(tmp_path), tmp_path / "api-1" / "checkpoints.jsonl"]:
        data = path.read_bytes()
        for place in range(0, len(data), 7):
            changed = bytes([data[place] ^ 1])
            path.write_bytes(data[:place] + changed + data[place + 1 :])
            assert problems(tmp_path), f"{path.name} byte {place}"
        path.write_bytes(data)
    assert problems(tmp_path) == []


LINES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "deleted": lambda lines: lines[:3] + lines[4:],
    "the last deleted": lambda lines: lines[:-1],
    "the first deleted": lambda lines: lines[1:],
    "swapped": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "doubled": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "all deleted": lambda lines: [],
}


@pytest.mark.parametrize("what", LINES)
def test_lines_that_are_missing_or_moved_are_found(tmp_path: Path, what: str) -> None:
    """In any segment."""
    ledger(tmp_path)
    for path in segments(tmp_path):
        data = path.read_bytes()
        lines = LINES[what](data.splitlines(keepends=True))
        path.write_bytes(b"".join(lines))
        assert problems(tmp_path), path.name
        path.write_bytes(data)


def test_a_missing_segment_a_missing_stream_and_a_foreign_key_are_found(tmp_path: Path) -> None:
    """Each by itself."""
    kept = ledger(tmp_path)
    assert verifier.verify(tmp_path, Ed25519PrivateKey.generate().public_key()).problems
    for path in segments(tmp_path):
        moved = path.rename(tmp_path / "elsewhere")
        assert problems(tmp_path), path.name
        moved.rename(path)
    (tmp_path / "api-1").rename(tmp_path.parent / f"{tmp_path.name}-away")
    assert problems(tmp_path, kept) == ["stream api-1 is missing"]


def test_a_ledger_written_anew_from_some_point_is_found_by_a_checkpoint_kept_elsewhere(tmp_path: Path) -> None:
    """Whoever holds the key can sign another history, but not make it contain what was signed before."""
    kept = ledger(tmp_path / "one")
    other = opened(tmp_path / "two")
    add(other, 0, 20)
    add(other, 20, 19)
    other.append(partial(entries.line, entry(1_000)))
    other.checkpoint("two")
    other.close()
    assert problems(tmp_path / "two") == []
    assert any("not those of the kept checkpoint" in problem for problem in problems(tmp_path / "two", kept))


def test_a_ledger_cut_back_with_its_checkpoints_is_found_by_one_kept_elsewhere(tmp_path: Path) -> None:
    """What is left is consistent in itself."""
    kept = ledger(tmp_path)
    path = tmp_path / "api-1" / "checkpoints.jsonl"
    path.write_text(f"{kept[0]}\n")
    lines = b"".join(segment.read_bytes() for segment in segments(tmp_path)).splitlines(keepends=True)[:25]
    for segment in segments(tmp_path):
        segment.unlink()
    (tmp_path / "api-1" / f"{0:020d}.jsonl").write_bytes(b"".join(lines))
    assert problems(tmp_path) == []
    assert any("counts 40 entries; there are 25" in problem for problem in problems(tmp_path, kept))


# --- crashes -------------------------------------------------------------------------------------------------------


def test_a_stream_goes_on_where_it_was_left(tmp_path: Path) -> None:
    """With a checkpoint or without, with what a checkpoint remembers or without."""
    ledger(tmp_path)
    for number, spoil in enumerate((False, True)):
        if spoil:
            (tmp_path / "api-1" / "frontier.json").unlink()
        stream = opened(tmp_path)
        assert stream.size == 40 + 3 * number
        add(stream, stream.size, 3)
        stream.checkpoint("three")
        stream.close()
        assert problems(tmp_path) == []


def test_a_line_that_was_never_finished_is_cut_off(tmp_path: Path) -> None:
    """It was never answered for."""
    ledger(tmp_path)
    with segments(tmp_path)[-1].open("ab") as file:
        file.write(b'{"sequence":40,"prev')
    stream = opened(tmp_path)
    assert (stream.torn, stream.size) == (20, 40)
    add(stream, 40, 1)
    stream.checkpoint("three")
    stream.close()
    assert problems(tmp_path) == []


WRITER = """
import sys
from functools import partial
from pathlib import Path
from tests.access.test_audit import entries, entry, opened
stream = opened(Path(sys.argv[1]))
number = stream.size
while True:
    stream.append(partial(entries.line, entry(number)))
    number += 1
    print(number, flush=True)
    if number % 50 == 0:
        stream.checkpoint("some time")
"""


def test_what_was_told_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    """Kill -9 in the middle, three times."""
    told = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            told = int(line)
            if told % 170 == 169:
                os.kill(process.pid, signal.SIGKILL)
                break
        told = max([told, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
    stream = opened(tmp_path)
    assert stream.size >= told
    stream.checkpoint("the end")
    stream.close()
    assert problems(tmp_path) == []


def test_one_process_writes_to_a_stream(tmp_path: Path) -> None:
    """Another is refused."""
    stream = opened(tmp_path)
    with pytest.raises(StreamTaken):
        opened(tmp_path)
    stream.close()


# --- a full disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root may mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        for size in (4_096, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
        file.write(b"x")


def test_on_a_full_disk_what_is_under_way_is_still_told_and_nothing_more_is_begun(small_disk: Path) -> None:
    """Until there is room again; the ledger is sound throughout."""
    stream = Stream(small_disk, "api-1", KEY.sign)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    number = 0
    while stream.usable():
        add(stream, number, 1)
        number += 1
    add(stream, number, 5)  # of requests that were admitted before
    assert not stream.usable()
    with pytest.raises(AuditUnavailable):
        add(stream, stream.size, 100_000)
    filler.unlink()
    assert stream.usable()
    add(stream, stream.size, 1)
    stream.checkpoint("after")
    stream.close()
    assert problems(small_disk) == []


# --- entries -------------------------------------------------------------------------------------------------------


def test_an_entry_is_a_line_of_json_with_its_place() -> None:
    """In CloudTrail's names."""
    line = entries.line(entry(7), 3, "ab" * 32)
    record = json.loads(line)
    assert b"\n" not in line
    assert (record["sequence"], record["previousHash"], record["eventName"]) == (3, "ab" * 32, "Event7")
    assert record["userIdentity"] == {"type": "x"}
