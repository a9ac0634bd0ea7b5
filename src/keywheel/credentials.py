"""AWS's shared-credentials and config files: the two files by which every AWS client finds keys and Region."""

from __future__ import annotations

import configparser
from pathlib import Path

from keywheel.errors import ConfigurationError
from keywheel.sensitive import Sensitive

PROFILE = "default"


def credentials_text(access_key_id: str, secret: Sensitive[str], region: str) -> str:
    """The content of a shared-credentials file.

    It names the Region as well: the AWS CLI and botocore take it from there, so that one variable is enough for them.
    """
    return (
        f"[{PROFILE}]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret.reveal()}\n"
        f"region = {region}\n"
    )


def config_text(region: str) -> str:
    """The content of a config file."""
    return f"[{PROFILE}]\nregion = {region}\n"


def read_credentials(path: Path) -> tuple[str, Sensitive[str]]:
    """The access key of the default profile.

    Raises:
        ConfigurationError: the file cannot be read, or has none.
    """
    section = _section(path)
    try:
        return section["aws_access_key_id"], Sensitive(section["aws_secret_access_key"])
    except KeyError:
        raise ConfigurationError(f"{path} has no access key in profile {PROFILE}.") from None


def read_region(path: Path) -> str | None:
    """The Region of the default profile; None when the file does not say."""
    return _section(path).get("region") if path.is_file() else None


def _section(path: Path) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        return parser[PROFILE]
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError):
        raise ConfigurationError(
            f"{path} cannot be read as an AWS credentials or config file.", hint="`keywheel init` writes both."
        ) from None
