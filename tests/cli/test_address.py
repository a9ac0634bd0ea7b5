"""Which server a command asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from keywheel.cli.address import find_server
from keywheel.config import Settings, load_settings
from keywheel.credentials import config_text, credentials_text
from keywheel.errors import ConfigurationError
from keywheel.sensitive import Sensitive

SECRET = Sensitive("s" * 20)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data directory with credentials and a Region."""
    (tmp_path / "credentials").write_text(credentials_text("A" * 20, SECRET, "eu-central-1"))
    (tmp_path / "config").write_text(config_text("eu-central-1"))
    return Settings(data=str(tmp_path))


def test_without_options_it_is_the_server_of_the_data_directory(settings: Settings) -> None:
    """Its usual address, and its own credentials and Region."""
    found = find_server(settings, None, None, None, None)
    assert (found.endpoint, found.region) == ("http://127.0.0.1:8200", "eu-central-1")
    assert (found.access_key_id, found.secret) == ("A" * 20, SECRET)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("port = 9000", "http://127.0.0.1:9000"),
        ('host = "0.0.0.0"\nallow_plaintext = true', "http://127.0.0.1:8200"),
        ('host = "::1"', "http://[::1]:8200"),
        ('tls_cert = "c.pem"\ntls_key = "k.pem"\nhost = "keywheel.example"', "https://keywheel.example:8200"),
    ],
)
def test_a_server_that_is_configured_elsewhere_is_asked_there(settings: Settings, written: str, expected: str) -> None:
    """keywheel.toml says where the server listens, and the commands read it, too."""
    (settings.directory / "keywheel.toml").write_text(written)
    assert expected == find_server(load_settings({"data": settings.data}, {}), None, None, None, None).endpoint


def test_options_come_first(settings: Settings, tmp_path: Path) -> None:
    """Each of them replaces what the data directory says."""
    other = tmp_path / "other"
    other.write_text(credentials_text("B" * 20, SECRET, "eu-west-3"))
    found = find_server(settings, "https://localhost:1/", str(other), "us-west-2", "ca.pem")
    assert (found.endpoint, found.region) == ("https://localhost:1", "us-west-2")
    assert (found.access_key_id, found.ca_bundle) == ("B" * 20, "ca.pem")


@pytest.mark.parametrize("url", ["localhost:8200", "ftp://localhost", "http://", "http://localhost/path"])
def test_an_address_that_cannot_be_asked_is_refused(settings: Settings, url: str) -> None:
    """It must be an http or https URL of a host."""
    with pytest.raises(ConfigurationError, match="--endpoint-url"):
        find_server(settings, url, None, None, None)


def test_the_region_is_that_of_the_credentials(settings: Settings, tmp_path: Path) -> None:
    """Else that of the config file beside them, else us-east-1."""
    other = tmp_path / "other"
    other.write_text(credentials_text("B" * 20, SECRET, "eu-west-3"))
    assert find_server(settings, None, str(other), None, None).region == "eu-west-3"
    other.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert find_server(settings, None, str(other), None, None).region == "eu-central-1"
    (settings.directory / "config").unlink()
    assert find_server(settings, None, str(other), None, None).region == "us-east-1"


def test_the_secret_half_is_not_printed(settings: Settings) -> None:
    """An address shown in an error or a log holds no key."""
    assert SECRET.reveal() not in repr(find_server(settings, None, None, None, None))
