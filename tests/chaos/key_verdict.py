"""What must hold of keys when everything is healed: of what they made, of their journal, of the root key."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.chaos.custodian import REENCRYPT, ROOT, Custodian
from tests.chaos.keys import look_at_key_set, read_back
from tests.chaos.ledger import Found, KeyLedger, Told, gone_back, never_ended, order, orphans
from tests.chaos.load import Caller
from tests.chaos.site import SIGNING, Site
from tests.support.keywheel_server import run_keywheel

_UNREST = """
    SELECT name, step, attempt, coalesce(failed_code, '') FROM alias_rotation
    WHERE step <> 'rest' OR failed_code IS NOT NULL ORDER BY name"""
_JOURNAL = "SELECT name, coalesce(key_id, ''), run, event FROM key_journal ORDER BY id"
_KEYS = """
    SELECT k.key_id, k.state, a.name, f.name, EXISTS (
        SELECT FROM key_journal j WHERE j.key_id = k.key_id AND j.event = 'KeyDiscarded')
    FROM kms_key k
    LEFT JOIN kms_alias a ON a.key_id = k.key_id
    LEFT JOIN former_key f ON f.key_id = k.key_id
    WHERE k.manager = 'CUSTOMER'"""
_IN_PLACE = """
    SELECT a.name, k.on_demand, count(*) FILTER (WHERE b.rotation = 'ON_DEMAND'),
           count(*) FILTER (WHERE b.rotation = 'AUTOMATIC')
    FROM kms_alias a JOIN kms_key k ON k.key_id = a.key_id JOIN backing_key b ON b.key_id = k.key_id
    WHERE a.name LIKE 'alias/chaos/symmetric%' GROUP BY 1, 2"""
_NOT_ALL = "Not everything is under"  # something was written under the former root key after the change
_ANSWERED = 30.0  # seconds within which a healed replica answers
_TRIES = 60.0  # seconds: who was killed in a re-encryption holds its slot for 15


def unrest(site: Site) -> list[str]:
    """The rotations behind aliases that are not at rest."""
    return [f"{alias} stands at {step}, attempt {attempt} {code}" for alias, step, attempt, code in
            site.asked_store(_UNREST)]  # fmt: skip


def journal(site: Site) -> list[Told]:
    """What happened to keys, in order."""
    return [Told(*row) for row in site.asked_store(_JOURNAL)]


def rotated_in_place(site: Site) -> Counter[str]:
    """How many materials came by which kind of rotation."""
    found: Counter[str] = Counter()
    for _, _, on_demand, automatic in site.asked_store(_IN_PLACE):
        found.update({"on demand": on_demand, "automatic": automatic})
    return found


def violations(site: Site, ledger: KeyLedger, custodian: Custodian) -> Iterator[str]:
    """Everything that does not hold. While the servers run."""
    told = journal(site)
    named = order(site.first_keys, told)
    if not ledger.made or not ledger.runs:
        yield "no key was used, or none was rotated: there was no load"
    yield from (f"not at rest: {each}" for each in unrest(site))
    yield from never_ended(ledger.runs, told)
    yield from orphans([Found(*row) for row in site.asked_store(_KEYS)], named)
    yield from gone_back(ledger.made, named)
    yield from _in_place(site, ledger)
    _read_everything(site, ledger)
    yield from (f"a command: {told}" for told in custodian.refusals if _NOT_ALL in told)
    yield from _root_key(site)
    yield from _reencrypted(site)
    _read_everything(site, ledger, every=7)  # under the root key and the wrappings that there are now
    yield from ledger.wrong


def _in_place(site: Site, ledger: KeyLedger) -> Iterator[str]:
    for alias, counted, on_demand, _ in site.asked_store(_IN_PLACE):
        least = ledger.in_place[alias]
        if counted != on_demand or not least <= on_demand <= least + ledger.doubtful[alias]:
            yield f"{alias} was rotated on demand {on_demand} times, counted {counted}, and answered {least} times"


def _read_everything(site: Site, ledger: KeyLedger, *, every: int = 1) -> None:
    callers = [Caller(site, replica) for replica in site.replicas]
    for made, caller in zip(ledger.made[::every], itertools.cycle(callers), strict=False):
        end = time.monotonic() + _ANSWERED
        while not read_back(caller, made, ledger):
            if time.monotonic() > end:
                ledger.wrong.append(f"a replica does not answer for the {made.kind} of {made.at:.1f} s")
                break
            time.sleep(0.2)
    for caller in callers:
        caller.close()
    for replica in site.replicas:
        for alias in SIGNING:
            if not look_at_key_set(replica, alias, ledger, before=float("inf"), everything=True):
                ledger.wrong.append(f"replica {replica.number} does not answer with the key set of {alias}")


def _root_key(site: Site) -> Iterator[str]:
    """What was begun ends. Where nothing is under way, nothing is begun: it would wrap what was left behind."""
    status = _root_status(site)
    if status["rotation"] is not None and status["rotation"]["ended"] is None:
        code, told = _run(site, *ROOT)
        if code:
            yield f"the root key's rotation does not end: {told}"
        status = _root_status(site)
    if status["rotation"] is None or status["rotation"]["ended"] is None:
        yield f"the root key's rotation did not end: {status['rotation']}"
    for what, counts in status["values"].items():
        if set(counts) - {status["rootKey"]}:
            yield f"{what}: not everything is under root key {status['rootKey']}: {counts}"


def _root_status(site: Site) -> dict[str, Any]:
    """As the command tells it; its exit code is 1 when something is under no known key, which the counts say, too."""
    done = run_keywheel("root", "status", "--json", environment=site.environment(site.replicas[0]))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _reencrypted(site: Site) -> Iterator[str]:
    """A re-encryption leaves nothing behind."""
    end = time.monotonic() + _TRIES
    while True:
        code, told = _run(site, *REENCRYPT)
        if code == 0 or time.monotonic() > end:
            break
        time.sleep(1.0)
    if code:
        yield f"secrets are not re-encrypted: {told}"
    done = run_keywheel(*REENCRYPT, "--dry-run", "--json", environment=site.environment(site.replicas[0]))
    found = json.loads(done.stdout or "{}") or {"examined": 0, "moved": 0, "left": [done.stderr.decode()]}
    if found["moved"] or found["left"] or not found["examined"]:
        yield f"a re-encryption left something: {found}"


def _run(site: Site, *command: str) -> tuple[int, str]:
    done = run_keywheel(*command, environment=site.environment(site.replicas[0]))
    return done.returncode, (done.stderr if done.returncode else done.stdout).decode()
