"""The fine points of the rooms that decide who may do what: small changes to the rules that nothing else notices."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from keywheel.access import authorize, sigv4
from keywheel.access.authorize import Authority, Lock, Verdict
from keywheel.access.conditions import compile_condition, condition
from keywheel.access.documents import Kind, read_document
from keywheel.access.patterns import Wild, matcher, read_pattern, resource_glob
from keywheel.access.policy import Policy, compile_document, compile_policy, request
from keywheel.access.principals import Bond, Principal
from keywheel.access.sigv4 import Request
from keywheel.errors import MalformedPolicyDocument
from tests.access.test_authorize import (
    DECRYPT,
    GET,
    GRANT,
    KEY,
    LAMBDA,
    SECRET,
    STRANGER,
    A,
    D,
    ask,
    identity,
    policy,
    principal,
)
from tests.access.test_sigv4 import HEADERS, SERVICE, SIGNER, authorization, check, from_botocore
from tests.support.policies import ACCOUNT, ALICE, ALLOW, BOB, DENY, GONE, ROLE, ROOT, SESSION, document, statement

LONG = "x" * 70  # of what is wrong, a refusal quotes 64 characters


# --- decisions say what they are about --------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [SECRET, KEY])
@pytest.mark.parametrize("effect", [None, A, D])
@pytest.mark.parametrize("who", [ALICE, ROOT, SESSION, STRANGER, LAMBDA])
def test_a_decision_holds_its_question(who: str, effect: str | None, on: str) -> None:
    """What was asked, and whether the resource is another account's, whatever the answer is."""
    answers = [(says, to) for says in (A, D) for to in ("*", who, BOB, ROOT)]
    for its in itertools.chain([()], ((one,) for one in answers)):
        found = ask(who, effect, *its, on=on)
        assert (found.asked.principal.arn, found.asked.resource) == (who, on)
        assert found.asked.action == (GET if on == SECRET else DECRYPT)
        assert found.foreign is (who == STRANGER)
        if found.verdict is Verdict.NOT_ALLOWED:
            assert (found.because, found.grant_id) == ((), None)
            assert found.missing is not None
        else:
            assert found.missing is None
            assert {where.kind for where in found.because} <= {Kind.IDENTITY, Kind.RESOURCE, Kind.KEY}
            assert found.because != ()


def test_a_decision_names_what_is_missing() -> None:
    """The kind of policy that allows nothing."""
    assert ask(ALICE, None).missing is Kind.IDENTITY
    assert ask(STRANGER, A).missing is Kind.RESOURCE
    assert ask(ALICE, A, (A, BOB), on=KEY).missing is Kind.KEY
    assert ask(SESSION, A, session="").missing is Kind.SESSION
    grant = replace(GRANT, grantee=ROLE, equals=None)
    assert ask(SESSION, None, (A, ROOT), on=KEY, session="", grants=(grant,)).missing is Kind.SESSION
    authority = Authority(principal(ALICE), identity(A))
    lock = Lock(ACCOUNT, policy(Kind.TRUST, (A, BOB), action="sts:AssumeRole"))
    asked = request(authority.principal, "sts:AssumeRole", ROLE, {})
    assert authorize.assume(authority, asked, lock).missing is Kind.TRUST


def test_a_grant_is_a_decision_like_others() -> None:
    """With its question, and across accounts."""
    for who in (ALICE, STRANGER):
        found = ask(who, None, (A, ROOT), on=KEY, grants=(replace(GRANT, grantee=who, equals=None),))
        assert (found.grant_id, found.asked.principal.arn, found.foreign) == (GRANT.grant_id, who, who == STRANGER)


def test_a_session_policys_deny_is_told_with_its_question() -> None:
    """Also where the resource is another account's."""
    foreign = Lock("210987654321", None)
    for mine, session in ((identity(D), None), (identity(A), identity(D, kind=Kind.SESSION)[0])):
        authority = Authority(principal(SESSION), mine, session)
        found = authorize.secret(authority, request(authority.principal, GET, SECRET, {}), foreign)
        assert (found.verdict, found.foreign) == (Verdict.DENIED, True)
        assert [where.policy for where in found.because] == ["mine"]


def test_what_has_no_policy_is_ones_own() -> None:
    """A list is never another account's."""
    authority = Authority(principal(ALICE), identity(A))
    asked = request(authority.principal, "kms:ListKeys", "*", {})
    assert (authorize.own(authority, asked).verdict, authorize.own(authority, asked).foreign) == (
        Verdict.ALLOWED,
        False,
    )
    with pytest.raises(ValueError, match=r"^Nothing was decided\.$"):
        authorize.every([])


# --- policies ---------------------------------------------------------------------------------------------------------


def says(text: str, kind: Kind, who: str = ALICE, action: str = GET, on: str = SECRET) -> Any:
    """What a policy says about a request."""
    return compile_policy(text, kind, "its").examine(request(Principal.of(who), action, on, {}))


