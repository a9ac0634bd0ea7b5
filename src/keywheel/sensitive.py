"""A value that never prints itself.

`reveal()` stands beside the driver or the cipher call and nowhere else, so searching for `reveal` is the audit.
"""

from __future__ import annotations

import hmac
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T", str, bytes)


class Sensitive(Generic[T]):
    """Holds a secret `str` or `bytes`. It compares in constant time, and refuses to be printed or pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    def reveal(self) -> T:
        """The value itself. Call it where it is used, and keep no other name for the result."""
        return self._value

    def __repr__(self) -> str:
        return "Sensitive(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sensitive):
            return NotImplemented
        return hmac.compare_digest(_as_bytes(self._value), _as_bytes(other._value))

    def __hash__(self) -> NoReturn:
        raise TypeError("a sensitive value is not hashable")

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sensitive value cannot be pickled")


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
