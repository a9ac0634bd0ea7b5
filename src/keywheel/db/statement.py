"""One SQL statement: written once in SQLAlchemy Core, compiled once for each dialect, run on the driver's connection.

That keeps one source for two stores, and costs what the driver costs: about 5 µs on SQLite instead of 15 to 30.
Columns therefore hold only types that both drivers give back as they are: text, numbers, booleans and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.visitors import cloned_traverse

Row = tuple[Any, ...]

_DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),  # binding by name costs as much again as a short query
    "postgresql": psycopg.dialect(),  # type: ignore[no-untyped-call] # SQLAlchemy leaves it untyped
}


class Cursor(Protocol):
    """What both drivers' cursors have."""

    @property
    def rowcount(self) -> int: ...
    def fetchall(self) -> list[Any]: ...
    def fetchone(self) -> Any: ...


class Tx(Protocol):
    """An open transaction, or a read on its own. Handed to a room's methods by whoever opened it."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        ...

    def execute(self, sql: str, parameters: Mapping[str, Any] | Sequence[Any]) -> Cursor:
        """Run `sql` on the driver's connection."""
        ...

    def ring(self) -> None:
        """Once this transaction is durable, ring the bell of every process that waits for something to be due."""
        ...


class Statement:
    """A prepared clause; its bind parameters are given by name."""

    __slots__ = ("_compiled",)

    def __init__(self, clause: ClauseElement) -> None:
        self._compiled = {name: _compile(clause, dialect) for name, dialect in _DIALECTS.items()}

    def all(self, tx: Tx, **parameters: Any) -> list[Row]:
        """Every row."""
        return self._run(tx, parameters).fetchall()

    def first(self, tx: Tx, **parameters: Any) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._run(tx, parameters).fetchone()
        return row

    def run(self, tx: Tx, **parameters: Any) -> int:
        """The number of rows that were changed."""
        return self._run(tx, parameters).rowcount

    def _run(self, tx: Tx, parameters: dict[str, Any]) -> Cursor:
        sql, order, defaults = self._compiled[tx.dialect]
        values = {**defaults, **parameters} if defaults else parameters
        return tx.execute(sql, values if order is None else [values[name] for name in order])


def _compile(clause: ClauseElement, dialect: Any) -> tuple[str, list[str] | None, dict[str, Any]]:
    """The SQL, the order of its parameters where they are given by position, and the values that it brings itself."""
    given: set[str] = set()  # the parameters that the caller must name

    def allow_absence(parameter: BindParameter[Any]) -> None:
        # Rendering a literal (a separator) would otherwise ask for the values of all parameters now.
        if parameter.required:
            given.add(parameter.key)
            parameter.required = False

    copy = cloned_traverse(clause, {}, {"bindparam": allow_absence})
    compiled = cast(SQLCompiler, copy.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))
    parameters = compiled.params or {}
    defaults = {name: value for name, value in parameters.items() if name not in given}
    return str(compiled), compiled.positiontup, defaults
