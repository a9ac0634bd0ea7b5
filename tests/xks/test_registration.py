"""The file that says who may call the proxy: read again when it changes, refused whole when it is not valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from keywheel.arn import Scope
from keywheel.errors import ConfigurationError
from keywheel.xks.registration import RegistrationFile
from tests.support.keywheel_server import KeywheelServer
from tests.xks.stand import Pair, new_pair

HEAD = 'account = "123456789012"\nregion = "us-east-1"\n'


def credential(pair: Pair) -> str:
    """Its table."""
    return f'[[credential]]\naccess_key_id = "{pair.access_key_id}"\nsecret_access_key = "{pair.secret}"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "xks.toml"


def test_what_a_file_says(path: Path) -> None:
    """The keys, the credentials, and the path that has a default."""
    one, other = new_pair(), new_pair()
    path.write_text(HEAD + 'keys = ["a", "b"]\n' + credential(one) + credential(other))
    found = RegistrationFile(path).current()
    assert (found.scope, found.path) == (Scope("123456789012", "us-east-1"), "/kms/xks/v1")
    assert found.keys == {"a", "b"}
    for pair in (one, other):
        secret = found.secret(pair.access_key_id)
        assert secret is not None
        assert secret.reveal() == pair.secret
        assert pair.secret not in repr(found.__dict__)
    assert found.secret(new_pair().access_key_id) is None


SECRET = "a-secret-with-a-character-that-is-not-allowed!!!!!"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        HEAD + "credential = []\n",
        'account = "1"\nregion = "us-east-1"\n' + credential(new_pair()),
        HEAD + 'path = "/kms/xks/v2"\n' + credential(new_pair()),
        HEAD + 'path = "kms/xks/v1"\n' + credential(new_pair()),
        HEAD + credential(Pair("A" * 19, "s" * 43)),
        HEAD + credential(Pair("a" * 20, "s" * 43)),
        HEAD + credential(Pair("A" * 20, "s" * 42)),
        HEAD + credential(Pair("A" * 20, SECRET)),
        HEAD + credential(new_pair()) + 'unknown = "x"\n',
        HEAD + "keys = [1]\n" + credential(new_pair()),
        HEAD + f"secret_access_key = {SECRET}",
    ],
)
def test_a_file_that_is_not_valid_is_refused_in_words(path: Path, text: str) -> None:
    """That name the file, and hold nothing of a secret."""
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        RegistrationFile(path)
    told = f"{refused.value} {refused.value.hint()}"
    assert str(path) in told
    assert SECRET not in told


def test_a_file_that_is_not_there(path: Path) -> None:
    """Neither at the start, nor later, when what it said before goes on to hold."""
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        RegistrationFile(path)
    pair = new_pair()
    path.write_text(HEAD + credential(pair))
    file = RegistrationFile(path)
    path.unlink()
    assert file.current().secret(pair.access_key_id) is not None


def test_a_server_without_the_file_does_not_start(tmp_path: Path) -> None:
    """And says why."""
    server = KeywheelServer(tmp_path, None, ["--xks"])
    with pytest.raises(RuntimeError, match=r"xks\.toml cannot be read"), server:
        pass