def test_a_policy_knows_its_name_and_kind() -> None:
    """And its statements say of which policy they are."""
    made = compile_policy(document(ALLOW), Kind.RESOURCE, "its")
    assert (made.name, made.kind, compile_policy(document(ALLOW), Kind.RESOURCE).name) == ("its", Kind.RESOURCE, "")
    assert compile_document(read_document(document(ALLOW), Kind.RESOURCE)).name == ""
    found = says(document(ALLOW | {"Principal": "*"}), Kind.RESOURCE).allowed
    assert (found.kind, found.policy, found.statement) == (Kind.RESOURCE, "its", "statement 1")


def test_a_policy_knows_what_its_conditions_ask() -> None:
    """Of all its statements, in lower case."""
    asking = [{"StringEquals": {"aws:UserName": "x"}}, {"Null": {"kms:ViaService": "true"}, "Bool": {"a:B": "true"}}]
    text = document(*(ALLOW | {"Condition": condition_} for condition_ in asking), DENY)
    assert compile_policy(text, Kind.RESOURCE).asks == {"aws:username", "kms:viaservice", "a:b"}
    assert compile_policy(document(ALLOW), Kind.RESOURCE).asks == frozenset()


def test_a_statement_without_an_effect_hides_no_other() -> None:
    """Of a key's policy: the ones behind it count."""
    idle = {"Effect": "Deny", "Principal": "*", "Action": "kms:*"}
    works = {"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}
    found = says(document(idle, works), Kind.KEY, action=DECRYPT, on=KEY)
    assert (found.denied, found.allowed.statement) == (None, "statement 2")


def test_a_not_principal_means_the_others() -> None:
    """A Deny to all but Alice does not mean Alice; an Allow with the account's name does not mean its users."""
    others = statement(DENY, Principal=GONE, NotPrincipal={"AWS": [ALICE, ROOT]})
    assert says(document(others), Kind.RESOURCE).denied is None
    assert says(document(others), Kind.RESOURCE, BOB).denied is not None
    others["Effect"] = "Allow"
    assert says(document(others), Kind.RESOURCE).bond is Bond.NONE
    assert says(document(others), Kind.RESOURCE, BOB).bond is Bond.NONE
    assert says(document(others), Kind.RESOURCE, STRANGER).bond is Bond.DIRECT


def resource(pattern: str) -> Policy:
    """An identity's policy for one resource."""
    return compile_policy(document({"Effect": "Allow", "Action": "*", "Resource": pattern}), Kind.IDENTITY)


def test_a_variable_stands_behind_the_fifth_colon() -> None:
    """However the colons before it are written; a wildcard is none."""
    for pattern in ("arn:aws:s3:::${aws:username}", "arn:aws:s3:*:*:x-${aws:username}"):
        assert resource(pattern).allows
    for pattern in (
        "arn:aws:s3:*:${aws:username}",
        "arn:aws:s3:*:*${aws:username}",
        "arn:aws:s3:**${aws:username}:x:y",
    ):
        with pytest.raises(MalformedPolicyDocument):
            resource(pattern)


def test_a_wildcard_in_a_resource_stays_within_its_part() -> None:
    """The end of a part's wildcard is a colon."""
    inner = resource("arn:aws:secretsmanager:eu-*1:123456789012:secret:x").allows[0].resources
    assert inner is not None
    assert inner.matches("arn:aws:secretsmanager:eu-west-1:123456789012:secret:x", {}) is True
    assert inner.matches("arn:aws:secretsmanager:eu-:1:123456789012:secret:x", {}) is False


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "quoted"),
    [
        ({"Condition": {LONG: {"aws:username": "x"}}}, f"Statement 1: '{LONG[:64]}' is no condition."),
        ({"Condition": {LONG: {}}}, f"Statement 1: '{LONG[:64]}' is no condition."),
        ({LONG: 1}, f"Statement 1 has an unknown element '{LONG[:64]}'."),
        ({"Aa": 1, "Bb": 1}, "Statement 1 has an unknown element 'Aa'."),
    ],
)
def test_a_refusal_quotes_what_is_wrong(changes: dict[str, Any], quoted: str) -> None:
    """The first of it, and not more than 64 characters."""
    with pytest.raises(MalformedPolicyDocument) as refused:
        read_document(document(statement(ALLOW, **changes)), Kind.RESOURCE)
    assert quoted in str(refused.value)


# --- patterns ---------------------------------------------------------------------------------------------------------


def test_before_2012_there_are_no_variables() -> None:
    """What stands in braces is text, with its wildcards, however much of it there is."""
    parts = ("a", Wild.ANY, "b${", Wild.ANY, "}c${d", Wild.ONE, "}e", Wild.ANY)
    assert read_pattern("a*b${*}c${d?}e*", wild=True, variables=False) == parts
    assert read_pattern("a${b:c}d?", wild=False, variables=False) == ("a${b:c}d?",)


def test_a_wildcard_takes_line_ends_too() -> None:
    """A pattern with wildcards between others, and a text of several lines."""
    several = read_pattern("a*b*c?d*e", wild=True, variables=False)
    assert matcher([several]).matches("a\nbb\n\nc\nd e", {}) is True
    assert matcher([several]).matches("a\nb\n\ncd e", {}) is False
    assert matcher([several], resource_glob).matches("a\nb\n\nc\nde", {}) is True


