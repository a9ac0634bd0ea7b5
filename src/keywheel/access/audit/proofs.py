"""Proofs that entries stand in a ledger, made from its files: for `verifier.py`, which checks them with the key alone.

A ledger is read once, a stream at a time. What is found in a stream is proved by the earliest of its checkpoints that
counts it all, else by the newest; what comes after that is not signed yet.
"""

from __future__ import annotations

import json
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
        for path in sorted(directory.glob("[0-9]*.jsonl")):
            whole, newline, _ = path.read_bytes().rpartition(b"\n")
            for line in whole.split(b"\n") if newline else ():
                if wanted(line):
                    hits[len(leaves)] = line
                leaves.append(merkle.leaf(line))
        if hits:
            yield from _proved(directory, hits, leaves)


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
