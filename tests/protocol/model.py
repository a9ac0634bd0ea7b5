"""The protocol of a rotation, as states and what may happen in them.

It is what machine.py, steps.py and strategies.py do, with everything left out that no invariant is about: times, texts
and tries. A claim may happen at any moment, which stands for every lease that ends and every clock that is wrong. A
worker's own memory is lost in a crash; the store's is not. What is sent to the target is in the net until it is
delivered, which may be late, twice, or never.

Versions are numbered from 1; 0 is none. Fences are numbers of which only the order counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    """What a target holds, and so what a strategy does to it."""

    SINGLE_USER = "single user"
    DUAL_PASSWORD = "dual password"
    ALTERNATING_USERS = "alternating users"
    OVERLAPPING_KEYS = "overlapping keys"


class Barrier(StrEnum):
    """What the target itself refuses."""

    EPOCH = "epoch"  # a change of an older epoch than the newest it has seen
    DEADLINE = "deadline"  # a change that arrives after the end of its lease
    OLD_PASSWORD = "old password"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol, and by what a mutant differs from it."""

    kind: Kind
    barrier: Barrier = Barrier.EPOCH
    rotations: int = 2
    write_ahead: bool = True  # the value is durable before the target hears of it
    bars: bool = True  # the barrier is raised before the probe
    probes: bool = True  # what may have landed is asked for before it is sent again
    store_fence: bool = True  # the store refuses who was overtaken
    atomic_labels: bool = True  # labels move in one transaction
    keeps_pending: bool = True  # an unknown outcome is not taken for a no
    same_value: bool = True  # the same value is sent again
    checks_first: bool = True  # nothing is removed unless AWSCURRENT works
    verifies: bool = True  # AWSCURRENT is checked at rest, and set anew
    takes_back: bool = True  # after a refused test AWSCURRENT is set anew
    drift: bool = False  # somebody changes the target beside us, once


class Worker(NamedTuple):
    """Where a worker is, and what it believes."""

    at: str = "away"
    fence: int = 0
    pending: int = 0
    current: int = 0
    previous: int = 0
    heard: str = ""


class Message(NamedTuple):
    """A change on its way to the target. `by`: the version whose password authenticates it; 0: a superuser."""

    change: str
    version: int
    by: int
    fence: int


class State(NamedTuple):
    """Store, target, workers and net."""

    current: int
    previous: int
    pending: int
    known: frozenset[int]
    step: str
    begun: int
    drawn: int
    fence: int
    target: Any
    epoch: int
    workers: tuple[Worker, Worker]
    net: frozenset[Message]
    drifted: bool = False


Next = Iterator[tuple[str, State]]
AWAY = Worker()
UNKNOWN = 99  # a password that nobody told us
IN_FLIGHT = 2


# --- targets -------------------------------------------------------------------------------------------------------


def first(kind: Kind) -> Any:
    """The target with version 1 live."""
    return {Kind.SINGLE_USER: 1, Kind.OVERLAPPING_KEYS: frozenset([1])}.get(kind, (1, 0))


def live(kind: Kind, target: Any) -> frozenset[int]:
    """The versions that log in."""
    if kind is Kind.SINGLE_USER:
        return frozenset([target])
    return frozenset(version for version in target if version)


def changed(kind: Kind, target: Any, change: str, version: int) -> Any:
    """The target after a change has landed."""
    match kind, change:
        case Kind.SINGLE_USER, "set":
            return version
        case Kind.DUAL_PASSWORD, "set":
            return (version, target[0])  # twice, and what was live is lost
        case Kind.DUAL_PASSWORD, "remove":
            return (target[0], 0)  # by position, whatever is there
        case Kind.ALTERNATING_USERS, "set":
            return (version, target[1]) if version % 2 else (target[0], version)
        case Kind.OVERLAPPING_KEYS, "set":
            return target | {version}
        case Kind.OVERLAPPING_KEYS, "remove":
            return target - {version}
    return target


