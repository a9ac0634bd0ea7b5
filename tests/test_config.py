"""Settings: where each comes from, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keywheel.config import Settings, load_settings
from keywheel.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[1]


def load(data: Path, environment: dict[str, str] | None = None, **options: Any) -> Settings:
    """The settings of a data directory, without this process's environment."""
    return load_settings({"data": str(data), **options}, environment or {})


# --- where a setting comes from ------------------------------------------------------------------------------------


def test_a_setting_has_its_default(tmp_path: Path) -> None:
    """Without a file, a variable or an option."""
    assert load(tmp_path) == Settings(data=str(tmp_path))
    assert load_settings({}, {}) == Settings()


@pytest.mark.parametrize(
    ("file", "variable", "option", "port"),
    [
        (None, None, None, 8200),
        (1, None, None, 1),
        (1, "2", None, 2),
        (1, "2", 3, 3),
        (None, "2", 3, 3),
        (None, "2", None, 2),
        (None, None, 3, 3),
        (1, None, 3, 3),
        (1, "2", 0, 0),
    ],
)
def test_the_nearest_to_the_command_line_wins(
    tmp_path: Path, file: int | None, variable: str | None, option: int | None, port: int
) -> None:
    """Default, file, environment, option, in that order."""
    if file is not None:
        (tmp_path / "keywheel.toml").write_text(f"port = {file}\n")
    environment = {} if variable is None else {"KEYWHEEL_PORT": variable}
    assert load(tmp_path, environment, port=option).port == port


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "8443", 8443),
        ("WORKERS", "4", 4),
        ("LEASE_SECONDS", "12.5", 12.5),
        ("ALLOW_PLAINTEXT", "true", True),
        ("ALLOW_PLAINTEXT", "1", True),
        ("ALLOW_PLAINTEXT", "false", False),
        ("ROLE", "engine", "engine"),
        ("DATABASE", "postgresql://h/d", "postgresql://h/d"),
        ("LOG_LEVEL", "error", "error"),
    ],
)
def test_a_variable_is_read_as_what_its_setting_is(tmp_path: Path, name: str, text: str, value: object) -> None:
    """A number, a truth value, one of a few words, or text."""
    assert getattr(load(tmp_path, {f"KEYWHEEL_{name}": text}), name.lower()) == value


def test_the_file_is_that_of_the_chosen_directory(tmp_path: Path) -> None:
    """Chosen by an option or by a variable."""
    (tmp_path / "keywheel.toml").write_text("port = 1\n")
    assert load_settings({"data": str(tmp_path)}, {}).port == 1
    assert load_settings({}, {"KEYWHEEL_DATA": str(tmp_path)}).port == 1


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    """Also those of the same family that are the client's."""
    others = {"PORT": "1", "keywheel_port": "2", "KEYWHEEL_ENDPOINT_URL": "x", "KEYWHEEL_": "y"}
    assert load(tmp_path, others) == load(tmp_path)


