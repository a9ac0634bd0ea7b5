"""What principals.py promises: who is meant by whom a policy names."""

from __future__ import annotations

import pytest

from keywheel.access.principals import Bond, Principal, Sort, compile_principals
from tests.support.policies import ACCOUNT, ALICE, BOB, OTHER, ROLE, ROOT, SESSION

SERVICE = "lambda.amazonaws.com"
FEDERATED = f"arn:aws:sts::{ACCOUNT}:federated-user/carol"
CALLERS = {
    "root": Principal.of(ROOT),
    "alice": Principal.of(ALICE),
    "session": Principal.of(SESSION, ROLE),
    "pathless": Principal.of(SESSION),
    "federated": Principal.of(FEDERATED),
    "service": Principal.of(SERVICE),
}
NOBODY, ACCOUNT_, ROLE_, DIRECT = Bond.NONE, Bond.ACCOUNT, Bond.ROLE, Bond.DIRECT


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("*", dict.fromkeys(CALLERS, DIRECT)),
        (ACCOUNT, {"root": DIRECT} | dict.fromkeys(("alice", "session", "pathless", "federated"), ACCOUNT_)),
        (ROOT, {"root": DIRECT} | dict.fromkeys(("alice", "session", "pathless", "federated"), ACCOUNT_)),
        (OTHER, {}),
        (ALICE, {"alice": DIRECT}),
        (BOB, {}),
        (ALICE.replace(ACCOUNT, OTHER), {}),
        (ALICE.upper(), {}),
        (ROLE, {"session": ROLE_, "pathless": ROLE_}),
        (f"arn:aws:iam::{ACCOUNT}:role/other/turner", {"pathless": ROLE_}),
        (f"arn:aws:iam::{ACCOUNT}:role/team", {}),
        (f"arn:aws:iam::{OTHER}:role/team/turner", {}),
        (SESSION, {"session": DIRECT, "pathless": DIRECT}),
        (SESSION + "2", {}),
        (FEDERATED, {"federated": DIRECT}),
        (SERVICE, {"service": DIRECT}),
        ("events.amazonaws.com", {}),
        ("cognito-identity.amazonaws.com", {}),
    ],
)
def test_who_is_named(name: str, expected: dict[str, Bond]) -> None:
    """Each caller, by each form of principal."""
    element = compile_principals([name], negated=False, allows=True)
    found = {caller: element.bond(principal) for caller, principal in CALLERS.items()}
    assert dict.fromkeys(CALLERS, NOBODY) | expected == found


@pytest.mark.parametrize(
    ("names", "caller", "spared", "left_out"),
    [
        ([ALICE], "alice", True, True),
        ([ALICE, ROOT], "alice", True, True),
        ([ROOT], "alice", False, True),
        ([ROOT], "root", True, True),
        ([BOB], "alice", False, False),
        ([ROLE], "session", True, True),
        ([SESSION], "session", True, True),
        ([ACCOUNT], "session", False, True),
        (["*"], "alice", True, True),
        ([SERVICE], "service", True, True),
        ([ACCOUNT], "service", False, False),
    ],
)
def test_not_principal_means_all_others(names: list[str], caller: str, spared: bool, left_out: bool) -> None:
    """A Deny spares whom it names, or their role; an Allow leaves out their account as well."""
    principal = CALLERS[caller]
    assert compile_principals(names, negated=True, allows=False).bond(principal) is (NOBODY if spared else DIRECT)
    assert compile_principals(names, negated=True, allows=True).bond(principal) is (NOBODY if left_out else DIRECT)


@pytest.mark.parametrize(
    ("arn", "sort", "name"),
    [
        (ROOT, Sort.ACCOUNT, ""),
        (ALICE, Sort.USER, "alice"),
        (f"arn:aws:iam::{ACCOUNT}:user/team/x/alice", Sort.USER, "alice"),
        (SESSION, Sort.SESSION, "now"),
        (SERVICE, Sort.SERVICE, SERVICE),
    ],
)
def test_an_arn_says_who_one_is(arn: str, sort: Sort, name: str) -> None:
    """Its kind, and the name without the path."""
    found = Principal.of(arn)
    assert (sort, name, "" if sort is Sort.SERVICE else ACCOUNT) == (found.sort, found.name, found.account)


@pytest.mark.parametrize(
    "arn",
    ["", "alice", f"arn:aws:iam::{ACCOUNT}:role/x", f"arn:aws:iam::{ACCOUNT}:group/x", f"{ROOT}/x", ALICE[:-6], "*"],
)
def test_what_cannot_ask_is_no_principal(arn: str) -> None:
    """A role asks by its sessions only."""
    with pytest.raises(ValueError, match="no principal"):
        Principal.of(arn)
