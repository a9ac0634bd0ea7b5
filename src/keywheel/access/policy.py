"""Resource policies: read one, and say what is wrong with it. Pure; nothing here decides a request.

1. A statement says whom (Principal), what (Action) and where (Resource), each or its Not-form exactly once. An unknown
   element, or a key that stands twice, is refused rather than ignored: a policy must not mean less than it says.
2. A policy is public where a statement allows anyone, and no condition keeps it to fixed accounts, organisations,
   sources or networks. A negated, an `…IfExists` and a `ForAllValues` condition keep nobody out.
3. A policy locks its author out where a statement without conditions denies that caller one of the calls that manage
   the policy. Every Resource is taken to be the secret that the policy is put on.
4. A principal is checked for its form; whether there is such a user or role is not known here.

Sources: the IAM guide's grammar of policies; the Secrets Manager guide on validating one, whose messages these are;
the S3 guide on the meaning of "public", to which that page refers.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from keywheel.errors import MalformedPolicyDocument

INVALID_JSON = "This resource policy contains invalid Json"
SYNTAX_ERROR = "This resource policy contains a syntax error."
UNSUPPORTED_PRINCIPAL = "This resource policy contains an unsupported principal."
UNSUPPORTED_SERVICE = "This resource policy contains an unsupported service principal."
BROAD_ACCESS = "This resource policy grants broad access to your secret."
LOCKED_OUT = "Your requested changes will not allow you to manage this secret in the future."

_ANYONE = "*"
_FIELDS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
_ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
_RESOURCE = re.compile(r"\*|arn:\S+")
_AWS = re.compile(
    r"\*|[0-9]{12}|arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|(?:user|role)/[A-Za-z0-9_+=,.@/-]+)"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/[A-Za-z0-9_+=,.@/-]+)"
)
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?")
_FEDERATED = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(?:saml|oidc)-provider/\S+|[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_PRINCIPALS = {"AWS": _AWS, "Federated": _FEDERATED, "Service": _SERVICE}
_OPERATOR = re.compile(
    r"(?:(foranyvalue|forallvalues):)?"
    r"(string(?:not)?(?:equals(?:ignorecase)?|like)|(?:numeric|date)(?:(?:not)?equals|(?:less|greater)than(?:equals)?)"
    r"|arn(?:not)?(?:equals|like)|(?:not)?ipaddress|binaryequals|bool|null(?!ifexists))(ifexists)?"
)
_KEEPING = {"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"}
_KEPT_TO = re.compile(
    r"aws:(?:principal(?:account|arn|orgid|orgpaths)|source(?:account|arn|orgid|orgpaths|owner|vpc|vpcarn|vpce)"
    r"|vpce(?:account|orgid|orgpaths)|userid)"
)
_FIXED = re.compile(r"arn:[^:]*:[^:]*:[^:]*:[0-9]{12}:.+|o-[a-z0-9]{10,32}/.*|(?:(?!\*|\?|\$\{).)+", re.DOTALL)
_WIDEST = {4: 8, 6: 32}  # the S3 guide: a wider range of addresses is public
_MANAGE = tuple(f"secretsmanager:{verb}resourcepolicy" for verb in ("put", "delete", "get"))
_ROLE = re.compile(r"arn:([^:]*):iam::([0-9]{12}):role/(?:.+/)?([^/]+)")
_SESSION = re.compile(r"arn:([^:]*):sts::([0-9]{12}):assumed-role/([^/]+)/.+")


@dataclass(frozen=True, slots=True)
class Choice:
    """The values of an element; `negated` for its Not-form, which means all others."""

    values: tuple[str, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of a condition block, in lower case; `binding` unless it also holds for a request without the key."""

    operator: str
    key: str
    values: tuple[str, ...]
    binding: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """Who may, or may not, do what. All conditions must hold."""

    allows: bool
    principals: Choice
    actions: Choice
    resources: Choice
    conditions: tuple[Condition, ...]


Policy: TypeAlias = tuple[Statement, ...]


def findings(text: str, caller_arn: str, account: str) -> list[tuple[str, str]]:
    """What ValidateResourcePolicy finds: the name of each check that fails, and its message. AWS names no checks."""
    try:
        policy = parse_policy(text)
    except MalformedPolicyDocument as error:
        return [("SYNTAX", error.message)]
    found = [("PUBLIC_ACCESS", BROAD_ACCESS)] if is_public(policy) else []
    return found + ([("LOCKOUT", LOCKED_OUT)] if locks_out(policy, caller_arn, account) else [])


def is_public(policy: Policy) -> bool:
    """Whether the policy allows anyone (rule 2)."""
    return any(
        statement.allows
        and (statement.principals.negated or _ANYONE in statement.principals.values)
        and not any(_keeps(condition) for condition in statement.conditions)
        for statement in policy
    )


def locks_out(policy: Policy, caller_arn: str, account: str) -> bool:
    """Whether the policy keeps a caller of `account` from managing it (rule 3)."""
    return any(
        not (statement.allows or statement.conditions)
        and _names(statement.principals, caller_arn, account)
        and any(_covers(statement.actions, action) for action in _MANAGE)
        for statement in policy
    )


