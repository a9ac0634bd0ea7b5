"""A statement is written once and does the same on both stores."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, literal, select, update

from keywheel.db.database import Database
from keywheel.db.statement import Statement, Tx
from keywheel.db.tables import access_key as a
from keywheel.db.tables import kms_alias as k
from keywheel.db.tables import secret as s

_insert = Statement(insert(k).values({c.name: bindparam(c.name) for c in k.c}))
_key = Statement(select(k.c.key_id).where(k.c.name == bindparam("name")))
_names = Statement(select(k.c.name).order_by(k.c.name))
_move = Statement(update(k).values(key_id=bindparam("key_id")).where(k.c.name == bindparam("name")))
_two = Statement(select(k.c.name).order_by(k.c.name).limit(2))
_marked = Statement(select(k.c.name + literal(": ") + k.c.key_id).where(k.c.name == bindparam("name")))


def alias(tx: Tx, name: str, key_id: str = "key") -> None:
    _insert.run(tx, account="1", region="r", name=name, key_id=key_id, created=0.0, updated=0.0)


@pytest.fixture
def filled(database: Database) -> Database:
    """A store with three rows."""

    def fill(tx: Tx) -> None:
        for name in "abc":
            alias(tx, name)

    database.write(fill)
    return database


def test_all_gives_every_row(filled: Database) -> None:
    """In the order asked for."""
    with filled.read() as tx:
        assert _names.all(tx) == [("a",), ("b",), ("c",)]


def test_first_gives_a_row_or_none(filled: Database) -> None:
    """None where there is no row."""
    with filled.read() as tx:
        assert [_key.first(tx, name=name) for name in ("a", "z")] == [("key",), None]


def test_run_gives_the_number_of_rows_that_were_changed(filled: Database) -> None:
    """None changed is 0."""
    assert filled.write(lambda tx: [_move.run(tx, name=name, key_id="other") for name in ("a", "z")]) == [1, 0]


@pytest.mark.parametrize("given", [{}, {"key_id": "other"}, {"name": "a"}, {"key_id": "other", "nom": "a"}])
def test_a_missing_parameter_is_an_error(filled: Database, given: dict[str, Any]) -> None:
    """It is never taken for NULL, and nothing is changed."""
    with pytest.raises(Exception, match=r"key_id|name|parameter|binding"):
        filled.write(lambda tx: _move.run(tx, **given))
    with filled.read() as tx:
        assert _key.first(tx, name="a") == ("key",)


def test_the_values_of_a_statement_itself_are_sent(filled: Database) -> None:
    """A limit, and a literal, which the caller does not name."""
    with filled.read() as tx:
        assert (_two.all(tx), _marked.first(tx, name="a")) == ([("a",), ("b",)], ("a: key",))


def test_a_none_in_a_statement_is_sent_as_null(database: Database) -> None:
    """It is no parameter that the caller forgot."""
    nothing = {"description": None, "kms_key_id": None}
    add = Statement(
        insert(s).values(
            account="1", region="r", name=bindparam("name"), arn="arn", tags="{}", created=0.0, changed=0.0, **nothing
        )
    )
    clear = Statement(update(s).values(description=None).where(s.c.name == bindparam("name")))
    describe = Statement(update(s).values(description=bindparam("text")).where(s.c.name == bindparam("name")))
    read = Statement(select(s.c.description).where(s.c.name == bindparam("name")))

    def work(tx: Tx) -> list[Any]:
        add.run(tx, name="a")
        seen = [read.first(tx, name="a")]
        describe.run(tx, name="a", text="words")
        seen.append(read.first(tx, name="a"))
        clear.run(tx, name="a")
        seen.append(read.first(tx, name="a"))
        describe.run(tx, name="a", text=None)
        return [*seen, read.first(tx, name="a")]

    assert database.write(work) == [(None,), ("words",), (None,), (None,)]


def test_text_numbers_and_bytes_come_back_as_they_are(database: Database) -> None:
    """Every character, every byte, and instants to the microsecond."""
    row = {
        "access_key_id": "ключ 🔑 %s %(name)s :name ? '\"\\",
        "account": "",
        "arn": "a\nb",
        "role": "r",
        "sealed": bytes(range(256)),
        "created": 1_790_000_000.123456,
    }
    add = Statement(insert(a).values({name: bindparam(name) for name in row}))
    read = Statement(select(*(a.c[name] for name in row)))
    database.write(lambda tx: add.run(tx, **row))
    with database.read() as tx:
        assert read.first(tx) == tuple(row.values())


def test_a_separator_stays_in_its_place(filled: Database) -> None:
    """One that is rendered into the statement does not ask for the other parameters when it is compiled."""
    joined = Statement(
        select(func.coalesce(func.max(k.c.name + literal("%", literal_execute=True)), bindparam("none"))).where(
            k.c.region == bindparam("region")
        )
    )
    with filled.read() as tx:
        assert [joined.first(tx, region=region, none="-") for region in ("r", "z")] == [("c%",), ("-",)]
