"""ARNs, and what a SecretId means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywheel.arn import Arn, Scope, SecretRef, function_name, parse_secret_id

HERE, THERE = Scope("1" * 12, "eu-west-1"), Scope("2" * 12, "us-east-1")
THEIRS = "arn:aws:secretsmanager:us-east-1:222222222222:secret:"
WORDS = st.text(st.characters(exclude_characters=":"), min_size=1, max_size=8)

# --- ARNs ----------------------------------------------------------------------------------------------------------


@given(
    partition=WORDS, service=WORDS, region=st.just("") | WORDS, account=st.just("") | WORDS,
    resource=st.text(min_size=1, max_size=20),
)  # fmt: skip
def test_an_arn_is_read_as_it_was_written(
    partition: str, service: str, region: str, account: str, resource: str
) -> None:
    """The resource keeps its own colons and slashes."""
    arn = Arn(partition=partition, service=service, region=region, account=account, resource=resource)
    assert Arn.parse(str(arn)) == arn


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn",
        "arn:",
        "arn:aws:s3",
        "arn:aws:kms:eu-west-1:111111111111",
        "arn:aws:kms:eu-west-1:111111111111:",
        "arn::kms:eu-west-1:111111111111:key/a",
        "arn:aws::eu-west-1:111111111111:key/a",
        "ARN:aws:kms:eu-west-1:111111111111:key/a",
        " arn:aws:kms:eu-west-1:111111111111:key/a",
        "prod/db",
    ],
)
def test_what_is_no_arn_is_not_read_as_one(text: str) -> None:
    """It is None, not an error: it may be a name."""
    assert Arn.parse(text) is None


def test_a_bucket_has_neither_region_nor_account() -> None:
    """They may be empty."""
    assert Arn.parse("arn:aws:s3:::b/k:v") == Arn(service="s3", region="", account="", resource="b/k:v")


def test_a_scope_builds_arns() -> None:
    """Of any service, and of a secret with its six random characters."""
    assert HERE.arn("kms", "key/a") == "arn:aws:kms:eu-west-1:111111111111:key/a"
    assert HERE.secret_arn("prod/db", "AbCdEf") == "arn:aws:secretsmanager:eu-west-1:111111111111:secret:prod/db-AbCdEf"


# --- what a SecretId means -----------------------------------------------------------------------------------------

FULL = THEIRS + "prod/db-AbCdEf"


@pytest.mark.parametrize(
    ("secret_id", "means"),
    [
        ("prod/db", SecretRef(HERE, name="prod/db")),
        ("prod/db-AbCdEf", SecretRef(HERE, name="prod/db-AbCdEf")),
        ("a:b:c:d:e:f", SecretRef(HERE, name="a:b:c:d:e:f")),
        ("", SecretRef(HERE, name="")),
        (FULL, SecretRef(THERE, arn=FULL)),
        (THEIRS + "prod/db", SecretRef(THERE, name="prod/db")),
        (THEIRS + "a-AbCdEf-123456", SecretRef(THERE, arn=THEIRS + "a-AbCdEf-123456")),
        # A name that ends like a full ARN is taken for one, as AWS does.
        (THEIRS + "prod-master", SecretRef(THERE, arn=THEIRS + "prod-master")),
        (THEIRS + "prod-AbCdE", SecretRef(THERE, name="prod-AbCdE")),
        (THEIRS + "prod-AbCdEfg", SecretRef(THERE, name="prod-AbCdEfg")),
        (THEIRS + "prod-AbCd_f", SecretRef(THERE, name="prod-AbCd_f")),
        (THEIRS + "prod-AbCdE\u00e9", SecretRef(THERE, name="prod-AbCdE\u00e9")),
        (FULL + "\n", SecretRef(THERE, name="prod/db-AbCdEf\n")),
        # Another service's ARN, or another resource, is a name that nothing has.
        ("arn:aws:kms:us-east-1:222222222222:key/a", SecretRef(HERE, name="arn:aws:kms:us-east-1:222222222222:key/a")),
        (
            THEIRS.replace(":secret:", ":other:") + "a",
            SecretRef(HERE, name=THEIRS.replace(":secret:", ":other:") + "a"),
        ),
    ],
)
def test_a_secret_id_means(secret_id: str, means: SecretRef) -> None:
    """A name here, a full ARN, or the name in a partial ARN, which brings its own account and Region."""
    assert parse_secret_id(secret_id, HERE) == means


@given(secret_id=st.text(max_size=30) | st.text(max_size=10).map(THEIRS.__add__))
def test_a_secret_id_means_exactly_one_thing(secret_id: str) -> None:
    """An ARN or a name, whatever was given."""
    found = parse_secret_id(secret_id, HERE)
    assert (found.arn is None) != (found.name is None)


# --- functions -----------------------------------------------------------------------------------------------------

FUNCTION = "arn:aws:lambda:eu-west-1:111111111111:function"


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        (f"{FUNCTION}:rotate", "rotate"),
        (f"{FUNCTION}:rotate:PROD", "rotate"),
        (f"{FUNCTION}:rotate:$LATEST", "rotate"),
        (f"{FUNCTION}:", None),
        (f"{FUNCTION}::PROD", None),
        (FUNCTION, None),
        (FUNCTION.replace("function", "layer") + ":rotate", None),
        (FUNCTION.replace("lambda", "sns") + ":rotate", None),
        (FUNCTION.replace("eu-west-1", "us-east-1") + ":rotate", None),
        (FUNCTION.replace("1" * 12, "2" * 12) + ":rotate", None),
        ("rotate", None),
        ("", None),
    ],
)
def test_a_function_has_a_name_in_its_own_scope(arn: str, name: str | None) -> None:
    """Without its qualifier; None for a function of elsewhere and for anything else."""
    assert function_name(arn, HERE) == name
