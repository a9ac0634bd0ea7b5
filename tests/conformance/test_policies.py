"""Resource policies on the wire (aws-contract A15)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.server import refusal
from tests.conformance.test_lifecycle import members


def policy(principal: Any = None, *, effect: str = "Allow", action: str = "secretsmanager:GetSecretValue") -> str:
    """A policy of one statement."""
    principal = {"AWS": "arn:aws:iam::123456789012:user/app"} if principal is None else principal
    statement = {"Effect": effect, "Principal": principal, "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


PUBLIC = policy("*")
LOCKOUT = policy({"AWS": "123456789012"}, effect="Deny", action="secretsmanager:*")


@pytest.fixture
def secret(api: Any, name: str) -> dict[str, str]:
    """The ARN and the name of a secret."""
    return {"ARN": api.create_secret(Name=name)["ARN"], "Name": name}


def test_a_policy_is_given_back_as_it_was_put(api: Any, secret: dict[str, str]) -> None:
    """Its name is default."""
    text = policy() + " \n"
    default = {**secret, "PolicyName": "default"}
    assert default == members(api.put_resource_policy(SecretId=secret["Name"], ResourcePolicy=text))
    assert {**default, "ResourcePolicy": text} == members(api.get_resource_policy(SecretId=secret["Name"]))
    listed = members(api.list_resource_policies(SecretId=secret["ARN"]))
    assert listed == {"ResourcePolicies": [{"PolicyName": "default"}]}
    assert default == members(api.delete_resource_policy(SecretId=secret["Name"]))
    assert secret == members(api.get_resource_policy(SecretId=secret["Name"]))


def test_without_a_policy_there_is_only_the_arn_and_the_name(api: Any, secret: dict[str, str]) -> None:
    """And an empty list."""
    assert secret == members(api.get_resource_policy(SecretId=secret["Name"]))
    assert members(api.list_resource_policies(SecretId=secret["Name"])) == {"ResourcePolicies": []}


def test_only_the_name_default_is_known(api: Any, secret: dict[str, str]) -> None:
    """An unknown one is not found by Get, and is a wrong parameter of Put and Delete."""
    here = {"SecretId": secret["Name"]}
    assert refusal(api.get_resource_policy, PolicyName="mine", **here)[0] == "ResourceNotFoundException"
    code = refusal(api.put_resource_policy, ResourcePolicy=policy(), PolicyName="mine", **here)[0]
    assert code == "InvalidParameterException"
    assert refusal(api.delete_resource_policy, PolicyName="mine", **here)[0] == "InvalidParameterException"
    assert refusal(api.get_resource_policy, PolicyName="no blanks", **here)[0] == "ValidationException"
    api.put_resource_policy(ResourcePolicy=policy(), PolicyName="default", **here)
    assert "ResourcePolicy" in api.get_resource_policy(PolicyName="default", **here)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no JSON", "This resource policy contains invalid Json"),
        ("{", "This resource policy contains invalid Json"),
        ("{}", "This resource policy contains a syntax error"),
        ('{"Statement": [{"Effect": "Allow"}]}', "This resource policy contains a syntax error"),
        (policy(effect="Perhaps"), "This resource policy contains a syntax error"),
        (policy({"Person": "me"}), "This resource policy contains an unsupported principal"),
    ],
)
def test_a_malformed_policy_is_refused(api: Any, secret: dict[str, str], text: str, message: str) -> None:
    """With AWS's text; nothing is stored."""
    code, told = refusal(api.put_resource_policy, SecretId=secret["Name"], ResourcePolicy=text)
    assert (code, told.startswith(message)) == ("MalformedPolicyDocumentException", True)
    assert secret == members(api.get_resource_policy(SecretId=secret["Name"]))


def test_a_public_policy_is_accepted_unless_it_is_blocked(api: Any, secret: dict[str, str]) -> None:
    """BlockPublicPolicy refuses it with PublicPolicyException, and lets others through."""
    here = {"SecretId": secret["Name"]}
    code, _ = refusal(api.put_resource_policy, ResourcePolicy=PUBLIC, BlockPublicPolicy=True, **here)
    assert code == "PublicPolicyException"
    assert secret == members(api.get_resource_policy(**here))
    api.put_resource_policy(ResourcePolicy=PUBLIC, **here)
    api.put_resource_policy(ResourcePolicy=PUBLIC, BlockPublicPolicy=False, **here)
    api.put_resource_policy(ResourcePolicy=policy(), BlockPublicPolicy=True, **here)


def test_a_policy_that_locks_its_author_out_is_refused(api: Any, secret: dict[str, str]) -> None:
    """Nothing is stored."""
    code, _ = refusal(api.put_resource_policy, SecretId=secret["Name"], ResourcePolicy=LOCKOUT)
    assert code in ("MalformedPolicyDocumentException", "InvalidParameterException", "InvalidRequestException")
    assert secret == members(api.get_resource_policy(SecretId=secret["Name"]))


@pytest.mark.parametrize(
    ("text", "checks"),
    [(policy(), []), (PUBLIC, ["PUBLIC_ACCESS"]), ("no JSON", ["SYNTAX"]), (LOCKOUT, ["LOCKOUT"])],
    ids=["good", "public", "syntax", "lock-out"],
)
def test_validation_answers_its_findings(api: Any, secret: dict[str, str], text: str, checks: list[str]) -> None:
    """A finding is no error: public access, syntax and lock-out are told in ValidationErrors."""
    for where in ({}, {"SecretId": secret["Name"]}):
        answer = api.validate_resource_policy(ResourcePolicy=text, **where)
        assert answer["PolicyValidationPassed"] is (not checks)
        assert checks == [entry["CheckName"] for entry in answer.get("ValidationErrors", [])]
        assert all(entry["ErrorMessage"] for entry in answer.get("ValidationErrors", []))


def test_a_policy_has_up_to_20480_characters(api: Any, secret: dict[str, str]) -> None:
    """The next one is a ValidationException."""
    longest = policy().ljust(20480)
    api.put_resource_policy(SecretId=secret["Name"], ResourcePolicy=longest)
    assert longest == api.get_resource_policy(SecretId=secret["Name"])["ResourcePolicy"]
    code, _ = refusal(api.put_resource_policy, SecretId=secret["Name"], ResourcePolicy=longest + " ")
    assert code == "ValidationException"
