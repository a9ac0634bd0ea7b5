"""`keywheel init`: done once, completed after a crash, and never undone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from keywheel.access.access_keys import AccessKey, AccessKeys, Role
from keywheel.cli.init import init
from keywheel.config import Settings, load_settings
from keywheel.credentials import read_credentials, read_region
from keywheel.db.database import open_database
from keywheel.errors import ConfigurationError, KeyStoreError, KeywheelError
from keywheel.keys.keyring import Keys
from keywheel.keys.root.unseal import load_root_key
from keywheel.sensitive import Sensitive
from tests.support.keywheel_server import run_keywheel

NOTHING = "Nothing to do: it is initialised already."
ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PASSPHRASE = "correct horse battery staple"


class Place:
    """A data directory that may be made."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def init(self, *options: str) -> list[str]:
        """What `keywheel init` did, line by line."""
        before = os.umask(0o022)
        try:
            result = CliRunner().invoke(init, ["--data", str(self.data), *options], catch_exceptions=True)
        finally:
            os.umask(before)
        if result.exception is not None:
            raise result.exception
        return result.output.partition("\n\n")[0].splitlines()

    def refuses(self, *options: str) -> KeywheelError:
        """The error that it ends with."""
        with pytest.raises(KeywheelError) as caught:
            self.init(*options)
        return caught.value

    def files(self) -> list[Path]:
        """What it made, without the audit ledger, which only grows."""
        return [path for path in self.data.iterdir() if path.name != "audit"]

    def content(self) -> dict[str, bytes]:
        """Every file but SQLite's, and what the database says of keys."""
        files = {path.name: path.read_bytes() for path in self.files() if ".db" not in path.name}
        return files | {"access keys": repr(self.access_keys()).encode()}

    def access_keys(self, **options: Any) -> list[AccessKey]:
        """Those in the database, which opens with the root key."""
        settings: Settings = load_settings({"data": str(self.data), **options}, {})
        keys = Keys(load_root_key(settings.root_key_path, lambda: Sensitive(PASSPHRASE)))
        with closing(open_database(settings.database_url)) as database, database.read() as tx:
            keys.check(tx)
            return AccessKeys(keys).list(tx)

    def is_ready(self) -> bool:
        """Whether the access key on disk is in the database, with its secret half."""
        access_key_id, secret = read_credentials(self.data / "credentials")
        keys = Keys(load_root_key(self.data / "root.key", lambda: Sensitive(PASSPHRASE)))
        with closing(open_database(f"sqlite:///{self.data}/keywheel.db")) as database, database.read() as tx:
            known = AccessKeys(keys).known(tx, access_key_id)
        return known is not None and known.secret == secret and read_region(self.data / "config") is not None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place where nothing is."""
    return Place(tmp_path / "parent" / "data")


# --- once ----------------------------------------------------------------------------------------------------------


def test_it_tells_what_it_does(place: Place) -> None:
    """Each thing in a line, in the order in which it is done."""
    told = place.init()
    access_key_id, _ = read_credentials(place.data / "credentials")
    assert told == [
        f"Created {place.data} (mode 0700).",
        "Prepared the database.",
        f"Created the root key {place.data}/root.key. Keep a copy of it apart from the database.",
        "Tied the database to the root key.",
        f"Wrote {place.data}/credentials (mode 0600): the administrator's access key.",
        f"Created the access key {access_key_id} of account 123456789012.",
        f"Wrote {place.data}/config (region us-east-1).",
    ]
    assert place.is_ready()


def test_doing_it_twice_changes_nothing(place: Place) -> None:
    """And says so, whatever else is asked for the second time."""
    place.init()
    before = place.content()
    assert [place.init(), place.init("--account", "2" * 12, "--region", "eu-west-1")] == [[NOTHING], [NOTHING]]
    assert place.content() == before


def test_what_it_makes_is_for_its_owner_alone(place: Place) -> None:
    """Whatever the umask is; a directory that was there is closed to others."""
    place.data.mkdir(parents=True, mode=0o755)
    place.init()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.files()}
    assert modes == dict.fromkeys(["config", "credentials", "keywheel.db", "root.key"], 0o600)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place.data, place.data / "audit")] == [0o700, 0o700]


def test_the_administrator_is_of_the_account_and_region_that_are_named(place: Place) -> None:
    """Both files name the Region."""
    place.init("--account", "210987654321", "--region", "eu-west-1")
    (key,) = place.access_keys()
    assert (key.account, key.arn, key.role) == (
        "210987654321", "arn:aws:iam::210987654321:user/admin", Role.ADMINISTRATOR,
    )  # fmt: skip
    assert {read_region(place.data / name) for name in ("config", "credentials")} == {"eu-west-1"}


def test_it_says_how_to_go_on(tmp_path: Path) -> None:
    """With the options that `serve` needs, but not with a password; the secret half of the key is not shown."""
    data, key = tmp_path / "data", tmp_path / "elsewhere.key"
    done = run_keywheel("init", "--data", str(data), "--root-key-file", str(key))
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"Start:  keywheel serve --data {data} --root-key-file {key}\n" in text
    assert read_credentials(data / "credentials")[1].reveal() not in text
    assert key.read_text().split()[-1] not in text


# --- after a crash -------------------------------------------------------------------------------------------------


def forget_the_access_key(data: Path) -> None:
    with closing(open_database(f"sqlite:///{data}/keywheel.db")) as database:
        database.write(lambda tx: tx.execute("DELETE FROM access_key", {}))


def forget_the_root_key(data: Path) -> None:
    with closing(open_database(f"sqlite:///{data}/keywheel.db")) as database:
        database.write(lambda tx: tx.execute("DELETE FROM installation", {}))


def without(*names: str) -> Callable[[Path], None]:
    def remove(data: Path) -> None:
        for name in names:
            (data / name).unlink()

    return remove


CRASHES: dict[str, list[Callable[[Path], None]]] = {
    "before the Region was written": [without("config")],
    "before the access key was stored": [without("config"), forget_the_access_key],
    "before the access key was written": [forget_the_access_key, without("config", "credentials")],
    "before the database was tied to the root key": [forget_the_access_key, forget_the_root_key, without("config")],
    "before the root key was written": [
        forget_the_access_key, forget_the_root_key, without("config", "credentials", "root.key"),
    ],
    "before the database was made": [without("config", "credentials", "root.key", "keywheel.db")],
}  # fmt: skip


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_in_the_middle_is_made_good_by_doing_it_again(place: Place, crash: str) -> None:
    """What is there is kept, and what is missing is made."""
    place.init()
    for undo in CRASHES[crash]:
        undo(place.data)
    kept = {path.name: path.read_bytes() for path in place.files() if path.suffix != ".db"}
    assert place.init() != [NOTHING]
    assert place.is_ready()
    assert len(place.access_keys()) == 1
    assert kept.items() <= {path.name: path.read_bytes() for path in place.files()}.items()
    assert place.init() == [NOTHING]


def test_a_root_key_that_is_lost_is_not_replaced(place: Place) -> None:
    """A new one would open nothing, and hide that the old one is missing."""
    place.init()
    (place.data / "root.key").rename(place.data / "moved.key")
    error = place.refuses()
    assert isinstance(error, KeyStoreError)
    assert "the database is tied to a root key" in error.message
    assert "copy" in error.hint()
    assert not (place.data / "root.key").exists()
    (place.data / "moved.key").rename(place.data / "root.key")
    assert place.init() == [NOTHING]


def test_credentials_that_are_lost_are_made_anew(place: Place) -> None:
    """A further access key of the administrator: the old one is left to whoever holds it."""
    place.init()
    (place.data / "credentials").unlink()
    assert len(place.init()) == 2
    assert place.is_ready()
    assert len(place.access_keys()) == 2


# --- chosen --------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with a secret access key."""
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def test_an_access_key_may_be_chosen(place: Place, secret_file: Path) -> None:
    """Both halves of it; doing it again is nothing."""
    options = ["--access-key-id", ID, "--secret-access-key-file", str(secret_file)]
    place.init(*options)
    assert read_credentials(place.data / "credentials") == (ID, Sensitive(SECRET))
    assert place.is_ready()
    assert place.init(*options) == [NOTHING]


