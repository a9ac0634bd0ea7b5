"""What facts.py promises: conditions find what is known of a request, and nothing that is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from keywheel.access import facts
from keywheel.access.documents import Kind
from keywheel.access.policy import compile_policy, request
from keywheel.access.principals import Principal
from tests.support.policies import ACCOUNT, ALICE, ROLE, SESSION

STATEMENT = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def test_what_is_known_of_a_user() -> None:
    """The name without the path, and the account."""
    known = facts.principal_facts(Principal.of(ALICE))
    assert (known["aws:username"], known["aws:principaltype"]) == ("alice", "User")
    assert (known["aws:principalarn"], known["aws:principalaccount"]) == (ALICE, ACCOUNT)
    assert known["kms:calleraccount"] == ACCOUNT


def test_what_is_known_of_a_session() -> None:
    """Its role is the principal, and it has no user name."""
    known = facts.principal_facts(Principal.of(SESSION, ROLE))
    assert (known["aws:principalarn"], known["aws:principaltype"]) == (ROLE, "AssumedRole")
    assert "aws:username" not in known


def test_what_is_known_of_a_service() -> None:
    """It belongs to no account."""
    known = facts.principal_facts(Principal.of("lambda.amazonaws.com"))
    assert known == {"aws:principalisawsservice": "true", "aws:principalservicename": "lambda.amazonaws.com"}


def test_what_is_known_of_how_it_is_asked() -> None:
    """When, where to, from where, and whether over TLS."""
    now = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    known = facts.request_facts(now=now, region="eu-west-1", source_ip="203.0.113.7", secure=True)
    assert (known["aws:currenttime"], known["aws:epochtime"]) == ("2026-11-21T08:30:00Z", "1795249800")
    assert (known["aws:sourceip"], known["aws:securetransport"]) == ("203.0.113.7", "true")
    bare = facts.request_facts(now=now, region="eu-west-1", source_ip=None, secure=False)
    assert "aws:sourceip" not in bare
    assert bare["aws:securetransport"] == "false"


def test_an_encryption_context() -> None:
    """Each pair, and the names as they are written; names that differ in case only are one key of several values."""
    known = facts.encryption_facts({"App": "shop", "app": "x", "team": "7"})
    assert known["kms:encryptioncontext:app"] == ("shop", "x")
    assert known["kms:encryptioncontext:team"] == "7"
    assert known["kms:encryptioncontextkeys"] == ("App", "app", "team")
    assert facts.encryption_facts({}) == {}


def test_tags() -> None:
    """By the name of each."""
    assert facts.tag_facts("aws:ResourceTag", [("Team", "shop")]) == {"aws:resourcetag/team": "shop"}


def test_facts_are_gathered_when_a_condition_asks() -> None:
    """Once, and not where no policy has a condition; a fact that is not there is absent as in any mapping."""
    times: list[str] = []

    def gather() -> facts.Facts:
        times.append("gathered")
        return {"aws:username": "alice"}

    plain, asking = (
        compile_policy(json.dumps({"Statement": {**STATEMENT, **more}}), Kind.IDENTITY)
        for more in ({}, {"Condition": {"StringEquals": {"aws:UserName": "alice"}, "Null": {"aws:SourceIp": "true"}}})
    )
    asked = request(Principal.of(ALICE), "kms:Encrypt", "*", facts.Gathered(gather))
    assert plain.examine(asked).allowed is not None
    assert times == []
    assert asking.examine(asked).allowed is not None
    assert asking.examine(asked).allowed is not None
    assert times == ["gathered"]
    assert {**asked.context} == {"aws:username": "alice"}
