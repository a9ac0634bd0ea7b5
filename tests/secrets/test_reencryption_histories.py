"""Any history of secrets and keys, with re-encryptions in between, opens every value that was ever put."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from keywheel.db.database import open_database
from keywheel.keys.keyring import Key
from keywheel.secrets.reencryption import Wanted
from tests.keys.ring import HERE
from tests.keys.test_histories import schema
from tests.secrets.moving import Interrupted, Meddled, Place, nothing

NAMES = st.sampled_from(["a", "b", "c"])
KEYS = st.sampled_from([None, 0, 1])


class Histories(RuleBasedStateMachine):
    """Three secrets, two keys and the default key; a replica in another Region."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        path = Path(self.directory.name) / "keywheel.db"
        path.write_bytes(schema())
        self.database = open_database(f"sqlite:///{path}")
        self.place = Place(self.database)
        self.keys: list[Key] = []
        self.expected: dict[str, str] = {}  # by version; a replica's has the same id
        self.locked: set[int] = set()

    def teardown(self) -> None:
        with closing(self.database):
            self.directory.cleanup()

    def named(self, number: int | None) -> str | None:
        return None if number is None else self.keys[number].arn

    @initialize()
    def begin(self) -> None:
        self.keys = [self.place.ring.make() for _ in range(2)]
        for name, key in (("a", None), ("b", 0), ("c", 1)):
            self.expected[self.place.create(name, self.named(key))] = "first"
        self.place.replicate("b", "us-east-1")

    @rule(name=NAMES, text=st.text(max_size=9), label=st.sampled_from([(), ("custom",), ("AWSPENDING",)]))
    def put(self, name: str, text: str, label: tuple[str, ...]) -> None:
        if not self.locked:
            self.expected[self.place.put(name, text, *label)] = text

    @rule(name=NAMES, key=KEYS)
    def change_key(self, name: str, key: int | None) -> None:
        if not self.locked:
            self.place.use_key(name, self.named(key) or "alias/aws/secretsmanager")

    @rule(key=st.integers(0, 1))
    def rotate(self, key: int) -> None:
        self.place.renew(self.keys[key])

    @rule(key=st.integers(0, 1))
    def disable_or_enable(self, key: int) -> None:
        change = self.place.ring.enable if key in self.locked else self.place.ring.disable
        change(self.keys[key])
        self.locked ^= {key}

    @rule(key=KEYS, generation=st.sampled_from([None, 1, 2]))
    def move(self, key: int | None, generation: int | None) -> None:
        wanted = Wanted() if key is None else Wanted(self.keys[key].key_id, generation)
        done = self.place.move(wanted)
        assert bool(self.locked) >= bool(done.left)

    @rule(when=st.integers(1, 3), before=st.booleans())
    def break_off(self, when: int, before: bool) -> None:
        def end(number: int) -> None:
            if number == when:
                raise Interrupted

        around = {"before": end, "after": nothing} if before else {"before": nothing, "after": end}
        try:
            self.place.move(database=Meddled(self.database, **around))
        except Interrupted:
            self.place.ring.restart()

    @rule()
    def move_all(self) -> None:
        if not self.locked:
            done = self.place.move()
            assert done.left == []
            assert done.examined == done.moved + done.current == len(self.place.values())
            for key in self.keys:
                assert set(self.place.counts(key)) <= {self.place.ring.find(key).generation}

    @invariant()
    def every_value_is_what_was_put(self) -> None:
        found = self.place.values()
        assert {version for _, version in found} == set(self.expected)
        for (_, version), value in found.items():
            assert value == self.expected[version] or (value is None and self.locked)

    @invariant()
    def the_counts_are_those_of_the_versions(self) -> None:
        counted = [sum(self.place.counts(key).values()) for key in (*self.keys, self.place.default())]
        with_default_of_replica = len(self.place.values()) - sum(counted)
        assert with_default_of_replica == sum(":us-east-1:" in arn for arn, _ in self.place.values())
        assert HERE.region != "us-east-1"


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
