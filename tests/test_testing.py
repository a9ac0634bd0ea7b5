"""The tools that tests are made with do what they say, and the contract of a target catches targets that break it."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

import pytest

from keywheel.clock import Clock
from keywheel.errors import LoginRefused, SecretMalformed, TargetRefused, TargetUnavailable
from keywheel.rotator import NO_FENCE, CloningTarget, Credential, Fence, LockingTarget
from keywheel.sensitive import Sensitive
from keywheel.testing import LOOPBACK, Crash, FaultProxy, Fuse, ManualClock, TargetContract, closed_port

# --- time ----------------------------------------------------------------------------------------------------------


def test_a_manual_clock_moves_when_told() -> None:
    """Time that passes moves both readings; a correction of the time of day moves only that one."""
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    as_clock: Clock = clock
    clock.advance(timedelta(minutes=1))
    assert (as_clock.now(), as_clock.monotonic()) == (datetime(2026, 5, 1, 0, 1, tzinfo=UTC), 60.0)
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    assert (as_clock.now(), as_clock.monotonic()) == (datetime(2020, 1, 1, tzinfo=UTC), 60.0)


# --- crashes -------------------------------------------------------------------------------------------------------


class Counter:
    """Something with effects, an attribute and special methods."""

    STEP: ClassVar[int] = 1

    def __init__(self) -> None:
        self.count = 0

    def add(self, *, times: int = 1) -> Counter:
        self.count += self.STEP * times
        return self

    def fail(self) -> None:
        raise ValueError("no")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.count = 0

    def __len__(self) -> int:
        return self.count


def test_a_recording_names_the_points_in_order() -> None:
    """Each public method call, and entering and leaving, has a point before and one after, also where it fails."""
    fuse = Fuse()
    counter = fuse.around("counter", Counter())
    counter.add()
    with fuse.recording() as points, counter as entered:
        entered.add(times=2)
        with pytest.raises(ValueError, match="no"):
            entered.fail()
        assert (len(entered), entered.count, entered.STEP) == (3, 3, 1)
    effects = ["counter.enter", "counter.add", "counter.fail", "counter.exit"]
    assert points == [f"{when} {effect}" for effect in effects for when in ("before", "after")]


def test_a_crash_comes_at_its_point_and_leaves_a_dead_process() -> None:
    """Before the point everything has happened, after it nothing does, until the fuse is put away."""
    for number, count in enumerate([0, 1, 1, 2]):
        fuse, inner = Fuse(), Counter()
        counter = fuse.around("counter", inner)
        with fuse.blow_at(number):
            with pytest.raises(Crash):
                counter.add().add()
            with pytest.raises(Crash):
                counter.add()
        assert inner.count == count
        assert counter.add().count == count + 1


def test_a_deed_is_done_once_and_the_rest_goes_on() -> None:
    """An action of one's own is called at its point only, and stops nothing."""
    fuse, seen = Fuse(), list[int]()
    counter = fuse.around("counter", Counter())
    with fuse.blow_at(3, lambda: seen.append(counter.count)):
        counter.add().add().add()
    assert (seen, counter.count) == ([2], 3)


