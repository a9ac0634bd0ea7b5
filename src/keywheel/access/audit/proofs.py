"""Proofs that entries stand in a ledger, made from its files: for `verifier.py`, which checks them with the key alone.

A ledger is read once, a stream at a time. What is found in a stream is proved by the earliest of its checkpoints that
counts it all, else by the newest; what comes after that is not signed yet.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keywheel.access.audit import merkle


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a ledger, and the proof that it is there; None as long as no checkpoint counts it."""

    stream: str
    line: str
    proof: dict[str, Any] | None


def find(ledger: Path, wanted: Callable[[bytes], bool]) -> Iterator[Found]:
    """The entries whose lines are wanted, stream by stream, the oldest of each first."""
    for directory in sorted(path for path in ledger.iterdir() if path.is_dir()):
        hits: dict[int, bytes] = {}
        leaves: list[bytes] = []
        for line in _lines(directory):
            if wanted(line):
                hits[len(leaves)] = line
            leaves.append(merkle.leaf(line))
        if hits:
            yield from _proved(directory, hits, leaves)


def continued(ledger: Path, old: str) -> dict[str, Any] | None:
    """The proof that a stream's newest checkpoint continues the checkpoint `old`; None when there is nothing newer.

    Raises:
        ValueError: `old` is no checkpoint.
        FileNotFoundError: the ledger has no such stream.
    """
    try:
        kept = json.loads(old)
        _, stream, size, *_ = kept["note"].split("\n")
        before = int(size)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("It is no checkpoint.") from None
    directory = ledger / stream.rpartition("/")[2]
    newest, now = _checkpoint(directory, sys.maxsize)
    if not directory.is_dir():
        raise FileNotFoundError(f"The ledger has no stream {stream}.")
    if now <= before:
        return None
    path = merkle.consistency([merkle.leaf(line) for line in _lines(directory)][:now], before)
    return {"old": kept, "path": [step.hex() for step in path], "checkpoint": newest}


def _lines(directory: Path) -> Iterator[bytes]:
    """Every whole line of a stream, the oldest first."""
    for path in sorted(directory.glob("[0-9]*.jsonl")):
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        yield from whole.split(b"\n") if newline else ()


def _proved(directory: Path, hits: dict[int, bytes], leaves: list[bytes]) -> Iterator[Found]:
    checkpoint, size = _checkpoint(directory, max(hits) + 1)
    signed = [sequence for sequence in hits if sequence < size]
    paths = dict(zip(signed, merkle.inclusions(leaves[:size], signed), strict=True))
    for sequence, line in hits.items():
        entry, proof = line.decode(), None
        if sequence in paths:
            steps = [step.hex() for step in paths[sequence]]
            proof = {"entry": entry, "sequence": sequence, "path": steps, "checkpoint": checkpoint}
        yield Found(directory.name, entry, proof)


def _checkpoint(directory: Path, size: int) -> tuple[Any, int]:
    """The earliest checkpoint that counts so many entries, else the newest; and how many it counts."""
    path = directory / "checkpoints.jsonl"
    data = path.read_text(encoding="utf-8") if path.is_file() else ""
    found: tuple[Any, int] = (None, 0)
    for line in data.rpartition("\n")[0].splitlines():
        checkpoint = json.loads(line)
        found = (checkpoint, int(checkpoint["note"].split("\n")[2]))
        if found[1] >= size:
            break
    return found
