"""Policy documents: read the JSON of one, and refuse what is no policy. Pure.

1. A statement says who (Principal), what (Action) and where (Resource), each or its Not-form exactly once. An unknown
   element or operator, or a key that stands twice, is refused rather than ignored: a policy must not mean less than
   it says.
2. Each kind of policy has a grammar of its own (GRAMMARS): the policy of an identity names no principal, a role's trust
   policy no resource. A statement of a key's policy may lack its action or its resource, and then has no effect.
3. A principal is checked for its form; whether there is such a user or role is not known here.

Sources: the IAM guide's grammar of policies and its quotas; the Secrets Manager guide on validating a policy, and the
KMS guide on key policies, whose messages these are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from keywheel.access.conditions import Condition, condition
from keywheel.access.principals import ANYONE, ENGINE
from keywheel.errors import MalformedPolicyDocument

_FIELDS = ("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
_ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
_RESOURCE = re.compile(r"\*|arn:[^\s*?:${}]+:[^\s*?:${}]+:.*", re.DOTALL)  # nothing stands for partition or service
_AWS = re.compile(
    r"\*|[0-9]{12}|arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|(?:user|role)/[A-Za-z0-9_+=,.@/-]+)"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/[A-Za-z0-9_+=,.@/-]+)"
)
_SERVICE = re.compile(rf"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?|{re.escape(ENGINE)}")
_FEDERATED = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(?:saml|oidc)-provider/\S+|[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_PRINCIPALS = {"AWS": _AWS, "Federated": _FEDERATED, "Service": _SERVICE}  # a CanonicalUser is S3's alone
_SID = re.compile(r"[A-Za-z0-9]*")


class Kind(StrEnum):
    """What a policy is put on."""

    IDENTITY = "identity"  # a user or a role
    SESSION = "session"  # the session of a role, which it narrows
    RESOURCE = "resource"  # a secret
    KEY = "key"
    TRUST = "trust"  # a role: who may assume it


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a kind of policy may have, and what its refusals are called."""

    limit: int
    principals: bool
    resources: bool = True
    gaps: bool = False  # whether a statement may lack its action or resource
    unspaced: bool = False  # whether white space counts for nothing
    invalid_json: str = "The policy is not in the valid JSON format."
    syntax: str = "Syntax errors in policy."
    principal: str = "Invalid principal in policy."
    service: str = "Invalid principal in policy."


