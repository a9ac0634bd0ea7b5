"""The protocol holds in every state that can be reached; without any one of its rules it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keywheel.rotation import machine
from keywheel.rotation.machine import TEST_ATTEMPTS, Failure, Outcome, Rotation, Step
from tests.protocol.catalogue import MUTANTS, PROTOCOL, STUCK, WITHOUT_BARRIER
from tests.protocol.explorer import Verdict, explore
from tests.protocol.model import Barrier, Kind, Rules


@pytest.mark.parametrize("name", PROTOCOL)
def test_every_invariant_holds_and_there_is_always_a_way_to_a_good_end(name: str) -> None:
    """In every state that two workers, crashes anywhere and a network that does what it likes can lead to."""
    verdict = explore(PROTOCOL[name])
    assert (verdict.violations, verdict.stuck_trace) == ({}, [])
    assert verdict.states > 1_000


@pytest.mark.parametrize("name", WITHOUT_BARRIER)
def test_without_a_barrier_at_the_target_what_breaks_is_always_mended(name: str) -> None:
    """The outage is real, and ends by itself; nothing else breaks."""
    rules, expected = WITHOUT_BARRIER[name]
    verdict = explore(rules)
    assert (set(verdict.violations), verdict.stuck) == (expected, 0)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_protocol_with_one_rule_less_is_caught(name: str) -> None:
    """By the invariant that the rule is there for, with a trace that tells how."""
    rules, expected = MUTANTS[name]
    verdict = explore(rules, until_broken=expected != STUCK)
    trace = verdict.stuck_trace if expected == STUCK else verdict.violations.get(expected, [])
    assert trace, f"{name}: {sorted(verdict.violations)}, {verdict.stuck} without a way"
    print(f"{name}: {expected} in {len(trace)} steps: {'; '.join(trace)}")


def test_the_model_goes_from_step_to_step_as_the_engine_does() -> None:
    """Every pair of steps in the one is a pair of steps in the other."""
    free = Rules(Kind.SINGLE_USER, Barrier.NONE)  # where also a test is refused
    explored: list[Verdict] = [explore(free), explore(Rules(Kind.OVERLAPPING_KEYS))]
    modelled = {pair for verdict in explored for pair in verdict.steps}
    assert modelled == engine_steps()


def engine_steps() -> set[tuple[str, str]]:
    """The pairs of steps by the tables of the engine. Create is part of the step that comes before it in the model."""
    pairs = {("finish", machine.finished(retiring="old", retire_at=1.0, due=None).step.value)}
    refused = Failure(Step.TEST, "TargetRefused", "")
    for step in (Step.CREATE, Step.SET, Step.TEST, Step.RETIRE, Step.REPAIR):
        rotation = Rotation(step=step, token="token", window_end=9.0, attempt=TEST_ATTEMPTS)
        if step is Step.RETIRE:
            rotation = replace(rotation, token=None, retiring="old", retire_at=1.0)
        for outcome in Outcome:
            after = machine.advance(rotation, outcome, now=1.0, jitter=0.0, failure=refused)
            pairs.add((step.value, after.step.value))
    named = {"create": "idle"}
    contracted = {(named.get(before, before), named.get(after, after)) for before, after in pairs}
    return {(before, after) for before, after in contracted if before != after}