def admits(rules: Rules, state: State, message: Message) -> bool:
    """Whether the target takes a change."""
    match rules.barrier:
        case Barrier.EPOCH:
            return message.fence >= state.epoch
        case Barrier.DEADLINE:
            return message.fence == state.fence
        case Barrier.OLD_PASSWORD:
            return message.change != "set" or message.by in live(rules.kind, state.target)
    return True


# --- what a worker does, by where it is ----------------------------------------------------------------------------


class Turn:
    """One worker's move."""

    def __init__(self, rules: Rules, state: State, number: int) -> None:
        self.rules = rules
        self.state = state
        self.number = number
        self.worker = state.workers[number]
        self.live = live(rules.kind, state.target)

    def go(self, at: str, state: State | None = None, **changes: Any) -> State:
        """This worker somewhere else."""
        state = self.state if state is None else state
        worker = AWAY if at == "away" else self.worker._replace(at=at, **{"heard": "", **changes})
        workers = list(state.workers)
        workers[self.number] = worker
        return state._replace(workers=(workers[0], workers[1]))

    def owns(self) -> bool:
        """Whether the store takes its writes."""
        return not self.rules.store_fence or self.worker.fence == self.state.fence

    def save(self, what: str, at: str, **changes: Any) -> Next:
        """A transaction under the fence."""
        if self.owns():
            yield what, self.go(at, self.state._replace(**changes))
        else:
            yield "is fenced off", self.go("away")

    def send(self, change: str, version: int, by: int, at: str) -> Next:
        """Put a change on its way."""
        message = Message(change, version, by, self.worker.fence)
        if len(self.state.net) < IN_FLIGHT or message in self.state.net:
            yield f"sends {change} v{version}", self.go(at, self.state._replace(net=self.state.net | {message}))


def _away(turn: Turn) -> Next:
    """Claim whatever there is to do; nobody has to be asleep for it."""
    rules, state = turn.rules, turn.state
    fresh = state._replace(fence=state.fence + 1)
    worker = Worker("", state.fence + 1, state.pending, state.current, state.previous)
    if state.step == "idle" and state.begun < rules.rotations:
        yield "claims what is due", _at(turn, fresh, worker, "create")
    if state.step == "idle" and rules.verifies and state.current not in turn.live:
        yield "claims a check", _at(turn, fresh, worker, "check")
    if state.step != "idle":
        at = {"set": "bar", "repair": "bar repair"}.get(state.step, state.step)
        if state.step == "set" and not rules.same_value:
            at = "create"
        yield f"claims {state.step}", _at(turn, fresh, worker, at)


def _at(turn: Turn, state: State, worker: Worker, at: str) -> State:
    workers = list(state.workers)
    workers[turn.number] = worker._replace(at=at)
    return state._replace(workers=(workers[0], workers[1]))


def _create(turn: Turn) -> Next:
    rules, state = turn.rules, turn.state
    version, again = state.drawn, state.step != "idle"
    if version > rules.rotations + (1 if rules.same_value else 3):
        return
    known = state.known - {state.pending} if again else state.known
    if not turn.owns():
        yield "is fenced off", turn.go("away")
        return
    written = state._replace(
        pending=version,
        known=known | {version} if rules.write_ahead else known,
        step="set",
        begun=state.begun + (not again),
        drawn=version + 1,
    )
    yield f"writes v{version} down", turn.go("send", written, pending=version)  # fresh: nothing to be asked


def _bar(turn: Turn) -> Next:
    yield from _raised(turn, "probe")


def _bar_repair(turn: Turn) -> Next:
    yield from _raised(turn, "repair")


def _raised(turn: Turn, at: str) -> Next:
    rules, state = turn.rules, turn.state
    if rules.barrier is not Barrier.EPOCH or not rules.bars:
        yield "goes on", turn.go(at)
    elif turn.worker.fence < state.epoch:
        yield "is refused by the barrier", turn.go("away")
    else:
        yield "raises the barrier", turn.go(at, state._replace(epoch=turn.worker.fence))


def _probe(turn: Turn) -> Next:
    if turn.rules.probes and turn.worker.pending in turn.live:
        yield "finds that it has landed", turn.go("landed")
    else:
        yield "finds that it has not landed", turn.go("send")


