"""The root keys that a process knows. One of them wraps; each of them opens what it wrapped.

There is more than one only while the root key is rotated. Which one wraps is what the database says: see `root`. What
was wrapped does not say by which key: it is authenticated, so trying tells for certain.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from threading import Lock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keywheel.db.statement import Tx
from keywheel.errors import KeyStoreError
from keywheel.keys.envelope import NONCE
from keywheel.keys.root import rows
from keywheel.sensitive import Sensitive

CHECK = "root-key-check"
"""The row that ties a database to a root key: only that one opens it."""
NAME = "root-key-id"
"""The row that says which one that is, to a person."""


def root_key_id(key: Sensitive[bytes]) -> str:
    """What a root key is called. It tells nothing of the key."""
    return hashlib.sha256(b"keywheel root key " + key.reveal()).hexdigest()[:16]


class RootRing:
    """Root keys. `news` gives those that have come since it was last asked, and nothing when none have."""

    def __init__(
        self, keys: Sequence[Sensitive[bytes]], news: Callable[[], Sequence[Sensitive[bytes]]] | None = None
    ) -> None:
        self._ciphers = {root_key_id(key): AESGCM(key.reveal()) for key in keys}
        self._news = news
        self._lock = Lock()
        self._tie = b""  # as it was when the current key was chosen by it
        self.current = next(iter(self._ciphers))

    def __repr__(self) -> str:
        return f"RootRing({', '.join(self._ciphers)})"

    @property
    def ids(self) -> frozenset[str]:
        """What the keys are called."""
        return frozenset(self._ciphers)

    def look_again(self) -> bool:
        """Whether there is a key now that was not known before.

        A key is never forgotten: what it wrapped may be in the hand of another thread.
        """
        if self._news is None:
            return False
        with self._lock:
            found = {root_key_id(key): key for key in self._news()}
            new = {name: AESGCM(key.reveal()) for name, key in found.items() if name not in self._ciphers}
            self._ciphers = {**self._ciphers, **new}
        return bool(new)

    # --- which key wraps

    def follow(self, tx: Tx, tie: bytes) -> None:
        """Wrap with the root key that opens the database's tie.

        Raises:
            KeyStoreError: it is not known here.
        """
        if tie == self._tie:
            return
        found = self.opened(tie, CHECK.encode())
        if found is None and self.look_again():
            found = self.opened(tie, CHECK.encode())
        if found is None:
            raise KeyStoreError("The root key does not open this database.", hint=self._needed(tx))
        self.current = found[1]
        self._tie = tie

    def hold(self, tx: Tx) -> None:
        """Wrap with the root key that the database is tied to, and let that be so until the transaction ends.

        For every transaction that writes something wrapped.

        Raises:
            KeyStoreError: as by `follow`.
        """
        row = rows.hold.first(tx, row_name=CHECK)
        if row is not None:
            self.follow(tx, bytes(row[0]))

    def _needed(self, tx: Tx) -> str:
        row = rows.value.first(tx, row_name=NAME)
        given = ", ".join(sorted(self._ciphers))
        if row is None:
            return f"What was given is root key {given}. Name the right one's file with --root-key-file."
        needed = bytes(row[0]).decode()
        return f"It needs root key {needed}, and was given {given}. Name the right one's file with --root-key-file."

    # --- wrapping

    def wrap(self, material: bytes, label: bytes, *, by: str | None = None) -> bytes:
        """`material` under the current root key, or `by` another."""
        nonce = os.urandom(NONCE)
        return nonce + self._ciphers[by or self.current].encrypt(nonce, material, label)

    def opened(self, wrapped: bytes, label: bytes) -> tuple[bytes, str] | None:
        """What `wrap` was given, and the id of the key that wrapped it; None when it is none of these."""
        ciphers, first = self._ciphers, self.current
        for name in (first, *(name for name in ciphers if name != first)):
            try:
                return ciphers[name].decrypt(wrapped[:NONCE], wrapped[NONCE:], label), name
            except (InvalidTag, ValueError):  # ValueError: too short for a nonce
                continue
        return None

    def unwrap(self, wrapped: bytes, label: bytes) -> bytes:
        """What `wrap` was given, by whichever key. Where none of them opens it, one that has come since is tried.

        Raises:
            KeyStoreError: none of them wrapped it.
        """
        found = self.opened(wrapped, label)
        if found is None and self.look_again():
            found = self.opened(wrapped, label)
        if found is None:
            raise KeyStoreError("The root key does not open this database.")
        return found[0]

    def renewed(self, wrapped: bytes, label: bytes) -> bytes | None:
        """The same under the current key; None when it is under it already, or under none of these."""
        found = self.opened(wrapped, label)
        if found is None or found[1] == self.current:
            return None
        return self.wrap(found[0], label)
