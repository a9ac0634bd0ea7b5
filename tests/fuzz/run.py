"""Everything at one server, and what must hold afterwards."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from keywheel.credentials import read_credentials
from tests.fuzz.campaign import Findings, campaign, lifecycle
from tests.fuzz.documents import CANARY
from tests.fuzz.envelopes import Key, signed
from tests.fuzz.garbage import crowd, garbage, leavers, pipelined, slow
from tests.fuzz.vitals import MIB, Vitals, Watch
from tests.support.keywheel_server import REGION, KeywheelServer

MOST_GROWTH = 48 * MIB  # of each process after the warm-up
MOST_DESCRIPTORS = 6  # more than after the warm-up: a pool may have opened another connection to its store
_WARM_UP = 0.2
_SETTLING = 10.0
_IN_NO_LOG = ("api.fault", "ASGI", "Traceback", CANARY)


@dataclass(frozen=True, slots=True)
class Abuse:
    """What one server went through. `wrong` holds what it did that it should not have."""

    findings: Findings
    wrong: list[str]
    grown: int
    descriptors: int
    seconds: float

    def __str__(self) -> str:
        codes = ", ".join(f"{code} {count}" for code, count in self.findings.answered.most_common())
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.findings.kinds.most_common())
        return (
            f"seed {self.findings.seed}: {self.findings.kinds.total()} spoiled requests and "
            f"{self.findings.ordinary} ordinary ones in {self.seconds:.0f} s, {len(self.wrong)} wrong; slowest answer "
            f"{self.findings.slowest:.2f} s; memory {self.grown / MIB:+.1f} MiB after the warm-up, "
            f"descriptors {self.descriptors:+d}\n  answers: {codes}\n  kinds: {kinds}"
        )


def abuse(server: KeywheelServer, *, count: int, seed: int) -> Abuse:
    """Do it all to a running server."""
    begun = time.monotonic()
    port = int(server.url.rpartition(":")[2])
    access_key_id, secret = read_credentials(server.data / "credentials")
    host = f"127.0.0.1:{port}"
    fuzzed, ordinary = Key(access_key_id, secret, host, "fuzz-1"), Key(access_key_id, secret, host, REGION)

    def one() -> bytes:
        return signed(ordinary, "secretsmanager.ListSecrets", json.dumps({"MaxResults": 1}).encode())

    warm = campaign(port, fuzzed, ordinary, count=int(count * _WARM_UP), seed=seed + 1)
    with crowd(port):  # as many at once as there will be
        wrong = [*warm.wrong, *lifecycle(port, ordinary)]
    with Watch(server.pid) as watch:
        before = watch.look()
        found = campaign(port, fuzzed, ordinary, count=count - int(count * _WARM_UP), seed=seed)
        wrong += found.wrong + garbage(port, seed=seed)
        leavers(port, one())
        wrong += pipelined(port, one())
        with crowd(port):
            wrong += lifecycle(port, ordinary)
        wrong += slow(port, one(), lambda: not lifecycle(port, ordinary))
        wrong += lifecycle(port, ordinary)
        after = watch.look()
        end = time.monotonic() + _SETTLING
        while time.monotonic() < end and any(_more(before, after, pid) > 0 for pid in before if pid in after):
            time.sleep(0.1)
            after = watch.look()
    if set(before) != set(after) or not server.alive:
        wrong.append("a process of the server ended")
    grown = max(after[pid].memory - before[pid].memory for pid in after)
    more = max(_more(before, after, pid) for pid in after)
    if grown > MOST_GROWTH:
        wrong.append(f"memory grew by {grown / MIB:.1f} MiB")
    if more > MOST_DESCRIPTORS:
        wrong.append(f"{more} descriptors were left open")
    log = server.log.read_text(encoding="utf-8", errors="replace").splitlines()
    marks = (*_IN_NO_LOG, secret.reveal())
    wrong += [f"log: {line[:300]}" for line in log if any(mark in line for mark in marks) or not _is_json(line)][:20]
    found.kinds += warm.kinds
    found.answered += warm.answered
    found.ordinary += warm.ordinary
    return Abuse(found, wrong, grown, more, time.monotonic() - begun)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _more(before: dict[int, Vitals], after: dict[int, Vitals], pid: int) -> int:
    return after[pid].descriptors - before[pid].descriptors
