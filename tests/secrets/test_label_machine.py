"""The rules of staging labels under any history, through the real ledger, against a model written from AWS's prose.

The model knows versions and the labels each of them holds, in the words of the fact sheet; it shares no code with
`labels.py`. After each call the ledger has to hold what the model holds, on both stores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keywheel.db.statement import Tx
from keywheel.errors import CallerError, ResourceExists, ResourceNotFound
from keywheel.secrets import labels as staging
from keywheel.secrets.ledger import Draft
from keywheel.secrets.rows import Secret
from keywheel.secrets.values import Reading, Value
from tests.secrets.house import HERE, START, House, token

T = TypeVar("T")

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
MOST = 20
CUSTOM = [f"custom-{n}" for n in range(MOST + 2)]
SOME_LABELS = st.lists(st.sampled_from([CURRENT, PENDING, PREVIOUS, *CUSTOM[:3]]), max_size=4)
MANY_LABELS = st.lists(st.sampled_from(CUSTOM), min_size=6, max_size=MOST)
SOME_LABEL = st.sampled_from([CURRENT, PENDING, PREVIOUS, *CUSTOM[:3]])
NOBODY = token(999_999)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


class Refused(Exception):
    """The model does not allow the call."""


class Model:
    """A secret as the user guide describes it."""

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}
        self.held: dict[str, set[str]] = {}

    def holder(self, label: str) -> str | None:
        """A label is attached to one version at a time."""
        return next((version for version, labels in self.held.items() if label in labels), None)

    def put(self, version: str, value: str, stages: list[str]) -> None:
        """PutSecretValue of a version that has no value yet."""
        first = self.holder(CURRENT) is None
        stages = stages or [CURRENT]
        self.values[version] = value
        self.held.setdefault(version, set())
        for label in stages:
            if label != CURRENT:
                self._attach(label, version)
        if first or CURRENT in stages:
            # A new AWSCURRENT while a different version is AWSPENDING aborts the rotation.
            for other, labels in self.held.items():
                if other != version:
                    labels.discard(PENDING)
            self._become_current(version)
        self._count()

    def reserve(self, version: str) -> None:
        """RotateSecret: an empty version under AWSPENDING."""
        self.values[version] = None
        self.held[version] = set()
        self._attach(PENDING, version)
        self._count()

    def move(self, label: str, to: str | None, remove_from: str | None) -> None:
        """UpdateSecretVersionStage."""
        holder = self.holder(label)
        if remove_from != holder and (remove_from is not None or holder != to):
            raise Refused("RemoveFromVersionId has to name the version that holds the label")
        if to is None:
            if label == CURRENT or holder is None:
                raise Refused("AWSCURRENT cannot be removed, nor can what is not attached")
            self.held[holder].discard(label)
        elif to not in self.values or (label == CURRENT and self.values[to] is None):
            raise Refused("no such version, or none that has a value")
        elif label == CURRENT:
            self._become_current(to)
        else:
            self._attach(label, to)
        self._count()

    def _attach(self, label: str, version: str) -> None:
        for labels in self.held.values():
            labels.discard(label)
        self.held[version].add(label)

    def _become_current(self, version: str) -> None:
        old = self.holder(CURRENT)
        if old == version:
            return
        self._attach(CURRENT, version)
        if old is not None:
            self._attach(PREVIOUS, old)
            self.held[old].discard(PENDING)  # it evaporates from the version that loses AWSCURRENT

    def _count(self) -> None:
        if sum(len(labels) for labels in self.held.values()) > MOST:
            raise Refused("too many labels")


class Ledger(RuleBasedStateMachine):
    """One secret in the real ledger, and its model."""

    house: House
    made = 0

    def __init__(self) -> None:
        super().__init__()
        Ledger.made += 1
        self.name = f"secret-{Ledger.made}"
        self.model = Model()
        self.tokens = 0
        self.before: dict[str, str] = {}

    # --- the real thing

    def write(self, work: Callable[[Tx, Secret], T]) -> T:
        secrets = self.house.secrets
        return self.house.db.write(lambda tx: work(tx, secrets.find(tx, HERE, self.name, lock=True)))

    def really_put(self, version: str, value: str, stages: list[str]) -> list[str]:
        text = Value.of_text(value)
        return self.write(lambda tx, secret: self.house.secrets.put(tx, secret, version, text, stages, START))

    def really_move(self, label: str, to: str | None, remove_from: str | None) -> None:
        def work(tx: Tx, secret: Secret) -> None:
            after = staging.move(self.house.secrets.labels(tx, secret), label, to=to, remove_from=remove_from)
            self.house.secrets.relabel(tx, secret, after, START)

        self.write(work)

    def read(self, **which: Any) -> Reading:
        wanted = {"version_id": None, "label": None, **which}
        with self.house.db.read() as tx:
            return self.house.secrets.vault.read(tx, HERE, self.name, now=START, **wanted)

    def both(self, modelled: Callable[[Model], None], real: Callable[[], object]) -> None:
        """Do it in the model and in the ledger: both allow it, or both refuse it and nothing has changed."""
        self.before = self.labels()
        after = copy.deepcopy(self.model)
        try:
            modelled(after)
        except Refused as refused:
            note(f"the model refuses: {refused}")
            self.expect(CallerError, real)
            return
        real()
        self.model = after

    @staticmethod
    def expect(error: type[CallerError], real: Callable[[], object]) -> None:
        try:
            real()
        except error:
            return
        raise AssertionError(f"the ledger did not refuse with {error.__name__}")

    def labels(self) -> dict[str, str]:
        """What the model says about the labels."""
        return {label: version for version, labels in self.model.held.items() for label in labels}

    def new_token(self) -> str:
        self.tokens += 1
        return token(self.tokens)

    def with_value(self, chosen: int) -> str:
        valued = [version for version, value in self.model.values.items() if value is not None]
        return valued[chosen % len(valued)]

    def any_version(self, chosen: int) -> str | None:
        """One of the versions, or none, or one that does not exist."""
        return [*self.model.values, None, NOBODY][chosen % (len(self.model.values) + 2)]

    # --- what callers do

    @initialize(value=st.none() | TEXTS)
    def create(self, value: str | None) -> None:
        version, secrets = self.new_token(), self.house.secrets
        text = None if value is None else Value.of_text(value)
        _, made = self.house.db.write(
            lambda tx: secrets.create(tx, HERE, Draft(self.name), START, token=version, value=text)
        )
        assert made == (None if value is None else version)
        if value is not None:
            self.model.put(version, value, [])

    @rule(value=TEXTS, stages=SOME_LABELS | MANY_LABELS)
    def put(self, value: str, stages: list[str]) -> None:
        version = self.new_token()
        self.both(lambda model: model.put(version, value, stages), lambda: self.really_put(version, value, stages))

    @rule(value=TEXTS)
    def update(self, value: str) -> None:
        """UpdateSecret with a value is PutSecretValue without labels."""
        version = self.new_token()
        self.both(lambda model: model.put(version, value, []), lambda: self.really_put(version, value, []))

    @precondition(lambda self: any(value is not None for value in self.model.values.values()))
    @rule(chosen=st.integers(0, 100), stages=SOME_LABELS)
    def put_the_same_again(self, chosen: int, stages: list[str]) -> None:
        """A token used before with the same value: success, and nothing changes."""
        version = self.with_value(chosen)
        value = self.model.values[version]
        assert value is not None
        assert set(self.really_put(version, value, stages)) == self.model.held[version]

    @precondition(lambda self: any(value is not None for value in self.model.values.values()))
    @rule(chosen=st.integers(0, 100), stages=SOME_LABELS)
    def put_another_value_under_a_used_token(self, chosen: int, stages: list[str]) -> None:
        """A token used before with another value: refused, and nothing changes."""
        version = self.with_value(chosen)
        self.expect(ResourceExists, lambda: self.really_put(version, f"not {self.model.values[version]}", stages))

    @rule()
    def reserve(self) -> None:
        """RotateSecret."""
        version = self.new_token()
        self.both(
            lambda model: model.reserve(version),
            lambda: self.write(lambda tx, secret: self.house.secrets.reserve(tx, secret, version, START)),
        )

    @precondition(lambda self: None in self.model.values.values())
    @rule(chosen=st.integers(0, 100), stages=SOME_LABELS)
    def fill(self, chosen: int, stages: list[str]) -> None:
        """PutSecretValue with the token of an empty version."""
        empty = [version for version, value in self.model.values.items() if value is None]
        version = empty[chosen % len(empty)]
        self.both(
            lambda model: model.put(version, "filled", stages), lambda: self.really_put(version, "filled", stages)
        )

    @rule(label=SOME_LABEL, to=st.integers(0, 100), away_from=st.integers(0, 100), knows=st.booleans())
    def move(self, label: str, to: int, away_from: int, knows: bool) -> None:
        """UpdateSecretVersionStage, by somebody who knows where the label is or does not."""
        target = self.any_version(to)
        remove_from = self.model.holder(label) if knows else self.any_version(away_from)
        self.both(
            lambda model: model.move(label, target, remove_from), lambda: self.really_move(label, target, remove_from)
        )

    # --- what holds after each of them

    @invariant()
    def the_ledger_holds_what_the_model_holds(self) -> None:
        with self.house.db.read() as tx:
            secret = self.house.secrets.find(tx, HERE, self.name)
            assert dict(self.house.secrets.labels(tx, secret)) == self.labels()

    @invariant()
    def the_rules_hold(self) -> None:
        labels = self.labels()
        assert len(labels) <= MOST
        assert (CURRENT in labels) == any(value is not None for value in self.model.values.values())
        was, now = self.before.get(CURRENT), labels.get(CURRENT)
        if was is not None and was != now:
            assert labels[PREVIOUS] == was
            assert labels.get(PENDING) != was

    @invariant()
    def what_was_put_is_read(self) -> None:
        for version, labels in self.model.held.items():
            value = self.model.values[version]
            for which in ({"version_id": version}, *({"label": label} for label in sorted(labels)[:3])):
                if value is None:
                    self.expect(ResourceNotFound, lambda which=which: self.read(**which))  # type: ignore[misc]
                    continue
                reading = self.read(**which)
                assert (reading.version_id, reading.value) == (version, Value.of_text(value))
                assert set(reading.labels) == labels


def test_labels_move_by_the_rules_whatever_happens(house: House) -> None:
    """Any history of calls ends in what the prose says, and every value is read back by its labels."""

    class OfThisHouse(Ledger):
        pass

    OfThisHouse.house = house
    run_state_machine_as_test(OfThisHouse, settings=settings.get_profile("ci"))
