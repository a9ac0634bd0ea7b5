"""Merkle trees of RFC 6962: the root of a growing list, and the proofs that a verifier needs. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").digest()


def leaf(entry: bytes) -> bytes:
    """The hash of an entry (section 2.1)."""
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """What must be remembered of a list to add to it: the roots of its complete subtrees, the largest first."""

    __slots__ = ("size", "subtrees")

    def __init__(self, size: int = 0, subtrees: Iterable[bytes] = ()) -> None:
        self.size = size
        self.subtrees = list(subtrees)

    def add(self, hashed: bytes) -> None:
        """Add the hash of a leaf."""
        size = self.size
        while size & 1:
            hashed = node(self.subtrees.pop(), hashed)
            size >>= 1
        self.subtrees.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        """The hash of the whole list."""
        if not self.subtrees:
            return EMPTY
        *rest, root = self.subtrees
        for subtree in reversed(rest):
            root = node(subtree, root)
        return root


def root(leaves: Sequence[bytes]) -> bytes:
    """The hash of a list of leaves' hashes."""
    frontier = Frontier()
    for hashed in leaves:
        frontier.add(hashed)
    return frontier.root()


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of the leaf at `index` (section 2.1.1), the nearest first."""
    return inclusions(leaves, [index])[0]


def inclusions(leaves: Sequence[bytes], indexes: Iterable[int]) -> list[list[bytes]]:
    """The audit paths of several leaves, for which the tree is built once: of each level, what has no pair moves up."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [node(below[place], below[place + 1]) for place in range(0, len(below) - 1, 2)]
        levels.append([*above, below[-1]] if len(below) % 2 else above)
    return [
        [level[place ^ 1] for height, level in enumerate(levels) if (place := index >> height) ^ 1 < len(level)]
        for index in indexes
    ]


def consistency(leaves: Sequence[bytes], before: int) -> list[bytes]:
    """The proof that the list of the first `before` leaves is the beginning of this one (section 2.1.2)."""
    return _subproof(leaves, before, whole=True) if 0 < before < len(leaves) else []


def _subproof(leaves: Sequence[bytes], before: int, *, whole: bool) -> list[bytes]:
    if before == len(leaves):
        return [] if whole else [root(leaves)]
    split = _split(len(leaves))
    if before <= split:
        return [*_subproof(leaves[:split], before, whole=whole), root(leaves[split:])]
    return [*_subproof(leaves[split:], before - split, whole=False), root(leaves[:split])]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
