"""Conditions of policies: every operator, compiled once, tested on the context of a request. Pure.

1. All conditions of a statement must hold. The values of one are alternatives; of a negated one none may match.
2. A key that the request lacks matches nothing: a plain test fails, a negated one holds, `…IfExists` holds, `Null` asks
   just that. `ForAllValues` holds for a request without the key, `ForAnyValue` does not.
3. `ForAllValues` and `ForAnyValue` are for keys of several values. A plain operator cannot decide about several values.
4. What cannot be compared (a text with a number, an unknown variable) does not match. What is undecided, and a negated
   test of what cannot be compared, is None: the statement then denies, and does not allow.
5. Names of keys have no case. Variables stand only in values of String… and Arn… operators.

Sources: the IAM guide on condition operators, on keys of several values, and on policy variables.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from keywheel.access.patterns import Context, Variable, Wild, arn_glob, glob, matcher, read_pattern

Match: TypeAlias = Callable[[str, Context], bool | None]
"""Whether a value of the request is one of those of the condition; None when that cannot be said."""

_NAME = re.compile(r"(?:(foranyvalue|forallvalues):)?(.+?)(ifexists)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,64}(?:\.[0-9]{1,64})?", re.ASCII)
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII
)
_BOOLEANS = ("true", "false")


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of a condition block as it is written; `operator` and `key` are in lower case.

    `operator` has neither its set prefix ("forallvalues" or "foranyvalue", in `over`) nor its "ifexists".
    """

    operator: str
    key: str
    values: tuple[str, ...]
    over: str = ""
    if_exists: bool = False

    @property
    def binding(self) -> bool:
        """Whether it keeps out a request that lacks the key."""
        return self.over != "forallvalues" and not self.if_exists


@dataclass(frozen=True, slots=True)
class Test:
    """A condition, ready to be asked."""

    __test__ = False  # not a test of pytest's

    key: str
    holds: Callable[[Context], bool | None]


def condition(name: str, key: str, values: tuple[str, ...]) -> Condition | None:
    """What `name` (such as "ForAnyValue:StringLikeIfExists") means for `key`; None for an unknown operator."""
    parts = _NAME.fullmatch(name.lower())
    if parts is None or parts[2] not in OPERATORS or (parts[2] == "null" and parts[3]):
        return None
    return Condition(parts[2], key.lower(), values, parts[1] or "", parts[3] is not None)


def compile_condition(given: Condition, *, variables: bool) -> Test:
    """`given`, ready to be asked. `variables` says whether the policy's version has them.

    Raises:
        ValueError: a value is not of the operator's kind.
    """
    if given.operator == "null":
        return Test(given.key, _null(given.key, given.values))
    read, negated = OPERATORS[given.operator]
    match = read(given.values, variables)
    if given.over:
        return Test(given.key, _over_set(given, match, negated=negated))
    return Test(given.key, _single(given, match, negated=negated))


# --- how the answers for each value make up the answer of a condition -------------------------------------------------


def _single(given: Condition, match: Match, *, negated: bool) -> Callable[[Context], bool | None]:
    key, absent = given.key, negated or given.if_exists

    def holds(context: Context) -> bool | None:
        value = context.get(key)
        if value is None or value == ():
            return absent
        if isinstance(value, tuple):
            if len(value) > 1:
                return None
            value = value[0]
        return _signed(match(value, context), negated=negated)

    return holds


def _over_set(given: Condition, match: Match, *, negated: bool) -> Callable[[Context], bool | None]:
    key, every = given.key, given.over == "forallvalues"

    def holds(context: Context) -> bool | None:
        value = context.get(key)
        if value is None:
            return every or given.if_exists
        values = value if isinstance(value, tuple) else (value,)
        if values in ((), ("",)):  # the IAM guide: an empty text is an empty set
            return every
        answers = {_signed(match(one, context), negated=negated) for one in values}
        decisive = not every
        return decisive if decisive in answers else None if None in answers else every

    return holds


def _signed(matched: bool | None, *, negated: bool) -> bool | None:
    if not negated:
        return matched is True
    return None if matched is None else not matched


def _null(key: str, values: tuple[str, ...]) -> Callable[[Context], bool | None]:
    wanted = {text == "true" for text in _booleans(values)}

    def holds(context: Context) -> bool | None:
        return (context.get(key) in (None, ())) in wanted

    return holds


# --- the values of each kind of operator -----------------------------------------------------------------------------


def _texts(values: tuple[str, ...], variables: bool, *, wild: bool = False, fold: bool = False) -> Match:
    found = matcher([read_pattern(v, wild=wild, variables=variables) for v in values], glob, fold=fold)
    return (lambda text, context: found.matches(text.lower(), context)) if fold else found.matches