def _send(turn: Turn) -> Next:
    worker = turn.worker
    yield from turn.send("set", worker.pending, worker.current, "wait")


def _wait(turn: Turn) -> Next:
    rules, state, worker = turn.rules, turn.state, turn.worker
    if worker.heard == "yes":
        yield "hears yes", turn.go("landed")
    elif worker.heard == "no":
        yield "hears no", turn.go("away")
    elif rules.keeps_pending:
        yield "hears nothing", turn.go("away")
    elif turn.owns():
        forgotten = state._replace(pending=0, step="idle", known=state.known - {worker.pending})
        yield "takes silence for no", turn.go("away", forgotten)


def _landed(turn: Turn) -> Next:
    worker = turn.worker
    yield from turn.save("notes that it is set", "test", step="test", known=turn.state.known | {worker.pending})


def _test(turn: Turn) -> Next:
    if turn.worker.pending in turn.live:
        yield from turn.save("tests it", "finish", step="finish")
    elif turn.rules.takes_back:
        yield from turn.save("is refused by the test", "away", step="repair")
    else:
        yield from turn.save("gives up", "away", step="idle", pending=0)


def _finish(turn: Turn) -> Next:
    state, worker = turn.state, turn.worker
    if turn.rules.store_fence and state.pending != worker.pending:
        yield "is fenced off", turn.go("away")
    elif turn.rules.atomic_labels:
        moved = {"previous": state.current, "current": worker.pending, "pending": 0, "step": "retire"}
        yield from turn.save(f"publishes v{worker.pending}", "away", **moved)
    else:
        yield from turn.save("takes AWSCURRENT away", "finish 2", previous=state.current, current=0)


def _finish_2(turn: Turn) -> Next:
    yield from turn.save("publishes", "away", current=turn.worker.pending, pending=0, step="retire")


def _retire(turn: Turn) -> Next:
    rules, worker = turn.rules, turn.worker
    removes = rules.kind in (Kind.DUAL_PASSWORD, Kind.OVERLAPPING_KEYS)
    if rules.checks_first and worker.current not in turn.live:
        yield "finds AWSCURRENT dead", turn.go("bar repair")
    elif removes and not (rules.checks_first and worker.previous not in turn.live):
        yield from turn.send("remove", worker.previous, 0, "wait removal")
    else:
        previous = turn.state.previous if rules.kind is Kind.ALTERNATING_USERS else 0
        yield from turn.save("has the old one retired", "away", step="idle", previous=previous)


def _wait_removal(turn: Turn) -> Next:
    yield "asks again" if not turn.worker.heard else "hears of it", turn.go("away")


def _check(turn: Turn) -> Next:
    if turn.worker.current in turn.live:
        yield "finds AWSCURRENT well", turn.go("away")
    else:
        yield "finds AWSCURRENT dead", turn.go("bar repair")


def _repair(turn: Turn) -> Next:
    state, worker = turn.state, turn.worker
    if worker.current in turn.live:
        step = "set" if state.step == "repair" else state.step
        yield from turn.save("finds AWSCURRENT well", "away", step=step)
    elif turn.rules.kind is not Kind.OVERLAPPING_KEYS:
        yield from turn.send("set", worker.current, worker.pending or worker.previous, "wait repair")


def _wait_repair(turn: Turn) -> Next:
    yield "looks again" if not turn.worker.heard else "hears of it", turn.go("away")


MOVES: dict[str, Callable[[Turn], Next]] = {
    "away": _away,
    "create": _create,
    "bar": _bar,
    "bar repair": _bar_repair,
    "probe": _probe,
    "send": _send,
    "wait": _wait,
    "landed": _landed,
    "test": _test,
    "finish": _finish,
    "finish 2": _finish_2,
    "retire": _retire,
    "wait removal": _wait_removal,
    "check": _check,
    "repair": _repair,
    "wait repair": _wait_repair,
}


# --- everything that may happen ------------------------------------------------------------------------------------


def start(rules: Rules) -> State:
    """Version 1 is published and works."""
    return State(1, 0, 0, frozenset([1]), "idle", 0, 2, 0, first(rules.kind), 0, (AWAY, AWAY), frozenset())


