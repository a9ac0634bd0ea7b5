"""Verifies an audit ledger, offline: `python verifier.py DIRECTORY --key PUBLIC.pem [--checkpoint FILE …]`.

With `--proof` or `--evidence` it verifies a file that `keywheel audit prove` or `keywheel evidence` made.

This file stands alone. It needs Python and `cryptography`, shares no code with the server that wrote the ledger, and
may be copied to wherever an auditor trusts.

A ledger is a directory with a directory for each stream. It is sound when every line names the hash of the line before,
the sequence has no gap, every checkpoint is signed, names the checkpoint before it, and has the root of the lines that
it counts. A checkpoint that was kept elsewhere (`--checkpoint`) must be among those of the ledger's history: a ledger
that was cut back, or written anew from some point, has another.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

HEAD = "keywheel audit checkpoint 1"
EVIDENCE_HEAD = b"keywheel evidence 1\n"
NOTHING = "0" * 64


@dataclass
class Report:
    """What was found in a ledger."""

    streams: int = 0
    entries: int = 0
    checkpoints: int = 0
    unsigned: dict[str, int] = field(default_factory=dict)  # entries behind the last checkpoint, by stream
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Note:
    """A signed statement."""

    stream: str
    size: int
    root: str
    last: str
    time: str
    previous: str


# --- RFC 6962 --------------------------------------------------------------------------------------------------------


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tree_heads(lines: Iterable[bytes], sizes: set[int]) -> dict[int, str]:
    """The root of the first n lines, for every n in `sizes` that is reached."""
    stack: list[tuple[int, bytes]] = []
    heads = {0: _sha(b"").hex()} if 0 in sizes else {}
    for count, line in enumerate(lines, 1):
        height, hashed = 0, _sha(b"\0" + line)
        while stack and stack[-1][0] == height:
            hashed = _sha(b"\1" + stack.pop()[1] + hashed)
            height += 1
        stack.append((height, hashed))
        if count in sizes:
            head = stack[-1][1]
            for _, left in reversed(stack[:-1]):
                head = _sha(b"\1" + left + head)
            heads[count] = head.hex()
    return heads


def root_of_inclusion(line: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """The root that an audit path leads to (RFC 9162, 2.1.3.2); None when the path does not fit the tree."""
    if not 0 <= index < size:
        return None
    place, last, hashed = index, size - 1, _sha(b"\0" + line)
    for step in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            hashed = _sha(b"\1" + step + hashed)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            hashed = _sha(b"\1" + hashed + step)
        place, last = place >> 1, last >> 1
    return hashed if last == 0 else None


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: list[bytes]) -> bool:
    """Whether a proof shows that the tree of size `old` is the beginning of that of size `new` (RFC 9162, 2.1.4.2)."""
    if old == new:
        return old_root == new_root and not path
    if not 0 < old < new or not path:
        return False
    steps = [old_root, *path] if old & (old - 1) == 0 else path
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = _sha(b"\1" + step + first), _sha(b"\1" + step + second)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            second = _sha(b"\1" + second + step)
        place, last = place >> 1, last >> 1
    return first == old_root and second == new_root and last == 0


# --- checkpoints -----------------------------------------------------------------------------------------------------


def read_note(line: str, key: Ed25519PublicKey) -> Note:
    """A checkpoint's statement.

    Raises:
        ValueError: it is not signed by `key`, or is none.
    """
    try:
        record = json.loads(line)
        note = record["note"]
        signature = base64.b64decode(record["signature"], validate=True)
        canonical = json.dumps({"note": note, "signature": base64.b64encode(signature).decode()})
        key.verify(signature, note.encode())
        head, stream, size, root, last, time, previous, end = note.split("\n")
    except InvalidSignature:
        raise ValueError("its signature is not of this key") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("it is not a checkpoint") from None
    if head != HEAD or end or line != canonical:
        raise ValueError("it is a checkpoint of another kind")
    return Note(stream, int(size), root, last, time, previous)


# --- a ledger --------------------------------------------------------------------------------------------------------


def verify(directory: Path, key: Ed25519PublicKey, kept: Iterable[str] = ()) -> Report:
    """Verify every stream of a ledger, and that each checkpoint in `kept` belongs to it."""
    report = Report()
    witnesses: dict[str, list[Note]] = {}
    for line in kept:
        try:
            note = read_note(line, key)
        except ValueError as error:
            report.problems.append(f"a checkpoint that was kept: {error}")
            continue
        witnesses.setdefault(note.stream, []).append(note)
    streams = sorted(path.name for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    report.problems += [f"stream {name} is missing" for name in sorted(witnesses.keys() - set(streams))]
    for name in streams:
        report.streams += 1
        _verify_stream(directory / name, key, witnesses.get(name, []), report)
    return report


def _verify_stream(directory: Path, key: Ed25519PublicKey, kept: list[Note], report: Report) -> None:
    name, problems = directory.name, report.problems
    notes = _notes(directory, key, problems)  # first: the ledger may grow meanwhile
    lines = _lines(directory, problems)
    report.entries += len(lines)
    report.checkpoints += len(notes)
    _verify_chain(name, lines, problems)
    heads = tree_heads(lines, {note.size for note in [*notes, *kept]})
    for what, note in [*(("checkpoint", note) for note in notes), *(("kept checkpoint", note) for note in kept)]:
        if note.size > len(lines):
            problems.append(f"{name}: {what} of {note.time} counts {note.size} entries; there are {len(lines)}")
        elif heads[note.size] != note.root:
            problems.append(f"{name}: the first {note.size} entries are not those of the {what} of {note.time}")
    last = max((note.size for note in [*notes, *kept]), default=0)
    report.unsigned[name] = max(0, len(lines) - last)


def _lines(directory: Path, problems: list[str]) -> list[bytes]:
    lines: list[bytes] = []
    paths = sorted(directory.glob("[0-9]*.jsonl"))
    for path in paths:
        if int(path.stem) != len(lines):
            problems.append(f"{directory.name}: segment {path.name} begins at {int(path.stem)}, not at {len(lines)}")
        data = path.read_bytes()
        whole, newline, rest = data.rpartition(b"\n")
        if rest and path != paths[-1]:  # at the very end it may be in the middle of being written
            problems.append(f"{directory.name}: segment {path.name} ends within a line")
        lines += whole.split(b"\n") if newline else []
    return lines


def _verify_chain(name: str, lines: list[bytes], problems: list[str]) -> None:
    previous = NOTHING
    for sequence, line in enumerate(lines):
        try:
            entry: dict[str, Any] = json.loads(line)
            place = (entry["sequence"], entry["previousHash"])
        except (ValueError, KeyError, TypeError):
            problems.append(f"{name}: entry {sequence} is not an entry")
        else:
            if place != (sequence, previous):
                problems.append(f"{name}: entry {sequence} does not follow the one before it")
        previous = hashlib.sha256(line).hexdigest()


def _notes(directory: Path, key: Ed25519PublicKey, problems: list[str]) -> list[Note]:
    path = directory / "checkpoints.jsonl"
    data = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    notes, previous, size = [], NOTHING, 0
    for number, line in enumerate(data.removesuffix("\n").split("\n") if data else []):
        try:
            note = read_note(line, key)
        except ValueError as error:
            problems.append(f"{directory.name}: checkpoint {number}: {error}")
            continue
        if note.stream != directory.name:
            problems.append(f"{directory.name}: checkpoint {number} is of stream {note.stream}")
        if note.previous != previous or note.size < size:
            problems.append(f"{directory.name}: checkpoint {number} does not follow the one before it")
        previous, size = hashlib.sha256(line.encode()).hexdigest(), note.size
        notes.append(note)
    return notes


# --- proofs ----------------------------------------------------------------------------------------------------------


def verify_proof(proof: dict[str, Any], key: Ed25519PublicKey) -> str:
    """What a proof proves, in a sentence.

    Raises:
        ValueError: nothing.
    """
    note = read_note(json.dumps(proof["checkpoint"]), key)
    path = [bytes.fromhex(step) for step in proof["path"]]
    if "entry" in proof:
        found = root_of_inclusion(proof["entry"].encode(), proof["sequence"], note.size, path)
        if found is None or found.hex() != note.root:
            raise ValueError("the path does not lead from the entry to the checkpoint's root")
        return f"Entry {proof['sequence']} of stream {note.stream} is one of the {note.size} signed at {note.time}."
    old = read_note(json.dumps(proof["old"]), key)
    roots = bytes.fromhex(old.root), bytes.fromhex(note.root)
    if old.stream != note.stream or not is_consistent(old.size, note.size, *roots, path):
        raise ValueError("the later checkpoint does not continue the earlier one")
    return f"The {old.size} entries of stream {note.stream} signed at {old.time} are the first of {note.size}."


# --- the evidence of a rotation --------------------------------------------------------------------------------------


def verify_evidence(document: dict[str, Any], key: Ed25519PublicKey) -> str:
    """What the evidence of a rotation proves, in a sentence. The verdicts beside it are not signed: they follow.

    Raises:
        ValueError: its statement is not signed, a proof does not hold, or the statement tells another story.
    """
    stated = document["statement"]
    signed = EVIDENCE_HEAD + json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()
    try:
        key.verify(base64.b64decode(document["signature"], validate=True), signed)
    except InvalidSignature:
        raise ValueError("the statement is not signed by this key") from None
    proved: dict[str, dict[str, Any]] = {}
    for proof in document["ledger"]["proofs"]:
        verify_proof(proof, key)
        entry = json.loads(proof["entry"])
        proved[entry["eventID"]] = entry
    events = {event["event_id"]: event for event in stated["events"]}
    for number, entry in proved.items():
        if entry["eventType"] == "AwsServiceEvent" and number not in events:
            raise ValueError(f"the statement leaves entry {number} out")
        if number in events and not _tells_of(entry, events[number], stated["secret"]["arn"]):
            raise ValueError(f"the statement tells another story of event {number} than the ledger")
    count = len(proved.keys() & events.keys())
    rotation = stated["rotation"]
    return (
        f"Rotation {rotation['version']} of {stated['secret']['arn']}: {rotation['outcome']}. "
        f"The statement is signed; {count} of its {len(events)} events are proved to stand in the ledger."
    )


def _tells_of(entry: dict[str, Any], event: dict[str, Any], arn: str) -> bool:
    """Whether an entry of the ledger is about this event, and says the same."""
    told = {
        "SecretArn": arn,
        "VersionId": event["version"],
        "Step": event["step"],
        "Attempt": event["attempt"],
        "Epoch": event["epoch"],
        "Reason": event["reason"],
        **event["detail"],
    }
    return bool(
        entry["eventName"] == event["event"]
        and entry.get("errorCode") == event["code"]
        and entry["eventTime"] == f"{event['at'][:19]}Z"
        and entry["additionalEventData"] == {name: value for name, value in told.items() if value is not None}
    )


def load_key(path: Path) -> Ed25519PublicKey:
    """An Ed25519 public key in PEM.

    Raises:
        ValueError: it is none.
    """
    return read_key(path.read_bytes())


def read_key(pem: bytes) -> Ed25519PublicKey:
    """An Ed25519 public key from its PEM.

    Raises:
        ValueError: it is none.
    """
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is no Ed25519 key")  # noqa: TRY004 - the text is wrong, not the argument's type
    return key


def main(arguments: list[str] | None = None) -> int:
    """Verify; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description="Verify an audit ledger of keywheel's, offline.")
    parser.add_argument("directory", type=Path, nargs="?", help="the ledger: a directory with one for each stream")
    parser.add_argument("--key", type=Path, required=True, help="the public key (PEM), as kept by who verifies")
    parser.add_argument("--checkpoint", type=Path, action="append", default=[], help="checkpoints kept elsewhere")
    parser.add_argument("--proof", type=Path, help="verify this proof instead of a ledger")
    parser.add_argument("--evidence", type=Path, help="verify the evidence of rotations instead of a ledger")
    given = parser.parse_args(arguments)
    key = load_key(given.key)
    if given.proof or given.evidence:
        return _verify_file(given.proof, given.evidence, key)
    if given.directory is None:
        parser.error("name the ledger's directory, a --proof or an --evidence")
    kept = [line for path in given.checkpoint for line in path.read_text(encoding="utf-8").splitlines() if line]
    report = verify(given.directory, key, kept)
    for line in summary(report):
        print(line)
    return 1 if report.problems else 0


def _verify_file(proof: Path | None, evidence: Path | None, key: Ed25519PublicKey) -> int:
    try:
        if proof is not None:
            print(verify_proof(json.loads(proof.read_text(encoding="utf-8")), key))
        if evidence is not None:
            document = json.loads(evidence.read_text(encoding="utf-8"))
            for one in document.get("rotations", [document]):
                print(verify_evidence(one, key))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"It proves nothing: {error}.")
        return 1
    return 0


def summary(report: Report) -> list[str]:
    """A report for a person."""
    lines = [f"{report.streams} streams, {report.entries} entries, {report.checkpoints} checkpoints."]
    lines += [f"{count} entries of {name} come after its last checkpoint." for name, count in
              sorted(report.unsigned.items()) if count]  # fmt: skip
    lines += [f"WRONG  {problem}" for problem in report.problems]
    return [*lines, "The ledger is NOT sound." if report.problems else "The ledger is sound."]


if __name__ == "__main__":
    sys.exit(main())
