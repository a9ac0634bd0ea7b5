"""GetRandomPassword on the wire (aws-contract A16)."""

from __future__ import annotations

import string
from typing import Any

import pytest

from tests.conformance.server import refusal

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
CLASSES = {
    "ExcludeLowercase": string.ascii_lowercase,
    "ExcludeUppercase": string.ascii_uppercase,
    "ExcludeNumbers": string.digits,
    "ExcludePunctuation": PUNCTUATION,
}
TOO_SHORT = ("InvalidParameterException", "Password length is too short based on the required types.")


def password(api: Any, **members: Any) -> str:
    """The password."""
    text: str = api.get_random_password(**members)["RandomPassword"]
    return text


def test_the_default_is_32_characters_with_one_of_each_kind(api: Any) -> None:
    """Small and capital letters, digits and AWS's 32 punctuation characters; no space; never the same again."""
    passwords = {password(api) for _ in range(20)}
    assert len(passwords) == 20
    for text in passwords:
        assert len(text) == 32
        assert set(text) <= set("".join(CLASSES.values()))
        assert all(set(text) & set(characters) for characters in CLASSES.values())


def test_the_whole_alphabet_is_used(api: Any) -> None:
    """Each of the 94 characters comes up, and the space where it is asked for."""
    alphabet = set("".join(CLASSES.values()))
    assert alphabet == set(password(api, PasswordLength=4096))
    assert alphabet | {" "} == set(password(api, PasswordLength=4096, IncludeSpace=True))


@pytest.mark.parametrize("member", CLASSES)
def test_a_kind_can_be_excluded(api: Any, member: str) -> None:
    """Its characters do not come up; the others do."""
    others = set("".join(characters for name, characters in CLASSES.items() if name != member))
    assert others == set(password(api, PasswordLength=4096, **{member: True}))


def test_characters_can_be_excluded(api: Any) -> None:
    """Each that is named."""
    assert set(":/@\"'\\aZ9").isdisjoint(password(api, PasswordLength=4096, ExcludeCharacters=":/@\"'\\aZ9"))


@pytest.mark.parametrize("length", [1, 4, 4096])
def test_the_length_is_what_was_asked_for(api: Any, length: int) -> None:
    """From 1, where no kind is required, to 4096."""
    assert length == len(password(api, PasswordLength=length, RequireEachIncludedType=False))


@pytest.mark.parametrize("length", [-1, 0, 4097])
def test_another_length_is_refused(api: Any, length: int) -> None:
    """As a ValidationException that names the member."""
    code, message = refusal(api.get_random_password, PasswordLength=length)
    assert (code, f"Value '{length}' at 'passwordLength' failed" in message) == ("ValidationException", True)


@pytest.mark.parametrize(("length", "space"), [(3, False), (4, True)])
def test_a_length_without_room_for_each_kind_is_refused(api: Any, length: int, space: bool) -> None:
    """RequireEachIncludedType is on unless it is turned off, and the space is a kind."""
    assert refusal(api.get_random_password, PasswordLength=length, IncludeSpace=space) == TOO_SHORT
    assert length + 1 == len(password(api, PasswordLength=length + 1, IncludeSpace=space))
    off = {"RequireEachIncludedType": False}
    assert length == len(password(api, PasswordLength=length, IncludeSpace=space, **off))


def test_nothing_left_to_choose_from_is_refused(api: Any) -> None:
    """By kinds or by characters."""
    kinds = dict.fromkeys(CLASSES, True)
    for members in (kinds, {"ExcludeCharacters": "".join(CLASSES.values())}):
        assert refusal(api.get_random_password, **members)[0] == "InvalidParameterException"
    assert password(api, PasswordLength=8, IncludeSpace=True, **kinds) == " " * 8
