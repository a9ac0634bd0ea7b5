"""What a rotation function may have come to know."""

from __future__ import annotations

import json

from keywheel.rotation.known import secret_texts
from tests.support.account import SCOPE, Account


def known(account: Account, name: str) -> list[str]:
    """The secret texts of a secret."""
    with account.rooms.database.read() as tx:
        return sorted(secret_texts(tx, account.rooms.secrets, account.rooms.secrets.find(tx, SCOPE, name)))


def test_every_text_that_does_not_say_where_and_who(account: Account) -> None:
    """However deep; of all versions that have a label; of a value that is no JSON, all of it."""
    value = {"host": "db", "username": "ann", "password": "one", "more": [{"pin": 1234, "token": "t"}], "size": 5}
    account.create("deep", json.dumps(value))
    account.put("deep", json.dumps({"password": "two"}))
    account.create("plain", "just a text")
    assert known(account, "deep") == ["1234", "one", "t", "two"]
    assert known(account, "plain") == ["just a text"]


def test_the_superuser_s_password_too(account: Account) -> None:
    """That of the secret that masterarn names, where there is one."""
    assert "pair-password" in known(account, "pair")
    assert account.credential("master").password.reveal() in known(account, "pair")
    account.create("lost", json.dumps({"password": "x-y-z", "masterarn": "no-such-secret"}))
    assert known(account, "lost") == ["x-y-z"]
