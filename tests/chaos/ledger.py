"""What was made with keys while the run lasted, and what must hold of it and of the keys. Pure but for the lock."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keywheel.keys.ciphertext import backing_key, split

CIPHERTEXT, SIGNATURE, MAC_ = "ciphertext", "signature", "mac"


@dataclass(frozen=True, slots=True)
class Made:
    """Something that a key made, by its alias. Instants are seconds since the run began.

    Attributes:
        text: what was signed, or the digest of what was encrypted.
        result: the ciphertext, signature or MAC, in base64.
        begun: when it was asked for.
        at: when it was answered.
    """

    kind: str
    alias: str
    key_id: str
    text: str
    result: str
    begun: float
    at: float


@dataclass(frozen=True, slots=True)
class Found:
    """A key as the store has it at the end. `alias` and `former` are None where no alias names it, or has left it."""

    key_id: str
    state: str
    alias: str | None
    former: str | None
    discarded: bool


@dataclass(frozen=True, slots=True)
class Told:
    """An event of the journal of keys."""

    alias: str
    key_id: str
    run: str | None
    event: str


@dataclass(slots=True)
class KeyLedger:
    """All that was made, and what went wrong."""

    made: list[Made] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    """Every use of a key and what came of it."""
    runs: dict[str, str] = field(default_factory=dict)
    """The alias of each rotation that StartAliasRotation answered."""
    in_place: Counter[str] = field(default_factory=Counter)
    """How often RotateKeyOnDemand of an alias was answered."""
    doubtful: Counter[str] = field(default_factory=Counter)
    """How often it was not."""
    read: Counter[str] = field(default_factory=Counter)
    """How much was read back, and of what kind."""
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, made: Made) -> None:
        """Keep it to the end."""
        with self.lock:
            self.made.append(made)

    def count(self, counter: Counter[str], what: str) -> None:
        """One more."""
        with self.lock:
            counter[what] += 1


def order(first: Mapping[str, str], told: Iterable[Told]) -> dict[str, list[str]]:
    """The keys that each alias has named, the oldest first."""
    found = {alias: [key_id] for alias, key_id in first.items()}
    for each in told:
        if each.event == "KeyRotationSucceeded":
            found[each.alias].append(each.key_id)
    return found


def orphans(keys: Iterable[Found], named: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Keys that are neither the current one of their alias nor a former one, and were not discarded either."""
    for key in keys:
        if key.discarded and key.state == "PendingDeletion" and key.alias is None and key.former is None:
            continue
        if (key.alias is None) == (key.former is None):
            yield f"key {key.key_id} ({key.state}) is an orphan: current of {key.alias}, former of {key.former}"
            continue
        alias = key.alias or key.former or ""
        chain = named.get(alias, ())
        if key.key_id not in chain or (chain[-1] == key.key_id) != (key.alias is not None):
            yield f"key {key.key_id} is not where the journal of {alias} has it"
        if key.state != "Enabled":
            yield f"key {key.key_id} of {alias} is {key.state}"


def never_ended(runs: Mapping[str, str], told: Iterable[Told]) -> Iterator[str]:
    """Rotations that were answered and did not succeed, and those of which two keys were made."""
    told = list(told)
    done = {each.run for each in told if each.event == "KeyRotationSucceeded"}
    for run, alias in runs.items():
        if run not in done:
            yield f"rotation {run} of {alias} was answered, and never succeeded"
    for (event, of_run), times in Counter((each.event, each.run) for each in told).items():
        if times > 1 and event in ("KeyCreated", "KeyRotationSucceeded"):
            yield f"{event} {times} times in rotation {of_run}"


def gone_back(made: Iterable[Made], named: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What was made by a key that its alias never named, or by a key or material that it had left before."""
    keys = {(alias, key_id): place for alias, chain in named.items() for place, key_id in enumerate(chain)}
    answers: dict[str, list[tuple[float, float, tuple[int, int]]]] = {}
    for each in made:
        place_of_key = keys.get((each.alias, each.key_id))
        if place_of_key is None:
            yield f"{each.alias} answered by key {each.key_id}, which it never named"
        else:
            answers.setdefault(each.alias, []).append((each.begun, each.at, (place_of_key, _generation(each))))
    for alias, of_alias in answers.items():
        for begun, place, newest in _overtaken(of_alias):
            yield f"at {begun:.1f} s {alias} answered by key and material {place} after it had by {newest}"


def _generation(made: Made) -> int:
    """Of the material that encrypted it; other keys have but one."""
    if made.kind != CIPHERTEXT:
        return 1
    return backing_key(split(base64.b64decode(made.result))[0])[1]


def _overtaken(
    answers: Sequence[tuple[float, float, tuple[int, int]]],
) -> Iterator[tuple[float, tuple[int, int], tuple[int, int]]]:
    """What was asked for after something newer had been answered: when, what it was, and the newer one."""
    ended = sorted((at, place) for _, at, place in answers)
    newest, done = (-1, -1), 0
    for begun, _, place in sorted(answers):
        while done < len(ended) and ended[done][0] < begun:
            newest = max(newest, ended[done][1])
            done += 1
        if place < newest:
            yield begun, place, newest
