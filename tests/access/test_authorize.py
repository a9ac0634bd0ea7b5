"""What authorize.py promises: the policies of a request are weighed as AWS documents it, and a Deny always wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.access import authorize, facts, templates
from keywheel.access.authorize import Authority, Decision, Lock, Verdict, refusal
from keywheel.access.documents import Kind
from keywheel.access.grants import Grant
from keywheel.access.policy import Policy, compile_policy, request
from keywheel.access.principals import Principal
from tests.support.policies import ACCOUNT, ALICE, BOB, OTHER, ROLE, ROOT, SESSION, document

SECRET = f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:prod/db-AbCdEf"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ALIAS = f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/shop"
GET, DECRYPT = "secretsmanager:GetSecretValue", "kms:Decrypt"
STRANGER = f"arn:aws:iam::{OTHER}:user/eve"
FOREIGN_ROOT = f"arn:aws:iam::{OTHER}:root"
LAMBDA = "lambda.amazonaws.com"


def identity(effect: str | None, action: str = "*", kind: Kind = Kind.IDENTITY) -> tuple[Policy, ...]:
    """An identity's policies: one of one statement, or none."""
    if effect is None:
        return ()
    return (compile_policy(document({"Effect": effect, "Action": action, "Resource": "*"}), kind, "mine"),)


def policy(kind: Kind, *says: tuple[str, Any], action: str = "*", **elements: Any) -> Policy:
    """A resource's policy: effects and principals."""
    where = {} if kind is Kind.TRUST else {"Resource": "*"}
    listed = [
        {"Effect": effect, "Principal": who if who == "*" else {_sort(who): who}, "Action": action, **where, **elements}
        for effect, who in says
    ]
    return compile_policy(document(*listed), kind, "its")


def _sort(who: str) -> str:
    return "Service" if who == LAMBDA else "AWS"


def principal(arn: str) -> Principal:
    """Who it is; of the session also its role."""
    return Principal.of(arn, ROLE if arn == SESSION else None)


def ask(
    who: str,
    effect: str | None,
    *its: tuple[str, Any],
    on: str = SECRET,
    session: str | None = "unlimited",
    grants: tuple[Grant, ...] = (),
    context: Any = (),
) -> Decision:
    """The decision where the identity's policy has one effect, and the resource's policy says `its`."""
    narrowing = (
        None if session == "unlimited" else identity(session or "Allow", "*" if session else "sts:*", Kind.SESSION)[0]
    )
    authority = Authority(principal(who), identity(effect), narrowing)
    kind, action = (Kind.RESOURCE, GET) if on == SECRET else (Kind.KEY, DECRYPT)
    lock = Lock(ACCOUNT, policy(kind, *its) if its else None, grants)
    asked = request(authority.principal, action, on, {})
    if on == SECRET:
        return authorize.secret(authority, asked, lock)
    return authorize.key(authority, asked, lock, encryption_context=dict(context))


A, D = "Allow", "Deny"
YES, NO, DENIED = Verdict.ALLOWED, Verdict.NOT_ALLOWED, Verdict.DENIED


@pytest.mark.parametrize(
    ("who", "effect", "its", "expected"),
    [
        # within the account: either side allows
        (ALICE, None, [], NO),
        (ALICE, A, [], YES),
        (ALICE, D, [], DENIED),
        (ALICE, None, [(A, ALICE)], YES),
        (ALICE, None, [(A, BOB)], NO),
        (ALICE, None, [(A, ROOT)], NO),
        (ALICE, A, [(A, ROOT)], YES),
        (ALICE, A, [(A, BOB)], YES),
        (ALICE, None, [(A, "*")], YES),
        (ALICE, D, [(A, ALICE)], DENIED),
        (ALICE, A, [(D, ALICE)], DENIED),
        (ALICE, A, [(D, ROOT)], DENIED),
        (ALICE, A, [(D, "*")], DENIED),
        (ALICE, A, [(D, BOB)], YES),
        (ALICE, A, [(A, ALICE), (D, ALICE)], DENIED),
        (SESSION, None, [(A, ROLE)], YES),
        (SESSION, None, [(A, SESSION)], YES),
        (SESSION, A, [(D, ROLE)], DENIED),
        (ROOT, None, [(A, ROOT)], YES),
        # from another account: both sides must
        (STRANGER, A, [], NO),
        (STRANGER, A, [(A, STRANGER)], YES),
        (STRANGER, A, [(A, FOREIGN_ROOT)], YES),
        (STRANGER, A, [(A, "*")], YES),
        (STRANGER, None, [(A, STRANGER)], NO),
        (STRANGER, None, [(A, "*")], NO),
        (STRANGER, A, [(A, ROOT)], NO),
        (STRANGER, D, [(A, STRANGER)], DENIED),
        (STRANGER, A, [(A, STRANGER), (D, FOREIGN_ROOT)], DENIED),
        # a service has no policies of its own
        (LAMBDA, None, [(A, LAMBDA)], YES),
        (LAMBDA, None, [], NO),
        (LAMBDA, None, [(A, ROOT)], NO),
        (LAMBDA, None, [(A, LAMBDA), (D, "*")], DENIED),
    ],
)
def test_a_secret(who: str, effect: str | None, its: list[Any], expected: Verdict) -> None:
    """Within and across accounts."""
    assert expected is ask(who, effect, *its).verdict


