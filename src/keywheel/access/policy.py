"""Policies: compiled once, evaluated for every request. Pure.

1. A statement applies when it names the principal, the action and the resource, and all its conditions hold. The policy
   of an identity names everybody it is put on.
2. Actions have no case; ARNs do.
3. What is undecided (conditions.py, patterns.py) makes a Deny apply, and an Allow not.
4. Within a policy the first Deny that applies decides. Of Allows, the one that names the principal most closely.

How the policies of one request are weighed together is in authorize.py.

Sources: the IAM guide on the elements of a policy and on how they are evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from msgspec import Struct

from keywheel.access.conditions import Test, compile_condition
from keywheel.access.documents import GRAMMARS, Choice, Document, Kind, Statement, read_document
from keywheel.access.patterns import Context, Matcher, Variable, matcher, read_pattern, resource_glob
from keywheel.access.principals import Bond, Principal, Principals, compile_principals
from keywheel.errors import MalformedPolicyDocument

# Every request asks for them, and by the class's name each takes longer than a comparison.
_NONE, _DIRECT = Bond.NONE, Bond.DIRECT
_BEFORE_THE_NAME = 5  # colons of an ARN; a policy variable may only come after them


class Request(Struct, frozen=True):
    """What is asked: who does what to which resource, and what else is known (by condition key in lower case)."""

    principal: Principal
    action: str
    resource: str
    context: Context
    folded: str  # the action in lower case


def request(principal: Principal, action: str, resource: str, context: Context) -> Request:
    """A request, ready to be evaluated."""
    return Request(principal, action, resource, context, action.lower())


@dataclass(frozen=True, slots=True)
class Where:
    """A statement that decided: of which policy, and its Sid or its place."""

    kind: Kind
    policy: str
    statement: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled statement."""

    where: Where
    allows: bool
    principals: Principals | None
    actions: Matcher
    other_actions: bool
    resources: Matcher | None
    other_resources: bool
    conditions: tuple[Test, ...]

    def applies(self, asked: Request) -> Bond:
        """How closely the statement means the request; NONE where it does not apply (rules 1 to 3)."""
        if self.actions.matches(asked.folded, asked.context) is self.other_actions:
            return _NONE
        bond = _DIRECT if self.principals is None else self.principals.bond(asked.principal)
        if bond is _NONE:
            return _NONE
        doubtful = False
        if self.resources is not None:
            found = self.resources.matches(asked.resource, asked.context)
            if found is self.other_resources or (found is None and not self.other_resources):
                return _NONE
            doubtful = found is None
        for condition in self.conditions:
            holds = condition.holds(asked.context)
            if holds is False:
                return _NONE
            doubtful = doubtful or holds is None
        return _NONE if doubtful and self.allows else bond


class Findings(Struct, frozen=True):
    """What one policy says about a request."""

    denied: Where | None
    allowed: Where | None
    bond: Bond  # how closely `allowed` names the principal


_NOTHING = Findings(None, None, Bond.NONE)


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy."""

    name: str
    kind: Kind
    denies: tuple[Rule, ...]
    allows: tuple[Rule, ...]
    asks: frozenset[str] = frozenset()
    """The condition keys that it asks for, so that nobody looks for what nobody asks."""

    def examine(self, asked: Request) -> Findings:
        """What this policy says about `asked` (rule 4)."""
        for rule in self.denies:
            if rule.applies(asked):
                return Findings(rule.where, None, _NONE)
        best = _NOTHING
        for rule in self.allows:
            bond = rule.applies(asked)
            if bond > best.bond:
                best = Findings(None, rule.where, bond)
                if bond is _DIRECT:
                    break
        return best


def compile_policy(text: str, kind: Kind, name: str = "") -> Policy:
    """The policy in `text`, ready to be evaluated; `name` is what it is called when it decides.

    Raises:
        MalformedPolicyDocument: it is no policy of this kind, or a value is not of its operator's kind.
    """
    return compile_document(read_document(text, kind), name)


compiled = lru_cache(2048)(compile_policy)
"""`compile_policy`, remembered: policies are written seldom and evaluated often."""


def compile_document(document: Document, name: str = "") -> Policy:
    """The policy that was read.

    Raises:
        MalformedPolicyDocument: a value is not of its operator's kind, or no policy variable.
    """
    rules = []
    for number, statement in enumerate(document.statements, 1):
        if statement.actions is None or (statement.resources is None and document.kind is not Kind.TRUST):
            continue  # without either, a statement of a key's policy has no effect
        where = Where(document.kind, name, statement.sid or f"statement {number}")
        try:
            rules.append(_rule(statement, statement.actions, where, variables=document.variables))
        except ValueError as error:
            syntax = GRAMMARS[document.kind].syntax
            raise MalformedPolicyDocument(f"{syntax} Statement {number}: {error}.") from None
    denies, allows = (tuple(rule for rule in rules if rule.allows is kept) for kept in (False, True))
    asks = frozenset(condition.key for rule in rules for condition in rule.conditions)
    return Policy(name, document.kind, denies, allows, asks)


def _rule(statement: Statement, actions: Choice, where: Where, *, variables: bool) -> Rule:
    names, resources = statement.principals, statement.resources
    return Rule(
        where=where,
        allows=statement.allows,
        principals=None
        if names is None
        else compile_principals(names.values, negated=names.negated, allows=statement.allows),
        actions=matcher([read_pattern(a, wild=True, variables=False) for a in actions.values], fold=True),
        other_actions=actions.negated,
        resources=None if resources is None else _resources(resources.values, variables=variables),
        other_resources=resources is not None and resources.negated,
        conditions=tuple(compile_condition(c, variables=variables) for c in statement.conditions),
    )


def _resources(values: Iterable[str], *, variables: bool) -> Matcher:
    patterns = [read_pattern(value, wild=True, variables=variables) for value in values]
    for pattern in patterns:
        colons = 0
        for part in pattern:
            if isinstance(part, Variable) and colons < _BEFORE_THE_NAME:
                raise ValueError("a policy variable may not stand before the fifth colon of an ARN")
            colons += part.count(":") if isinstance(part, str) else 0
    return matcher(patterns, resource_glob)