def test_another_access_key_than_the_one_that_is_there_is_refused(place: Place, secret_file: Path) -> None:
    """Instead of being ignored; it is said what makes a further one."""
    place.init()
    before = place.content()
    error = place.refuses("--access-key-id", ID, "--secret-access-key-file", str(secret_file))
    assert "holds the access key" in error.message
    assert "keywheel access keys create" in error.hint()
    assert place.content() == before


@pytest.mark.parametrize(
    ("options", "secret", "text"),
    [
        (["--access-key-id", ID], None, "go together"),
        ([], SECRET, "go together"),
        (["--access-key-id", "too short"], SECRET, "16 to 128 letters and digits"),
        (["--access-key-id", ID], "too short", "16 or more characters"),
        (["--access-key-id", ID], "with a space in the middle", "no spaces"),
        (["--access-key-id", ID], "", "is empty"),
        (["--account", "12"], None, "--account must be 12 digits"),
        (["--account", "12345678901a"], None, "--account must be 12 digits"),
        (["--region", "mars"], None, "--region must look like us-east-1"),
        (["--passphrase-file", "nowhere"], None, "nowhere cannot be read"),
        (["--root-key-file", "/nowhere/root.key"], None, "cannot be written (No such file or directory)"),
        (["--database", "mysql://h/d"], None, "--database must be"),
        (["--database", "postgresql://u:pass-word@127.0.0.1:1/d"], None, "does not answer"),
    ],
)
def test_what_cannot_be_done_is_refused(
    place: Place, secret_file: Path, options: list[str], secret: str | None, text: str
) -> None:
    """No secret is quoted, nothing is left that keeps a right attempt from succeeding, and one does."""
    if secret is not None:
        secret_file.write_text(secret)
        options = [*options, "--secret-access-key-file", str(secret_file)]
    error = place.refuses(*options)
    assert isinstance(error, ConfigurationError)
    assert text in error.message
    assert not any(word in error.message for word in (SECRET, "pass-word", "in the middle"))
    secret_file.write_text(SECRET)
    place.init("--access-key-id", ID, "--secret-access-key-file", str(secret_file))
    assert place.is_ready()


