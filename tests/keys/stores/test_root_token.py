"""The root key's file under a key of a token, live against SoftHSM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from keywheel.config import Settings
from keywheel.errors import KeyStoreError
from keywheel.keys.root.ring import root_key_id
from keywheel.keys.root.source import RootSource
from keywheel.keys.root.unseal import create_root_key
from keywheel.sensitive import Sensitive
from tests.support.keywheel_server import KeywheelServer, run_keywheel
from tests.support.tokens import LABEL, LIBRARY, SoftToken


@pytest.fixture
def settings(tmp_path: Path, soft_token: SoftToken) -> Settings:
    """A data directory whose root key is in a token."""
    return Settings(
        data=str(tmp_path),
        root_key_module=LIBRARY,
        root_key_token=LABEL,
        root_key_pin_file=str(soft_token.pin_file),
    )


@pytest.fixture
def source(settings: Settings) -> RootSource:
    """Its root key."""
    source = RootSource.of(settings)
    source.make(source.path, "token", None)
    return source


def test_the_token_opens_the_file(source: RootSource, settings: Settings) -> None:
    """To the same key each time; the file alone holds neither the key nor the PIN."""
    (one,) = source.first_keys()
    assert RootSource.of(settings).first_keys() == [one]
    assert len(one.reveal()) == 32
    assert source.path.read_text().split()[:3] == ["keywheel-root-key", "1", "pkcs11"]
    assert source.kind == "token"


def test_the_tokens_key_does_not_leave_it(source: RootSource, soft_token: SoftToken) -> None:
    """It was made there, and is neither readable nor extractable."""
    program = (
        "import sys, pkcs11\n"
        "token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])\n"
        "with token.open(user_pin=sys.stdin.readline().strip()) as session:\n"
        "    (key,) = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})\n"
        "    kept = [pkcs11.Attribute.SENSITIVE, pkcs11.Attribute.NEVER_EXTRACTABLE, pkcs11.Attribute.LOCAL]\n"
        "    print([key[name] for name in kept])\n"
    )
    arguments = [sys.executable, "-c", program, LIBRARY, LABEL]
    done = subprocess.run(arguments, input=soft_token.pin.reveal(), capture_output=True, text=True)
    assert done.stdout.strip() == "[True, True, True]", done.stderr


def test_a_token_that_is_away_is_said(source: RootSource, soft_token: SoftToken) -> None:
    """And when it is back, it opens."""
    (before,) = source.first_keys()
    soft_token.take_away()
    with pytest.raises(KeyStoreError, match=f"token {LABEL} is not available") as caught:
        source.ring()
    assert "root_key_module" in caught.value.hint()
    soft_token.put_back()
    assert source.first_keys() == [before]


def test_a_wrong_pin_is_said(source: RootSource, soft_token: SoftToken) -> None:
    """It is tried once."""
    soft_token.pin_file.write_text("0000-wrong\n")
    with pytest.raises(KeyStoreError, match="PIN of the token keywheel was refused") as caught:
        source.ring()
    assert "0000-wrong" not in caught.value.message + caught.value.hint()


def test_another_token_does_not_open_the_file(source: RootSource, settings: Settings, soft_token: SoftToken) -> None:
    """It has no such key."""
    soft_token.add("other")
    other = RootSource.of(msgspec.structs.replace(settings, root_key_token="other"))
    with pytest.raises(KeyStoreError, match="token other"):
        other.ring()


def test_a_pin_that_was_typed_is_asked_for_once(settings: Settings, soft_token: SoftToken, tmp_path: Path) -> None:
    """And never by a server that runs, which goes without the next root key then."""
    asked: list[str] = []

    def ask(what: str) -> Sensitive[str]:
        asked.append(what)
        return soft_token.pin

    typed = msgspec.structs.replace(settings, root_key_pin_file=None)
    create_root_key(tmp_path / "root.key", None)
    ring = RootSource.of(typed, ask).ring()
    RootSource.of(settings).make_next("token", None)
    assert not ring.look_again()
    assert asked == []
    started = RootSource.of(typed, ask).ring()
    assert len(started.ids) == 2
    assert asked == ["PIN of the root key's token"]


def test_without_a_token_configured_the_file_opens_nothing(source: RootSource) -> None:
    """It is said which settings are missing."""
    with pytest.raises(KeyStoreError, match="no token is configured") as caught:
        RootSource(source.path).ring()
    assert "root_key_token" in caught.value.hint()


def test_a_library_that_is_none_is_said(settings: Settings, source: RootSource) -> None:
    """The server's own process has not loaded it."""
    wrong = RootSource.of(msgspec.structs.replace(settings, root_key_module="/nowhere.so"))
    with pytest.raises(KeyStoreError):
        wrong.ring()


def test_from_a_file_into_the_token_and_on(settings: Settings, soft_token: SoftToken, tmp_path: Path) -> None:
    """Each new root key is under a new key of the token."""
    create_root_key(tmp_path / "root.key", None)
    source = RootSource.of(settings)
    ids = [next(iter(source.ring().ids))]
    for _ in range(2):
        source.make_next("token", None)
        ids.append(root_key_id(source.next_key()))
        assert source.ring().ids == set(ids[-2:])
        source.finish(ids[-1], ids[-2])
    assert source.ring().ids == {ids[-1]}
    words = [path.read_text().split() for path in (source.path, tmp_path / f"root.key.{ids[1]}")]
    assert words[0][3] != words[1][3]


def test_a_server_starts_by_the_token_and_says_when_it_is_away(tmp_path: Path, soft_token: SoftToken) -> None:
    """Away at the start: two lines and exit code 1. Away later: it goes on, for it needs the token no more."""
    environment = {
        **soft_token.environment,
        "KEYWHEEL_ROOT_KEY_MODULE": LIBRARY,
        "KEYWHEEL_ROOT_KEY_TOKEN": LABEL,
        "KEYWHEEL_ROOT_KEY_PIN_FILE": str(soft_token.pin_file),
    }
    with KeywheelServer(tmp_path, environment=environment) as server:
        assert (server.data / "root.key").read_text().split()[2] == "pkcs11"
        client = server.client()
        client.create_secret(Name="s", SecretString="value")
        soft_token.take_away()
        assert client.get_secret_value(SecretId="s")["SecretString"] == "value"
        server.stop()
        done = run_keywheel("serve", "--data", str(server.data), "--port", "0", environment=environment)
        assert done.returncode == 1
        assert done.stderr.decode().splitlines()[0] == f"Error: The token {LABEL} is not available."
        soft_token.put_back()
        server.start()
        assert server.client().get_secret_value(SecretId="s")["SecretString"] == "value"