@pytest.mark.parametrize(
    ("who", "effect", "its", "expected"),
    [
        # the key's policy comes first
        (ALICE, A, [], NO),
        (ALICE, A, [(A, BOB)], NO),
        (ALICE, A, [(A, ROOT)], YES),
        (ALICE, None, [(A, ROOT)], NO),
        (ALICE, None, [(A, ALICE)], YES),
        (ALICE, None, [(A, "*")], YES),
        (ALICE, D, [(A, ALICE)], DENIED),
        (ALICE, D, [(A, ROOT)], DENIED),
        (ALICE, A, [(A, ROOT), (D, ALICE)], DENIED),
        (ROOT, None, [(A, ROOT)], YES),
        (ROOT, A, [(A, ALICE)], NO),
        (SESSION, None, [(A, ROLE)], YES),
        (SESSION, A, [(A, ROOT)], YES),
        (STRANGER, A, [(A, ROOT)], NO),
        (STRANGER, A, [(A, FOREIGN_ROOT)], YES),
        (STRANGER, None, [(A, STRANGER)], NO),
        (STRANGER, A, [(A, STRANGER)], YES),
        (STRANGER, D, [(A, STRANGER)], DENIED),
        (LAMBDA, None, [(A, LAMBDA)], YES),
        (LAMBDA, None, [(A, ROOT)], NO),
    ],
)
def test_a_key(who: str, effect: str | None, its: list[Any], expected: Verdict) -> None:
    """Without its key's policy, an identity's policy counts for nothing."""
    assert expected is ask(who, effect, *its, on=KEY).verdict


@pytest.mark.parametrize(
    ("its", "on", "session", "expected"),
    [
        ([(A, ROLE)], SECRET, A, YES),
        ([(A, ROLE)], SECRET, "", NO),
        ([(A, ROLE)], SECRET, D, DENIED),
        ([(A, SESSION)], SECRET, "", YES),
        ([(A, SESSION)], SECRET, D, DENIED),
        ([(A, "*")], SECRET, "", YES),
        ([], SECRET, "", NO),
        ([(A, ROOT)], KEY, A, YES),
        ([(A, ROOT)], KEY, "", NO),
        ([(A, ROLE)], KEY, "", NO),
        ([(A, SESSION)], KEY, "", YES),
    ],
)
def test_a_session_policy_narrows_the_role(its: list[Any], on: str, session: str, expected: Verdict) -> None:
    """What is given to the session itself, or to everyone, it does not narrow; `""` is one that allows other things."""
    assert expected is ask(SESSION, A, *its, on=on, session=session).verdict


GRANT = Grant("f" * 64, ALICE, frozenset({"Decrypt"}), equals={"a": "1"})


@pytest.mark.parametrize(
    ("who", "effect", "its", "grant", "expected"),
    [
        (ALICE, None, [(A, BOB)], GRANT, YES),
        (ALICE, None, [(A, ROOT)], GRANT, YES),
        (ALICE, D, [(A, ROOT)], GRANT, DENIED),
        (ALICE, None, [(A, ROOT), (D, ALICE)], GRANT, DENIED),
        (BOB, None, [(A, ROOT)], GRANT, NO),
        (ALICE, None, [(A, ROOT)], replace(GRANT, operations=frozenset({"Encrypt"})), NO),
        (ALICE, None, [(A, ROOT)], replace(GRANT, equals={"a": "2"}), NO),
        (STRANGER, None, [(A, ROOT)], replace(GRANT, grantee=STRANGER), YES),
        (LAMBDA, None, [(A, ROOT)], replace(GRANT, grantee=LAMBDA), YES),
    ],
)
def test_a_grant(who: str, effect: str | None, its: list[Any], grant: Grant, expected: Verdict) -> None:
    """It allows by itself, also from another account, and never against a Deny."""
    found = ask(who, effect, *its, on=KEY, grants=(grant,), context={"a": "1"})
    assert expected is found.verdict
    assert (grant.grant_id if found.allowed else None) == found.grant_id


