"""Wildcards and policy variables: how the patterns of a policy match. Pure.

1. `*` stands for any characters, also none; `?` for exactly one. In the Resource element both stay within a segment
   of the ARN (what colons separate), but a `*` that ends a segment goes on across colons. In the six components of an
   ARN condition they never cross.
2. `${key}` is replaced by the request's value of that condition key, `${key, 'default'}` by the default when the
   request has none; what is put in is literal, whatever characters it has. `${*}`, `${?}` and `${$}` are the characters
   themselves. Policies of a version before 2012-10-17 have no variables: there the text stands for itself.
3. A variable without a single value matches nothing. Whoever asks is told so by None, because "not that value" must not
   come true in an Allow by it.

The parts between wildcards are taken as early as they come and never reconsidered, so a match takes at most the length
of the text times that of the pattern, whatever somebody writes into a policy.

Sources: the IAM guide on the Resource element, the ARN condition operators, and policy variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

Context: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""What is known of a request, by condition key in lower case."""

_SPECIAL = re.compile(r"\$\{[^}]*\}?|\*|\?")
_VARIABLE = re.compile(r"\$\{\s*([A-Za-z0-9-]+:[^,'{}*?$]*[^,'{}*?$\s])\s*(?:,\s*'([^'}]*)'\s*)?\}")
_CHARACTERS = {"${*}": "*", "${?}": "?", "${$}": "$"}


class Wild(Enum):
    """A wildcard."""

    ANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """A policy variable; `key` is in lower case."""

    key: str
    default: str | None


Solid: TypeAlias = tuple[str | Wild, ...]
Pattern: TypeAlias = tuple[str | Wild | Variable, ...]


def read_pattern(text: str, *, wild: bool, variables: bool) -> Pattern:
    """The parts of a pattern; characters that mean nothing here stand for themselves.

    Raises:
        ValueError: it has a `${…}` that is no policy variable.
    """
    parts: list[str | Wild | Variable] = []
    position = 0
    for found in _SPECIAL.finditer(text):
        piece = found[0]
        part: str | Wild | Variable = piece
        if piece in ("*", "?"):
            part = Wild(piece) if wild else piece
        elif variables:
            part = _CHARACTERS.get(piece) or _variable(piece)
        elif wild:  # before 2012-10-17 the wildcards between the braces are wildcards
            parts += [text[position : found.start()], *_wildcards(piece)]
            position = found.end()
            continue
        parts += [text[position : found.start()], part]
        position = found.end()
    return _joined([*parts, text[position:]])


def _wildcards(text: str) -> list[str | Wild]:
    return [Wild(piece) if piece in ("*", "?") else piece for piece in re.split(r"([*?])", text)]


def _variable(text: str) -> Variable:
    parts = _VARIABLE.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text[:64]!r} is no policy variable")
    return Variable(parts[1].lower(), parts[2])


def _joined(parts: Iterable[str | Wild | Variable]) -> Pattern:
    joined: list[str | Wild | Variable] = []
    for part in parts:
        if part == "" or (part is Wild.ANY and joined and joined[-1] is Wild.ANY):
            continue
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return tuple(joined)


def filled(pattern: Pattern, context: Context) -> Solid | None:
    """The pattern with every variable replaced; None when one has no single value."""
    parts: list[str | Wild] = []
    for part in pattern:
        if not isinstance(part, Variable):
            parts.append(part)
            continue
        value = context.get(part.key)
        if isinstance(value, tuple):  # a key of several values cannot stand for one
            value = value[0] if len(value) == 1 else None
        value = part.default if value is None else value
        if value is None:
            return None
        parts.append(value)
    return tuple(parts)


# --- a pattern as a regular expression -------------------------------------------------------------------------------


def glob(pattern: Solid) -> str:
    """Wildcards that match across everything."""
    return _chain(_split(pattern, Wild.ANY), ".*", ".")