def test_a_directory_that_is_a_file_is_refused(place: Place) -> None:
    """By its name."""
    place.data.parent.mkdir()
    place.data.write_text("something")
    assert place.refuses().message == f"{place.data} cannot be the data directory (File exists)."


# --- elsewhere -----------------------------------------------------------------------------------------------------


def test_the_root_key_may_be_made_of_a_passphrase(place: Place, tmp_path: Path) -> None:
    """It is needed again, and then there is nothing to do; a wrong one is refused."""
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    place.init("--passphrase-file", str(file))
    assert place.is_ready()
    assert "argon2id" in (place.data / "root.key").read_text()
    assert place.init("--passphrase-file", str(file)) == [NOTHING]
    file.write_text("another passphrase\n")
    assert isinstance(place.refuses("--passphrase-file", str(file)), KeyStoreError)


def test_a_short_passphrase_is_refused(place: Place, tmp_path: Path) -> None:
    """And no root key is made."""
    file = tmp_path / "passphrase"
    file.write_text("short\n")
    assert "12 characters or more" in place.refuses("--passphrase-file", str(file)).message
    assert not (place.data / "root.key").exists()


def test_the_root_key_may_be_elsewhere(place: Place, tmp_path: Path) -> None:
    """Apart from the database."""
    file = tmp_path / "elsewhere.key"
    place.init("--root-key-file", str(file))
    assert not (place.data / "root.key").exists()
    assert len(place.access_keys(root_key_file=str(file))) == 1
    assert place.init("--root-key-file", str(file)) == [NOTHING]


def test_the_database_may_be_postgresql(place: Place, postgresql_url: str) -> None:
    """Then there is none in the data directory."""
    place.init("--database", postgresql_url)
    assert {path.name for path in place.files()} == {"root.key", "credentials", "config"}
    assert len(place.access_keys(database=postgresql_url)) == 1
    assert place.init("--database", postgresql_url) == [NOTHING]


def test_a_second_directory_on_the_same_database_needs_its_root_key(
    place: Place, postgresql_url: str, tmp_path: Path
) -> None:
    """A further server does not make one of its own; with a copy of it, it gets an access key of its own."""
    place.init("--database", postgresql_url)
    other = Place(tmp_path / "other")
    assert "the database is tied to a root key" in other.refuses("--database", postgresql_url).message
    key = str(place.data / "root.key")
    other.init("--database", postgresql_url, "--root-key-file", key)
    assert len(other.access_keys(database=postgresql_url, root_key_file=key)) == 2