def following(rules: Rules, state: State) -> Next:
    """Every next state, with what happened."""
    for number, worker in enumerate(state.workers):
        turn = Turn(rules, state, number)
        for what, after in MOVES[worker.at](turn):
            yield f"worker {number} {what}", _ranked(after)
        if worker.at != "away":
            yield f"worker {number} crashes", _ranked(turn.go("away"))
    for message in state.net:
        yield from _delivered(rules, state, message)
    if rules.drift and not state.drifted and state.step == "idle" and rules.kind is Kind.SINGLE_USER:
        for version in {UNKNOWN, state.previous or UNKNOWN}:
            yield f"somebody sets v{version}", _ranked(state._replace(target=version, drifted=True))


def _delivered(rules: Rules, state: State, message: Message) -> Next:
    text = f"{message.change} v{message.version}"
    rest = state._replace(net=state.net - {message})
    yield f"{text} is lost", _ranked(rest)
    admitted = admits(rules, state, message)
    if admitted:
        target = changed(rules.kind, state.target, message.change, message.version)
        epoch = max(state.epoch, message.fence) if rules.barrier is Barrier.EPOCH else state.epoch
        rest = rest._replace(target=target, epoch=epoch)
    word = "lands" if admitted else "is refused"
    yield f"{text} {word}", _ranked(_heard(rest, message, "yes" if admitted else "no"))
    if admitted and rules.kind is not Kind.DUAL_PASSWORD:  # TCP repeats nothing within a session; a proxy might
        yield f"{text} lands, and will land again", _ranked(rest._replace(net=state.net))


def _heard(state: State, message: Message, answer: str) -> State:
    wait = "wait removal" if message.change == "remove" else "wait"
    workers = tuple(
        worker._replace(heard=answer) if worker.at.startswith(wait) and worker.fence == message.fence else worker
        for worker in state.workers
    )
    return state._replace(workers=(workers[0], workers[1]))


def _ranked(state: State) -> State:
    """The same with the smallest numbers for its fences, and its workers in order: there are finitely many states."""
    busy = [worker.fence for worker in state.workers if worker.at != "away"]
    fences = sorted({state.fence, state.epoch, *busy, *(message.fence for message in state.net)})
    rank = {fence: number for number, fence in enumerate(fences)}
    workers = sorted(
        AWAY if worker.at == "away" else worker._replace(fence=rank[worker.fence]) for worker in state.workers
    )
    return state._replace(
        fence=rank[state.fence],
        epoch=rank[state.epoch],
        workers=(workers[0], workers[1]),
        net=frozenset(message._replace(fence=rank[message.fence]) for message in state.net),
    )


# --- what must hold ------------------------------------------------------------------------------------------------

INVARIANTS = {
    "I1": "what logs in is known to the store",
    "I2": "AWSPENDING, AWSCURRENT or AWSPREVIOUS logs in",
    "I3": "where credentials overlap, AWSCURRENT logs in at every instant",
    "I4": "AWSCURRENT logs in whenever no change is in doubt",
    "I6": "AWSCURRENT names a version",
    "I7": "at rest no credential that logs in is forgotten",
}


def broken(rules: Rules, state: State) -> Iterator[str]:
    """The invariants that do not hold."""
    if state.drifted:
        return  # somebody else broke them; what is left is to find the way back
    works = live(rules.kind, state.target)
    if not works & state.known:
        yield "I1"
    if not works & {state.current, state.pending, state.previous}:
        yield "I2"
    if rules.kind is not Kind.SINGLE_USER and state.current not in works:
        yield "I3"
    if state.step in ("idle", "retire") and state.current not in works:
        yield "I4"
    if not state.current:
        yield "I6"
    at_rest = state.step == "idle" and not state.net
    if at_rest and rules.kind is Kind.OVERLAPPING_KEYS and works - {state.current, state.previous}:
        yield "I7"


def good(rules: Rules, state: State) -> bool:
    """Every rotation is done, and AWSCURRENT logs in."""
    done = state.step == "idle" and state.begun == rules.rotations and not state.pending
    return done and state.current in live(rules.kind, state.target) and state.current in state.known
