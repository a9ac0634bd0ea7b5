"""A stream: the entries of one process, in files that only grow.

    DIR/audit/<stream>/<first sequence>.jsonl    the entries, one JSON object a line
                       checkpoints.jsonl         signed statements about them
                       frontier.json             where the last checkpoint stands, to go on quickly

Each line names the SHA-256 of the line before, and all lines are the leaves of an RFC 6962 tree. A checkpoint signs the
number of entries, the root of their tree and the hash of the last one. An entry is in the file before `append` returns.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keywheel.access.audit.merkle import Frontier, leaf
from keywheel.errors import ConfigurationError, KeywheelError

NOTHING = "0" * 64
SEGMENT_BYTES = 64 * 1024 * 1024
BALLAST_BYTES = 1024 * 1024
HEAD = "keywheel audit checkpoint 1"

Sign = Callable[[bytes], bytes]


class AuditUnavailable(KeywheelError):
    """An entry cannot be written. What cannot be audited is not served."""

    code = "InternalServiceError"
    default_hint = "Is the disk of the data directory full, or read-only? The server goes on by itself when it is not."


class StreamTaken(ConfigurationError):
    """Another process writes to this stream."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed: so many entries, with this root and this last line, at that time, after that checkpoint."""

    stream: str
    size: int
    root: str  # hexadecimal
    last: str  # hexadecimal
    time: str
    previous: str  # SHA-256 of the checkpoint's line before, hexadecimal

    def note(self) -> str:
        """The text that is signed."""
        return "\n".join([HEAD, self.stream, str(self.size), self.root, self.last, self.time, self.previous, ""])