def test_nothing_is_matched_by_no_pattern() -> None:
    """Not even the empty text, beside a pattern without wildcards."""
    assert matcher([read_pattern("a", wild=True, variables=False)]).matches("", {}) is False


# --- conditions -------------------------------------------------------------------------------------------------------


def holds(name: str, values: str | tuple[str, ...], given: str | tuple[str, ...], key: str = "aws:k") -> bool | None:
    """Whether a condition holds for a value of its key."""
    read = condition(name, key, (values,) if isinstance(values, str) else values)
    assert read is not None
    made = compile_condition(read, variables=True)
    assert made.key == key
    return made.holds({key: given})


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock shows Tokyo's time."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "same",
    ["2026-05-01T12:00:07Z", "2026-05-01T07:30:07-04:30", "2026-05-01T17:45:07+05:45", "1777636807"],
)  # fmt: skip
def test_a_date_is_an_instant(same: str) -> None:
    """To the second, in every zone, wherever the server stands."""
    assert holds("DateEquals", "2026-05-01T12:00:07Z", same) is True
    assert holds("DateEquals", "2026-05-01T12:00:08Z", same) is False
    assert holds("DateLessThan", "2026-05-01T12:00:08Z", same) is True


def test_a_condition_knows_its_key() -> None:
    """Of each form."""
    assert holds("Null", "false", "x") is True
    assert holds("ForAnyValue:StringEquals", "x", ("x", "y")) is True
    assert holds("ForAllValues:StringEquals", "ab", "ab") is True  # one value, not its letters
    assert holds("StringLike", "a:*", "a:b:c") is True


def test_an_arn_condition_compares_part_by_part() -> None:
    """A part's wildcard takes no colon, but in the last part; the first five colons divide."""
    role = "arn:aws:iam::123456789012:role/a"
    assert holds("ArnLike", "*:aws:iam::*:role/a", role) is True
    assert holds("ArnLike", "arn:aws:iam::1*:role/a", "arn:aws:iam::1:2:role/a") is False
    assert holds("ArnLike", "arn:aws:sns:r:1:f*:g", "arn:aws:sns:r:1:fx:y:g") is True
    assert holds("ArnLike", "arn:aws:sns:r:1:f*", "arn:aws:sns:r:1:fx:y:g") is True


def test_an_address_with_a_prefix_is_a_range() -> None:
    """Also where bits behind the prefix are set."""
    assert holds("IpAddress", "192.0.2.77/24", "192.0.2.1") is True
    assert holds("IpAddress", "192.0.2.77/24", "192.0.3.1") is False


@pytest.mark.parametrize(
    ("operator", "wrong", "kind"),
    [
        ("NumericEquals", LONG, "no number"),
        ("DateEquals", LONG, "no date"),
        ("DateEquals", "2026-02-30T00:00:00Z", "no date"),
        ("DateEquals", "2026-02-03T00:00:00+24:00", "no date"),
        ("Bool", LONG, "neither true nor false"),
        ("BinaryEquals", LONG + "!", "not in base 64"),
        ("IpAddress", LONG, "no range of addresses"),
        ("ArnEquals", LONG, "no ARN"),
        ("StringLike", "${" + LONG, "no policy variable"),
    ],
)
def test_a_wrong_value_is_quoted_in_part(operator: str, wrong: str, kind: str) -> None:
    """64 characters of it."""
    read = condition(operator, "aws:k", (wrong,))
    assert read is not None
    with pytest.raises(ValueError, match=r".") as refused:
        compile_condition(read, variables=True)
    assert str(refused.value) == f"{wrong[:64]!r} is {kind}"


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_claim_has_the_session_token() -> None:
    """The very one."""
    request_ = from_botocore(SigV4Auth, AWSRequest("POST", "http://localhost:8080/", data=b"x"), token="the token")
    held = sigv4.claim(request_).session_token
    assert held is not None
    assert held.reveal() == "the token"


def test_a_querys_value_may_be_any_bytes() -> None:
    """Encoded byte by byte, as botocore does it."""
    for query in ("a=%E1%88%B4", "a=%FF%00", "%C3%BC=%C3%BC&%C3%BC=z"):
        request_ = from_botocore(SigV4Auth, AWSRequest("GET", f"http://localhost:8080/?{query}"))
        assert check(request_).signer.service == SERVICE


def test_a_part_of_a_signature_ends_at_its_first_equals_sign() -> None:
    """What follows is its value."""
    edited = authorization(b"Credential=", b"Credential=A=B")
    assert sigv4.claim(edited).signer.access_key_id == "A=BAKIDEXAMPLE"


def test_a_path_without_segments_is_the_root() -> None:
    """However it is written."""
    signed_ = {
        sigv4.sign(Request("GET", path, "", HEADERS, b""), **SIGNER)[1] for path in ("/", "//", "/.", "", "/a/..")
    }
    assert len(signed_) == 1
