"""What is explored: the protocol with each kind of target, what is left of it without a barrier, and its mutants."""

from __future__ import annotations

from tests.protocol.model import Barrier, Kind, Rules

_TURNS = {Kind.ALTERNATING_USERS: 3}  # two rotations later the same user is set again

PROTOCOL = {
    f"{kind}, {barrier}": Rules(kind, barrier, rotations=_TURNS.get(kind, 2))
    for kind in Kind
    for barrier in (Barrier.EPOCH, Barrier.DEADLINE)
} | {
    "single user, old password": Rules(Kind.SINGLE_USER, Barrier.OLD_PASSWORD),
    "single user, epoch, somebody changes the target": Rules(Kind.SINGLE_USER, drift=True),
}
"""Everything holds."""

LARGER = {f"{kind}, epoch, 3 rotations": Rules(kind, rotations=3) for kind in Kind if kind not in _TURNS}
"""The same for one rotation more; explored on demand."""

WITHOUT_BARRIER = {
    f"{kind}, none": (Rules(kind, Barrier.NONE, rotations=_TURNS.get(kind, 2)), broken)
    for kind, broken in {
        Kind.SINGLE_USER: {"I2", "I4"},
        Kind.DUAL_PASSWORD: {"I2", "I3", "I4"},
        Kind.ALTERNATING_USERS: {"I3", "I4"},
        Kind.OVERLAPPING_KEYS: {"I7"},
    }.items()
}
"""What a target that can refuse nothing costs: these break for a while, and the sentinel always finds the way back."""

STUCK = "no way back"
MUTANTS = {
    "the value is not written down first": (Rules(Kind.SINGLE_USER, write_ahead=False), "I1"),
    "silence is taken for no": (Rules(Kind.SINGLE_USER, keeps_pending=False), "I1"),
    "labels move in two transactions": (Rules(Kind.SINGLE_USER, atomic_labels=False), "I6"),
    "a new value at each try": (Rules(Kind.SINGLE_USER, same_value=False), "I1"),
    "no fence at the store, single user": (Rules(Kind.SINGLE_USER, store_fence=False), "I2"),
    "no fence at the store, keys": (Rules(Kind.OVERLAPPING_KEYS, store_fence=False), "I3"),
    "sent again without a probe": (Rules(Kind.DUAL_PASSWORD, probes=False), "I3"),
    "probed without a barrier": (Rules(Kind.DUAL_PASSWORD, bars=False), "I3"),
    "removed without a look at AWSCURRENT": (Rules(Kind.DUAL_PASSWORD, Barrier.NONE, checks_first=False), "I3"),
    "no barrier and no check": (Rules(Kind.SINGLE_USER, Barrier.NONE, verifies=False), STUCK),
    "no barrier and no check, alternating users": (
        Rules(Kind.ALTERNATING_USERS, Barrier.NONE, rotations=3, verifies=False),
        STUCK,
    ),
    "somebody changes the target, and nobody checks": (Rules(Kind.SINGLE_USER, drift=True, verifies=False), STUCK),
}
"""A protocol with one rule less, and what it breaks first."""
