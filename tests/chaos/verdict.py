"""What must hold when everything is healed: of the journal, the claims, the target, and of what was answered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from keywheel.rotator import CLONE_SUFFIX, Credential
from tests.chaos.load import Caller, Load
from tests.chaos.site import TARGETS, Site

_FENCED = " fenced at "  # how the store names a holder that was fenced off
_SCRAM = re.compile(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)")
_EPOCH = re.compile(r"\[keywheel epoch (\d+)\]")
_NOTES = "SELECT id, secret_id, token, fence, step, event, at FROM journal ORDER BY id"
_HOLDS = "SELECT secret_id, fence, holder FROM chaos_held ORDER BY n"
_UNREST = """
    SELECT s.name, r.step, r.attempt, coalesce(r.failed_code, ''), coalesce(r.health, ''), r.holder IS NOT NULL,
           r.wake_at - extract(epoch FROM clock_timestamp())
    FROM rotation r JOIN secret s ON s.id = r.secret_id
    WHERE r.token IS NOT NULL OR r.holder IS NOT NULL OR r.verify_at IS NOT NULL OR r.health IS NOT NULL
    ORDER BY s.name"""
_ROLES = """
    SELECT a.rolname, a.rolpassword, coalesce(shobj_description(a.oid, 'pg_authid'), '')
    FROM pg_authid a WHERE a.rolpassword IS NOT NULL AND a.rolname LIKE 'role%'"""
_TOLD = ("rotation.lost", "rotation.interrupted", "engine.reclaimed", "engine.loop")
# A step of a version is done twice only after one of these.
_BACK = ("RolledBack", "RotationFailed", "RollbackStarted")


@dataclass(frozen=True, slots=True)
class Note:
    """A row of the journal."""

    number: int
    secret: int
    token: str | None
    fence: int
    step: str
    event: str
    at: float


@dataclass(frozen=True, slots=True)
class Held:
    """Who took a rotation, and under which fence."""

    secret: int
    fence: int
    holder: str


# --- pure rules ------------------------------------------------------------------------------------------------------


def broken_fences(notes: Iterable[Note], held: Iterable[Held]) -> Iterator[str]:
    """Where a worker's step was saved behind that of a later claim, or two engines had the same claim."""
    last: dict[int, int] = defaultdict(int)
    for note in notes:
        if note.fence and note.fence < last[note.secret]:
            yield f"secret {note.secret}: {note.event} of fence {note.fence} behind fence {last[note.secret]}"
        last[note.secret] = max(last[note.secret], note.fence)
    newest: dict[int, int] = defaultdict(int)
    owners: dict[tuple[int, int], str] = {}
    for each in held:
        if _FENCED in each.holder:  # no new claim: the old holder, told apart
            continue
        owner = owners.setdefault((each.secret, each.fence), each.holder)
        if owner != each.holder:
            yield f"secret {each.secret}: fence {each.fence} was given to two engines"
        if each.fence < newest[each.secret]:
            yield f"secret {each.secret}: fence {each.fence} was given after {newest[each.secret]}"
        newest[each.secret] = max(newest[each.secret], each.fence)


def done_twice(notes: Iterable[Note]) -> Iterator[str]:
    """Rotations that succeeded twice, or of which a step was done twice."""
    done: Counter[tuple[str, str, str]] = Counter()
    for note in notes:
        if note.token is None or note.event not in ("StepDone", "RotationSucceeded", *_BACK):
            continue
        if note.event in _BACK:
            done = Counter({key: count for key, count in done.items() if key[0] != note.token})
            continue
        done[note.token, note.step, note.event] += 1
        if done[note.token, note.step, note.event] == 2:
            yield f"secret {note.secret}: {note.event} of {note.step} twice for version {note.token}"


def unfinished(notes: Iterable[Note], accepted: Mapping[str, str]) -> Iterator[str]:
    """Rotations that were answered with success and are not complete."""
    complete = {note.token for note in notes if note.event == "RotationSucceeded"}
    for token, secret in accepted.items():
        if token not in complete:
            yield f"RotateSecret of {secret} was answered, and version {token} never became current"


def is_password_of(verifier: str, password: str) -> bool:
    """Whether PostgreSQL's verifier is that of the password."""
    match = _SCRAM.fullmatch(verifier)
    if match is None:
        return False
    iterations, salt, stored, _ = match.groups()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(key).digest() == base64.b64decode(stored)


