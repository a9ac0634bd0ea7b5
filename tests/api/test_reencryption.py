"""ReencryptSecrets: pages, and one run of an account at a time, by the store's clock."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import update

from keywheel.access.access_keys import Role
from keywheel.access.door import Caller
from keywheel.api.reencryption import (
    LEASE,
    ReencryptSecretsRequest,
    ReencryptSecretsResponse,
    reencrypt_secrets,
)
from keywheel.arn import Scope
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import slot
from keywheel.keys.errors import Conflict
from keywheel.secrets import reencryption
from keywheel.secrets.ledger import Draft
from keywheel.secrets.values import Value
from keywheel.server import House

SCOPE = Scope("123456789012", "us-east-1")
ADMINISTRATOR = Caller(SCOPE.arn("iam", "user/admin"), SCOPE, Role.ADMINISTRATOR, "AKIAADMIN")


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reencryption, "_LOOKED_AT", 2)


@pytest.fixture
def filled(house: House) -> House:
    """Five secrets, whose key has rotated."""
    rooms = house.rooms
    for number in range(5):
        draft, value = Draft(f"s{number}"), Value.of_text("x")

        def create(tx: Tx, draft: Draft = draft, value: Value = value) -> None:
            rooms.secrets.create(tx, SCOPE, draft, rooms.clock.now(), token=str(uuid4()), value=value)

        rooms.database.write(create)

    def renew(tx: Tx) -> None:
        now = rooms.clock.now()
        rooms.keys.rotation._renew(tx, rooms.keys.default(tx, SCOPE, now=now), "AUTOMATIC", now)

    rooms.database.write(renew)
    return house


def ask(house: House, token: str | None = None, *, dry_run: bool = False) -> ReencryptSecretsResponse:
    return reencrypt_secrets(house.rooms, ADMINISTRATOR, ReencryptSecretsRequest(next_token=token, dry_run=dry_run))


def to_the_end(house: House, page: ReencryptSecretsResponse) -> int:
    moved = page.moved
    while page.next_token is not None:
        page = ask(house, page.next_token)
        assert page.total is None
        moved += page.moved
    return moved


def test_a_run_goes_on_by_its_token(filled: House) -> None:
    """The first page says how many there are; the last one has no token, and lets the next run begin."""
    first = ask(filled)
    assert (first.examined, first.moved, first.total) == (2, 2, 5)
    assert to_the_end(filled, first) == 5
    assert to_the_end(filled, ask(filled)) == 0


def test_another_run_is_refused_until_the_first_has_ended(filled: House) -> None:
    """Also when it began later with the first one's token; one that only tries is in nobody's way."""
    first = ask(filled)
    with pytest.raises(Conflict, match=f"account {SCOPE.account} are being re-encrypted"):
        ask(filled)
    assert ask(filled, dry_run=True).moved == 0
    assert ask(filled, ask(filled, dry_run=True).next_token, dry_run=True).moved == 2
    assert to_the_end(filled, first) == 5
    ask(filled)


def test_a_page_may_be_asked_for_twice(filled: House) -> None:
    """Its answer may have been lost."""
    first = ask(filled)
    again = [ask(filled, first.next_token) for _ in range(2)]
    assert [(page.moved, page.current) for page in again] == [(2, 0), (0, 2)]


def test_a_run_that_was_broken_off_ends_by_itself(filled: House) -> None:
    """Whoever holds its token is refused then, when another one has begun."""
    first = ask(filled)
    filled.rooms.database.write(lambda tx: Statement(update(slot).values(until=slot.c.until - LEASE)).run(tx))
    second = ask(filled)
    with pytest.raises(Conflict):
        ask(filled, first.next_token)
    assert first.moved + to_the_end(filled, second) == 5
