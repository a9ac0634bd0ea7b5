"""The dangers of a policy that is about to be put on something: it is public, or it locks its author out. Pure.

1. A policy is public where a statement allows anyone, and no condition keeps it to fixed accounts, organisations,
   sources or networks. A negated, an `…IfExists` and a `ForAllValues` condition keep nobody out.
2. The policy of a secret locks its author out where a statement without conditions denies that caller one of the calls
   that manage the policy. Every Resource is taken to be the secret that the policy is put on.
3. The policy of a key is the only way to the key, so it locks its author out unless it lets that caller change it
   again: by name, or by leaving that to the account.

Sources: the Secrets Manager guide on validating a policy, and the S3 guide on the meaning of "public", to which that
page refers; the KMS guide on the lock-out safety check.
"""

from __future__ import annotations

import ipaddress
import re

from keywheel.access.conditions import Condition
from keywheel.access.documents import Document, Kind, read_document
from keywheel.access.patterns import Context, matcher, read_pattern
from keywheel.access.policy import Policy, compile_document, request
from keywheel.access.principals import ANYONE, Principal, compile_principals
from keywheel.errors import MalformedPolicyDocument

BROAD_ACCESS = "This resource policy grants broad access to your secret."
LOCKED_OUT = "Your requested changes will not allow you to manage this secret in the future."

_KEEPING = {"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"}
_KEPT_TO = re.compile(
    r"aws:(?:principal(?:account|arn|orgid|orgpaths)|source(?:account|arn|orgid|orgpaths|owner|vpc|vpcarn|vpce)"
    r"|vpce(?:account|orgid|orgpaths)|userid)"
)
_FIXED = re.compile(r"arn:[^:]*:[^:]*:[^:]*:[0-9]{12}:.+|o-[a-z0-9]{10,32}/.*|(?:(?!\*|\?|\$\{).)+", re.DOTALL)
_WIDEST = {4: 8, 6: 32}  # the S3 guide: a wider range of addresses is public
_MANAGE = tuple(f"secretsmanager:{verb}resourcepolicy" for verb in ("put", "delete", "get"))


def read_secret_policy(text: str) -> Document:
    """The policy of a secret, read and found to compile.

    Raises:
        MalformedPolicyDocument: it does not.
    """
    document = read_document(text, Kind.RESOURCE)
    compile_document(document)
    return document


def findings(text: str, caller: Principal) -> list[tuple[str, str]]:
    """What ValidateResourcePolicy finds: the name of each check that fails, and its message. AWS names no checks."""
    try:
        document = read_secret_policy(text)
    except MalformedPolicyDocument as error:
        return [("SYNTAX", error.message)]
    found = [("PUBLIC_ACCESS", BROAD_ACCESS)] if is_public(document) else []
    return found + ([("LOCKOUT", LOCKED_OUT)] if locks_out(document, caller) else [])


def is_public(document: Document) -> bool:
    """Whether the policy allows anyone (rule 1)."""
    return any(
        statement.allows
        and statement.principals is not None
        and (statement.principals.negated or ANYONE in statement.principals.values)
        and not any(_keeps(condition) for condition in statement.conditions)
        for statement in document.statements
    )


def locks_out(document: Document, caller: Principal) -> bool:
    """Whether the policy of a secret keeps the caller from managing it (rule 2)."""
    for statement in document.statements:
        names, actions = statement.principals, statement.actions
        if statement.allows or statement.conditions or names is None or actions is None:
            continue
        meant = compile_principals(names.values, negated=names.negated, allows=False).bond(caller)
        denied = matcher([read_pattern(a, wild=True, variables=False) for a in actions.values], fold=True)
        if meant and any(denied.matches(action, {}) is not actions.negated for action in _MANAGE):
            return True
    return False


def locks_out_of_key(policy: Policy, caller: Principal, key_arn: str, context: Context) -> bool:
    """Whether the policy of a key keeps the caller from changing it (rule 3)."""
    return policy.examine(request(caller, "kms:PutKeyPolicy", key_arn, context)).allowed is None


def _keeps(condition: Condition) -> bool:
    if not condition.binding:
        return False
    if condition.key == "aws:sourceip":
        return condition.operator == "ipaddress" and all(_is_narrow(value) for value in condition.values)
    known = condition.operator in _KEEPING and _KEPT_TO.fullmatch(condition.key)
    return bool(known) and all(_FIXED.fullmatch(value) for value in condition.values)


def _is_narrow(text: str) -> bool:
    network = ipaddress.ip_network(text, strict=False)  # compiling has refused what is none
    return network.prefixlen >= _WIDEST[network.version]