class Stream:
    """The ledger of one process, open for appending. One process at a time; its threads may share it."""

    def __init__(self, directory: Path, name: str, sign: Sign, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open or begin a stream.

        Raises:
            StreamTaken: another process has it.
            ConfigurationError: it cannot be written.
        """
        self.name = name
        self._directory = directory / name
        self._sign = sign
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._synced = 0
        self._signed = -1
        self._full = False
        self._frontier = Frontier()
        self._last = self._before = NOTHING
        self._file, self._bytes = -1, 0
        self.torn = 0  # bytes of a line that was never finished, and so never answered for
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._guard = (self._directory / "lock").open("w")
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._recover()
            self._add_ballast()
        except BlockingIOError:
            self._guard.close()
            raise StreamTaken(f"Another process writes to {self._directory}.") from None
        except OSError as error:
            raise ConfigurationError(f"{self._directory} cannot be written: {error.strerror}.") from None

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self._frontier.size

    def append(self, encode: Callable[[int, str], bytes], *, durable: bool = False) -> int:
        """Write the entry that `encode` makes of its sequence and the hash of the entry before; the sequence.

        `durable`: it is on the disk before this returns, together with those of other threads.

        Raises:
            AuditUnavailable: it is not written.
        """
        with self._lock:
            sequence = self._frontier.size
            line = encode(sequence, self._last)
            if self._bytes + len(line) >= self._segment_bytes and self._bytes:
                self._begin_segment(sequence)
            self._write(line + b"\n")
            self._last = hashlib.sha256(line).hexdigest()
            self._frontier.add(leaf(line))
            self._bytes += len(line) + 1
        if durable:
            self._sync(sequence + 1)
        return sequence

    def usable(self) -> bool:
        """Whether an entry may be written now. Makes room for a moment's entries again, if that was used up."""
        if not self._full:
            return True
        with self._lock, suppress(OSError):
            self._add_ballast()
        return not self._full

    def checkpoint(self, time: str) -> tuple[Checkpoint, str] | None:
        """Sign what there is, once it is on the disk; the checkpoint and its line. None when nothing is new.

        Raises:
            AuditUnavailable: it cannot be written.
        """
        with self._lock:
            size, last = self._frontier.size, self._last
            frontier = Frontier(size, self._frontier.subtrees)
            if size == self._signed:
                return None
        try:
            self._sync(size)
            made = Checkpoint(self.name, size, frontier.root().hex(), last, time, self._before)
            signature = base64.b64encode(self._sign(made.note().encode())).decode()
            line = json.dumps({"note": made.note(), "signature": signature})
            with (self._directory / "checkpoints.jsonl").open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._keep(frontier, last)
        except OSError as error:
            raise AuditUnavailable(f"The audit ledger cannot be signed: {error.strerror}.") from None
        self._signed, self._before = size, hashlib.sha256(line.encode()).hexdigest()
        return made, line

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._file)
        self._guard.close()

    # --- writing

    def _write(self, line: bytes) -> None:
        try:
            self._write_whole(line)
        except OSError as error:
            self._full = True
            with suppress(OSError):  # what an admitted request still has to write fits where the ballast was
                (self._directory / "ballast").unlink()
                self._write_whole(line)
                return
            raise AuditUnavailable(f"The audit ledger cannot be written: {error.strerror}.") from None

    def _write_whole(self, line: bytes) -> None:
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, self._bytes)  # no half line is left to be taken for an entry
            raise OSError(28, "No space left on device")

    def _sync(self, size: int) -> None:
        if self._synced >= size:
            return
        with self._syncing:  # who waited here is often covered by who went before
            if self._synced >= size:
                return
            reached = self._frontier.size
            os.fdatasync(self._file)
            self._synced = reached

    def _begin_segment(self, first: int) -> None:
        os.fdatasync(self._file)
        os.close(self._file)
        self._open(self._directory / f"{first:020d}.jsonl")

    def _open(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._bytes = os.fstat(self._file).st_size
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _add_ballast(self) -> None:
        with (self._directory / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        self._full = False

    # --- recovery

    def _recover(self) -> None:
        """Find the end of the stream again, after however it was left."""
        segments = sorted(self._directory.glob("[0-9]*.jsonl"))
        self._before = self._last_checkpoint()
        self._frontier, self._last = self._kept()
        start = self._frontier.size
        for path in segments:
            following = [int(other.stem) for other in segments if int(other.stem) > int(path.stem)]
            if not following or following[0] > start:
                self._read_on(path, start, is_last=not following)
        self._signed = start if self._frontier.size == start and start else -1
        self._open(segments[-1] if segments else self._directory / f"{0:020d}.jsonl")

    def _read_on(self, path: Path, start: int, *, is_last: bool) -> None:
        data = path.read_bytes()
        whole, newline, torn = data.rpartition(b"\n")
        if torn and is_last:
            self.torn = len(torn)
            os.truncate(path, len(data) - len(torn))
        lines = whole.split(b"\n") if newline else []
        for sequence, line in enumerate(lines, int(path.stem)):
            if sequence >= start:
                self._frontier.add(leaf(line))
                self._last = hashlib.sha256(line).hexdigest()

    def _last_checkpoint(self) -> str:
        path = self._directory / "checkpoints.jsonl"
        if not path.exists():
            return NOTHING
        data = path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            os.truncate(path, len(data) - len(torn))
        return hashlib.sha256(whole.rpartition(b"\n")[2]).hexdigest() if whole else NOTHING

    def _keep(self, frontier: Frontier, last: str) -> None:
        kept = {"size": frontier.size, "subtrees": [each.hex() for each in frontier.subtrees], "last": last}
        draft = self._directory / "frontier.json.new"
        draft.write_text(json.dumps(kept), encoding="ascii")
        draft.replace(self._directory / "frontier.json")

    def _kept(self) -> tuple[Frontier, str]:
        """Where the last checkpoint stands. Whatever is wrong with that: from the beginning, which is only slower."""
        with suppress(OSError, ValueError, KeyError):
            kept = json.loads((self._directory / "frontier.json").read_text(encoding="ascii"))
            return Frontier(kept["size"], [bytes.fromhex(each) for each in kept["subtrees"]]), kept["last"]
        return Frontier(), NOTHING