def resource_glob(pattern: Solid) -> str:
    """Wildcards of the Resource element."""
    chunks: list[list[str | Wild]] = [[]]
    for index, part in enumerate(pattern):
        after = pattern[index + 1] if index + 1 < len(pattern) else ":"
        if part is Wild.ANY and isinstance(after, str) and after.startswith(":"):
            chunks.append([])
        else:
            chunks[-1].append(part)
    last = len(chunks) - 1
    parts = [_chain(_split(chunk, Wild.ANY), "[^:]*", "[^:]", ends=i == last) for i, chunk in enumerate(chunks)]
    return _linked(parts, ".*", ends=True)


def arn_glob(pattern: Solid) -> str:
    """Wildcards of the ARN conditions: six components, of which only the last may have colons of its own."""
    text: list[str | Wild] = []
    components: list[list[str | Wild]] = [text]
    for part in pattern:
        pieces = part.split(":", 6 - len(components)) if isinstance(part, str) else [part]
        text.append(pieces[0])
        for piece in pieces[1:]:
            text = [piece]
            components.append(text)
    if len(components) < 6:
        return "(?!)"  # a variable turned out to be no ARN
    *front, last = components
    fixed = [_chain(_split(component, Wild.ANY), "[^:]*", "[^:]") for component in front]
    return ":".join([*fixed, _chain(_split(last, Wild.ANY), ".*", ".")])


def _split(pattern: Iterable[str | Wild], at: Wild) -> list[list[str | Wild]]:
    chunks: list[list[str | Wild]] = [[]]
    for part in pattern:
        if part is at:
            chunks.append([])
        else:
            chunks[-1].append(part)
    return chunks


def _chain(chunks: list[list[str | Wild]], any_: str, one: str, *, ends: bool = True) -> str:
    texts = ["".join(re.escape(p) if isinstance(p, str) else one for p in chunk) for chunk in chunks]
    return _linked(texts, any_, ends=ends)


def _linked(parts: list[str], any_: str, *, ends: bool) -> str:
    """`parts` with anything between them, each as early as it comes; the last one at the end where `ends`."""
    first, *rest = parts
    *middle, last = rest or [""]
    if not rest:
        return first
    early = "".join(f"(?>{any_}?{part})" for part in middle if part)
    return f"{first}{early}{any_}{last}" if ends else f"{first}{early}(?>{any_}?{last})"


# --- many patterns at once -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Matcher:
    """Patterns of which one has to match. `fold` compares without regard to case."""

    everything: bool
    exact: frozenset[str]
    solid: re.Pattern[str] | None
    open: tuple[Pattern, ...]  # with variables: made up for each request
    build: Callable[[Solid], str]
    fold: bool

    def matches(self, text: str, context: Context) -> bool | None:
        """Whether one matches; None when none does, but one could not be filled in."""
        if self.everything or text in self.exact:
            return True
        if self.solid is not None and self.solid.fullmatch(text) is not None:
            return True
        if not self.open:
            return False
        unknown = False
        for pattern in self.open:
            solid = filled(pattern, context)
            if solid is None:
                unknown = True
            elif _compiled(self.build, solid, self.fold).fullmatch(text) is not None:
                return True
        return None if unknown else False


def matcher(patterns: Iterable[Pattern], build: Callable[[Solid], str] = glob, *, fold: bool = False) -> Matcher:
    """What matches when one of `patterns` does; text to be matched with `fold` has to be in lower case."""
    exact, solid, with_variables = set[str](), [], []
    everything = False
    for pattern in patterns:
        if any(isinstance(part, Variable) for part in pattern):
            with_variables.append(pattern)
        elif pattern == (Wild.ANY,):
            everything = True
        elif all(isinstance(part, str) for part in pattern):
            text = "".join(str(part) for part in pattern)
            exact.add(text.lower() if fold else text)
        else:
            solid.append(_folded(tuple(p for p in pattern if not isinstance(p, Variable)), fold))
    one = re.compile("|".join(f"(?:{build(p)})" for p in solid), re.DOTALL) if solid else None
    return Matcher(everything, frozenset(exact), one, tuple(with_variables), build, fold)


def _folded(pattern: Solid, fold: bool) -> Solid:
    return tuple(part.lower() if fold and isinstance(part, str) else part for part in pattern)


@lru_cache(4096)
def _compiled(build: Callable[[Solid], str], pattern: Solid, fold: bool) -> re.Pattern[str]:
    return re.compile(build(_folded(pattern, fold)), re.DOTALL)