def _keeps(condition: Condition) -> bool:
    if not condition.binding:
        return False
    if condition.key == "aws:sourceip":
        return condition.operator == "ipaddress" and all(_is_narrow(value) for value in condition.values)
    known = condition.operator in _KEEPING and _KEPT_TO.fullmatch(condition.key)
    return bool(known) and all(_FIXED.fullmatch(value) for value in condition.values)


def _is_narrow(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return network.prefixlen >= _WIDEST[network.version]


def _names(principals: Choice, caller_arn: str, account: str) -> bool:
    """Whether the caller is among `principals`. An account means its users, but to spare them it must name them."""
    session = _SESSION.fullmatch(caller_arn)
    for name in principals.values:
        role = None if session is None else _ROLE.fullmatch(name)
        if name in (_ANYONE, caller_arn) or (session and role and session.groups() == role.groups()):
            return not principals.negated
    return principals.negated or any(x == account or x.endswith(f"::{account}:root") for x in principals.values)


def _covers(actions: Choice, action: str) -> bool:
    return any(fnmatchcase(action, pattern.lower()) for pattern in actions.values) != actions.negated


def parse_policy(text: str) -> Policy:
    """The policy in `text`.

    Raises:
        MalformedPolicyDocument: it is not JSON, or not a resource policy.
    """
    try:
        parsed = json.loads(text, object_pairs_hook=_without_twins, parse_constant=int)  # which refuses NaN
    except (ValueError, RecursionError):
        raise MalformedPolicyDocument(INVALID_JSON) from None
    document = _object(parsed, {"Version", "Id", "Statement"}, "The policy")
    _require(document.get("Version", "2012-10-17") in ("2012-10-17", "2008-10-17"), "Version must be 2012-10-17.")
    _require(isinstance(document.get("Id", ""), str), "Id must be a string.")
    statements = _listed(document.get("Statement"))
    _require(statements != [], "There must be a Statement.")
    return tuple(_statement(raw, f"Statement {number}") for number, raw in enumerate(statements, 1))


def _statement(raw: Any, place: str) -> Statement:
    fields = _object(raw, _FIELDS, place)
    _require(fields.get("Effect") in ("Allow", "Deny"), f"{place}: Effect must be Allow or Deny.")
    _require(isinstance(fields.get("Sid", ""), str), f"{place}: Sid must be a string.")
    principal, others = _either(fields, "Principal", place)
    return Statement(
        allows=fields["Effect"] == "Allow",
        principals=Choice(_principals(principal, place), others),
        actions=_patterns(fields, "Action", _ACTION, place),
        resources=_patterns(fields, "Resource", _RESOURCE, place),
        conditions=tuple(_conditions(fields.get("Condition", {}), place)),
    )


def _principals(raw: Any, place: str) -> tuple[str, ...]:
    kinds = {"AWS": _ANYONE} if raw == _ANYONE else raw
    _require(isinstance(kinds, dict) and kinds != {}, f'{place}: a principal must be "*" or an object.')
    found: list[str] = []
    for kind, names in kinds.items():
        shape = _PRINCIPALS.get(kind)
        found += _strings(names, f"{place}: the principals")
        if shape is None or not all(shape.fullmatch(name) for name in _listed(names)):
            raise MalformedPolicyDocument(UNSUPPORTED_SERVICE if kind == "Service" else UNSUPPORTED_PRINCIPAL)
    return tuple(found)


def _patterns(fields: Any, name: str, shape: re.Pattern[str], place: str) -> Choice:
    raw, negated = _either(fields, name, place)
    values = _strings(raw, f"{place}: {name}")
    _require(all(shape.fullmatch(value) for value in values), f"{place}: {name} has a value of another form.")
    return Choice(values, negated)


def _conditions(raw: Any, place: str) -> list[Condition]:
    _require(isinstance(raw, dict), f"{place}: Condition must be an object.")
    found = []
    for operator, keys in raw.items():
        parts = _OPERATOR.fullmatch(operator.lower())
        if parts is None or not isinstance(keys, dict):
            raise MalformedPolicyDocument(f"{SYNTAX_ERROR} {place}: {operator[:64]!r} is no condition.")
        for key, value in keys.items():
            values = [json.dumps(v) if isinstance(v, bool | int | float) else v for v in _listed(value)]
            texts = _strings(values, f"{place}: a condition's values")
            found.append(Condition(parts[2], key.lower(), texts, parts[1] != "forallvalues" and parts[3] is None))
    return found


def _either(fields: Any, name: str, place: str) -> tuple[Any, bool]:
    """The value of an element or of its Not-form, and whether it is the latter."""
    _require((name in fields) != (f"Not{name}" in fields), f"{place} must have either {name} or Not{name}.")
    return (fields[name], False) if name in fields else (fields[f"Not{name}"], True)


def _strings(raw: Any, what: str) -> tuple[str, ...]:
    values = _listed(raw)
    _require(values != [] and all(isinstance(v, str) for v in values), f"{what} must be a string or a list of strings.")
    return tuple(values)


def _listed(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else [raw]


def _object(raw: Any, known: set[str], place: str) -> Any:
    _require(isinstance(raw, dict), f"{place} must be an object.")
    unknown = sorted(raw.keys() - known)
    _require(not unknown, f"{place} has an unknown element {''.join(unknown[:1])[:64]!r}.")
    return raw


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _require(len(dict(pairs)) == len(pairs), "A key stands twice in one object.")
    return dict(pairs)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise MalformedPolicyDocument(f"{SYNTAX_ERROR} {complaint}")
