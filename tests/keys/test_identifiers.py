"""What a KeyId and the name of an alias may be."""

from __future__ import annotations

import re

import pytest

from keywheel.arn import Scope
from keywheel.errors import CallerError, ValidationFailed
from keywheel.keys.errors import InvalidArn, KeyNotFound, NotAuthorized
from keywheel.keys.identifiers import KeyRef, new_key_id, parse, require_alias_name

HERE, THEIRS = Scope("1" * 12, "eu-west-1"), Scope("2" * 12, "eu-west-1")
ID = "01234567-89ab-cdef-0123-456789abcdef"
MULTI = "mrk-0123456789abcdef0123456789abcdef"
PREFIX = "arn:aws:kms:eu-west-1:111111111111"


@pytest.mark.parametrize("aliases", [True, False])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ID, KeyRef(HERE, key_id=ID)),
        (MULTI, KeyRef(HERE, key_id=MULTI)),
        (f"{PREFIX}:key/{ID}", KeyRef(HERE, key_id=ID)),
        (f"{PREFIX}:key/{MULTI}", KeyRef(HERE, key_id=MULTI)),
        (f"arn:aws:kms:eu-west-1:222222222222:key/{ID}", KeyRef(THEIRS, key_id=ID)),
    ],
)
def test_a_key_is_named_by(given: str, expected: KeyRef, aliases: bool) -> None:
    """Its id or its ARN, everywhere."""
    assert parse(given, HERE, aliases=aliases) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("alias/a", KeyRef(HERE, alias="alias/a")),
        ("alias/a/b", KeyRef(HERE, alias="alias/a/b")),
        (f"{PREFIX}:alias/a", KeyRef(HERE, alias="alias/a")),
        ("arn:aws:kms:eu-west-1:222222222222:alias/a", KeyRef(THEIRS, alias="alias/a")),
    ],
)
def test_an_alias_names_a_key_where_it_is_allowed(given: str, expected: KeyRef) -> None:
    """Elsewhere it is no identifier."""
    assert parse(given, HERE, aliases=True) == expected
    with pytest.raises(KeyNotFound) as caught:
        parse(given, HERE, aliases=False)
    assert caught.value.message == f"Invalid keyId '{given}'"


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("", KeyNotFound, "Invalid keyId ''"),
        ("key", KeyNotFound, "Invalid keyId 'key'"),
        (ID[:-1], KeyNotFound, f"Invalid keyId '{ID[:-1]}'"),
        (ID.upper(), KeyNotFound, f"Invalid keyId '{ID.upper()}'"),
        (f"key/{ID}", KeyNotFound, f"Invalid keyId 'key/{ID}'"),
        (f"{ID}\n", KeyNotFound, f"Invalid keyId '{ID}\n'"),
        ("mrk-0123", KeyNotFound, "Invalid keyId 'mrk-0123'"),
        ("alias/", KeyNotFound, "Invalid keyId 'alias/'"),
        (f"{PREFIX}:key/nothing", KeyNotFound, f"Invalid keyId '{PREFIX}:key/nothing'"),
        (f"{PREFIX}:kye/{ID}", KeyNotFound, f"Invalid keyId '{PREFIX}:kye/{ID}'"),
        (f"arn:aws:kms:us-east-1:111111111111:key/{ID}", KeyNotFound, "Invalid arn us-east-1"),
        ("arn:aws:kms:us-east-1:111111111111:alias/a", KeyNotFound, "Invalid arn us-east-1"),
        ("arn:aws:kms", InvalidArn, "Invalid arn arn:aws:kms"),
        (f"arn:aws:s3:eu-west-1:111111111111:key/{ID}", InvalidArn, None),
        (f"arn:aws-cn:kms:eu-west-1:111111111111:key/{ID}", InvalidArn, None),
    ],
)
def test_what_names_no_key_is_refused(given: str, error: type[CallerError], text: str | None) -> None:
    """In the words of AWS KMS."""
    with pytest.raises(error) as caught:
        parse(given, HERE, aliases=True)
    assert caught.value.message == (text or f"Invalid arn {given}")


def test_a_new_key_id_is_an_identifier() -> None:
    """And never the same twice."""
    one, other = new_key_id(), new_key_id()
    assert one != other
    assert parse(one, HERE, aliases=False).key_id == one


@pytest.mark.parametrize("name", ["alias/a", "alias/a/b_c-D9", "alias/aws", "alias/awsome/x", "alias/" + "x" * 250])
def test_an_alias_may_be_called(name: str) -> None:
    """Letters, digits, slashes, underscores and hyphens behind the prefix."""
    require_alias_name(name)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("a", ValidationFailed, 'Alias must start with the prefix "alias/". Please see https://docs'),
        ("Alias/a", ValidationFailed, 'Alias must start with the prefix "alias/"'),
        ("alias/", ValidationFailed, "alias/ contains invalid characters for an alias"),
        ("alias/a:b", ValidationFailed, "alias/a:b contains invalid characters for an alias"),
        ("alias/ä", ValidationFailed, "alias/ä contains invalid characters for an alias"),
        ("alias/a\n", ValidationFailed, "contains invalid characters for an alias"),
        ("alias/" + "x" * 251, ValidationFailed, "Member must have length less than or equal to 256"),
        ("alias/aws/ebs", NotAuthorized, "alias/aws/"),
    ],
)
def test_an_alias_may_not_be_called(name: str, error: type[CallerError], text: str) -> None:
    """In the words of AWS KMS."""
    with pytest.raises(error, match=re.escape(text)):
        require_alias_name(name)