_SECRET = Grammar(
    20_480,
    principals=True,
    invalid_json="This resource policy contains invalid Json",
    syntax="This resource policy contains a syntax error.",
    principal="This resource policy contains an unsupported principal.",
    service="This resource policy contains an unsupported service principal.",
)
_KEY_PRINCIPAL = "Policy contains a statement with one or more invalid principals."
GRAMMARS = {
    Kind.IDENTITY: Grammar(10_240, principals=False, unspaced=True),
    Kind.SESSION: Grammar(2_048, principals=False),
    Kind.RESOURCE: _SECRET,
    Kind.KEY: Grammar(32_768, principals=True, gaps=True, principal=_KEY_PRINCIPAL, service=_KEY_PRINCIPAL),
    Kind.TRUST: Grammar(8_192, principals=True, resources=False, unspaced=True),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The values of an element; `negated` for its Not-form, which means all others."""

    values: tuple[str, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """Who may, or may not, do what. None stands for an element that the kind of policy lacks."""

    sid: str | None
    allows: bool
    principals: Choice | None
    actions: Choice | None
    resources: Choice | None
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A policy as it is written. `variables` says whether its version has policy variables."""

    kind: Kind
    variables: bool
    statements: tuple[Statement, ...]


def read_document(text: str, kind: Kind) -> Document:
    """The policy in `text`.

    Raises:
        MalformedPolicyDocument: it is not JSON, too long, or not a policy of this kind.
    """
    return _Reader(GRAMMARS[kind]).document(text, kind)


class _Reader:
    """Reads a policy by one grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar

    def document(self, text: str, kind: Kind) -> Document:
        size = len("".join(text.split())) if self._grammar.unspaced else len(text)
        self._require(size <= self._grammar.limit, f"It has more than {self._grammar.limit} characters.")
        try:
            parsed = json.loads(text, object_pairs_hook=self._without_twins, parse_constant=int)  # which refuses NaN
        except (ValueError, RecursionError):
            raise MalformedPolicyDocument(self._grammar.invalid_json) from None
        identity = kind in (Kind.IDENTITY, Kind.SESSION)
        known = ("Version", "Statement") if identity else ("Version", "Id", "Statement")
        document = self._object(parsed, known, "The policy")
        version = document.get("Version", "2008-10-17")
        self._require(version in ("2012-10-17", "2008-10-17"), "Version must be 2012-10-17.")
        self._require(isinstance(document.get("Id", ""), str), "Id must be a string.")
        listed = _listed(document.get("Statement"))
        self._require(listed != [], "There must be a Statement.")
        statements = tuple(self._statement(raw, f"Statement {number}") for number, raw in enumerate(listed, 1))
        if identity:
            sids = [s.sid for s in statements if s.sid]
            self._require(len(set(sids)) == len(sids), "Each Sid must stand once.")
            self._require(all(_SID.fullmatch(sid) for sid in sids), "A Sid must have only letters and digits.")
        return Document(kind, version == "2012-10-17", statements)

    def _statement(self, raw: Any, place: str) -> Statement:
        fields = self._object(raw, _FIELDS, place)
        self._require(fields.get("Effect") in ("Allow", "Deny"), f"{place}: Effect must be Allow or Deny.")
        self._require(isinstance(fields.get("Sid", ""), str), f"{place}: Sid must be a string.")
        gaps, grammar = self._grammar.gaps, self._grammar
        principals = self._either(fields, "Principal", place, wanted=grammar.principals)
        actions = self._either(fields, "Action", place, optional=gaps)
        resources = self._either(fields, "Resource", place, wanted=grammar.resources, optional=gaps)
        return Statement(
            sid=fields.get("Sid"),
            allows=fields["Effect"] == "Allow",
            principals=None if principals is None else Choice(self._principals(principals[0], place), principals[1]),
            actions=self._patterns(actions, "Action", _ACTION, place),
            resources=self._patterns(resources, "Resource", _RESOURCE, place),
            conditions=self._conditions(fields.get("Condition", {}), place),
        )

    def _principals(self, raw: Any, place: str) -> tuple[str, ...]:
        kinds = {"AWS": ANYONE} if raw == ANYONE else raw
        self._require(isinstance(kinds, dict) and kinds != {}, f'{place}: a principal must be "*" or an object.')
        found: list[str] = []
        for kind, names in kinds.items():
            shape = _PRINCIPALS.get(kind)
            found += self._strings(names, f"{place}: the principals")
            if shape is None or not all(shape.fullmatch(name) for name in _listed(names)):
                wording = self._grammar.service if kind == "Service" else self._grammar.principal
                raise MalformedPolicyDocument(wording)
        return tuple(found)

    def _patterns(self, raw: tuple[Any, bool] | None, name: str, shape: re.Pattern[str], place: str) -> Choice | None:
        if raw is None:
            return None
        values = self._strings(raw[0], f"{place}: {name}")
        self._require(all(shape.fullmatch(value) for value in values), f"{place}: {name} has a value of another form.")
        return Choice(values, raw[1])

    def _conditions(self, raw: Any, place: str) -> tuple[Condition, ...]:
        self._require(isinstance(raw, dict), f"{place}: Condition must be an object.")
        found = []
        for operator, keys in raw.items():
            what = f"{place}: {operator[:64]!r} is no condition."
            self._require(isinstance(keys, dict), what)
            self._require(len({key.lower() for key in keys}) == len(keys), f"{place}: a condition key stands twice.")
            for key, value in keys.items():
                values = [json.dumps(v) if isinstance(v, bool | int | float) else v for v in _listed(value)]
                texts = self._strings(values, f"{place}: a condition's values")
                one = condition(operator, key, texts)
                found.append(one if one is not None else self._refuse(what))
            self._require(condition(operator, "", ()) is not None, what)
        return tuple(found)

    def _either(
        self, fields: Any, name: str, place: str, *, wanted: bool = True, optional: bool = False
    ) -> tuple[Any, bool] | None:
        """The value of an element or of its Not-form, and whether it is the latter."""
        plain, negated = name in fields, f"Not{name}" in fields
        if not wanted:
            self._require(not (plain or negated), f"{place} must have neither {name} nor Not{name}.")
            return None
        if optional and not (plain or negated):
            return None
        self._require(plain != negated, f"{place} must have either {name} or Not{name}.")
        return (fields[name], False) if plain else (fields[f"Not{name}"], True)

    def _strings(self, raw: Any, what: str) -> tuple[str, ...]:
        values = _listed(raw)
        fits = values != [] and all(isinstance(v, str) for v in values)
        self._require(fits, f"{what} must be a string or a list of strings.")
        return tuple(values)

    def _object(self, raw: Any, known: tuple[str, ...], place: str) -> Any:
        self._require(isinstance(raw, dict), f"{place} must be an object.")
        unknown = sorted(raw.keys() - set(known))
        self._require(not unknown, f"{place} has an unknown element {''.join(unknown[:1])[:64]!r}.")
        return raw

    def _without_twins(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._require(len(dict(pairs)) == len(pairs), "A key stands twice in one object.")
        return dict(pairs)

    def _require(self, holds: bool, complaint: str) -> None:
        if not holds:
            self._refuse(complaint)

    def _refuse(self, complaint: str) -> NoReturn:
        raise MalformedPolicyDocument(f"{self._grammar.syntax} {complaint}")


def _listed(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else [raw]