@pytest.mark.parametrize(("grantee", "expected"), [(ROLE, NO), (SESSION, YES)])
def test_a_session_policy_narrows_a_grant_to_the_role(grantee: str, expected: Verdict) -> None:
    """Not one to the session itself."""
    grant = replace(GRANT, grantee=grantee, equals=None)
    assert expected is ask(SESSION, None, (A, ROOT), on=KEY, session="", grants=(grant,)).verdict


@pytest.mark.parametrize(
    ("effect", "its", "expected"),
    [
        (A, [(A, ROOT)], YES),
        (None, [(A, ROOT)], NO),
        (None, [(A, ALICE)], YES),
        (A, [(A, BOB)], NO),
        (D, [(A, ALICE)], DENIED),
        (A, [(A, "*"), (D, ALICE)], DENIED),
    ],
)
def test_a_role_is_assumed_by_whom_it_trusts(effect: str | None, its: list[Any], expected: Verdict) -> None:
    """Like a key: its own policy comes first."""
    authority = Authority(principal(ALICE), identity(effect))
    lock = Lock(ACCOUNT, policy(Kind.TRUST, *its, action="sts:AssumeRole"))
    assert (
        expected is authorize.assume(authority, request(authority.principal, "sts:AssumeRole", ROLE, {}), lock).verdict
    )


def test_an_alias_needs_every_resource_it_touches() -> None:
    """CreateAlias: the alias by the identity's policy, and the key by the key's."""

    def create(effect: str | None, *its: Any) -> Decision:
        authority = Authority(principal(ALICE), identity(effect))
        here, there = (request(authority.principal, "kms:CreateAlias", arn, {}) for arn in (ALIAS, KEY))
        lock = Lock(ACCOUNT, policy(Kind.KEY, *its))
        return authorize.every([authorize.own(authority, here), authorize.key(authority, there, lock)])

    assert create(A, (A, ROOT)).allowed
    assert create(A, (A, BOB)).asked.resource == KEY
    assert create(None, (A, ALICE)).asked.resource == ALIAS
    assert create(D, (A, ALICE)).verdict is DENIED
    with pytest.raises(ValueError, match="Nothing"):
        authorize.every([])


def test_a_key_is_used_by_way_of_a_service_only() -> None:
    """The key that a service has for an account: for its callers, and through that service."""
    text = templates.service_key_policy(ACCOUNT, "eu-west-1", "secretsmanager")
    lock = Lock(ACCOUNT, compile_policy(text, Kind.KEY))

    def decided(who: str, action: str, effect: str | None = None, **by: str) -> bool:
        caller = principal(who)
        known = facts.principal_facts(caller) | (facts.by_way_of(by["by"], by.get("region", "eu-west-1")) if by else {})
        asked = request(caller, action, KEY, known)
        return authorize.key(Authority(caller, identity(effect)), asked, lock).allowed

    assert decided(ALICE, DECRYPT, by="secretsmanager")
    assert decided(SESSION, "kms:GenerateDataKey", by="secretsmanager")
    assert not decided(ALICE, DECRYPT, A)
    assert not decided(ALICE, DECRYPT, A, by="s3")
    assert not decided(ALICE, DECRYPT, A, by="secretsmanager", region="us-east-1")
    assert not decided(STRANGER, DECRYPT, A, by="secretsmanager")
    assert not decided(ALICE, "kms:PutKeyPolicy", A, by="secretsmanager")
    assert decided(ALICE, "kms:DescribeKey", A)
    assert not decided(ALICE, "kms:DescribeKey")


def test_the_built_in_policies() -> None:
    """An administrator does everything that no resource forbids; a reader only what changes nothing."""

    def decided(mine: Policy, action: str) -> bool:
        authority = Authority(principal(ALICE), (mine,))
        return authorize.secret(
            authority, request(authority.principal, action, SECRET, {}), Lock(ACCOUNT, None)
        ).allowed

    for action in ("kms:DescribeKey", "kms:ListAliases", "secretsmanager:BatchGetSecretValue"):
        assert decided(templates.ADMINISTRATOR, action)
        assert decided(templates.READ_ONLY, action)
    for action in ("kms:Decrypt", "kms:ScheduleKeyDeletion", "secretsmanager:PutSecretValue", "sts:AssumeRole"):
        assert decided(templates.ADMINISTRATOR, action)
        assert not decided(templates.READ_ONLY, action)


# --- what is told ----------------------------------------------------------------------------------------------------


