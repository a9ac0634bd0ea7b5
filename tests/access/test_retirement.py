"""What retirement.py promises: who may retire a grant."""

from __future__ import annotations

from typing import Any

import pytest

from keywheel.access.authorize import Authority, Lock
from keywheel.access.documents import Kind
from keywheel.access.grants import Grant
from keywheel.access.policy import Policy, compile_policy, request
from keywheel.access.principals import Principal
from keywheel.access.retirement import retire
from tests.support.policies import ACCOUNT, ALICE, BOB, OTHER, ROLE, ROOT, SESSION, document

KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
STRANGER, THEIR_ROOT = f"arn:aws:iam::{OTHER}:user/carol", f"arn:aws:iam::{OTHER}:root"
PLAIN = Grant("f" * 64, ALICE, frozenset({"Decrypt"}))
OWN = Grant("f" * 64, ALICE, frozenset({"Decrypt", "RetireGrant"}), equals={"a": "1"}, source_arn=KEY)


def policy(kind: Kind, *statements: dict[str, Any]) -> Policy:
    return compile_policy(document(*statements), kind, "p")


def may(*effects: str, who: str | None = None) -> list[dict[str, Any]]:
    named = {} if who is None else {"Principal": "*" if who == "*" else {"AWS": who}}
    return [{"Effect": effect, "Action": "kms:RetireGrant", "Resource": "*", **named} for effect in effects]


DEFAULT = policy(Kind.KEY, {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"})


def decided(
    who: str,
    grant: Grant | None,
    retiring: str | None = None,
    *,
    key: Policy = DEFAULT,
    own: tuple[str, ...] = (),
    narrowed: bool = False,
) -> bool:
    """Whether somebody may retire the grant."""
    role = ROLE if who == SESSION else None
    policies = (policy(Kind.IDENTITY, *may(*own)),) if own else ()
    session = policy(Kind.SESSION, {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}) if narrowed else None
    authority = Authority(Principal.of(who, role), policies, session)
    asked = request(authority.principal, "kms:RetireGrant", KEY, {})
    return retire(authority, asked, Lock(ACCOUNT, key), grant, retiring).allowed


@pytest.mark.parametrize(
    ("who", "grant", "retiring", "expected"),
    [
        (ALICE, PLAIN, None, False),
        (ALICE, OWN, None, True),
        (BOB, OWN, None, False),
        (BOB, PLAIN, BOB, True),
        (ALICE, PLAIN, BOB, False),
        (SESSION, PLAIN, ROLE, True),
        (SESSION, PLAIN, SESSION, True),
        (STRANGER, PLAIN, STRANGER, True),
        (STRANGER, PLAIN, BOB, False),
        (BOB, None, BOB, False),
    ],
)
def test_the_grant_says_who(who: str, grant: Grant | None, retiring: str | None, expected: bool) -> None:
    """Whatever its constraints are; they need no policy."""
    assert expected is decided(who, grant, retiring)


@pytest.mark.parametrize(
    ("who", "retiring", "own", "expected"),
    [
        (BOB, None, ("Allow",), True),
        (BOB, None, ("Allow", "Deny"), False),
        (BOB, BOB, ("Deny",), False),
        (STRANGER, None, ("Allow",), False),
        (STRANGER, THEIR_ROOT, ("Allow",), True),
        (STRANGER, THEIR_ROOT, (), False),
        (STRANGER, ROOT, ("Allow",), False),
    ],
)
def test_an_account_retires_by_its_policies(
    who: str, retiring: str | None, own: tuple[str, ...], expected: bool
) -> None:
    """That of the key, and the one that is the retiring principal; also what is not there any more."""
    assert expected is decided(who, PLAIN, retiring, own=own)
    assert decided(BOB, None, own=("Allow",))


def test_a_keys_policy_denies_and_does_not_allow() -> None:
    """Nor does it have to leave anything to the account."""
    named = policy(Kind.KEY, *may("Allow", who=BOB))
    assert not decided(BOB, PLAIN, key=named)
    assert decided(ALICE, PLAIN, key=named, own=("Allow",))
    denies = policy(Kind.KEY, *may("Deny", who="*"))
    assert not decided(BOB, PLAIN, BOB, key=denies, own=("Allow",))


def test_a_session_policy_narrows_what_the_role_may_retire() -> None:
    """Not what is granted to the very session."""
    assert not decided(SESSION, PLAIN, ROLE, narrowed=True)
    assert not decided(SESSION, PLAIN, own=("Allow",), narrowed=True)
    assert decided(SESSION, PLAIN, SESSION, narrowed=True)
