"""A minute of chaos in every test run; `make chaos` takes twenty. And what it is made of, one by one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest

from keywheel.keys import ciphertext
from tests.chaos.__main__ import chaos
from tests.chaos.gates import CUT, STALLED, Gates
from tests.chaos.ledger import (
    CIPHERTEXT,
    MAC_,
    SIGNATURE,
    Found,
    Told,
    gone_back,
    never_ended,
    order,
    orphans,
)
from tests.chaos.ledger import Made as MadeByKey
from tests.chaos.load import AWAY, Read
from tests.chaos.monkey import Struck
from tests.chaos.plan import Fault, Kind, plan
from tests.chaos.register import Register
from tests.chaos.report import Chaos
from tests.chaos.verdict import Held, Note, broken_fences, done_twice, is_password_of, unfinished

SEED = 365  # whose first twelve faults are of all nine kinds
LEASE = 4.0


def test_a_minute_of_chaos_loses_nothing() -> None:
    """Every promise is kept, and engines were really hit while they rotated, and others took over from them."""
    seen = chaos(
        46.0, secrets=300, roles=24, seed=SEED, lease=LEASE, reads=20.0, rotations=20.0, root_pause=600.0
    )  # fmt: skip
    print(seen)
    assert list(seen.violations) == []
    assert {each.fault.kind for each in seen.struck} == set(Kind)
    assert sum(bool(each.tokens) for each in seen.struck) > len(seen.struck) // 2
    assert len(seen.done) > 2 * seen.roles
    assert seen.samples > 100
    assert seen.kept > 20
    assert seen.keys.events["KeyRotationSucceeded"] > 15
    assert all(seen.keys.read[kind] > seen.keys.made[kind] > 30 for kind in (CIPHERTEXT, SIGNATURE, MAC_))
    assert seen.keys.read["key sets"] > 20
    assert seen.keys.commands["root rotate done"]


def test_an_alias_that_moves_to_a_key_that_is_not_made_is_found_out() -> None:
    """So the observer would see it. `make chaos ARGS="--mutant NAME"` runs the other mutants, which take longer."""
    seen = chaos(8.0, secrets=60, roles=4, seed=SEED, lease=LEASE, reads=5.0, root_pause=600.0, mutant="alias-first")
    assert any("was refused: NotFoundException" in each for each in seen.violations)


# --- the plan


def together(faults: list[Fault], fault: Fault) -> list[Fault]:
    return [each for each in faults if each is not fault and each.begin < fault.end and fault.begin < each.end]


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_never_hits_everybody_for_long(seed: int) -> None:
    """Two replicas at a time at the most; what hits all is short and alone; the way to the target is shut once."""
    faults = plan(seed, 600.0, 10.0)
    assert {fault.kind for fault in faults} == set(Kind)
    for fault in faults:
        others = together(faults, fault)
        assert fault.replica not in {each.replica for each in others}
        assert all(
            len({fault.replica, one.replica, two.replica}) < 3 for one in others for two in together(others, one)
        )
        assert not (others and fault.kind.spares_no_one)
        assert not (fault.kind.is_of_target and any(each.kind.is_of_target for each in others))
        assert fault.end <= 600.0


def test_the_same_seed_draws_the_same_plan() -> None:
    """So that a run can be looked at again."""
    assert plan(1, 300.0, 10.0) == plan(1, 300.0, 10.0)
    assert plan(1, 300.0, 10.0) != plan(2, 300.0, 10.0)


# --- the gates


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says what it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while piece := connection.recv(100):
                connection.sendall(piece)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def through(gates: Gates) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gates.ports["g"]), timeout=10.0)


def test_a_stalled_gate_delivers_late(echo: int) -> None:
    """What was sent meanwhile, by whom was connected and by whom came later, arrives when it opens."""
    with Gates({"g": echo}) as gates, through(gates) as before:
        before.sendall(b"1")
        assert before.recv(1) == b"1"
        gates.shut("g", STALLED)
        with through(gates) as later:
            for each in (before, later):
                each.sendall(b"2")
                each.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    each.recv(1)
                each.settimeout(10.0)
            gates.open("g")
            assert [before.recv(1), later.recv(1)] == [b"2", b"2"]


def test_a_cut_gate_ends_what_is_open_and_lets_nobody_in(echo: int) -> None:
    """Until it opens."""
    with Gates({"g": echo}) as gates, through(gates) as before:
        before.sendall(b"1")
        assert before.recv(1) == b"1"
        gates.shut("g", CUT)
        with through(gates) as later:
            assert [ends(before), ends(later)] == [True, True]
        gates.open("g")
        with through(gates) as after:
            after.sendall(b"3")
            assert after.recv(1) == b"3"


def ends(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_gate_is_shut_for_some_processes_only(echo: int) -> None:
    """Whose a connection is, is found out."""
    with Gates({"g": echo}) as gates, through(gates) as ours:
        gates.shut("g", CUT, only=[1])
        ours.sendall(b"1")
        assert ours.recv(1) == b"1"
        gates.shut("g", CUT, only=[os.getpid()])
        assert ends(ours)


# --- what is checked

NOTES = [
    Note(1, 7, "a", 0, "create", "RotationStarted", 0.0),
    Note(2, 7, "a", 1, "create", "StepDone", 0.0),
    Note(3, 7, "a", 2, "set", "StepDone", 0.0),
    Note(4, 7, "a", 2, "test", "StepDone", 0.0),
    Note(5, 7, "a", 2, "finish", "RotationSucceeded", 0.0),
]
HELD = [Held(7, 1, "one"), Held(7, 1, "one fenced at 1"), Held(7, 2, "two")]


def test_what_is_right_is_not_blamed() -> None:
    """A rotation that was taken over."""
    assert list(broken_fences(NOTES, HELD)) == []
    assert list(done_twice(NOTES)) == []
    assert list(unfinished(NOTES, {"a": "s"})) == []


def test_a_step_behind_a_later_claim_is_found() -> None:
    """A worker saved its step though somebody else had taken over."""
    assert list(broken_fences([*NOTES, Note(6, 7, "b", 1, "set", "StepDone", 0.0)], HELD))


def test_two_engines_with_one_claim_are_found() -> None:
    """And so is a fence that was given again."""
    assert list(broken_fences([], [*HELD, Held(7, 2, "three")]))
    assert list(broken_fences([], [*HELD, Held(7, 1, "one")]))


def test_a_rotation_that_was_done_twice_is_found() -> None:
    """Also one step of it; after it was rolled back, that is right."""
    assert list(done_twice([*NOTES, Note(6, 7, "a", 3, "finish", "RotationSucceeded", 0.0)]))
    assert list(done_twice([*NOTES, Note(6, 7, "a", 3, "set", "StepDone", 0.0)]))
    back = Note(6, 7, "a", 3, "repair", "RolledBack", 0.0)
    assert list(done_twice([*NOTES, back, Note(7, 7, "a", 4, "set", "StepDone", 0.0)])) == []


def test_a_rotation_that_was_promised_and_never_done_is_found() -> None:
    """By its token."""
    assert list(unfinished(NOTES, {"a": "s", "b": "s"}))


def test_a_password_is_told_by_its_verifier() -> None:
    """As PostgreSQL keeps it."""
    salt = b"sixteen bytes...".ljust(16)
    key = hmac.digest(hashlib.pbkdf2_hmac("sha256", b"right", salt, 4096), b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(key).digest()).decode()
    verifier = f"SCRAM-SHA-256$4096:{base64.b64encode(salt).decode()}${stored}:c2VydmVy"
    assert is_password_of(verifier, "right")
    assert not is_password_of(verifier, "wrong")
    assert not is_password_of("md5", "right")


def test_a_write_that_was_answered_and_lost_is_found() -> None:
    """What nobody answered may be read or not; what was answered, or something newer, must be."""
    register = Register()
    first, second = register.begin("s"), register.begin("s")
    register.answered("s", second)
    least = register.least("s")
    assert register.allows("s", second, least)
    assert register.allows("s", first, least)  # done late
    assert not register.allows("s", 0, least)
    register.answered("s", first)
    third = register.begin("s")
    register.refused("s", third)
    assert not register.allows("s", 4, register.least("s"))


# --- what is checked of keys

FIRST = {"alias/a": "k1"}
TOLD = [
    Told("alias/a", "k2", "r1", "KeyRotationStarted"),
    Told("alias/a", "k2", "r1", "KeyCreated"),
    Told("alias/a", "k2", "r1", "KeyTested"),
    Told("alias/a", "k2", "r1", "KeyRotationSucceeded"),
]
KEYS = [Found("k1", "Enabled", None, "alias/a", False), Found("k2", "Enabled", "alias/a", None, False)]


def test_keys_that_are_where_they_belong_are_not_blamed() -> None:
    """The current one, a former one, and one that was made in vain and thrown away."""
    discarded = Found("k3", "PendingDeletion", None, None, True)
    assert list(orphans([*KEYS, discarded], order(FIRST, TOLD))) == []
    assert list(never_ended({"r1": "alias/a"}, TOLD)) == []


@pytest.mark.parametrize(
    "key",
    [
        Found("k3", "Enabled", None, None, False),
        Found("k3", "PendingDeletion", None, None, False),
        Found("k3", "Enabled", None, "alias/a", False),
        Found("k1", "Enabled", "alias/a", None, False),
        Found("k2", "Disabled", "alias/a", None, False),
    ],
)
def test_a_key_that_is_not_where_it_belongs_is_found(key: Found) -> None:
    """Nobody's, not the journal's, back behind its alias, or switched off."""
    assert list(orphans([key], order(FIRST, TOLD)))


def test_a_rotation_of_a_key_that_never_ended_or_twice_is_found() -> None:
    """By the run that was answered."""
    assert list(never_ended({"r2": "alias/a"}, TOLD))
    assert list(never_ended({}, [*TOLD, TOLD[1]]))


def test_an_alias_that_answers_by_a_key_that_it_had_left_is_found() -> None:
    """Behind an answer by the next one; not one that was asked for before that was told."""
    named = order(FIRST, TOLD)

    def by(key_id: str, begun: float, at: float) -> MadeByKey:
        return MadeByKey(SIGNATURE, "alias/a", key_id, "", "", begun, at)

    assert list(gone_back([by("k1", 0.0, 1.0), by("k2", 1.0, 3.0), by("k1", 2.0, 4.0)], named)) == []
    assert list(gone_back([by("k2", 1.0, 3.0), by("k1", 3.5, 4.0)], named))
    assert list(gone_back([by("k3", 1.0, 3.0)], named))


def test_old_material_that_is_used_after_new_is_found() -> None:
    """A key that rotated in place: its ciphertexts name the material."""
    key_id = str(uuid.UUID(int=1))

    def by(generation: int, begun: float, at: float) -> MadeByKey:
        blob = base64.b64encode(ciphertext.head(key_id, generation) + b"sealed").decode()
        return MadeByKey(CIPHERTEXT, "alias/a", key_id, "", blob, begun, at)

    assert list(gone_back([by(1, 0.0, 1.0), by(2, 1.0, 3.0), by(1, 2.0, 4.0)], {"alias/a": [key_id]})) == []
    assert list(gone_back([by(2, 1.0, 3.0), by(1, 3.5, 4.0)], {"alias/a": [key_id]}))


def test_the_report_tells_how_long_it_took() -> None:
    """Until work was done again, from the fault's beginning; until reads were answered, from its end."""
    struck = Struck(Fault(Kind.KILL, 1, 10.0, 20.0), 10.0, 20.0, ("held", "lost"))
    reads = [Read(12.0, 1, 0.1, AWAY), Read(23.0, 1, 0.1, None), Read(5.0, 1, 0.1, None), Read(21.0, 0, 0.1, AWAY)]
    done = {"before": 9.0, "other": 13.0, "held": 18.0}
    seen = Chaos(
        seed=1, seconds=30.0, lease=4.0, secrets=1, roles=1, struck=[struck], reads=reads, asked={}, writes={},
        done=done, samples=1, kept=1, outages=[], settled=1.0, events={}, logged={}, violations=[],
    )  # fmt: skip
    found = seen.recovery(Kind.KILL)
    assert (found.next_done, found.pause, found.taken_over, found.reads) == ([3.0], [5.0], [8.0], [3.0])
    assert seen.unaided() == {AWAY: 1}
    assert "| replica killed | 1 | 3.0, at most 3.0 |" in str(seen)
