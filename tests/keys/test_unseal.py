"""The root key file: its two kinds, and that it is never lost by being written."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from keywheel.db.database import Database
from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.keys.keyring import Keys
from keywheel.keys.root import unseal
from keywheel.keys.root.unseal import create_root_key, load_root_key, write_new
from keywheel.sensitive import Sensitive

PASSPHRASE = Sensitive("correct horse battery staple")


def never() -> NoReturn:
    """No passphrase is to be asked for."""
    raise AssertionError("a passphrase was asked for")


def saying(text: str) -> Callable[[], Sensitive[str]]:
    return lambda: Sensitive(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "root.key"


# --- the kinds -----------------------------------------------------------------------------------------------------


def test_a_raw_root_key_is_the_same_each_time(path: Path) -> None:
    """Without a passphrase, and 256 bits long."""
    create_root_key(path, None)
    key = load_root_key(path, never)
    assert load_root_key(path, never) == key
    assert len(key.reveal()) == 32


def test_a_root_key_of_a_passphrase_is_the_same_each_time(path: Path) -> None:
    """For the same passphrase; another one makes another key."""
    create_root_key(path, PASSPHRASE)
    key = load_root_key(path, lambda: PASSPHRASE)
    assert load_root_key(path, lambda: PASSPHRASE) == key
    assert load_root_key(path, saying("correct horse battery stable")) != key
    assert len(key.reveal()) == 32


def test_the_same_passphrase_makes_another_key_elsewhere(tmp_path: Path) -> None:
    """Each file has a salt of its own."""
    keys = []
    for name in ("a", "b"):
        create_root_key(tmp_path / name, PASSPHRASE)
        keys.append(load_root_key(tmp_path / name, lambda: PASSPHRASE))
    assert keys[0] != keys[1]


def test_the_file_of_a_passphrase_opens_nothing(path: Path) -> None:
    """It holds what RFC 9106 recommends for Argon2id and a salt of 128 bits, neither key nor passphrase."""
    create_root_key(path, PASSPHRASE)
    *head, salt, iterations, lanes, memory = path.read_text().split()
    assert (head, iterations, lanes, memory) == (["keywheel-root-key", "1", "argon2id"], "3", "4", "65536")
    assert len(unseal._bytes(salt)) == 16


@pytest.mark.parametrize("passphrase", ["", "eleven char"])
def test_a_short_passphrase_is_refused(path: Path, passphrase: str) -> None:
    """And no file is made."""
    with pytest.raises(ConfigurationError, match="12 characters or more") as caught:
        create_root_key(path, Sensitive(passphrase))
    assert not path.exists()
    assert passphrase not in caught.value.message or not passphrase


def test_a_wrong_passphrase_is_told_by_the_database(path: Path, database: Database) -> None:
    """Any passphrase makes a key; that it is another one shows when it opens nothing."""
    create_root_key(path, PASSPHRASE)
    database.write(Keys(load_root_key(path, lambda: PASSPHRASE)).bind)
    wrong = Keys(load_root_key(path, saying("a wrong passphrase")))
    with database.point() as tx, pytest.raises(KeyStoreError, match="root key does not open this database"):
        wrong.check(tx)


# --- spoiled files -------------------------------------------------------------------------------------------------

SALT = "c2FsdHNhbHRzYWx0c2FsdA=="
KEY = "A" * 43 + "="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "something else\n",
        "keywheel-root-key 1\n",
        f"keywheel-root-key 2 raw {KEY}\n",
        f"keywheel-root-key 1 rew {KEY}\n",
        f"keywheel-root-key 1 raw {KEY} more\n",
        "keywheel-root-key 1 raw not-base64!\n",
        f"keywheel-root-key 1 raw {KEY[:-1]}\n",
        f"keywheel-root-key 1 raw {KEY[4:]}\n",
        "keywheel-root-key 1 raw AAAAAAAAAAAAAAAAAAAAAA==\n",
        f"keywheel-root-key 1 raw {KEY[:-1]}AAAA=\n",
        f"keywheel-root-key 1 argon2id {SALT} 3 4\n",
        f"keywheel-root-key 1 argon2id {SALT} three 4 65536\n",
        f"keywheel-root-key 1 argon2id {SALT} 0 4 65536\n",
        f"keywheel-root-key 1 argon2id {SALT} 3 4 1\n",
        f"keywheel-root-key 1 argon2id {SALT} -3 4 65536\n",
        f"keywheel-root-key 1 argon2id {SALT} 3 4 99999999999999999999\n",
        "keywheel-root-key 1 argon2id c2FsdA== 3 4 65536\n",
        "keywheel-root-key 1 argon2id salt! 3 4 65536\n",
        "keywheel-root-key 1 pkcs11 AAAA\n",
        "keywheel-root-key 1 pkcs11 AAAA not-base64!\n",
        f"keywheel-root-key 1 pkcs11 AAAA {KEY} more\n",
    ],
)
def test_a_spoiled_file_is_refused(path: Path, text: str) -> None:
    """Instead of making another key of it; the file is named, and its content is not shown."""
    path.write_text(text)
    with pytest.raises(KeyStoreError) as caught:
        load_root_key(path, lambda: PASSPHRASE)
    assert caught.value.message == f"{path} is not a root key file."
    assert "copy" in caught.value.hint()


def test_a_file_of_bytes_is_refused(path: Path) -> None:
    """Such as a key in another product's form."""
    path.write_bytes(os.urandom(32) + b"\xff")
    with pytest.raises(KeyStoreError, match="cannot be read"):
        load_root_key(path, never)


def test_a_missing_file_is_said(path: Path) -> None:
    """With what makes it."""
    with pytest.raises(KeyStoreError, match=r"cannot be read \(FileNotFoundError\)") as caught:
        load_root_key(path, never)
    assert "keywheel init" in caught.value.hint()


# --- writing it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_only_its_owner_may_read_the_file(path: Path, passphrase: Sensitive[str] | None) -> None:
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        create_root_key(path, passphrase)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_never_overwritten(path: Path) -> None:
    """Whatever is in it."""
    path.write_text("something")
    with pytest.raises(ConfigurationError, match="exists already and is never overwritten"):
        create_root_key(path, None)
    assert path.read_text() == "something"


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    """Not even one that leads nowhere."""
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="never overwritten"):
        write_new(path, "text")
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    """It is not made."""
    with pytest.raises(ConfigurationError, match=r"cannot be written \(No such file or directory\)"):
        write_new(tmp_path / "nowhere" / "root.key", "text")


def test_nothing_but_the_file_is_left(path: Path) -> None:
    """No draft of it, when it went well and when it did not."""
    write_new(path, "text")
    with pytest.raises(ConfigurationError):
        write_new(path, "text")
    assert [file.name for file in path.parent.iterdir()] == ["root.key"]


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_file_is_there_wholly_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whatever goes wrong before it is on disk, what is found afterwards is not half a key."""

    def crash(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, crash)
        with pytest.raises(ConfigurationError, match="No space left on device"):
            create_root_key(path, None)
    assert not path.exists()
    create_root_key(path, None)
    load_root_key(path, never)


def test_file_and_directory_are_on_disk_when_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content before the name, and the name before anything is sealed with the key."""
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def spied_fsync(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("fsync directory" if is_directory else "fsync file")
        fsync(descriptor)

    def spied_link(source: str, target: Path) -> None:
        done.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(os, "link", spied_link)
    write_new(path, "text")
    assert done == ["fsync file", "link", "fsync directory"]