def test_the_environment_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other is given."""
    monkeypatch.setenv("KEYWHEEL_PORT", "9")
    assert load_settings({"data": str(tmp_path)}).port == 9


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "prot"),
        ("port = 65536", "port"),
        ("port = -1", "port"),
        ('port = "many"', "port"),
        ("workers = 0", "workers"),
        ("workers = 257", "workers"),
        ("lease_seconds = 2", "lease_seconds"),
        ("lease_seconds = 3601", "lease_seconds"),
        ("rotation_workers = 0", "rotation_workers"),
        ("body_limit = 1023", "body_limit"),
        ("request_seconds = 0", "request_seconds"),
        ('role = "king"', "role"),
        ('log_level = "loud"', "log_level"),
        ("allow_plaintext = 2", "allow_plaintext"),
        ("database = 5", "database"),
        ("port =", "line 1"),
        ("port = 1\nport = 2", "line 2"),
    ],
)
def test_a_file_that_is_not_valid_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """The field, or the line, is named, and the file is."""
    (tmp_path / "keywheel.toml").write_text(text + "\n")
    with pytest.raises(ConfigurationError, match="The settings are not valid") as caught:
        load(tmp_path)
    assert told in caught.value.message
    assert caught.value.hint() == f"Look at {tmp_path}/keywheel.toml."


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """As one that is not valid."""
    (tmp_path / "keywheel.toml").write_bytes('host = "münchen"'.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"The settings are not valid: .*utf-8"):
        load(tmp_path)


@pytest.mark.parametrize(("variable", "value"), [("PORT", ""), ("PORT", "http"), ("ALLOW_PLAINTEXT", "perhaps")])
def test_a_variable_that_is_not_valid_is_refused(tmp_path: Path, variable: str, value: str) -> None:
    """The field is named."""
    with pytest.raises(ConfigurationError, match=variable.lower()):
        load(tmp_path, {f"KEYWHEEL_{variable}": value})


@pytest.mark.parametrize("given", [Settings(tls_cert="a"), Settings(tls_key="a")])
def test_half_of_a_tls_pair_is_refused(given: Settings) -> None:
    """Both or none."""
    with pytest.raises(ConfigurationError, match="go together"):
        given.check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_may_be_served_in_clear(host: str) -> None:
    """Nothing crosses a network."""
    Settings(host=host).check()


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "",
        "10.0.0.1",
        "example.com",
        "128.0.0.1",
        "::1234",
        "::2",
        # Names may resolve to anything, whatever they begin with.
        "127.0.0.1.example.com",
        "127.example.com",
        "localhost.example.com",
        "localhosts",
    ],
)
def test_other_machines_are_not_served_in_clear(host: str) -> None:
    """Unless TLS is on, or the operator says so in words."""
    with pytest.raises(ConfigurationError, match="would send secret values in clear") as caught:
        Settings(host=host).check()
    assert "--allow-plaintext" in caught.value.hint()
    Settings(host=host, allow_plaintext=True).check()
    Settings(host=host, tls_cert="a", tls_key="b").check()


# --- what follows from the settings --------------------------------------------------------------------------------


def test_the_store_is_in_the_data_directory_unless_it_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative directory is that of the process."""
    monkeypatch.chdir(tmp_path)
    assert Settings(data="d").database_url == f"sqlite:///{tmp_path}/d/keywheel.db"
    assert Settings(data="d", database="postgresql://h/x").database_url == "postgresql://h/x"


def test_the_root_key_is_in_the_data_directory_unless_it_is_elsewhere() -> None:
    """Its file may be on another disk."""
    assert Settings(data="d").root_key_path == Path("d/root.key")
    assert Settings(data="d", root_key_file="/k").root_key_path == Path("/k")


def test_settings_do_not_change_after_they_were_read() -> None:
    """They are frozen."""
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc] # that it fails is the point


# --- what is documented --------------------------------------------------------------------------------------------


def documented() -> dict[str, str]:
    """The settings in the table of the page, each with its default."""
    page = (ROOT / "docs/operations/settings.md").read_text(encoding="utf-8")
    found = {}
    for names, default in re.findall(r"^\| (`[a-z_`, ]+`) \| ([^|]+) \|", page, re.MULTILINE):
        found.update(dict.fromkeys(re.findall(r"`([a-z_]+)`", names), default))
    return found


def test_the_page_names_exactly_the_settings() -> None:
    """In their order."""
    assert list(documented()) == list(Settings.__struct_fields__)


def test_the_page_tells_the_defaults() -> None:
    """None, or the value, or where it is found."""
    told = documented()
    for field in msgspec.structs.fields(Settings):
        default, text = field.default, told[field.name]
        if default is None:
            assert text == "none" or "in the data directory" in text
        else:
            plain = (
                str(default).lower()
                if isinstance(default, bool)
                else f"{default:g}"
                if isinstance(default, float)
                else str(default)
            )
            assert text == f"`{plain}`", field.name


def test_every_setting_is_documented_where_it_is_defined() -> None:
    """By a sentence below it."""
    source = (ROOT / "src/keywheel/config.py").read_text(encoding="utf-8")
    for field in Settings.__struct_fields__:
        assert re.search(rf'^    {field}: .*\n    """[A-Z`].*\."""$', source, re.MULTILINE), field