# --- what is looked at -----------------------------------------------------------------------------------------------


def unrest(site: Site) -> list[str]:
    """The rotations that are not at rest."""
    return [
        f"{name} stands at {step}, attempt {attempt} {code} {health}, held: {held}, wakes in {wake or 0:.0f} s"
        for name, step, attempt, code, health, held, wake in site.asked_store(_UNREST)
    ]


def notes_of(site: Site) -> list[Note]:
    """The journal."""
    return [Note(*row) for row in site.asked_store(_NOTES)]


def violations(site: Site, load: Load, notes: list[Note]) -> Iterator[str]:
    """Everything that does not hold."""
    if not load.told.accepted or not load.register.written:
        yield "nothing was rotated, or nothing was written: there was no load"
    yield from (f"not at rest: {each}" for each in unrest(site))
    yield from broken_fences(notes, [Held(*row) for row in site.asked_store(_HOLDS)])
    yield from done_twice(notes)
    yield from unfinished(notes, load.told.accepted)
    yield from _wrong_credentials(site)
    yield from _wrong_values(site, load)
    yield from _defects(site)
    yield from _unproven(site)


def _wrong_credentials(site: Site) -> Iterator[str]:
    fences = dict(site.asked_store("SELECT s.name, r.fence FROM rotation r JOIN secret s ON s.id = r.secret_id"))
    users: dict[str, tuple[str, str]] = {name: (verifier, text) for name, verifier, text in site.target.execute(_ROLES)}
    for role in site.roles:
        current, kept = site.kept(role)
        if current is None or not site.logs_in(kept[current]):
            yield f"AWSCURRENT of {role} does not log in"
        for user in (role, role + CLONE_SUFFIX):
            if user not in users:
                continue
            verifier, comment = users[user]
            if not _is_known(verifier, user, kept.values()):
                yield f"{user} can log in with a password that the store does not keep"
            epoch = _EPOCH.search(comment)
            if epoch is not None and int(epoch.group(1)) > fences.get(role, 0):
                yield f"the target has seen epoch {epoch.group(1)} of {user}, the store only {fences.get(role)}"


def _is_known(verifier: str, user: str, kept: Iterable[Credential]) -> bool:
    return any(each.username == user and is_password_of(verifier, each.password.reveal()) for each in kept)


def _wrong_values(site: Site, load: Load) -> Iterator[str]:
    """Every secret is there, and what was written is read at every replica."""
    row = site.asked_store("SELECT count(*) FROM label JOIN secret s ON s.id = secret_id WHERE label = 'AWSCURRENT'")
    wanted = len(site.plain) + len(site.roles) + len(TARGETS)
    if row[0][0] != wanted:
        yield f"{row[0][0]} of {wanted} secrets have a current value"
    for replica in site.replicas:
        caller = Caller(site, replica)
        for secret in load.register.written:
            code, document = caller.ask("GetSecretValue", SecretId=secret)
            if code is not None:
                yield f"replica {replica.number} answers {code} for {secret}"
            elif not load.register.allows(secret, int(document["SecretString"]), load.register.least(secret)):
                yield f"replica {replica.number} has {document['SecretString']} for {secret}"
        caller.close()


def _defects(site: Site) -> Iterator[str]:
    for number, line in _log(site):
        if '"rotation.defect"' in line or "Traceback" in line:
            yield f"replica {number}: {line}"


def _unproven(site: Site) -> Iterator[str]:
    """Every server ends when it is asked to, and the audit ledger of each is whole, however often it was killed."""
    for replica in site.replicas:
        try:
            replica.server.stop()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            yield f"replica {replica.number} does not end well: {error}"
        ledger = replica.server.data / "audit"
        command = [sys.executable, "-m", "keywheel.verifier", str(ledger), "--key", str(ledger / "public-key.pem")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            yield f"the audit ledger of replica {replica.number}: {(done.stdout + done.stderr).strip()[-300:]}"


def logged(site: Site) -> Counter[str]:
    """What the servers logged of leases and of work that was broken off."""
    return Counter(event for _, line in _log(site) for event in _TOLD if f'"{event}"' in line)


def _log(site: Site) -> Iterator[tuple[int, str]]:
    for replica in site.replicas:
        for line in replica.server.log.read_text(encoding="utf-8", errors="replace").splitlines():
            yield replica.number, line
