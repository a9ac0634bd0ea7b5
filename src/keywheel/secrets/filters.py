"""Which secrets a filter lets through. Every rule about filters is in this file, and it does no I/O.

1. Several filters: each has to match, also where two have the same key.
2. Several values in one filter: one of them has to match. A value that begins with `!` negates: the secret must match
   none of those.
3. A value matches what begins with it. Case counts for names, tags, Regions and services; tag keys and tag values
   are asked apart, so the key and the value found may belong to two tags.
4. `description`: each word of the value begins a word of the description, in any order, in any case. Words are what
   white space parts.
5. `all`: a word of the value begins a word of any attribute, in any case. Words are runs of letters or of digits, and
   end where a capital follows a small letter (`credsDatabase#892` is creds, database and 892) or begins a
   capitalised word (`HTTPServer` is http and server).
6. What a secret does not have matches nothing, so only a negated value lets it through.

Sources: the API reference of Filter for the keys, prefixes and case; the user guide's page "Find secrets" for the words
of `all`, any of which is enough there; for rules 1, 2 and 4 behaviour recorded on AWS. Whether `all` takes whole words
or their beginnings is not written; we take beginnings, as for every other key. Not kept: AWS never finds
`prod-AppBeta/x`, a name that mixes dash and slash, by `AppBeta`. We do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keywheel.errors import InvalidParameter
from keywheel.secrets.rows import Secret

# A capital is an ASCII one: a value holds nothing else, so no other letter can be asked for.
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")

Texts = list[str]


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a request, as it came: the model allows the key and the values to be missing."""

    key: str = ""
    values: tuple[str, ...] = ()


def matches(secret: Secret, filters: Iterable[Filter]) -> bool:
    """Whether every filter lets `secret` through.

    Raises:
        InvalidParameter: a filter lacks its key or its values, or there is no such key.
    """
    return compile_filters(filters)(secret)


def compile_filters(filters: Iterable[Filter]) -> Callable[[Secret], bool]:
    """`matches` of these filters, made once for many secrets.

    Raises:
        InvalidParameter: a filter lacks its key or its values, or there is no such key.
    """
    tests = [_compile(one) for one in filters]
    return lambda secret: all(test(secret) for test in tests)


def _compile(one: Filter) -> Callable[[Secret], bool]:
    if not one.key or not one.values:
        raise InvalidParameter("Each filter must have a Key and Values.")
    if one.key not in _KEYS:
        raise InvalidParameter(f"Invalid filter key. Valid keys are: {', '.join(_KEYS)}.")
    texts_of, compile_value = _KEYS[one.key]
    wanted = [compile_value(value) for value in one.values if not value.startswith("!")]
    unwanted = [compile_value(value[1:]) for value in one.values if value.startswith("!")]

    def test(secret: Secret) -> bool:
        texts = texts_of(secret)
        found = not wanted or any(match(texts) for match in wanted)
        return found and not any(match(texts) for match in unwanted)

    return test


# --- what a value asks of the texts of an attribute


def _begins_one(value: str) -> Callable[[Texts], bool]:
    return lambda texts: any(text.startswith(value) for text in texts)


def _each_word_begins_one(value: str) -> Callable[[Texts], bool]:
    asked = [_begins_one(word) for word in _spaced(value)]
    return lambda texts: bool(texts) and all(begins(texts) for begins in asked)


def _some_word_begins_one(value: str) -> Callable[[Texts], bool]:
    asked = tuple(_words(value))
    return lambda texts: not asked or any(text.startswith(asked) for text in texts)


# --- the texts of an attribute


def _spaced(text: str) -> Texts:
    return text.casefold().split()


def _words(text: str) -> Texts:
    return [word.casefold() for word in _WORD.findall(text)]


def _tags(secret: Secret) -> dict[str, str]:
    tags: dict[str, str] = json.loads(secret.tags)
    return tags


def _present(*texts: str | None) -> Texts:
    return [text for text in texts if text is not None]


def _every_word(secret: Secret) -> Texts:
    texts = _present(secret.name, secret.description, secret.primary_region, secret.owning_service)
    tags = _tags(secret)
    return _words(" ".join([*texts, *tags.keys(), *tags.values()]))


_KEYS: dict[str, tuple[Callable[[Secret], Texts], Callable[[str], Callable[[Texts], bool]]]] = {
    "description": (lambda secret: _spaced(secret.description or ""), _each_word_begins_one),
    "name": (lambda secret: [secret.name], _begins_one),
    "tag-key": (lambda secret: list(_tags(secret).keys()), _begins_one),
    "tag-value": (lambda secret: list(_tags(secret).values()), _begins_one),
    "primary-region": (lambda secret: _present(secret.primary_region), _begins_one),
    "owning-service": (lambda secret: _present(secret.owning_service), _begins_one),
    "all": (_every_word, _some_word_begins_one),
}
