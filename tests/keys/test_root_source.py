"""Where the root key comes from: two files side by side, with or without passphrases, and one of them in the end."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from keywheel.config import Settings, load_settings
from keywheel.errors import ConfigurationError, KeyStoreError
from keywheel.keys.root import source as root_source
from keywheel.keys.root.ring import root_key_id
from keywheel.keys.root.source import RootSource
from keywheel.keys.root.unseal import create_root_key, load_root_key
from keywheel.sensitive import Sensitive

FIRST, SECOND = Sensitive("the first passphrase"), Sensitive("the second passphrase")


@pytest.fixture
def source(tmp_path: Path) -> RootSource:
    """A root key in a file."""
    create_root_key(tmp_path / "root.key", None)
    return RootSource(tmp_path / "root.key")


@pytest.fixture
def spoken(tmp_path: Path) -> RootSource:
    """A root key made from a passphrase that is in a file."""
    (tmp_path / "passphrase").write_text(f"{FIRST.reveal()}\n")
    create_root_key(tmp_path / "root.key", FIRST)
    return RootSource(tmp_path / "root.key", tmp_path / "passphrase")


def test_a_ring_has_the_first_key_and_the_next(source: RootSource) -> None:
    """The first one wraps until a database says otherwise."""
    (first,) = source.ring().ids
    source.make_next("file", None)
    ring = source.ring()
    assert ring.current == first
    assert ring.ids == {first, root_key_id(source.next_key())}


def test_a_running_ring_finds_the_next_key_when_it_comes(source: RootSource) -> None:
    """Once; while nothing changes, no file is read."""
    ring = source.ring()
    assert not ring.look_again()
    source.make_next("file", None)
    assert ring.look_again()
    assert not ring.look_again()
    assert root_key_id(source.next_key()) in ring.ids


def test_a_key_that_is_gone_is_still_known(source: RootSource) -> None:
    """For as long as the process lives: a thread may hold what it wrapped."""
    ring = source.ring()
    wrapped = ring.wrap(b"material", b"label")
    source.make_next("file", None)
    source.finish(root_key_id(source.next_key()), ring.current)
    ring.look_again()
    assert ring.unwrap(wrapped, b"label") == b"material"


def test_a_new_passphrase_is_beside_the_old_one(spoken: RootSource) -> None:
    """Both for their owner alone; whoever runs finds the new key by it."""
    ring = spoken.ring()
    spoken.make_next("passphrase", SECOND)
    (neighbour,) = spoken.path.parent.glob("passphrase.next")
    assert stat.S_IMODE(neighbour.stat().st_mode) == 0o600
    assert ring.look_again()
    assert root_key_id(load_root_key(spoken.next_path, lambda: SECOND)) in ring.ids


@pytest.mark.parametrize("passphrase", [None, FIRST, SECOND])
def test_at_the_end_the_next_files_are_in_the_place_of_the_first(
    spoken: RootSource, passphrase: Sensitive[str] | None
) -> None:
    """The old ones stay beside under the old key's id."""
    (former,) = spoken.ring().ids
    old, old_text = spoken.path.read_text(), (spoken.path.parent / "passphrase").read_text()
    spoken.make_next("passphrase", passphrase)
    following = root_key_id(spoken.next_key())
    assert set(spoken.finish(following, former)) == {
        spoken.path.with_name(f"root.key.{former}"),
        spoken.path.with_name(f"passphrase.{former}"),
    }
    assert spoken.path.with_name(f"root.key.{former}").read_text() == old
    assert spoken.path.with_name(f"passphrase.{former}").read_text() == old_text
    assert RootSource(spoken.path, spoken.passphrase).ring().ids == {following}
    assert spoken.finish(following, former) == []