NONE = "because no {} policy allows the {} action"
EXPLICIT = "with an explicit deny in {} policy"
HIDDEN = (
    "on this resource because the resource does not exist in this Region, no resource-based policies allow access, or "
    "a resource-based policy explicitly denies access"
)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (ask(ALICE, None), NONE.format("identity-based", GET)),
        (ask(ALICE, D), EXPLICIT.format("an identity-based")),
        (ask(ALICE, A, (D, "*")), EXPLICIT.format("a resource-based")),
        (ask(STRANGER, A), NONE.format("resource-based", GET)),
        (ask(STRANGER, None, (A, "*")), NONE.format("identity-based", GET)),
        (ask(SESSION, A, session=""), NONE.format("session", GET)),
        (ask(SESSION, A, session=D), EXPLICIT.format("a session")),
        (ask(ALICE, A, (A, BOB), on=KEY), NONE.format("resource-based", DECRYPT)),
        (ask(ALICE, None, (A, ROOT), on=KEY), NONE.format("identity-based", DECRYPT)),
        (ask(ALICE, A, (D, ALICE), on=KEY), EXPLICIT.format("a resource-based")),
        (ask(STRANGER, A, (A, ROOT), on=KEY), None),
        (ask(STRANGER, A, (D, "*"), on=KEY), None),
    ],
)
def test_a_refusal_says_why_in_aws_words(decision: Decision, expected: str | None) -> None:
    """Who, what, where, and which kind of policy; of another account's key, not even whether it exists."""
    asked = decision.asked
    where = HIDDEN if expected is None else f"on resource: {asked.resource} {expected}"
    assert refusal(decision) == f"User: {asked.principal.arn} is not authorized to perform: {asked.action} {where}"


def test_a_decision_names_the_statements_that_made_it() -> None:
    """For `explain`."""

    def named(decision: Decision) -> list[tuple[str, str]]:
        return [(where.policy, where.statement) for where in decision.because]

    assert named(ask(ALICE, A)) == [("mine", "statement 1")]
    assert named(ask(ALICE, A, (A, BOB), (D, ALICE))) == [("its", "statement 2")]
    assert named(ask(ALICE, A, (A, ROOT), on=KEY)) == [("its", "statement 1"), ("mine", "statement 1")]
    assert named(ask(ALICE, None)) == []


# --- properties ------------------------------------------------------------------------------------------------------

WHO = st.sampled_from([ALICE, SESSION, STRANGER, ROOT, LAMBDA])
EFFECT = st.sampled_from([None, A, D])
ITS = st.lists(
    st.tuples(
        st.sampled_from([A, D]), st.sampled_from(["*", ALICE, BOB, ROOT, ROLE, SESSION, STRANGER, FOREIGN_ROOT, LAMBDA])
    ),
    max_size=3,
)
ON = st.sampled_from([SECRET, KEY])
SESSIONS = st.sampled_from(["unlimited", A, D, ""])
GRANTS = st.lists(st.sampled_from([GRANT, replace(GRANT, grantee=ROLE), replace(GRANT, grantee=STRANGER)]), max_size=2)
CASES = st.tuples(WHO, EFFECT, ITS, ON, SESSIONS, GRANTS)


def decided(case: Any, *more: Any) -> Verdict:
    """The verdict of a case, with more said by the resource."""
    who, effect, its, on, session, grants = case
    session = session if who == SESSION else "unlimited"
    return ask(who, effect, *its, *more, on=on, session=session, grants=tuple(grants), context={"a": "1"}).verdict


@given(CASES)
def test_a_deny_always_wins(case: Any) -> None:
    """To everyone, in the resource's policy, whatever else is allowed."""
    assert decided(case, (D, "*")) is DENIED


@given(CASES, st.sampled_from(["*", ALICE, ROOT, ROLE, SESSION, STRANGER, FOREIGN_ROOT, LAMBDA]))
def test_another_allow_never_takes_access_away(case: Any, who: str) -> None:
    """Of a resource's policy."""
    assert decided(case) is not YES or decided(case, (A, who)) is YES
    assert decided(case) is not DENIED or decided(case, (A, who)) is DENIED


@given(CASES, st.sampled_from(["*", ALICE, ROOT, ROLE, SESSION, STRANGER, FOREIGN_ROOT, LAMBDA]))
def test_another_deny_never_gives_access(case: Any, who: str) -> None:
    """Of a resource's policy."""
    assert decided(case, (D, who)) is not YES or decided(case) is YES


@given(CASES)
def test_a_grant_never_takes_access_away_and_nothing_is_allowed_by_nothing(case: Any) -> None:
    """Without a grant no more is allowed than with one."""
    who, effect, its, on, session, grants = case
    bare: Any = (who, effect, its, on, session, [])
    assert decided(bare) is not YES or decided((*case[:5], [*grants, GRANT])) is YES
    assert decided((who, None, [], on, session, [])) is not YES
