"""What is advised for a secret that is stuck, followed by a script, ends well from every fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keywheel.access.access_keys import Role
from keywheel.access.door import Caller, authorize
from keywheel.api import diagnosis as api
from keywheel.errors import AccessDenied, InvalidRequest
from keywheel.rotation.diagnosis import Action
from tests.support.account import ALTERNATING_USERS, SCOPE, SINGLE_USER, Account
from tests.support.memory_target import MemoryTarget

ROUNDS = 8
CALLER = Caller(SCOPE.arn("iam", "user/admin"), SCOPE, Role.ADMINISTRATOR, "AKIAADMIN")
Fault = Callable[[Account, MemoryTarget, str], None]


def explain(account: Account, name: str, *, probe: bool = True) -> api.ExplainSecretResponse:
    """`keywheel why`."""
    return api.explain_secret(account.rooms, CALLER, api.ExplainSecretRequest(secret_id=name, probe=probe))


def repair(account: Account, name: str) -> None:
    """`keywheel repair`."""
    api.repair_secret(account.rooms, CALLER, api.RepairSecretRequest(secret_id=name))
    account.engine.tick()


def follow(account: Account, target: MemoryTarget, name: str) -> list[str]:
    """Do what is advised until nothing is; what that was."""
    done: list[str] = []
    for _ in range(ROUNDS):
        advice = explain(account, name).action
        done.append(advice or "")
        if advice == Action.NOTHING:
            break
        if advice == Action.WAIT:
            target.down = False  # whoever looks after the target has done so meanwhile
            account.pass_time(minutes=10)
            continue
        if advice == Action.BY_HAND:
            current = account.credential(name)
            target.passwords[current.username] = current.password.reveal()
        repair(account, name)
        account.pass_time(minutes=10)
    return done


def lost_reply(account: Account, target: MemoryTarget, name: str) -> None:
    target.loses_reply_to = "set_password"
    account.rotated(name)
    target.loses_reply_to = ""


def away(account: Account, target: MemoryTarget, name: str) -> None:
    target.down = True
    account.rotated(name)


def refuses(account: Account, target: MemoryTarget, name: str) -> None:
    target.refuses = True
    account.rotated(name)
    target.refuses = False


def unknown_password(account: Account, target: MemoryTarget, name: str) -> None:
    target.passwords[account.credential(name).username] = "changed by somebody"


def unknown_password_in_a_rotation(account: Account, target: MemoryTarget, name: str) -> None:
    lost_reply(account, target, name)
    target.passwords[account.credential(name).username] = "changed by somebody"


def previous_password(account: Account, target: MemoryTarget, name: str) -> None:
    account.rotated(name)
    old = account.credential(name, "AWSPREVIOUS")
    target.passwords[old.username] = old.password.reveal()


def cancelled_in_doubt(account: Account, target: MemoryTarget, name: str) -> None:
    lost_reply(account, target, name)
    account.cancel(name)


def refused_test(account: Account, target: MemoryTarget, name: str) -> None:
    def meanwhile(verb: str) -> None:
        if verb == "accepts":
            for user in ("app", "pair", "pair_clone"):
                target.passwords.update({user: "changed by somebody"} if user in target.passwords else {})

    target.meanwhile = meanwhile
    account.rotated(name)
    for _ in range(3):
        account.sleep(name)
    target.meanwhile = lambda _: None


def wrong_superuser(account: Account, target: MemoryTarget, name: str) -> None:
    target.passwords["admin"] = "changed by somebody"
    account.rotated(name)
    target.passwords["admin"] = "admin-password"


def put_by_hand(account: Account, target: MemoryTarget, name: str) -> None:
    current = account.credential(name)
    account.put(name, account.text(name).replace(current.password.reveal(), "put by hand"))


FAULTS: list[Fault] = [
    lost_reply, away, refuses, unknown_password, unknown_password_in_a_rotation, previous_password, cancelled_in_doubt,
    refused_test, wrong_superuser, put_by_hand,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize(
    ("name", "function"),
    [("app", SINGLE_USER), ("pair", SINGLE_USER), ("pair", ALTERNATING_USERS)],
    ids=["single-user", "single-user-with-superuser", "alternating-users"],
)
def test_advice_that_is_followed_ends_well(
    account: Account, target: MemoryTarget, name: str, function: str, fault: Fault
) -> None:
    """By a script, in a few rounds; then AWSCURRENT logs in, and nothing is left to do."""
    account.rotated(name, function)
    fault(account, target, name)
    done = follow(account, target, name)
    assert done[-1] == Action.NOTHING, done
    assert target.accepts(account.credential(name)), done
    account.pass_time(minutes=1)
    answer = explain(account, name)
    assert (answer.settled, answer.failed, answer.health) == (True, False, None)


def test_the_table_tells_what_each_credential_is_worth(account: Account, target: MemoryTarget) -> None:
    """By version, label and user, and never its value."""
    account.rotated("app", SINGLE_USER)
    password = account.credential("app").password.reveal()
    target.passwords["app"] = "app-password"
    answer = explain(account, "app")
    told = {tuple(one.labels): (one.username, one.answer) for one in answer.candidates or []}
    assert told == {("AWSCURRENT",): ("app", "refused"), ("AWSPREVIOUS",): ("app", "works")}
    assert answer.action == Action.REPAIR
    assert password not in repr(answer)


def test_looking_counts_refused_logins(account: Account, target: MemoryTarget) -> None:
    """However often somebody looks, the user is not locked out."""
    account.rotated("app", SINGLE_USER)
    target.passwords["app"] = "changed by somebody"
    target.calls.clear()
    for _ in range(20):
        explain(account, "app")
    assert len([call for call in target.calls if call == "accepts app"]) <= 6


def test_a_look_at_the_engine_alone_asks_no_target(account: Account, target: MemoryTarget) -> None:
    """It is what a command polls."""
    account.rotated("app", SINGLE_USER)
    target.calls.clear()
    answer = explain(account, "app", probe=False)
    assert (answer.candidates, answer.settled, target.calls) == (None, True, [])


def test_a_secret_that_is_not_rotated_cannot_be_explained(account: Account) -> None:
    """There is no rotator that could log in."""
    for ask in (explain, repair):
        with pytest.raises(InvalidRequest, match="never configured"):
            ask(account, "app")


def test_only_an_administrator_may_have_credentials_tried() -> None:
    """Neither may a read-only key repair."""
    reader = Caller(SCOPE.arn("iam", "user/reader"), SCOPE, Role.READ_ONLY, "AKIAREADER")
    for action in ("keywheel:ExplainSecret", "keywheel:RepairSecret"):
        with pytest.raises(AccessDenied):
            authorize(reader, action, "*", {})
