"""What every reader and writer knows of the secrets that are written by hand: numbers that count up."""

from __future__ import annotations

import threading


class Register:
    """The numbers that were written to each secret, and whether that was answered.

    A write without an answer may be done later, or never: its number may be read from then on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[str, int] = {}
        self._answered: dict[str, int] = {}
        self._doubtful: dict[str, set[int]] = {}

    def begin(self, secret: str) -> int:
        """The number to be written next."""
        with self._lock:
            number = self._next.get(secret, 0) + 1
            self._next[secret] = number
            self._doubtful.setdefault(secret, set()).add(number)
        return number

    def answered(self, secret: str, number: int) -> None:
        """It is written."""
        with self._lock:
            self._answered[secret] = number
            self._doubtful[secret].discard(number)

    def refused(self, secret: str, number: int) -> None:
        """It was refused, and is not written."""
        with self._lock:
            self._doubtful[secret].discard(number)

    def least(self, secret: str) -> int:
        """What a read that begins now must see, or something newer."""
        with self._lock:
            return self._answered.get(secret, 0)

    def allows(self, secret: str, number: int, least: int) -> bool:
        """Whether a read that began at `least` may see this number."""
        with self._lock:
            return least <= number <= self._next.get(secret, 0) or number in self._doubtful.get(secret, ())

    @property
    def written(self) -> list[str]:
        """The secrets that were written to."""
        with self._lock:
            return list(self._next)
