"""Opening the house without a server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.keywheel_server import run_keywheel


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that is prepared."""
    done = run_keywheel("init", "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "data"


def refusal(data: Path, *more: str) -> str:
    """Why the keys of a house cannot be listed."""
    done = run_keywheel("keys", "list", "--data", str(data), *more)
    assert done.returncode == 1, done.stdout
    return done.stderr.decode()


def test_a_house_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A wrong --data leaves nothing behind."""
    assert "keywheel init" in refusal(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []
    assert "There is no database" in refusal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_not_a_house(data: Path) -> None:
    """It says what to run."""
    (data / "keywheel.db").unlink()
    sqlite3.connect(data / "keywheel.db").close()
    (data / "keywheel.db").touch()
    assert "The database is not prepared." in refusal(data)


def test_another_schema_is_not_touched(data: Path) -> None:
    """Both versions are named."""
    with closing(sqlite3.connect(data / "keywheel.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_floor SET oldest = '9999'")
    assert "The database has schema 9999" in refusal(data)


def test_another_root_key_opens_nothing(data: Path, tmp_path: Path) -> None:
    """The house belongs to its root key."""
    assert run_keywheel("init", "--data", str(tmp_path / "other")).returncode == 0
    assert "Error: " in refusal(data, "--root-key-file", str(tmp_path / "other" / "root.key"))


def test_a_passphrase_opens_it(tmp_path: Path) -> None:
    """Given by a file; a wrong one does not."""
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(f"the {name} passphrase\n")
    data = tmp_path / "data"
    made = run_keywheel("init", "--data", str(data), "--passphrase-file", str(tmp_path / "right"))
    assert made.returncode == 0, made.stderr
    listing = ("keys", "list", "--data", str(data), "--passphrase-file")
    assert run_keywheel(*listing, str(tmp_path / "right")).returncode == 0
    assert run_keywheel(*listing, str(tmp_path / "wrong")).returncode == 1
