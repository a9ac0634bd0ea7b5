"""Random passwords by the rules of GetRandomPassword. Pure but for the source of randomness, which is passed in."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Protocol

from keywheel.errors import InvalidParameter
from keywheel.sensitive import Sensitive

PUNCTUATION = string.punctuation  # the 32 characters of AWS's alphabet
SYSTEM_RANDOM = SystemRandom()


class Chooser(Protocol):
    """A source of randomness. `random.SystemRandom` outside tests."""

    def choice(self, seq: Sequence[str], /) -> str: ...
    def shuffle(self, x: list[str], /) -> None: ...


@dataclass(frozen=True, slots=True)
class PasswordRules:
    """The members of GetRandomPassword, with AWS's defaults."""

    length: int = 32
    exclude_characters: str = ""
    exclude_numbers: bool = False
    exclude_punctuation: bool = False
    exclude_uppercase: bool = False
    exclude_lowercase: bool = False
    include_space: bool = False
    require_each: bool = True

    def classes(self) -> list[str]:
        """The characters that may be used, class by class, empty classes left out."""
        table = (
            (not self.exclude_lowercase, string.ascii_lowercase),
            (not self.exclude_uppercase, string.ascii_uppercase),
            (not self.exclude_numbers, string.digits),
            (not self.exclude_punctuation, PUNCTUATION),
            (self.include_space, " "),
        )
        excluded = set(self.exclude_characters)
        allowed = ("".join(c for c in characters if c not in excluded) for wanted, characters in table if wanted)
        return [characters for characters in allowed if characters]


def generate(rules: PasswordRules, random: Chooser = SYSTEM_RANDOM) -> Sensitive[str]:
    """A password by `rules`.

    Raises:
        InvalidParameter: nothing may be used, or the length has no room for one character of each class.
    """
    classes = rules.classes()
    if not classes:
        raise InvalidParameter("All possible characters are excluded: no password can be generated.")
    required = [random.choice(characters) for characters in classes] if rules.require_each else []
    if len(required) > rules.length:
        raise InvalidParameter("Password length is too short based on the required types.")
    alphabet = "".join(classes)
    password = required + [random.choice(alphabet) for _ in range(rules.length - len(required))]
    random.shuffle(password)
    return Sensitive("".join(password))