def test_points_are_numbered_across_threads() -> None:
    """However many threads pass, one point has the number, and it blows once."""
    fuse, seen = Fuse(), list[int]()
    counter = fuse.around("counter", Counter())
    with fuse.blow_at(50, lambda: seen.append(1)):
        threads = [threading.Thread(target=lambda: [counter.add() for _ in range(10)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [1]


def test_a_stand_in_passes_for_what_it_stands_for() -> None:
    """It is an instance of the class and of the protocols, compares and writes through, and may be a function."""
    fuse, notebook = Fuse(), Notebook()
    double = fuse.around("target", notebook)
    assert isinstance(double, Notebook)
    assert isinstance(double, CloningTarget)
    assert isinstance(double, LockingTarget)
    assert not isinstance(fuse.around("counter", Counter()), CloningTarget)
    assert double == notebook
    function = fuse.around("length", len)
    with fuse.recording() as points:
        assert function("four") == 4
    assert points == ["before length", "after length"]
    counter = Counter()
    fuse.around("counter", counter).count = 7
    assert counter.count == 7


# --- the network ---------------------------------------------------------------------------------------------------


@contextmanager
def echo_server() -> Iterator[int]:
    """Answers each chunk with itself, twice."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve(client: socket.socket) -> None:
            with client:
                while chunk := client.recv(1000):
                    client.sendall(chunk * 2)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=[client], daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def asked(proxy: FaultProxy, *requests: bytes) -> bytes:
    """What a client hears to the requests, until the end or half a second of silence."""
    heard = b""
    with socket.create_connection((LOOPBACK, proxy.port), timeout=0.5) as client:
        for request in requests:
            client.sendall(request)
            while len(heard) < 2 * len(request):
                try:
                    chunk = client.recv(1000)
                except TimeoutError:
                    return heard + b"..."
                if not chunk:
                    return heard + b"|"
                heard += chunk
    return heard


Fault = Callable[[FaultProxy], None]
FAULTS: list[tuple[str, Fault, bytes]] = [
    ("passes", lambda proxy: proxy.pass_through(), b"abab"),
    ("is slow", lambda proxy: proxy.delay(0.01), b"abab"),
    ("swallows", lambda proxy: proxy.black_hole(), b"..."),
    ("cuts at once", lambda proxy: proxy.cut_replies(), b"|"),
    ("cuts inside", lambda proxy: proxy.cut_replies(3), b"aba|"),
    ("loses the reply", lambda proxy: proxy.lose_reply_to(b"b"), b"|"),
    ("loses another reply", lambda proxy: proxy.lose_reply_to(b"x"), b"abab"),
    ("falls silent", lambda proxy: proxy.lose_reply_to(b"b", silent=True), b"..."),
]


@pytest.mark.parametrize(("fault", "heard"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_is_what_the_client_hears(fault: Fault, heard: bytes) -> None:
    """Every fault shows at the client as it is described, and ends with `pass_through`."""
    with echo_server() as port, FaultProxy(port) as proxy:
        assert asked(proxy, b"ab") == b"abab"
        fault(proxy)
        assert asked(proxy, b"ab") == heard
        proxy.pass_through()
        assert asked(proxy, b"ab") == b"abab"
        assert proxy.requests == [b"ab"] * 3


def test_a_proxy_refuses_connections_and_takes_them_again() -> None:
    """Refusing ends open connections too; afterwards the port is the same."""
    with echo_server() as port, FaultProxy(port) as proxy:
        with socket.create_connection((LOOPBACK, proxy.port)) as client:
            client.sendall(b"ab")
            assert client.recv(4, socket.MSG_WAITALL) == b"abab"
            proxy.refuse()
            assert client.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            asked(proxy, b"ab")
        proxy.pass_through()
        assert asked(proxy, b"ab") == b"abab"


def test_a_closed_port_refuses() -> None:
    """Nobody listens there."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, closed_port()))


# --- the contract of a target ----------------------------------------------------------------------------------------


class Notebook:
    """A target that is a dict of users and passwords, at one address. It keeps the contract."""

    ENGINES: ClassVar[tuple[str, ...]] = ("notebook",)
    EXCLUDE_CHARACTERS: ClassVar[str] = ""
    PASSWORD_LENGTH: ClassVar[int] = 20
    USERNAME_LIMIT: ClassVar[int] = 40

    def __init__(self) -> None:
        self.users: dict[str, str | None] = {"root": "root's password"}

    def place(self, credential: Credential) -> str:
        if credential.text("engine") not in self.ENGINES:
            raise SecretMalformed("engine must be notebook")
        return credential.text("host")

    def accepts(self, credential: Credential) -> bool:
        if self.place(credential) != "here":
            raise TargetUnavailable("there is no such place")
        return self.users.get(credential.username) == credential.password.reveal()

    def set_password(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        fence.seconds()
        self._enter(by, credential.username)
        self.users[credential.username] = credential.password.reveal()

    def clone_user(self, original: Credential, clone: Credential, *, by: Credential) -> None:
        self._enter(by, "root")
        self.users.setdefault(clone.username, None)

    def lock_user(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        fence.seconds()
        self._enter(by, "root")
        self.users[credential.username] = None

    def _enter(self, by: Credential, user: str) -> None:
        if not self.accepts(by):
            raise LoginRefused(f"{by.username} cannot log in")
        if by.username not in ("root", user):
            raise TargetRefused(f"{by.username} may not do this")


class TestNotebook(TargetContract):
    """A target that keeps the contract passes it."""

    target: Notebook = Notebook()

    def fresh_credential(self) -> Credential:
        name, password = secrets.token_hex(8), secrets.token_hex(8)
        self.target.users[name] = password
        return Credential({"engine": "notebook", "host": "here", "username": name}, Sensitive(password))

    def superuser(self) -> Credential:
        fields = {"engine": "notebook", "host": "here", "username": "root"}
        return Credential(fields, Sensitive("root's password"))


class NeverAsksTheFence(Notebook):
    """Changes what it is told to, however late."""

    def set_password(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        super().set_password(credential, by=by)


class RepeatsTheClone(Notebook):
    """Makes the clone anew each time, which ends its password."""

    def clone_user(self, original: Credential, clone: Credential, *, by: Credential) -> None:
        super().clone_user(original, clone, by=by)
        self.users[clone.username] = None


class TogglesTheLock(Notebook):
    """Locking twice unlocks."""

    def lock_user(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        locked = self.users[credential.username] is None
        super().lock_user(credential, by=by, fence=fence)
        self.users[credential.username] = credential.password.reveal() if locked else None


class QuotesThePassword(Notebook):
    """Says in an error what it was given."""

    def _enter(self, by: Credential, user: str) -> None:
        if not self.accepts(by):
            raise LoginRefused(f"{by.password.reveal()} is wrong")
        super()._enter(by, user)


class KeepsThePassword(Notebook):
    """Has it in a variable where an error is raised, for a crash report to print."""

    def _enter(self, by: Credential, user: str) -> None:
        password = by.password.reveal()
        if self.users.get(by.username) != password:
            raise LoginRefused("wrong") if self.place(by) == "here" else TargetUnavailable("away")
        super()._enter(by, user)


class TakesSilenceForNo(Notebook):
    """Says no where it could not ask."""

    def accepts(self, credential: Credential) -> bool:
        return self.place(credential) == "here" and super().accepts(credential)


class RemembersTheOldPassword(Notebook):
    """Keeps the old password working."""

    def __init__(self) -> None:
        super().__init__()
        self.old: set[str | None] = set()

    def accepts(self, credential: Credential) -> bool:
        return super().accepts(credential) or credential.password.reveal() in self.old

    def set_password(self, credential: Credential, *, by: Credential, fence: Fence = NO_FENCE) -> None:
        self.old.add(self.users[credential.username])
        super().set_password(credential, by=by, fence=fence)


MUTANTS: list[tuple[type[Notebook], str]] = [
    (NeverAsksTheFence, "test_a_worker_whose_lease_is_over_changes_nothing"),
    (RepeatsTheClone, "test_a_user_cloned_twice_is_cloned_once"),
    (RepeatsTheClone, "test_a_crash_before_or_after_any_effect_loses_no_credential"),
    (TogglesTheLock, "test_a_user_locked_twice_is_locked_until_its_next_password"),
    (QuotesThePassword, "test_no_secret_value_is_logged_raised_or_printed"),
    (KeepsThePassword, "test_no_secret_value_is_logged_raised_or_printed"),
    (TakesSilenceForNo, "test_a_target_that_is_down_is_unavailable"),
    (RemembersTheOldPassword, "test_a_password_set_twice_is_set_once"),
]


@pytest.mark.parametrize(("mutant", "name"), MUTANTS, ids=[f"{m.__name__}-{name}" for m, name in MUTANTS])
def test_a_target_that_breaks_the_contract_is_caught(mutant: type[Notebook], name: str) -> None:
    """Each promise of the contract has a broken target that it finds out."""
    contract = TestNotebook()
    contract.target = mutant()
    test: Any = getattr(contract, name)
    with pytest.raises((AssertionError, TargetRefused)):
        test()
