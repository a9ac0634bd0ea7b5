"""The two files by which every AWS client finds keys and Region."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.session import Session

from keywheel.credentials import config_text, credentials_text, read_credentials, read_region
from keywheel.errors import ConfigurationError
from keywheel.sensitive import Sensitive

ID, SECRET = "AKIAIOSFODNN7EXAMPLE", Sensitive("%wJalr;XUtn#FEMI/K7=MDENG:bPx'RfiCY\"")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file is."""
    return tmp_path / "credentials"


def test_what_is_written_is_read_again(path: Path) -> None:
    """Also characters that mean something in such a file."""
    path.write_text(credentials_text(ID, SECRET, "eu-west-1"))
    assert read_credentials(path) == (ID, SECRET)
    assert read_region(path) == "eu-west-1"


def test_aws_clients_read_what_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library of the AWS CLI finds the same key in it."""
    path.write_text(credentials_text(ID, SECRET, "eu-west-1"))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path.with_name("nothing")))
    found = Session().get_credentials()
    assert (found.access_key, found.secret_key) == (ID, SECRET.reveal())


def test_a_region_is_read(path: Path) -> None:
    """From a config file; None where there is no file, or no Region in it."""
    assert read_region(path) is None
    path.write_text(config_text("eu-west-1"))
    assert read_region(path) == "eu-west-1"
    path.write_text("[default]\n")
    assert read_region(path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[other]\naws_access_key_id = a\n", b"no section\n", b"[default]\n[default]\n", b"[default]\na = \xff\n"],
)
def test_a_file_of_something_else_is_refused(path: Path, content: bytes) -> None:
    """It is named, with what writes a good one."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read as an AWS credentials or config file") as caught:
        read_credentials(path)
    assert str(path) in caught.value.message
    assert "keywheel init" in caught.value.hint()


def test_a_missing_file_is_refused(path: Path) -> None:
    """In the same words."""
    with pytest.raises(ConfigurationError, match="cannot be read as an AWS credentials or config file"):
        read_credentials(path)


@pytest.mark.parametrize("missing", ["aws_access_key_id", "aws_secret_access_key"])
def test_half_an_access_key_is_refused(path: Path, missing: str) -> None:
    """Without quoting the other half."""
    lines = credentials_text(ID, SECRET, "eu-west-1").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith(missing)))
    with pytest.raises(ConfigurationError, match="has no access key in profile default") as caught:
        read_credentials(path)
    assert SECRET.reveal() not in caught.value.message
