"""The rooms that a listing stands beside, and short ways to fill them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from keywheel.arn import Scope
from keywheel.db.database import Database
from keywheel.db.statement import Tx
from keywheel.keys.keyring import Keys
from keywheel.secrets.ledger import Draft, Secrets
from keywheel.secrets.listing import Listing, Order, Page, VersionEntry
from keywheel.secrets.rows import Secret
from keywheel.secrets.values import Value

T = TypeVar("T")

HERE, THERE = Scope("111111111111", "eu-west-1"), Scope("111111111111", "us-east-1")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS: list[Order] = ["created", "changed", "name", "accessed"]
REFUSED = "The NextToken value is invalid."


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


def token(number: int) -> str:
    """A ClientRequestToken."""
    return f"{number:032d}"


@dataclass
class House:
    """The rooms that a listing stands beside."""

    db: Database
    keys: Keys
    secrets: Secrets
    listing: Listing

    def create(self, *names: str, scope: Scope = HERE, at: Callable[[int], datetime] = minute, **draft: Any) -> None:
        """New secrets without a value, each at an instant of its own."""

        def work(tx: Tx) -> None:
            for number, name in enumerate(names):
                self.secrets.create(tx, scope, Draft(name, **draft), at(number))

        self.db.write(work)

    def change(self, name: str, work: Callable[[Tx, Secret], T]) -> T:
        """Do something to a secret in a transaction."""
        return self.db.write(lambda tx: work(tx, self.secrets.find(tx, HERE, name)))

    def put(self, name: str, number: int, *labels: str, at: datetime | None = None) -> None:
        """A new version of a secret, with a value."""
        instant = at or minute(number)
        value = Value.of_text(f"value {number}")
        self.change(name, lambda tx, secret: self.secrets.put(tx, secret, token(number), value, labels, instant))

    def read(self, name: str, at: datetime) -> None:
        """An access to a secret."""
        self.change(name, lambda tx, secret: self.secrets.touch(tx, secret.id, "", at))

    def page(self, *, scope: Scope = HERE, most: int = 100, **query: Any) -> Page[Secret]:
        """One page of secrets."""
        with self.db.read() as tx:
            return self.listing.secrets(tx, scope, most=most, **query)

    def pages(self, **query: Any) -> list[list[str]]:
        """The names on each page, to the last."""
        return [[secret.name for secret in page.items] for page in follow(lambda at: self.page(token=at, **query))]

    def versions(self, name: str, *, most: int = 100, **query: Any) -> Page[VersionEntry]:
        """One page of versions."""
        with self.db.read() as tx:
            return self.listing.versions(tx, self.secrets.find(tx, HERE, name), most=most, **query)


def follow(ask: Callable[[str | None], Page[T]]) -> Iterator[Page[T]]:
    """Every page, from the first to the one without a token."""
    page = ask(None)
    yield page
    while page.token is not None:
        page = ask(page.token)
        yield page
