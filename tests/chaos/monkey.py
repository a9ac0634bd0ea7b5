"""The monkey: does what the plan says, and notes when."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.gates import CUT, STALLED
from tests.chaos.plan import Fault, Kind
from tests.chaos.site import TARGETS, Replica, Site

_SHUT = {
    Kind.STORE_STALLED: STALLED,
    Kind.STORE_CUT: CUT,
    Kind.TARGET_STALLED: STALLED,
    Kind.TARGET_CUT: CUT,
    Kind.TARGET_GONE: CUT,
}
_HELD = "SELECT token, holder FROM rotation WHERE token IS NOT NULL AND holder IS NOT NULL"
_AIM = 2.0  # seconds that a fault waits for the engine to be busy


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it was: seconds since the run began, and which rotations the engine that it hit was busy with."""

    fault: Fault
    begin: float
    end: float
    tokens: tuple[str, ...]


class Monkey:
    """Runs a plan in the thread that started the servers: they end with it."""

    def __init__(self, site: Site, since: Callable[[], float], say: Callable[[str], None]) -> None:
        self._site = site
        self._since = since
        self._say = say
        self._frozen: dict[int, list[int]] = {}
        self._begun: dict[Fault, tuple[float, tuple[str, ...]]] = {}
        self.struck: list[Struck] = []

    def run(self, faults: list[Fault], seconds: float) -> None:
        """Strike and heal, each at its time, until the run is over."""
        moments = [(fault.begin, self._strike, fault) for fault in faults]
        moments += [(fault.end, self._heal, fault) for fault in faults]
        for at, act, fault in sorted(moments, key=lambda moment: moment[0]):
            time.sleep(max(0.0, at - self._since()))
            act(fault)
        time.sleep(max(0.0, seconds - self._since()))

    def _strike(self, fault: Fault) -> None:
        replica = self._site.replicas[fault.replica]
        tokens = self._busy_with(fault, replica)
        begin = self._since()
        self._say(f"{begin:7.1f} s  {fault.kind}, replica {fault.replica}, for {fault.end - fault.begin:.1f} s")
        gates = self._site.gates
        match fault.kind:
            case Kind.KILL:
                replica.server.kill()
            case Kind.FREEZE | Kind.FREEZE_ENGINE:
                members = replica.members()
                self._frozen[fault.replica] = members if fault.kind is Kind.FREEZE else members[-1:]
                replica.send(signal.SIGSTOP, self._frozen[fault.replica])
            case Kind.STORE_STALLED | Kind.STORE_CUT:
                gates.shut(replica.gate, _SHUT[fault.kind])
            case Kind.TARGET_STALLED | Kind.TARGET_CUT:
                for gate in TARGETS:
                    gates.shut(gate, _SHUT[fault.kind], only=replica.members())
            case Kind.TARGET_GONE:
                for gate in TARGETS:
                    gates.shut(gate, _SHUT[fault.kind])
            case Kind.STORE_KILLED:
                self._site.store.kill()
        self._begun[fault] = (begin, tokens)

    def _heal(self, fault: Fault) -> None:
        replica = self._site.replicas[fault.replica]
        end = self._since()
        match fault.kind:
            case Kind.KILL:
                replica.server.start()
            case Kind.FREEZE | Kind.FREEZE_ENGINE:
                replica.send(signal.SIGCONT, self._frozen.pop(fault.replica))
            case Kind.STORE_STALLED | Kind.STORE_CUT:
                self._site.gates.open(replica.gate)
            case Kind.TARGET_STALLED | Kind.TARGET_CUT | Kind.TARGET_GONE:
                for gate in TARGETS:
                    self._site.gates.open(gate)
            case Kind.STORE_KILLED:
                self._site.store.start()
        begin, tokens = self._begun.pop(fault)
        self.struck.append(Struck(fault, begin, end, tokens))

    def _busy_with(self, fault: Fault, replica: Replica) -> tuple[str, ...]:
        """Wait until the engine that is about to be hit works on something; on which versions."""
        end, engine = self._since() + _AIM, replica.engine
        with self._site.looking() as look:
            while True:
                found = [token for token, holder in look(_HELD) if fault.kind.spares_no_one or holder == engine]
                if found or self._since() > end:
                    return tuple(found)
                time.sleep(0.01)
