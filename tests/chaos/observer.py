"""An observer that looks at live secrets all the time: what AWSCURRENT names has to log in."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from keywheel.errors import KeywheelError
from keywheel.rotation import rows
from keywheel.rotator import Credential
from keywheel.sensitive import Sensitive
from tests.chaos.load import Caller
from tests.chaos.site import SCOPE, STRATEGIES, Site

SINGLE, ALTERNATING = STRATEGIES
_PAUSE = 0.03
_KEPT_EVERY = 5  # one sample of so many looks at every version that is kept
_LOOKS = 4


@dataclass(slots=True)
class Seen:
    """What was seen. `outages`: how long the published credential of a single user was refused."""

    samples: int = 0
    kept: int = 0
    unanswered: int = 0
    outages: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Observer:
    """A thread that samples until it is told to stop.

    Args:
        bound: seconds within which a refused login of a single user has to work again.
    """

    def __init__(self, site: Site, since: Callable[[], float], *, seed: int, bound: float) -> None:
        self.seen = Seen()
        self._site = site
        self._since = since
        self._bound = bound
        self._draw = random.Random(seed)
        self._out: dict[str, float] = {}  # single users that were refused, and since when
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, when every refused login has been followed up."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        callers = [Caller(self._site, replica) for replica in self._site.replicas]
        while not self._over.is_set() or self._out:
            try:
                for role in list(self._out):
                    self._follow_up(role)
                if not self._over.is_set():
                    self._sample(callers)
            except (psycopg.Error, KeywheelError):  # a store or a target that is just killed
                self.seen.unanswered += 1
            except Exception as error:
                self.seen.wrong.append(f"the observer ended by {error!r}")
                raise
            self._over.wait(_PAUSE) if not self._over.is_set() else time.sleep(_PAUSE)
        for caller in callers:
            caller.close()

    def _sample(self, callers: list[Caller]) -> None:
        role = self._draw.choice(list(self._site.roles))
        code, document = self._draw.choice(callers).ask("GetSecretValue", SecretId=role)
        if code is not None:
            self.seen.unanswered += 1
            return
        self.seen.samples += 1
        fields = json.loads(document["SecretString"])
        credential = Credential(fields, Sensitive(fields["password"]))
        if not self._site.logs_in(credential):
            self._refused(role, document["VersionId"])
        if self.seen.samples % _KEPT_EVERY == 0:
            self._look_at_kept(role)

    def _refused(self, role: str, version: str) -> None:
        """A login was refused. What is published now? It may be another version by now."""
        if self._site.roles[role] == SINGLE:
            self._out.setdefault(role, self._since())
            return
        current, kept = self._site.kept(role)
        if current == version and not self._site.logs_in(kept[version]) and self._site.kept(role)[0] == version:
            self.seen.wrong.append(f"at {self._since():.1f} s AWSCURRENT of {role}, of alternating users, was refused")

    def _follow_up(self, role: str) -> None:
        """A single user that was refused: it works again, or its rotation is under way and not late."""
        current, kept = self._site.kept(role)
        began = self._out[role]
        if current is not None and self._site.logs_in(kept[current]):
            self.seen.outages.append(self._since() - began)
            del self._out[role]
        elif self._rests(role) and self._site.kept(role)[0] == current:
            self._wrong(role, "is refused, and nobody is about to mend it")
        elif self._since() - began > self._bound:
            self._wrong(role, f"was refused for more than {self._bound:.0f} s")

    def _wrong(self, role: str, what: str) -> None:
        self.seen.wrong.append(f"since {self._out.pop(role):.1f} s AWSCURRENT of {role} {what}: {self._state(role)}")

    def _rests(self, role: str) -> bool:
        """Whether no engine has anything to do for it."""
        entry = self._entry(role)
        return entry is None or (entry.rotation.token is None and entry.holder is None and not entry.rotation.verify_at)

    def _state(self, role: str) -> str:
        entry = self._entry(role)
        return "" if entry is None else f"{entry.rotation.step} attempt {entry.rotation.attempt} of {entry.holder}"

    def _entry(self, role: str) -> rows.Entry | None:
        rooms = self._site.house.rooms
        with rooms.database.read() as tx:
            return rows.get(tx, rooms.secrets.find(tx, SCOPE, role).id)

    def _look_at_kept(self, role: str) -> None:
        """Some version that is kept logs in.

        While they are looked at one by one, a password may change from one that is still to come to one that is done
        with. So it is looked again, as long as no version is added: then none is left that it could change to.
        """
        self.seen.kept += 1
        _, kept = self._site.kept(role)
        for _again in range(_LOOKS):
            if any(self._site.logs_in(each) for each in kept.values()):
                return
            before, (_, kept) = kept, self._site.kept(role)
            if before.keys() != kept.keys():
                return
        self.seen.wrong.append(f"at {self._since():.1f} s no version of {role} that is kept logs in")
