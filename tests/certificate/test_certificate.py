"""A sample of the certificate, and the proof that it has teeth."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.certificate import cases, live, toys
from tests.certificate.cases import Case
from tests.certificate.live import Live
from tests.certificate.toys import Toy
from tests.certificate.world import STORES, Nursery, World, strategies_of
from tests.support.servers import PostgresServer

SAMPLE, DELAYED = 16, 3
FUNCTIONS = [(rotator, function) for rotator in live.names() for function in strategies_of(rotator)]


@dataclass
class Site:
    """Worlds on live targets, one of each kind for all tests."""

    server: PostgresServer
    targets: dict[str, Live]
    worlds: dict[tuple[str, str, bool], World]
    nurseries: list[Nursery]

    def world(self, rotator: str, store: str, *, real_time: bool = False) -> World:
        """The world of a kind."""
        if rotator not in self.targets:
            self.targets[rotator] = live.start(rotator)
        key = (rotator, store, real_time)
        if key not in self.worlds:
            self.nurseries.append(Nursery())
            target = self.targets[rotator]
            self.worlds[key] = World(store, target, self.server, real_time=real_time, nursery=self.nurseries[-1])
        return self.worlds[key]


@pytest.fixture(scope="module")
def site(postgres: PostgresServer) -> Iterator[Site]:
    """Everything that a case needs."""
    place = Site(postgres, {}, {}, [])
    yield place
    for nursery in place.nurseries:
        nursery.close()
    for world in place.worlds.values():
        world.__exit__()
    for target in place.targets.values():
        target.stop()


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(("rotator", "function"), FUNCTIONS)
def test_a_fault_at_a_boundary_loses_no_credential(site: Site, rotator: str, function: str, store: str) -> None:
    """Whatever the boundary and the fault: what is kept logs in at every instant, and AWSCURRENT after the recovery."""
    world, strategy = site.world(rotator, store), strategies_of(rotator)[function]
    found = cases.boundaries(world, function, world.admit(function, strategy))
    assert all(found.values()), found
    every = list(cases.cases(found))
    chosen = random.Random(f"{function} {store}").sample(every, SAMPLE)
    print(f"{SAMPLE} of {len(every)} cases")
    for case in chosen:
        result = cases.run(world, world.admit(function, strategy), case)
        assert result.violations == [], str(case)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(("rotator", "function"), FUNCTIONS)
def test_a_worker_that_wakes_up_after_two_rotations_changes_nothing(
    site: Site, rotator: str, function: str, store: str
) -> None:
    """Frozen with its request on the wire, past its lease; the request then arrives, and the worker goes on."""
    strategy = strategies_of(rotator)[function]
    at_ease = site.world(rotator, store)
    found = cases.boundaries(at_ease, function, at_ease.admit(function, strategy))
    every = [case for case in cases.delays(found) if case.at == "wire"]
    world = site.world(rotator, store, real_time=True)
    for case in random.Random(f"{function} {store}").sample(every, DELAYED):
        result = cases.run(world, world.admit(function, strategy), case)
        assert result.violations == [], str(case)


@pytest.mark.parametrize("toy", toys.TOYS, ids=lambda toy: toy.name.replace(" ", "-"))
def test_an_engine_that_does_it_in_a_wrong_order_is_caught(site: Site, toy: Toy) -> None:
    """By the very same cases: some fault shows a violation."""
    rotator, function = FUNCTIONS[0]
    real_time = toy.name == "no fencing"
    world, strategy = site.world(rotator, STORES[0]), strategies_of(rotator)[function]
    found = cases.boundaries(world, function, world.admit(function, strategy), toys.RIGHT)
    world = site.world(rotator, STORES[0], real_time=real_time)
    for case in _candidates(found, real_time=real_time):
        if cases.run(world, world.admit(function, strategy), case, toy).violations:
            print(f"{toy.name}: caught by {case}")
            return
    raise AssertionError(f"no case finds out what is wrong with an engine that has {toy.name}")


def _candidates(found: dict[str, list[str]], *, real_time: bool) -> list[Case]:
    if real_time:
        return [case for case in cases.delays(found) if case.at == "verb"]
    return [case for case in cases.cases(found) if case.at != "store" or case.deed != "duplicate"]