def test_an_end_that_was_cut_off_between_the_files_is_made_up_for(
    spoken: RootSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between, the new key is found, too."""
    (former,) = spoken.ring().ids
    spoken.make_next("passphrase", SECOND)
    following = root_key_id(spoken.next_key())
    moves: list[Path] = []

    def once(path: Path, name: str) -> Path:
        if moves:
            raise OSError(5, "cut off")
        moves.append(path)
        return _move(path, name)

    _move = root_source._move
    with monkeypatch.context() as patch:
        patch.setattr(root_source, "_move", once)
        with pytest.raises(ConfigurationError, match="cut off"):
            spoken.finish(following, former)
    assert following in spoken.ring().ids
    assert len(spoken.finish(following, former)) == 1
    assert spoken.ring().ids == {following}


def test_a_next_passphrase_without_a_next_file_moves_nothing(spoken: RootSource) -> None:
    """It was made before the file, and then there was no more time."""
    (former,) = spoken.ring().ids
    spoken.make_next("passphrase", SECOND)
    spoken.next_path.unlink()
    assert former in spoken.ring().ids
    assert spoken.finish(former, "0") == []
    assert spoken.path.with_name("passphrase").read_text() == f"{FIRST.reveal()}\n"


def test_from_a_file_to_a_passphrase_and_back(source: RootSource, tmp_path: Path) -> None:
    """A rotation is how one goes from one provider to another."""
    (first,) = source.ring().ids
    (tmp_path / "passphrase").write_text(f"{FIRST.reveal()}\n")
    source = RootSource(source.path, tmp_path / "passphrase")
    source.make_next("passphrase", None)
    second = root_key_id(source.next_key())
    source.finish(second, first)
    assert source.kind == "passphrase"
    source.make_next("file", None)
    third = root_key_id(source.next_key())
    source.finish(third, second)
    assert (source.kind, set(source.ring().ids)) == ("file", {third})


def test_a_passphrase_that_was_typed_is_asked_for_once(tmp_path: Path) -> None:
    """And never by a server that runs: it finds a new key of the same passphrase by itself, and no other."""
    create_root_key(tmp_path / "root.key", FIRST)
    asked: list[str] = []

    def ask(what: str) -> Sensitive[str]:
        asked.append(what)
        return FIRST

    ring = RootSource(tmp_path / "root.key", ask=ask).ring()
    create_root_key(tmp_path / "root.key.next", FIRST)
    assert ring.look_again()
    assert root_key_id(load_root_key(tmp_path / "root.key.next", lambda: FIRST)) in ring.ids
    (tmp_path / "root.key.next").unlink()
    create_root_key(tmp_path / "root.key.next", SECOND)
    ring.look_again()
    assert root_key_id(load_root_key(tmp_path / "root.key.next", lambda: SECOND)) not in ring.ids
    assert asked == ["Passphrase of the root key"]


def test_a_short_passphrase_leaves_nothing(spoken: RootSource) -> None:
    """Neither of the files."""
    with pytest.raises(ConfigurationError, match="12 characters or more"):
        spoken.make_next("passphrase", Sensitive("short"))
    assert sorted(path.name for path in spoken.path.parent.iterdir()) == ["passphrase", "root.key"]


def test_nobody_is_asked_where_nobody_is(tmp_path: Path) -> None:
    """It is said what to do instead."""
    create_root_key(tmp_path / "root.key", FIRST)
    with pytest.raises(KeyStoreError, match="Passphrase of the root key") as caught:
        RootSource(tmp_path / "root.key").ring()
    assert "passphrase_file" in caught.value.hint()


# --- systemd credentials -------------------------------------------------------------------------------------------


def test_a_systemd_credential_is_the_root_keys_file(tmp_path: Path) -> None:
    """By the directory that it names; a second one of the same name and `.next` is the next root key."""
    create_root_key(tmp_path / "keywheel", None)
    settings = load_settings({"root_key_credential": "keywheel"}, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.root_key_path == tmp_path / "keywheel"
    assert len(RootSource.of(settings).ring().ids) == 1
    create_root_key(tmp_path / "keywheel.next", None)
    assert len(RootSource.of(settings).ring().ids) == 2


def test_a_credential_outside_of_a_service_is_missing(tmp_path: Path) -> None:
    """And not looked for in the data directory."""
    create_root_key(tmp_path / "root.key", None)
    settings = Settings(data=str(tmp_path), root_key_credential="root.key")
    with pytest.raises(KeyStoreError, match="cannot be read"):
        RootSource.of(settings).ring()