def _folded(values: tuple[str, ...], variables: bool) -> Match:
    return _texts(values, variables, fold=True)


def _like(values: tuple[str, ...], variables: bool) -> Match:
    return _texts(values, variables, wild=True)


def _arns(values: tuple[str, ...], variables: bool) -> Match:
    patterns = [read_pattern(v, wild=True, variables=variables) for v in values]
    for text, pattern in zip(values, patterns, strict=True):
        colons = sum(part.count(":") for part in pattern if isinstance(part, str))
        open_ = any(isinstance(part, Variable) for part in pattern)  # it may stand for all of an ARN
        if pattern != (Wild.ANY,) and not open_ and (colons < 5 or not text.startswith(("arn:", "*:"))):
            raise ValueError(f"{text[:64]!r} is no ARN")
    return matcher(patterns, arn_glob).matches


def _compared(parse: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Callable[..., Match]:
    """The operators that turn both sides into values and compare them."""

    def read(values: tuple[str, ...], variables: bool) -> Match:
        del variables  # only texts have them
        bounds = [parse(value) for value in values]

        def match(text: str, context: Context) -> bool | None:
            del context
            try:
                value = parse(text)
            except ValueError:
                return None
            return any(compare(value, bound) for bound in bounds)

        return match

    return read


def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is no number")
    return Decimal(text)


def _date(text: str) -> Decimal:
    """A date of the W3C's profile of ISO 8601, or seconds since 1970, in seconds since 1970."""
    parts = _DATE.fullmatch(text)
    if parts is None:
        if _NUMBER.fullmatch(text):
            return Decimal(text)
        raise ValueError(f"{text[:64]!r} is no date")
    year, month, day, hour, minute, second, fraction, zone = parts.groups()
    try:
        whole = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
                         tzinfo=UTC)  # fmt: skip
    except ValueError:
        raise ValueError(f"{text[:64]!r} is no date") from None
    return Decimal(int(whole.timestamp()) - _offset(zone, text)) + Decimal(fraction or 0)


def _offset(zone: str | None, text: str) -> int:
    if zone in (None, "Z"):
        return 0
    hours, minutes = int(str(zone)[1:3]), int(str(zone)[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(f"{text[:64]!r} is no date")
    return (hours * 60 + minutes) * (-60 if str(zone).startswith("-") else 60)


def _boolean(text: str) -> str:
    if text.lower() not in _BOOLEANS:
        raise ValueError(f"{text[:64]!r} is neither true nor false")
    return text.lower()


def _booleans(values: tuple[str, ...]) -> list[str]:
    return [_boolean(value) for value in values]


def _binary(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not in base 64") from None


def _addresses(values: tuple[str, ...], variables: bool) -> Match:
    del variables
    networks = [_network(value) for value in values]

    def match(text: str, context: Context) -> bool | None:
        del context
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return None
        plain = getattr(address, "ipv4_mapped", None) or address  # ::ffff:192.0.2.1 is 192.0.2.1
        return any(plain in network for network in networks)

    return match


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is no range of addresses") from None


_EXACT, _ARN, _EQUAL = _texts, _arns, operator.eq
_COMPARISONS = {
    "equals": (_EQUAL, False),
    "notequals": (_EQUAL, True),
    "lessthan": (operator.lt, False),
    "lessthanequals": (operator.le, False),
    "greaterthan": (operator.gt, False),
    "greaterthanequals": (operator.ge, False),
}

OPERATORS: dict[str, tuple[Callable[..., Match], bool]] = {
    "stringequals": (_EXACT, False),
    "stringnotequals": (_EXACT, True),
    "stringequalsignorecase": (_folded, False),
    "stringnotequalsignorecase": (_folded, True),
    "stringlike": (_like, False),
    "stringnotlike": (_like, True),
    "arnequals": (_ARN, False),
    "arnlike": (_ARN, False),
    "arnnotequals": (_ARN, True),
    "arnnotlike": (_ARN, True),
    "bool": (_compared(_boolean, _EQUAL), False),
    "binaryequals": (_compared(_binary, _EQUAL), False),
    "ipaddress": (_addresses, False),
    "notipaddress": (_addresses, True),
    "null": (_EXACT, False),  # asks whether the key is there, not what it is
    **{f"numeric{name}": (_compared(_number, compare), no) for name, (compare, no) in _COMPARISONS.items()},
    **{f"date{name}": (_compared(_date, compare), no) for name, (compare, no) in _COMPARISONS.items()},
}
"""Every operator in lower case: how its values are read, and whether it is negated."""
