"""SQL text, compiled once from the table definitions (docs/decisions/0002): the driver executes text, not objects.

Most statements are written in SQLAlchemy Core and pass through :func:`compiled` when their module is imported. A text
that Core cannot express well (``group_concat``, ``INDEXED BY``, a change of a counter) is a :class:`Statement` by hand.
What differs between databases has one helper here, so that a second dialect has one place to change:
:func:`listed` (membership in a list parameter), :func:`optional` (a parameter that may be NULL), :func:`inserting`,
:func:`inserting_named` and :func:`upserting` (what happens to a row that exists already).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import orjson
from sqlalchemy import ColumnElement, Select, Table, bindparam, cast, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import TypeEngine

T = TypeVar("T")

_DIALECT = sqlite.dialect(paramstyle="named")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its text, and the values of the parameters that the statement itself fixes."""

    text: str
    fixed: dict[str, Any]

    def bind(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return ``parameters`` completed by the fixed ones."""
        return {**self.fixed, **parameters} if self.fixed else parameters


@dataclass(frozen=True, slots=True)
class RowStatement:
    """An INSERT or UPDATE that takes a whole row by position: for long rows, 3 µs less than by name."""

    text: str


def inserting(table: Table, columns: Sequence[str], *, instead: str = "") -> RowStatement:
    """Return the INSERT of rows with these columns.

    Args:
        table: the table that the rows are inserted into.
        columns: in the order of the values of a row.
        instead: what happens to a row that exists already: ``OR IGNORE``, ``OR REPLACE``; by default an error.

    """
    verb = "INSERT OR REPLACE" if instead == "OR REPLACE" else "INSERT"
    conflict = " ON CONFLICT DO NOTHING" if instead == "OR IGNORE" else ""
    values = f"({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    return RowStatement(f"{verb} INTO {table.name} {values}{conflict}")


def inserting_named(table: Table, *columns: str, instead: str = "") -> Statement:
    """Return the INSERT of one row by the names of its columns; ``instead`` as for :func:`inserting`."""
    statement = insert(table).values({name: bindparam(name) for name in columns})
    if instead == "OR IGNORE":  # in the words that PostgreSQL has, too; SQLite makes the same program of both
        return compiled(statement.on_conflict_do_nothing())
    return compiled(statement.prefix_with(instead) if instead else statement)


def upserting(table: Table, *columns: str, key: Sequence[str]) -> Statement:
    """Return the INSERT of one row by the names of its columns, which sets the others of a row with the same key."""
    statement = insert(table).values({name: bindparam(name) for name in columns})
    changed = {name: statement.excluded[name] for name in columns if name not in key}
    return compiled(statement.on_conflict_do_update(index_elements=[table.c[name] for name in key], set_=changed))


def updating(table: Table, columns: Sequence[str], *, key_column: str, fixed_assignment: str = "") -> RowStatement:
    """Return the UPDATE of one row by its key.

    Args:
        table: the table of the row.
        columns: the columns to set, in the order of the values of a row.
        key_column: the column that finds the row; its value is the last one of the row.
        fixed_assignment: one more assignment, the same for all rows (``deleted = 0``).

    """
    assignments = ", ".join([f"{column} = ?" for column in columns] + [fixed_assignment] * bool(fixed_assignment))
    return RowStatement(f"UPDATE {table.name} SET {assignments} WHERE {key_column} = ?")  # noqa: S608


def listed(name: str) -> Select[tuple[Any]]:
    """Return the elements of a list parameter: ``column.in_(listed("keys"))``; bind it with :func:`list_parameter`."""
    return select(func.json_each(bindparam(name)).table_valued("value").c.value)


@overload
def list_parameter(values: Iterable[object]) -> str: ...
@overload
def list_parameter(values: Iterable[object] | None) -> str | None: ...
def list_parameter(values: Iterable[object] | None) -> str | None:
    """Return the value of a :func:`listed` parameter (SQLite: JSON); None stays None, which does not filter."""
    return None if values is None else orjson.dumps(list(values)).decode()


def optional(name: str, type_: type[TypeEngine[T]]) -> ColumnElement[T]:
    """Return a parameter that may be NULL, with its type: ``or_(optional("source_", Text).is_(None), …)``.

    SQLite needs no type there; other databases cannot infer one from ``:source_ IS NULL``.
    """
    return cast(bindparam(name), type_)


def compiled(clause: ClauseElement) -> Statement:
    """Compile ``clause``; ``bindparam(name)`` stays a parameter, literal values become fixed ones."""
    compiled_clause = clause.compile(dialect=_DIALECT)
    fixed = {name: value for name, value in compiled_clause.params.items() if value is not None}
    return Statement(str(compiled_clause), fixed)


def by_index(statement: Statement, table: Table, index: str) -> Statement:
    """Return a statement that reads ``table`` by this index (SQLite: INDEXED BY): the database cannot know better.

    It has no statistics: of a list it does not know that walking an index of all that is filtered by is never slow.
    """
    begin, separator, rest = statement.text.partition(f"FROM {table.name} \n")
    if not separator:
        raise ValueError(f"{table.name} is not the only table of this statement")
    return Statement(f"{begin}FROM {table.name} INDEXED BY {index} \n{rest}", statement.fixed)
